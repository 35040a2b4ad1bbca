/* Private to the translator: the state of one translation in progress, and the pieces of translate*.c.
 *
 * An expansion is a run of host instructions for one guest instruction. Its invariant: at every host instruction boundary the notes tell
 * how to get back the guest state, either before the instruction (restartable) or after it (committed). `spilled`, `fix`, `fix_arg` and
 * `committed` describe the state at the cursor; tr_mark() records a note whenever it has changed.
 */
#ifndef BT_TRANSLATE_H
#define BT_TRANSLATE_H

#include "bt/cache.h"
#include "bt/emit.h"

struct tr {
    struct bt_cpu *b;
    struct cache *c;
    struct emit e;
    struct block *blk;
    uint32_t index;          /* of blk */
    uint64_t gpc, next;      /* the current instruction and the one after it */
    const struct insn *in;
    const uint8_t *bytes;    /* of the current instruction, and `avail` in all */
    size_t avail;
    bool soft;               /* its memory operand goes through the software TLB */
    bool single;             /* a block of one instruction, for single-stepping */
    bool last;               /* the block ends with the current instruction */
    bool after_sti;          /* the one before it was STI: no interrupt comes between them */
    bool ended;              /* the block is complete */
    bool fpu_acquired;
    uint16_t spilled;
    uint8_t fix;
    int8_t fix_arg;
    bool committed;
};

/** How tr_encode re-encodes the current instruction. */
struct encode {
    uint8_t seg;             /* 0, 0x64 or 0x65: segment prefix for the memory operand */
    enum { MEM_KEEP, MEM_ABS, MEM_REG } mem;
    uint32_t abs;            /* MEM_ABS: disp32 */
    uint8_t reg;             /* MEM_REG: base register, one of RAX RCX RDX RBX RSI RDI */
    uint8_t rsp_to;          /* register that stands in for RSP operands, or GPR_NONE */
};

/* translate.c */
void tr_mark(struct tr *t);
void tr_spill(struct tr *t, unsigned r);
void tr_unspill(struct tr *t, unsigned r);
/** A register among RAX RCX RDX RBX RSI RDI that the instruction does not touch and is not in `avoid` (mask). GPR_NONE: there is
 *  none, which only cmpxchg8b and 16b with base and index can bring about. */
unsigned tr_scratch(const struct tr *t, unsigned avoid);
struct callout *tr_callout(struct tr *t, enum callout_kind kind);
/** A rel32 was just emitted at `site`: make it an exit to target. */
void tr_add_link(struct tr *t, uint32_t site, uint64_t target);

/* translate_mem.c */
void tr_plain(struct tr *t);
void tr_string(struct tr *t);
/** Emit mov rcx, <memory operand of the current instruction>. False: its address has no direct form. */
bool tr_load_rcx(struct tr *t);
/** Re-encode the current instruction at e with guest bytes `bytes`. */
void tr_encode(struct emit *e, const struct insn *in, const uint8_t *bytes, const struct encode *how);

/* translate_flow.c */
void tr_flow(struct tr *t);
void tr_end(struct tr *t);       /* fall through to the next block */
void tr_pushf(struct tr *t);
void tr_sti(struct tr *t);

#endif
