/* Cases at kernel addresses. The native side has other values in the pointers (CASE_R more), so
 * pointers are only used as pointers:
 *
 * RBX RSI RDI R12 R13 point to data, aligned to 16; data operations take the first 8 bytes of each
 * 16, pointers are stored in the second 8; RSP and RBP point to the stack, which gets anything;
 * what is popped loses its upper half. R14 R15 R8 are small indices, R11 is for jumps, the rest is
 * data. Flags of arithmetic on RSP differ in the sign: an instruction behind it sets them anew.
 * What belongs together for these reasons is one `struct ins`, so that minimising does not part it.
 */
#include "insn/gen.h"

static const uint8_t pointers[] = {RBX, RSI, RDI, R12, R13};
static const uint8_t indices[] = {R14, R15, R8};
static const uint8_t data[] = {RAX, RCX, RDX, R9, R10};

static unsigned pick(struct gen *g, const uint8_t *from, unsigned n)
{
    return from[gen_below(g, n)];
}

static unsigned pointer(struct gen *g)
{
    return pick(g, pointers, sizeof(pointers));
}

static unsigned stack_pointer(struct gen *g)
{
    return gen_chance(g, 60) ? RSP : RBP;
}

static unsigned datum(struct gen *g)
{
    return pick(g, data, sizeof(data));
}

static uint64_t data_address(struct gen *g)
{
    uint64_t off = gen_chance(g, 30) ? gen_below(g, 5) * PAGE_SIZE + gen_below(g, 64) - 32
                                     : 0x100 + gen_below(g, 0x1e00);
    return region[gen_chance(g, 85) ? REGION_KERNEL : REGION_USER].gva + align_down(off, 16);
}

static struct rm memory(struct gen *g)
{
    struct rm rm =
        rm_base(pointer(g), gen_chance(g, 40) ? 0 : (int32_t)gen_below(g, 64) * 16 - 512);
    if (gen_chance(g, 30)) {
        rm.index = (uint8_t)pick(g, indices, sizeof(indices));
        rm.scale = (uint8_t)(1u << gen_below(g, 4));
    } else if (gen_chance(g, 12)) {
        rm = rm_base(pick(g, indices, sizeof(indices)), (int32_t)gen_below(g, 4) * 16);
        rm.seg = gen_chance(g, 80) ? 0x65 : 0x64;
    } else if (gen_chance(g, 20) && g->c->code == CODE_KERNEL) {
        uint64_t at = region[REGION_IMAGE].gva + align_down(gen_below(g, 0x2000), 16);
        rm = (struct rm){.mem = true, .base = GPR_RIP, .index = GPR_NONE, .scale = 1, .target = at};
    }
    return rm;
}

/* Data and memory. */
static void compute(struct gen *g)
{
    static const uint8_t code[] = {0x01, 0x03, 0x09, 0x0b, 0x11, 0x13, 0x19, 0x1b, 0x21, 0x23, 0x29,
                                   0x2b, 0x31, 0x33, 0x39, 0x3b, 0x85, 0x89, 0x8b, 0x89, 0x8b};
    struct op op = {
        .modrm = true, .opcode = code[gen_below(g, sizeof(code))], .reg = (uint8_t)datum(g)};
    gen_size(g, &op, false);
    op.rm = gen_chance(g, 70) ? memory(g) : rm_reg(datum(g));
    op.lock = op.rm.mem && (op.opcode & 3) == 1 && op.opcode < 0x39 && gen_chance(g, 15);
    asm_op(g->c, &op);
}

/* Append bytes to the last instruction. */
static void glue(struct gen *g, const uint8_t *bytes, unsigned n)
{
    struct ins *i = &g->c->ins[g->c->count - 1];
    for (unsigned k = 0; k < n && i->len < INSN_MAX_LEN; k++) {
        i->byte[i->len++] = bytes[k];
    }
}

static void move_pointer(struct gen *g)
{
    struct op op = {.modrm = true, .rexw = true};
    bool on_stack = gen_chance(g, 50);
    op.reg = (uint8_t)(on_stack ? stack_pointer(g) : pointer(g));
    op.rm = rm_reg(on_stack ? stack_pointer(g) : pointer(g));
    switch (gen_below(g, 6)) {
    case 0: op.opcode = gen_chance(g, 50) ? 0x89 : 0x8b; break;
    case 1: /* store */
        op.opcode = 0x89;
        op.rm = rm_base(pointer(g), (int32_t)gen_below(g, 8) * 16 + 8);
        break;
    case 2:
        op.opcode = 0x8d;
        op.rm = rm_base(op.rm.reg, (int32_t)gen_below(g, 64) * 16 - 512);
        if (gen_chance(g, 40)) {
            op.rm.index = (uint8_t)pick(g, indices, sizeof(indices));
            op.rm.scale = 8;
        }
        break;
    case 3: op.opcode = 0x87; break;
    case 4: /* cmov */
        op.map = 1;
        op.opcode = (uint8_t)(0x40 + gen_below(g, 16));
        break;
    default: /* add sub and rsp; test ecx, ecx */
        op.opcode = 0x83;
        op.reg = gen_chance(g, 40) ? 0 : gen_chance(g, 60) ? 5 : 4;
        op.rm = rm_reg(RSP);
        op.imm_len = 1;
        op.imm = op.reg == 4 ? 0xf0 : gen_below(g, 15) * 8;
        if (asm_op(g->c, &op)) {
            glue(g, (const uint8_t[]){0x85, 0xc9}, 2);
        }
        return;
    }
    asm_op(g->c, &op);
}

static void stack(struct gen *g)
{
    struct op push = {.opcode = 0x50,
                      .reg = (uint8_t)(gen_chance(g, 60)   ? datum(g)
                                       : gen_chance(g, 60) ? pointer(g)
                                                           : RSP)};
    struct op load = {.modrm = true,
                      .opcode = 0x8b,
                      .rexw = true,
                      .reg = RDX,
                      .rm = rm_base(RSP, (int32_t)gen_below(g, 16) * 8)};
    switch (gen_below(g, 5)) {
    case 0:
    case 1: asm_op(g->c, &push); break;
    case 2: /* pop rcx; mov ecx, ecx */
        asm_raw(g->c, (const uint8_t[]){0x59, 0x89, 0xc9}, 3);
        break;
    case 3: /* mov rbp, rsp ... leave */
        asm_raw(g->c, (const uint8_t[]){0x55, 0x48, 0x89, 0xe5, 0x50, 0xc9}, 6);
        break;
    default:
        asm_raw(g->c, (const uint8_t[]){0x9c}, 1);
        if (asm_op(g->c, &load)) {
            glue(g, (const uint8_t[]){0x89, 0xd2}, 2); /* mov edx, edx */
        }
        break;
    }
}

static void string(struct gen *g)
{
    static const uint8_t code[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae};
    uint8_t p[4];
    unsigned n = 0, op = code[gen_below(g, sizeof(code))] | gen_chance(g, 60);
    struct op count = {.opcode = 0xb8, .reg = RCX, .imm_len = 4, .imm = gen_below(g, 40)};
    if (gen_chance(g, 70)) {
        asm_op(g->c, &count);
        p[n++] = gen_chance(g, 80) ? 0xf3 : 0xf2;
        if ((op & 1) && gen_chance(g, 50)) {
            p[n++] = 0x48;
        }
    }
    p[n++] = (uint8_t)op;
    asm_raw(g->c, p, n);
}

static void flow(struct gen *g)
{
    unsigned at = g->c->count;
    switch (gen_below(g, 4)) {
    case 0: asm_branch(g->c, 0, 0x70 + gen_below(g, 16), 1, at + 1 + gen_below(g, 3)); break;
    case 1: { /* through a register */
        struct op jump = {
            .modrm = true, .opcode = 0xff, .reg = gen_chance(g, 50) ? 4 : 2, .rm = rm_reg(R11)};
        asm_mov_address(g->c, R11, at + 2 + gen_below(g, 2));
        asm_op(g->c, &jump);
        break;
    }
    default: /* call and return */
        if (at + 4 <= CASE_INSNS) {
            asm_branch(g->c, 0, 0xe8, 4, at + 2);
            asm_branch(g->c, 0, 0xe9, 4, at + 3);
            asm_raw(g->c, (const uint8_t[]){0xc3}, 1);
        }
        break;
    }
}

void gen_high(struct gen *g)
{
    typedef void (*gen_fn)(struct gen * g);
    static const gen_fn with_pointers[] = {compute,      compute, compute, move_pointer,
                                           move_pointer, stack,   stack,   flow};
    static const gen_fn with_strings[] = {compute, compute, string,  string,
                                          stack,   flow,    compute, compute};
    struct insn_case *c = g->c;
    c->code = gen_chance(g, 70) ? CODE_KERNEL : CODE_VMALLOC;
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        c->gpr[r] = gen_imm(g);
    }
    for (unsigned i = 0; i < sizeof(pointers); i++) {
        c->gpr[pointers[i]] = data_address(g);
    }
    for (unsigned i = 0; i < sizeof(indices); i++) {
        c->gpr[indices[i]] = gen_below(g, 4) * 16;
    }
    c->gpr[RSP] = region[REGION_KERNEL_STACK].gva + align_down(gen_below(g, 0x1f00) + 0x80, 8);
    c->gpr[RBP] = c->gpr[RSP];
    c->gs = region[REGION_KERNEL].gva + gen_below(g, 0x200) * 16;
    c->fs = region[REGION_KERNEL].gva + gen_below(g, 0x200) * 16;
    c->rflags = gen_random(g) & (RFLAGS_ARITH | (gen_chance(g, 10) ? RFLAGS_DF : 0));
    c->fpu = 0;
    unsigned wanted = 1 + gen_below(g, 12);
    const gen_fn *fn = gen_chance(g, 75) ? with_pointers : with_strings;
    while (c->count < wanted) {
        fn[gen_below(g, 8)](g);
    }
}
