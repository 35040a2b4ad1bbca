/* User code with absurd registers: flags, segment registers, FPU images, bases, stacks, selectors
 * that only the host knows. */
#include "lib/homes.h"
#include "lib/hostile.h"
#include "lib/paging.h"

USER_CODE(load_ds, "mov %edi, %ds; mov %edi, %es; syscall");
USER_CODE(load_fs, "mov %edi, %fs; syscall");
USER_CODE(load_gs, "mov %edi, %gs; syscall");
USER_CODE(load_ss, "mov %edi, %ss; syscall");
USER_CODE(far_jump, "ljmp *(%rdi); ud2");
USER_CODE(far_ret, "push %rsi; push %rdi; rex.w lret");
USER_CODE(iretq, "push %rdx; push %rcx; push %r8; push %rsi; push %rdi; iretq");
USER_CODE(restore, "mov $-1, %eax; mov $-1, %edx; xrstor (%rdi); syscall");
USER_CODE(fx_restore, "fxrstor (%rdi); syscall");
USER_CODE(bases, "wrfsbase %rdi; wrgsbase %rsi; syscall; ud2");
USER_CODE(stack_fault, "mov %rdi, %rsp; mov (0), %rax");
USER_CODE(stack_call, "mov %rdi, %rsp; syscall");
USER_CODE(stack_int3, "mov %rdi, %rsp; int3");
USER_CODE(set_flags, "mov %rsp, %rbx; push %rdi; popfq; mov %rbx, %rsp; syscall; ud2");
USER_CODE(set_flags_fault, "push %rdi; popfq; ud2");
USER_CODE(lock_bytes, "lock cmpxchg8b (%rdi); syscall");
USER_CODE(hang, "1: jmp 1b");
USER_CODE(code32, ".byte 0x8e, 0xdf, 0x8e, 0xe7, 0xcd, 0x80, 0x0f, 0x0b"); /* mov ds, edi; mov fs,
                                                                              edi; int 0x80 */

static uint8_t *page;

static void selectors(void)
{
    CASE("every kind of selector in DS, ES, FS, GS, SS");
    static const char *const loads[] = {load_ds, load_fs, load_gs, load_ss};
    for (unsigned k = 0; k < 4; k++) {
        for (uint64_t sel = 0; sel < 0x120; sel++) {
            user_prepare(loads[k]);
            user.rdi = sel;
            hostile_run(sel);
            if ((trap.vector == VEC_GP || trap.vector == VEC_NP) && trap.error != (sel & 0xfffc) &&
                trap.error != 0)
                CHECK_EQ(trap.error, sel & 0xfffc);
        }
        for (uint64_t sel = 0x120; sel < 0x10000; sel += 0x7f7) {
            user_prepare(loads[k]);
            user.rdi = sel;
            hostile_run(sel);
            CHECK_EQ(trap.vector, VEC_GP);
        }
        hostile_alive();
    }
    CASE("far jumps, returns and IRETs to every selector");
    for (uint64_t sel = 0; sel < 0x110; sel++) {
        *(uint32_t *)page = (uint32_t)(uint64_t)hang;
        *(uint16_t *)(page + 4) = (uint16_t)sel;
        user_prepare(far_jump);
        user.rdi = USER_PAGE;
        if (sel != USER_CS && sel != USER_CS32 && sel != (USER_CS & ~3u) &&
            sel != (USER_CS32 & ~3u) && (sel | 3) != (USER_CS | 3) &&
            (sel | 3) != (USER_CS32 | 3)) {
            hostile_run(sel);
            user_prepare(far_ret);
            user.rdi = (uint64_t)hang;
            user.rsi = sel;
            hostile_run(sel);
            user_prepare(iretq);
            user.rdi = (uint64_t)hang;
            user.rsi = sel;
            user.rdx = USER_DS;
            user.rcx = USER_STACK;
            user.r8 = 0x7fffff;
            hostile_run(sel);
        }
    }
    hostile_alive();
    CASE("32-bit code with odd selectors");
    for (uint64_t sel = 0; sel < 0x90; sel++) {
        user_prepare(code32);
        user.cs = USER_CS32;
        user.rdi = sel;
        hostile_run(sel);
    }
    hostile_alive();
}

static void fpu(void)
{
    CASE("xrstor and fxrstor of garbage");
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned k = 0; k < KB4 / 8; k++)
            ((uint64_t *)page)[k] = hostile_random();
        if (i & 1)
            memset(page + 520, 0, 56);
        if (i & 2)
            *(uint64_t *)(page + 512) = hostile_random() & 0x602e7;
        if (i & 4)
            *(uint32_t *)(page + 24) &= 0xffff;
        user_prepare(i & 8 ? fx_restore : restore);
        user.rdi = USER_PAGE + (i & 16 ? 0 : 64 * (i & 7));
        hostile_run(i);
        if (i % 20 == 0)
            hostile_alive();
    }
    CASE("the kernel's own SIMD after that");
    asm volatile("pxor %%xmm1, %%xmm1; fninit" : : : "memory");
    uint32_t mxcsr = 0x1f80;
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
    hostile_alive();
}

static void addresses(void)
{
    static const uint64_t odd[] = {0,
                                   1,
                                   0xfff,
                                   FIRST_STUB,
                                   FIRST_STUB + 0xc000,
                                   FIRST_STUB + 0xd008,
                                   FIRST_STUB + 0x2d000,
                                   FIRST_STUB + 0x3ffff,
                                   0x7fffffffefff,
                                   0x7fffffffffff,
                                   0x800000000000,
                                   0xffff800000000000,
                                   0xffffffff80000000,
                                   0xfffffffffffffff8,
                                   0x10000000000,
                                   0xdeadbeefdeadbeef};
    CASE("bases and stacks everywhere");
    for (unsigned i = 0; i < ARRAY_LEN(odd); i++) {
        user_prepare(bases);
        user.rdi = odd[i];
        user.rsi = odd[(i + 5) % ARRAY_LEN(odd)];
        hostile_run(i);
        if (trap.vector == VEC_SYSCALL) {
            user_resume();
            CHECK_EQ(trap.vector, VEC_UD);
        }
        for (unsigned k = 0; k < 3; k++) {
            user_prepare(k == 0 ? stack_fault : k == 1 ? stack_call : stack_int3);
            user.rdi = odd[i];
            hostile_run(i);
            CHECK(trap.vector == (k == 0   ? VEC_PF
                                  : k == 1 ? VEC_SYSCALL
                                           : VEC_GP) ||
                  trap.vector == VEC_PF || trap.vector == VEC_GP);
        }
        hostile_alive();
    }
    wrmsr(MSR_FS_BASE, 0);
    wrmsr(MSR_GS_BASE, 0);
}

static void flags(void)
{
    CASE("every flag by popf, then a call and a fault");
    write_cr0(read_cr0() | CR0_AM);
    for (unsigned b = 0; b < 64; b++) {
        user_prepare(set_flags);
        user.rdi = 1ull << b;
        hostile_run(b);
        CHECK(trap.vector == VEC_SYSCALL || trap.vector == VEC_DB);
        user_prepare(set_flags_fault);
        user.rdi = 1ull << b;
        hostile_run(b);
        CHECK(trap.vector == VEC_UD || trap.vector == VEC_DB);
    }
    for (unsigned i = 0; i < 200; i++) {
        user_prepare(i & 1 ? set_flags : set_flags_fault);
        user.rdi = hostile_random() & ~RFLAGS_TF;
        user.rflags |=
            hostile_random() & (RFLAGS_NT | RFLAGS_AC | RFLAGS_DF | RFLAGS_ID | RFLAGS_RF);
        user.rsp -= 3 * (i & 2);
        hostile_run(i);
    }
    hostile_alive();
    CASE("a locked instruction across a cache line and page, hanging code");
    user_prepare(lock_bytes);
    user.rdi = USER_PAGE + 60;
    hostile_run(0);
    for (unsigned i = 0; i < 5; i++) {
        user_prepare(hang);
        user.rflags |= i & 1 ? RFLAGS_AC | RFLAGS_DF : 0;
        hostile_run(0);
        CHECK_EQ(trap.vector, VEC_HOSTILE_TIMER);
        CHECK_EQ(trap.rip, (uint64_t)hang);
    }
    hostile_alive();
}

void guest_main(void)
{
    hostile_start();
    write_cr4(read_cr4() | CR4_FSGSBASE);
    page = va_of(pa_of((void *)USER_PAGE));
    selectors();
    fpu();
    addresses();
    flags();
}
