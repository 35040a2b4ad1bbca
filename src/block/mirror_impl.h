/* A running mirror: shared by mirror.c (requests), mirror_open.c, mirror_resync.c and tests. */
#ifndef BLOCK_MIRROR_IMPL_H
#define BLOCK_MIRROR_IMPL_H

#include "block/mirror_meta.h"

#define MIRROR_QUIET_NS 5000000000ull

/* Member n of mark.id[]. */
struct mirror_leg {
    struct block *b; /* owned; NULL: not here */
    unsigned slot;   /* where its newest mark is */
};

struct mirror {
    struct block b;
    struct mark mark; /* as last decided; mark.good: legs in use */
    struct mirror_leg leg[MIRROR_LEGS_MAX];
    struct block *stale[MIRROR_LEGS_MAX]; /* owned, not used: kept open for their locks */
    bool mark_due;   /* mark.good is not on stable storage: until then nothing is acknowledged */
    bool bitmap_due; /* `marked` may not be on all good legs */
    bool repaired;   /* said so once */
    bool unsettled;  /* a write failed on all legs: its region stays marked until the next start */
    uint8_t *buf;    /* MIRROR_BUFFER bytes */
    uint8_t *marked; /* the bitmap as on the legs */
    uint8_t *recent; /* regions written since `rotated_ns` */
    uint64_t rotated_ns;
    uint64_t quiet_ns; /* bits are cleared when that much time went by without a write */
};

extern const struct block_ops mirror_ops;

/** Write m->mark to all good legs, and flush. Legs that fail while others do not are dropped, which
 * is one more change to write. 0, or the error of the last try, with mark_due set. */
int mirror_mark(struct mirror *m) MUST_CHECK;
/** The legs in `failed` failed to do `what` with err. When other good legs are left those are
 * dropped, reported and the change is marked: 0, or the error of that. When none is left all stay,
 * and the result is err. */
int mirror_settle(struct mirror *m, uint32_t failed, const char *what, int err) MUST_CHECK;
/** Set, then flush, or clear all bits of the bitmap on the good legs. */
int mirror_mark_regions(struct mirror *m, uint64_t off, uint64_t len) MUST_CHECK;
int mirror_clear_regions(struct mirror *m) MUST_CHECK;
/** Flush the good legs. */
int mirror_flush_legs(struct mirror *m) MUST_CHECK;
/** Copy the regions that a crash left marked from the first good leg to the others, then clear the
 * bitmap. */
int mirror_resync(struct mirror *m) MUST_CHECK;
/** Read-only: legs that a crash left different stay so, and only one of them is used then. */
int mirror_choose_one(struct mirror *m) MUST_CHECK;
void mirror_free(struct mirror *m);

#endif
