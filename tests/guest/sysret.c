/* SYSCALL and SYSRET: what they save, load and refuse. SDM 2 "SYSCALL", "SYSRET". */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_syscall, "mov $0x1234, %eax; syscall; nop; syscall");
USER_CODE(user_sysret, "sysretq");
USER_CODE(user_flags, "stc; std; syscall");
USER_CODE(user_red_zone, "movq $0x55, -8(%rsp); syscall; cmpq $0x55, -8(%rsp); syscall");

static void calls(void)
{
    CASE("syscall: RCX, R11, flags masked, registers kept");
    user_run(user_syscall);
    EXPECT_SYSCALL(user_syscall + 7);
    CHECK_EQ(user.rcx, user.rip);
    CHECK_EQ(user.r11, USER_FLAGS_START);
    CHECK_EQ(user.rax, 0x1234);
    user.rax = 7;
    user_resume();
    EXPECT_SYSCALL(user_syscall_end);
    CHECK_EQ(user.rax, 7);
    CASE("sysretq goes back: RIP, flags, CS, SS");
    user_prepare(user_syscall + 7);
    user.rflags |= RFLAGS_CF | RFLAGS_DF;
    user_resume_sysret();
    EXPECT_SYSCALL(user_syscall_end);
    CHECK_EQ(user.r11, USER_FLAGS_START | RFLAGS_CF | RFLAGS_DF);
    CASE("and the selectors are those of STAR");
    user_prepare(user_syscall);
    user_resume_sysret();
    EXPECT_SYSCALL(user_syscall + 7);
    CASE("10,000 system calls");
    user_prepare(user_syscall + 7);
    for (unsigned i = 0; i < 10000; i++) {
        user.rip = (uint64_t)user_syscall + 8;
        user.rbx = i;
        user_resume_sysret();
        if (trap.vector != VEC_SYSCALL || user.rbx != i)
            EXPECT_SYSCALL(user_syscall_end);
    }
    CASE("SFMASK: DF and CF of user code do not reach the kernel's entry");
    wrmsr(MSR_SFMASK, RFLAGS_DF | RFLAGS_CF | RFLAGS_TF | RFLAGS_IF);
    user_run(user_flags);
    EXPECT_SYSCALL(user_flags_end);
    CHECK_EQ(user.r11 & (RFLAGS_CF | RFLAGS_DF), RFLAGS_CF | RFLAGS_DF);
    CASE("the red zone is the user's");
    user_run(user_red_zone);
    EXPECT_SYSCALL(user_red_zone_end - 8);
    user_resume();
    EXPECT_SYSCALL(user_red_zone_end);
    CHECK(user.r11 & RFLAGS_ZF);
}

static void refusals(void)
{
    CASE("EFER.SCE clear: both are #UD");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SCE);
    TRY("syscall");
    EXPECT_FAULT(VEC_UD, 0);
    TRY("sysretq");
    EXPECT_FAULT(VEC_UD, 0);
    user_run(user_syscall);
    EXPECT_USER_FAULT(VEC_UD, 0, user_syscall + 5);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    CASE("sysretq to a non-canonical RIP: #GP(0) in the kernel on Intel, in user code on AMD");
    TRY_IN("mov $0x202, %%r11d; sysretq", "c"(0x800000000000));
    CHECK_EQ(trap.vector, VEC_GP);
    CHECK_EQ(trap.error, 0);
    CASE("sysret at CPL 3: #GP(0)");
    user_run(user_sysret);
    EXPECT_USER_FAULT(VEC_GP, 0, user_sysret);
    CASE("SYSCALL in the kernel");
    extern const char kernel_syscall_target[];
    wrmsr(MSR_LSTAR, (uint64_t)kernel_syscall_target);
    uint64_t rcx, r11;
    asm volatile("stc; syscall; 1: nop\n.globl kernel_syscall_target\nkernel_syscall_target: mov "
                 "%%rcx, %0; mov %%r11, %1"
                 : "=r"(rcx), "=r"(r11)
                 :
                 : "rcx", "r11", "cc");
    CHECK_EQ(rcx, (uint64_t)kernel_syscall_target - 1);
    CHECK(r11 & RFLAGS_CF);
    extern const char syscall_entry[];
    wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
    CASE("LSTAR must be canonical");
    TRY_IN("wrmsr", "c"(MSR_LSTAR), "a"(0), "d"(0x8000));
    EXPECT_FAULT(VEC_GP, 0);
}

void guest_main(void)
{
    calls();
    refusals();
}
