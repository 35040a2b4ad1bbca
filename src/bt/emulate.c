/* Instructions carried out in C as a whole, found from v->rip alone. */
#include "bt/cache.h"
#include "bt/dispatch.h"
#include "mmu/mmu.h"
#include "vm/vm.h"

bool bt_fetch(struct bt_cpu *b, uint64_t gpc, struct insn *in, uint8_t bytes[INSN_MAX_LEN], struct vcpu_exception *ex)
{
    size_t here = min_u64(PAGE_SIZE - (gpc & PAGE_MASK), INSN_MAX_LEN), left = INSN_MAX_LEN - here;
    if (!mmu_read(b->v, gpc, bytes, here, MMU_EXEC, ex)) {
        return false;
    }
    enum insn_status status = insn_decode(in, bytes, here);
    if (status == INSN_SHORT && left) {
        if (!mmu_read(b->v, gpc + here, bytes + here, left, MMU_EXEC, ex)) {
            return false;
        }
        status = insn_decode(in, bytes, INSN_MAX_LEN);
    }
    *ex = (struct vcpu_exception){.vector = VEC_GP, .has_error = true};
    return status == INSN_OK;
}

static bool decode_gpc(struct bt_cpu *b, uint64_t gpc, struct insn *in)
{
    uint8_t bytes[INSN_MAX_LEN];
    struct vcpu_exception ex;
    return bt_fetch(b, gpc, in, bytes, &ex);
}

static bool decode_at(struct bt_cpu *b, struct insn *in)
{
    return decode_gpc(b, b->v->rip, in);
}

static bool is_string(const struct insn *in)
{
    return in->cls >= CLS_MOVS && in->cls <= CLS_SCAS;
}

static enum bt_next unsupported(struct bt_cpu *b, const char *what)
{
    vm_fail(b->v->vm, "cannot emulate the guest kernel's instruction at %#llx (%s)", (unsigned long long)b->v->rip, what);
    return BT_STOP;
}

enum bt_next bt_emulate_one(struct bt_cpu *b)
{
    struct insn in;
    struct vcpu_exception ex;
    if (!decode_at(b, &in)) {
        return unsupported(b, "its bytes cannot be read");
    }
    if (is_string(&in)) {
        return bt_soft_string(b, &in, &ex) ? BT_DISPATCH : bt_inject(b, &ex);
    }
    if (in.cls == CLS_XSAVE || in.cls == CLS_XRSTOR) {
        return bt_soft_xsave(b, &ex) ? BT_DISPATCH : bt_inject(b, &ex);
    }
    if (bt_stack_handles(&in)) {
        return bt_stack_execute(b, &in, &ex) ? BT_DISPATCH : bt_inject(b, &ex);
    }
    if (in.mem && (in.mem_read || in.mem_write)) {
        return bt_soft_execute(b, &ex) ? BT_DISPATCH : bt_inject(b, &ex);
    }
    return unsupported(b, "no memory operand");
}

bool bt_uses_gs(struct bt_cpu *b, uint64_t gpc)
{
    struct insn in;
    return decode_gpc(b, gpc, &in) && in.seg == SEG_GS;
}

bool bt_at_string(struct bt_cpu *b)
{
    struct insn in;
    return decode_at(b, &in) && is_string(&in);
}

bool bt_at_popf(struct bt_cpu *b, uint64_t *end)
{
    struct insn in;
    bool popf = decode_at(b, &in) && in.cls == CLS_POPF;
    *end = popf ? b->v->rip + in.len : 0;
    return popf;
}

bool bt_at_mov_ss(struct bt_cpu *b)
{
    struct insn in;
    return decode_at(b, &in) && in.cls == CLS_MOV_TO_SEG && in.reg == SEG_SS;
}

bool bt_reaches_canonical(struct bt_cpu *b)
{
    struct insn in;
    struct vcpu *v = b->v;
    if (!decode_at(b, &in)) {
        return false;
    }
    if (is_string(&in)) {
        return true; /* which of its operands faults, and how, is found out there */
    }
    if (in.stack && !gva_canonical(bt_stack_operand(v, &in))) {
        return false;
    }
    if (!in.mem) {
        return false;
    }
    uint64_t ea = bt_effective_address(v, &in, v->rip + in.len);
    bool poisoned = in.seg == SEG_GS && b->guest_fs != v->seg[SEG_GS].base + BT_R;
    return gva_canonical(ea) && (poisoned || !bt_in_window(ea, in.mem_size ? in.mem_size : 1));
}

bool bt_at_stack_insn(struct bt_cpu *b)
{
    struct insn in;
    return decode_at(b, &in) && bt_stack_handles(&in);
}

uint8_t bt_general_vector(struct bt_cpu *b)
{
    struct insn in;
    struct vcpu *v = b->v;
    if (!decode_at(b, &in)) {
        return VEC_GP;
    }
    bool stack_based = in.mem && in.seg != SEG_FS && in.seg != SEG_GS && (in.base == RSP || in.base == RBP);
    bool bad_stack = in.stack && !gva_canonical(bt_stack_operand(v, &in));
    uint64_t ea = in.mem ? bt_effective_address(v, &in, v->rip + in.len) : 0;
    uint64_t last = ea + (in.mem_size ? in.mem_size - 1u : 0);
    bool bad_operand = stack_based && !(gva_canonical(ea) && gva_canonical(last)) && !bt_misaligned(&in, ea);
    return bad_stack || bad_operand ? VEC_SS : VEC_GP;
}

enum bt_next bt_stack_fault(struct bt_cpu *b, uint64_t gva, unsigned access)
{
    struct mmu_xlat x;
    struct vcpu_exception ex;
    if (!mmu_walk(b->v, gva, access, &x, &ex)) {
        ex.vector = ex.vector == VEC_GP ? bt_general_vector(b) : ex.vector;
        return bt_inject(b, &ex);
    }
    return bt_emulate_one(b);
}
