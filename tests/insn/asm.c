/* Implementation of asm.h, and of case_assemble. */
#include "insn/asm.h"
#include "insn/layout.h"

#include <string.h>

unsigned asm_modrm(uint8_t *out, unsigned reg, const struct rm *rm, unsigned *fix_at)
{
    unsigned n = 0, high = (reg & 7) << 3;
    *fix_at = 0;
    if (!rm->mem) {
        out[n++] = (uint8_t)(0xc0 | high | (rm->reg & 7));
        return n;
    }
    if (rm->base == GPR_RIP) {
        out[n++] = (uint8_t)(high | 5);
        memset(out + n, 0, 4);
        *fix_at = n;
        return n + 4;
    }
    unsigned ss = rm->scale == 8 ? 3 : rm->scale == 4 ? 2 : rm->scale == 2 ? 1 : 0;
    bool sib = rm->base == GPR_NONE || rm->index != GPR_NONE || (rm->base & 7) == RSP;
    unsigned disp_len = rm->disp == 0 && (rm->base & 7) != RBP ? 0
                        : rm->disp == (int8_t)rm->disp         ? 1
                                                               : 4;
    disp_len = rm->wide_disp || rm->base == GPR_NONE ? 4 : disp_len;
    unsigned mod = rm->base == GPR_NONE || !disp_len ? 0 : disp_len == 1 ? 1 : 2;
    out[n++] = (uint8_t)(mod << 6 | high | (sib ? 4u : rm->base & 7u));
    if (sib) {
        unsigned index = rm->index == GPR_NONE ? 4u : rm->index & 7u;
        out[n++] = (uint8_t)(ss << 6 | index << 3 | (rm->base == GPR_NONE ? 5u : rm->base & 7u));
    }
    memcpy(out + n, &rm->disp, disp_len);
    return n + disp_len;
}

static struct ins *new_ins(struct insn_case *c)
{
    if (c->count == CASE_INSNS) {
        return NULL;
    }
    struct ins *i = &c->ins[c->count++];
    *i = (struct ins){0};
    return i;
}

/* Prefixes, REX and opcode. */
static unsigned asm_opcode(uint8_t *p, const struct op *op)
{
    unsigned n = 0;
    const struct rm *rm = &op->rm;
    if (op->lock) {
        p[n++] = 0xf0;
    }
    if (op->modrm && rm->mem && rm->seg) {
        p[n++] = rm->seg;
    }
    if (op->opsize16) {
        p[n++] = 0x66;
    }
    if (op->modrm && rm->mem && rm->addr32) {
        p[n++] = 0x67;
    }
    if (op->rep) {
        p[n++] = op->rep;
    }
    unsigned rex = op->rexw ? 8 : 0;
    if (op->modrm) {
        rex |= op->reg & 8 ? 4 : 0;
        if (rm->mem) {
            rex |= rm->base < GPR_COUNT && rm->base & 8 ? 1 : 0;
            rex |= rm->index < GPR_COUNT && rm->index & 8 ? 2 : 0;
        } else {
            rex |= rm->reg & 8 ? 1 : 0;
        }
    } else {
        rex |= op->reg & 8 ? 1 : 0;
    }
    if (rex || op->rex) {
        p[n++] = (uint8_t)(0x40 | rex);
    }
    if (op->map) {
        p[n++] = 0x0f;
    }
    if (op->map >= 2) {
        p[n++] = op->map == 2 ? 0x38 : 0x3a;
    }
    p[n++] = (uint8_t)(op->modrm ? op->opcode : op->opcode | (op->reg & 7));
    return n;
}

bool asm_op(struct insn_case *c, const struct op *op)
{
    uint8_t p[32];
    unsigned n = asm_opcode(p, op), fix = 0, modrm_at = n;
    if (op->modrm) {
        n += asm_modrm(p + n, op->reg, &op->rm, &fix);
    }
    memcpy(p + n, &op->imm, op->imm_len);
    n += op->imm_len;
    struct ins *i = n <= INSN_MAX_LEN ? new_ins(c) : NULL;
    if (!i) {
        return false;
    }
    memcpy(i->byte, p, n);
    i->len = (uint8_t)n;
    if (fix) {
        i->fix = INS_RIP;
        i->fix_off = (uint8_t)(modrm_at + fix);
        i->fix_size = 4;
        i->address = op->rm.target;
    }
    return true;
}

bool asm_raw(struct insn_case *c, const uint8_t *bytes, unsigned len)
{
    struct ins *i = new_ins(c);
    if (!i) {
        return false;
    }
    memcpy(i->byte, bytes, len);
    i->len = (uint8_t)len;
    return true;
}

bool asm_branch(struct insn_case *c, unsigned map, unsigned opcode, unsigned disp_len,
                unsigned target)
{
    struct ins *i = new_ins(c);
    if (!i) {
        return false;
    }
    unsigned n = 0;
    if (map) {
        i->byte[n++] = 0x0f;
    }
    i->byte[n++] = (uint8_t)opcode;
    i->fix = INS_BRANCH;
    i->fix_off = (uint8_t)n;
    i->fix_size = (uint8_t)disp_len;
    i->target = (uint8_t)target;
    i->len = (uint8_t)(n + disp_len);
    return true;
}

bool asm_mov_address(struct insn_case *c, unsigned r, unsigned target)
{
    struct op mov = {.opcode = 0xb8, .reg = (uint8_t)r, .rexw = true, .imm_len = 8};
    if (!asm_op(c, &mov)) {
        return false;
    }
    struct ins *i = &c->ins[c->count - 1];
    i->fix = INS_ADDRESS;
    i->fix_off = (uint8_t)(i->len - 8);
    i->target = (uint8_t)target;
    return true;
}

/* Patch instruction i, which lies at offset at[i]; at[count] is the end. */
static void apply_fix(struct insn_case *c, unsigned i, const unsigned *at)
{
    const struct ins *in = &c->ins[i];
    uint8_t *p = c->bytes + at[i] + in->fix_off;
    unsigned target = in->target < c->count ? in->target : c->count;
    uint64_t end = c->gpc + at[i] + in->len;
    uint64_t value = in->address;
    switch (in->fix) {
    case INS_BRANCH:
        value = (uint64_t)at[target] - at[i] - in->len;
        memcpy(p, &value, in->fix_size);
        break;
    case INS_RIP:
        value -= end;
        memcpy(p, &value, 4);
        break;
    case INS_ADDRESS:
        value += c->gpc + at[target];
        memcpy(p, &value, 8);
        break;
    default: break;
    }
}

void case_assemble(struct insn_case *c, unsigned slot)
{
    unsigned at[CASE_INSNS + 1], n = 0;
    c->gpc = layout_slot_gva(c->code, slot) + c->start;
    if (c->name) {
        return; /* a fixed case brings its bytes */
    }
    for (unsigned i = 0; i < c->count; i++) {
        at[i] = n;
        memcpy(c->bytes + n, c->ins[i].byte, c->ins[i].len);
        n += c->ins[i].len;
    }
    at[c->count] = n;
    for (unsigned i = 0; i < c->count; i++) {
        apply_fix(c, i, at);
    }
    c->bytes[n++] = 0x0f; /* ud2 */
    c->bytes[n++] = 0x0b;
    c->len = (uint16_t)n;
    for (unsigned i = 0; i < c->poke_count; i++) {
        struct poke *k = &c->poke[i];
        k->value =
            k->target >= 0 ? c->gpc + at[k->target < c->count ? k->target : c->count] : k->value;
    }
}
