/* The code cache: blocks of translated guest kernel code, how they are found, linked, unlinked and forgotten.
 *
 * Invariants:
 * - A live block was made from the bytes its guest pages hold now: those pages are marked CODE in `page`, and every writable
 *   mapping of a CODE page is withheld (window.c, uspace.c), so that a write comes to us first.
 * - A live block's virtual-to-physical mapping is the current one for its virtual page (`vpages` is checked on TLB flushes).
 * - A jump from one block into another exists only as a `struct link` on the target's in_links list.
 * - Blocks are allocated at ascending cache addresses; the cache is emptied as a whole when it is full.
 * Threads: the vCPU's own task only; one cache per vCPU.
 */
#ifndef BT_CACHE_H
#define BT_CACHE_H

#include "bt/bt.h"
#include "mmu/shadow.h"

/** How to get back the guest state at a cache position: applies from cpc_off to the next note. Guest registers in `spilled` have their
 *  value in bt_cpu.spill; then `fix` is applied. The resulting state is "before the instruction at gpc_off". */
struct note {
    uint16_t cpc_off;
    uint16_t gpc_off;
    uint16_t spilled;
    uint8_t fix : 7;    /* enum note_fix */
    uint8_t shadow : 1; /* that instruction follows an STI */
    int8_t arg;
};

enum note_fix {
    FIX_NONE,
    FIX_RSP_ADD,      /* RSP += arg */
    FIX_STRING,       /* arg bit 0: RDI, bit 1: RSI hold host form: subtract R */
    FIX_RSP_IN_REG,   /* guest RSP is the plain value of register arg */
    FIX_LANDING_PC,   /* an indirect branch, in its own code or in a landing: guest pc = RCX */
    FIX_LANDING_DIFF, /* landing: guest pc = block's gpc + RCX */
};

struct block {
    uint64_t gpc;
    uint32_t cpc;        /* entry */
    uint32_t code_len;   /* bytes of code from cpc, stubs included */
    uint32_t notes;      /* first note */
    uint16_t note_count;
    uint16_t guest_len;
    uint32_t page[2];    /* guest-physical page numbers; equal when it lies in one */
    uint32_t page_next[2];
    uint32_t hash_next;
    uint32_t in_links;   /* head of the list of links into this block */
    uint32_t first_link;
    uint16_t link_count;
    uint8_t dead;
    uint8_t landing;     /* this is an indirect-branch landing, not guest code */
    uint8_t single;      /* one instruction, run once: in no list */
    uint32_t landing_block; /* block: its landing (0 none); landing: its block */
};

/** A direct exit: a rel32 at `site`, to its own stub or to the target block. */
struct link {
    uint64_t target_gpc;
    uint32_t site, stub;
    uint32_t next_in;    /* next link into the same block */
    uint32_t to;         /* block index, 0: unlinked */
};

/** An instruction carried out in C. */
struct callout {
    struct insn insn;
    uint64_t gpc;        /* of the instruction */
    uint32_t block;
    uint32_t resume;     /* cpc after the callout */
    uint8_t kind;        /* enum callout_kind */
    uint8_t scratch;     /* CALLOUT_SOFT: register that receives the host address */
    uint32_t after;      /* CALLOUT_SOFT: cpc that restores the scratch register when C did the instruction itself */
};

enum callout_kind {
    CALLOUT_INSN,   /* by insn.cls */
    CALLOUT_SOFT,   /* compute the host address of the memory operand into `scratch` */
    CALLOUT_STRING, /* string instruction through the software TLB */
    CALLOUT_FPU,    /* acquire FPU state, then go on */
    CALLOUT_STI,    /* pending work after an inline sti */
    CALLOUT_FETCH,  /* the next instruction's bytes cannot be fetched: raise the fault */
};

#define CACHE_HASH_SIZE 65536
#define CACHE_MAX_BLOCKS 262144
#define CACHE_MAX_NOTES 2097152
#define CACHE_MAX_LINKS 524288
#define CACHE_MAX_CALLOUTS 131072
#define CACHE_MAX_VPAGES 16384
#define CACHE_SOFT_SITES 8192

/** A virtual page that code was translated from. */
struct vpage {
    uint64_t gva;
    uint32_t ppn;
    uint8_t global;
};

struct cache {
    struct bt_cpu *b;
    uint8_t *code, *code_next, *code_end;
    struct block *block;
    uint32_t block_count;   /* index 0 unused */
    struct note *note;
    uint32_t note_count;
    struct link *link;
    uint32_t link_count;    /* index 0 unused */
    struct callout *callout;
    uint32_t callout_count;
    uint32_t *hash;         /* CACHE_HASH_SIZE heads */
    uint64_t *rettab;       /* BT_RETTAB_COUNT code addresses */
    uint8_t *page;          /* PAGE_ flags by RAM page (offset in the RAM object) */
    uint32_t *page_blocks;  /* head of the block list by RAM page */
    uint64_t page_count;
    struct vpage *vpage;
    uint32_t vpage_count;
    uint32_t low_vpages;    /* how many of them are in the user half: none, as a rule */
    uint64_t *soft_site;    /* hash set of guest pcs that go through the software TLB */
    uint32_t soft_count;
    uint32_t generation;    /* counts flushes of the whole cache */
};

int cache_init(struct bt_cpu *b);
/** The live block at gpc, or 0. */
uint32_t cache_lookup(const struct cache *c, uint64_t gpc);
void cache_insert(struct cache *c, uint32_t block);
/** Forget everything. */
void cache_flush(struct cache *c);
/** Whether a translation of any size still fits; else the caller flushes. */
bool cache_has_room(const struct cache *c);
/** Make exit `link` jump to `block` directly. */
void cache_link(struct cache *c, uint32_t link, uint32_t block);
/** Kill a block: unlink, unhash; its code stays until the flush (someone may be in it). */
void cache_kill(struct cache *c, uint32_t block);
/** Kill blocks made from RAM bytes [off, off+len) of page ppn; len = PAGE_SIZE kills the page's blocks and clears PAGE_CODE. */
void cache_kill_range(struct cache *c, uint32_t ppn, uint32_t off, uint32_t len);
/** Kill blocks of one virtual page. */
void cache_kill_vpage(struct cache *c, uint64_t gva);
/** The block whose code holds cpc, or 0. */
uint32_t cache_find(const struct cache *c, uint64_t cpc);
/** Emit (once) and return the landing of a block: the code indirect branches jump to. */
void cache_add_landing(struct cache *c, uint32_t block);
/** Remember that gva's page is code from ppn. */
void cache_add_vpage(struct cache *c, uint64_t gva, uint32_t ppn, bool global);
/** Re-walk virtual code pages (all, or the non-global ones) and kill blocks whose mapping changed. */
void cache_verify_vpages(struct cache *c, bool include_global);
bool cache_is_soft(const struct cache *c, uint64_t gpc);
void cache_add_soft(struct cache *c, uint64_t gpc);

/** Precise guest state at cpc from the raw registers in b->gpr: fixes registers in place, sets v->rip and v->irq_shadow. True: the
 *  instruction at v->rip was not begun, or starts again. False: a branch to there has just been carried out (or cpc is no block's). */
bool cache_recover(struct cache *c, uint64_t cpc);
/** Guest pc of the instruction at cpc (no state changed), 0 if unknown. */
uint64_t cache_guest_pc(const struct cache *c, uint64_t cpc);

/* ---- translate.c ---- */

/** Translate the block at v->rip (at most max_insns instructions); 0 with *ex filled when the first byte cannot be fetched. With
 *  `single` the block is not entered in the hash. */
uint32_t translate(struct bt_cpu *b, uint64_t gpc, unsigned max_insns, bool single, struct vcpu_exception *ex);

#endif
