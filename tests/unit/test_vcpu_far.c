/* src/vcpu, control transfers: IRET, far returns, jumps and calls, call gates, SYSCALL and SYSRET. */
#include "vcpu_fixture.h"

static void expect_fault(bool ok, uint8_t vec, uint32_t error)
{
    assert_false(ok);
    assert_int_equal(ex.vector, vec);
    assert_true(ex.has_error);
    assert_int_equal(ex.error, error);
    assert_memory_equal(v, &before, sizeof(before));
}

/** expr must fail with vec(error) and leave the vCPU alone. */
#define FAULTS(expr, vec, error)                                                                   \
    do {                                                                                           \
        before = *v;                                                                               \
        expect_fault((expr), (vec), (error));                                                      \
    } while (0)

/* ---- IRET ---- */

static void push_iret(uint64_t rip, uint64_t cs, uint64_t rflags, uint64_t rsp, uint64_t ss)
{
    const uint64_t frame[5] = {rip, cs, rflags, rsp, ss};
    v->gpr[RSP] = GUEST_STACK - 40;
    memcpy(fake_guest_ram(v, GUEST_STACK - 40), frame, sizeof(frame));
}

static void test_iret_same_level(void **state)
{
    (void)state;
    push_iret(0x1234, SEL_CODE0, 0x257fd5 | RFLAGS_IF, 0x5678, SEL_DATA0);
    assert_true(vcpu_iret(v, 8, &ex));
    assert_int_equal(v->rip, 0x1234);
    assert_int_equal(v->gpr[RSP], 0x5678);
    assert_int_equal(v->rflags, (0x257fd5 | RFLAGS_IF | 2) & 0x3f7fd7);
    v->rflags = RFLAGS_FIXED;
    push_iret(0x1234, SEL_CODE0, 0, 0x5678, 0); /* null SS at CPL 0 */
    assert_true(vcpu_iret(v, 8, &ex));
    assert_true(v->seg[SEG_SS].attr & SEG_ATTR_UNUSABLE);
    assert_int_equal(vcpu_cpl(v), 0);
}

static void test_iret_to_user(void **state)
{
    (void)state;
    assert_true(vcpu_load_segment(v, SEG_FS, SEL_DATA3, &ex));
    v->seg[SEG_FS].base = 0x7777;
    v->seg[SEG_GS].base = 0x8888; /* SEL_DATA0, DPL 0 */
    push_iret(GUEST_USER, SEL_CODE3, RFLAGS_IF | RFLAGS_VM, GUEST_USER + 64, SEL_DATA3);
    assert_true(vcpu_iret(v, 8, &ex));
    assert_int_equal(vcpu_cpl(v), 3);
    assert_true(vcpu_long64(v));
    assert_int_equal(v->rflags, RFLAGS_FIXED | RFLAGS_IF);
    assert_int_equal(v->seg[SEG_FS].sel, SEL_DATA3);
    assert_int_equal(v->seg[SEG_FS].base, 0x7777);
    assert_int_equal(v->seg[SEG_GS].sel, 0);
    assert_int_equal(v->seg[SEG_GS].base, 0x8888);
    assert_true(v->seg[SEG_DS].attr & v->seg[SEG_ES].attr & SEG_ATTR_UNUSABLE);
}

static void test_iret_compat_and_narrow(void **state)
{
    const uint32_t frame[5] = {0x1000, SEL_CODE32_3, RFLAGS_IF, 0x2000, SEL_DATA3};
    (void)state;
    v->gpr[RSP] = GUEST_STACK - 20;
    memcpy(fake_guest_ram(v, GUEST_STACK - 20), frame, sizeof(frame));
    assert_true(vcpu_iret(v, 4, &ex));
    assert_int_equal(v->rip, 0x1000);
    assert_int_equal(v->gpr[RSP], 0x2000);
    assert_false(vcpu_long64(v));
    assert_int_equal(vcpu_cpl(v), 3);
}

static void test_iret_flags_by_level(void **state)
{
    (void)state;
    /* At CPL 3 with IOPL 0: IF and IOPL stay. */
    fake_guest_to_user(v);
    v->rflags = RFLAGS_FIXED;
    const uint64_t frame[5] = {GUEST_USER, SEL_CODE3,
                               RFLAGS_IF | RFLAGS_IOPL | RFLAGS_AC | RFLAGS_VIF, GUEST_USER + 64,
                               SEL_DATA3};
    memcpy(fake_guest_ram(v, v->gpr[RSP]), frame, sizeof(frame));
    assert_true(vcpu_iret(v, 8, &ex));
    assert_int_equal(v->rflags, RFLAGS_FIXED | RFLAGS_AC);
    /* IOPL 3: IF may be set. */
    fake_guest_to_user(v);
    v->rflags = RFLAGS_FIXED | RFLAGS_IOPL;
    assert_true(vcpu_iret(v, 8, &ex));
    assert_int_equal(v->rflags, RFLAGS_FIXED | RFLAGS_AC | RFLAGS_IF | RFLAGS_IOPL);
}

static void test_iret_faults(void **state)
{
    static const struct {
        uint64_t rip, cs, ss;
        uint8_t vec;
        uint32_t error;
    } c[] = {
        {0, 0, SEL_DATA0, VEC_GP, 0},
        {0, 2, SEL_DATA0, VEC_GP, 0},
        {0, 0x1000, SEL_DATA0, VEC_GP, 0x1000},
        {0, SEL_DATA0, SEL_DATA0, VEC_GP, SEL_DATA0},
        {0, SEL_TSS, SEL_DATA0, VEC_GP, SEL_TSS},
        {0, SEL_L_AND_D, SEL_DATA0, VEC_GP, SEL_L_AND_D},
        {0, SEL_CODE3 & ~3, SEL_DATA0, VEC_GP, SEL_CODE3 & ~3}, /* DPL 3, RPL 0 */
        {0, SEL_CODE0 | 3, SEL_DATA3, VEC_GP, SEL_CODE0},       /* DPL 0, RPL 3 */
        {0, SEL_CONFORMING3 & ~3, SEL_DATA0, VEC_GP, SEL_CONFORMING3},
        {0, SEL_ABSENT_CODE0, SEL_DATA0, VEC_NP, SEL_ABSENT_CODE0},
        {NONCANONICAL, SEL_CODE0, SEL_DATA0, VEC_GP, 0},
        {1ull << 32, SEL_CODE32_0, SEL_DATA0, VEC_GP, 0},
        /* SS */
        {0, SEL_CODE32_0, 0, VEC_GP, 0},   /* null to compatibility mode */
        {0, SEL_CODE3, 3, VEC_GP, 0},      /* null to CPL 3 */
        {0, SEL_CODE0, 1, VEC_GP, 0},      /* null, RPL is not the CPL */
        {0, SEL_CODE0, SEL_DATA3, VEC_GP, SEL_DATA3 & ~3},
        {0, SEL_CODE3, SEL_DATA0, VEC_GP, SEL_DATA0},
        {0, SEL_CODE3, SEL_DATA0 | 3, VEC_GP, SEL_DATA0}, /* DPL 0 */
        {0, SEL_CODE0, SEL_CODE0, VEC_GP, SEL_CODE0},
        {0, SEL_CODE0, SEL_READ_ONLY0, VEC_GP, SEL_READ_ONLY0},
        {0, SEL_CODE0, SEL_ABSENT_DATA0, VEC_SS, SEL_ABSENT_DATA0},
        {0, SEL_CODE0, 0x2000, VEC_GP, 0x2000},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        push_iret(c[i].rip, c[i].cs, 0, 0, c[i].ss);
        FAULTS(vcpu_iret(v, 8, &ex), c[i].vec, c[i].error);
    }
    push_iret(0, SEL_CODE0, 0, 0, SEL_DATA0);
    v->rflags |= RFLAGS_NT;
    FAULTS(vcpu_iret(v, 8, &ex), VEC_GP, 0);
    v->rflags &= ~RFLAGS_NT;
    v->gpr[RSP] = NONCANONICAL;
    FAULTS(vcpu_iret(v, 8, &ex), VEC_SS, 0);
    v->gpr[RSP] = DEAD;
    FAULTS(vcpu_iret(v, 8, &ex), VEC_PF, 0);
    /* From CPL 3 inward. */
    fake_guest_to_user(v);
    const uint64_t frame[5] = {0, SEL_CODE0, 0, 0, SEL_DATA0};
    memcpy(fake_guest_ram(v, v->gpr[RSP]), frame, sizeof(frame));
    FAULTS(vcpu_iret(v, 8, &ex), VEC_GP, SEL_CODE0);
    /* A fault unblocks NMIs all the same. */
    v->nmi_blocked = true;
    assert_false(vcpu_iret(v, 8, &ex));
    assert_false(v->nmi_blocked);
}

/* ---- far RET, JMP, CALL ---- */

static void test_retf(void **state)
{
    const uint64_t same[2] = {0x4444, SEL_CODE0};
    const uint64_t outer[6] = {0x4444, SEL_CODE3, 0, 0, 0x5555, SEL_DATA3};
    (void)state;
    v->gpr[RSP] = GUEST_STACK - 128;
    memcpy(fake_guest_ram(v, GUEST_STACK - 128), same, sizeof(same));
    assert_true(vcpu_retf(v, 8, 24, &ex));
    assert_int_equal(v->rip, 0x4444);
    assert_int_equal(v->gpr[RSP], GUEST_STACK - 128 + 16 + 24);
    assert_int_equal(v->seg[SEG_SS].sel, SEL_DATA0);

    v->gpr[RSP] = GUEST_STACK - 128;
    memcpy(fake_guest_ram(v, GUEST_STACK - 128), outer, sizeof(outer));
    assert_true(vcpu_retf(v, 8, 16, &ex)); /* 16 bytes of parameters on both stacks */
    assert_int_equal(vcpu_cpl(v), 3);
    assert_int_equal(v->gpr[RSP], 0x5555 + 16);
    assert_true(v->seg[SEG_DS].attr & SEG_ATTR_UNUSABLE);
    FAULTS(vcpu_retf(v, 8, 0, &ex), VEC_PF, PF_P | PF_U); /* a supervisor page */
    v->gpr[RSP] = NONCANONICAL;
    FAULTS(vcpu_retf(v, 4, 0, &ex), VEC_SS, 0);
    v->gpr[RSP] = GUEST_USER;
    memcpy(fake_guest_ram(v, GUEST_USER), same, sizeof(same));
    FAULTS(vcpu_retf(v, 8, 0, &ex), VEC_GP, SEL_CODE0); /* inward */
}

static void test_far_jump(void **state)
{
    (void)state;
    assert_true(vcpu_far_jump(v, SEL_CONFORMING0 | 3, 0x777, &ex));
    assert_int_equal(v->seg[SEG_CS].sel, SEL_CONFORMING0);
    assert_int_equal(v->rip, 0x777);
    assert_true(vcpu_far_jump(v, SEL_CODE32_0, 0xffffffff, &ex));
    assert_false(vcpu_long64(v));
    assert_true(vcpu_far_jump(v, SEL_GATE, 0, &ex));
    assert_int_equal(v->rip, GUEST_HANDLER(0));
    assert_int_equal(v->seg[SEG_CS].sel, SEL_CODE0);
    FAULTS(vcpu_far_jump(v, 1, 0, &ex), VEC_GP, 0);
    FAULTS(vcpu_far_jump(v, SEL_CODE0 | 3, 0, &ex), VEC_GP, SEL_CODE0);
    FAULTS(vcpu_far_jump(v, SEL_CODE3, 0, &ex), VEC_GP, SEL_CODE3 & ~3);
    FAULTS(vcpu_far_jump(v, SEL_CONFORMING3, 0, &ex), VEC_GP, SEL_CONFORMING3);
    FAULTS(vcpu_far_jump(v, SEL_DATA0, 0, &ex), VEC_GP, SEL_DATA0);
    FAULTS(vcpu_far_jump(v, SEL_TSS, 0, &ex), VEC_GP, SEL_TSS);
    FAULTS(vcpu_far_jump(v, SEL_L_AND_D, 0, &ex), VEC_GP, SEL_L_AND_D);
    FAULTS(vcpu_far_jump(v, SEL_ABSENT_CODE0, 0, &ex), VEC_NP, SEL_ABSENT_CODE0);
    FAULTS(vcpu_far_jump(v, SEL_CODE0, NONCANONICAL, &ex), VEC_GP, 0);
    FAULTS(vcpu_far_jump(v, SEL_CODE32_0, 1ull << 32, &ex), VEC_GP, 0);
    fake_guest_to_user(v); /* a jump through a gate does not change the level */
    FAULTS(vcpu_far_jump(v, SEL_GATE | 3, 0, &ex), VEC_GP, SEL_CODE0);
    *fake_guest_ram(v, GUEST_GDT + SEL_GATE + 5) = 0x8c; /* the gate's own DPL: 0 */
    FAULTS(vcpu_far_call(v, 8, SEL_GATE, 0, &ex), VEC_GP, SEL_GATE);
    *fake_guest_ram(v, GUEST_GDT + SEL_GATE + 5) = 0x6c; /* not present */
    FAULTS(vcpu_far_call(v, 8, SEL_GATE, 0, &ex), VEC_NP, SEL_GATE);
}

static void test_far_call(void **state)
{
    (void)state;
    assert_true(vcpu_far_call(v, 4, SEL_CODE0, 0x777, &ex));
    assert_int_equal(v->gpr[RSP], GUEST_STACK - 8);
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP]), GUEST_CODE | (uint64_t)SEL_CODE0 << 32);
    v->gpr[RSP] = NONCANONICAL;
    FAULTS(vcpu_far_call(v, 8, SEL_CODE0, 0, &ex), VEC_SS, 0);
    v->gpr[RSP] = DEAD;
    FAULTS(vcpu_far_call(v, 8, SEL_CODE0, 0, &ex), VEC_PF, PF_W);

    fake_guest_to_user(v);
    assert_true(vcpu_far_call(v, 4, SEL_GATE | 3, 0x99, &ex));
    assert_int_equal(v->rip, GUEST_HANDLER(0));
    assert_int_equal(vcpu_cpl(v), 0);
    assert_int_equal(v->seg[SEG_CS].sel, SEL_CODE0);
    assert_int_equal(v->seg[SEG_SS].sel, 0);
    assert_int_equal(v->gpr[RSP], GUEST_RSP0 - 32);
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP]), GUEST_USER);
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP] + 8), SEL_CODE3);
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP] + 16), GUEST_USER + 0x800);
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP] + 24), SEL_DATA3);
    assert_true(vcpu_retf(v, 8, 0, &ex));
    assert_int_equal(vcpu_cpl(v), 3);
    assert_int_equal(v->rip, GUEST_USER);
    assert_int_equal(v->gpr[RSP], GUEST_USER + 0x800);
    v->tr.limit = 4;
    FAULTS(vcpu_far_call(v, 8, SEL_GATE | 3, 0, &ex), VEC_TS, SEL_TSS);
}

/* ---- SYSCALL, SYSRET, SWAPGS ---- */

static void test_syscall(void **state)
{
    (void)state;
    fake_guest_to_user(v);
    v->star = 0x0018000800000000; /* as the GDT is laid out: kernel 8, user base 0x18 */
    v->lstar = 0xffffffff81000000;
    v->sfmask = RFLAGS_IF | RFLAGS_TF | RFLAGS_DF;
    v->rflags |= RFLAGS_DF | RFLAGS_CF | RFLAGS_RF;
    uint64_t flags = v->rflags;
    v->rip = GUEST_USER + 2;
    assert_true(vcpu_syscall(v, &ex));
    assert_int_equal(v->gpr[RCX], GUEST_USER + 2);
    assert_int_equal(v->gpr[R11], flags & ~RFLAGS_RF);
    assert_int_equal(v->rflags, RFLAGS_FIXED | RFLAGS_CF);
    assert_int_equal(v->rip, v->lstar);
    assert_int_equal(v->seg[SEG_CS].sel, 8);
    assert_int_equal(v->seg[SEG_SS].sel, 16);
    assert_int_equal(v->seg[SEG_CS].attr, 0xa09b);
    assert_int_equal(v->seg[SEG_SS].attr, 0xc093);
    assert_int_equal(v->seg[SEG_SS].limit, 0xffffffff);
    assert_int_equal(vcpu_cpl(v), 0);
    assert_true(vcpu_long64(v));

    v->gpr[R11] = ~0ull;
    assert_true(vcpu_sysret(v, 8, &ex));
    assert_int_equal(v->rip, GUEST_USER + 2);
    assert_int_equal(v->rflags, 0x3c7fd7);
    assert_int_equal(v->seg[SEG_CS].sel, SEL_CODE3);
    assert_int_equal(v->seg[SEG_SS].sel, SEL_DATA3);
    assert_int_equal(v->seg[SEG_CS].attr, 0xa0fb);
    assert_int_equal(v->seg[SEG_SS].attr, 0xc0f3);
    assert_int_equal(vcpu_cpl(v), 3);
    FAULTS(vcpu_sysret(v, 8, &ex), VEC_GP, 0); /* CPL 3 */
    FAULTS(vcpu_swapgs(v, &ex), VEC_GP, 0);
}

static void expect_ud(bool ok)
{
    assert_false(ok);
    assert_int_equal(ex.vector, VEC_UD);
    assert_false(ex.has_error);
}

static void test_syscall_modes(void **state)
{
    (void)state;
    v->star = 0x0018000800000000;
    v->cstar = 0xffffffff82000000;
    v->gpr[RCX] = 0xffff123400001000;
    v->gpr[R11] = 0;
    FAULTS(vcpu_sysret(v, 8, &ex), VEC_GP, 0); /* RCX not canonical; with opsize 4 it is cut */
    assert_true(vcpu_sysret(v, 4, &ex));
    assert_int_equal(v->rip, 0x1000);
    assert_int_equal(v->seg[SEG_CS].sel, SEL_CODE32_3);
    assert_int_equal(v->seg[SEG_CS].attr, 0xc0fb);
    /* In compatibility mode now: Intel says #UD, AMD goes to CSTAR. */
    expect_ud(vcpu_syscall(v, &ex));
    expect_ud(vcpu_sysret(v, 4, &ex));
    expect_ud(vcpu_swapgs(v, &ex));
    v->cpuid[0].ebx = 0x68747541;
    assert_true(vcpu_syscall(v, &ex));
    assert_int_equal(v->rip, v->cstar);
    assert_int_equal(v->gpr[RCX], 0x1000);
    assert_true(vcpu_long64(v));
    v->efer &= ~EFER_SCE;
    expect_ud(vcpu_syscall(v, &ex));
    expect_ud(vcpu_sysret(v, 8, &ex));
    v->seg[SEG_GS].base = 1;
    v->kernel_gs_base = 2;
    assert_true(vcpu_swapgs(v, &ex));
    assert_int_equal(v->seg[SEG_GS].base, 2);
    assert_int_equal(v->kernel_gs_base, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_iret_same_level), TEST(test_iret_to_user), TEST(test_iret_compat_and_narrow),
        TEST(test_iret_flags_by_level), TEST(test_iret_faults), TEST(test_retf),
        TEST(test_far_jump), TEST(test_far_call), TEST(test_syscall), TEST(test_syscall_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
