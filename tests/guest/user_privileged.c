/* What user code may not do: each privileged instruction is #GP(0) at CPL 3 with IOPL 0. SDM 3 §5.9
 * "Privileged Instructions", SDM 1 §19.5.1 "I/O Privilege Level". */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(all, "i0: cli; ud2; i1: sti; ud2; i2: hlt; ud2; i3: inb $0xf4, %al; ud2; i4: outb %al, "
               "$0xf4; ud2; i5: inl %dx, %eax; ud2;"
               "i6: outb %al, %dx; ud2; i7: insb; ud2; i8: rep outsb; ud2; i9: mov %cr0, %rax; "
               "ud2; i10: mov %rax, %cr0; ud2;"
               "i11: mov %rax, %cr3; ud2; i12: mov %cr4, %rax; ud2; i13: mov %cr8, %rax; ud2; i14: "
               "mov %rax, %cr8; ud2;"
               "i15: mov %dr7, %rax; ud2; i16: mov %rax, %dr0; ud2; i17: rdmsr; ud2; i18: wrmsr; "
               "ud2; i19: lgdt (%rsp); ud2;"
               "i20: lidt (%rsp); ud2; i21: lldt %ax; ud2; i22: ltr %ax; ud2; i23: lmsw %ax; ud2; "
               "i24: clts; ud2; i25: invd; ud2;"
               "i26: wbinvd; ud2; i27: invlpg (%rsp); ud2; i28: swapgs; ud2; i29: sysretq; ud2; "
               "i30: iretq_trap: ud2; i31: xsetbv; ud2;"
               "i32: invpcid (%rsp), %rax; ud2; i33: mov %cr2, %rax; ud2; i34: rdpmc; ud2; i35: "
               "sysretl; ud2; i36:");

#define EXTERN(n) extern const char i##n[];
/* clang-format off */
EXTERN(0) EXTERN(1) EXTERN(2) EXTERN(3) EXTERN(4) EXTERN(5) EXTERN(6) EXTERN(7) EXTERN(8) EXTERN(9) EXTERN(10) EXTERN(11)
EXTERN(12) EXTERN(13) EXTERN(14) EXTERN(15) EXTERN(16) EXTERN(17) EXTERN(18) EXTERN(19) EXTERN(20) EXTERN(21) EXTERN(22)
EXTERN(23) EXTERN(24) EXTERN(25) EXTERN(26) EXTERN(27) EXTERN(28) EXTERN(29) EXTERN(30) EXTERN(31) EXTERN(32) EXTERN(33)
EXTERN(34) EXTERN(35)
    /* clang-format on */

    static const char *const code[] = {i0,  i1,  i2,  i3,  i4,  i5,  i6,  i7,  i8,  i9,  i10, i11,
                                       i12, i13, i14, i15, i16, i17, i18, i19, i20, i21, i22, i23,
                                       i24, i25, i26, i27, i28, i29, i31, i32, i33, i34, i35};

USER_CODE(iret_kernel, "push $0x18; push %rsp; pushfq; push $0x10; push %rdi; iretq");
USER_CODE(retf_kernel, "push $0x10; push %rdi; rex.w lret");
USER_CODE(call_gate, "rex.w lcall *(%rdi)");
USER_CODE(popf_if, "pushfq; andq $~0x200, (%rsp); popfq; pushfq; pop %rax; pushq $0x3202; popfq; "
                   "pushfq; pop %rbx; syscall");
USER_CODE(mov_ss, "mov %edi, %ss");
USER_CODE(mov_ds, "mov %edi, %ds; syscall");
USER_CODE(smsw, "smsw %rax; sgdt -16(%rsp); sidt -32(%rsp); str %rbx; sldt %rcx; syscall");

void guest_main(void)
{
    CASE("each privileged instruction");
    for (unsigned i = 0; i < ARRAY_LEN(code); i++) {
        user_prepare(code[i]);
        user.rsi = USER_PAGE;
        user.rdi = USER_PAGE;
        user.rcx = 0x10;
        user_resume();
        if (trap.vector != VEC_GP || trap.error || trap.rip != (uint64_t)code[i]) {
            print("    instruction ");
            print_dec(i);
            print("\n");
        }
        EXPECT_USER_FAULT(VEC_GP, 0, code[i]);
    }
    CASE("IRET and RET to the kernel's level");
    user_call(iret_kernel, (uint64_t)code, 0, 0);
    EXPECT_USER_FAULT(VEC_GP, KERNEL_CS, iret_kernel_end - 2);
    user_call(retf_kernel, (uint64_t)code, 0, 0);
    EXPECT_USER_FAULT(VEC_GP, KERNEL_CS, retf_kernel_end - 2);
    CASE("popf leaves IF and IOPL alone");
    user_run(popf_if);
    EXPECT_SYSCALL(popf_if_end);
    CHECK_EQ(user.rax & RFLAGS_IF, RFLAGS_IF);
    CHECK_EQ(user.rbx & RFLAGS_IOPL, 0);
    CHECK_EQ(user.r11 & (RFLAGS_IF | RFLAGS_IOPL), RFLAGS_IF);
    CASE("segment registers: the kernel's selectors are #GP(sel)");
    user_call(mov_ss, KERNEL_DS, 0, 0);
    EXPECT_USER_FAULT(VEC_GP, KERNEL_DS, mov_ss);
    user_call(mov_ss, 0, 0, 0);
    EXPECT_USER_FAULT(VEC_GP, 0, mov_ss);
    user_call(mov_ds, KERNEL_DS, 0, 0);
    EXPECT_USER_FAULT(VEC_GP, KERNEL_DS, mov_ds);
    user_call(mov_ds, 0, 0, 0);
    EXPECT_SYSCALL(mov_ds_end);
    user_call(mov_ds, USER_DS, 0, 0);
    EXPECT_SYSCALL(mov_ds_end);
    CASE("the unprivileged store instructions do not fault (their values: docs/limits.md)");
    user_run(smsw);
    EXPECT_SYSCALL(smsw_end);
}
