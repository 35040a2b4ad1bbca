/* Far jumps, calls and returns in the kernel. SDM 2 "JMP", "CALL", "RET". */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_nop, "nop; syscall");

struct far_pointer {
    uint64_t offset;
    uint16_t sel;
} __attribute__((packed));
static struct far_pointer target;

extern const char far_landed[], far_callee[];

static void jumps(void)
{
    CASE("far jump, far call and far return at the same level");
    target.sel = KERNEL_CS;
    target.offset = (uint64_t)far_landed;
    TRY_IN("rex.w ljmp *%0; ud2\n.globl far_landed\nfar_landed: nop", "m"(target));
    EXPECT_NOTHING();
    target.offset = (uint64_t)far_callee;
    TRY_IN("rex.w lcall *%0; jmp 1f\n.globl far_callee\nfar_callee: cmpq $0x10, 8(%%rsp); jne 2f; "
           "rex.w lret; 2: ud2; 1:",
           "m"(target));
    EXPECT_NOTHING();
    CASE("far return with an immediate");
    TRY("push $0; push $0; mov %%cs, %%eax; push %%rax; lea 1f(%%rip), %%rax; push %%rax; rex.w "
        "lret $16; 1:");
    EXPECT_NOTHING();
    CASE("another selector of the same kind");
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0x9a) | DESC_L);
    uint64_t cs;
    TRY_OUT("push %1; push $1f; rex.w lret; 1: mov %%cs, %0; push $0x10; push $2f;"
            "rex.w lret; 2:",
            ("=&c"(cs)), "d"((uint64_t)FREE_SEL));
    EXPECT_NOTHING();
    CHECK_EQ(cs, FREE_SEL);
    CHECK_EQ(gdt[FREE_SEL / 8] >> 40 & 0xff, 0x9b); /* accessed */
}

static void jump_to(uint16_t sel, uint64_t offset, unsigned vector, uint64_t error)
{
    target.sel = sel;
    target.offset = offset;
    TRY_IN("rex.w ljmp *%0", "m"(target));
    EXPECT_FAULT(vector, error);
    TRY_IN("rex.w lcall *%0", "m"(target));
    EXPECT_FAULT(vector, error);
    TRY_IN("push %0; push %1; 1: rex.w lret", "r"((uint64_t)sel), "r"(offset));
    CHECK_EQ(trap.vector, vector);
    CHECK_EQ(trap.error, error);
}

static void checks(void)
{
    CASE("#GP: null, data, beyond the table, DPL");
    jump_to(0, (uint64_t)far_landed, VEC_GP, 0);
    jump_to(KERNEL_DS, (uint64_t)far_landed, VEC_GP, KERNEL_DS);
    jump_to(0x7f8, (uint64_t)far_landed, VEC_GP, 0x7f8);
    jump_to(KERNEL_CS | 4, (uint64_t)far_landed, VEC_GP, KERNEL_CS | 4);
    CASE("#NP");
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0x1b) | DESC_L);
    jump_to(FREE_SEL, (uint64_t)far_landed, VEC_NP, FREE_SEL);
    CASE("#GP(0): not canonical");
    jump_to(KERNEL_CS, 0x800000000000, VEC_GP, 0);
    CASE("a TSS or an interrupt gate is no target");
    jump_to(TSS_SEL, 0, VEC_GP, TSS_SEL);
    CASE("far return to an outer level");
    user_prepare(user_nop);
    user_map(root());
    TRY_IN("push %0; push %1; push %2; push %3; rex.w lret", "r"((uint64_t)USER_DS), "r"(user.rsp),
           "r"((uint64_t)USER_DS | 3), "r"(user.rip));
    CHECK_EQ(trap.vector, VEC_GP);
    CHECK_EQ(trap.error, USER_DS & ~3u);
}

extern const char gate_target[];

static void call_gates(void)
{
    CASE("a call gate at the same level");
    uint64_t offset = (uint64_t)gate_target;
    set_gdt(FREE_SEL, (offset & 0xffff) | (uint64_t)KERNEL_CS << 16 | DESC_ACCESS(0x8c) |
                          (offset >> 16 & 0xffff) << 48);
    set_gdt(FREE_SEL + 8, offset >> 32);
    target.sel = FREE_SEL;
    target.offset = 0x1234;
    TRY_IN("rex.w lcall *%0; jmp 1f\n.globl gate_target\ngate_target: rex.w lret; ud2; 1:",
           "m"(target));
    EXPECT_NOTHING();
    CASE("a call gate that is not present");
    set_gdt(FREE_SEL, gdt[FREE_SEL / 8] & ~DESC_ACCESS(0x80));
    TRY_IN("rex.w lcall *%0", "m"(target));
    EXPECT_FAULT(VEC_NP, FREE_SEL);
}

void guest_main(void)
{
    jumps();
    checks();
    call_gates();
}
