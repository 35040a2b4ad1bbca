/* Exceptions of user code: what the kernel finds in the frame. SDM 3 §6.15; #AC needs CR0.AM and
 * RFLAGS.AC at CPL 3. */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(divide, "xor %ecx, %ecx; div %ecx");
USER_CODE(overflow, "mov $0x80000000, %eax; cltd; mov $-1, %ecx; idiv %ecx");
USER_CODE(breakpoint, "nop; int3; nop");
USER_CODE(breakpoint2, ".byte 0xcd, 3; nop");
USER_CODE(undefined, "nop; ud2");
USER_CODE(undefined2, ".byte 0x06");
USER_CODE(into, ".byte 0xce");
USER_CODE(int4, "int $4");
USER_CODE(int80, "int $0x80; nop");
USER_CODE(int81, "int $0x81");
USER_CODE(int0, "int $0");
USER_CODE(int13, "int $13");
USER_CODE(int255, "int $255");
USER_CODE(noncanonical, "movb (%rdi), %al");
USER_CODE(noncanonical_push, "mov %rdi, %rsp; push %rax");
USER_CODE(noncanonical_jump, "jmp *%rdi");
USER_CODE(noncanonical_ret, "push %rdi; ret");
USER_CODE(unaligned, "mov (%rdi), %eax; syscall");
USER_CODE(step, "pushfq; orl $0x100, (%rsp); popfq; nop; nop; syscall");
USER_CODE(step_syscall, "pushfq; orl $0x100, (%rsp); popfq; syscall; nop");
USER_CODE(icebp, ".byte 0xf1; nop");
USER_CODE(many_registers, "mov $0x0102030405060708, %rax; mov %rax, %rbx; inc %rbx; mov %rbx, "
                          "%rcx; inc %rcx; mov %rcx, %r15; inc %r15;"
                          "mov %r15, %rbp; inc %rbp; stc; std; ud2");
USER_CODE(lock_nop, ".byte 0xf0, 0x90");
USER_CODE(sse_unaligned, "movaps 8(%rdi), %xmm0");

static void plain(void)
{
    CASE("#DE");
    user_run(divide);
    EXPECT_USER_FAULT(VEC_DE, 0, divide + 2);
    user_run(overflow);
    EXPECT_USER_FAULT(VEC_DE, 0, overflow_end - 2);
    CASE("#BP: RIP after the instruction, DPL 3 gate");
    set_gate(VEC_BP, GATE_INTERRUPT, 3, 0);
    user_run(breakpoint);
    EXPECT_USER_TRAP(VEC_BP, breakpoint + 2);
    user_run(breakpoint2);
    EXPECT_USER_TRAP(VEC_BP, breakpoint2 + 2);
    CASE("#BP through a DPL 0 gate: #GP with the vector");
    set_gate(VEC_BP, GATE_INTERRUPT, 0, 0);
    user_run(breakpoint);
    EXPECT_USER_FAULT(VEC_GP, VEC_BP * 8 + 2, breakpoint + 1);
    user_run(breakpoint2);
    EXPECT_USER_FAULT(VEC_GP, VEC_BP * 8 + 2, breakpoint2);
    CASE("#UD");
    user_run(undefined);
    EXPECT_USER_FAULT(VEC_UD, 0, undefined + 1);
    user_run(undefined2);
    EXPECT_USER_FAULT(VEC_UD, 0, undefined2);
    user_run(into);
    EXPECT_USER_FAULT(VEC_UD, 0, into);
    user_run(lock_nop);
    EXPECT_USER_FAULT(VEC_UD, 0, lock_nop);
    CASE("all registers and flags");
    user_run(many_registers);
    EXPECT_USER_FAULT(VEC_UD, 0, many_registers_end - 2);
    CHECK_EQ(trap.rax, 0x0102030405060708);
    CHECK_EQ(trap.rbp, 0x010203040506070c);
    CHECK_EQ(trap.r15, 0x010203040506070b);
    CHECK_EQ(trap.r8, 0);
    CHECK_EQ(trap.rsp, USER_STACK - 8);
    CHECK_EQ(trap.ss, USER_DS);
    CHECK_EQ(trap.cs, USER_CS);
    CHECK_EQ(trap.rflags & 0x3f7fff & ~RFLAGS_ARITH,
             RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_RF);
    CHECK(trap.rflags & RFLAGS_CF);
    CASE("the frame is at the top of RSP0's stack");
    CHECK_EQ(trap_frame + sizeof(struct regs), tss.rsp[0]);
}

static void software_interrupts(void)
{
    CASE("int 0x80 through a DPL 3 gate");
    set_gate(0x80, GATE_TRAP, 3, 0);
    user_run(int80);
    EXPECT_USER_TRAP(0x80, int80 + 2);
    CHECK(trap.rflags & RFLAGS_IF);
    user_resume();
    CASE("int 0x80 through a DPL 0 gate");
    set_gate(0x80, GATE_TRAP, 0, 0);
    user_run(int80);
    EXPECT_USER_FAULT(VEC_GP, 0x80 * 8 + 2, int80);
    CASE("int n through DPL 0 gates");
    user_run(int81);
    EXPECT_USER_FAULT(VEC_GP, 0x81 * 8 + 2, int81);
    user_run(int0);
    EXPECT_USER_FAULT(VEC_GP, 0 * 8 + 2, int0);
    user_run(int13);
    EXPECT_USER_FAULT(VEC_GP, 13 * 8 + 2, int13);
    user_run(int255);
    EXPECT_USER_FAULT(VEC_GP, 255 * 8 + 2, int255);
    CASE("int n through DPL 3 gates");
    set_gate(0x81, GATE_INTERRUPT, 3, 0);
    user_run(int81);
    EXPECT_USER_TRAP(0x81, int81_end);
    set_gate(255, GATE_INTERRUPT, 3, 0);
    user_run(int255);
    EXPECT_USER_TRAP(255, int255_end);
    CASE("int 13 through a DPL 3 gate: no error code is pushed");
    idt[13][0] = idt[0x81][0]; /* a stub that pushes a 0 itself */
    idt[13][1] = idt[0x81][1];
    user_run(int13);
    EXPECT_USER_TRAP(0x81, int13_end);
    set_gate(13, GATE_INTERRUPT, 0, 0);
    CASE("int 4 through a DPL 3 gate");
    set_gate(VEC_OF, GATE_INTERRUPT, 3, 0);
    user_run(int4);
    EXPECT_USER_TRAP(VEC_OF, int4_end);
    set_gate(VEC_OF, GATE_INTERRUPT, 0, 0);
    user_run(int4);
    EXPECT_USER_FAULT(VEC_GP, VEC_OF * 8 + 2, int4);
    CASE("int n with a gate that is not present");
    set_gate_raw(0x81, KERNEL_CS, 0, 0x6e, 0);
    user_run(int81);
    EXPECT_USER_FAULT(VEC_NP, 0x81 * 8 + 2, int81);
}

static void addresses(void)
{
    CASE("#GP(0): non-canonical load");
    user_call(noncanonical, 0x800000000000, 0, 0);
    EXPECT_USER_FAULT(VEC_GP, 0, noncanonical);
    user_call(noncanonical, 0xfff7000000000000, 0, 0);
    EXPECT_USER_FAULT(VEC_GP, 0, noncanonical);
    CASE("#SS(0): non-canonical push");
    user_call(noncanonical_push, 0x800000001000, 0, 0);
    EXPECT_USER_FAULT(VEC_SS, 0, noncanonical_push_end - 1);
    CHECK_EQ(trap.rsp, 0x800000001000);
    CASE("#GP(0): non-canonical jump and return");
    user_call(noncanonical_jump, 0x800000001000, 0, 0);
    CHECK_EQ(trap.vector, VEC_GP);
    CHECK_EQ(trap.error, 0);
    CHECK(trap.rip == (uint64_t)noncanonical_jump || trap.rip == 0x800000001000);
    user_call(noncanonical_ret, 0x8000000000001000, 0, 0);
    CHECK_EQ(trap.vector, VEC_GP);
    CHECK_EQ(trap.error, 0);
    CASE("kernel addresses: #PF with U");
    user_call(noncanonical, 0xffff888000000000, 0, 0);
    EXPECT_USER_PF(PF_U | PF_P, 0xffff888000000000, noncanonical);
    user_call(noncanonical, 0xffff900000000123, 0, 0);
    EXPECT_USER_PF(PF_U, 0xffff900000000123, noncanonical);
    user_call(noncanonical_jump, 0xffffffff80000000, 0, 0);
    EXPECT_USER_PF(PF_U | PF_P | PF_I, 0xffffffff80000000, 0xffffffff80000000);
    CASE("#GP(0): unaligned movaps");
    user_call(sse_unaligned, USER_PAGE, 0, 0);
    EXPECT_USER_FAULT(VEC_GP, 0, sse_unaligned);
}

static void alignment(void)
{
    CASE("#AC(0) with CR0.AM and RFLAGS.AC");
    write_cr0(read_cr0() | CR0_AM);
    user_prepare(unaligned);
    user.rdi = USER_PAGE + 1;
    user.rflags |= RFLAGS_AC;
    user_resume();
    EXPECT_USER_FAULT(VEC_AC, 0, unaligned);
    CHECK(trap.rflags & RFLAGS_AC);
    CASE("no #AC: aligned, or AC clear");
    user.rdi = USER_PAGE + 4;
    user_resume();
    EXPECT_SYSCALL(unaligned_end);
    user_call(unaligned, USER_PAGE + 1, 0, 0);
    EXPECT_SYSCALL(unaligned_end);
    CASE("no #AC in the kernel");
    write_flags(read_flags() | RFLAGS_AC);
    TRY_IN("cmpl $0, (%0)", "r"(trap_frame + 1));
    EXPECT_NOTHING();
    TRY_IN("cmpl $0, (%0)", "r"(USER_PAGE + 1));
    EXPECT_NOTHING();
    CHECK(read_flags() & RFLAGS_AC);
    write_flags(RFLAGS_FIXED);
}

static void single_step(void)
{
    uint64_t dr6;
    CASE("TF in user code: #DB after the next instruction");
    user_run(step);
    CHECK_EQ(trap.vector, VEC_DB);
    CHECK_EQ(trap.rip, step_end - 3);
    CHECK(trap.rflags & RFLAGS_TF);
    CHECK(!(trap.rflags & RFLAGS_RF));
    asm volatile("mov %%dr6, %0" : "=r"(dr6));
    CHECK_EQ(dr6 & 0x4000, 0x4000);
    user_resume();
    CHECK_EQ(trap.vector, VEC_DB);
    CHECK_EQ(trap.rip, step_end - 2);
    CASE("TF over syscall: SFMASK clears it, R11 has it; the kernel sees the system call first");
    user_resume();
    EXPECT_SYSCALL(step_end);
    CHECK(trap.r11 & RFLAGS_TF);
    user_run(step_syscall);
    EXPECT_SYSCALL(step_syscall_end - 1);
    CHECK(trap.r11 & RFLAGS_TF);
    CASE("going back with TF set: #DB after one instruction");
    user_resume();
    CHECK_EQ(trap.vector, VEC_DB);
    CHECK_EQ(trap.rip, step_syscall_end);
    CASE("entered by IRET with TF");
    user_prepare(breakpoint);
    user.rflags |= RFLAGS_TF;
    user_resume();
    CHECK_EQ(trap.vector, VEC_DB);
    CHECK_EQ(trap.rip, breakpoint + 1);
    CASE("int1");
    user_run(icebp);
    EXPECT_USER_TRAP(VEC_DB, icebp + 1);
}

void guest_main(void)
{
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    plain();
    software_interrupts();
    addresses();
    alignment();
    single_step();
}
