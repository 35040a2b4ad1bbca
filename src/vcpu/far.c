/* Far control transfers in 64-bit mode: IRET, far RET, far JMP, far CALL, call gates.
 *
 * SDM 2 "IRET/IRETD/IRETQ", "RET", "JMP", "CALL" (their long-mode branches); SDM 3 "Protection"
 * §5.8 "Privilege Level Checking when Transferring Program Control". The code that executes them is
 * 64-bit; what they lead to may be 64-bit or compatibility code of the same or an outer level, and
 * of an inner level through a call gate.
 *
 * Invariant: all checks and stack accesses come before the first change of the vCPU. Accessed bits
 * of descriptors may be set by a transfer that fails later, as on a processor.
 */
#include "mmu/mmu.h"
#include "vcpu/raise.h"
#include "vcpu/segment.h"

/* ---- the stack ---- */

static unsigned stack_access(const struct vcpu *v)
{
    return vcpu_cpl(v) == 3 ? MMU_USER : 0;
}

/** Read `count` (<= 5) values of opsize bytes at the stack address gva, zero-extended. */
static bool peek(struct vcpu *v, uint64_t gva, unsigned opsize, unsigned count, uint64_t *out,
                 struct vcpu_exception *ex)
{
    uint8_t raw[5 * 8];
    void *to = opsize == 8 ? (void *)out : raw;
    if (!mmu_read(v, gva, to, (size_t)count * opsize, stack_access(v), ex)) {
        if (ex->vector == VEC_GP) /* not canonical */
            return raise_error(ex, VEC_SS, 0);
        return false;
    }
    if (opsize == 8)
        return true;
    for (unsigned i = 0; i < count; i++) {
        out[i] = 0;
        for (unsigned b = 0; b < opsize; b++)
            out[i] |= (uint64_t)raw[i * opsize + b] << (8 * b);
    }
    return true;
}

/** Write `count` (<= 4) values of opsize bytes below *rsp, the first one lowest; *rsp goes down. */
static bool push(struct vcpu *v, uint64_t *rsp, unsigned opsize, unsigned count,
                 const uint64_t *value, unsigned access, struct vcpu_exception *ex)
{
    uint8_t raw[4 * 8];
    for (unsigned i = 0; i < count; i++) {
        for (unsigned b = 0; b < opsize; b++)
            raw[i * opsize + b] = (uint8_t)(value[i] >> (8 * b));
    }
    uint64_t to = *rsp - (uint64_t)count * opsize;
    if (!mmu_write(v, to, raw, (size_t)count * opsize, access, ex)) {
        if (ex->vector == VEC_GP)
            return raise_error(ex, VEC_SS, 0);
        return false;
    }
    *rsp = to;
    return true;
}

/* ---- code and stack segments ---- */

/** Fetch the code segment of a transfer: not null, inside its table, code, not both L and D. */
static bool fetch_code(struct vcpu *v, uint16_t sel, struct segment *cs, struct vcpu_exception *ex)
{
    uint64_t raw;
    if (selector_null(sel))
        return raise_gp(ex, 0);
    if (!segment_fetch(v, sel, 0, &raw, ex))
        return false;
    *cs = segment_unpack(sel, raw);
    if (!segment_is_code(cs->attr) ||
        (cs->attr & (SEG_ATTR_L | SEG_ATTR_DB)) == (SEG_ATTR_L | SEG_ATTR_DB))
        return raise_gp(ex, selector_error(sel, 0));
    return true;
}

static bool check_present(const struct segment *cs, struct vcpu_exception *ex)
{
    if (!(cs->attr & SEG_ATTR_P))
        return raise_error(ex, VEC_NP, selector_error(cs->sel, 0));
    return true;
}

static bool check_rip(const struct segment *cs, uint64_t rip, struct vcpu_exception *ex)
{
    if (cs->attr & SEG_ATTR_L ? !gva_canonical(rip) : rip > cs->limit)
        return raise_gp(ex, 0);
    return true;
}

/** The code segment a return goes to: same or outer level, by the selector's RPL. */
static bool fetch_return_code(struct vcpu *v, uint16_t sel, struct segment *cs,
                              struct vcpu_exception *ex)
{
    if (!fetch_code(v, sel, cs, ex))
        return false;
    unsigned rpl = selector_rpl(sel), dpl = segment_dpl(cs->attr);
    bool fits = cs->attr & TYPE_CONFORMING ? dpl <= rpl : dpl == rpl;
    if (rpl < vcpu_cpl(v) || !fits)
        return raise_gp(ex, selector_error(sel, 0));
    return check_present(cs, ex);
}

/** The stack segment a return pops, for code `cs` whose RPL is the new CPL. */
static bool fetch_return_stack(struct vcpu *v, uint16_t sel, const struct segment *cs,
                               struct segment *ss, struct vcpu_exception *ex)
{
    unsigned new_cpl = selector_rpl(cs->sel);
    uint64_t raw;

    if (selector_null(sel)) {
        if (!(cs->attr & SEG_ATTR_L) || new_cpl == 3 || selector_rpl(sel) != new_cpl)
            return raise_gp(ex, 0);
        *ss = segment_null(sel, new_cpl);
        return true;
    }
    if (!segment_fetch(v, sel, 0, &raw, ex))
        return false;
    *ss = segment_unpack(sel, raw);
    if (selector_rpl(sel) != new_cpl || !segment_is_writable_data(ss->attr) ||
        segment_dpl(ss->attr) != new_cpl)
        return raise_gp(ex, selector_error(sel, 0));
    if (!(ss->attr & SEG_ATTR_P))
        return raise_error(ex, VEC_SS, selector_error(sel, 0));
    return segment_mark_accessed(v, ss, ex);
}

/** After a return to an outer level: data segments it may not use become null. Bases stay. */
static void drop_inner_segments(struct vcpu *v)
{
    static const enum seg data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    unsigned cpl = vcpu_cpl(v);
    for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
        struct segment *s = &v->seg[data[i]];
        if (s->attr & SEG_ATTR_UNUSABLE)
            continue;
        if (segment_dpl(s->attr) < cpl && !segment_is_conforming_code(s->attr)) {
            s->sel = 0;
            s->attr = SEG_ATTR_UNUSABLE;
        }
    }
}

/* ---- IRET ---- */

/** RFLAGS after popping `image` at the current CPL. VM cannot be set in long mode. */
static uint64_t iret_rflags(const struct vcpu *v, unsigned opsize, uint64_t image)
{
    unsigned cpl = vcpu_cpl(v);
    uint64_t mask = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
    if (opsize > 2)
        mask |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
    if (cpl <= bits(v->rflags, 12, 2))
        mask |= RFLAGS_IF;
    if (cpl == 0)
        mask |= RFLAGS_IOPL | (opsize > 2 ? RFLAGS_VIF | RFLAGS_VIP : 0);
    return (v->rflags & ~mask) | (image & mask) | RFLAGS_FIXED;
}

bool vcpu_iret(struct vcpu *v, unsigned opsize, struct vcpu_exception *ex)
{
    uint64_t pop[5]; /* RIP, CS, RFLAGS, RSP, SS */
    struct segment cs, ss;
    unsigned old_cpl = vcpu_cpl(v);

    /* Also when IRET faults: SDM 3 "VM Exits" §27.2.3, "NMI unblocking due to IRET". */
    v->nmi_blocked = false;
    if (v->rflags & RFLAGS_NT)
        return raise_gp(ex, 0);
    if (!peek(v, v->gpr[RSP], opsize, 5, pop, ex))
        return false;
    if (!fetch_return_code(v, (uint16_t)pop[1], &cs, ex) ||
        !fetch_return_stack(v, (uint16_t)pop[4], &cs, &ss, ex) || !check_rip(&cs, pop[0], ex) ||
        !segment_mark_accessed(v, &cs, ex))
        return false;

    v->rflags = iret_rflags(v, opsize, pop[2]);
    v->seg[SEG_CS] = cs;
    v->seg[SEG_SS] = ss;
    v->rip = pop[0];
    v->gpr[RSP] = pop[3];
    if (selector_rpl(cs.sel) > old_cpl)
        drop_inner_segments(v);
    return true;
}

/* ---- far RET ---- */

bool vcpu_retf(struct vcpu *v, unsigned opsize, unsigned imm, struct vcpu_exception *ex)
{
    uint64_t pop[2], outer[2]; /* RIP, CS; RSP, SS */
    uint64_t rsp = v->gpr[RSP];
    struct segment cs, ss;

    if (!peek(v, rsp, opsize, 2, pop, ex) || !fetch_return_code(v, (uint16_t)pop[1], &cs, ex))
        return false;
    rsp += 2ull * opsize + imm;
    bool outward = selector_rpl(cs.sel) > vcpu_cpl(v);
    if (outward) {
        if (!peek(v, rsp, opsize, 2, outer, ex) ||
            !fetch_return_stack(v, (uint16_t)outer[1], &cs, &ss, ex))
            return false;
        rsp = outer[0] + imm;
    }
    if (!check_rip(&cs, pop[0], ex) || !segment_mark_accessed(v, &cs, ex))
        return false;

    v->seg[SEG_CS] = cs;
    v->rip = pop[0];
    v->gpr[RSP] = rsp;
    if (outward) {
        v->seg[SEG_SS] = ss;
        drop_inner_segments(v);
    }
    return true;
}

/* ---- far JMP and CALL ---- */

/** Where a far jump or call leads. */
struct target {
    struct segment cs; /* selector RPL = new CPL */
    uint64_t rip;
    bool gate; /* reached through a call gate */
};

/** A code segment named directly: no change of level. */
static bool check_direct(struct vcpu *v, struct target *t, uint64_t off, struct vcpu_exception *ex)
{
    unsigned cpl = vcpu_cpl(v), dpl = segment_dpl(t->cs.attr);
    uint16_t sel = t->cs.sel;
    bool fits = t->cs.attr & TYPE_CONFORMING ? dpl <= cpl
                                             : dpl == cpl && selector_rpl(sel) <= cpl;
    if (!fits || (t->cs.attr & (SEG_ATTR_L | SEG_ATTR_DB)) == (SEG_ATTR_L | SEG_ATTR_DB))
        return raise_gp(ex, selector_error(sel, 0));
    t->rip = off;
    t->gate = false;
    return check_present(&t->cs, ex) && check_rip(&t->cs, off, ex);
}

/** A 64-bit call gate; `call` may raise the privilege level, a jump may not. */
static bool check_gate(struct vcpu *v, uint16_t sel, bool call, struct target *t,
                       struct vcpu_exception *ex)
{
    unsigned cpl = vcpu_cpl(v);
    uint64_t raw[2];
    if (!segment_fetch_system(v, sel, raw, ex))
        return false;
    unsigned gate_dpl = (unsigned)bits(raw[0], 45, 2);
    if (bits(raw[0], 40, 5) != SYS_CALL_GATE || bits(raw[1], 40, 5) || gate_dpl < cpl ||
        gate_dpl < selector_rpl(sel))
        return raise_gp(ex, selector_error(sel, 0));
    if (!bit(raw[0], 47))
        return raise_error(ex, VEC_NP, selector_error(sel, 0));

    uint16_t code_sel = (uint16_t)bits(raw[0], 16, 16);
    if (!fetch_code(v, code_sel, &t->cs, ex))
        return false;
    unsigned dpl = segment_dpl(t->cs.attr);
    bool conforming = t->cs.attr & TYPE_CONFORMING;
    if (dpl > cpl || (!call && !conforming && dpl != cpl) || !(t->cs.attr & SEG_ATTR_L))
        return raise_gp(ex, selector_error(code_sel, 0));
    t->rip = bits(raw[0], 0, 16) | bits(raw[0], 48, 16) << 16 | raw[1] << 32;
    t->gate = true;
    if (!check_present(&t->cs, ex) || !check_rip(&t->cs, t->rip, ex))
        return false;
    if (!conforming)
        cpl = dpl;
    t->cs.sel = (uint16_t)((code_sel & ~3u) | cpl);
    return true;
}

static bool find_target(struct vcpu *v, uint16_t sel, uint64_t off, bool call, struct target *t,
                        struct vcpu_exception *ex)
{
    uint64_t raw;
    if (selector_null(sel))
        return raise_gp(ex, 0);
    if (!segment_fetch(v, sel, 0, &raw, ex))
        return false;
    t->cs = segment_unpack(sel, raw);
    if (segment_is_code(t->cs.attr)) {
        if (!check_direct(v, t, off, ex) || !segment_mark_accessed(v, &t->cs, ex))
            return false;
        t->cs.sel = (uint16_t)((sel & ~3u) | vcpu_cpl(v));
        return true;
    }
    if (t->cs.attr & SEG_ATTR_S) /* data */
        return raise_gp(ex, selector_error(sel, 0));
    return check_gate(v, sel, call, t, ex) && segment_mark_accessed(v, &t->cs, ex);
}

bool vcpu_far_jump(struct vcpu *v, uint16_t sel, uint64_t off, struct vcpu_exception *ex)
{
    struct target t;
    if (!find_target(v, sel, off, false, &t, ex))
        return false;
    v->seg[SEG_CS] = t.cs;
    v->rip = t.rip;
    return true;
}

/** A call through a gate to an inner level: new stack from the TSS, the old one's address on it. */
static bool call_inward(struct vcpu *v, const struct target *t, struct vcpu_exception *ex)
{
    unsigned new_cpl = selector_rpl(t->cs.sel), offset = 4 + new_cpl * 8;
    const uint64_t frame[4] = {v->rip, v->seg[SEG_CS].sel, v->gpr[RSP], v->seg[SEG_SS].sel};
    uint64_t rsp;

    if ((v->tr.attr & SEG_ATTR_UNUSABLE) || offset + 7 > v->tr.limit)
        return raise_error(ex, VEC_TS, selector_error(v->tr.sel, 0));
    if (!mmu_read(v, v->tr.base + offset, &rsp, 8, MMU_IMPLICIT, ex)) {
        if (ex->vector == VEC_GP)
            return raise_error(ex, VEC_TS, selector_error(v->tr.sel, 0));
        return false;
    }
    if (!push(v, &rsp, 8, 4, frame, MMU_IMPLICIT, ex))
        return false;
    v->seg[SEG_SS] = segment_null((uint16_t)new_cpl, new_cpl);
    v->seg[SEG_CS] = t->cs;
    v->rip = t->rip;
    v->gpr[RSP] = rsp;
    return true;
}

bool vcpu_far_call(struct vcpu *v, unsigned opsize, uint16_t sel, uint64_t off,
                   struct vcpu_exception *ex)
{
    const uint64_t frame[2] = {v->rip, v->seg[SEG_CS].sel};
    uint64_t rsp = v->gpr[RSP];
    struct target t;

    if (!find_target(v, sel, off, true, &t, ex))
        return false;
    if (selector_rpl(t.cs.sel) < vcpu_cpl(v))
        return call_inward(v, &t, ex);
    if (!push(v, &rsp, t.gate ? 8 : opsize, 2, frame, stack_access(v), ex))
        return false;
    v->seg[SEG_CS] = t.cs;
    v->rip = t.rip;
    v->gpr[RSP] = rsp;
    return true;
}
