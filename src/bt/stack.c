/* Instructions with an implied operand (the stack's, or xlat's), carried out in C: for stacks that
 * the window cannot map (user memory, addresses beyond it), for pushes onto the page of code they
 * run from, and for the forms nobody uses (enter, 16-bit leave). SDM 2 "PUSH", "POP", "CALL",
 * "RET", "LEAVE", "ENTER", "PUSHF", "POPF".
 */
#include "bt/cache.h"
#include "mmu/mmu.h"

/* A #GP of the walk is #SS for the stack: the address is not canonical. */
static bool stack_fault(struct vcpu_exception *ex)
{
    if (ex->vector == VEC_GP) {
        ex->vector = VEC_SS;
    }
    return false;
}

/* An operand half beyond the canonical addresses raises #SS before any of its pages can raise #PF.
 */
static bool stack_reachable(uint64_t at, unsigned size, struct vcpu_exception *ex)
{
    if (gva_canonical(at) && gva_canonical(at + size - 1)) {
        return true;
    }
    *ex = (struct vcpu_exception){.vector = VEC_SS, .has_error = true};
    return false;
}

static bool push(struct vcpu *v, uint64_t value, unsigned size, struct vcpu_exception *ex)
{
    if (!stack_reachable(v->gpr[RSP] - size, size, ex)) {
        return false;
    }
    if (!mmu_write(v, v->gpr[RSP] - size, &value, size, MMU_WRITE, ex)) {
        return stack_fault(ex);
    }
    v->gpr[RSP] -= size;
    return true;
}

static bool top(struct vcpu *v, uint64_t at, uint64_t *value, unsigned size,
                struct vcpu_exception *ex)
{
    *value = 0;
    return stack_reachable(at, size, ex) &&
           (mmu_read(v, at, value, size, MMU_READ, ex) || stack_fault(ex));
}

static void set_reg(struct vcpu *v, unsigned r, unsigned size, uint64_t value)
{
    v->gpr[r] = size == 8 ? value : (v->gpr[r] & ~0xffffull) | (value & 0xffff);
}

/* The explicit operand's address; its fault is #SS where SS is the default segment. */
static bool operand_fault(const struct insn *in, struct vcpu_exception *ex)
{
    bool ss = in->seg != SEG_FS && in->seg != SEG_GS && (in->base == RSP || in->base == RBP);
    return ss ? stack_fault(ex) : false;
}

static bool operand(struct vcpu *v, const struct insn *in, uint64_t *value, unsigned size,
                    struct vcpu_exception *ex)
{
    uint64_t ea = bt_effective_address(v, in, v->rip + in->len);
    return (bt_operand_allowed(in, ea, ex) && mmu_read(v, ea, value, size, MMU_READ, ex)) ||
           operand_fault(in, ex);
}

static bool push_operand(struct bt_cpu *b, const struct insn *in, struct vcpu_exception *ex)
{
    struct vcpu *v = b->v;
    uint64_t value = 0;
    unsigned size = in->opsize == 2 ? 2 : 8;
    if (in->opcode == 0x68 || in->opcode == 0x6a) {
        value = (uint64_t)in->imm;
    } else if (!in->mem) {
        value = v->gpr[in->has_modrm ? in->rm : in->reg];
    } else if (!operand(v, in, &value, size, ex)) {
        return false;
    }
    return push(v, value, size, ex);
}

static bool pop_operand(struct bt_cpu *b, const struct insn *in, struct vcpu_exception *ex)
{
    struct vcpu *v = b->v;
    uint64_t value;
    unsigned size = in->opsize == 2 ? 2 : 8;
    if (!top(v, v->gpr[RSP], &value, size, ex)) {
        return false;
    }
    if (in->mem) {
        uint64_t ea = bt_effective_address(v, in, v->rip + in->len);
        if (!bt_operand_allowed(in, ea, ex) || !mmu_write(v, ea, &value, size, MMU_WRITE, ex)) {
            return operand_fault(in, ex);
        }
        v->gpr[RSP] += size;
    } else {
        v->gpr[RSP] += size;
        set_reg(v, in->has_modrm ? in->rm : in->reg, size, value);
    }
    return true;
}

static bool call(struct bt_cpu *b, const struct insn *in, uint64_t *next, struct vcpu_exception *ex)
{
    struct vcpu *v = b->v;
    uint64_t target = *next + (uint64_t)in->imm;
    if (in->cls == CLS_CALL_IND && !in->mem) {
        target = v->gpr[in->rm];
    } else if (in->cls == CLS_CALL_IND && !operand(v, in, &target, 8, ex)) {
        return false;
    }
    if (!push(v, *next, 8, ex)) {
        return false;
    }
    *next = target;
    return true;
}

static bool ret(struct bt_cpu *b, const struct insn *in, uint64_t *next, struct vcpu_exception *ex)
{
    if (!top(b->v, b->v->gpr[RSP], next, 8, ex)) {
        return false;
    }
    b->v->gpr[RSP] += 8 + (in->imm_len ? (uint64_t)(in->imm & 0xffff) : 0);
    return true;
}

static bool leave(struct vcpu *v, unsigned size, struct vcpu_exception *ex)
{
    uint64_t value, at = v->gpr[RBP];
    if (!top(v, at, &value, size, ex)) {
        return false;
    }
    v->gpr[RSP] = at + size;
    set_reg(v, RBP, size, value);
    return true;
}

/* Every level above 0 copies a frame pointer of the enclosing frames. */
static bool enter(struct vcpu *v, const struct insn *in, struct vcpu_exception *ex)
{
    unsigned size = in->opsize == 2 ? 2 : 8, level = in->imm2 & 31;
    uint64_t rsp = v->gpr[RSP], rbp = v->gpr[RBP], value;
    bool ok = push(v, rbp, size, ex);
    uint64_t frame = v->gpr[RSP];
    for (unsigned i = 1; ok && i < level; i++) {
        rbp -= size;
        ok = top(v, rbp, &value, size, ex) && push(v, value, size, ex);
    }
    ok = ok && (level == 0 || push(v, frame, size, ex));
    uint8_t probe;
    uint64_t end = v->gpr[RSP] - (uint64_t)(in->imm & 0xffff);
    ok = ok && ((mmu_read(v, end, &probe, 1, MMU_WRITE, ex)) || stack_fault(ex));
    if (!ok) {
        v->gpr[RSP] = rsp;
        return false;
    }
    set_reg(v, RBP, size, frame);
    v->gpr[RSP] = end;
    return true;
}

static bool is_xlat(const struct insn *in)
{
    return in->map == 0 && in->encoding == INSN_LEGACY && in->opcode == 0xd7;
}

static uint64_t xlat_operand(const struct vcpu *v, const struct insn *in)
{
    uint64_t gva = v->gpr[RBX] + (uint8_t)v->gpr[RAX];
    gva = in->addrsize == 4 ? (uint32_t)gva : gva;
    return gva + (in->seg == SEG_FS || in->seg == SEG_GS ? v->seg[in->seg].base : 0);
}

static bool xlat(struct vcpu *v, const struct insn *in, struct vcpu_exception *ex)
{
    uint8_t value;
    if (!mmu_read(v, xlat_operand(v, in), &value, 1, MMU_READ, ex)) {
        return false;
    }
    v->gpr[RAX] = (v->gpr[RAX] & ~0xffull) | value;
    return true;
}

bool bt_stack_execute(struct bt_cpu *b, const struct insn *in, struct vcpu_exception *ex)
{
    struct vcpu *v = b->v;
    uint64_t next = v->rip + in->len;
    unsigned size = in->opsize == 2 ? 2 : 8;
    bool ok;
    if (in->cls == CLS_CALL_REL || in->cls == CLS_CALL_IND) {
        ok = call(b, in, &next, ex);
    } else if (in->cls == CLS_RET) {
        ok = ret(b, in, &next, ex);
    } else if (in->cls == CLS_PUSHF) {
        ok = push(v, v->rflags & ~(uint64_t)(RFLAGS_RF | RFLAGS_VM), size, ex);
    } else if (is_xlat(in)) {
        ok = xlat(v, in, ex);
    } else if (in->opcode == 0xc9) {
        ok = leave(v, size, ex);
    } else if (in->opcode == 0xc8) {
        ok = enter(v, in, ex);
    } else if ((in->opcode >= 0x58 && in->opcode <= 0x5f) || in->opcode == 0x8f) {
        ok = pop_operand(b, in, ex);
    } else {
        ok = push_operand(b, in, ex);
    }
    if (ok) {
        v->rip = next;
    }
    return ok;
}

bool bt_stack_handles(const struct insn *in)
{
    bool one_byte = in->map == 0 && in->encoding == INSN_LEGACY && in->cls == CLS_PLAIN;
    return is_xlat(in) ||
           (in->stack && (one_byte || in->cls == CLS_CALL_REL || in->cls == CLS_CALL_IND ||
                          in->cls == CLS_RET || in->cls == CLS_PUSHF));
}

uint64_t bt_stack_operand(const struct vcpu *v, const struct insn *in)
{
    bool plain = in->cls == CLS_PLAIN && in->map == 0;
    bool pops = in->cls == CLS_RET || in->cls == CLS_POPF || in->cls == CLS_IRET ||
                in->cls == CLS_RETF || in->cls == CLS_POP_SEG ||
                (plain && ((in->opcode >= 0x58 && in->opcode <= 0x5f) || in->opcode == 0x8f));
    if (is_xlat(in)) {
        return xlat_operand(v, in);
    }
    if (plain && in->opcode == 0xc9) {
        return v->gpr[RBP];
    }
    return v->gpr[RSP] - (pops ? 0 : in->opsize == 2 ? 2 : 8);
}
