/* A mirror's start after a crash: the regions that its bitmap marks may differ between the legs.
 * State: struct mirror's. */
#include "block/mirror_impl.h"

#include "block/impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Make all good legs hold the same in [off, +len): what the first has that can be read. */
static int copy_piece(struct mirror *m, uint64_t off, uint64_t len, uint8_t *other)
{
    uint32_t failed = 0;
    int err = -EIO, last = 0;
    unsigned from = 0;
    for (; from < m->mark.count && err; from++) {
        err = bit(m->mark.good, from) ? block_read_buf(m->leg[from].b, off, m->buf, len) : -EIO;
    }
    if (err) { /* no leg knows: it stays marked, and reading it fails */
        m->unsettled = true;
        return 0;
    }
    for (unsigned i = 0; i < m->mark.count; i++) {
        if (i == from - 1 || !bit(m->mark.good, i)) {
            continue;
        }
        if (block_read_buf(m->leg[i].b, off, other, len) || memcmp(other, m->buf, len) != 0) {
            err = block_write_buf(m->leg[i].b, off, m->buf, len);
            failed |= err ? 1u << i : 0;
            last = err ? err : last;
        }
    }
    return mirror_settle(m, failed, "write", last);
}

static int copy_region(struct mirror *m, uint64_t region, uint8_t *other)
{
    uint64_t off = region << m->mark.shift,
             end = min_u64((region + 1) << m->mark.shift, m->mark.size);
    int err = 0;
    for (; off < end && !err; off += MIRROR_BUFFER) {
        err = copy_piece(m, off, min_u64(end - off, MIRROR_BUFFER), other);
    }
    return err;
}

/* All bits of all good legs into m->marked. */
static int collect_regions(struct mirror *m)
{
    uint8_t bitmap[MIRROR_BITMAP_SIZE];
    for (unsigned i = 0; i < m->mark.count; i++) {
        int err = bit(m->mark.good, i) ? mirror_bitmap_read(m->leg[i].b, bitmap) : 0;
        if (err) {
            return err;
        }
        for (unsigned n = 0; bit(m->mark.good, i) && n < MIRROR_BITMAP_SIZE; n++) {
            m->marked[n] |= bitmap[n];
        }
    }
    return 0;
}

int mirror_resync(struct mirror *m)
{
    uint64_t regions = ((m->mark.size - 1) >> m->mark.shift) + 1;
    uint8_t *other = malloc(MIRROR_BUFFER);
    bool any = false;
    int err = other ? collect_regions(m) : -ENOMEM;
    for (uint64_t n = 0; n < MIRROR_REGIONS_MAX && !err; n++) {
        bool set = m->marked[n / 8] >> n % 8 & 1;
        any |= set;
        if (set && n < regions && __builtin_popcount(m->mark.good) > 1) {
            err = copy_region(m, n, other);
        }
    }
    free(other);
    if (!err && any) {
        err = mirror_flush_legs(m);
        err = err || m->unsettled ? err : mirror_clear_regions(m);
    }
    return err;
}

int mirror_choose_one(struct mirror *m)
{
    static const uint8_t none[MIRROR_BITMAP_SIZE];
    int err = collect_regions(m);
    if (!err && memcmp(m->marked, none, sizeof(none)) != 0) {
        m->mark.good &= -m->mark.good;
    }
    return err;
}
