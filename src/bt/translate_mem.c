/* Translation of instructions whose operands need care: memory (moved into the window) and RSP (held in host form, guest RSP + R).
 *
 * The common forms cost nothing: one prefix byte for a memory operand, nothing for RSP-based ones. The others go through a scratch register.
 * DESIGN §4.2.
 */
#include "bt/translate.h"
#include "base/log.h"

#define REX_B 1u
#define REX_X 2u
#define REX_R 4u
#define REX_W 8u

static bool is_seg_prefix(uint8_t byte)
{
    return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 || byte == 0x65;
}

/* ModRM and what follows it up to the immediate. */
static void encode_operand(struct emit *e, const struct insn *in, const uint8_t *bytes, const struct encode *how)
{
    unsigned mod = in->modrm >> 6;
    unsigned reg = (in->modrm >> 3) & 7;
    unsigned rm = in->modrm & 7;
    if (how->rsp_to != GPR_NONE) {
        bool group = in->map == 0 ? (in->opcode >= 0x80 && in->opcode <= 0x83) || in->opcode >= 0xc0 || in->opcode == 0x8f
                                  : in->map == 1 && (in->opcode == 0xba || in->opcode == 0xc7);
        bool reg_is_gpr = !group;
        if (reg == RSP && !(in->rex & 4) && reg_is_gpr) {
            reg = how->rsp_to;
        }
        bool high_byte = !in->rex && ((in->map == 1 && (in->opcode == 0xb6 || in->opcode == 0xbe)) || (in->map == 2 && in->opcode == 0xf0));
        if (mod == 3 && rm == RSP && !(in->rex & REX_B) && !high_byte) { /* movzx, movsx, crc32 of ah */
            rm = how->rsp_to;
        }
    }
    if (!in->mem || how->mem == MEM_KEEP) {
        emit_u8(e, (mod << 6) | (reg << 3) | rm);
        size_t from = in->modrm_off + 1u;
        size_t n = (in->has_sib ? 1u : 0u) + in->disp_len;
        emit_bytes(e, bytes + from, n);
    } else if (how->mem == MEM_ABS) {
        emit_abs_operand(e, reg, how->abs);
    } else {
        emit_u8(e, (reg << 3) | how->reg);
    }
}

void tr_encode(struct emit *e, const struct insn *in, const uint8_t *bytes, const struct encode *how)
{
    if (how->seg) {
        emit_u8(e, how->seg);
    }
    for (unsigned i = 0; i < in->opcode_off; i++) {
        bool truncates = bytes[i] == 0x67 && in->mem && how->mem == MEM_REG; /* the register holds a host address */
        bool stray_rex = (bytes[i] & 0xf0) == 0x40; /* without effect there, but it would have one if a prefix behind it went */
        if (!is_seg_prefix(bytes[i]) && !truncates && !stray_rex) {
            emit_u8(e, bytes[i]);
        }
    }
    bool moved = in->mem && how->mem != MEM_KEEP;
    unsigned off = in->opcode_off;
    if (in->encoding == INSN_LEGACY) {
        if (in->rex) {
            unsigned without = !moved ? 0 : in->moffs ? REX_R | REX_X | REX_B : REX_X | REX_B;
            emit_u8(e, in->rex & ~without);
            off++;
        }
    } else if (moved && bytes[off] != 0xc5) { /* VEX3, EVEX, XOP: X and B are stored inverted */
        emit_u8(e, bytes[off++]);
        emit_u8(e, bytes[off++] | 0x60);
    }
    if (in->moffs && how->mem == MEM_REG) { /* mov al/rax, moffs: as mov r, [reg] */
        emit_u8(e, 0x88 | (in->opcode < 0xa2 ? 2 : 0) | (in->opcode & 1));
        emit_u8(e, how->reg);
        return;
    }
    unsigned opcode_end = in->has_modrm ? in->modrm_off : in->imm_len || in->moffs ? in->imm_off : in->len;
    emit_bytes(e, bytes + off, opcode_end - off);
    if (in->has_modrm) {
        encode_operand(e, in, bytes, how);
    } else if (how->rsp_to != GPR_NONE && (in->opcode & 7) == RSP && !(in->rex & REX_B)) {
        e->p[-1] = (uint8_t)((e->p[-1] & ~7u) | how->rsp_to);
    }
    if (in->imm_len || in->moffs) {
        emit_bytes(e, bytes + in->imm_off, in->len - in->imm_off);
    }
}

/* Choose prefix and form for the memory operand. False: only the software TLB can reach it. */
static bool direct_form(const struct tr *t, struct encode *how)
{
    const struct insn *in = t->in;
    if (t->soft || in->seg == SEG_FS) {
        return false;
    }
    how->seg = in->seg == SEG_GS ? 0x64 : 0x65;
    if (in->base == GPR_RIP) {
        uint64_t target = t->next + (uint64_t)(int64_t)in->disp;
        if ((uint64_t)(int64_t)(int32_t)target != target || in->addrsize != 8) {
            return false;
        }
        how->mem = MEM_ABS;
        how->abs = (uint32_t)target;
    } else if (in->base == RSP && !in->moffs) {
        if (in->seg == SEG_GS || in->addrsize != 8) {
            return false;
        }
        how->seg = 0;
    }
    unsigned longer = (how->seg && in->seg == SEG_NONE ? 1 : 0) + (how->mem == MEM_ABS ? 1 : 0);
    return in->len + longer <= INSN_MAX_LEN;
}

static bool uses_rsp(const struct insn *in)
{
    return (in->reg_read | in->reg_write) & (1u << RSP);
}

/* RSP := guest value in register y, host form. */
static void commit_rsp(struct tr *t, unsigned y)
{
    t->committed = true;
    t->fix = FIX_RSP_IN_REG;
    t->fix_arg = (int8_t)y;
    tr_mark(t);
    emit_mov_imm(&t->e, RSP, BT_R);
    emit_lea(&t->e, RSP, RSP, y, 1, 0);
    t->fix = FIX_NONE;
    tr_mark(t);
}

/* Any instruction: RSP operands stand in a scratch register, a memory operand without direct form is translated in C. */
static void tr_generic(struct tr *t)
{
    const struct insn *in = t->in;
    struct encode how = {.rsp_to = GPR_NONE};
    bool rsp = uses_rsp(in);
    bool access = in->mem && !(in->encoding == INSN_LEGACY && in->map == 0 && in->opcode == 0x8d);
    bool soft = access && !direct_form(t, &how);
    bool refused = (rsp && (in->encoding != INSN_LEGACY || in->cls == CLS_FPU)) || (soft && in->vsib); /* and reported there */
    if (refused || (soft && tr_scratch(t, 0) == GPR_NONE)) {
        tr_callout(t, CALLOUT_INSN);
        return;
    }
    unsigned y = GPR_NONE, x = GPR_NONE;
    if (rsp) {
        y = tr_scratch(t, 0);
        tr_spill(t, y);
        emit_mov_imm(&t->e, y, -BT_R);
        emit_lea(&t->e, y, RSP, y, 1, 0);
        how.rsp_to = (uint8_t)y;
    }
    struct callout *c = NULL;
    if (soft) {
        x = tr_scratch(t, rsp ? 1u << y : 0);
        tr_spill(t, x);
        c = tr_callout(t, CALLOUT_SOFT);
        c->scratch = (uint8_t)x;
        c->insn.mem_size = in->cls == CLS_CLFLUSH ? 1 : in->mem_size; /* it faults like a load of a byte */
        how = (struct encode){.mem = MEM_REG, .reg = (uint8_t)x, .rsp_to = (uint8_t)y};
    }
    tr_encode(&t->e, in, t->bytes, &how);
    t->committed = true;
    tr_mark(t);
    if (rsp && (in->reg_write & (1u << RSP))) {
        commit_rsp(t, y);
    }
    if (soft) {
        c->after = emit_pos(&t->e);
        tr_unspill(t, x);
    }
    if (rsp) {
        tr_unspill(t, y);
    }
}

/* lea: computes in guest form. */
static void tr_lea(struct tr *t)
{
    const struct insn *in = t->in;
    unsigned dst = in->reg;
    struct encode keep = {.rsp_to = GPR_NONE};
    if (in->opsize == 2 && dst == RSP) {
        tr_callout(t, CALLOUT_INSN);
        return;
    }
    if (in->base == GPR_RIP) {
        uint64_t target = t->next + (uint64_t)(int64_t)in->disp;
        target = in->addrsize == 4 || in->opsize == 4 ? (uint32_t)target : target;
        if (in->opsize == 2 || dst == RSP) {
            unsigned x = tr_scratch(t, 0);
            tr_spill(t, x);
            emit_mov_imm(&t->e, x, target);
            if (dst == RSP) {
                commit_rsp(t, x);
            } else { /* mov r16, x16 */
                emit_u8(&t->e, 0x66);
                emit_u8(&t->e, 0x40 | (dst >= 8 ? 1 : 0));
                emit_u8(&t->e, 0x89);
                emit_u8(&t->e, 0xc0 | (x << 3) | (dst & 7));
                t->committed = true;
                tr_mark(t);
            }
            tr_unspill(t, x);
            return;
        }
        emit_mov_imm(&t->e, dst, target);
        return;
    }
    if (dst == RSP && !(in->base == RSP && in->opsize == 8 && in->addrsize == 8)) {
        /* x := the guest-form value, then RSP := x */
        unsigned x = tr_scratch(t, 0);
        tr_spill(t, x);
        unsigned index = in->index == GPR_NONE ? (unsigned)GPR_NONE : in->index;
        BUG_ON(in->base == RSP && index == x);
        emit_lea(&t->e, x, in->base, index, in->scale ? in->scale : 1, in->disp);
        if (in->opsize == 4 || in->addrsize == 4) { /* mov x32, x32 */
            emit_u8(&t->e, 0x89);
            emit_u8(&t->e, 0xc0 | (x << 3) | x);
        }
        commit_rsp(t, x);
        tr_unspill(t, x);
        return;
    }
    if (in->base != RSP || in->opsize != 8 || in->addrsize != 8 || dst == RSP) {
        tr_encode(&t->e, in, t->bytes, &keep); /* the low 32 bits of RSP are the guest's own */
        return;
    }
    if (in->index == GPR_NONE) {
        emit_mov_imm(&t->e, dst, -BT_R);
        emit_lea(&t->e, dst, RSP, dst, 1, in->disp);
        return;
    }
    unsigned x = dst != in->index ? dst : tr_scratch(t, 0);
    if (x != dst) {
        tr_spill(t, x);
    }
    emit_mov_imm(&t->e, x, -BT_R);
    emit_lea(&t->e, x, RSP, x, 1, in->disp);
    emit_lea(&t->e, dst, x, in->index, in->scale, 0);
    if (x != dst) {
        t->committed = true;
        tr_mark(t);
        tr_unspill(t, x);
    }
}

/* leave: RSP := RBP, pop RBP. The load comes first, so that a fault leaves everything as it was. */
static void tr_leave(struct tr *t)
{
    if (t->in->opsize == 2) {
        tr_callout(t, CALLOUT_INSN);
        return;
    }
    tr_spill(t, RAX);
    emit_lea(&t->e, RAX, RBP, GPR_NONE, 1, 8);
    emit_u8(&t->e, 0x65); /* mov rbp, gs:[rbp] */
    emit_u8(&t->e, 0x48);
    emit_u8(&t->e, 0x8b);
    emit_u8(&t->e, 0x6d);
    emit_u8(&t->e, 0x00);
    commit_rsp(t, RAX);
    tr_unspill(t, RAX);
}

/* 1: reads flags, 2: writes all arithmetic flags without reading any, 0: neither, for the forms that matter. */
static int flag_use(const struct insn *in)
{
    unsigned op = in->opcode, ext = (in->modrm >> 3) & 7;
    if (in->cls == CLS_JCC || in->cls == CLS_PUSHF || in->cls == CLS_LOOP) {
        return 1;
    }
    if (in->map == 1) {
        return (op >= 0x40 && op <= 0x4f) || (op >= 0x90 && op <= 0x9f) ? 1 : 0;
    }
    if (in->map != 0) {
        return in->map == 2 && op == 0xf6 ? 1 : 0;
    }
    if (op < 0x40 && (op & 7) < 6) {
        return (op >> 3) == 2 || (op >> 3) == 3 ? 1 : 2;
    }
    if (op >= 0x80 && op <= 0x83) {
        return ext == 2 || ext == 3 ? 1 : 2;
    }
    if (op == 0x84 || op == 0x85 || op == 0xa8 || op == 0xa9) {
        return 2;
    }
    if (op == 0xf5 || op == 0x9f || op == 0xce) {
        return 1;
    }
    bool shift = op == 0xc0 || op == 0xc1 || (op >= 0xd0 && op <= 0xd3);
    return shift && (ext == 2 || ext == 3) ? 1 : 0;
}

/* Whether no instruction in the rest of the straight run sees the flags. At a branch they are taken for dead: docs/limits.md. */
static bool flags_dead(const struct tr *t)
{
    const uint8_t *p = t->bytes + t->in->len;
    const uint8_t *end = t->bytes + t->avail;
    for (unsigned i = 0; i < 4; i++) {
        struct insn in;
        if (p >= end || insn_decode(&in, p, (size_t)(end - p)) != INSN_OK) {
            return t->avail == INSN_MAX_LEN; /* else the page ends, and nothing is known */
        }
        int use = flag_use(&in);
        if (use || insn_ends_block(&in)) {
            return use != 1;
        }
        p += in.len;
    }
    return true;
}

/* Forms with RSP as an operand that need no scratch register. */
static bool tr_rsp_fast(struct tr *t)
{
    const struct insn *in = t->in;
    struct encode keep = {.rsp_to = GPR_NONE};
    if (in->encoding != INSN_LEGACY || in->map != 0 || in->mod != 3 || !in->has_modrm) {
        return false;
    }
    if (in->opsize <= 4 && !(in->reg_write & (1u << RSP))) {
        if (in->opsize == 4 || in->opsize == 2) {
            tr_encode(&t->e, in, t->bytes, &keep);
            return true;
        }
        return false;
    }
    if (in->opsize != 8) {
        return false;
    }
    unsigned dst = in->opcode == 0x89 ? in->rm : in->reg, src = in->opcode == 0x89 ? in->reg : in->rm;
    if (in->opcode == 0x89 || in->opcode == 0x8b) {
        if (dst == RSP && src == RSP) {
            return true;
        }
        if (src == RSP) {
            emit_mov_imm(&t->e, dst, -BT_R);
            emit_lea(&t->e, dst, RSP, dst, 1, 0);
        } else {
            commit_rsp(t, src);
        }
        return true;
    }
    unsigned ext = (in->modrm >> 3) & 7;
    bool imm = in->opcode == 0x81 || in->opcode == 0x83;
    bool add_sub = imm && (ext == 0 || ext == 5);
    bool align = imm && ext == 4 && in->imm < 0;
    if (in->rm == RSP && (add_sub || align) && flags_dead(t)) {
        tr_encode(&t->e, in, t->bytes, &keep);
        return true;
    }
    return false;
}

void tr_plain(struct tr *t)
{
    const struct insn *in = t->in;
    struct encode how = {.rsp_to = GPR_NONE};
    if (in->map == 0 && in->encoding == INSN_LEGACY && in->opcode == 0x8d) {
        tr_lea(t);
    } else if (in->map == 0 && in->encoding == INSN_LEGACY && in->opcode == 0xc9) {
        tr_leave(t);
    } else if (in->map == 0 && in->encoding == INSN_LEGACY && in->opcode == 0xc8) {
        tr_callout(t, CALLOUT_INSN);
    } else if (in->hidden_mem && in->mem) { /* movdir64b: its destination takes no segment prefix */
        tr_callout(t, CALLOUT_INSN);
    } else if (uses_rsp(in)) {
        if (!tr_rsp_fast(t)) {
            tr_generic(t);
        }
    } else if (!in->mem) {
        if (!in->hidden_mem) {
            emit_bytes(&t->e, t->bytes, in->len);
        } else if (in->seg == SEG_FS || t->soft) {
            tr_callout(t, CALLOUT_INSN);
        } else { /* xlat, maskmov: an operand without ModRM */
            how.seg = in->seg == SEG_GS ? 0x64 : 0x65;
            tr_encode(&t->e, in, t->bytes, &how);
        }
    } else if (direct_form(t, &how)) {
        tr_encode(&t->e, in, t->bytes, &how);
    } else if (!in->mem_read && !in->mem_write && (in->cls != CLS_CLFLUSH || in->opcode == 0x1c)) {
        return; /* a hint: prefetch, cldemote */
    } else {
        tr_generic(t);
    }
}

bool tr_load_rcx(struct tr *t)
{
    const struct insn *in = t->in;
    struct encode how = {.rsp_to = GPR_NONE};
    if (!direct_form(t, &how)) {
        return false;
    }
    if (how.seg) {
        emit_u8(&t->e, how.seg);
    }
    if (in->addrsize == 4) {
        emit_u8(&t->e, 0x67);
    }
    emit_u8(&t->e, 0x40 | REX_W | (how.mem == MEM_KEEP ? in->rex & (REX_X | REX_B) : 0));
    emit_u8(&t->e, 0x8b);
    if (how.mem == MEM_ABS) {
        emit_abs_operand(&t->e, RCX, how.abs);
    } else {
        emit_u8(&t->e, (in->modrm & 0xc7) | (RCX << 3));
        emit_bytes(&t->e, t->bytes + in->modrm_off + 1, (in->has_sib ? 1u : 0u) + in->disp_len);
    }
    return true;
}

/* Shift the pointers in mask (1: RDI, 2: RSI) by the value in RDX. `mask_now` is the set in host form at the cursor. */
static void shift_pointers(struct tr *t, unsigned mask, uint64_t by, unsigned mask_now)
{
    emit_mov_imm(&t->e, RDX, by);
    for (unsigned bit_no = 0; bit_no < 2; bit_no++) {
        if (mask & (1u << bit_no)) {
            unsigned r = bit_no ? RSI : RDI;
            emit_lea(&t->e, r, r, RDX, 1, 0);
            mask_now ^= 1u << bit_no;
            t->fix = mask_now ? FIX_STRING : FIX_NONE;
            t->fix_arg = (int8_t)mask_now;
            tr_mark(t);
        }
    }
}

/* Both pointers move by R around the instruction: a segment prefix would lose the fast-string microcode (DESIGN §4.2). */
void tr_string(struct tr *t)
{
    const struct insn *in = t->in;
    if (t->soft || in->addrsize != 8 || in->seg == SEG_FS || in->seg == SEG_GS) {
        tr_callout(t, CALLOUT_STRING);
        return;
    }
    unsigned mask = 0;
    mask |= in->cls != CLS_LODS ? 1u : 0;
    mask |= in->cls != CLS_STOS && in->cls != CLS_SCAS ? 2u : 0;
    struct encode keep = {.rsp_to = GPR_NONE};
    tr_spill(t, RDX);
    shift_pointers(t, mask, BT_R, 0);
    tr_encode(&t->e, in, t->bytes, &keep);
    t->committed = true;
    tr_mark(t);
    shift_pointers(t, mask, -BT_R, mask);
    tr_unspill(t, RDX);
}
