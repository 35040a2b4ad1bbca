/* Delivery of exceptions and interrupts through the guest's IDT in long mode.
 *
 * SDM 3 "Interrupt and Exception Handling" §6.12-6.15 with §6.14 "Exception and Interrupt Handling
 * in 64-bit Mode"; SDM 2 "INT n/INTO/INT3/INT1" for the order of checks; SDM 3 §17.3.1.1
 * "Instruction-Breakpoint Exception Condition" for RF.
 *
 * Invariant: one attempt at delivery (deliver_once) changes nothing in the vCPU until every check
 * has passed and the whole frame is in memory. Accessed bits of descriptors and page tables may be
 * set by an attempt that fails, as on a processor.
 */
#include "mmu/mmu.h"
#include "vcpu/raise.h"
#include "vcpu/segment.h"

#define ERROR_EXT 1u
#define ERROR_IDT 2u
#define DR6_BD (1ull << 13)
#define DR6_TRAPS 0xfull
#define DR7_GD (1ull << 13)
#define FRAME_WORDS 6

#define unlikely(x) __builtin_expect(!!(x), 0)

/** What is being delivered. */
struct event {
    uint8_t vec;
    bool has_error;
    bool soft;        /* INT n, INT3: the gate's DPL is checked */
    bool exception;   /* counts as vec's class in the double-fault rules; else benign */
    bool set_rf;      /* RF is set in the pushed RFLAGS */
    uint32_t ext;     /* EXT bit of faults met while delivering: 0 only for soft */
    uint32_t error;
};

/** A 64-bit IDT gate, checked. */
struct gate {
    uint16_t sel;
    uint8_t ist;
    bool interrupt; /* interrupt gate: clears IF */
    uint64_t target;
};

/* ---- one attempt ---- */

static inline bool read_gate(struct vcpu *v, const struct event *ev, struct gate *g,
                             struct vcpu_exception *ex)
{
    uint32_t error = ev->vec * 8u | ERROR_IDT | ev->ext;
    unsigned offset = ev->vec * 16u;
    uint64_t raw[2];

    if (unlikely(offset + 15 > v->idtr.limit))
        return raise_gp(ex, error);
    if (unlikely(!mmu_read(v, v->idtr.base + offset, raw, sizeof(raw), MMU_IMPLICIT, ex))) {
        if (ex->vector == VEC_GP)
            ex->error = error;
        return false;
    }
    unsigned type = (unsigned)bits(raw[0], 40, 5); /* with S, which must be 0 */
    if (unlikely(type != SYS_INTERRUPT_GATE && type != SYS_TRAP_GATE))
        return raise_gp(ex, error);
    if (ev->soft && unlikely(bits(raw[0], 45, 2) < vcpu_cpl(v)))
        return raise_gp(ex, error);
    if (unlikely(!bit(raw[0], 47)))
        return raise_error(ex, VEC_NP, error);
    g->sel = (uint16_t)bits(raw[0], 16, 16);
    g->ist = (uint8_t)bits(raw[0], 32, 3);
    g->interrupt = type == SYS_INTERRUPT_GATE;
    g->target = bits(raw[0], 0, 16) | bits(raw[0], 48, 16) << 16 | raw[1] << 32;
    return true;
}

/** The handler's code segment; its selector gets the RPL the handler runs at. */
static inline bool read_handler(struct vcpu *v, const struct gate *g, uint32_t ext,
                                struct segment *cs, struct vcpu_exception *ex)
{
    unsigned cpl = vcpu_cpl(v);
    uint64_t raw;

    if (unlikely(selector_null(g->sel)))
        return raise_gp(ex, ext);
    if (unlikely(!segment_fetch(v, g->sel, ext, &raw, ex)))
        return false;
    *cs = segment_unpack(g->sel, raw);
    if (unlikely(!segment_is_code(cs->attr) || segment_dpl(cs->attr) > cpl))
        return raise_gp(ex, selector_error(g->sel, ext));
    if (unlikely((cs->attr & (SEG_ATTR_L | SEG_ATTR_DB)) != SEG_ATTR_L))
        return raise_gp(ex, selector_error(g->sel, ext));
    if (unlikely(!(cs->attr & SEG_ATTR_P)))
        return raise_error(ex, VEC_NP, selector_error(g->sel, ext));
    unsigned new_cpl = cs->attr & TYPE_CONFORMING ? cpl : segment_dpl(cs->attr);
    if (unlikely(!gva_canonical(g->target)))
        return raise_gp(ex, ext);
    if (!segment_mark_accessed(v, cs, ex))
        return false;
    cs->sel = (uint16_t)((g->sel & ~3u) | new_cpl);
    return true;
}

/** The stack for the frame, not yet aligned: IST, else RSPn of the TSS, else the current one. */
static inline bool choose_stack(struct vcpu *v, const struct gate *g, unsigned new_cpl,
                                uint32_t ext, uint64_t *rsp, struct vcpu_exception *ex)
{
    unsigned offset;
    if (g->ist) {
        offset = 28 + g->ist * 8u;
    } else if (new_cpl < vcpu_cpl(v)) {
        offset = 4 + new_cpl * 8u;
    } else {
        *rsp = v->gpr[RSP];
        return true;
    }
    uint32_t error = selector_error(v->tr.sel, ext);
    if (unlikely((v->tr.attr & SEG_ATTR_UNUSABLE) || offset + 7 > v->tr.limit))
        return raise_error(ex, VEC_TS, error);
    if (unlikely(!mmu_read(v, v->tr.base + offset, rsp, 8, MMU_IMPLICIT, ex))) {
        if (ex->vector == VEC_GP)
            raise_error(ex, VEC_TS, error);
        return false;
    }
    return true;
}

/** Write the frame below rsp; *rsp becomes the handler's. */
static inline bool push_frame(struct vcpu *v, const struct event *ev, unsigned new_cpl,
                              uint64_t *rsp, struct vcpu_exception *ex)
{
    uint64_t frame[FRAME_WORDS];
    uint64_t *at = ev->has_error ? frame : frame + 1;
    size_t size = (size_t)(frame + FRAME_WORDS - at) * 8;
    unsigned access = new_cpl == 3 ? MMU_WRITE | MMU_USER : MMU_WRITE | MMU_IMPLICIT;

    frame[0] = ev->error;
    frame[1] = v->rip;
    frame[2] = v->seg[SEG_CS].sel;
    frame[3] = ev->set_rf ? v->rflags | RFLAGS_RF : v->rflags;
    frame[4] = v->gpr[RSP];
    frame[5] = v->seg[SEG_SS].sel;
    *rsp = (*rsp & ~15ull) - size;
    if (unlikely(!mmu_write(v, *rsp, at, size, access, ex))) {
        if (ex->vector == VEC_GP)
            raise_error(ex, VEC_SS, ev->ext);
        return false;
    }
    return true;
}

static bool deliver_once(struct vcpu *v, const struct event *ev, struct vcpu_exception *ex)
{
    struct gate g;
    struct segment cs;
    uint64_t rsp;

    if (!read_gate(v, ev, &g, ex) || !read_handler(v, &g, ev->ext, &cs, ex))
        return false;
    unsigned new_cpl = selector_rpl(cs.sel);
    if (!choose_stack(v, &g, new_cpl, ev->ext, &rsp, ex) ||
        !push_frame(v, ev, new_cpl, &rsp, ex))
        return false;

    if (new_cpl != vcpu_cpl(v))
        v->seg[SEG_SS] = segment_null((uint16_t)new_cpl, new_cpl);
    v->seg[SEG_CS] = cs;
    v->rip = g.target;
    v->gpr[RSP] = rsp;
    v->rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
    if (g.interrupt)
        v->rflags &= ~RFLAGS_IF;
    if (ev->exception && ev->vec == VEC_DB)
        v->dr7 &= ~DR7_GD;
    v->halted = false;
    v->irq_shadow = false;
    return true;
}

/* ---- exceptions during delivery ---- */

enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT };

static enum fault_class class_of(uint8_t vec)
{
    switch (vec) {
    case VEC_DE:
    case VEC_TS:
    case VEC_NP:
    case VEC_SS:
    case VEC_GP:
    case VEC_CP:
        return CONTRIBUTORY;
    case VEC_PF:
    case VEC_VE:
        return PAGE_FAULT;
    default:
        return BENIGN;
    }
}

/** Faults push RF set so that an instruction breakpoint does not hit again on return. Traps (#BP,
 *  #OF), aborts, and #DB other than general detect push RF as it is. */
static bool pushes_rf(const struct vcpu_exception *ex)
{
    const uint32_t faults = 1u << VEC_DE | 1u << VEC_BR | 1u << VEC_UD | 1u << VEC_NM |
                            1u << VEC_TS | 1u << VEC_NP | 1u << VEC_SS | 1u << VEC_GP |
                            1u << VEC_PF | 1u << VEC_MF | 1u << VEC_AC | 1u << VEC_XM |
                            1u << VEC_VE | 1u << VEC_CP;
    if (ex->vector == VEC_DB)
        return ex->dr6 & DR6_BD;
    return ex->vector < 32 && bit(faults, ex->vector);
}

/** What raising ex does before its delivery: CR2, DR6; and *ev becomes the event to deliver. */
static void raise_event(struct vcpu *v, const struct vcpu_exception *ex, struct event *ev)
{
    if (ex->vector == VEC_PF)
        v->cr2 = ex->cr2;
    else if (unlikely(ex->vector == VEC_DB))
        v->dr6 = (v->dr6 & ~DR6_TRAPS) | ex->dr6;
    ev->vec = ex->vector;
    ev->has_error = ex->has_error;
    ev->soft = false;
    ev->exception = true;
    ev->set_rf = pushes_rf(ex);
    ev->ext = ERROR_EXT;
    ev->error = ex->error;
}

/** Turn *ev, whose delivery met `second`, into the event to deliver next. False: shutdown. */
static bool combine(struct vcpu *v, struct event *ev, const struct vcpu_exception *second)
{
    const struct vcpu_exception df = {.vector = VEC_DF, .has_error = true, .error = 0};
    enum fault_class a = ev->exception ? class_of(ev->vec) : BENIGN;
    enum fault_class b = class_of(second->vector);
    bool was_df = ev->exception && ev->vec == VEC_DF;

    raise_event(v, second, ev); /* a page fault loads CR2 even if it ends as #DF */
    if (b == BENIGN)
        return true;
    if (was_df)
        return false;
    if ((a == CONTRIBUTORY && b == CONTRIBUTORY) || a == PAGE_FAULT)
        raise_event(v, &df, ev);
    return true;
}

/** Deliver *ev and whatever its delivery meets. At most four rounds: event, fault, #DF, shutdown.
 *  fault_rip is what v->rip must be for a fault of the delivery. CR2 and DR6 are the caller's to
 *  restore after a triple fault. */
static enum vcpu_delivery deliver(struct vcpu *v, struct event *ev, uint64_t fault_rip)
{
    struct vcpu_exception ex;

    if (!(v->efer & EFER_LMA)) /* legacy-mode IDTs do not exist here */
        return VCPU_TRIPLE_FAULT;
    while (unlikely(!deliver_once(v, ev, &ex))) {
        v->rip = fault_rip;
        if (!combine(v, ev, &ex))
            return VCPU_TRIPLE_FAULT;
    }
    return VCPU_DELIVERED;
}

/** What a triple fault must find again. */
struct undo {
    uint64_t cr2, dr6;
    bool nmi_pending, nmi_blocked;
};

static inline struct undo remember(const struct vcpu *v)
{
    return (struct undo){v->cr2, v->dr6, v->nmi_pending, v->nmi_blocked};
}

static inline enum vcpu_delivery finish(struct vcpu *v, enum vcpu_delivery d, const struct undo *u)
{
    if (unlikely(d == VCPU_TRIPLE_FAULT)) {
        v->cr2 = u->cr2;
        v->dr6 = u->dr6;
        v->nmi_pending = u->nmi_pending;
        v->nmi_blocked = u->nmi_blocked;
    }
    return d;
}

/* ---- the ways in ---- */

enum vcpu_delivery vcpu_deliver(struct vcpu *v, const struct vcpu_exception *ex)
{
    const struct undo undo = remember(v);
    struct event ev;
    raise_event(v, ex, &ev);
    return finish(v, deliver(v, &ev, v->rip), &undo);
}

enum vcpu_delivery vcpu_deliver_interrupt(struct vcpu *v, uint8_t vec)
{
    const struct undo undo = remember(v);
    struct event ev = {.vec = vec, .ext = ERROR_EXT};
    return finish(v, deliver(v, &ev, v->rip), &undo);
}

enum vcpu_delivery vcpu_deliver_nmi(struct vcpu *v)
{
    const struct undo undo = remember(v);
    struct event ev = {.vec = VEC_NMI, .ext = ERROR_EXT};
    v->nmi_pending = false;
    v->nmi_blocked = true;
    return finish(v, deliver(v, &ev, v->rip), &undo);
}

enum vcpu_delivery vcpu_deliver_soft(struct vcpu *v, uint8_t vec, uint64_t insn_rip)
{
    const struct undo undo = remember(v);
    /* INT1 (f1) reports #DB like the processor's own, without looking at the gate's DPL; INT 1
     * (cd 01) is an ordinary INT n. Their lengths tell them apart. */
    bool int1 = vec == VEC_DB && v->rip - insn_rip == 1;
    struct event ev = {.vec = vec, .soft = !int1, .exception = int1, .ext = int1};
    return finish(v, deliver(v, &ev, insn_rip), &undo);
}
