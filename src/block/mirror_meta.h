/* What a mirror keeps on each of its legs, behind the guest's data.
 *
 *   0 ... size              the data, the same on all good legs
 *   mark                    = (leg size rounded down to 4096) - 65536
 *   mark + 0, mark + 4096   the mark, twice: each update goes to the older of the two
 *   mark + 8192             the bitmap of regions (4096 bytes): bit n is set while writes to region
 *                           n of the data may have reached some legs and not others
 *   the rest                zeros
 *
 * The mark: 512 bytes, integers little-endian.
 *
 *     0  "ring3mir"
 *     8  u32 version: 1
 *    12  u32 CRC-32 of the 512 bytes with this field 0
 *    16  uuid[16] of the mirror
 *    32  u64 size: bytes of data
 *    40  u64 events: counts changes of `good`
 *    48  u32 count: legs, 1 to 8
 *    52  u32 self: this leg's number
 *    56  u32 good: bit n: leg n holds all data
 *    60  u32 shift: a region is 2^shift bytes
 *    64  u64 id[8]: a random number for each leg
 *   128  u64 session: counts starts, by two
 *   136  zeros
 *
 * The mark with most events is right about all legs: whoever loses a leg writes a mark without it
 * to the others, with one event more, and flushes it, before it tells the guest that a write or
 * flush is done. A region's bit is on stable storage before a write to the region begins, and is
 * cleared some time after the write was flushed on all legs.
 * A leg whose session is more than one behind missed a start: it is an old copy of itself, put
 * back, and stale although called good.
 */
#ifndef BLOCK_MIRROR_META_H
#define BLOCK_MIRROR_META_H

#include "block/mirror.h"

#define MARK_SIZE 512u
#define MARK_SLOT 4096u
#define MIRROR_BITMAP_OFFSET (2 * MARK_SLOT)
#define MIRROR_BITMAP_SIZE 4096u
#define MIRROR_REGIONS_MAX (MIRROR_BITMAP_SIZE * 8)
#define MIRROR_SHIFT_MIN 16u
#define MIRROR_SHIFT_USUAL 24u

struct mark {
    uint8_t uuid[16];
    uint64_t size, events;
    uint32_t count, self, good, shift;
    uint64_t id[MIRROR_LEGS_MAX];
    uint64_t session; /* 0: made, and never used */
};

/** Where a leg's mark begins; 0: the leg is too small for one. */
uint64_t mark_offset(const struct block *leg);
/** The newest mark on the leg. 1: *m, and *slot is where it is; 0: there is none; negative errno:
 * cannot be read. */
int mark_read(struct block *leg, struct mark *m, unsigned *slot) MUST_CHECK;
/** Whether x is newer than y. */
bool mark_newer(const struct mark *x, const struct mark *y);
/** Write m with that `self` to slot and flush. 0 or -errno. */
int mark_write(struct block *leg, const struct mark *m, unsigned self, unsigned slot) MUST_CHECK;
/** A new mirror of that many legs, all good, with that much data. */
void mark_create(struct mark *m, unsigned count, uint64_t size);
/** A random number for a leg. */
uint64_t mark_new_id(void);

int mirror_bitmap_read(struct block *leg, uint8_t bitmap[MIRROR_BITMAP_SIZE]) MUST_CHECK;
/** Not flushed. */
int mirror_bitmap_write(struct block *leg, uint8_t bitmap[MIRROR_BITMAP_SIZE]) MUST_CHECK;

#define MIRROR_BUFFER 0x100000u
/** Whether [off, off+len) of b reads as zeros. 1, 0, or -errno. buf: MIRROR_BUFFER bytes. */
int mirror_is_zero(struct block *b, uint64_t off, uint64_t len, uint8_t *buf) MUST_CHECK;

#endif
