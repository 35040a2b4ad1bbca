/* Model-specific registers.
 *
 * SDM 4 "Model-Specific Registers", APM 2 appendix A; which of them stock kernels touch: FACTS §4.
 * Registers are in three groups: those with a field and rules of their own (the two switches),
 * those that only have a fixed value or swallow writes (the table), and whole ranges handed to
 * the local APIC. Everything else raises #GP(0), which kernels that probe expect. What a feature
 * brings with it exists only if the guest's CPUID offers the feature. The monitor offers no MTRRs,
 * machine-check banks, performance counters or debug store: their registers are absent.
 *
 * The TSC runs as the host's (user code reads it natively), so TSC writes are ignored and
 * TSC_ADJUST is a plain register.
 */
#include "host/host.h"
#include "irq/lapic.h"
#include "vcpu/features.h"
#include "vcpu/raise.h"
#include "vm/vm.h"

#define APIC_BASE_BSP (1ull << 8)
#define APIC_BASE_EXTD (1ull << 10)
#define APIC_BASE_EN (1ull << 11)
#define APIC_BASE_ADDR 0x000ffffffffff000ull
#define APIC_BASE_DEFINED (APIC_BASE_ADDR | APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN)

#define SPEC_CTRL_IBRS (1ull << 0)
#define SPEC_CTRL_STIBP (1ull << 1)
#define PRED_CMD_IBPB (1ull << 0)
#define DEBUGCTL_IGNORED 3ull /* LBR, BTF: accepted, without effect */

#define likely(x) __builtin_expect(!!(x), 1)

/* ---- registers without state ---- */

enum vendor_only { ANY, INTEL, AMD };
enum constant_write { REFUSE, IGNORE, ZERO_ONLY };

/** A register that always reads the same. */
struct constant_msr {
    uint32_t msr;
    uint8_t vendor, write;
    uint64_t value;
};

static const struct constant_msr constants[] = {
    {0x179, ANY, REFUSE, 0},                       /* MCG_CAP: no machine-check banks */
    {0x17a, ANY, ZERO_ONLY, 0},                    /* MCG_STATUS */
    {0x17, INTEL, REFUSE, 0},                      /* PLATFORM_ID */
    {0x34, INTEL, REFUSE, 0},                      /* SMI_COUNT */
    {MSR_FEATURE_CONTROL, INTEL, REFUSE, 1},       /* locked, nothing enabled */
    {MSR_BIOS_SIGN_ID, INTEL, IGNORE, 1ull << 32}, /* microcode revision 1 */
    {MSR_BIOS_SIGN_ID, AMD, IGNORE, 0x01000065},
    {0xce, INTEL, REFUSE, 0},       /* PLATFORM_INFO: no CPUID faulting */
    {0x140, INTEL, ZERO_ONLY, 0},   /* MISC_FEATURES_ENABLES */
    {0xc0010010, AMD, IGNORE, 0},   /* SYSCFG */
    {0xc0010015, AMD, IGNORE, 1ull << 24}, /* HWCR: TSC counts at the P0 frequency */
    {0xc001001f, AMD, IGNORE, 0},   /* NB_CFG */
    {0xc0010055, AMD, IGNORE, 0},   /* interrupt pending message */
    {0xc0010058, AMD, IGNORE, 0},   /* MMIO configuration base: none */
    {0xc0011022, AMD, IGNORE, 0},   /* DC_CFG */
    {0xc0011029, AMD, IGNORE, 2},   /* DE_CFG: LFENCE serializes */
};

static const struct constant_msr *find_constant(const struct vcpu *v, uint32_t msr)
{
    for (unsigned i = 0; i < ARRAY_LEN(constants); i++) {
        const struct constant_msr *c = &constants[i];
        if (c->msr == msr &&
            (c->vendor == ANY || (c->vendor == AMD) == cpuid_is_amd(v)))
            return c;
    }
    return NULL;
}

static bool write_constant(const struct vcpu *v, uint32_t msr, uint64_t value)
{
    const struct constant_msr *c = find_constant(v, msr);
    return c && (c->write == IGNORE || (c->write == ZERO_ONLY && value == 0));
}

/* ---- checks ---- */

static bool is_x2apic_msr(uint32_t msr)
{
    return msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST;
}

static bool x2apic_on(const struct vcpu *v)
{
    return (v->apic_base & (APIC_BASE_EN | APIC_BASE_EXTD)) == (APIC_BASE_EN | APIC_BASE_EXTD);
}

static bool has_tsc_aux(const struct vcpu *v)
{
    return cpuid_has(v, FEATURE_RDTSCP) || cpuid_has(v, FEATURE_RDPID);
}

/** Memory types a PAT entry may hold: 0 1 4 5 6 7. */
static bool valid_pat(uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        uint64_t type = bits(value, 8 * i, 8);
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

static bool write_efer(struct vcpu *v, uint64_t value, enum vcpu_tlb_effect *effect)
{
    uint64_t allowed = EFER_SCE | EFER_LME | EFER_LMA;
    if (cpuid_has(v, FEATURE_NX))
        allowed |= EFER_NX;
    if (cpuid_has(v, FEATURE_AUTOIBRS))
        allowed |= EFER_AUTOIBRS;
    if (value & ~allowed)
        return false;
    uint64_t efer = (value & ~EFER_LMA) | (v->efer & EFER_LMA);
    if (((efer ^ v->efer) & EFER_LME) && (v->cr0 & CR0_PG))
        return false;
    if ((efer ^ v->efer) & EFER_NX)
        *effect = VCPU_TLB_FLUSH_ALL;
    v->efer = efer;
    return true;
}

/** Modes: disabled, xAPIC (EN), x2APIC (EN, EXTD). SDM 3 §11.12.5 "x2APIC State Transitions". */
static bool write_apic_base(struct vcpu *v, uint64_t value)
{
    const uint64_t mode = APIC_BASE_EN | APIC_BASE_EXTD;
    uint64_t from = v->apic_base & mode, to = value & mode;
    unsigned width = v->maxphyaddr ? v->maxphyaddr : 46;

    if ((value & ~APIC_BASE_DEFINED) || value >> width || to == APIC_BASE_EXTD)
        return false;
    if ((from == mode && to == APIC_BASE_EN) || (from == 0 && to == mode))
        return false;
    v->apic_base = value;
    return true;
}

static bool write_spec_ctrl(struct vcpu *v, uint64_t value)
{
    if (!cpuid_has(v, FEATURE_SPEC_CTRL) || (value & ~(SPEC_CTRL_IBRS | SPEC_CTRL_STIBP)))
        return false;
    v->spec_ctrl = value;
    return true;
}

/** A register that holds a linear address. */
static bool write_address(uint64_t *reg, uint64_t value)
{
    if (!gva_canonical(value))
        return false;
    *reg = value;
    return true;
}

/* ---- reading ---- */

/** Registers that are a field of the vCPU, readable as they are; NULL for others. */
static uint64_t *plain_field(struct vcpu *v, uint32_t msr)
{
    switch (msr) {
    case MSR_APIC_BASE:
        return &v->apic_base;
    case MSR_TSC_ADJUST:
        return &v->tsc_adjust;
    case MSR_SYSENTER_CS:
        return &v->sysenter_cs;
    case MSR_SYSENTER_ESP:
        return &v->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &v->sysenter_eip;
    case MSR_MISC_ENABLE:
        return &v->misc_enable;
    case MSR_PAT:
        return &v->pat;
    case MSR_EFER:
        return &v->efer;
    case MSR_STAR:
        return &v->star;
    case MSR_LSTAR:
        return &v->lstar;
    case MSR_CSTAR:
        return &v->cstar;
    case MSR_SFMASK:
        return &v->sfmask;
    case MSR_FS_BASE:
        return &v->seg[SEG_FS].base;
    case MSR_GS_BASE:
        return &v->seg[SEG_GS].base;
    case MSR_KERNEL_GS_BASE:
        return &v->kernel_gs_base;
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_OLD:
        return &v->kvm_system_time;
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_OLD:
        return &v->kvm_wall_clock;
    case MSR_SPEC_CTRL:
        return cpuid_has(v, FEATURE_SPEC_CTRL) ? &v->spec_ctrl : NULL;
    case MSR_TSC_AUX:
        return has_tsc_aux(v) ? &v->tsc_aux : NULL;
    default:
        return NULL;
    }
}

static bool read_other(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    const struct constant_msr *c;
    switch (msr) {
    case MSR_TSC:
        *value = host_tsc();
        return true;
    case MSR_TSC_DEADLINE:
        *value = lapic_tsc_deadline(v->lapic);
        return true;
    case MSR_ARCH_CAPABILITIES:
        *value = vcpu_arch_capabilities(v);
        return cpuid_has(v, FEATURE_ARCH_CAPABILITIES);
    case 0x1d9: /* DEBUGCTL */
        *value = 0;
        return true;
    default:
        c = find_constant(v, msr);
        if (!c)
            return false;
        *value = c->value;
        return true;
    }
}

bool vcpu_rdmsr(struct vcpu *v, uint32_t msr, uint64_t *value, struct vcpu_exception *ex)
{
    if (vcpu_cpl(v) != 0)
        return raise_gp(ex, 0);
    if (is_x2apic_msr(msr))
        return (x2apic_on(v) && lapic_msr_read(v->lapic, msr, value)) || raise_gp(ex, 0);
    const uint64_t *field = plain_field(v, msr);
    if (field) {
        *value = *field;
        return true;
    }
    return read_other(v, msr, value) || raise_gp(ex, 0);
}

/* ---- writing ---- */

static bool write_system(struct vcpu *v, uint32_t msr, uint64_t value,
                         enum vcpu_tlb_effect *effect)
{
    switch (msr) {
    case MSR_EFER:
        return write_efer(v, value, effect);
    case MSR_STAR:
        v->star = value;
        return true;
    case MSR_LSTAR:
        return write_address(&v->lstar, value);
    case MSR_CSTAR:
        return write_address(&v->cstar, value);
    case MSR_SFMASK:
        v->sfmask = value & 0xffffffff;
        return true;
    case MSR_FS_BASE:
        return write_address(&v->seg[SEG_FS].base, value);
    case MSR_GS_BASE:
        return write_address(&v->seg[SEG_GS].base, value);
    case MSR_KERNEL_GS_BASE:
        return write_address(&v->kernel_gs_base, value);
    case MSR_SYSENTER_CS:
        v->sysenter_cs = value & 0xffffffff;
        return true;
    case MSR_SYSENTER_ESP:
        return write_address(&v->sysenter_esp, value);
    case MSR_SYSENTER_EIP:
        return write_address(&v->sysenter_eip, value);
    case MSR_TSC_AUX:
        if (!has_tsc_aux(v) || value >> 32)
            return false;
        v->tsc_aux = value;
        return true;
    default:
        return false;
    }
}

static bool write_machine(struct vcpu *v, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case MSR_TSC:
        return true;
    case MSR_TSC_ADJUST:
        v->tsc_adjust = value;
        return true;
    case MSR_APIC_BASE:
        return write_apic_base(v, value);
    case MSR_SPEC_CTRL:
        return write_spec_ctrl(v, value);
    case MSR_PRED_CMD:
        return cpuid_has(v, FEATURE_SPEC_CTRL) && !(value & ~PRED_CMD_IBPB);
    case MSR_MISC_ENABLE:
        v->misc_enable = value;
        return true;
    case MSR_PAT:
        if (!valid_pat(value))
            return false;
        v->pat = value;
        return true;
    case 0x1d9: /* DEBUGCTL */
        return !(value & ~DEBUGCTL_IGNORED);
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_OLD:
        return kvmclock_write_system_time(v, value);
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_OLD:
        return kvmclock_write_wall_clock(v, value);
    default:
        return write_constant(v, msr, value);
    }
}

bool vcpu_wrmsr(struct vcpu *v, uint32_t msr, uint64_t value, enum vcpu_tlb_effect *effect,
                struct vcpu_exception *ex)
{
    *effect = VCPU_TLB_NONE;
    if (vcpu_cpl(v) != 0)
        return raise_gp(ex, 0);
    /* First what is written all the time: timer, EOI, IPIs. */
    if (likely(msr == MSR_TSC_DEADLINE)) {
        lapic_set_tsc_deadline(v->lapic, value);
        return true;
    }
    if (is_x2apic_msr(msr))
        return (x2apic_on(v) && lapic_msr_write(v->lapic, msr, value)) || raise_gp(ex, 0);
    return write_system(v, msr, value, effect) || write_machine(v, msr, value) || raise_gp(ex, 0);
}
