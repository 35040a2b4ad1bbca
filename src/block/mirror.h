/* A mirror: the same data on several legs (RAID 1). How it is laid out: docs/disks.md and
 * mirror_meta.h.
 *
 * mirror_open: each leg carries a mark at its end (64 KB that the guest does not see), which says
 * to what mirror it belongs and which of the legs were good when it was written last.
 *  - no leg has a mark: the legs must hold the same data and zeros where the mark goes; they get
 * one
 *  - a leg that the newest mark does not list as good is stale: left alone and reported
 *  - a leg listed as good that is not there (NULL, and no reason why in `lost`) is refused, because
 * the others might be the stale ones; whoever names only the legs there are has decided, and the
 * others are stale from then on
 *  - legs that went on separately, each without the other, are refused
 *  - after a crash the regions written last are copied from the first good leg to the others
 */
#ifndef BLOCK_MIRROR_H
#define BLOCK_MIRROR_H

#include "block/block.h"

#define MIRROR_LEGS_MAX 8u
#define MIRROR_META_SIZE 0x10000u /* at the end of each leg */

/** Open over legs[0..count), which it owns, also on failure. legs[i] NULL: could not be opened;
 * lost[i] says why (lost NULL: all are there). o: read_only, report. 0, or -1 with *err. */
int mirror_assemble(struct block **legs, const struct block_error *lost, unsigned count,
                    const struct block_options *o, struct block **out,
                    struct block_error *err) MUST_CHECK;

/** Copy `good` over `stale`, whole, and mark both as good legs of one mirror (a new one if good had
 * no mark). Both are legs, open for writing; neither is closed. Refused: good is the older one of
 * the two, stale is too small or belongs to another mirror, good has no mark and something at its
 * end. progress (may be NULL) returns false to stop: then stale stays stale. 0, or -1 with *err. */
int mirror_rebuild(struct block *good, struct block *stale,
                   bool (*progress)(void *ctx, uint64_t done, uint64_t all), void *ctx,
                   struct block_error *err) MUST_CHECK;

/** Whether there is a mark on the disk. */
bool mirror_has_mark(struct block *leg);
/** What the mark on a leg says, for `ring3 image info`: one line without newline, empty when there
 * is none. 0 or -errno. */
int mirror_describe(struct block *leg, char *line, size_t size) MUST_CHECK;

#endif
