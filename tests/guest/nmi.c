/* NMIs: not masked by IF, blocked until IRET, one kept pending meanwhile, inside handlers of
 * interrupts. SDM 3 §6.7. */
#include "lib/apic.h"
#include "lib/user.h"

USER_CODE(user_spin, "1: inc %rax; cmp $0, %rdi; je 1b; syscall");

static volatile unsigned nmis, inside, deepest, again;

static void on_nmi(struct regs *r)
{
    (void)r;
    nmis++;
    inside++;
    deepest = inside > deepest ? inside : deepest;
    if (again) {
        again--;
        send_nmi(); /* blocked: comes after our IRET */
        send_nmi(); /* only one is kept */
        for (volatile unsigned i = 0; i < 1000; i++)
            ;
    }
    inside--;
}

static void on_nmi_iret(struct regs *r)
{
    (void)r;
    nmis++;
    inside++;
    deepest = inside > deepest ? inside : deepest;
    if (again) {
        again--;
        /* an IRET inside the handler lifts the block */
        asm volatile(
            "mov %%rsp, %%rax; push $0x18; push %%rax; pushfq; push $0x10; push $1f; iretq; 1:"
            :
            :
            : "rax", "memory");
        send_nmi();
        for (volatile unsigned i = 0; i < 1000; i++)
            ;
    }
    inside--;
}

static void timer(struct regs *r)
{
    apic_eoi();
    send_nmi(); /* taken here, with IF clear */
    if ((r->cs & 3) == 3)
        r->rdi = 1;
}

void guest_main(void)
{
    apic_enable();
    set_gate(VEC_NMI, GATE_INTERRUPT, 0, 2);
    on_vector(VEC_NMI, on_nmi);
    CASE("taken with IF clear, at once");
    send_nmi();
    asm volatile("nop");
    CHECK_EQ(nmis, 1);
    CASE("blocked inside its handler, one kept");
    again = 1;
    send_nmi();
    asm volatile("nop; nop");
    CHECK_EQ(nmis, 3);
    CHECK_EQ(deepest, 1);
    CASE("an IRET in the handler unblocks");
    set_gate(VEC_NMI, GATE_INTERRUPT, 0, 0);
    on_vector(VEC_NMI, on_nmi_iret);
    nmis = deepest = 0;
    again = 1;
    send_nmi();
    asm volatile("nop; nop");
    CHECK_EQ(nmis, 2);
    CHECK_EQ(deepest, 2);
    CASE("INT 2 does not block");
    again = 0;
    asm volatile("int $2");
    CHECK_EQ(nmis, 3);
    send_nmi();
    asm volatile("nop");
    CHECK_EQ(nmis, 4);
    CASE("inside the handler of an interrupt that woke HLT");
    on_vector(0x40, timer);
    wrmsr(X2APIC_DIVIDE, 0xb);
    wrmsr(X2APIC_LVT_TIMER, 0x40);
    wrmsr(X2APIC_INIT_COUNT, 1000000);
    asm volatile("sti; hlt; cli" : : : "memory");
    asm volatile("nop");
    CHECK_EQ(nmis, 5);
    CASE("inside the handler of an interrupt out of user code");
    wrmsr(X2APIC_INIT_COUNT, 2000000);
    user_run(user_spin);
    EXPECT_SYSCALL(user_spin_end);
    CHECK_EQ(nmis, 6);
}
