/* Control and debug registers, XCR0.
 *
 * SDM 3 "System Architecture Overview" §2.5 "Control Registers", §2.6 "Extended Control Registers",
 * "Paging" §4.1.2 "Paging-Mode Enabling", §4.10.1 PCIDs, §4.10.4.1 "Operations that Invalidate
 * TLBs"; "Debug, Branch Profile, TSC" §17.2; SDM 2 "MOV - Move to/from Control Registers", "MOV -
 * Move to/from Debug Registers", "XSETBV".
 *
 * Not supported, and answered with #GP(0): paging without long mode (32-bit and PAE paging). The
 * APIC's task priority is CR8; the copy in the vCPU is only for whoever looks at the state.
 */
#include "irq/lapic.h"
#include "vcpu/features.h"
#include "vcpu/raise.h"

#define CR0_DEFINED                                                                                \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)
#define CR4_ALWAYS                                                                                 \
    (CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE | CR4_OSFXSR |             \
     CR4_OSXMMEXCPT)
/* Bits whose change makes cached translations or the rights in them wrong. */
#define CR4_FLUSH (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PKE)

#define DR6_ONES 0xffff0ff0ull
#define DR6_WRITABLE 0xe00full
#define DR6_BD (1ull << 13)
#define DR7_ONES 0x400ull
#define DR7_WRITABLE 0xffff23ffull
#define DR7_GD (1ull << 13)

#define XCR0_X87 (1ull << 0)
#define XCR0_SSE (1ull << 1)
#define XCR0_AVX (1ull << 2)
#define XCR0_MPX (3ull << 3)
#define XCR0_AVX512 (7ull << 5)
#define XCR0_AMX (3ull << 17)

#define DEFAULT_MAXPHYADDR 46

/* ---- CR0 ---- */

/** PG 0 to 1: IA-32e paging, activating long mode, is the only kind. */
static bool may_enable_paging(const struct vcpu *v, uint64_t cr0)
{
    return (cr0 & CR0_PE) && (v->efer & EFER_LME) && (v->cr4 & CR4_PAE) &&
           !(v->seg[SEG_CS].attr & SEG_ATTR_L);
}

/** PG 1 to 0: not from 64-bit code, not with PCIDs. */
static bool may_disable_paging(const struct vcpu *v)
{
    return !vcpu_long64(v) && !(v->cr4 & CR4_PCIDE);
}

static bool write_cr0(struct vcpu *v, uint64_t value, enum vcpu_tlb_effect *effect,
                      struct vcpu_exception *ex)
{
    uint64_t cr0 = (value & CR0_DEFINED) | CR0_ET;
    uint64_t change = cr0 ^ v->cr0;

    if (value >> 32 || (cr0 & (CR0_PG | CR0_PE)) == CR0_PG ||
        (cr0 & (CR0_NW | CR0_CD)) == CR0_NW)
        return raise_gp(ex, 0);
    if (change & CR0_PG) {
        if (!(cr0 & CR0_PG ? may_enable_paging(v, cr0) : may_disable_paging(v)))
            return raise_gp(ex, 0);
        v->efer ^= EFER_LMA;
    }
    v->cr0 = cr0;
    *effect = change & (CR0_PG | CR0_PE | CR0_WP) ? VCPU_TLB_FLUSH_ALL : VCPU_TLB_NONE;
    return true;
}

/* ---- CR3, CR4 ---- */

static bool write_cr3(struct vcpu *v, uint64_t value, enum vcpu_tlb_effect *effect,
                      struct vcpu_exception *ex)
{
    unsigned width = v->maxphyaddr ? v->maxphyaddr : DEFAULT_MAXPHYADDR;
    bool noflush = (v->cr4 & CR4_PCIDE) && (value & CR3_NOFLUSH);
    if (noflush)
        value &= ~CR3_NOFLUSH;
    if (value >> width)
        return raise_gp(ex, 0);
    v->cr3 = value;
    *effect = noflush ? VCPU_TLB_SWITCH : VCPU_TLB_FLUSH_PCID;
    return true;
}

/** The CR4 bits this guest's CPUID allows. */
static uint64_t cr4_allowed(const struct vcpu *v)
{
    static const struct {
        struct feature feature;
        uint64_t bits;
    } optional[] = {
        {FEATURE_VME, CR4_VME},         {FEATURE_MCE, CR4_MCE},   {FEATURE_UMIP, CR4_UMIP},
        {FEATURE_FSGSBASE, CR4_FSGSBASE}, {FEATURE_PCID, CR4_PCIDE}, {FEATURE_XSAVE, CR4_OSXSAVE},
        {FEATURE_SMEP, CR4_SMEP},       {FEATURE_SMAP, CR4_SMAP}, {FEATURE_PKU, CR4_PKE},
    };
    uint64_t allowed = CR4_ALWAYS;
    for (unsigned i = 0; i < ARRAY_LEN(optional); i++) {
        if (cpuid_has(v, optional[i].feature))
            allowed |= optional[i].bits;
    }
    return allowed;
}

static bool write_cr4(struct vcpu *v, uint64_t value, enum vcpu_tlb_effect *effect,
                      struct vcpu_exception *ex)
{
    uint64_t change = value ^ v->cr4;
    uint64_t set = change & value, cleared = change & v->cr4;

    if (set & ~cr4_allowed(v))
        return raise_gp(ex, 0);
    if ((cleared & CR4_PAE) && (v->efer & EFER_LMA))
        return raise_gp(ex, 0);
    if ((set & CR4_PCIDE) && (!(v->efer & EFER_LMA) || (v->cr3 & CR3_PCID_MASK)))
        return raise_gp(ex, 0);
    v->cr4 = value;
    *effect = (change & CR4_FLUSH) || (cleared & CR4_PCIDE) ? VCPU_TLB_FLUSH_ALL : VCPU_TLB_NONE;
    return true;
}

/* ---- MOV CR ---- */

bool vcpu_write_cr(struct vcpu *v, unsigned cr, uint64_t value, enum vcpu_tlb_effect *effect,
                   struct vcpu_exception *ex)
{
    *effect = VCPU_TLB_NONE;
    if (cr > 8 || !bit(1u << 0 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8, cr))
        return raise_ud(ex);
    if (vcpu_cpl(v) != 0)
        return raise_gp(ex, 0);
    switch (cr) {
    case 0:
        return write_cr0(v, value, effect, ex);
    case 2:
        v->cr2 = value;
        return true;
    case 3:
        return write_cr3(v, value, effect, ex);
    case 4:
        return write_cr4(v, value, effect, ex);
    default:
        if (value >> 4)
            return raise_gp(ex, 0);
        v->cr8 = value;
        lapic_set_cr8(v->lapic, value);
        return true;
    }
}

bool vcpu_read_cr(struct vcpu *v, unsigned cr, uint64_t *value, struct vcpu_exception *ex)
{
    if (cr > 8 || !bit(1u << 0 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8, cr))
        return raise_ud(ex);
    if (vcpu_cpl(v) != 0)
        return raise_gp(ex, 0);
    switch (cr) {
    case 0:
        *value = v->cr0;
        break;
    case 2:
        *value = v->cr2;
        break;
    case 3:
        *value = v->cr3;
        break;
    case 4:
        *value = v->cr4;
        break;
    default:
        *value = lapic_get_cr8(v->lapic);
        v->cr8 = *value;
    }
    return true;
}

/* ---- debug registers ---- */

/** Checks common to reads and writes. DR4 and DR5 are DR6 and DR7 unless CR4.DE. */
static bool check_dr(const struct vcpu *v, unsigned *dr, struct vcpu_exception *ex)
{
    if (*dr > 7 || ((*dr == 4 || *dr == 5) && (v->cr4 & CR4_DE)))
        return raise_ud(ex);
    if (vcpu_cpl(v) != 0)
        return raise_gp(ex, 0);
    if (v->dr7 & DR7_GD) {
        *ex = (struct vcpu_exception){.vector = VEC_DB, .dr6 = DR6_BD};
        return false;
    }
    if (*dr == 4 || *dr == 5)
        *dr += 2;
    return true;
}

bool vcpu_write_dr(struct vcpu *v, unsigned dr, uint64_t value, struct vcpu_exception *ex)
{
    if (!check_dr(v, &dr, ex))
        return false;
    if (dr < 4) {
        v->dr[dr] = value;
        return true;
    }
    if (value >> 32)
        return raise_gp(ex, 0);
    if (dr == 6)
        v->dr6 = (value & DR6_WRITABLE) | DR6_ONES;
    else
        v->dr7 = (value & DR7_WRITABLE) | DR7_ONES;
    return true;
}

bool vcpu_read_dr(struct vcpu *v, unsigned dr, uint64_t *value, struct vcpu_exception *ex)
{
    if (!check_dr(v, &dr, ex))
        return false;
    *value = dr < 4 ? v->dr[dr] : dr == 6 ? v->dr6 : v->dr7;
    return true;
}

/* ---- XCR0 ---- */

/** All or none of `mask`, and only with `needs`. */
static bool consistent(uint64_t value, uint64_t mask, uint64_t needs)
{
    uint64_t part = value & mask;
    return part == 0 || (part == mask && (value & needs) == needs);
}

bool vcpu_xsetbv(struct vcpu *v, uint32_t index, uint64_t value, struct vcpu_exception *ex)
{
    if (!(v->cr4 & CR4_OSXSAVE))
        return raise_ud(ex);
    if (vcpu_cpl(v) != 0 || index != 0 || (value & ~cpuid_xcr0_supported(v)) ||
        !(value & XCR0_X87) || !consistent(value, XCR0_AVX, XCR0_SSE) ||
        !consistent(value, XCR0_MPX, 0) || !consistent(value, XCR0_AVX512, XCR0_AVX) ||
        !consistent(value, XCR0_AMX, 0))
        return raise_gp(ex, 0);
    v->xcr0 = value;
    return true;
}
