/* CPUID as the guest executes it: the table of cpuid_policy.c, with the few values that follow the
 * live state: APIC ID, OSXSAVE, the APIC bit, XSAVE area sizes. SDM 2 "CPUID".
 *
 * Everything that differs between the vCPUs of a machine is computed here; the tables are equal,
 * and one may be copied to the next vCPU (with maxphyaddr) instead of being made again.
 */
#include "vcpu/features.h"

#define APIC_BASE_EN (1ull << 11)
#define XSAVE_LEGACY_SIZE 576u /* legacy region and header */

/* IA32_ARCH_CAPABILITIES: RDCL_NO IBRS_ALL SKIP_L1DFL SSB_NO MDS_NO PSCHANGE_MC_NO TAA_NO
 * SBDR_SSDP_NO FBSDP_NO PSDP_NO BHI_NO PBRSB_NO GDS_NO RFDS_NO ITS_NO (SDM 4 table 2-2) */
static const uint8_t arch_capabilities[] = {0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62};

const struct cpuid_leaf *cpuid_find(const struct vcpu *v, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned i = 0; i < v->cpuid_count; i++) {
        const struct cpuid_leaf *l = &v->cpuid[i];
        if (l->leaf == leaf && (!l->has_subleaf || l->subleaf == subleaf))
            return l;
    }
    return NULL;
}

bool cpuid_has(const struct vcpu *v, struct feature f)
{
    const struct cpuid_leaf *l = cpuid_find(v, f.leaf, 0);
    if (!l)
        return false;
    const uint32_t r[4] = {l->eax, l->ebx, l->ecx, l->edx};
    return bit(r[f.reg & 3], f.bit);
}

uint64_t cpuid_xcr0_supported(const struct vcpu *v)
{
    const struct cpuid_leaf *l = cpuid_find(v, 0xd, 0);
    return l ? l->eax | (uint64_t)l->edx << 32 : 1;
}

bool cpuid_is_amd(const struct vcpu *v)
{
    const struct cpuid_leaf *l = &v->cpuid[0]; /* leaf 0 comes first */
    return v->cpuid_count && (l->ebx == CPUID_AMD_EBX || l->ebx == CPUID_HYGON_EBX);
}

/** Size of an XSAVE area holding `components`, in the standard or the compacted format. */
static uint32_t xsave_size(const struct vcpu *v, uint64_t components, bool compacted)
{
    uint32_t end = XSAVE_LEGACY_SIZE;
    for (unsigned i = 2; i < 63; i++) {
        const struct cpuid_leaf *l = bit(components, i) ? cpuid_find(v, 0xd, i) : NULL;
        if (!l)
            continue;
        uint32_t start = l->ebx;
        if (compacted)
            start = l->ecx & 2 ? (uint32_t)align_up(end, 64) : end;
        if (start + l->eax > end)
            end = start + l->eax;
    }
    return end;
}

/** Replace in out what follows the live state. */
static void live(const struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    switch (leaf) {
    case 1:
        out[1] = (out[1] & 0x00ffffff) | v->index << 24;
        if (v->cr4 & CR4_OSXSAVE)
            out[2] |= 1u << 27;
        if (!(v->apic_base & APIC_BASE_EN))
            out[3] &= ~(1u << 9);
        break;
    case 0xb:
        out[2] |= subleaf & 0xff;
        out[3] = v->index;
        break;
    case 0xd:
        if (subleaf == 0)
            out[1] = xsave_size(v, v->xcr0, false);
        else if (subleaf == 1 && (out[0] & 2))
            out[1] = xsave_size(v, v->xcr0 | v->xss, true);
        break;
    case 0x8000001e:
        out[0] = v->index;
        out[1] = v->index & 0xff;
        break;
    default:
        break;
    }
}

/** The highest leaf of leaf's range, 0 if the range does not exist. */
static uint32_t range_max(const struct vcpu *v, uint32_t leaf)
{
    const struct cpuid_leaf *first = cpuid_find(v, leaf & 0xc0000000u, 0);
    return first ? first->eax : 0;
}

void vcpu_cpuid(const struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    out[0] = out[1] = out[2] = out[3] = 0;
    if (!v->cpuid_count)
        return;
    bool hypervisor = leaf >> 28 == 4;
    if (!hypervisor && leaf > range_max(v, leaf)) {
        if (cpuid_is_amd(v))
            return;
        leaf = v->cpuid[0].eax; /* Intel: as the highest basic leaf */
    }
    const struct cpuid_leaf *l = cpuid_find(v, leaf, subleaf);
    if (l) {
        out[0] = l->eax;
        out[1] = l->ebx;
        out[2] = l->ecx;
        out[3] = l->edx;
    } else if (leaf != 0xb) {
        return;
    }
    live(v, leaf, subleaf, out);
}

uint64_t vcpu_arch_capabilities(const struct vcpu *v)
{
    uint64_t value = 0;
    if (cpuid_has(v, FEATURE_ARCH_CAPABILITIES)) {
        for (unsigned i = 0; i < ARRAY_LEN(arch_capabilities); i++)
            value |= 1ull << arch_capabilities[i];
    }
    return value;
}
