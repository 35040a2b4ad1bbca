/* IRET: to the same level, to user code 64-bit and 32-bit, and every check it makes. SDM 2
 * "IRET/IRETD/IRETQ". */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_nop, "nop; syscall");
USER_CODE(user_flags, "pushfq; pop %rax; syscall");
USER_CODE(user_far_to_32, "ljmp *(%rdi)");
/* 32-bit code: mov eax, 0x12345678; inc ecx (0x41 would be REX.B in 64-bit code); int 0x80 */
USER_CODE(user_32, ".byte 0xb8, 0x78, 0x56, 0x34, 0x12, 0x41, 0xcd, 0x80");

static struct {
    uint64_t rip, cs, rflags, rsp, ss;
} frame;
extern uint64_t landed_rsp, landed_flags;
uint64_t landed_rsp, landed_flags;

extern const char the_iret[], landed[], nt_iret[];

/* IRETQ from `frame`; a good one to the same level comes to `landed` with whatever RSP and flags it
 * said. */
__attribute__((noinline)) static void do_iret(void)
{
    asm volatile(
        TRY_BEGIN
        "mov %%rsp, %%r12; mov %0, %%rsp\n.globl the_iret\nthe_iret:\tiretq\n\t.globl landed\n"
        "landed:\tmov %%rsp, %%r13; pushfq; pop %%r14; mov %%r12, %%rsp; push $2; popfq" TRY_END
        "\n\tmov %%r13, landed_rsp; mov %%r14, landed_flags"
        :
        : "r"(&frame)
        : "memory", "cc", "r12", "r13", "r14");
}

static void good(void)
{
    frame.rip = (uint64_t)landed;
    frame.cs = KERNEL_CS;
    frame.rflags = RFLAGS_FIXED;
    asm volatile("mov %%rsp, %0" : "=r"(frame.rsp));
    frame.ss = KERNEL_DS;
}

static void same_level(void)
{
    static uint64_t other_stack[64];
    CASE("IRET to the same level loads RSP and SS");
    good();
    do_iret();
    EXPECT_NOTHING();
    CHECK_EQ(landed_rsp, frame.rsp);
    frame.rsp = (uint64_t)(other_stack + 32) + 3;
    do_iret();
    CHECK_EQ(landed_rsp, frame.rsp);
    CASE("a null SS is allowed at CPL 0");
    good();
    frame.ss = 0;
    do_iret();
    EXPECT_NOTHING();
    uint64_t ss;
    asm volatile("mov %%ss, %0; mov %1, %%ss" : "=&r"(ss) : "r"((uint64_t)KERNEL_DS));
    CHECK_EQ(ss, 0);
    CASE("flags: IOPL, AC, ID, NT, DF and arithmetic are loaded; RF is not seen by pushf");
    good();
    frame.rflags = RFLAGS_FIXED | RFLAGS_IOPL | RFLAGS_AC | RFLAGS_ID | RFLAGS_NT | RFLAGS_DF |
                   RFLAGS_CF | RFLAGS_RF;
    do_iret();
    EXPECT_NOTHING();
    CHECK_EQ(landed_flags, frame.rflags & ~RFLAGS_RF);
    CASE("TF: #DB after one instruction");
    good();
    frame.rflags = RFLAGS_FIXED | RFLAGS_TF;
    do_iret();
    CHECK_EQ(trap.vector, VEC_DB);
    CHECK_EQ(trap.rip, (uint64_t)landed + 3);
}

static void bad_one(unsigned vector, uint64_t error)
{
    do_iret();
    EXPECT_FAULT_AT(vector, error, the_iret);
    CHECK_EQ(trap.cs, KERNEL_CS);
    CHECK_EQ(trap.rsp, (uint64_t)&frame);
}

static void checks(void)
{
    CASE("#GP(0): RIP not canonical");
    good();
    frame.rip = 0x800000000000;
    bad_one(VEC_GP, 0);
    CASE("#GP(0): CS null; #GP(sel): CS data, beyond the GDT, DPL wrong");
    good();
    frame.cs = 0;
    bad_one(VEC_GP, 0);
    frame.cs = 3;
    bad_one(VEC_GP, 0);
    frame.cs = KERNEL_DS;
    bad_one(VEC_GP, KERNEL_DS);
    frame.cs = 0x800;
    bad_one(VEC_GP, 0x800);
    frame.cs = KERNEL_CS | 3;
    bad_one(VEC_GP, KERNEL_CS);
    frame.cs = USER_CS & ~3u;
    bad_one(VEC_GP, USER_CS & ~3u);
    frame.cs = 0x14; /* LDT, and there is none */
    bad_one(VEC_GP, 0x14);
    CASE("#NP(sel): CS not present");
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0x1b) | DESC_L);
    frame.cs = FREE_SEL;
    bad_one(VEC_NP, FREE_SEL);
    CASE("#GP(sel): CS with both L and D");
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0x9b) | DESC_L | DESC_D);
    bad_one(VEC_GP, FREE_SEL);
    CASE("SS: null with CPL 3, wrong RPL, wrong DPL, code, not present");
    good();
    frame.rip = (uint64_t)user_nop;
    frame.cs = USER_CS;
    frame.ss = 0;
    bad_one(VEC_GP, 0);
    frame.ss = 3;
    bad_one(VEC_GP, 0);
    frame.ss = USER_DS & ~3u;
    bad_one(VEC_GP, USER_DS & ~3u);
    frame.ss = KERNEL_DS | 3;
    bad_one(VEC_GP, KERNEL_DS);
    frame.ss = USER_CS;
    bad_one(VEC_GP, USER_CS & ~3u);
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0x73) | DESC_D);
    frame.ss = FREE_SEL | 3;
    bad_one(VEC_SS, FREE_SEL);
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0xf1) | DESC_D); /* read-only */
    bad_one(VEC_GP, FREE_SEL);
    CASE("NT set: #GP(0)");
    good();
    TRY_IN("mov %0, %%rsp; pushq $0x4002; popfq; .globl nt_iret; nt_iret: iretq", "r"(&frame));
    EXPECT_FAULT_AT(VEC_GP, 0, nt_iret);
    CHECK(trap.rflags & RFLAGS_NT);
    CASE("the frame itself missing");
    TRY_IN("mov %0, %%rsp; iretq", "r"(SPARE_HIGH + KB4 - 16));
    CHECK_EQ(trap.vector, VEC_DF); /* and no stack for the #PF */
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 3);
    TRY_IN("mov %0, %%rsp; iretq", "r"(SPARE_HIGH + KB4 - 16));
    CHECK_EQ(trap.vector, VEC_PF);
    CHECK_EQ(trap.rip, probe.end - 2);
    CHECK_EQ(trap.rsp, SPARE_HIGH + KB4 - 16);
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 0);
}

static void to_user(void)
{
    CASE("to user code: flags as given, but RF and VM");
    static const uint64_t sets[] = {0,         RFLAGS_CF | RFLAGS_ZF,
                                    RFLAGS_DF, RFLAGS_ID,
                                    RFLAGS_IF, RFLAGS_IF | RFLAGS_SF | RFLAGS_OF};
    for (unsigned i = 0; i < ARRAY_LEN(sets); i++) {
        user_prepare(user_flags);
        user.rflags = RFLAGS_FIXED | sets[i];
        user_resume();
        EXPECT_SYSCALL(user_flags_end);
        CHECK_EQ(user.r11, RFLAGS_FIXED | sets[i]);
        CHECK_EQ(user.rax & ~RFLAGS_IF,
                 (RFLAGS_FIXED | sets[i]) &
                     ~RFLAGS_IF); /* user code may see IF set: docs/limits.md */
    }
    CASE("IOPL of user code");
    user_prepare(user_nop);
    user.rflags |= RFLAGS_IOPL;
    user_resume();
    EXPECT_SYSCALL(user_nop_end);
    CHECK_EQ(user.r11 & RFLAGS_IOPL, RFLAGS_IOPL);
    CASE("RF set: the first instruction runs, RF is gone");
    user_prepare(user_nop);
    user.rflags |= RFLAGS_RF;
    user_resume();
    EXPECT_SYSCALL(user_nop_end);
    CHECK_EQ(user.r11 & RFLAGS_RF, 0);
    CASE("RIP of the user half's last page, and just beyond it: #GP or #PF in the user's name or "
         "#GP here");
    user_prepare((void *)0x7fffffffe000);
    user_resume();
    EXPECT_USER_PF(PF_U | PF_I, 0x7fffffffe000, 0x7fffffffe000);
    CASE("user RIP in the kernel half");
    user_prepare((void *)0xffffffff80000000);
    user_resume();
    EXPECT_USER_PF(PF_U | PF_I | PF_P, 0xffffffff80000000, 0xffffffff80000000);
    CASE("any RSP is allowed");
    static const uint64_t stacks[] = {0,    1, 0x7fffffffffff, 0x800000000000, 0xffffffff80000000,
                                      ~0ull};
    for (unsigned i = 0; i < ARRAY_LEN(stacks); i++) {
        user_prepare(user_nop);
        user.rsp = stacks[i];
        user_resume();
        EXPECT_SYSCALL(user_nop_end);
        CHECK_EQ(user.rsp, stacks[i]);
    }
}

static void compat(void)
{
    CASE("to 32-bit user code: registers, int 0x80");
    set_gate(0x80, GATE_INTERRUPT, 3, 0);
    user_prepare(user_32);
    user.cs = USER_CS32;
    user.rcx = 41;
    user.rsp = 0x10700000;
    user_resume();
    CHECK_EQ(user.vector, 0x80);
    CHECK_EQ(user.rip, (uint64_t)user_32_end);
    CHECK_EQ(user.cs, USER_CS32);
    CHECK_EQ(user.rax, 0x12345678);
    CHECK_EQ(user.rcx, 42);
    CASE("far jump from 64-bit to 32-bit user code");
    struct {
        uint32_t offset;
        uint16_t sel;
    } *far = va_of(pa_of((void *)USER_PAGE));
    far->offset = (uint32_t)(uint64_t)user_32;
    far->sel = USER_CS32;
    user_call(user_far_to_32, USER_PAGE, 0, 0);
    CHECK_EQ(user.vector, 0x80);
    CHECK_EQ(user.cs, USER_CS32);
    CHECK_EQ(user.rax, 0x12345678);
    CASE("and it goes on as 32-bit code after an exception");
    user.rip = (uint64_t)user_32;
    user.rcx = 1;
    user_resume();
    CHECK_EQ(user.rcx, 2);
    CASE("32-bit code with RIP above 4 GB: #GP");
    user_prepare((void *)(0x100000000 + (uint64_t)user_32));
    user.cs = USER_CS32;
    frame.rip = user.rip;
    frame.cs = user.cs;
    frame.ss = USER_DS;
    frame.rflags = user.rflags;
    frame.rsp = user.rsp;
    bad_one(VEC_GP, 0);
}

void guest_main(void)
{
    same_level();
    checks();
    to_user();
    compat();
}
