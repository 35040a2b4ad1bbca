/* Integer instructions, instructions with RSP in every role, strings, flags. */
#include "insn/gen.h"

#include <string.h>

static uint64_t imm_for(struct gen *g, struct op *op, bool byte, bool imm8)
{
    op->imm_len = byte || imm8 ? 1 : op->opsize16 ? 2 : 4;
    return gen_imm(g);
}

/* add or adc sbb and sub xor cmp test, all forms */
static void alu(struct gen *g)
{
    struct op op = {.modrm = true};
    unsigned which = gen_below(g, 8), form = gen_below(g, 5);
    bool byte = gen_size(g, &op, true);
    bool dest = which != 7;
    op.reg = (uint8_t)gen_source(g);
    switch (form) {
    case 0: /* r/m, r */
        op.opcode = (uint8_t)(which << 3 | !byte);
        op.rm = gen_rm(g, 50, dest);
        op.lock = op.rm.mem && dest && gen_chance(g, 10);
        break;
    case 1: /* r, r/m */
        op.opcode = (uint8_t)(which << 3 | 2 | !byte);
        op.reg = (uint8_t)gen_dest(g);
        op.rm = gen_rm(g, 50, false);
        break;
    case 2: /* r/m, imm */
    case 3: {
        bool imm8 = !byte && form == 3;
        op.opcode = byte ? 0x80 : imm8 ? 0x83 : 0x81;
        op.reg = (uint8_t)which;
        op.rm = gen_rm(g, 50, dest);
        op.lock = op.rm.mem && dest && gen_chance(g, 10);
        op.imm = imm_for(g, &op, byte, imm8);
        break;
    }
    default: /* test */
        op.opcode = byte ? 0x84 : 0x85;
        op.rm = gen_rm(g, 50, false);
        break;
    }
    asm_op(g->c, &op);
}

static void mov(struct gen *g)
{
    struct op op = {.modrm = true};
    bool byte = gen_size(g, &op, true);
    switch (gen_below(g, 6)) {
    case 0:
    case 1:
        op.opcode = byte ? 0x88 : 0x89;
        op.reg = (uint8_t)gen_source(g);
        op.rm = gen_rm(g, 75, true);
        break;
    case 2:
    case 3:
        op.opcode = byte ? 0x8a : 0x8b;
        op.reg = (uint8_t)gen_dest(g);
        op.rm = gen_rm(g, 75, false);
        break;
    case 4:
        op.opcode = byte ? 0xc6 : 0xc7;
        op.rm = gen_rm(g, 75, true);
        op.imm = imm_for(g, &op, byte, false);
        break;
    default: { /* moffs, or mov r, imm */
        bool moffs = gen_chance(g, 50);
        op.modrm = false;
        op.opcode = moffs ? (uint8_t)(0xa0 + gen_below(g, 4)) : byte ? 0xb0 : 0xb8;
        op.reg = moffs ? 0 : (uint8_t)gen_dest(g);
        op.imm_len = moffs || op.rexw ? 8 : byte ? 1 : op.opsize16 ? 2 : 4;
        op.imm_len = !moffs && byte ? 1 : op.imm_len;
        op.imm = moffs ? gen_pointer(g) : gen_imm(g);
        break;
    }
    }
    asm_op(g->c, &op);
}

static void lea(struct gen *g)
{
    struct op op = {.modrm = true, .opcode = 0x8d, .rm = gen_mem(g), .reg = (uint8_t)gen_dest(g)};
    gen_size(g, &op, false);
    asm_op(g->c, &op);
}

/* movzx movsx movsxd, setcc, cmovcc, bsf.. bt.., shld, xadd, cmpxchg, imul, bswap, popcnt: two-byte
 * opcodes with r/m */
static void two_byte(struct gen *g)
{
    static const uint8_t code[] = {0xb6, 0xb7, 0xbe, 0xbf, 0xbc, 0xbd, 0xb8, 0xa3,
                                   0xab, 0xb3, 0xbb, 0xa5, 0xad, 0xaf, 0xb0, 0xb1,
                                   0xc0, 0xc1, 0xa4, 0xac, 0xba, 0xc3};
    struct op op = {.modrm = true, .map = 1, .reg = (uint8_t)gen_dest(g)};
    gen_size(g, &op, false);
    unsigned k = gen_below(g, ARRAY_LEN(code) + 10);
    if (k >= ARRAY_LEN(code)) {
        bool set = k & 1;
        op.opcode = (uint8_t)((set ? 0x90 : 0x40) + gen_below(g, 16));
        op.rm = gen_rm(g, 50, set);
        op.rex = set && gen_chance(g, 70);
        asm_op(g->c, &op);
        return;
    }
    op.opcode = code[k];
    op.rm = gen_rm(g, 55, true);
    bool lockable = op.opcode == 0xab || op.opcode == 0xb3 || op.opcode == 0xbb ||
                    op.opcode == 0xb0 || op.opcode == 0xb1 || op.opcode == 0xc0 ||
                    op.opcode == 0xc1;
    op.lock = lockable && op.rm.mem && gen_chance(g, 25);
    op.rep = op.opcode == 0xbc || op.opcode == 0xbd ? (gen_chance(g, 50) ? 0xf3 : 0)
             : op.opcode == 0xb8                    ? 0xf3
                                                    : 0;
    if (op.opcode == 0xa4 || op.opcode == 0xac || op.opcode == 0xba) {
        op.imm_len = 1;
        op.imm = gen_random(g);
        op.reg = op.opcode == 0xba ? (uint8_t)(4 + gen_below(g, 4)) : op.reg;
    }
    if (op.opcode == 0xc3) { /* movnti */
        op.opsize16 = false;
        op.rm = gen_mem(g);
    }
    bool bit_index =
        op.opcode == 0xa3 || op.opcode == 0xab || op.opcode == 0xb3 || op.opcode == 0xbb;
    if (bit_index && op.rm.mem) { /* the bit number moves the address: seldom far */
        op.reg = (uint8_t)(g->holds[op.reg] == HOLDS_SMALL || gen_chance(g, 20) ? op.reg : RAX);
    }
    asm_op(g->c, &op);
}

static void shift(struct gen *g)
{
    static const uint8_t code[] = {0xc1, 0xd1, 0xd3};
    struct op op = {.modrm = true, .reg = (uint8_t)gen_below(g, 8)};
    bool byte = gen_size(g, &op, true);
    op.opcode = (uint8_t)(code[gen_below(g, 3)] - byte);
    op.rm = gen_rm(g, 45, true);
    if ((op.opcode | 1) == 0xc1) {
        op.imm_len = 1;
        op.imm = gen_random(g) & (gen_chance(g, 50) ? 0x1f : 0xff);
    }
    asm_op(g->c, &op);
}

/* not neg mul imul div idiv, inc dec, imul with immediate, xchg, bswap, movsxd */
static void unary(struct gen *g)
{
    struct op op = {.modrm = true};
    bool byte = gen_size(g, &op, true);
    op.rm = gen_rm(g, 45, true);
    switch (gen_below(g, 6)) {
    case 0:
    case 1:
        op.opcode = byte ? 0xf6 : 0xf7;
        op.reg = (uint8_t)(2 + gen_below(g, 6));
        op.lock = op.rm.mem && op.reg < 4 && gen_chance(g, 10);
        break;
    case 2:
        op.opcode = byte ? 0xfe : 0xff;
        op.reg = (uint8_t)gen_below(g, 2);
        op.lock = op.rm.mem && gen_chance(g, 10);
        break;
    case 3:
        op.opcode = gen_chance(g, 50) ? 0x6b : 0x69;
        op.reg = (uint8_t)gen_dest(g);
        op.imm = imm_for(g, &op, false, op.opcode == 0x6b);
        break;
    case 4:
        op.opcode = byte ? 0x86 : 0x87;
        op.reg = (uint8_t)gen_dest(g);
        break;
    default:
        op.modrm = gen_chance(g, 50);
        op.opcode = op.modrm ? 0x63 : 0xc8;
        op.map = op.modrm ? 0 : 1;
        op.reg = (uint8_t)gen_dest(g);
        break;
    }
    asm_op(g->c, &op);
}

static void cmpxchg_wide(struct gen *g)
{
    struct op op = {.modrm = true,
                    .map = 1,
                    .opcode = 0xc7,
                    .reg = 1,
                    .rexw = gen_chance(g, 50),
                    .rm = gen_mem(g)};
    op.lock = gen_chance(g, 40);
    asm_op(g->c, &op);
}

static void push_pop(struct gen *g)
{
    struct op op = {.opsize16 = gen_chance(g, 8)};
    switch (gen_below(g, 6)) {
    case 0:
    case 1:
        op.opcode = 0x50;
        op.reg = (uint8_t)gen_source(g);
        break;
    case 2:
    case 3:
        op.opcode = 0x58;
        op.reg = (uint8_t)gen_dest(g);
        break;
    case 4:
        op.opcode = gen_chance(g, 50) ? 0x6a : 0x68;
        op.imm_len = op.opcode == 0x6a ? 1 : op.opsize16 ? 2 : 4;
        op.imm = gen_imm(g);
        break;
    default:
        op.modrm = true;
        op.rm = gen_rm(g, 85, true);
        op.opcode = gen_chance(g, 50) ? 0xff : 0x8f;
        op.reg = op.opcode == 0xff ? 6 : 0;
        break;
    }
    asm_op(g->c, &op);
}

void gen_integer(struct gen *g)
{
    static void (*const fn[])(struct gen *) = {alu,   alu,   alu,      mov,      mov,
                                               mov,   lea,   two_byte, two_byte, shift,
                                               unary, unary, push_pop, push_pop, cmpxchg_wide};
    fn[gen_below(g, gen_chance(g, 30) ? ARRAY_LEN(fn) : ARRAY_LEN(fn) - 1)](g);
}

/* ---- forms that matter for a stack pointer ---- */

static void rsp_adjust(struct gen *g)
{
    struct op op = {
        .modrm = true, .rexw = true, .opcode = 0x83, .reg = 4, .rm = rm_reg(RSP), .imm_len = 1};
    op.imm = gen_chance(g, 50) ? 0xf0 : 0xc0; /* and rsp, -16 or -64 */
    if (gen_chance(g, 60)) {
        op.rexw = gen_chance(g, 85);
        op.opcode = gen_chance(g, 70) ? 0x83 : 0x81;
        op.reg = gen_chance(g, 50) ? 0 : 5;
        op.imm_len = op.opcode == 0x83 ? 1 : 4;
        op.imm = gen_below(g, 16) * 8;
    }
    asm_op(g->c, &op);
}

static void rsp_mov(struct gen *g)
{
    struct op op = {.modrm = true,
                    .rexw = gen_chance(g, 85),
                    .opcode = gen_chance(g, 50) ? 0x89 : 0x8b,
                    .rm = rm_reg(RSP)};
    if (gen_chance(g, 50)) {
        op.reg = (uint8_t)(op.opcode == 0x89 ? gen_source(g) : gen_dest(g));
    } else {
        op.reg = RSP;
        op.rm = gen_rm(g, 30, op.opcode == 0x89);
    }
    asm_op(g->c, &op);
}

/* leave with a frame or without; enter */
static void rsp_frame(struct gen *g)
{
    struct op frame = {.modrm = true, .rexw = true, .opcode = 0x8b, .reg = RBP, .rm = rm_reg(RSP)};
    struct op leave = {.opcode = 0xc9, .opsize16 = gen_chance(g, 5)};
    uint8_t enter[4] = {0xc8, (uint8_t)(gen_below(g, 8) * 8), 0,
                        gen_chance(g, 80) ? 0 : (uint8_t)gen_below(g, 4)};
    if (gen_chance(g, 40)) {
        asm_raw(g->c, enter, 4);
        return;
    }
    if (gen_chance(g, 70)) {
        asm_op(g->c, &frame);
    }
    asm_op(g->c, &leave);
}

static void rsp_lea(struct gen *g)
{
    struct op op = {.modrm = true, .rexw = gen_chance(g, 85), .opcode = 0x8d};
    op.reg = gen_chance(g, 50) ? RSP : (uint8_t)gen_dest(g);
    op.rm = rm_base(RSP, (int8_t)gen_random(g));
    if (gen_chance(g, 40)) {
        unsigned index = gen_below(g, GPR_COUNT);
        op.rm.index = index == RSP ? (uint8_t)GPR_NONE : (uint8_t)index;
        op.rm.scale = (uint8_t)(1u << gen_below(g, 4));
    }
    asm_op(g->c, &op);
}

/* xchg in both encodings, cmov, cmp, test */
static void rsp_operate(struct gen *g)
{
    struct op op = {.modrm = true, .rexw = gen_chance(g, 85), .rm = rm_reg(RSP)};
    switch (gen_below(g, 3)) {
    case 0:
        op.modrm = gen_chance(g, 50);
        op.opcode = op.modrm ? 0x87 : 0x90;
        op.reg = op.modrm ? (uint8_t)gen_source(g) : RSP;
        break;
    case 1:
        op.map = 1;
        op.opcode = (uint8_t)(0x40 + gen_below(g, 16));
        op.reg = gen_chance(g, 50) ? RSP : (uint8_t)gen_dest(g);
        op.rm = op.reg == RSP ? gen_rm(g, 40, false) : rm_reg(RSP);
        break;
    default:
        op.opcode = gen_chance(g, 50) ? 0x39 : 0x85;
        op.reg = (uint8_t)gen_below(g, GPR_COUNT);
        break;
    }
    asm_op(g->c, &op);
}

/* push and pop of RSP and of [rsp + x] */
static void rsp_push_pop(struct gen *g)
{
    struct op op = {
        .opcode = gen_chance(g, 60) ? 0x50 : 0x58, .reg = RSP, .opsize16 = gen_chance(g, 10)};
    if (gen_chance(g, 50)) {
        bool push = gen_chance(g, 50);
        op = (struct op){.modrm = true, .opcode = push ? 0xff : 0x8f, .reg = push ? 6 : 0};
        op.rm = rm_base(RSP, (int8_t)gen_random(g));
    }
    asm_op(g->c, &op);
}

void gen_rsp(struct gen *g)
{
    static void (*const fn[])(struct gen *) = {rsp_adjust,  rsp_adjust,  rsp_mov,
                                               rsp_mov,     rsp_frame,   rsp_lea,
                                               rsp_operate, rsp_operate, rsp_push_pop};
    fn[gen_below(g, ARRAY_LEN(fn))](g);
}

/* ---- strings and flags ---- */

/* Set a register to something that suits a string instruction. */
static void load(struct gen *g, unsigned r, uint64_t value)
{
    struct op op = {.opcode = 0xb8, .reg = (uint8_t)r, .rexw = value >> 32 != 0, .imm = value};
    op.imm_len = op.rexw ? 8 : 4;
    asm_op(g->c, &op);
}

/* Prefixes and opcode. */
static void string_insn(struct gen *g, uint8_t rep)
{
    static const uint8_t code[] = {0xa4, 0xa4, 0xa6, 0xaa, 0xaa, 0xac, 0xae};
    uint8_t p[INSN_MAX_LEN];
    unsigned n = 0;
    if (gen_chance(g, 8)) {
        p[n++] = gen_chance(g, 50) ? 0x65 : gen_chance(g, 50) ? 0x64 : 0x3e;
    }
    if (gen_chance(g, 6)) {
        p[n++] = 0x67;
    }
    if (gen_chance(g, 15)) {
        p[n++] = 0x66;
    }
    if (rep) {
        p[n++] = rep;
    }
    if (gen_chance(g, 40)) {
        p[n++] = 0x48;
    }
    p[n++] = code[gen_below(g, sizeof(code))] | gen_chance(g, 65);
    asm_raw(g->c, p, n);
}

void gen_string(struct gen *g)
{
    uint8_t rep = gen_chance(g, 60) ? (gen_chance(g, 75) ? 0xf3 : 0xf2) : 0;
    if (gen_chance(g, 40)) {
        load(g, RDI, gen_pointer(g));
    }
    if (gen_chance(g, 40)) {
        load(g, RSI, gen_pointer(g));
    }
    if (rep && gen_chance(g, 70)) {
        load(g, RCX, gen_chance(g, 80) ? gen_below(g, 70) : gen_below(g, 0x1800));
    }
    string_insn(g, rep);
}

void gen_flags(struct gen *g)
{
    static const uint8_t plain[] = {0xf8, 0xf9, 0xf5, 0xfc, 0xfd, 0x9e,
                                    0x9f, 0x9c, 0x9c, 0x98, 0x99};
    if (gen_chance(g, 70)) {
        uint8_t p[3];
        unsigned n = 0;
        if (gen_chance(g, 10)) {
            p[n++] = 0x66;
        }
        p[n++] = plain[gen_below(g, sizeof(plain))];
        asm_raw(g->c, p, n);
        return;
    }
    uint64_t flags =
        gen_random(g) & (RFLAGS_ARITH | RFLAGS_ID | (gen_chance(g, 30) ? RFLAGS_DF : 0));
    flags |= gen_chance(g, 10) ? RFLAGS_TF : 0;
    struct op push = {.opcode = 0x68, .imm_len = 4, .imm = flags | RFLAGS_FIXED | RFLAGS_IF};
    if (asm_op(g->c, &push)) { /* and popf with it: what else it popped might clear IF, which only
                                  the guest can */
        struct ins *i = &g->c->ins[g->c->count - 1];
        i->byte[i->len++] = 0x9d;
    }
}
