/* Instructions carried out in C as a whole, found from v->rip alone. */
#include "bt/cache.h"
#include "bt/dispatch.h"
#include "mmu/mmu.h"
#include "vm/vm.h"

static bool decode_at(struct bt_cpu *b, struct insn *in)
{
    uint8_t bytes[INSN_MAX_LEN];
    struct vcpu_exception ex;
    size_t here = PAGE_SIZE - (b->v->rip & PAGE_MASK), n = INSN_MAX_LEN;
    if (!mmu_read(b->v, b->v->rip, bytes, here < n ? here : n, MMU_EXEC, &ex)) {
        return false;
    }
    if (here < n && !mmu_read(b->v, b->v->rip + here, bytes + here, n - here, MMU_EXEC, &ex)) {
        n = here;
    }
    return insn_decode(in, bytes, n) == INSN_OK;
}

static bool is_string(const struct insn *in)
{
    return in->cls >= CLS_MOVS && in->cls <= CLS_SCAS;
}

/* Push, call: the stack write itself goes to a code page or outside the window. */
static bool push_value(struct bt_cpu *b, const struct insn *in, uint64_t *value)
{
    struct vcpu *v = b->v;
    uint64_t next = v->rip + in->len;
    if (in->map == 0 && in->opcode >= 0x50 && in->opcode <= 0x57) {
        *value = v->gpr[in->reg];
        v->rip = next;
    } else if (in->map == 0 && (in->opcode == 0x68 || in->opcode == 0x6a)) {
        *value = (uint64_t)in->imm;
        v->rip = next;
    } else if (in->cls == CLS_CALL_REL) {
        *value = next;
        v->rip = next + (uint64_t)in->imm;
    } else if (in->cls == CLS_CALL_IND && !in->mem) {
        *value = next;
        v->rip = v->gpr[in->rm];
    } else if (in->cls == CLS_PUSHF) {
        *value = v->rflags & ~(uint64_t)(RFLAGS_RF | RFLAGS_VM);
        v->rip = next;
    } else {
        return false;
    }
    return true;
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
    struct vcpu *v = b->v;
    if (!decode_at(b, &in)) {
        return unsupported(b, "its bytes cannot be read");
    }
    if (is_string(&in)) {
        return bt_soft_string(b, &in, &ex) ? BT_DISPATCH : bt_inject(b, &ex);
    }
    if (in.cls == CLS_XSAVE || in.cls == CLS_XRSTOR) {
        return bt_soft_xsave(b, &in, &ex) ? BT_DISPATCH : bt_inject(b, &ex);
    }
    if (in.mem && (in.mem_read || in.mem_write)) {
        return bt_soft_execute(b, &in, &ex) ? BT_DISPATCH : bt_inject(b, &ex);
    }
    uint64_t rip = v->rip, value;
    if (!push_value(b, &in, &value)) {
        return unsupported(b, "stack access");
    }
    if (!mmu_write(v, v->gpr[RSP] - 8, &value, 8, MMU_WRITE, &ex)) {
        v->rip = rip;
        return bt_inject(b, &ex);
    }
    v->gpr[RSP] -= 8;
    return BT_DISPATCH;
}

static uint64_t stack_address(const struct vcpu *v, const struct insn *in)
{
    bool down = (in->map == 0 && ((in->opcode >= 0x50 && in->opcode <= 0x57) || in->opcode == 0x68 || in->opcode == 0x6a ||
                                  in->opcode == 0xff)) || in->cls == CLS_CALL_REL || in->cls == CLS_PUSHF;
    return v->gpr[RSP] - (down ? 8 : 0);
}

bool bt_reaches_canonical(struct bt_cpu *b)
{
    struct insn in;
    struct vcpu *v = b->v;
    if (!decode_at(b, &in)) {
        return false;
    }
    if (is_string(&in)) {
        bool src = in.cls != CLS_STOS && in.cls != CLS_SCAS, dst = in.cls != CLS_LODS;
        return (!src || gva_canonical(v->gpr[RSI])) && (!dst || gva_canonical(v->gpr[RDI]));
    }
    if (in.stack && !gva_canonical(stack_address(v, &in))) {
        return false;
    }
    if (!in.mem) {
        return false;
    }
    uint64_t ea = bt_effective_address(v, &in, v->rip + in.len) + (uint64_t)bt_bit_offset(v, &in);
    return gva_canonical(ea) && !bt_in_window(ea, in.mem_size ? in.mem_size : 1);
}

uint8_t bt_general_vector(struct bt_cpu *b)
{
    struct insn in;
    struct vcpu *v = b->v;
    if (!decode_at(b, &in)) {
        return VEC_GP;
    }
    bool stack_based = in.mem && in.seg == SEG_NONE && (in.base == RSP || in.base == RBP);
    bool bad_stack = in.stack && !gva_canonical(stack_address(v, &in));
    bool bad_operand = stack_based && !gva_canonical(bt_effective_address(v, &in, v->rip + in.len));
    return bad_stack || bad_operand ? VEC_SS : VEC_GP;
}

enum bt_next bt_stack_fault(struct bt_cpu *b, uint64_t gva, unsigned access)
{
    struct mmu_xlat x;
    struct vcpu_exception ex;
    if (!mmu_walk(b->v, gva, access, &x, &ex)) {
        return bt_inject(b, &ex);
    }
    return bt_emulate_one(b);
}
