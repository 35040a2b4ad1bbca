/* Descriptors and selectors, for the files of vcpu/ that load segment registers.
 *
 * SDM 3 "Protected-Mode Memory Management" §3.4.2 "Segment Selectors", §3.4.5 "Segment
 * Descriptors".
 * Failing functions return false with *ex filled and nothing changed.
 */
#ifndef VCPU_SEGMENT_H
#define VCPU_SEGMENT_H

#include "vcpu/vcpu.h"

/* struct segment.attr, type field */
#define TYPE_ACCESSED 1u
#define TYPE_RW 2u         /* data: writable; code: readable */
#define TYPE_CONFORMING 4u /* code only; data: expand-down */
#define TYPE_CODE 8u

/* System descriptor types in long mode */
#define SYS_LDT 2u
#define SYS_TSS 9u
#define SYS_TSS_BUSY 11u
#define SYS_CALL_GATE 12u
#define SYS_INTERRUPT_GATE 14u
#define SYS_TRAP_GATE 15u

static inline bool selector_null(uint16_t sel)
{
    return !(sel & 0xfffc);
}

static inline unsigned selector_rpl(uint16_t sel)
{
    return sel & 3;
}

/** The error code that names a selector; ext is 1 while an external event is being delivered. */
static inline uint32_t selector_error(uint16_t sel, uint32_t ext)
{
    return (sel & 0xfffcu) | ext;
}

static inline unsigned segment_dpl(uint32_t attr)
{
    return (attr >> SEG_ATTR_DPL_SHIFT) & 3;
}

static inline bool segment_is_code(uint32_t attr)
{
    return (attr & (SEG_ATTR_S | TYPE_CODE)) == (SEG_ATTR_S | TYPE_CODE);
}

static inline bool segment_is_writable_data(uint32_t attr)
{
    return (attr & (SEG_ATTR_S | TYPE_CODE | TYPE_RW)) == (SEG_ATTR_S | TYPE_RW);
}

static inline bool segment_is_conforming_code(uint32_t attr)
{
    return segment_is_code(attr) && (attr & TYPE_CONFORMING);
}

/** A null segment register. dpl is kept in the hidden part: SS's is the CPL. */
static inline struct segment segment_null(uint16_t sel, unsigned dpl)
{
    return (struct segment){.sel = sel, .attr = SEG_ATTR_UNUSABLE | dpl << SEG_ATTR_DPL_SHIFT};
}

/** The register a descriptor's 8 bytes describe. */
static inline struct segment segment_unpack(uint16_t sel, uint64_t raw)
{
    struct segment s = {
        .sel = sel,
        .attr = (uint32_t)(bits(raw, 40, 8) | bits(raw, 52, 4) << 12),
        .limit = (uint32_t)(bits(raw, 0, 16) | bits(raw, 48, 4) << 16),
        .base = bits(raw, 16, 24) | bits(raw, 56, 8) << 24,
    };
    if (s.attr & SEG_ATTR_G)
        s.limit = s.limit << 12 | 0xfff;
    return s;
}

/** Read the 8 bytes of the descriptor sel names (not null) from GDT or LDT. Beyond the table, or a
 *  table at a non-canonical address: #GP(sel | ext); memory: #PF. */
bool segment_fetch(struct vcpu *v, uint16_t sel, uint32_t ext, uint64_t *raw,
                   struct vcpu_exception *ex) MUST_CHECK;
/** The same for a 16-byte system descriptor. */
bool segment_fetch_system(struct vcpu *v, uint16_t sel, uint64_t raw[2],
                          struct vcpu_exception *ex) MUST_CHECK;
/** Set type bits (accessed, busy) in the descriptor sel names, as a locked access. */
bool segment_mark(struct vcpu *v, uint16_t sel, uint8_t type_bits,
                  struct vcpu_exception *ex) MUST_CHECK;
/** Set the accessed bit in memory and in *s, if it is not set. */
bool segment_mark_accessed(struct vcpu *v, struct segment *s,
                           struct vcpu_exception *ex) MUST_CHECK;

#endif
