/* See hostile.h. */
#include "lib/hostile.h"
#include "lib/apic.h"
#include "lib/paging.h"

USER_CODE(hostile_work, "xor %eax, %eax; mov $1000, %ecx; 1: add %rcx, %rax; push %rax; pop %rbx; "
                        "dec %ecx; jnz 1b; mov %rax, (%rdi);"
                        "mov (%rdi), %rdx; syscall");

static uint64_t other_root, seed = 0x9e3779b97f4a7c15;

void hostile_start(void)
{
    apic_enable();
    wrmsr(X2APIC_DIVIDE, 0xb);
    wrmsr(X2APIC_LVT_TIMER, VEC_HOSTILE_TIMER);
    other_root = root_fresh();
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
}

void hostile_run(uint64_t tag)
{
    (void)tag;
    wrmsr(X2APIC_INIT_COUNT, 50000000);
    user_resume();
    wrmsr(X2APIC_INIT_COUNT, 0);
    if (trap.vector == VEC_HOSTILE_TIMER)
        apic_eoi();
    else if (apic_bit(X2APIC_IRR, VEC_HOSTILE_TIMER)) { /* it came too late: swallow it */
        user_prepare(hostile_work);
        user_resume();
        apic_eoi();
    }
}

static void work(void)
{
    struct regs saved = user, saved_trap = trap;
    user_call(hostile_work, USER_PAGE, 0, 0);
    EXPECT_SYSCALL(hostile_work_end);
    CHECK_EQ(user.rdx, 500500);
    user = saved;
    trap = saved_trap;
}

void hostile_alive(void)
{
    uint64_t cr3 = read_cr3();
    work();
    write_cr3(other_root);
    work();
    write_cr3(cr3);
    work();
}

uint64_t hostile_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}
