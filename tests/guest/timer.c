/* The local APIC's timer: one-shot, periodic, TSC deadline; masking, reading back. SDM 3 §11.5.4
 * "APIC Timer". */
#include "lib/apic.h"

static volatile unsigned count;
static uint64_t when;

static void tick(struct regs *r)
{
    (void)r;
    count++;
    when = rdtsc();
    apic_eoi();
}

static void wait_for(unsigned n)
{
    uint64_t end = rdtsc() + 20000000000ull;
    while (count < n && rdtsc() < end)
        asm volatile("sti; hlt; cli" : : : "memory");
}

static void deadline(void)
{
    CASE("TSC deadline");
    wrmsr(X2APIC_LVT_TIMER, 0x30 | LVT_DEADLINE);
    count = 0;
    for (unsigned i = 1; i <= 5; i++) {
        uint64_t target = rdtsc() + 1000000;
        wrmsr(MSR_TSC_DEADLINE, target);
        CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), target);
        wait_for(i);
        CHECK_EQ(count, i);
        CHECK(when >= target);
        CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
    }
    CASE("a deadline in the past fires at once; 0 disarms");
    wrmsr(MSR_TSC_DEADLINE, 1);
    sti_nop();
    cli();
    CHECK_EQ(count, 6);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 2000000);
    wrmsr(MSR_TSC_DEADLINE, 0);
    uint64_t until = rdtsc() + 6000000;
    sti();
    while (rdtsc() < until)
        ;
    cli();
    CHECK_EQ(count, 6);
    CASE("masked: no interrupt");
    wrmsr(X2APIC_LVT_TIMER, 0x30 | LVT_DEADLINE | LVT_MASKED);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 1000);
    until = rdtsc() + 4000000;
    sti();
    while (rdtsc() < until)
        ;
    cli();
    CHECK_EQ(count, 6);
}

static void counted(void)
{
    CASE("one-shot: once; the current count goes down to 0");
    wrmsr(X2APIC_DIVIDE, 0xb); /* by 1 */
    wrmsr(X2APIC_LVT_TIMER, 0x31);
    count = 0;
    wrmsr(X2APIC_INIT_COUNT, 1000000);
    uint64_t first = rdmsr(X2APIC_CUR_COUNT);
    CHECK(first <= 1000000);
    wait_for(1);
    CHECK_EQ(count, 1);
    CHECK_EQ(rdmsr(X2APIC_CUR_COUNT), 0);
    CASE("periodic: again and again, until the count is 0");
    wrmsr(X2APIC_LVT_TIMER, 0x31 | LVT_PERIODIC);
    wrmsr(X2APIC_INIT_COUNT, 500000);
    wait_for(6);
    CHECK(count >= 6);
    wrmsr(X2APIC_INIT_COUNT, 0);
    sti_nop();
    cli();
    unsigned now = count;
    uint64_t until = rdtsc() + 4000000;
    sti();
    while (rdtsc() < until)
        ;
    cli();
    CHECK_EQ(count, now);
    CASE("divided by 128");
    wrmsr(X2APIC_DIVIDE, 0xa);
    wrmsr(X2APIC_LVT_TIMER, 0x31);
    wrmsr(X2APIC_INIT_COUNT, 10000);
    now = count;
    wait_for(now + 1);
    CHECK_EQ(count, now + 1);
    CASE("deadline MSR in one-shot mode: ignored");
    wrmsr(MSR_TSC_DEADLINE, 1);
    CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
    CASE("reserved bits: #GP");
    TRY_IN("wrmsr", "c"(X2APIC_LVT_TIMER), "a"(0), "d"(1));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("wrmsr", "c"(X2APIC_ID), "a"(0), "d"(0));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("wrmsr", "c"(X2APIC_EOI), "a"(1), "d"(0));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("rdmsr", "c"(0x8f0), "a"(0), "d"(0));
    EXPECT_FAULT(VEC_GP, 0);
}

void guest_main(void)
{
    apic_enable();
    on_vector(0x30, tick);
    on_vector(0x31, tick);
    deadline();
    counted();
}
