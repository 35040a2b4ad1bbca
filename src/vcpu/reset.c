/* The state a processor starts with, and the state the boot loader wants it to start with.
 *
 * SDM 3 "Processor Management and Initialization" §9.1.1 (table 9-1). Two deliberate differences:
 * the local APIC is on and in x2APIC mode from the start, as firmware would leave it, and the x87
 * control word is what FNINIT sets.
 */
#include "base/string.h"
#include "vcpu/vcpu.h"

#define APIC_BASE_RESET 0xfee00000ull
#define APIC_BASE_BSP (1ull << 8)
#define APIC_BASE_EXTD (1ull << 10)
#define APIC_BASE_EN (1ull << 11)
#define MISC_ENABLE_RESET 0x1801ull /* fast strings; no BTS, no PEBS */
#define PAT_RESET 0x0007040600070406ull
#define DR6_RESET 0xffff0ff0ull
#define DR7_RESET 0x400ull
#define SPACE_RESET 0xffffu

#define XSAVE_FCW 0
#define XSAVE_MXCSR 24

#define ATTR_DATA (0x3u | SEG_ATTR_S | SEG_ATTR_P)
#define ATTR_CODE (0xbu | SEG_ATTR_S | SEG_ATTR_P)
#define ATTR_LDT (0x2u | SEG_ATTR_P)
#define ATTR_TSS_BUSY (0xbu | SEG_ATTR_P)

static void reset_fpu(struct vcpu *v)
{
    const uint16_t fcw = 0x37f;
    const uint32_t mxcsr[2] = {0x1f80, 0xffff}; /* and its mask */
    memset(v->xsave, 0, sizeof(v->xsave));
    memcpy(v->xsave + XSAVE_FCW, &fcw, sizeof(fcw));
    memcpy(v->xsave + XSAVE_MXCSR, mxcsr, sizeof(mxcsr));
    v->xcr0 = 1;
    v->xss = 0;
}

static void reset_segments(struct vcpu *v)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        v->seg[i] = (struct segment){.attr = ATTR_DATA, .limit = SPACE_RESET};
    v->seg[SEG_CS] = (struct segment){
        .sel = 0xf000, .attr = ATTR_CODE, .limit = SPACE_RESET, .base = 0xffff0000};
    v->ldtr = (struct segment){.attr = ATTR_LDT, .limit = SPACE_RESET};
    v->tr = (struct segment){.attr = ATTR_TSS_BUSY, .limit = SPACE_RESET};
    v->gdtr = v->idtr = (struct dtable){.limit = SPACE_RESET};
}

static void reset_msrs(struct vcpu *v)
{
    v->efer = v->star = v->lstar = v->cstar = v->sfmask = 0;
    v->kernel_gs_base = v->tsc_aux = 0;
    v->sysenter_cs = v->sysenter_esp = v->sysenter_eip = 0;
    v->pat = PAT_RESET;
    v->misc_enable = MISC_ENABLE_RESET;
    v->spec_ctrl = v->tsc_adjust = 0;
    v->apic_base = APIC_BASE_RESET | APIC_BASE_EN | APIC_BASE_EXTD;
    if (v->index == 0)
        v->apic_base |= APIC_BASE_BSP;
    v->kvm_system_time = v->kvm_wall_clock = v->kvm_steal_time = v->kvm_pv_eoi = 0;
}

void vcpu_reset(struct vcpu *v)
{
    uint32_t signature[4];

    memset(v->gpr, 0, sizeof(v->gpr));
    vcpu_cpuid(v, 1, 0, signature);
    v->gpr[RDX] = signature[0];
    v->rip = 0xfff0;
    v->rflags = RFLAGS_FIXED;
    reset_segments(v);
    v->cr0 = CR0_CD | CR0_NW | CR0_ET;
    v->cr2 = v->cr3 = v->cr4 = v->cr8 = 0;
    memset(v->dr, 0, sizeof(v->dr));
    v->dr6 = DR6_RESET;
    v->dr7 = DR7_RESET;
    reset_msrs(v);
    reset_fpu(v);
    v->halted = v->nmi_pending = v->nmi_blocked = v->irq_shadow = false;
}

void vcpu_set_entry64(struct vcpu *v, const struct vcpu_entry64 *e)
{
    const uint32_t flat = 0xffffffff;

    memset(v->gpr, 0, sizeof(v->gpr));
    v->gpr[RSI] = e->rsi;
    v->gpr[RSP] = e->rsp;
    v->rip = e->rip;
    v->rflags = RFLAGS_FIXED;
    v->cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
    v->cr3 = e->cr3;
    v->cr4 = CR4_PAE;
    v->efer = EFER_LME | EFER_LMA;
    v->gdtr = e->gdtr;
    v->idtr = (struct dtable){0};
    for (unsigned i = 0; i < SEG_COUNT; i++)
        v->seg[i] = (struct segment){
            .sel = e->data_sel, .attr = ATTR_DATA | SEG_ATTR_DB | SEG_ATTR_G, .limit = flat};
    v->seg[SEG_CS] = (struct segment){
        .sel = e->code_sel, .attr = ATTR_CODE | SEG_ATTR_L | SEG_ATTR_G, .limit = flat};
    v->ldtr = (struct segment){.attr = SEG_ATTR_UNUSABLE};
    v->tr = (struct segment){.attr = ATTR_TSS_BUSY, .limit = SPACE_RESET};
    v->halted = v->irq_shadow = false;
}
