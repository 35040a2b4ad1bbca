/* Which stack a handler gets: IST, RSP0, the current one; nested faults; double faults and what
 * makes them. SDM 3 §6.14.5 "Interrupt Stack Table", §6.15 "Interrupt 8: Double Fault Exception"
 * table 6-5. */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_ud2, "ud2");
USER_CODE(user_int80, "int $0x80");
USER_CODE(user_load, "mov (%rdi), %rax; syscall");

static void stacks(void)
{
    CASE("no IST: the handler runs on the current stack");
    TRY("ud2");
    CHECK(trap_frame < probe.rsp && trap_frame > probe.rsp - 512);
    CASE("IST n from the kernel");
    for (unsigned n = 1; n <= 7; n++) {
        set_gate(VEC_UD, GATE_INTERRUPT, 0, n);
        TRY("ud2");
        EXPECT_FAULT(VEC_UD, 0);
        CHECK_EQ(trap_frame, tss.ist[n - 1] - sizeof(struct regs));
        CHECK_EQ(trap.rsp, probe.rsp);
        CHECK_EQ(trap.ss, KERNEL_DS);
    }
    CASE("IST n from user code");
    set_gate(VEC_UD, GATE_INTERRUPT, 0, 4);
    user_run(user_ud2);
    EXPECT_USER_FAULT(VEC_UD, 0, user_ud2);
    CHECK_EQ(trap_frame, tss.ist[3] - sizeof(struct regs));
    set_gate(VEC_UD, GATE_INTERRUPT, 0, 0);
    CASE("an IST pointer that is not aligned is aligned down");
    tss.ist[4] -= 5;
    set_gate(VEC_UD, GATE_INTERRUPT, 0, 5);
    TRY("ud2");
    CHECK_EQ(trap_frame, tss.ist[4] + 5 - 16 - sizeof(struct regs));
    tss.ist[4] += 5;
    set_gate(VEC_UD, GATE_INTERRUPT, 0, 0);
    CASE("RSP0 changed: the next event from user code uses it");
    uint64_t old = tss.rsp[0];
    tss.rsp[0] = (uint64_t)ist_stack[6] + 2048;
    user_run(user_ud2);
    CHECK_EQ(trap_frame, tss.rsp[0] - sizeof(struct regs));
    tss.rsp[0] = old;
}

static uint64_t depth, deepest;

static void nested(struct regs *r)
{
    uint64_t at = (uint64_t)r;
    if (!deepest || at < deepest)
        deepest = at;
    if (++depth < 5)
        asm volatile("ud2");
    r->rip += 2;
}

static void nesting(void)
{
    CASE("faults inside the handler of a fault, five deep, and back");
    on_vector(VEC_UD, nested);
    depth = deepest = 0;
    asm volatile("ud2" : : : "memory");
    CHECK_EQ(depth, 5);
    on_vector(VEC_UD, NULL);
}

static uint64_t hole;

static void double_faults(void)
{
    CASE("#DF: a page fault whose stack is missing");
    TRY_IN("mov %0, %%rsp; cmpb $0, (%1)", "r"(hole + KB4), "r"(hole));
    CHECK_EQ(trap.vector, VEC_DF);
    CHECK_EQ(trap.error, 0);
    CHECK_EQ(trap_frame, tss.ist[0] - sizeof(struct regs));
    CHECK_EQ(trap_cr2 & ~(KB4 - 1), hole); /* the second fault's: some address of the frame */
    CASE("#UD (benign) with a missing stack: a page fault, which cannot be delivered either: #DF");
    TRY_IN("mov %0, %%rsp; ud2", "r"(hole + KB4));
    CHECK_EQ(trap.vector, VEC_DF);
    CHECK_EQ(trap.rsp, hole + KB4);
    CASE("#UD with a missing stack and #PF on an IST: the #PF is delivered");
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 3);
    TRY_IN("mov %0, %%rsp; ud2", "r"(hole + KB4));
    CHECK_EQ(trap.vector, VEC_PF);
    CHECK_EQ(trap.error, PF_W);
    CHECK_EQ(trap.rip, probe.end - 2);
    CHECK(trap_cr2 >= hole && trap_cr2 < hole + KB4);
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 0);
    CASE("#GP while delivering #GP: #DF");
    set_gate_raw(VEC_GP, 0, 0, 0x8e, 0);
    TRY_IN("cmpb $0, (%0)", "r"(0x800000000000));
    CHECK_EQ(trap.vector, VEC_DF);
    CHECK_EQ(trap.error, 0);
    CHECK_EQ(trap.rip, probe.start);
    CASE("#NP while delivering #GP: #DF; #NP while delivering #UD: #NP");
    set_gate_raw(VEC_GP, KERNEL_CS, 0, 0x0e, 0);
    TRY_IN("cmpb $0, (%0)", "r"(0x800000000000));
    CHECK_EQ(trap.vector, VEC_DF);
    set_gate(VEC_GP, GATE_INTERRUPT, 0, 0);
    set_gate_raw(VEC_UD, KERNEL_CS, 0, 0x0e, 0);
    TRY("ud2");
    EXPECT_FAULT(VEC_NP, VEC_UD * 8 + 2 + 1); /* EXT: met while delivering an exception */
    set_gate(VEC_UD, GATE_INTERRUPT, 0, 0);
    CASE("#PF with a gate that is not present: #DF");
    set_gate_raw(VEC_PF, KERNEL_CS, 0, 0x0e, 0);
    TRY_IN("cmpb $0, (%0)", "r"(hole));
    CHECK_EQ(trap.vector, VEC_DF);
    CHECK_EQ(trap_cr2, hole);
    CASE("#PF while delivering #GP: #PF (contributory, then page fault)");
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 3);
    TRY_IN("mov %0, %%rsp; mov %1, %%rax; cmpb $0, (%%rax)", "r"(hole + KB4), "r"(0x800000000000));
    CHECK_EQ(trap.vector, VEC_PF);
    CHECK_EQ(trap.error, PF_W);
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 0);
    CASE("non-canonical stack: #SS while delivering #UD; #DF while delivering #GP");
    set_gate(VEC_SS, GATE_INTERRUPT, 0, 2);
    TRY_IN("mov %0, %%rsp; ud2", "r"(0x800000000000 + 0x100));
    CHECK_EQ(trap.vector, VEC_SS);
    CHECK_EQ(trap.error, 1);
    TRY_IN("mov %0, %%rsp; mov %%rsp, %%rax; cmpb $0, (%%rax)", "r"(0x800000000000 + 0x100));
    CHECK_EQ(trap.vector, VEC_DF);
    set_gate(VEC_SS, GATE_INTERRUPT, 0, 0);
}

static void from_user(void)
{
    uint64_t old = tss.rsp[0];
    CASE("from user code with RSP0 in a hole");
    tss.rsp[0] = hole + KB4;
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 3);
    user_run(user_ud2);
    CHECK_EQ(trap.vector, VEC_PF);
    CHECK_EQ(trap.error, PF_W); /* the processor's own access: not U */
    CHECK_EQ(trap.cs, USER_CS);
    CHECK_EQ(trap.rip, (uint64_t)user_ud2);
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 0);
    user_run(user_ud2);
    CHECK_EQ(trap.vector, VEC_DF);
    CHECK_EQ(trap.cs, USER_CS);
    CASE("RSP0 non-canonical: #SS");
    tss.rsp[0] = 0x800000001000;
    set_gate(VEC_SS, GATE_INTERRUPT, 0, 2);
    user_run(user_ud2);
    CHECK_EQ(trap.vector, VEC_SS);
    set_gate(VEC_SS, GATE_INTERRUPT, 0, 0);
    tss.rsp[0] = old;
    CASE("int 0x80 from user code with a not-present handler segment: EXT clear");
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0x1b) | DESC_L);
    set_gate_raw(0x80, FREE_SEL, 0, 0xee, 0);
    user_run(user_int80);
    EXPECT_USER_FAULT(VEC_NP, FREE_SEL, user_int80);
    CASE("TSS limit too small for the IST: #TS with the TSS selector");
    set_gate(VEC_UD, GATE_INTERRUPT, 0, 7);
    uint64_t saved = gdt[TSS_SEL / 8];
    set_gdt(TSS_SEL, (saved & ~0xffffull & ~DESC_ACCESS(2)) | 0x40);
    asm volatile("ltr %w0" : : "r"(TSS_SEL));
    TRY("ud2");
    EXPECT_FAULT(VEC_TS, TSS_SEL + 1);
    set_gdt(TSS_SEL, saved & ~DESC_ACCESS(2));
    asm volatile("ltr %w0" : : "r"(TSS_SEL));
    set_gate(VEC_UD, GATE_INTERRUPT, 0, 0);
}

void guest_main(void)
{
    hole = SPARE_HIGH + 0x40000;
    stacks();
    nesting();
    double_faults();
    from_user();
}
