/* One virtual CPU: the architectural state of an x86-64 processor and the rules for changing it.
 *
 * Only architecture lives here. What an engine needs to run this state (code caches, spills, spaces)
 * is the engine's own. The functions below apply an instruction's or event's effect to the state, as
 * the manuals' pseudo-code does, reading and writing guest memory through mmu.h. They are the same for
 * every engine that has to emulate.
 *
 * Failure: a function that can raise an exception returns false and fills *ex; nothing architectural
 * has then changed, unless its contract says otherwise. The caller delivers with vcpu_deliver().
 * SDM 3 ch. 2, 3 "Protected-Mode Memory Management", 6 "Interrupt and Exception Handling"; SDM 2 instruction pages.
 * Threads: the vCPU's own task only.
 */
#ifndef VCPU_VCPU_H
#define VCPU_VCPU_H

#include "base/types.h"
#include "x86/arch.h"
#include "x86/insn.h"

struct vm;
struct lapic;

/** A segment register with its hidden part. attr is the descriptor's access byte and flags nibble:
 *  bits 0-3 type, 4 S, 5-6 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G; bit 16 set = unusable (null). */
struct segment {
    uint16_t sel;
    uint32_t attr;
    uint32_t limit; /* bytes, scaled */
    uint64_t base;
};
#define SEG_ATTR_TYPE 0xfu
#define SEG_ATTR_S (1u << 4)
#define SEG_ATTR_DPL_SHIFT 5
#define SEG_ATTR_P (1u << 7)
#define SEG_ATTR_L (1u << 13)
#define SEG_ATTR_DB (1u << 14)
#define SEG_ATTR_G (1u << 15)
#define SEG_ATTR_UNUSABLE (1u << 16)

struct dtable {
    uint64_t base;
    uint16_t limit;
};

/** An exception to deliver. */
struct vcpu_exception {
    uint8_t vector;
    bool has_error;
    uint32_t error;
    uint64_t cr2;    /* #PF only */
    uint64_t dr6;    /* #DB only: bits to set in DR6 */
};

#define VCPU_XSAVE_SIZE 12288 /* largest host XSAVE image supported (AMX: 11 KB) */
#define VCPU_CPUID_MAX 96

/** One CPUID leaf as this guest sees it. */
struct cpuid_leaf {
    uint32_t leaf, subleaf;
    bool has_subleaf;
    uint32_t eax, ebx, ecx, edx;
};

struct vcpu {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip;
    uint64_t rflags;            /* with IF, IOPL, NT, AC, ... as the guest set them; bit 1 set */
    struct segment seg[SEG_COUNT];
    struct segment ldtr, tr;
    struct dtable gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8, xcr0;
    uint64_t dr[4], dr6, dr7;
    uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, misc_enable, spec_ctrl, tsc_adjust, apic_base, xss;
    uint64_t kvm_system_time, kvm_wall_clock, kvm_steal_time, kvm_pv_eoi;

    /* Event state, SDM 3 §6.7-6.9. */
    bool halted;                /* in HLT, waiting for an interrupt */
    bool nmi_pending, nmi_blocked; /* blocked from NMI delivery until IRET */
    bool irq_shadow;            /* the instruction after sti or mov ss: no interrupt before it */

    unsigned index;             /* vCPU number, = APIC ID */
    struct vm *vm;              /* borrowed: the machine */
    struct lapic *lapic;        /* borrowed */

    struct cpuid_leaf cpuid[VCPU_CPUID_MAX];
    unsigned cpuid_count;
    uint8_t maxphyaddr;         /* physical-address width, as leaf 0x80000008 says; 0 means 46 */

    /* Guest x87/SSE/AVX state while no engine holds it: standard-format XSAVE image (SDM 1 §13.4) */
    uint8_t xsave[VCPU_XSAVE_SIZE] __attribute__((aligned(64)));
};

/** Current privilege level, 0..3. */
static inline unsigned vcpu_cpl(const struct vcpu *v)
{
    return (v->seg[SEG_SS].attr >> SEG_ATTR_DPL_SHIFT) & 3;
}

/** Whether CS is 64-bit code (long mode active and CS.L). */
static inline bool vcpu_long64(const struct vcpu *v)
{
    return (v->efer & EFER_LMA) && (v->seg[SEG_CS].attr & SEG_ATTR_L);
}

/* ---- reset.c ---- */

/** INIT/power-up values for everything (SDM 3 §9.1.1), lapic and vm pointers and cpuid kept. */
void vcpu_reset(struct vcpu *v);

/** Long mode, paging on with cr3, CR0 also MP ET NE WP, flat CS=code_sel DS..SS=data_sel, IF=0, no IDT: the state of Linux's 64-bit
 *  entry. */
struct vcpu_entry64 {
    uint64_t rip, rsi, rsp, cr3;
    struct dtable gdtr;
    uint16_t code_sel, data_sel;
};
void vcpu_set_entry64(struct vcpu *v, const struct vcpu_entry64 *e);

/* ---- event.c: delivery through the IDT, IRET ---- */

enum vcpu_delivery {
    VCPU_DELIVERED,
    VCPU_TRIPLE_FAULT, /* shutdown; state is as before the first of the three faults */
};

/** Deliver an exception through the guest's IDT: gate checks, stack switch (TSS RSPn, IST), pushes, new CS:RIP, CR2, DR6,
 *  IF/TF cleared by gate type; CPL change included. A fault while delivering becomes #DF or the second fault by the
 *  contributory rules (SDM 3 §6.15 "Interrupt 8"), then a triple fault. v->rip must be the address to push. RF is set in the
 *  pushed flags for faults. `soft` events (INT n, INT3, INTO; #DB from INT1 is not soft) check gate DPL. */
enum vcpu_delivery vcpu_deliver(struct vcpu *v, const struct vcpu_exception *ex) MUST_CHECK;
/** External interrupt `vec`. Clears halted. */
enum vcpu_delivery vcpu_deliver_interrupt(struct vcpu *v, uint8_t vec) MUST_CHECK;
/** NMI: as vector 2, and blocks further ones until IRET. */
enum vcpu_delivery vcpu_deliver_nmi(struct vcpu *v) MUST_CHECK;
/** Software interrupt INT n / INT3 / INT1: v->rip must already be past the instruction (it is pushed); insn_rip is the
 *  instruction's own address, restored when the delivery faults (then the fault is delivered instead, error code EXT=0). */
enum vcpu_delivery vcpu_deliver_soft(struct vcpu *v, uint8_t vec, uint64_t insn_rip) MUST_CHECK;

/** IRET with operand size opsize (8 or 4) in 64-bit mode: pops the frame at RSP, checks, loads CS SS RFLAGS RIP RSP; unblocks NMI. */
bool vcpu_iret(struct vcpu *v, unsigned opsize, struct vcpu_exception *ex) MUST_CHECK;
/** Far return (48 cb / cb), popping imm extra bytes. */
bool vcpu_retf(struct vcpu *v, unsigned opsize, unsigned imm, struct vcpu_exception *ex) MUST_CHECK;
/** Far jump or far call through memory to sel:off; for a call, the return address v->rip (past the instruction) is pushed. */
bool vcpu_far_jump(struct vcpu *v, uint16_t sel, uint64_t off, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_far_call(struct vcpu *v, unsigned opsize, uint16_t sel, uint64_t off, struct vcpu_exception *ex) MUST_CHECK;

/* ---- syscall.c ---- */

/** SYSCALL from 64-bit or compatibility mode. v->rip must be past the instruction. Needs EFER.SCE, else #UD. */
bool vcpu_syscall(struct vcpu *v, struct vcpu_exception *ex) MUST_CHECK;
/** SYSENTER from 64-bit or compatibility mode. #GP if no target is set; #UD on AMD, which has none in long mode. */
bool vcpu_sysenter(struct vcpu *v, struct vcpu_exception *ex) MUST_CHECK;
/** SYSRET with operand size 8 or 4. #GP if CPL != 0 or RCX not canonical. */
bool vcpu_sysret(struct vcpu *v, unsigned opsize, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_swapgs(struct vcpu *v, struct vcpu_exception *ex) MUST_CHECK;

/* ---- segment.c ---- */

/** MOV/POP to Sreg, LFS/LGS/LSS: loads the hidden part from GDT/LDT, sets the accessed bit. seg is not CS. */
bool vcpu_load_segment(struct vcpu *v, enum seg seg, uint16_t sel, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_load_ldtr(struct vcpu *v, uint16_t sel, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_load_tr(struct vcpu *v, uint16_t sel, struct vcpu_exception *ex) MUST_CHECK;
/** LAR, LSL, VERR, VERW: true and *out when ZF would be set; false = ZF clear. Memory faults: returns false with ex->vector set to
 *  #PF (ex->vector is 0xff otherwise). */
bool vcpu_lar(struct vcpu *v, uint16_t sel, uint32_t *out, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_lsl(struct vcpu *v, uint16_t sel, uint32_t *out, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_verr_verw(struct vcpu *v, uint16_t sel, bool write, struct vcpu_exception *ex) MUST_CHECK;

/* ---- control.c: control and debug registers ---- */

/** What a control-register write obliges the caller to do with cached translations. */
enum vcpu_tlb_effect {
    VCPU_TLB_NONE,
    VCPU_TLB_FLUSH_PCID,   /* CR3 load without NOFLUSH: non-global entries of the new PCID */
    VCPU_TLB_SWITCH,       /* CR3 load with NOFLUSH: other root, nothing to flush */
    VCPU_TLB_FLUSH_ALL,    /* everything, global included (CR0.PG/WP?, CR4.PGE/PAE/PCIDE/SMEP/... changes) */
};

/** MOV to CRn: all reserved-bit and mode checks (#GP(0), #UD for other numbers). cr is 0,2,3,4,8. */
bool vcpu_write_cr(struct vcpu *v, unsigned cr, uint64_t value, enum vcpu_tlb_effect *effect, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_read_cr(struct vcpu *v, unsigned cr, uint64_t *value, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_write_dr(struct vcpu *v, unsigned dr, uint64_t value, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_read_dr(struct vcpu *v, unsigned dr, uint64_t *value, struct vcpu_exception *ex) MUST_CHECK;
/** XSETBV for XCR0. */
bool vcpu_xsetbv(struct vcpu *v, uint32_t index, uint64_t value, struct vcpu_exception *ex) MUST_CHECK;

/* ---- msr.c ---- */

/** RDMSR/WRMSR. Unknown MSRs: #GP(0). EFER, APIC base, x2APIC (to the lapic), kvmclock, SYSENTER, STAR..., PAT, TSC*,
 *  SPEC_CTRL/PRED_CMD when advertised, ARCH_CAPABILITIES, MISC_ENABLE and the handful a stock kernel writes (FACTS §4). A write that
 *  changes translation (EFER.NX) reports through *effect. */
bool vcpu_rdmsr(struct vcpu *v, uint32_t msr, uint64_t *value, struct vcpu_exception *ex) MUST_CHECK;
bool vcpu_wrmsr(struct vcpu *v, uint32_t msr, uint64_t value, enum vcpu_tlb_effect *effect, struct vcpu_exception *ex) MUST_CHECK;

/* ---- cpuid.c ---- */

/** Host CPUID values and the machine's facts from which the guest's table is made. */
struct vcpu_cpuid_config {
    void (*host_cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t out[4]); /* eax ebx ecx edx */
    uint64_t host_xcr0;
    unsigned cpu_count;
    uint32_t tsc_khz;
    bool deprivileged;  /* the guest kernel runs in ring 3 (bt): hide what cannot be had there (DESIGN §5, FACTS §5) */
    bool cpuid_faulting; /* user code sees our table, not the host's */
};
/** Fill v->cpuid by policy: host vendor/family/model, features masked (FACTS §5c), "not affected" bits, hypervisor leaf KVM. */
void vcpu_cpuid_init(struct vcpu *v, const struct vcpu_cpuid_config *cfg);
/** CPUID as the guest sees it now (OSXSAVE, APIC id, leaf 0xD current size follow the live state). */
void vcpu_cpuid(const struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/** ARCH_CAPABILITIES value matching the policy (0 if not advertised). */
uint64_t vcpu_arch_capabilities(const struct vcpu *v);

#endif
