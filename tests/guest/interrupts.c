/* When an external interrupt is taken: IF, the shadow of STI and MOV SS, HLT, IRET and POPF that
 * set IF, priorities, TPR and CR8, EOI, nesting. SDM 3 §6.8 "Enabling and Disabling Interrupts",
 * §11.8 "Handling Interrupts". */
#include "lib/apic.h"
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_spin, "1: inc %rax; jmp 1b");
USER_CODE(user_nop, "nop; syscall");

static volatile unsigned count, order[16];
static volatile uint64_t last_rip, last_flags;

static void note(struct regs *r)
{
    order[count++ % 16] = (unsigned)r->vector;
    last_rip = r->rip;
    last_flags = r->rflags;
    apic_eoi();
}

static void shadows(void)
{
    CASE("IF clear: held back, visible in IRR; taken after sti and one instruction");
    count = 0;
    self_ipi(0x50);
    CHECK(apic_bit(X2APIC_IRR, 0x50));
    asm volatile("nop; nop");
    CHECK_EQ(count, 0);
    uint64_t after;
    asm volatile("lea 1f(%%rip), %0; sti; nop; 1: nop; cli" : "=r"(after) : : "memory");
    CHECK_EQ(count, 1);
    CHECK_EQ(last_rip, after);
    CHECK(last_flags & RFLAGS_IF);
    CHECK(!apic_bit(X2APIC_IRR, 0x50));
    CASE("sti; cli: never taken");
    self_ipi(0x50);
    asm volatile("sti; cli; nop; nop" : : : "memory");
    CHECK_EQ(count, 1);
    CASE("sti; hlt: wakes, RIP after the hlt");
    asm volatile("lea 1f(%%rip), %0; sti; hlt; 1: cli" : "=r"(after) : : "memory");
    CHECK_EQ(count, 2);
    CHECK_EQ(last_rip, after);
    CASE("sti when IF is set already: no shadow");
    sti();
    asm volatile("lea 1f(%%rip), %0; mov $0x83f, %%ecx; mov $0x50, %%eax; xor %%edx, %%edx; wrmsr; "
                 "1: sti; nop; cli"
                 : "=r"(after)
                 :
                 : "rax", "rcx", "rdx", "memory");
    CHECK_EQ(count, 3);
    CHECK_EQ(last_rip, after);
    CASE("mov ss: one instruction without interrupts");
    self_ipi(0x50);
    asm volatile("mov %%ss, %%eax; sti; mov %%eax, %%ss; lea 1f(%%rip), %0; 1: nop; cli"
                 : "=&r"(after)
                 :
                 : "rax", "memory");
    CHECK_EQ(count, 4);
    CASE("popf that sets IF: no shadow");
    self_ipi(0x50);
    asm volatile("lea 1f(%%rip), %0; pushq $0x202; popfq; 1: nop; cli" : "=r"(after) : : "memory");
    CHECK_EQ(count, 5);
    CHECK_EQ(last_rip, after);
    CASE("cli, sti, pushf, popf: IF is what was set");
    cli();
    CHECK(!(read_flags() & RFLAGS_IF));
    sti();
    CHECK(read_flags() & RFLAGS_IF);
    write_flags(RFLAGS_FIXED);
    CHECK(!(read_flags() & RFLAGS_IF));
    write_flags(RFLAGS_FIXED | RFLAGS_IF);
    CHECK(read_flags() & RFLAGS_IF);
    cli();
}

static void two_in_handler(struct regs *r)
{
    order[count++ % 16] = (unsigned)r->vector;
    if (r->vector == 0x50) {
        self_ipi(0x60); /* higher class: taken at once when IF is set */
        self_ipi(0x40); /* lower: after the EOI */
        sti_nop();
        cli();
        order[count++ % 16] = 0x5f;
    }
    apic_eoi();
}

static void priorities(void)
{
    CASE("several pending: highest vector first");
    count = 0;
    self_ipi(0x41);
    self_ipi(0x91);
    self_ipi(0x61);
    sti_nop();
    asm volatile("nop; nop; cli");
    CHECK_EQ(count, 3);
    CHECK_EQ(order[0], 0x91);
    CHECK_EQ(order[1], 0x61);
    CHECK_EQ(order[2], 0x41);
    CASE("nested: only a higher class interrupts a handler");
    on_vector(0x40, two_in_handler);
    on_vector(0x50, two_in_handler);
    on_vector(0x60, two_in_handler);
    count = 0;
    self_ipi(0x50);
    sti_nop();
    asm volatile("nop; cli");
    CHECK_EQ(count, 4);
    CHECK_EQ(order[0], 0x50);
    CHECK_EQ(order[1], 0x60);
    CHECK_EQ(order[2], 0x5f);
    CHECK_EQ(order[3], 0x40);
    on_vector(0x40, note);
    on_vector(0x50, note);
    on_vector(0x60, note);
    CASE("CR8 masks classes up to its value");
    count = 0;
    write_cr8(5);
    CHECK_EQ(read_cr8(), 5);
    CHECK_EQ(rdmsr(X2APIC_TPR), 0x50);
    self_ipi(0x50);
    self_ipi(0x60);
    sti_nop();
    asm volatile("nop");
    CHECK_EQ(count, 1);
    CHECK_EQ(order[0], 0x60);
    asm volatile("lea 1f(%%rip), %0; mov %1, %%cr8; 1: nop; cli"
                 : "=&r"(last_rip)
                 : "r"(0ull)
                 : "memory");
    CHECK_EQ(count, 2);
    CHECK_EQ(order[1], 0x50);
    CASE("TPR by MSR, and hlt does not wake for a masked one");
    wrmsr(X2APIC_TPR, 0x6f);
    CHECK_EQ(read_cr8(), 6);
    self_ipi(0x60);
    sti_nop();
    CHECK_EQ(count, 2);
    wrmsr(X2APIC_TPR, 0);
    asm volatile("nop; cli");
    CHECK_EQ(count, 3);
    CASE("the same vector twice before it is taken: once");
    self_ipi(0x70);
    self_ipi(0x70);
    sti_nop();
    asm volatile("nop; cli");
    CHECK_EQ(count, 4);
    CASE("vectors below 16 cannot be sent");
    TRY_IN("wrmsr", "c"(X2APIC_SELF_IPI), "a"(0x100), "d"(0));
    EXPECT_FAULT(VEC_GP, 0);
}

static void stop_user(struct regs *r)
{
    count++;
    apic_eoi();
    if ((r->cs & 3) == 3)
        r->rip = (uint64_t)user_nop;
}

static void in_user(void)
{
    CASE("an interrupt pending when user code is entered with IF set");
    count = 0;
    self_ipi(0x55);
    user_run(user_nop);
    EXPECT_SYSCALL(user_nop_end);
    CHECK_EQ(count, 1);
    CASE("a timer interrupt out of a loop in user code");
    on_vector(0x56, stop_user);
    wrmsr(X2APIC_DIVIDE, 0xb);
    wrmsr(X2APIC_LVT_TIMER, 0x56);
    wrmsr(X2APIC_INIT_COUNT, 3000000);
    user_run(user_spin);
    EXPECT_SYSCALL(user_nop_end);
    CHECK_EQ(count, 2);
    CHECK(user.rax > 1000);
    CASE("a timer interrupt out of a loop in the kernel");
    wrmsr(X2APIC_INIT_COUNT, 3000000);
    sti();
    while (count == 2)
        ;
    cli();
    CHECK_EQ(count, 3);
    CASE("a timer interrupt out of a long rep stos: registers are exact");
    uint64_t to = SPARE_HIGH, n = 0;
    for (unsigned i = 0; i < 64; i++)
        map(SPARE_HIGH + i * KB4, page_alloc(), PTE_KERNEL);
    wrmsr(X2APIC_INIT_COUNT, 200000);
    sti();
    for (unsigned i = 0; i < 2000 && count == 3; i++) {
        to = SPARE_HIGH;
        n = 64 * KB4;
        asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(i) : "memory");
        CHECK_EQ(n, 0);
        CHECK_EQ(to, SPARE_HIGH + 64 * KB4);
        CHECK_EQ(*(uint8_t *)(SPARE_HIGH + 64 * KB4 - 1), i & 0xff);
    }
    cli();
    CHECK_EQ(count, 4);
}

void guest_main(void)
{
    apic_enable();
    for (unsigned v = 0x40; v < 0xf0; v++)
        on_vector(v, note);
    shadows();
    priorities();
    in_user();
}
