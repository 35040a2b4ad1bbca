/* RFLAGS.TF in the kernel: a trap after each instruction, whatever the instruction is. SDM 3
 * §17.3.1.4 "Single-Step Exception Condition". */
#include "lib/apic.h"
#include "lib/paging.h"

#define MAX 64
static volatile uint64_t rips[MAX], flags_at[MAX];
static volatile unsigned steps;

/* Note each step; stop stepping when `rip` leaves [probe.start, probe.end). */
static void on_step(struct regs *r)
{
    if (steps < MAX) {
        rips[steps] = r->rip;
        flags_at[steps] = r->rflags;
    }
    steps++;
    if (r->rip >= probe.end || r->rip < probe.start || steps == MAX)
        r->rflags &= ~RFLAGS_TF;
    asm volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
}

static uint64_t buffer[16], other[16];
extern const char s1[], s2[], s3[], s4[], s5[], s6[], s7[], s8[], s9[], s10[];

void guest_main(void)
{
    set_gate(VEC_DB, GATE_INTERRUPT, 0, 3);
    on_vector(VEC_DB, on_step);
    CASE("plain instructions, branches, calls");
    TRY("pushq $0x102; popfq; nop; s1: jmp 1f; ud2; 1: s2: call 2f; s3: jmp 3f; 2: s4: ret; 3: s5: "
        "nop");
    CHECK_EQ(steps, 6);
    CHECK_EQ(rips[0], (uint64_t)s1);
    CHECK_EQ(rips[1], (uint64_t)s2);
    CHECK_EQ(rips[2], (uint64_t)s4);
    CHECK_EQ(rips[3], (uint64_t)s3);
    CHECK_EQ(rips[4], (uint64_t)s5);
    CHECK_EQ(rips[5], probe.end);
    CHECK(flags_at[0] & RFLAGS_TF);
    CASE("pushf shows TF; instructions that are emulated: cpuid, wrmsr, mov cr, cli, sti");
    steps = 0;
    uint64_t image;
    asm volatile(TRY_BEGIN "pushq $0x102; popfq; pushfq; s6: pop %0; cpuid; mov %%cr3, %%rax; s7: "
                           "mov %%rax, %%cr3; cli; sti; nop; cli" TRY_END
                 : "=&D"(image)
                 : "a"(0), "c"(0)
                 : "rbx", "rdx", "memory");
    CHECK_EQ(image & RFLAGS_TF, RFLAGS_TF);
    CHECK_EQ(rips[0], (uint64_t)s6);
    CHECK_EQ(rips[3], (uint64_t)s7);
    CHECK(steps == 9); /* no trap is lost after sti: it holds off interrupts only */
    CASE("rep movsb: a trap after each iteration");
    steps = 0;
    for (unsigned i = 0; i < 16; i++)
        ((uint8_t *)buffer)[i] = (uint8_t)(i + 1);
    TRY_IN(
        "mov %0, %%rsi; mov %1, %%rdi; mov $5, %%ecx; pushq $0x102; popfq; s8: rep movsb; s9: nop",
        "r"(buffer), "r"(other));
    CHECK_EQ(steps, 6);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(rips[i], (uint64_t)s8);
    CHECK_EQ(rips[4], (uint64_t)s9);
    CHECK_EQ(other[0], 0x0504030201);
    CASE("a fault on a stepped instruction: the fault's frame has TF, no #DB");
    steps = 0;
    TRY("pushq $0x102; popfq; ud2");
    CHECK_EQ(trap.vector, VEC_UD);
    CHECK(trap.rflags & RFLAGS_TF);
    CHECK_EQ(steps, 0);
    CASE("int3 on a stepped instruction: TF is clear in the handler");
    TRY("pushq $0x102; popfq; int3");
    CHECK_EQ(trap.vector, VEC_BP);
    CHECK_EQ(steps, 0);
    CASE("popf that clears TF: one more trap after it");
    steps = 0;
    TRY("pushq $2; pushq $0x102; popfq; popfq; s10: nop; nop");
    CHECK_EQ(steps, 1);
    CHECK_EQ(rips[0], (uint64_t)s10);
    CHECK_EQ(flags_at[0] & RFLAGS_TF, 0);
    CASE("mov ss: the trap comes after the next instruction");
    steps = 0;
    TRY("mov %%ss, %%eax; pushq $0x102; popfq; mov %%eax, %%ss; nop; nop");
    CHECK_EQ(rips[0], probe.end - 1);
}
