/* From a seed to a case: its registers, its flavour, and operands for the instructions. */
#include "insn/gen.h"

#include <string.h>

uint64_t gen_random(struct gen *g)
{
    g->x += 0x9e3779b97f4a7c15ull;
    uint64_t z = g->x;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* ---- values ---- */

static uint64_t region_pointer(struct gen *g, unsigned r)
{
    static const uint64_t edge[] = {
        0, PAGE_SIZE, 2 * PAGE_SIZE, 3 * PAGE_SIZE, 4 * PAGE_SIZE, 5 * PAGE_SIZE};
    if (gen_chance(g, 25)) { /* around an edge */
        return region[r].gva + edge[gen_below(g, 6)] + gen_below(g, 80) - 48;
    }
    uint64_t off = gen_below(g, 2 * PAGE_SIZE - 0x200) + 0x100;
    return region[r].gva + (gen_chance(g, 60) ? align_down(off, 64) : off);
}

uint64_t gen_pointer(struct gen *g)
{
    static const uint8_t low[] = {REGION_DATA,     REGION_DATA,     REGION_DATA,
                                  REGION_DATA_MID, REGION_USER,     REGION_USER,
                                  REGION_USER_LOW, REGION_USER_SUP, REGION_STACK};
    return region_pointer(g, low[gen_below(g, sizeof(low))]);
}

static uint64_t odd_value(struct gen *g)
{
    static const uint64_t value[] = {0,
                                     1,
                                     ~0ull,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     0x800000000000,
                                     0x7fffffffffff,
                                     0xffff7fffffffffff,
                                     0xffff800000000000,
                                     0x00007ffffffff000};
    return value[gen_below(g, ARRAY_LEN(value))] + (gen_chance(g, 30) ? gen_below(g, 16) : 0);
}

uint64_t gen_imm(struct gen *g)
{
    uint64_t r = gen_random(g);
    switch (gen_below(g, 4)) {
    case 0: return r & 0x7f;
    case 1: return odd_value(g);
    default: return r >> (r & 63);
    }
}

static void make_registers(struct gen *g)
{
    struct insn_case *c = g->c;
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        unsigned k = gen_below(g, 100);
        g->holds[r] = k < 55 ? HOLDS_POINTER : k < 80 ? HOLDS_SMALL : HOLDS_OTHER;
        c->gpr[r] = k < 55   ? gen_pointer(g)
                    : k < 80 ? gen_below(g, 64) * (gen_chance(g, 70) ? 8 : 1)
                             : gen_imm(g);
    }
    unsigned k = gen_below(g, 100);
    unsigned stack = k < 80 ? (gen_chance(g, 80) ? REGION_STACK : REGION_STACK_MID)
                            : gen_below(g, REGION_KERNEL);
    c->gpr[RSP] =
        k < 95 ? region_pointer(g, stack) & (gen_chance(g, 85) ? ~7ull : ~0ull) : gen_imm(g);
    g->holds[RSP] = k < 95 ? HOLDS_POINTER : HOLDS_OTHER;
    c->gs = gen_pointer(g) - gen_below(g, 256);
    c->fs = gen_pointer(g) - gen_below(g, 256);
    c->rflags = gen_random(g) & (RFLAGS_ARITH | RFLAGS_ID | (gen_chance(g, 15) ? RFLAGS_DF : 0));
    c->fpu = gen_below(g, 1000);
}

/* ---- operands ---- */

unsigned gen_source(struct gen *g)
{
    return gen_chance(g, g->rsp_percent) ? RSP : gen_below(g, GPR_COUNT);
}

unsigned gen_dest(struct gen *g)
{
    if (gen_chance(g, g->rsp_percent)) {
        return RSP;
    }
    for (unsigned tries = 0; tries < 6; tries++) {
        unsigned r = gen_below(g, GPR_COUNT);
        if (g->holds[r] != HOLDS_POINTER) {
            return r;
        }
    }
    return gen_below(g, GPR_COUNT);
}

static unsigned pick_holding(struct gen *g, unsigned what)
{
    for (unsigned tries = 0; tries < 12; tries++) {
        unsigned r = gen_below(g, GPR_COUNT);
        if (g->holds[r] == what) {
            return r;
        }
    }
    return gen_below(g, GPR_COUNT);
}

static int32_t pick_disp(struct gen *g)
{
    unsigned k = gen_below(g, 100);
    uint64_t r = gen_random(g);
    return k < 30 ? 0 : k < 80 ? (int8_t)r : k < 96 ? (int32_t)(r & 0x1fff) - 0x1000 : (int32_t)r;
}

/* An address without registers that this code can name. */
static struct rm fixed_address(struct gen *g)
{
    bool low = g->c->code == CODE_LOW;
    static const uint8_t low_region[] = {REGION_DATA, REGION_USER_LOW, REGION_STACK};
    uint64_t at = region_pointer(g, low                 ? low_region[gen_below(g, 3)]
                                    : gen_chance(g, 50) ? REGION_DATA_MID
                                                        : REGION_STACK_MID);
    if (low && gen_chance(g, 40)) {
        return (struct rm){
            .mem = true, .base = GPR_NONE, .index = GPR_NONE, .scale = 1, .disp = (int32_t)at};
    }
    return (struct rm){.mem = true, .base = GPR_RIP, .index = GPR_NONE, .scale = 1, .target = at};
}

static struct rm register_address(struct gen *g)
{
    struct rm rm =
        rm_base(pick_holding(g, gen_chance(g, 93) ? HOLDS_POINTER : HOLDS_OTHER), pick_disp(g));
    if (gen_chance(g, g->rsp_percent / 2 + 8)) {
        rm.base = RSP;
    }
    if (gen_chance(g, 30)) {
        unsigned index = pick_holding(g, HOLDS_SMALL);
        rm.index = index == RSP ? (uint8_t)GPR_NONE : (uint8_t)index;
        rm.scale = (uint8_t)(1u << gen_below(g, 4));
        if (gen_chance(g, 10)) { /* the pointer is the index */
            rm.index = rm.base == RSP ? (uint8_t)GPR_NONE : rm.base;
            rm.base = rm.index == GPR_NONE ? rm.base
                      : gen_chance(g, 50)  ? (uint8_t)pick_holding(g, HOLDS_SMALL)
                                           : (uint8_t)GPR_NONE;
            rm.scale = 1;
        }
    }
    rm.wide_disp = gen_chance(g, 10);
    return rm;
}

struct rm gen_mem(struct gen *g)
{
    static const uint8_t useless[] = {0x26, 0x2e, 0x36, 0x3e};
    struct rm rm = gen_chance(g, 15) ? fixed_address(g) : register_address(g);
    unsigned k = gen_below(g, 100);
    if (k < 4) {
        rm.addr32 = rm.base != GPR_RIP || g->c->code == CODE_LOW;
    } else if (k < 8) {
        rm.seg = useless[gen_below(g, 4)];
    } else if (k < 16) { /* relative to GS or FS */
        rm = rm_base(pick_holding(g, HOLDS_SMALL), (int32_t)gen_below(g, 512) - 128);
        rm.base = gen_chance(g, 30) ? (uint8_t)GPR_NONE : rm.base;
        rm.seg = gen_chance(g, 65) ? 0x65 : 0x64;
    }
    return rm;
}

struct rm gen_rm(struct gen *g, unsigned mem_percent, bool dest)
{
    if (gen_chance(g, mem_percent)) {
        return gen_mem(g);
    }
    return rm_reg(dest ? gen_dest(g) : gen_source(g));
}

bool gen_size(struct gen *g, struct op *op, bool bytes)
{
    unsigned k = gen_below(g, 100);
    if (bytes && k < 15) {
        op->rex = gen_chance(g, 60); /* else 4..7 are ah ch dh bh */
        return true;
    }
    op->opsize16 = k >= 15 && k < 25;
    op->rexw = k >= 55;
    op->rex = gen_chance(g, 5);
    return false;
}

/* ---- the whole case ---- */

typedef void (*gen_fn)(struct gen *g);

/* What a sequence is mostly made of. */
static const struct flavour {
    uint8_t rsp_percent;
    uint8_t weight[7]; /* of the functions below */
} flavour[] = {
    {3, {60, 5, 5, 8, 4, 18, 0}},   /* a bit of everything */
    {3, {75, 5, 5, 10, 5, 0, 0}},   /* like a compiler's output */
    {40, {45, 35, 0, 10, 5, 5, 0}}, /* RSP */
    {3, {30, 10, 0, 50, 5, 5, 0}},  /* control flow */
    {2, {30, 5, 50, 5, 5, 5, 0}},   /* strings */
    {3, {10, 0, 0, 0, 0, 90, 0}},   /* any opcode */
    {3, {50, 10, 0, 20, 0, 0, 20}}, /* self-modifying */
};

static void generate_low(struct gen *g)
{
    static const gen_fn fn[7] = {gen_integer, gen_rsp, gen_string,        gen_flow,
                                 gen_flags,   gen_any, gen_self_modifying};
    static const uint8_t choice[] = {0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 5, 6};
    const struct flavour *f = &flavour[choice[gen_below(g, sizeof(choice))]];
    g->rsp_percent = f->rsp_percent;
    g->c->code = gen_chance(g, 70) ? CODE_LOW : CODE_MID;
    make_registers(g);
    unsigned wanted = 1 + gen_below(g, 12);
    while (g->c->count < wanted) {
        unsigned k = gen_below(g, 100), i = 0;
        while (k >= f->weight[i]) {
            k -= f->weight[i++];
        }
        fn[i](g);
    }
}

/* Where in the slot: mostly anywhere in the first page, sometimes over the border of the two,
 * sometimes into the hole behind. */
static void place(struct gen *g)
{
    unsigned k = gen_below(g, 100), at = gen_below(g, 0xe00);
    at = k < 75 ? at : k < 90 ? 0x1000 - gen_below(g, 60) : SLOT_CODE - 1 - gen_below(g, 60);
    g->c->start = (uint16_t)at;
}

void case_generate(struct insn_case *c, uint64_t seed)
{
    struct gen g = {.c = c, .x = seed * 0xd1342543de82ef95ull + 0x5851f42d4c957f2dull};
    memset(c, 0, sizeof(*c));
    c->seed = seed;
    place(&g);
    if (gen_chance(&g, 20)) {
        gen_high(&g);
    } else {
        generate_low(&g);
    }
}
