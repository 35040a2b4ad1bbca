/* Private to gen*.c: the state of one case being generated. */
#ifndef INSN_GEN_H
#define INSN_GEN_H

#include "insn/asm.h"
#include "insn/layout.h"

/** What a register holds at the start. */
enum holds { HOLDS_POINTER, HOLDS_SMALL, HOLDS_OTHER };

struct gen {
    struct insn_case *c;
    uint64_t x; /* random state */
    uint8_t holds[GPR_COUNT];
    unsigned rsp_percent; /* how often a register operand is RSP */
};

/* gen.c */
uint64_t gen_random(struct gen *g);
/** 0 .. n-1 */
static inline unsigned gen_below(struct gen *g, unsigned n)
{
    return (unsigned)((gen_random(g) >> 32) % n);
}
static inline bool gen_chance(struct gen *g, unsigned percent)
{
    return gen_below(g, 100) < percent;
}
/** A pointer into some region, sometimes into its holes, often near a page's edge. */
uint64_t gen_pointer(struct gen *g);
/** A register operand; as a destination seldom one that holds a pointer. */
unsigned gen_source(struct gen *g);
unsigned gen_dest(struct gen *g);
/** A memory operand, mostly one that can be accessed. */
struct rm gen_mem(struct gen *g);
/** Register or memory. */
struct rm gen_rm(struct gen *g, unsigned mem_percent, bool dest);
/** An operand size, 1 2 4 8, set in op; returns whether it is 1. */
bool gen_size(struct gen *g, struct op *op, bool bytes);
uint64_t gen_imm(struct gen *g);

/* gen_int.c, gen_flow.c, gen_any.c, gen_high.c: append one instruction or a few */
void gen_integer(struct gen *g);
void gen_rsp(struct gen *g);
void gen_string(struct gen *g);
void gen_flow(struct gen *g);
void gen_flags(struct gen *g);
void gen_any(struct gen *g);
void gen_high(struct gen *g);
void gen_self_modifying(struct gen *g);

#endif
