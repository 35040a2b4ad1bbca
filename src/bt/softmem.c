/* Guest memory that translated code cannot reach by itself: user memory (its addresses lie above the window), devices, operands that
 * cross into such a page. Addresses are translated in C, through a small software TLB; the instruction itself still runs on the
 * processor, on the operand's host address or on a bounce buffer. DESIGN §4.5.
 */
#include "base/string.h"
#include "bt/cache.h"
#include "bt/translate.h"
#include "bt/window.h"
#include "vm/vm.h"

uint8_t *bt_soft_xlate(struct bt_cpu *b, uint64_t gva, unsigned len, unsigned access, gpa_t *gpa_out, struct vcpu_exception *ex)
{
    struct bt_soft_entry *e = &b->soft[(gva >> PAGE_SHIFT) % BT_SOFT_TLB];
    uint64_t want = align_down(gva, PAGE_SIZE) | 1;
    bool write = access & MMU_WRITE;
    if ((e->tag & ~2ull) == want && (!write || (e->tag & 2))) {
        return e->page + (gva & PAGE_MASK);
    }
    struct mmu_xlat x;
    if (!mmu_walk(b->v, gva, access, &x, ex)) {
        return NULL;
    }
    *gpa_out = x.gpa;
    int64_t off = ram_offset(&b->v->vm->ram, gpa(align_down(x.gpa.v, PAGE_SIZE)), PAGE_SIZE);
    if (off < 0) {
        ex->vector = 0xff;
        return NULL;
    }
    uint64_t ppn = (uint64_t)off >> PAGE_SHIFT;
    bool code = b->cache->page[ppn] & PAGE_CODE;
    if (write && code) {
        b->stats.code_writes++;
        cache_kill_range(b->cache, (uint32_t)ppn, (uint32_t)(gva & PAGE_MASK), len);
    }
    e->tag = want | (write && !code ? 2 : 0);
    e->page = b->v->vm->ram.base + off;
    return e->page + (gva & PAGE_MASK);
}

/* bt bts btr btc with a register bit number reach beyond the operand: SDM 2 "BT". */
int64_t bt_bit_offset(const struct vcpu *v, const struct insn *in)
{
    bool bits = in->encoding == INSN_LEGACY && in->map == 1 &&
                (in->opcode == 0xa3 || in->opcode == 0xab || in->opcode == 0xb3 || in->opcode == 0xbb);
    if (!bits) {
        return 0;
    }
    int64_t n = (int64_t)v->gpr[in->reg];
    n = in->opsize == 2 ? (int16_t)n : in->opsize == 4 ? (int32_t)n : n;
    return (n >> (in->opsize == 2 ? 4 : in->opsize == 4 ? 5 : 6)) * in->opsize;
}

uint64_t bt_effective_address(const struct vcpu *v, const struct insn *in, uint64_t next_gpc)
{
    uint64_t ea = in->moffs ? (uint64_t)in->imm : (uint64_t)(int64_t)in->disp;
    if (!in->moffs) {
        if (in->base == GPR_RIP) {
            ea += next_gpc;
        } else if (in->base != GPR_NONE) {
            ea += v->gpr[in->base];
        }
        if (in->index != GPR_NONE && !in->vsib) {
            ea += v->gpr[in->index] * in->scale;
        }
    }
    ea += (uint64_t)bt_bit_offset(v, in);
    if (in->encoding == INSN_LEGACY && in->map == 0 && in->opcode == 0x8f && in->base == RSP) {
        ea += in->opsize; /* pop computes its operand's address with RSP already raised */
    }
    if (in->addrsize == 4) {
        ea = (uint32_t)ea;
    }
    if (in->seg == SEG_FS || in->seg == SEG_GS) {
        ea += v->seg[in->seg].base;
    }
    return ea;
}

/* The alignment an instruction demands of its operand, 0 none. SDM 1 §4.1.1, SDM 2 "SSE/SSE2 instructions": legacy 16-byte operands but those
 * of the unaligned moves, lddqu and pcmpxstrx; VEX and EVEX: the aligned and the non-temporal moves; cmpxchg16b. */
static unsigned demanded_alignment(const struct insn *in)
{
    bool moves = (in->map == 1 && (in->opcode == 0x28 || in->opcode == 0x29 || in->opcode == 0x2b || in->opcode == 0xe7 ||
                                   ((in->opcode == 0x6f || in->opcode == 0x7f) && (in->prefixes & INSN_OPSIZE)))) ||
                 (in->map == 2 && in->opcode == 0x2a);
    if (in->encoding != INSN_LEGACY) {
        return in->cls == CLS_FPU && moves ? in->mem_size : 0;
    }
    if (in->cls != CLS_FPU) {
        return in->map == 1 && in->opcode == 0xc7 && in->mem_size == 16 ? 16 : 0;
    }
    bool unaligned = (in->map == 1 && (in->opcode == 0x10 || in->opcode == 0x11)) ||
                     (in->map == 1 && (in->opcode == 0x6f || in->opcode == 0x7f) && (in->prefixes & INSN_REP)) ||
                     (in->map == 1 && in->opcode == 0xf0) || (in->map == 3 && in->opcode >= 0x60 && in->opcode <= 0x63);
    return in->mem_size == 16 && !unaligned ? 16 : 0;
}

bool bt_misaligned(const struct insn *in, uint64_t ea)
{
    unsigned align = demanded_alignment(in);
    return align && (ea & (align - 1));
}

bool bt_operand_allowed(const struct insn *in, uint64_t ea, struct vcpu_exception *ex)
{
    uint64_t last = ea + (in->mem_size ? in->mem_size - 1u : 0);
    if (gva_canonical(ea) && gva_canonical(last) && !bt_misaligned(in, ea)) {
        return true;
    }
    *ex = (struct vcpu_exception){.vector = VEC_GP, .has_error = true};
    return false;
}

/* Registers the instruction leaves alone, for the operand's address and for RSP's stand-in. */
static unsigned pick(const struct insn *in, unsigned avoid)
{
    static const uint8_t order[] = {RAX, RCX, RDX, RBX, RSI, RDI};
    avoid |= in->reg_read | in->reg_write;
    for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
        if (!(avoid & (1u << order[i]))) {
            return order[i];
        }
    }
    return RBX;
}

/* Enter the scratch code until it is done; page faults of an implied stack operand are served from the window. */
static bool enter_scratch(struct bt_cpu *b, struct vcpu_exception *ex)
{
    b->enter_cpc = BT_SCRATCH_ADDR;
    for (unsigned tries = 0; tries < 8; tries++) {
        bt_enter(b);
        if ((b->exit_arg & BT_EXIT_KIND) != BT_EXIT_FAULT) {
            return true;
        }
        if (b->fault.trapno != VEC_PF) {
            bool code = b->fault.trapno == VEC_GP || b->fault.trapno == VEC_SS || b->fault.trapno == VEC_AC;
            *ex = (struct vcpu_exception){.vector = (uint8_t)b->fault.trapno, .has_error = code};
            return false;
        }
        struct mmu_xlat x;
        unsigned access = (b->fault.error & PF_W) ? MMU_WRITE : MMU_READ;
        if (shadow_fill(&b->window->shadow, b->fault.hva - BT_R, access, true, &x, ex) != SHADOW_MAPPED) {
            return false;
        }
        b->enter_cpc = b->fault.cpc;
    }
    *ex = (struct vcpu_exception){.vector = VEC_GP, .has_error = true};
    return false;
}

/* Run `in` with its memory operand at host address hva. v precise before; on success v is after it, but for rip. */
static bool execute_at(struct bt_cpu *b, const struct insn *in, const uint8_t *bytes, uint8_t *hva, struct vcpu_exception *ex)
{
    struct emit e = {(uint8_t *)(uintptr_t)BT_SCRATCH_ADDR};
    bool rsp = (in->reg_read | in->reg_write) & (1u << RSP);
    unsigned y = rsp ? pick(in, 0) : GPR_NONE;
    unsigned x = pick(in, rsp ? 1u << y : 0);
    struct encode how = {.mem = MEM_REG, .reg = (uint8_t)x, .rsp_to = (uint8_t)y};
    tr_encode(&e, in, bytes, &how);
    emit_store_imm32(&e, bt_field(&b->exit_arg), BT_EXIT_DONE);
    emit_jmp(&e, bt_field(bt_exit));

    if (in->cls == CLS_FPU || in->cls == CLS_XSAVE || in->cls == CLS_XRSTOR) {
        bt_fpu_acquire(b);
    }
    bt_push(b);
    uint64_t old_x = b->gpr[x], old_y = rsp ? b->gpr[y] : 0;
    b->gpr[x] = (uint64_t)(uintptr_t)hva;
    if (rsp) {
        b->gpr[y] = b->v->gpr[RSP];
    }
    if (!enter_scratch(b, ex)) {
        return false;
    }
    if (rsp && (in->reg_write & (1u << RSP))) {
        b->gpr[RSP] = b->gpr[y] + BT_R;
    }
    if (rsp) {
        b->gpr[y] = old_y;
    }
    b->gpr[x] = old_x;
    uint64_t rip = b->v->rip;
    bt_pull(b);
    b->v->rip = rip;
    return true;
}

static void device_read(struct bt_cpu *b, gpa_t a, uint8_t *buf, unsigned len)
{
    b->stats.mmio++;
    for (unsigned done = 0; done < len;) {
        unsigned n = len - done >= 8 ? 8 : len - done >= 4 ? 4 : len - done >= 2 ? 2 : 1;
        uint64_t value = bus_read(&b->v->vm->mmio, a.v + done, n);
        memcpy(buf + done, &value, n);
        done += n;
    }
}

static void device_write(struct bt_cpu *b, gpa_t a, const uint8_t *buf, unsigned len)
{
    b->stats.mmio++;
    for (unsigned done = 0; done < len;) {
        unsigned n = len - done >= 8 ? 8 : len - done >= 4 ? 4 : len - done >= 2 ? 2 : 1;
        uint64_t value = 0;
        memcpy(&value, buf + done, n);
        bus_write(&b->v->vm->mmio, a.v + done, n, value);
        done += n;
    }
}

/* One page-contained piece of an operand. */
struct piece {
    uint8_t *host; /* NULL: a device at `at` */
    gpa_t at;
    unsigned len;
};

static bool locate(struct bt_cpu *b, uint64_t ea, unsigned size, unsigned access, struct piece p[2], unsigned *count,
                   struct vcpu_exception *ex)
{
    unsigned first = (unsigned)min_u64(size, PAGE_SIZE - (ea & PAGE_MASK));
    *count = first < size ? 2 : 1;
    p[0].len = first;
    p[1].len = size - first;
    for (unsigned i = 0; i < *count; i++) {
        p[i].host = bt_soft_xlate(b, ea + (i ? first : 0), p[i].len, access, &p[i].at, ex);
        if (!p[i].host && ex->vector != 0xff) {
            return false;
        }
    }
    return true;
}

bool bt_soft_execute(struct bt_cpu *b, struct vcpu_exception *ex)
{
    struct insn in;
    uint8_t bytes[INSN_MAX_LEN];
    if (!bt_fetch(b, b->v->rip, &in, bytes, ex)) {
        return false;
    }
    struct vcpu *v = b->v;
    if (bt_stack_handles(&in)) {
        return bt_stack_execute(b, &in, ex);
    }
    if (!in.mem || !in.mem_size || in.mem_size > 512 || (in.encoding != INSN_LEGACY && (in.reg_write & (1u << RSP)))) {
        vm_fail(v->vm, "cannot emulate the guest kernel's instruction %02x %02x %02x %02x %02x at %#llx", bytes[0], bytes[1], bytes[2],
                bytes[3], bytes[4], (unsigned long long)v->rip);
        *ex = (struct vcpu_exception){.vector = VEC_UD};
        return false;
    }
    b->stats.soft_access++;
    int64_t bit_off = bt_bit_offset(v, &in);
    uint64_t ea = bt_effective_address(v, &in, v->rip + in.len);
    unsigned access = in.mem_write ? MMU_WRITE : MMU_READ;
    struct piece p[2];
    unsigned count;
    if (!bt_operand_allowed(&in, ea, ex) || !locate(b, ea, in.mem_size, access, p, &count, ex)) {
        return false;
    }
    bool direct = count == 1 && p[0].host;
    uint8_t *at = direct ? p[0].host : b->bounce + (ea & 63); /* as aligned as the operand: some demand it */
    for (unsigned i = 0, off = 0; !direct && i < count; off += p[i].len, i++) {
        if (p[i].host) {
            memcpy(at + off, p[i].host, p[i].len);
        } else if (in.mem_read) {
            device_read(b, p[i].at, at + off, p[i].len);
        }
    }
    if (!execute_at(b, &in, bytes, at - bit_off, ex)) {
        return false;
    }
    for (unsigned i = 0, off = 0; !direct && in.mem_write && i < count; off += p[i].len, i++) {
        if (p[i].host) {
            memcpy(p[i].host, at + off, p[i].len);
        } else {
            device_write(b, p[i].at, at + off, p[i].len);
        }
    }
    v->rip += in.len;
    return true;
}

/* Bytes an XSAVE-family operand spans. */
static unsigned xsave_span(const struct bt_cpu *b, const struct insn *in)
{
    unsigned ext = (in->modrm >> 3) & 7;
    if (in->map == 1 && in->opcode == 0xae && ext <= 1) {
        return 512;
    }
    uint32_t out[4];
    vcpu_cpuid(b->v, 0xd, 0, out);
    return out[1] < sizeof(b->bounce) ? out[1] : (unsigned)sizeof(b->bounce);
}

bool bt_soft_xsave(struct bt_cpu *b, struct vcpu_exception *ex)
{
    struct insn in;
    uint8_t bytes[INSN_MAX_LEN];
    if (!bt_fetch(b, b->v->rip, &in, bytes, ex)) {
        return false;
    }
    uint64_t ea = bt_effective_address(b->v, &in, b->v->rip + in.len);
    unsigned span = xsave_span(b, &in);
    bool save = in.cls == CLS_XSAVE;
    if (ea & (span == 512 ? 15 : 63)) {
        *ex = (struct vcpu_exception){.vector = VEC_GP, .has_error = true};
        return false;
    }
    for (unsigned pass = 0; pass < 2; pass++) { /* translate everything first, so that a fault changes nothing */
        for (unsigned off = 0; off < span;) {
            unsigned n = (unsigned)min_u64(span - off, PAGE_SIZE - ((ea + off) & PAGE_MASK));
            gpa_t at;
            uint8_t *host = bt_soft_xlate(b, ea + off, n, save ? MMU_WRITE : MMU_READ, &at, ex);
            if (!host) {
                if (ex->vector == 0xff) {
                    *ex = (struct vcpu_exception){.vector = VEC_GP, .has_error = true};
                }
                return false;
            }
            if (pass) {
                memcpy(b->bounce + off, host, n);
            }
            off += n;
        }
    }
    if (!execute_at(b, &in, bytes, b->bounce, ex)) {
        return false;
    }
    for (unsigned off = 0; save && off < span;) {
        unsigned n = (unsigned)min_u64(span - off, PAGE_SIZE - ((ea + off) & PAGE_MASK));
        gpa_t at;
        uint8_t *host = bt_soft_xlate(b, ea + off, n, MMU_WRITE, &at, ex);
        if (host) {
            memcpy(host, b->bounce + off, n);
        }
        off += n;
    }
    b->v->rip += in.len;
    return true;
}
