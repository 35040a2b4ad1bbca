/* String instructions through the software TLB: page by page, with the registers' progress exact at every fault and interrupt.
 * SDM 2 "REP/REPE/REPZ/REPNE/REPNZ", "MOVS", "STOS", "CMPS", "SCAS", "LODS".
 */
#include "base/string.h"
#include "bt/cache.h"
#include "mmu/mmu.h"
#include "vm/vm.h"

struct str {
    struct bt_cpu *b;
    struct vcpu *v;
    const struct insn *in;
    uint64_t src, dst;      /* linear addresses */
    uint64_t mask;          /* of the address size */
    int64_t step;           /* +/- element size */
    uint64_t flags_bits;
};

static void advance(struct str *s, uint64_t n, bool src, bool dst)
{
    struct vcpu *v = s->v;
    uint64_t by = (uint64_t)s->step * n;
    if (src) {
        v->gpr[RSI] = (v->gpr[RSI] + by) & s->mask;
    }
    if (dst) {
        v->gpr[RDI] = (v->gpr[RDI] + by) & s->mask;
    }
    if (s->in->prefixes & (INSN_REP | INSN_REPNE)) {
        v->gpr[RCX] = (v->gpr[RCX] - n) & s->mask;
    }
}

static bool element(struct str *s, uint64_t gva, void *buf, bool write, struct vcpu_exception *ex)
{
    unsigned n = s->in->opsize;
    gpa_t at;
    if (!gva_canonical(gva) || !gva_canonical(gva + n - 1)) {
        *ex = (struct vcpu_exception){.vector = VEC_GP, .has_error = true};
        return false;
    }
    if ((gva & PAGE_MASK) + n <= PAGE_SIZE) {
        uint8_t *host = bt_soft_xlate(s->b, gva, n, write ? MMU_WRITE : MMU_READ, &at, ex);
        if (host) {
            memcpy(write ? (void *)host : buf, write ? buf : (void *)host, n);
            return true;
        }
        if (ex->vector != 0xff) {
            return false;
        }
        uint64_t value = 0;
        s->b->stats.mmio++;
        if (write) {
            memcpy(&value, buf, n);
            bus_write(&s->v->vm->mmio, at.v, n, value);
        } else {
            value = bus_read(&s->v->vm->mmio, at.v, n);
            memcpy(buf, &value, n);
        }
        return true;
    }
    return write ? mmu_write(s->v, gva, buf, n, MMU_WRITE, ex) : mmu_read(s->v, gva, buf, n, MMU_READ, ex);
}

/* Flags of `a - b` at the element size. */
static void compare(struct vcpu *v, uint64_t a, uint64_t b, unsigned size)
{
    unsigned shift = 64 - 8 * size;
    uint64_t x = a << shift, y = b << shift, r = x - y;
    uint64_t f = 0;
    f |= x < y ? RFLAGS_CF : 0;
    f |= r == 0 ? RFLAGS_ZF : 0;
    f |= (r >> 63) ? RFLAGS_SF : 0;
    f |= (((x ^ y) & (x ^ r)) >> 63) ? RFLAGS_OF : 0;
    f |= ((a ^ b ^ (a - b)) & 0x10) ? RFLAGS_AF : 0;
    f |= __builtin_parity((unsigned)((a - b) & 0xff)) ? 0 : RFLAGS_PF;
    v->rflags = (v->rflags & ~(uint64_t)RFLAGS_ARITH) | f;
}

/* Elements of a forward run that stay in one page at both ends. */
static uint64_t run_length(const struct str *s, uint64_t count, bool src, bool dst)
{
    if (s->step < 0) {
        return 1;
    }
    uint64_t n = count, size = s->in->opsize;
    if (src) {
        n = min_u64(n, (PAGE_SIZE - (s->src & PAGE_MASK)) / size);
    }
    if (dst) {
        n = min_u64(n, (PAGE_SIZE - (s->dst & PAGE_MASK)) / size);
    }
    return n ? n : 1;
}

static bool do_movs(struct str *s, uint64_t count, struct vcpu_exception *ex)
{
    uint64_t n = run_length(s, count, true, true), size = s->in->opsize;
    gpa_t at;
    if (n > 1) {
        uint8_t *from = bt_soft_xlate(s->b, s->src, (unsigned)(n * size), MMU_READ, &at, ex);
        uint8_t *to = from ? bt_soft_xlate(s->b, s->dst, (unsigned)(n * size), MMU_WRITE, &at, ex) : NULL;
        if (from && to && (to + n * size <= from || from + n * size <= to || to <= from)) {
            memmove(to, from, n * size);
            advance(s, n, true, true);
            return true;
        }
        if ((!from || !to) && ex->vector != 0xff) {
            return false;
        }
    }
    uint8_t buf[8];
    if (!element(s, s->src, buf, false, ex) || !element(s, s->dst, buf, true, ex)) {
        return false;
    }
    advance(s, 1, true, true);
    return true;
}

static bool do_stos(struct str *s, uint64_t count, struct vcpu_exception *ex)
{
    uint64_t n = run_length(s, count, false, true), size = s->in->opsize;
    gpa_t at;
    uint64_t rax = s->v->gpr[RAX];
    uint8_t *to = n > 1 ? bt_soft_xlate(s->b, s->dst, (unsigned)(n * size), MMU_WRITE, &at, ex) : NULL;
    if (to) {
        for (uint64_t i = 0; i < n; i++) {
            memcpy(to + i * size, &rax, size);
        }
        advance(s, n, false, true);
        return true;
    }
    if (!element(s, s->dst, &rax, true, ex)) {
        return false;
    }
    advance(s, 1, false, true);
    return true;
}

static bool do_lods(struct str *s, struct vcpu_exception *ex)
{
    uint64_t value = 0;
    if (!element(s, s->src, &value, false, ex)) {
        return false;
    }
    unsigned size = s->in->opsize;
    uint64_t keep = size >= 4 ? 0 : ~0ull << (8 * size);
    s->v->gpr[RAX] = (s->v->gpr[RAX] & keep) | value;
    advance(s, 1, true, false);
    return true;
}

static bool do_compare(struct str *s, struct vcpu_exception *ex)
{
    bool cmps = s->in->cls == CLS_CMPS;
    uint64_t a = s->v->gpr[RAX], c = 0;
    if (!element(s, s->dst, &c, false, ex)) { /* measured: the one that faults first */
        return false;
    }
    if (cmps) {
        a = 0;
        if (!element(s, s->src, &a, false, ex)) {
            return false;
        }
    }
    compare(s->v, a, c, s->in->opsize);
    advance(s, 1, cmps, true);
    return true;
}

static bool step(struct str *s, uint64_t count, struct vcpu_exception *ex)
{
    switch (s->in->cls) {
    case CLS_MOVS:
        return do_movs(s, count, ex);
    case CLS_STOS:
        return do_stos(s, count, ex);
    case CLS_LODS:
        return do_lods(s, ex);
    default:
        return do_compare(s, ex);
    }
}

bool bt_soft_string(struct bt_cpu *b, const struct insn *in, struct vcpu_exception *ex)
{
    struct vcpu *v = b->v;
    struct str s = {.b = b, .v = v, .in = in, .mask = in->addrsize == 4 ? 0xffffffffull : ~0ull};
    bool rep = in->prefixes & (INSN_REP | INSN_REPNE);
    bool scan = in->cls == CLS_CMPS || in->cls == CLS_SCAS;
    s.step = (v->rflags & RFLAGS_DF) ? -(int64_t)in->opsize : in->opsize;
    uint64_t flags = v->rflags;
    bool trapped = flags & RFLAGS_TF;
    b->stats.soft_string++;
    for (;;) {
        uint64_t count = rep ? v->gpr[RCX] & s.mask : 1;
        if (!count) {
            break;
        }
        count = trapped ? 1 : count;
        s.src = v->gpr[RSI] & s.mask;
        s.src += in->seg == SEG_FS || in->seg == SEG_GS ? v->seg[in->seg].base : 0;
        s.dst = v->gpr[RDI] & s.mask;
        if (!step(&s, count, ex)) {
            v->rflags = flags; /* a fault leaves them as before the first element: SDM 2 "REPE/REPNE" */
            return false;
        }
        bool zf = v->rflags & RFLAGS_ZF;
        if (!rep || (scan && ((in->prefixes & INSN_REP) ? !zf : zf))) {
            break;
        }
        if ((b->want.kick || trapped) && (v->gpr[RCX] & s.mask)) {
            v->rflags = flags; /* measured: an interrupt leaves them, too */
            return true; /* the instruction starts again with what is left */
        }
    }
    v->rip += in->len;
    return true;
}
