/* Control transfers, all to instructions of the sequence, and code that changes itself. */
#include "insn/gen.h"

/* An instruction behind the current one; the terminating UD2 counts. */
static unsigned ahead(struct gen *g)
{
    return g->c->count + 1 + gen_below(g, 4);
}

static void conditional(struct gen *g)
{
    unsigned target = ahead(g);
    if (gen_chance(g, 20)) { /* loopne loope loop jrcxz */
        asm_branch(g->c, 0, 0xe0 + gen_below(g, 4), 1, target);
    } else if (gen_chance(g, 60)) {
        asm_branch(g->c, 0, 0x70 + gen_below(g, 16), 1, target);
    } else {
        asm_branch(g->c, 1, 0x80 + gen_below(g, 16), 4, target);
    }
}

/* mov ecx, n; L: something; loop L */
static void counted_loop(struct gen *g)
{
    struct op load = {.opcode = 0xb8, .reg = RCX, .imm_len = 4, .imm = 1 + gen_below(g, 5)};
    struct op body = {.modrm = true,
                      .opcode = 0x01,
                      .rexw = gen_chance(g, 50),
                      .reg = (uint8_t)gen_source(g),
                      .rm = gen_mem(g)};
    asm_op(g->c, &load);
    unsigned top = g->c->count;
    asm_op(g->c, &body);
    if (top < g->c->count) {
        asm_branch(g->c, 0, 0xe2 - gen_below(g, 3), 1, top);
    }
}

static void direct(struct gen *g)
{
    if (gen_chance(g, 40)) {
        asm_branch(g->c, 0, gen_chance(g, 50) ? 0xeb : 0xe9, 4, ahead(g));
        struct ins *i = &g->c->ins[g->c->count - 1];
        if (i->byte[0] == 0xeb) {
            i->len = 2;
            i->fix_size = 1;
        }
    } else {
        asm_branch(g->c, 0, 0xe8, 4, ahead(g));
    }
}

/* call over a jump to a ret: call L2; jmp L3; L2: nop; ret; L3: */
static void call_and_return(struct gen *g)
{
    unsigned at = g->c->count;
    if (at + 5 > CASE_INSNS) {
        return;
    }
    asm_branch(g->c, 0, 0xe8, 4, at + 2);
    asm_branch(g->c, 0, 0xe9, 4, at + 4);
    struct op body = {
        .modrm = true, .opcode = 0x83, .reg = 0, .rm = rm_reg(gen_dest(g)), .imm_len = 1, .imm = 1};
    asm_op(g->c, &body);
    if (gen_chance(g, 80)) {
        asm_raw(g->c, (const uint8_t[]){0xc3}, 1);
    } else {
        asm_raw(g->c, (const uint8_t[]){0xc2, (uint8_t)(gen_below(g, 3) * 8), 0}, 3);
    }
}

/* mov r, address; jmp or call r; or push it and return to it */
static void through_register(struct gen *g)
{
    unsigned r = gen_dest(g), target = ahead(g) + 1;
    r = r == RSP ? (unsigned)RAX : r; /* what is pushed onto code is no code */
    asm_mov_address(g->c, r, target);
    unsigned k = gen_below(g, 3);
    struct op op = {.modrm = true, .opcode = 0xff, .reg = k == 0 ? 4 : 2, .rm = rm_reg(r)};
    if (k == 2) {
        op = (struct op){.opcode = 0x50, .reg = (uint8_t)r};
        asm_op(g->c, &op);
        asm_raw(g->c, (const uint8_t[]){0xc3}, 1);
        return;
    }
    asm_op(g->c, &op);
}

/* jmp or call through a pointer in memory */
static void through_memory(struct gen *g)
{
    struct insn_case *c = g->c;
    struct op op = {
        .modrm = true, .opcode = 0xff, .reg = gen_chance(g, 50) ? 4 : 2, .rm = gen_mem(g)};
    if (c->poke_count < CASE_POKES && op.rm.base < GPR_COUNT && op.rm.index == GPR_NONE &&
        !op.rm.seg && !op.rm.addr32) {
        uint64_t at = c->gpr[op.rm.base] + (uint64_t)(int64_t)op.rm.disp;
        c->poke[c->poke_count++] = (struct poke){.gva = at, .target = (int)ahead(g)};
    }
    asm_op(c, &op);
}

static void fault(struct gen *g)
{
    static const uint8_t one[][2] = {{0x0f, 0x0b}, {0xcc, 0}, {0xf1, 0}};
    unsigned k = gen_below(g, 3);
    asm_raw(g->c, one[k], k == 0 ? 2 : 1);
}

void gen_flow(struct gen *g)
{
    static void (*const fn[])(struct gen *) = {conditional,     conditional,      conditional,
                                               counted_loop,    direct,           call_and_return,
                                               call_and_return, through_register, through_memory};
    if (gen_chance(g, 3)) {
        fault(g);
    } else {
        fn[gen_below(g, ARRAY_LEN(fn))](g);
    }
}

/* mov [rip to a later mov's immediate], r */
void gen_self_modifying(struct gen *g)
{
    struct insn_case *c = g->c;
    unsigned at = c->count, gap = gen_below(g, 2);
    if (at + 3 + gap > CASE_INSNS) {
        return;
    }
    asm_mov_address(c, RBX, at + 2 + gap);
    struct op store = {
        .modrm = true, .opcode = 0x89, .reg = (uint8_t)gen_source(g), .rm = rm_base(RBX, 1)};
    if (gen_chance(g, 20)) {
        store = (struct op){.modrm = true,
                            .opcode = 0x83,
                            .lock = gen_chance(g, 50),
                            .reg = (uint8_t)gen_below(g, 7),
                            .rm = rm_base(RBX, 1),
                            .imm_len = 1,
                            .imm = gen_random(g)};
    }
    asm_op(c, &store);
    while (gap--) {
        asm_raw(c, (const uint8_t[]){0x90}, 1);
    }
    struct op victim = {.opcode = 0xb8, .reg = RAX, .imm_len = 4, .imm = 0x11111111};
    asm_op(c, &victim);
    g->holds[RBX] = HOLDS_OTHER;
}
