/* src/vcpu, events and control transfers: delivery through the IDT, double and triple faults, IRET,
 * far transfers, SYSCALL and SYSRET. Segment and register rules are in test_vcpu_regs.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_guest.h"

#define DEAD 0x7f0000000000ull /* canonical, not mapped */
#define NONCANONICAL 0x8000000000000000ull

static struct vcpu *v;
static struct vcpu_exception ex;
static struct vcpu before; /* for "nothing has changed" */

static int setup(void **state)
{
    (void)state;
    v = fake_guest_create();
    memset(&ex, 0, sizeof(ex));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_guest_destroy(v);
    return 0;
}

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

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_deliver_same_level), TEST(test_deliver_from_user),
        TEST(test_deliver_trap_gate_and_ist), TEST(test_rf_image), TEST(test_debug_registers),
        TEST(test_nmi), TEST(test_soft), TEST(test_gate_checks), TEST(test_stack_checks),
        TEST(test_conforming_and_accessed), TEST(test_fault_combinations), TEST(test_triple_fault),
        TEST(test_soft_is_benign), TEST(test_iret_same_level), TEST(test_iret_to_user),
        TEST(test_iret_compat_and_narrow), TEST(test_iret_flags_by_level), TEST(test_iret_faults),
        TEST(test_retf), TEST(test_far_jump), TEST(test_far_call), TEST(test_syscall),
        TEST(test_syscall_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
