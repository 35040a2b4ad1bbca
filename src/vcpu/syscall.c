/* SYSCALL, SYSENTER, SYSRET, SWAPGS.
 *
 * SDM 2 "SYSCALL", "SYSENTER", "SYSRET", "SWAPGS". CS and SS are not read from descriptor tables: fixed flat
 * segments. Where vendors differ SYSCALL in compatibility mode follows the guest's vendor (#UD on
 * Intel, CSTAR on AMD and its licensees); SYSRET follows Intel for all: it checks RCX before it
 * leaves ring 0 and loads SS completely.
 */
#include "vcpu/features.h"
#include "vcpu/raise.h"
#include "vcpu/segment.h"

/* Present, accessed, flat 4 GB segments by kind; DPL is or-ed in. */
#define ATTR_CODE64 (0xbu | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_L | SEG_ATTR_G)
#define ATTR_CODE32 (0xbu | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G)
#define ATTR_STACK (0x3u | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G)
#define SYSRET_RFLAGS 0x3c7fd7ull

static struct segment flat(uint16_t sel, uint32_t attr, unsigned dpl)
{
    return (struct segment){
        .sel = sel, .attr = attr | dpl << SEG_ATTR_DPL_SHIFT, .limit = 0xffffffff};
}

bool vcpu_syscall(struct vcpu *v, struct vcpu_exception *ex)
{
    bool long64 = vcpu_long64(v);
    if (!(v->efer & EFER_SCE) || !(v->efer & EFER_LMA) || (!long64 && !cpuid_is_amd(v)))
        return raise_ud(ex);

    uint16_t star = (uint16_t)(v->star >> 32);
    v->gpr[RCX] = long64 ? v->rip : v->rip & 0xffffffff;
    /* RF belongs to the instruction that has just completed. */
    v->gpr[R11] = v->rflags & ~RFLAGS_RF;
    v->rip = long64 ? v->lstar : v->cstar;
    v->rflags = (v->rflags & ~RFLAGS_RF & ~v->sfmask) | RFLAGS_FIXED;
    v->seg[SEG_CS] = flat(star & 0xfffc, ATTR_CODE64, 0);
    v->seg[SEG_SS] = flat((uint16_t)(star + 8), ATTR_STACK, 0);
    return true;
}

bool vcpu_sysenter(struct vcpu *v, struct vcpu_exception *ex)
{
    if (cpuid_is_amd(v))
        return raise_ud(ex);
    uint16_t sel = v->sysenter_cs & 0xfffc;
    if (!sel)
        return raise_gp(ex, 0);
    v->rip = v->sysenter_eip;
    v->gpr[RSP] = v->sysenter_esp;
    v->rflags = (v->rflags & ~(RFLAGS_RF | RFLAGS_VM | RFLAGS_IF)) | RFLAGS_FIXED;
    v->seg[SEG_CS] = flat(sel, ATTR_CODE64, 0);
    v->seg[SEG_SS] = flat((uint16_t)(sel + 8), ATTR_STACK, 0);
    return true;
}

bool vcpu_sysret(struct vcpu *v, unsigned opsize, struct vcpu_exception *ex)
{
    bool to64 = opsize == 8;
    if (!(v->efer & EFER_SCE) || !vcpu_long64(v))
        return raise_ud(ex);
    if (vcpu_cpl(v) != 0 || (to64 && !gva_canonical(v->gpr[RCX])))
        return raise_gp(ex, 0);

    uint16_t star = (uint16_t)(v->star >> 48);
    v->rip = to64 ? v->gpr[RCX] : v->gpr[RCX] & 0xffffffff;
    v->rflags = (v->gpr[R11] & SYSRET_RFLAGS) | RFLAGS_FIXED;
    v->seg[SEG_CS] = flat((uint16_t)((star + (to64 ? 16 : 0)) | 3),
                          to64 ? ATTR_CODE64 : ATTR_CODE32, 3);
    v->seg[SEG_SS] = flat((uint16_t)((star + 8) | 3), ATTR_STACK, 3);
    return true;
}

bool vcpu_swapgs(struct vcpu *v, struct vcpu_exception *ex)
{
    if (!vcpu_long64(v))
        return raise_ud(ex);
    if (vcpu_cpl(v) != 0)
        return raise_gp(ex, 0);
    uint64_t user = v->seg[SEG_GS].base;
    v->seg[SEG_GS].base = v->kernel_gs_base;
    v->kernel_gs_base = user;
    return true;
}
