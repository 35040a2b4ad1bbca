/* Control transfers in C: events and their returns, far branches, and the near forms the translator does not do inline. After each the
 * dispatcher looks up v->rip.
 */
#include "base/string.h"
#include "bt/callout.h"
#include "mmu/mmu.h"
#include "vm/vm.h"

static bool delivered(struct ctx *c, enum vcpu_delivery d)
{
    c->next = BT_DISPATCH;
    if (d == VCPU_TRIPLE_FAULT) {
        vm_end_because(c->v->vm, VM_TRIPLE_FAULT, "triple fault in a software interrupt at %#llx", (unsigned long long)c->gpc);
        c->next = BT_STOP;
    }
    return true;
}

static bool do_int(struct ctx *c)
{
    uint8_t vec = c->in->cls == CLS_INT3 ? VEC_BP : (uint8_t)c->in->imm;
    return delivered(c, vcpu_deliver_soft(c->v, vec, c->gpc));
}

static bool do_int1(struct ctx *c)
{
    struct vcpu_exception ex = {.vector = VEC_DB};
    return delivered(c, vcpu_deliver(c->v, &ex));
}

static bool do_iret(struct ctx *c)
{
    c->next = BT_DISPATCH;
    return vcpu_iret(c->v, c->in->opsize, &c->ex);
}

static bool do_retf(struct ctx *c)
{
    c->next = BT_DISPATCH;
    return vcpu_retf(c->v, c->in->opsize, c->in->imm_len ? (unsigned)(c->in->imm & 0xffff) : 0, &c->ex);
}

static bool do_syscall(struct ctx *c)
{
    c->next = BT_DISPATCH;
    return vcpu_syscall(c->v, &c->ex);
}

static bool do_sysret(struct ctx *c)
{
    c->next = BT_DISPATCH;
    return vcpu_sysret(c->v, c->in->opsize, &c->ex);
}

static bool do_far(struct ctx *c)
{
    uint8_t buf[10];
    unsigned n = c->in->opsize;
    uint64_t off = 0;
    uint16_t sel;
    c->next = BT_DISPATCH;
    if (!mmu_read(c->v, callout_ea(c), buf, n + 2, MMU_READ, &c->ex)) {
        return false;
    }
    memcpy(&off, buf, n);
    memcpy(&sel, buf + n, 2);
    return c->in->cls == CLS_JMP_FAR ? vcpu_far_jump(c->v, sel, off, &c->ex) : vcpu_far_call(c->v, n, sel, off, &c->ex);
}

static bool do_jmp_indirect(struct ctx *c)
{
    uint64_t target = 0;
    c->next = BT_DISPATCH;
    if (!c->in->mem) {
        target = c->v->gpr[c->in->rm];
    } else if (!bt_operand_allowed(c->in, callout_ea(c), &c->ex) || !mmu_read(c->v, callout_ea(c), &target, 8, MMU_READ, &c->ex)) {
        return false;
    }
    c->v->rip = target;
    return true;
}

/* What stack.c knows. It tells #SS from #GP itself. */
static bool do_stack(struct ctx *c)
{
    c->v->rip = c->gpc;
    c->next = bt_stack_execute(c->b, c->in, &c->ex) ? BT_DISPATCH : bt_inject(c->b, &c->ex);
    return true;
}

/* At CPL 0 everything but VM, VIF and VIP can be changed; RF is cleared (SDM 2 "POPF"). */
static bool do_popf(struct ctx *c)
{
    unsigned n = c->in->opsize;
    uint64_t value = 0, may = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT;
    may |= n == 2 ? 0 : RFLAGS_AC | RFLAGS_ID;
    if (!mmu_read(c->v, c->v->gpr[RSP], &value, n, MMU_READ, &c->ex)) {
        return false;
    }
    c->v->gpr[RSP] += n;
    c->v->rflags = (c->v->rflags & ~(may | RFLAGS_RF)) | (value & may) | RFLAGS_FIXED;
    return true;
}

/* enter, 16-bit leave, lea to SP; what else the translator could not rewrite ends the machine. */
static bool do_other(struct ctx *c)
{
    c->next = BT_DISPATCH;
    if (bt_stack_handles(c->in)) {
        return do_stack(c);
    }
    if (c->in->map == 0 && c->in->encoding == INSN_LEGACY && c->in->opcode == 0x8d) {
        struct insn plain = *c->in;
        plain.seg = SEG_NONE;
        uint64_t ea = bt_effective_address(c->v, &plain, c->v->rip);
        c->v->gpr[RSP] = (c->v->gpr[RSP] & ~0xffffull) | (ea & 0xffff);
        return true;
    }
    if (c->in->map == 1 && c->in->encoding == INSN_LEGACY && c->in->opcode == 0xc7 && c->in->mem) { /* cmpxchg8b: no register is free */
        c->v->rip = c->gpc;
        return bt_soft_execute(c->b, &c->ex);
    }
    callout_cannot(c);
    c->next = BT_STOP;
    return true;
}

callout_fn callout_flow_handler(uint8_t cls)
{
    switch (cls) {
    case CLS_INT3: case CLS_INTN:
        return do_int;
    case CLS_INT1:
        return do_int1;
    case CLS_IRET:
        return do_iret;
    case CLS_RETF:
        return do_retf;
    case CLS_SYSCALL:
        return do_syscall;
    case CLS_SYSRET:
        return do_sysret;
    case CLS_JMP_FAR: case CLS_CALL_FAR:
        return do_far;
    case CLS_JMP_IND:
        return do_jmp_indirect;
    case CLS_CALL_IND: case CLS_RET: case CLS_PUSHF:
        return do_stack;
    case CLS_POPF:
        return do_popf;
    case CLS_PLAIN: case CLS_FPU:
        return do_other;
    default:
        return NULL;
    }
}
