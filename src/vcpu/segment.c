/* Loading and inspecting segment registers.
 *
 * SDM 2 "MOV", "LLDT", "LTR", "LAR", "LSL", "VERR/VERW"; SDM 3 "Protected-Mode Memory Management"
 * §3.4, "Protection" §5.5 "Privilege Levels". Descriptor tables are read with supervisor rights
 * whatever the CPL (SDM 3 §4.6.1). Intel's answer is given where vendors differ: loading a null
 * selector into FS or GS clears the base (AMD says so with NullSelectorClearsBase).
 */
#include "vcpu/segment.h"

#include "mmu/mmu.h"
#include "vcpu/raise.h"
#include "vm/vm.h"

#define TABLE_ACCESS MMU_IMPLICIT
#define LAR_MASK 0x00ffff00u

/* ---- descriptors in memory ---- */

/** Linear address of the descriptor, or false when [offset, offset+len) is beyond the table. */
static inline bool locate(const struct vcpu *v, uint16_t sel, unsigned len, uint64_t *gva)
{
    unsigned offset = sel & 0xfff8u;
    if (sel & 4) {
        if ((v->ldtr.attr & SEG_ATTR_UNUSABLE) || offset + len - 1 > v->ldtr.limit)
            return false;
        *gva = v->ldtr.base + offset;
        return true;
    }
    *gva = v->gdtr.base + offset;
    return offset + len - 1 <= v->gdtr.limit;
}

static inline bool fetch(struct vcpu *v, uint16_t sel, uint32_t ext, uint64_t *raw, unsigned len,
                         struct vcpu_exception *ex)
{
    uint64_t gva;
    if (!locate(v, sel, len, &gva))
        return raise_gp(ex, selector_error(sel, ext));
    if (__builtin_expect(mmu_read(v, gva, raw, len, TABLE_ACCESS, ex), 1))
        return true;
    if (ex->vector == VEC_GP)
        ex->error = selector_error(sel, ext);
    return false;
}

bool segment_fetch(struct vcpu *v, uint16_t sel, uint32_t ext, uint64_t *raw,
                   struct vcpu_exception *ex)
{
    return fetch(v, sel, ext, raw, 8, ex);
}

bool segment_fetch_system(struct vcpu *v, uint16_t sel, uint64_t raw[2], struct vcpu_exception *ex)
{
    return fetch(v, sel, 0, raw, 16, ex);
}

bool segment_mark(struct vcpu *v, uint16_t sel, uint8_t type_bits, struct vcpu_exception *ex)
{
    uint64_t gva;
    struct mmu_xlat x;
    if (!locate(v, sel, 8, &gva))
        return raise_gp(ex, selector_error(sel, 0));
    if (!mmu_walk(v, gva + 5, TABLE_ACCESS | MMU_WRITE, &x, ex))
        return false;
    uint8_t *access_byte = ram_span(&v->vm->ram, x.gpa, 1);
    if (access_byte) {
        /* Pairs with other vCPUs marking the same descriptor. */
        __atomic_or_fetch(access_byte, type_bits, __ATOMIC_ACQ_REL);
        mmu_ram_written(v->vm, x.gpa, 1);
    }
    return true;
}

bool segment_mark_accessed(struct vcpu *v, struct segment *s, struct vcpu_exception *ex)
{
    if (s->attr & TYPE_ACCESSED)
        return true;
    if (!segment_mark(v, s->sel, TYPE_ACCESSED, ex))
        return false;
    s->attr |= TYPE_ACCESSED;
    return true;
}

/* ---- data and stack segments ---- */

static bool load_null(struct vcpu *v, enum seg seg, uint16_t sel, struct vcpu_exception *ex)
{
    unsigned cpl = vcpu_cpl(v);
    if (seg == SEG_SS && (!vcpu_long64(v) || cpl == 3 || selector_rpl(sel) != cpl))
        return raise_gp(ex, 0);
    v->seg[seg] = segment_null(sel, seg == SEG_SS ? cpl : 0);
    return true;
}

static bool check_stack(const struct vcpu *v, const struct segment *s, struct vcpu_exception *ex)
{
    unsigned cpl = vcpu_cpl(v);
    if (selector_rpl(s->sel) != cpl || !segment_is_writable_data(s->attr) ||
        segment_dpl(s->attr) != cpl)
        return raise_gp(ex, selector_error(s->sel, 0));
    if (!(s->attr & SEG_ATTR_P))
        return raise_error(ex, VEC_SS, selector_error(s->sel, 0));
    return true;
}

static bool check_data(const struct vcpu *v, const struct segment *s, struct vcpu_exception *ex)
{
    bool code = segment_is_code(s->attr);
    unsigned dpl = segment_dpl(s->attr);
    if (!(s->attr & SEG_ATTR_S) || (code && !(s->attr & TYPE_RW)))
        return raise_gp(ex, selector_error(s->sel, 0));
    if (!segment_is_conforming_code(s->attr) && (selector_rpl(s->sel) > dpl || vcpu_cpl(v) > dpl))
        return raise_gp(ex, selector_error(s->sel, 0));
    if (!(s->attr & SEG_ATTR_P))
        return raise_error(ex, VEC_NP, selector_error(s->sel, 0));
    return true;
}

bool vcpu_load_segment(struct vcpu *v, enum seg seg, uint16_t sel, struct vcpu_exception *ex)
{
    if (seg == SEG_CS || seg >= SEG_COUNT)
        return raise_ud(ex);
    if (!(v->cr0 & CR0_PE)) { /* real mode: limit and rights stay */
        v->seg[seg].sel = sel;
        v->seg[seg].base = (uint64_t)sel << 4;
        return true;
    }
    if (selector_null(sel))
        return load_null(v, seg, sel, ex);

    uint64_t raw;
    if (!segment_fetch(v, sel, 0, &raw, ex))
        return false;
    struct segment s = segment_unpack(sel, raw);
    if (!(seg == SEG_SS ? check_stack(v, &s, ex) : check_data(v, &s, ex)))
        return false;
    if (!segment_mark_accessed(v, &s, ex))
        return false;
    v->seg[seg] = s;
    return true;
}

/* ---- LDTR, TR ---- */

/** A system descriptor of `type` from the GDT, its 64-bit base put together. */
static bool load_system(struct vcpu *v, uint16_t sel, unsigned type, struct segment *out,
                        struct vcpu_exception *ex)
{
    uint64_t raw[2] = {0, 0};
    bool wide = v->efer & EFER_LMA;
    if (sel & 4)
        return raise_gp(ex, selector_error(sel, 0));
    if (!(wide ? segment_fetch_system(v, sel, raw, ex) : segment_fetch(v, sel, 0, raw, ex)))
        return false;
    *out = segment_unpack(sel, raw[0]);
    out->base |= raw[1] << 32;
    /* The upper half has a type field of its own, which must be 0. */
    if ((out->attr & (SEG_ATTR_S | SEG_ATTR_TYPE)) != type || bits(raw[1], 40, 5) ||
        !gva_canonical(out->base))
        return raise_gp(ex, selector_error(sel, 0));
    if (!(out->attr & SEG_ATTR_P))
        return raise_error(ex, VEC_NP, selector_error(sel, 0));
    return true;
}

bool vcpu_load_ldtr(struct vcpu *v, uint16_t sel, struct vcpu_exception *ex)
{
    struct segment s;
    if (vcpu_cpl(v) != 0)
        return raise_gp(ex, 0);
    if (selector_null(sel)) {
        v->ldtr = segment_null(sel, 0);
        return true;
    }
    if (!load_system(v, sel, SYS_LDT, &s, ex))
        return false;
    v->ldtr = s;
    return true;
}

bool vcpu_load_tr(struct vcpu *v, uint16_t sel, struct vcpu_exception *ex)
{
    struct segment s;
    if (vcpu_cpl(v) != 0 || selector_null(sel))
        return raise_gp(ex, 0);
    if (!load_system(v, sel, SYS_TSS, &s, ex))
        return false;
    if (!segment_mark(v, sel, SYS_TSS_BUSY & ~SYS_TSS, ex))
        return false;
    s.attr |= SYS_TSS_BUSY;
    v->tr = s;
    return true;
}

/* ---- inspection ---- */

/** Fetch for LAR and friends: a selector that names nothing clears ZF (vector 0xff), only a page
 *  fault is an exception. */
static bool inspect(struct vcpu *v, uint16_t sel, struct segment *s, struct vcpu_exception *ex)
{
    uint64_t raw;
    ex->vector = 0xff;
    if (selector_null(sel))
        return false;
    if (!segment_fetch(v, sel, 0, &raw, ex)) {
        if (ex->vector != VEC_PF)
            ex->vector = 0xff;
        return false;
    }
    *s = segment_unpack(sel, raw);
    return true;
}

/** Whether CPL and RPL reach the descriptor. */
static bool visible(const struct vcpu *v, const struct segment *s)
{
    unsigned dpl = segment_dpl(s->attr);
    return segment_is_conforming_code(s->attr) ||
           (vcpu_cpl(v) <= dpl && selector_rpl(s->sel) <= dpl);
}

bool vcpu_lar(struct vcpu *v, uint16_t sel, uint32_t *out, struct vcpu_exception *ex)
{
    const uint32_t valid = 1u << SYS_LDT | 1u << SYS_TSS | 1u << SYS_TSS_BUSY | 1u << SYS_CALL_GATE;
    struct segment s;
    if (!inspect(v, sel, &s, ex) || !visible(v, &s))
        return false;
    if (!(s.attr & SEG_ATTR_S) && !bit(valid, s.attr & SEG_ATTR_TYPE))
        return false;
    /* attr has the access byte at 0, the flags at 12; bits 19:16 of the result are the limit's. */
    uint32_t raw_limit = s.attr & SEG_ATTR_G ? s.limit >> 12 : s.limit;
    *out = ((s.attr & 0xff) << 8 | (s.attr & 0xf000) << 8 | (raw_limit & 0xf0000)) & LAR_MASK;
    return true;
}

bool vcpu_lsl(struct vcpu *v, uint16_t sel, uint32_t *out, struct vcpu_exception *ex)
{
    const uint32_t valid = 1u << SYS_LDT | 1u << SYS_TSS | 1u << SYS_TSS_BUSY;
    struct segment s;
    if (!inspect(v, sel, &s, ex) || !visible(v, &s))
        return false;
    if (!(s.attr & SEG_ATTR_S) && !bit(valid, s.attr & SEG_ATTR_TYPE))
        return false;
    *out = s.limit;
    return true;
}

bool vcpu_verr_verw(struct vcpu *v, uint16_t sel, bool write, struct vcpu_exception *ex)
{
    struct segment s;
    if (!inspect(v, sel, &s, ex) || !visible(v, &s) || !(s.attr & SEG_ATTR_S))
        return false;
    if (write)
        return segment_is_writable_data(s.attr);
    return !segment_is_code(s.attr) || (s.attr & TYPE_RW);
}
