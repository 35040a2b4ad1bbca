/* src/vcpu, events: delivery through the IDT, RF, stacks, double and triple faults. */
#include "vcpu_fixture.h"

/* ---- delivery ---- */

/** Deliver and demand that handler `vec` runs. Returns the frame's address. */
static uint64_t deliver(const struct vcpu_exception *what, uint8_t vec)
{
    assert_int_equal(vcpu_deliver(v, what), VCPU_DELIVERED);
    assert_int_equal(v->rip, GUEST_HANDLER(vec));
    return v->gpr[RSP];
}

static void expect_frame(uint64_t at, uint64_t rip, uint64_t cs, uint64_t rflags, uint64_t rsp,
                         uint64_t ss)
{
    assert_int_equal(fake_guest_get64(v, at), rip);
    assert_int_equal(fake_guest_get64(v, at + 8), cs);
    assert_int_equal(fake_guest_get64(v, at + 16), rflags);
    assert_int_equal(fake_guest_get64(v, at + 24), rsp);
    assert_int_equal(fake_guest_get64(v, at + 32), ss);
}

static const struct vcpu_exception ud = {.vector = VEC_UD};
static const struct vcpu_exception pf = {
    .vector = VEC_PF, .has_error = true, .error = PF_W | PF_U, .cr2 = 0xabc123};

static void test_deliver_same_level(void **state)
{
    (void)state;
    v->gpr[RSP] = GUEST_STACK - 3; /* aligned down first */
    v->rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF | RFLAGS_NT | RFLAGS_AC | RFLAGS_DF;
    uint64_t flags = v->rflags;
    v->halted = v->irq_shadow = true;
    uint64_t frame = deliver(&ud, VEC_UD);
    assert_int_equal(frame, GUEST_STACK - 16 - 40);
    expect_frame(frame, GUEST_CODE, SEL_CODE0, flags | RFLAGS_RF, GUEST_STACK - 3, SEL_DATA0);
    assert_int_equal(v->rflags, RFLAGS_FIXED | RFLAGS_AC | RFLAGS_DF);
    assert_int_equal(v->seg[SEG_SS].sel, SEL_DATA0); /* SS stays when the level does */
    assert_false(v->halted);
    assert_false(v->irq_shadow);
}

static void test_deliver_from_user(void **state)
{
    (void)state;
    fake_guest_to_user(v);
    uint64_t flags = v->rflags;
    uint64_t frame = deliver(&pf, VEC_PF);
    assert_int_equal(frame, GUEST_RSP0 - 48);
    assert_int_equal(fake_guest_get64(v, frame), PF_W | PF_U);
    expect_frame(frame + 8, GUEST_USER, SEL_CODE3, flags | RFLAGS_RF, GUEST_USER + 0x800,
                 SEL_DATA3);
    assert_int_equal(v->cr2, 0xabc123);
    assert_int_equal(vcpu_cpl(v), 0);
    assert_int_equal(v->seg[SEG_CS].sel, SEL_CODE0);
    assert_int_equal(v->seg[SEG_SS].sel, 0);
    assert_true(v->seg[SEG_SS].attr & SEG_ATTR_UNUSABLE);
    assert_false(v->rflags & RFLAGS_IF);
}

static void test_deliver_trap_gate_and_ist(void **state)
{
    (void)state;
    v->rflags |= RFLAGS_IF;
    fake_guest_gate(v, 0x80, SEL_CODE0, GUEST_HANDLER(0x80), 0x8f, 1);
    assert_int_equal(vcpu_deliver_interrupt(v, 0x80), VCPU_DELIVERED);
    assert_int_equal(v->gpr[RSP], GUEST_IST1 - 40);
    assert_true(v->rflags & RFLAGS_IF);
    expect_frame(v->gpr[RSP], GUEST_CODE, SEL_CODE0, RFLAGS_FIXED | RFLAGS_IF, GUEST_STACK,
                 SEL_DATA0); /* interrupts push RF as it is */
}

static void test_rf_image(void **state)
{
    static const struct {
        uint8_t vec;
        uint64_t dr6;
        bool rf;
    } c[] = {{VEC_DE, 0, true},  {VEC_DB, 1, false}, {VEC_DB, 1 << 14, false},
             {VEC_DB, 1 << 13, true}, {VEC_BP, 0, false}, {VEC_OF, 0, false},
             {VEC_UD, 0, true},  {VEC_NM, 0, true},  {VEC_GP, 0, true}, {VEC_MF, 0, true},
             {VEC_AC, 0, true},  {VEC_XM, 0, true},  {VEC_MC, 0, false}, {VEC_DF, 0, false}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        const struct vcpu_exception e = {.vector = c[i].vec, .dr6 = c[i].dr6};
        v->gpr[RSP] = GUEST_STACK;
        uint64_t frame = deliver(&e, c[i].vec);
        assert_int_equal(fake_guest_get64(v, frame + 16) & RFLAGS_RF, c[i].rf ? RFLAGS_RF : 0);
    }
    /* Already set, it is pushed for every event. */
    v->rflags |= RFLAGS_RF;
    v->gpr[RSP] = GUEST_STACK;
    assert_int_equal(vcpu_deliver_interrupt(v, 0x30), VCPU_DELIVERED);
    assert_true(fake_guest_get64(v, v->gpr[RSP] + 16) & RFLAGS_RF);
    assert_false(v->rflags & RFLAGS_RF);
}

static void test_debug_registers(void **state)
{
    const struct vcpu_exception db = {.vector = VEC_DB, .dr6 = 1 << 14 | 2};
    (void)state;
    v->dr6 = 0xffff0ff0 | 1 << 15 | 5;
    v->dr7 = 1 << 13 | 0x400;
    deliver(&db, VEC_DB);
    assert_int_equal(v->dr6, 0xffff0ff0 | 1 << 15 | 1 << 14 | 2);
    assert_int_equal(v->dr7, 0x400);
}

static void test_nmi(void **state)
{
    (void)state;
    v->nmi_pending = v->halted = true;
    assert_int_equal(vcpu_deliver_nmi(v), VCPU_DELIVERED);
    assert_int_equal(v->rip, GUEST_HANDLER(2));
    assert_true(v->nmi_blocked);
    assert_false(v->nmi_pending);
    assert_false(v->halted);
    assert_true(vcpu_iret(v, 8, &ex));
    assert_false(v->nmi_blocked);
}

static void test_soft(void **state)
{
    (void)state;
    fake_guest_to_user(v);
    fake_guest_gate(v, VEC_BP, SEL_CODE0, GUEST_HANDLER(3), 0xee, 0);
    v->rip = GUEST_USER + 1;
    assert_int_equal(vcpu_deliver_soft(v, VEC_BP, GUEST_USER), VCPU_DELIVERED);
    assert_int_equal(v->rip, GUEST_HANDLER(3));
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP]), GUEST_USER + 1);
    assert_false(fake_guest_get64(v, v->gpr[RSP] + 16) & RFLAGS_RF);

    /* Gate DPL 0: #GP(vec * 8 + IDT), EXT clear, at the instruction. */
    fake_guest_to_user(v);
    v->rip = GUEST_USER + 2;
    assert_int_equal(vcpu_deliver_soft(v, 0x81, GUEST_USER), VCPU_DELIVERED);
    assert_int_equal(v->rip, GUEST_HANDLER(VEC_GP));
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP]), 0x81 * 8 + 2);
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP] + 8), GUEST_USER);

    /* INT1 (one byte) ignores the gate's DPL, INT 1 does not. */
    fake_guest_to_user(v);
    v->rip = GUEST_USER + 1;
    assert_int_equal(vcpu_deliver_soft(v, VEC_DB, GUEST_USER), VCPU_DELIVERED);
    assert_int_equal(v->rip, GUEST_HANDLER(VEC_DB));
    fake_guest_to_user(v);
    v->rip = GUEST_USER + 2;
    assert_int_equal(vcpu_deliver_soft(v, VEC_DB, GUEST_USER), VCPU_DELIVERED);
    assert_int_equal(v->rip, GUEST_HANDLER(VEC_GP));
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP]), VEC_DB * 8 + 2);
}

/** Delivering interrupt 0x40 fails: handler `vec` runs instead, with `error`. */
static void expect_instead(uint8_t vec, uint32_t error)
{
    v->gpr[RSP] = GUEST_STACK;
    v->rip = GUEST_CODE;
    assert_int_equal(vcpu_deliver_interrupt(v, 0x40), VCPU_DELIVERED);
    assert_int_equal(v->rip, GUEST_HANDLER(vec));
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP]), error);
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP] + 8), GUEST_CODE);
}

static void test_gate_checks(void **state)
{
    static const struct {
        uint16_t sel;
        uint8_t vec;
        uint32_t error;
    } c[] = {
        {0, VEC_GP, 1},
        {3, VEC_GP, 1},
        {0x1000, VEC_GP, 0x1001},
        {SEL_DATA0, VEC_GP, SEL_DATA0 | 1},
        {SEL_CODE3, VEC_GP, (SEL_CODE3 & ~3) | 1},
        {SEL_CODE32_0, VEC_GP, SEL_CODE32_0 | 1},
        {SEL_L_AND_D, VEC_GP, SEL_L_AND_D | 1},
        {SEL_ABSENT_CODE0, VEC_NP, SEL_ABSENT_CODE0 | 1},
        {SEL_TSS, VEC_GP, SEL_TSS | 1},
        {0x0c /* empty LDT entry */, VEC_GP, 0x0d},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        fake_guest_gate(v, 0x40, c[i].sel, GUEST_HANDLER(0x40), 0x8e, 0);
        expect_instead(c[i].vec, c[i].error);
    }
    fake_guest_gate(v, 0x40, SEL_CODE0, NONCANONICAL, 0x8e, 0);
    expect_instead(VEC_GP, 1);
    for (unsigned type = 0; type < 32; type++) { /* with S */
        if (type == 14 || type == 15)
            continue;
        fake_guest_gate(v, 0x40, SEL_CODE0, GUEST_HANDLER(0x40), (uint8_t)(0x80 | type), 0);
        expect_instead(VEC_GP, 0x40 * 8 + 3);
    }
    fake_guest_gate(v, 0x40, SEL_CODE0, GUEST_HANDLER(0x40), 0x0e, 0);
    expect_instead(VEC_NP, 0x40 * 8 + 3);
    /* A good gate, an IDT too short by a byte, then long enough. */
    fake_guest_gate(v, 0x40, SEL_CODE0, GUEST_HANDLER(0x40), 0x8e, 0);
    v->idtr.limit = 0x40 * 16 + 14;
    expect_instead(VEC_GP, 0x40 * 8 + 3);
    v->idtr.limit++;
    assert_int_equal(vcpu_deliver_interrupt(v, 0x40), VCPU_DELIVERED);
    assert_int_equal(v->rip, GUEST_HANDLER(0x40));
}

static void test_stack_checks(void **state)
{
    (void)state;
    fake_guest_gate(v, 0x40, SEL_CODE0, GUEST_HANDLER(0x40), 0x8e, 2);
    fake_guest_set64(v, GUEST_TSS + 44, NONCANONICAL); /* IST2 */
    expect_instead(VEC_SS, 1);
    fake_guest_set64(v, GUEST_TSS + 44, DEAD);
    expect_instead(VEC_PF, PF_W);
    assert_int_equal(v->cr2, DEAD - 40);
    /* The frame spans two pages and the lower is missing: nothing is written above either. */
    fake_guest_set64(v, GUEST_TSS + 44, 0x8010);
    *fake_guest_entry(v, 0x7000, 0) = 0;
    fake_guest_set64(v, 0x8000, 0x5555);
    expect_instead(VEC_PF, PF_W);
    assert_int_equal(v->cr2, 0x7fe8);
    assert_int_equal(fake_guest_get64(v, 0x8000), 0x5555);
    v->tr.limit = 44 + 6;
    expect_instead(VEC_TS, SEL_TSS | 1);
    v->tr.base = DEAD;
    v->tr.limit = 0x67;
    expect_instead(VEC_PF, 0);
    v->tr.attr |= SEG_ATTR_UNUSABLE;
    expect_instead(VEC_TS, SEL_TSS | 1);
}

static void test_conforming_and_accessed(void **state)
{
    (void)state;
    fake_guest_to_user(v);
    fake_guest_gate(v, 0x40, SEL_CONFORMING0, GUEST_HANDLER(0x40), 0x8e, 0);
    assert_int_equal(vcpu_deliver_interrupt(v, 0x40), VCPU_DELIVERED);
    assert_int_equal(v->seg[SEG_CS].sel, SEL_CONFORMING0 | 3);
    assert_int_equal(vcpu_cpl(v), 3);
    assert_int_equal(v->gpr[RSP], GUEST_USER + 0x800 - 40);

    fake_guest_gate(v, 0x41, SEL_FRESH_CODE0, GUEST_HANDLER(0x41), 0x8e, 0);
    assert_int_equal(vcpu_deliver_interrupt(v, 0x41), VCPU_DELIVERED);
    assert_int_equal(*fake_guest_ram(v, GUEST_GDT + SEL_FRESH_CODE0 + 5), 0x9b);
    assert_true(v->seg[SEG_CS].attr & 1);
}

/* ---- double and triple faults ---- */

static void break_gate(uint8_t vec)
{
    fake_guest_gate(v, vec, SEL_CODE0, GUEST_HANDLER(vec), 0x0e, 0); /* not present */
}

/** Make delivery of vec end in a page fault on its stack. */
static void break_stack(uint8_t vec)
{
    fake_guest_gate(v, vec, SEL_CODE0, GUEST_HANDLER(vec), 0x8e, 3);
    fake_guest_set64(v, GUEST_TSS + 52, DEAD);
}

static void test_fault_combinations(void **state)
{
    static const struct {
        uint8_t first, meets, runs;
    } c[] = {
        /* benign, then anything: the second */
        {VEC_UD, VEC_NP, VEC_NP}, {VEC_UD, VEC_PF, VEC_PF}, {VEC_DB, VEC_NP, VEC_NP},
        {VEC_AC, VEC_NP, VEC_NP}, {VEC_MC, VEC_PF, VEC_PF}, {VEC_BR, VEC_NP, VEC_NP},
        /* contributory */
        {VEC_GP, VEC_NP, VEC_DF}, {VEC_DE, VEC_NP, VEC_DF}, {VEC_TS, VEC_NP, VEC_DF},
        {VEC_SS, VEC_NP, VEC_DF}, {VEC_CP, VEC_NP, VEC_DF}, {VEC_GP, VEC_PF, VEC_PF},
        {VEC_DE, VEC_PF, VEC_PF},
        /* page fault */
        {VEC_PF, VEC_NP, VEC_DF}, {VEC_PF, VEC_PF, VEC_DF},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        const struct vcpu_exception e = {.vector = c[i].first, .cr2 = 0x77};
        v->gpr[RSP] = GUEST_STACK;
        v->rip = GUEST_CODE;
        if (c[i].meets == VEC_PF)
            break_stack(c[i].first);
        else
            break_gate(c[i].first);
        uint64_t frame = deliver(&e, c[i].runs);
        assert_int_equal(fake_guest_get64(v, frame + 8), GUEST_CODE);
        uint64_t error = c[i].runs == VEC_DF ? 0 : c[i].runs == VEC_PF ? PF_W : c[i].first * 8u + 3;
        assert_int_equal(fake_guest_get64(v, frame), error);
        if (c[i].meets == VEC_PF)
            assert_int_equal(v->cr2, DEAD - (c[i].first == VEC_DF ? 48 : 40));
        else if (c[i].first == VEC_PF)
            assert_int_equal(v->cr2, 0x77);
        fake_guest_gate(v, c[i].first, SEL_CODE0, GUEST_HANDLER(c[i].first), 0x8e, 0);
    }
}

static void test_triple_fault(void **state)
{
    (void)state;
    v->cr2 = 0x1111;
    break_gate(VEC_PF);
    break_gate(VEC_DF);
    before = *v;
    assert_int_equal(vcpu_deliver(v, &pf), VCPU_TRIPLE_FAULT);
    assert_memory_equal(v, &before, sizeof(before));

    break_stack(VEC_DF);
    assert_int_equal(vcpu_deliver(v, &pf), VCPU_TRIPLE_FAULT);
    assert_memory_equal(v, &before, sizeof(before));

    v->idtr.limit = 0;
    before = *v;
    assert_int_equal(vcpu_deliver_interrupt(v, 0x40), VCPU_TRIPLE_FAULT);
    assert_memory_equal(v, &before, sizeof(before));
    v->nmi_pending = true;
    before = *v;
    assert_int_equal(vcpu_deliver_nmi(v), VCPU_TRIPLE_FAULT);
    assert_memory_equal(v, &before, sizeof(before));
    assert_int_equal(vcpu_deliver_soft(v, 0x80, GUEST_CODE - 2), VCPU_TRIPLE_FAULT);
    assert_int_equal(v->rip, GUEST_CODE - 2);
}

/* An INT n vector with a contributory number is benign: its #NP is delivered, not #DF. */
static void test_soft_is_benign(void **state)
{
    (void)state;
    break_gate(VEC_TS);
    v->rip = GUEST_CODE + 2;
    assert_int_equal(vcpu_deliver_soft(v, VEC_TS, GUEST_CODE), VCPU_DELIVERED);
    assert_int_equal(v->rip, GUEST_HANDLER(VEC_NP));
    assert_int_equal(fake_guest_get64(v, v->gpr[RSP]), VEC_TS * 8 + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_deliver_same_level), TEST(test_deliver_from_user),
        TEST(test_deliver_trap_gate_and_ist), TEST(test_rf_image), TEST(test_debug_registers),
        TEST(test_nmi), TEST(test_soft), TEST(test_gate_checks), TEST(test_stack_checks),
        TEST(test_conforming_and_accessed), TEST(test_fault_combinations), TEST(test_triple_fault),
        TEST(test_soft_is_benign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
