/* Sensitive instructions in C: one handler a class. Each finds v precise with v->rip past the instruction, and either completes (true) or
 * fills *ex, in which case v->rip goes back to the instruction and the exception is delivered.
 *
 * User-visible rules are vcpu.h's; here are operands, and what the engine must forget afterwards.
 */
#include "bt/callout.h"
#include "base/string.h"
#include "host/host.h"
#include "irq/lapic.h"
#include "mmu/mmu.h"
#include "vm/trace.h"

static bool raise(struct vcpu_exception *ex, uint8_t vector)
{
    *ex = (struct vcpu_exception){.vector = vector, .has_error = vector == VEC_GP || vector == VEC_SS};
    return false;
}

static void set_reg(struct vcpu *v, unsigned r, unsigned size, uint64_t value)
{
    if (size == 8) {
        v->gpr[r] = value;
    } else if (size == 4) {
        v->gpr[r] = (uint32_t)value;
    } else {
        uint64_t mask = size == 2 ? 0xffff : 0xff;
        v->gpr[r] = (v->gpr[r] & ~mask) | (value & mask);
    }
}

uint64_t callout_ea(const struct ctx *c)
{
    return bt_effective_address(c->v, c->in, c->v->rip);
}

/* Register or memory operand r/m of `size` bytes. */
static bool read_rm(struct ctx *c, unsigned size, uint64_t *value)
{
    *value = 0;
    if (c->in->mem) {
        return mmu_read(c->v, callout_ea(c), value, size, MMU_READ, &c->ex);
    }
    memcpy(value, &c->v->gpr[c->in->rm], size);
    return true;
}

static bool write_rm(struct ctx *c, unsigned size, uint64_t value)
{
    if (c->in->mem) {
        return mmu_write(c->v, callout_ea(c), &value, size, MMU_WRITE, &c->ex);
    }
    set_reg(c->v, c->in->rm, size, value);
    return true;
}

static bool do_hlt(struct ctx *c)
{
    c->v->halted = true;
    c->next = BT_DISPATCH;
    return true;
}

static unsigned port_of(const struct ctx *c)
{
    return c->in->imm_len ? (unsigned)(c->in->imm & 0xff) : (unsigned)(c->v->gpr[RDX] & 0xffff);
}

static bool do_in(struct ctx *c)
{
    c->b->stats.pio++;
    uint64_t value = bus_read(&c->v->vm->ports, port_of(c), c->in->opsize);
    set_reg(c->v, RAX, c->in->opsize, value);
    return true;
}

static bool do_out(struct ctx *c)
{
    c->b->stats.pio++;
    uint64_t value = 0;
    memcpy(&value, &c->v->gpr[RAX], c->in->opsize);
    bus_write(&c->v->vm->ports, port_of(c), c->in->opsize, value);
    return true;
}

/* INS and OUTS, one element a time so that a fault leaves exact progress. */
static bool do_string_io(struct ctx *c)
{
    struct vcpu *v = c->v;
    unsigned n = c->in->opsize, port = (unsigned)(v->gpr[RDX] & 0xffff);
    bool in = c->in->cls == CLS_INS, rep = c->in->prefixes & (INSN_REP | INSN_REPNE);
    int64_t step = (v->rflags & RFLAGS_DF) ? -(int64_t)n : n;
    uint64_t count = rep ? v->gpr[RCX] : 1;
    for (; count; count--) {
        uint64_t value = 0;
        if (in) {
            value = bus_read(&v->vm->ports, port, n);
            if (!mmu_write(v, v->gpr[RDI], &value, n, MMU_WRITE, &c->ex)) {
                return false;
            }
        } else {
            if (!mmu_read(v, v->gpr[RSI], &value, n, MMU_READ, &c->ex)) {
                return false;
            }
            bus_write(&v->vm->ports, port, n, value);
        }
        v->gpr[in ? RDI : RSI] += (uint64_t)step;
        v->gpr[RCX] -= rep;
    }
    return true;
}

static bool do_cpuid(struct ctx *c)
{
    uint32_t out[4];
    vcpu_cpuid(c->v, (uint32_t)c->v->gpr[RAX], (uint32_t)c->v->gpr[RCX], out);
    c->v->gpr[RAX] = out[0];
    c->v->gpr[RBX] = out[1];
    c->v->gpr[RCX] = out[2];
    c->v->gpr[RDX] = out[3];
    return true;
}

static bool do_rdmsr(struct ctx *c)
{
    uint64_t value;
    if (!vcpu_rdmsr(c->v, (uint32_t)c->v->gpr[RCX], &value, &c->ex)) {
        return false;
    }
    c->v->gpr[RAX] = (uint32_t)value;
    c->v->gpr[RDX] = value >> 32;
    return true;
}

static bool do_wrmsr(struct ctx *c)
{
    enum vcpu_tlb_effect effect = VCPU_TLB_NONE;
    uint64_t value = (uint32_t)c->v->gpr[RAX] | c->v->gpr[RDX] << 32;
    if (!vcpu_wrmsr(c->v, (uint32_t)c->v->gpr[RCX], value, &effect, &c->ex)) {
        return false;
    }
    bt_tlb_effect(c->b, effect, c->v->cr3);
    return true;
}

static bool do_mov_from_cr(struct ctx *c)
{
    uint64_t value;
    if (!vcpu_read_cr(c->v, c->in->reg, &value, &c->ex)) {
        return false;
    }
    c->v->gpr[c->in->rm] = value;
    return true;
}

static bool do_mov_to_cr(struct ctx *c)
{
    enum vcpu_tlb_effect effect = VCPU_TLB_NONE;
    uint64_t old_cr3 = c->v->cr3;
    if (!vcpu_write_cr(c->v, c->in->reg, c->v->gpr[c->in->rm], &effect, &c->ex)) {
        return false;
    }
    bt_tlb_effect(c->b, effect, old_cr3);
    c->b->fpu_idle |= c->in->reg == 0 || c->in->reg == 4; /* the next FPU instruction looks at them again */
    if (c->in->reg == 8) {
        c->b->want.irq |= lapic_pending(c->v->lapic) >= 0;
    }
    return true;
}

static bool do_mov_dr(struct ctx *c)
{
    if (c->in->cls == CLS_MOV_FROM_DR) {
        uint64_t value;
        if (!vcpu_read_dr(c->v, c->in->reg, &value, &c->ex)) {
            return false;
        }
        c->v->gpr[c->in->rm] = value;
        return true;
    }
    return vcpu_write_dr(c->v, c->in->reg, c->v->gpr[c->in->rm], &c->ex);
}

static bool do_cr0_word(struct ctx *c)
{
    enum vcpu_tlb_effect effect = VCPU_TLB_NONE;
    uint64_t value = c->v->cr0;
    if (c->in->cls == CLS_SMSW) {
        return write_rm(c, c->in->mem ? 2 : c->in->opsize, value);
    }
    if (c->in->cls == CLS_CLTS) {
        value &= ~CR0_TS;
    } else { /* lmsw cannot clear PE */
        uint64_t word;
        if (!read_rm(c, 2, &word)) {
            return false;
        }
        value = (value & ~0xeull) | (word & 0xf) | (value & CR0_PE);
    }
    if (!vcpu_write_cr(c->v, 0, value, &effect, &c->ex)) {
        return false;
    }
    bt_tlb_effect(c->b, effect, c->v->cr3);
    c->b->fpu_idle = 1;
    return true;
}

static bool do_dtable(struct ctx *c)
{
    struct vcpu *v = c->v;
    uint8_t buf[10];
    struct dtable *t = c->in->cls == CLS_LGDT || c->in->cls == CLS_SGDT ? &v->gdtr : &v->idtr;
    if (c->in->cls == CLS_SGDT || c->in->cls == CLS_SIDT) {
        memcpy(buf, &t->limit, 2);
        memcpy(buf + 2, &t->base, 8);
        return mmu_write(v, callout_ea(c), buf, sizeof(buf), MMU_WRITE, &c->ex);
    }
    if (!mmu_read(v, callout_ea(c), buf, sizeof(buf), MMU_READ, &c->ex)) {
        return false;
    }
    uint64_t base;
    memcpy(&base, buf + 2, 8);
    if (!gva_canonical(base)) {
        return raise(&c->ex, VEC_GP);
    }
    memcpy(&t->limit, buf, 2);
    t->base = base;
    return true;
}

static bool do_system_segment(struct ctx *c)
{
    uint64_t sel;
    switch (c->in->cls) {
    case CLS_SLDT:
        return write_rm(c, c->in->mem ? 2 : c->in->opsize, c->v->ldtr.sel);
    case CLS_STR:
        return write_rm(c, c->in->mem ? 2 : c->in->opsize, c->v->tr.sel);
    default:
        if (!read_rm(c, 2, &sel)) {
            return false;
        }
        return c->in->cls == CLS_LLDT ? vcpu_load_ldtr(c->v, (uint16_t)sel, &c->ex) : vcpu_load_tr(c->v, (uint16_t)sel, &c->ex);
    }
}

/* lar lsl verr verw: the answer is in ZF. */
static bool do_access_check(struct ctx *c)
{
    uint64_t sel;
    uint32_t out = 0;
    bool ok;
    if (!read_rm(c, 2, &sel)) {
        return false;
    }
    c->ex.vector = 0xff;
    if (c->in->cls == CLS_LAR || c->in->cls == CLS_LSL) {
        ok = c->in->cls == CLS_LAR ? vcpu_lar(c->v, (uint16_t)sel, &out, &c->ex) : vcpu_lsl(c->v, (uint16_t)sel, &out, &c->ex);
    } else {
        ok = vcpu_verr_verw(c->v, (uint16_t)sel, c->in->cls == CLS_VERW, &c->ex);
    }
    if (!ok && c->ex.vector == VEC_PF) {
        return false;
    }
    if (ok && (c->in->cls == CLS_LAR || c->in->cls == CLS_LSL)) {
        set_reg(c->v, c->in->reg, c->in->opsize, out);
    }
    c->v->rflags = (c->v->rflags & ~(uint64_t)RFLAGS_ZF) | (ok ? RFLAGS_ZF : 0);
    return true;
}

static bool do_mov_seg(struct ctx *c)
{
    struct vcpu *v = c->v;
    if (c->in->reg > SEG_GS) {
        return raise(&c->ex, VEC_UD);
    }
    if (c->in->cls == CLS_MOV_FROM_SEG) {
        return write_rm(c, c->in->mem ? 2 : c->in->opsize, v->seg[c->in->reg].sel);
    }
    uint64_t sel;
    if (c->in->reg == SEG_CS) {
        return raise(&c->ex, VEC_UD);
    }
    if (!read_rm(c, 2, &sel) || !vcpu_load_segment(v, (enum seg)c->in->reg, (uint16_t)sel, &c->ex)) {
        return false;
    }
    v->irq_shadow = c->in->reg == SEG_SS;
    return true;
}

static bool do_stack_seg(struct ctx *c)
{
    struct vcpu *v = c->v;
    uint64_t value = v->seg[c->in->reg].sel;
    unsigned size = c->in->opsize == 2 ? 2 : 8;
    if (c->in->cls == CLS_PUSH_SEG) {
        if (!mmu_write(v, v->gpr[RSP] - size, &value, size, MMU_WRITE, &c->ex)) {
            return false;
        }
        v->gpr[RSP] -= size;
        return true;
    }
    if (!mmu_read(v, v->gpr[RSP], &value, size, MMU_READ, &c->ex) ||
        !vcpu_load_segment(v, (enum seg)c->in->reg, (uint16_t)value, &c->ex)) {
        return false;
    }
    v->gpr[RSP] += size;
    return true;
}

static bool do_load_far_pointer(struct ctx *c)
{
    uint8_t buf[10];
    unsigned n = c->in->opsize;
    uint16_t sel;
    uint64_t off = 0;
    enum seg seg = c->in->opcode == 0xb2 ? SEG_SS : c->in->opcode == 0xb4 ? SEG_FS : SEG_GS;
    if (!mmu_read(c->v, callout_ea(c), buf, n + 2, MMU_READ, &c->ex)) {
        return false;
    }
    memcpy(&off, buf, n);
    memcpy(&sel, buf + n, 2);
    if (!vcpu_load_segment(c->v, seg, sel, &c->ex)) {
        return false;
    }
    set_reg(c->v, c->in->reg, n, off);
    return true;
}

static bool do_swapgs(struct ctx *c)
{
    return vcpu_swapgs(c->v, &c->ex);
}

static bool do_segment_base(struct ctx *c)
{
    struct vcpu *v = c->v;
    uint8_t cls = c->in->cls;
    struct segment *s = &v->seg[cls == CLS_RDFSBASE || cls == CLS_WRFSBASE ? SEG_FS : SEG_GS];
    if (!(v->cr4 & CR4_FSGSBASE)) {
        return raise(&c->ex, VEC_UD);
    }
    if (cls == CLS_RDFSBASE || cls == CLS_RDGSBASE) {
        set_reg(v, c->in->rm, c->in->opsize, s->base);
        return true;
    }
    uint64_t value = c->in->opsize == 8 ? v->gpr[c->in->rm] : (uint32_t)v->gpr[c->in->rm];
    if (!gva_canonical(value)) {
        return raise(&c->ex, VEC_GP);
    }
    s->base = value;
    return true;
}

static bool do_invlpg(struct ctx *c)
{
    uint64_t ea = callout_ea(c);
    if (gva_canonical(ea)) {
        bt_tlb_invlpg(c->b, ea);
    }
    return true;
}

/* SDM 2 "INVPCID": types 0 address, 1 one PCID, 2 all with global, 3 all without. */
static bool do_invpcid(struct ctx *c)
{
    uint64_t desc[2], type = c->v->gpr[c->in->reg];
    if (!mmu_read(c->v, callout_ea(c), desc, sizeof(desc), MMU_READ, &c->ex)) {
        return false;
    }
    if (type > 3 || (type < 2 && desc[0] >> 12) || (type == 0 && !gva_canonical(desc[1]))) {
        return raise(&c->ex, VEC_GP);
    }
    bt_tlb_invpcid(c->b, (unsigned)type, (unsigned)(desc[0] & CR3_PCID_MASK), desc[1]);
    return true;
}

static bool do_nothing(struct ctx *c)
{
    (void)c;
    return true;
}

static bool do_rdtscp(struct ctx *c)
{
    uint64_t tsc = host_tsc();
    c->v->gpr[RAX] = (uint32_t)tsc;
    c->v->gpr[RDX] = tsc >> 32;
    c->v->gpr[RCX] = (uint32_t)c->v->tsc_aux;
    return true;
}

static bool do_rdpid(struct ctx *c)
{
    c->v->gpr[c->in->rm] = c->v->tsc_aux;
    return true;
}

static bool do_xgetbv(struct ctx *c)
{
    uint32_t index = (uint32_t)c->v->gpr[RCX];
    if (!(c->v->cr4 & CR4_OSXSAVE)) {
        return raise(&c->ex, VEC_UD);
    }
    if (index > 1) {
        return raise(&c->ex, VEC_GP);
    }
    uint64_t value = c->v->xcr0;
    if (index == 1) { /* components in use: those the image says are not initial */
        uint64_t bv;
        bt_fpu_fetch(c->b);
        memcpy(&bv, c->v->xsave + 512, 8);
        value &= bv;
    }
    c->v->gpr[RAX] = (uint32_t)value;
    c->v->gpr[RDX] = value >> 32;
    return true;
}

static bool do_xsetbv(struct ctx *c)
{
    uint64_t value = (uint32_t)c->v->gpr[RAX] | c->v->gpr[RDX] << 32;
    return vcpu_xsetbv(c->v, (uint32_t)c->v->gpr[RCX], value, &c->ex);
}

static bool do_xsave(struct ctx *c)
{
    c->v->rip = c->gpc;
    return bt_soft_xsave(c->b, &c->ex);
}

static bool do_vmcall(struct ctx *c)
{
    kvm_hypercall(c->v);
    return true;
}

static bool do_undefined(struct ctx *c)
{
    return raise(&c->ex, VEC_UD);
}

static bool do_rdpmc(struct ctx *c)
{
    return raise(&c->ex, VEC_GP);
}

static const callout_fn handler[CLS_COUNT] = {
    [CLS_UD] = do_undefined, [CLS_HLT] = do_hlt, [CLS_IN] = do_in, [CLS_OUT] = do_out, [CLS_INS] = do_string_io,
    [CLS_OUTS] = do_string_io, [CLS_CPUID] = do_cpuid, [CLS_RDMSR] = do_rdmsr, [CLS_WRMSR] = do_wrmsr,
    [CLS_MOV_FROM_CR] = do_mov_from_cr, [CLS_MOV_TO_CR] = do_mov_to_cr, [CLS_MOV_FROM_DR] = do_mov_dr,
    [CLS_MOV_TO_DR] = do_mov_dr, [CLS_CLTS] = do_cr0_word, [CLS_LMSW] = do_cr0_word, [CLS_SMSW] = do_cr0_word,
    [CLS_LGDT] = do_dtable, [CLS_LIDT] = do_dtable, [CLS_SGDT] = do_dtable, [CLS_SIDT] = do_dtable,
    [CLS_LLDT] = do_system_segment, [CLS_LTR] = do_system_segment, [CLS_SLDT] = do_system_segment,
    [CLS_STR] = do_system_segment, [CLS_LAR] = do_access_check, [CLS_LSL] = do_access_check, [CLS_VERR] = do_access_check,
    [CLS_VERW] = do_access_check, [CLS_MOV_FROM_SEG] = do_mov_seg, [CLS_MOV_TO_SEG] = do_mov_seg,
    [CLS_PUSH_SEG] = do_stack_seg, [CLS_POP_SEG] = do_stack_seg, [CLS_LOAD_FAR_PTR] = do_load_far_pointer,
    [CLS_SWAPGS] = do_swapgs, [CLS_RDFSBASE] = do_segment_base, [CLS_RDGSBASE] = do_segment_base,
    [CLS_WRFSBASE] = do_segment_base, [CLS_WRGSBASE] = do_segment_base, [CLS_INVLPG] = do_invlpg, [CLS_INVPCID] = do_invpcid,
    [CLS_INVD] = do_nothing, [CLS_WBINVD] = do_nothing, [CLS_RDTSCP] = do_rdtscp, [CLS_RDPID] = do_rdpid, [CLS_RDPMC] = do_rdpmc,
    [CLS_XGETBV] = do_xgetbv, [CLS_XSETBV] = do_xsetbv, [CLS_XSAVE] = do_xsave, [CLS_XRSTOR] = do_xsave, [CLS_VMCALL] = do_vmcall,
    [CLS_VMX] = do_undefined, [CLS_MONITOR] = do_undefined, [CLS_MWAIT] = do_undefined, [CLS_RDPKRU] = do_undefined,
    [CLS_WRPKRU] = do_undefined, [CLS_STAC] = do_undefined, [CLS_CLAC] = do_undefined, [CLS_SYSENTER] = do_undefined,
    [CLS_SYSEXIT] = do_undefined,
};

void callout_cannot(const struct ctx *c)
{
    uint8_t bytes[INSN_MAX_LEN] = {0};
    char text[3 * INSN_MAX_LEN + 1] = "";
    struct vcpu_exception ex;
    (void)!mmu_read(c->v, c->gpc, bytes, c->in->len, MMU_EXEC | MMU_NO_AD, &ex);
    for (unsigned i = 0; i < c->in->len; i++) {
        text[3 * i] = ' ';
        text[3 * i + 1] = "0123456789abcdef"[bytes[i] >> 4];
        text[3 * i + 2] = "0123456789abcdef"[bytes[i] & 15];
    }
    vm_fail(c->v->vm, "the guest kernel's instruction at %#llx has an operand ring3 cannot rewrite:%s", (unsigned long long)c->gpc, text);
}

static enum bt_next insn_callout(struct ctx *c)
{
    callout_fn fn = handler[c->in->cls];
    if (!fn) {
        fn = callout_flow_handler(c->in->cls);
    }
    if (!fn) {
        callout_cannot(c);
        return BT_STOP;
    }
    TRACE(c->v->vm, "insn %s rip=%#llx", trace_class_name(c->in->cls), (unsigned long long)c->gpc);
    c->v->rip = c->gpc + c->in->len;
    if (!fn(c)) {
        c->v->rip = c->gpc;
        if (c->ex.vector == VEC_GP && c->ex.error == 0) {
            c->ex.vector = bt_general_vector(c->b);
        }
        return bt_inject(c->b, &c->ex);
    }
    return c->next;
}

/* After an inline sti with work pending: the interrupt comes after one more instruction. */
static enum bt_next sti_callout(struct ctx *c)
{
    cache_recover(c->b->cache, c->resume - 1u);
    bt_pull(c->b);
    return BT_DISPATCH;
}

/* The instruction's operand address into its scratch register; or the whole instruction, when it cannot be used in place. */
static enum bt_next soft_callout(struct ctx *c, const struct callout *co)
{
    struct bt_cpu *b = c->b;
    uint64_t raw[GPR_COUNT];
    memcpy(raw, b->gpr, sizeof(raw));
    cache_recover(b->cache, co->resume - 1u);
    bt_pull(b);
    c->v->rip = c->gpc + c->in->len;
    c->v->irq_shadow = false; /* it ends with this instruction */
    int64_t bit_off = bt_bit_offset(c->v, c->in);
    uint64_t ea = callout_ea(c);
    unsigned access = c->in->mem_write ? MMU_WRITE : MMU_READ;
    unsigned size = c->in->mem_size ? c->in->mem_size : 1;
    gpa_t at;
    uint8_t *host = NULL;
    c->ex.vector = 0xff;
    bool allowed = bt_operand_allowed(c->in, ea, &c->ex);
    if (allowed && (ea & PAGE_MASK) + size <= PAGE_SIZE && c->in->mem_size) {
        host = bt_soft_xlate(b, ea, size, access, &at, &c->ex);
    }
    if (host && !b->cache->block[co->block].dead) { /* dead: it is about to write the block's own code, which cannot be gone back to */
        b->stats.soft_access++;
        memcpy(b->gpr, raw, sizeof(raw));
        b->gpr[co->scratch] = (uint64_t)(uintptr_t)host - (uint64_t)bit_off;
        b->enter_cpc = co->resume;
        return BT_RESUME;
    }
    c->v->rip = c->gpc;
    if (c->ex.vector != 0xff && !bt_stack_handles(c->in)) { /* else the stack's fault may come first */
        b->stats.kernel_fault_injected++;
        if (c->ex.vector == VEC_GP) {
            c->ex.vector = bt_general_vector(b);
        }
        return bt_inject(b, &c->ex);
    }
    bool state = c->in->cls == CLS_XSAVE || c->in->cls == CLS_XRSTOR;
    bool done = state ? bt_soft_xsave(b, &c->ex) : bt_soft_execute(b, &c->ex);
    return done ? BT_DISPATCH : bt_inject(b, &c->ex);
}

/* The bytes at gpc could not be fetched or are too long: raise what the processor would. */
static enum bt_next fetch_callout(struct ctx *c, uint32_t block)
{
    uint8_t byte[INSN_MAX_LEN];
    c->v->rip = c->gpc;
    for (unsigned i = 0; i < INSN_MAX_LEN; i++) {
        if (!mmu_read(c->v, c->gpc + i, &byte[i], 1, MMU_EXEC, &c->ex)) {
            return bt_inject(c->b, &c->ex);
        }
        struct insn in;
        if (insn_decode(&in, byte, i + 1) == INSN_OK) {
            cache_kill(c->b->cache, block); /* it can be fetched after all: the mapping has changed */
            return BT_DISPATCH;
        }
    }
    raise(&c->ex, VEC_GP);
    return bt_inject(c->b, &c->ex);
}

/* Whether the control registers let this x87, MMX, SSE or AVX instruction run. SDM 3 §2.5 "Control Registers" table 2-2, SDM 2 "FWAIT",
 * SDM 3 §13.1 "Providing Operating System Support for SSE Extensions". */
static bool fpu_allowed(struct ctx *c)
{
    uint64_t cr0 = c->v->cr0, cr4 = c->v->cr4;
    const struct insn *in = c->in;
    bool wait = in->encoding == INSN_LEGACY && in->map == 0 && in->opcode == 0x9b;
    bool x87 = in->encoding == INSN_LEGACY && in->map == 0 && (in->opcode & 0xf8) == 0xd8;
    if (wait) {
        return (cr0 & (CR0_TS | CR0_MP)) != (CR0_TS | CR0_MP) || raise(&c->ex, VEC_NM);
    }
    if (x87) {
        return !(cr0 & (CR0_TS | CR0_EM)) || raise(&c->ex, VEC_NM);
    }
    bool state = in->cls == CLS_XSAVE || in->cls == CLS_XRSTOR;
    bool mmx = in->encoding == INSN_LEGACY && in->map == 1 && !(in->prefixes & (INSN_REP | INSN_REPNE | INSN_OPSIZE));
    if (!state && ((cr0 & CR0_EM) || (!(cr4 & CR4_OSFXSR) && in->encoding == INSN_LEGACY && !mmx))) {
        return raise(&c->ex, VEC_UD);
    }
    return !(cr0 & CR0_TS) || raise(&c->ex, VEC_NM);
}

enum bt_next bt_callout(struct bt_cpu *b, struct callout *co)
{
    struct insn in = co->insn; /* the cache can be flushed under us */
    struct ctx c = {.b = b, .v = b->v, .in = &in, .gpc = co->gpc, .resume = co->resume, .next = BT_RESUME};
    switch (co->kind) {
    case CALLOUT_STI:
        return sti_callout(&c);
    case CALLOUT_SOFT:
        return soft_callout(&c, co);
    case CALLOUT_FPU:
        if (!fpu_allowed(&c)) {
            bt_pull(b);
            b->v->rip = c.gpc;
            return bt_inject(b, &c.ex);
        }
        if (b->v->cr0 & CR0_TS) { /* fwait without MP, and nobody has used the FPU since */
            bt_pull(b);
            b->v->rip = c.gpc + c.in->len;
            return BT_DISPATCH;
        }
        bt_fpu_acquire(b);
        b->enter_cpc = c.resume;
        return BT_RESUME;
    default:
        break;
    }
    bt_pull(b);
    if (co->kind == CALLOUT_FETCH) {
        return fetch_callout(&c, co->block);
    }
    enum bt_next next;
    if (co->kind == CALLOUT_STRING) {
        b->v->rip = c.gpc;
        bool ok = bt_soft_string(b, c.in, &c.ex);
        next = !ok ? bt_inject(b, &c.ex) : b->v->rip == c.gpc ? BT_DISPATCH : BT_RESUME;
    } else {
        b->stats.callout_kind[in.cls]++;
        next = insn_callout(&c);
    }
    if (next != BT_RESUME) {
        return next;
    }
    b->want.irq |= lapic_pending(b->v->lapic) >= 0; /* a self-IPI, an EOI, a device's answer */
    bool nmi_due = b->v->nmi_pending && !b->v->nmi_blocked;
    bool irq_due = b->want.kick || (b->want.irq && (b->v->rflags & RFLAGS_IF)) || nmi_due || b->v->irq_shadow ||
                   b->v->vm->end != VM_RUNNING || (b->v->rflags & RFLAGS_TF);
    if (irq_due) {
        return BT_DISPATCH;
    }
    bt_reload_segments(b);
    bt_push(b);
    b->enter_cpc = c.resume;
    return BT_RESUME;
}
