/* Rebuilding a leg of a mirror while no machine uses it: mirror_rebuild of mirror.h.
 *
 * The copy is not a good leg before all of it is on stable storage: its own mark says so from the
 * start, and so does the mark of the leg copied from, if that had called it good. Whatever is
 * interrupted can be done again.
 */
#include "block/mirror_meta.h"

#include "block/impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct rebuild {
    struct block *good, *stale;
    struct mark from, to; /* from: of the good leg, kept up to date; to: what the stale leg had */
    bool from_marked, to_marked;
    unsigned from_slot, to_slot;
    unsigned self; /* the stale leg's number */
    uint8_t *buf;
    struct block_error *err;
};

static int io_error(struct rebuild *r, const struct block *b, int rc)
{
    return block_fail(r->err, "%s: %s", b->name, strerror(-rc));
}

static int read_marks(struct rebuild *r)
{
    int rc = mark_read(r->good, &r->from, &r->from_slot);
    if (rc < 0) {
        return io_error(r, r->good, rc);
    }
    r->from_marked = rc > 0;
    rc = mark_read(r->stale, &r->to, &r->to_slot);
    if (rc < 0) {
        return io_error(r, r->stale, rc);
    }
    r->to_marked = rc > 0;
    return 0;
}

/* The number of the leg with that id, or -1. */
static int number_of(const struct mark *m, uint64_t id)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (m->id[i] == id) {
            return (int)i;
        }
    }
    return -1;
}

/* A good leg without mark: both become a new mirror. */
static int plan_new(struct rebuild *r)
{
    uint64_t size = mark_offset(r->good);
    if (r->to_marked && r->to.session > 0) {
        return block_fail(r->err,
                          "%s is a leg of a mirror and %s is not: are they in the right order?",
                          r->stale->name, r->good->name);
    }
    int rc = size ? mirror_is_zero(r->good, size, r->good->size - size, r->buf) : 1;
    if (rc < 0) {
        return io_error(r, r->good, rc);
    }
    if (size == 0 || rc == 0) {
        return block_fail(r->err,
                          "%s has no room for the mark of a mirror in its last 64 KB: make it "
                          "longer first (truncate -s +64K)",
                          r->good->name);
    }
    mark_create(&r->from, 2, size);
    r->self = 1;
    return 0;
}

/* Which leg of good's mirror the stale one is to be: the one it was, or else one that was lost. */
static int plan_number(struct rebuild *r)
{
    const struct mark *m = &r->from;
    uint32_t all = (1u << m->count) - 1, lost = all & ~m->good;
    int was = r->to_marked ? number_of(m, r->to.id[r->to.self]) : -1;
    if (was < 0 && lost == 0 && m->count == 2) {
        lost = all & ~(1u << m->self); /* nobody has missed it yet */
    }
    if (was < 0 && lost == 0) {
        return block_fail(
            r->err,
            "the mirror of %s misses no leg: start it once without the lost one, then rebuild",
            r->good->name);
    }
    r->self = was >= 0 ? (unsigned)was : (unsigned)__builtin_ctz(lost);
    return 0;
}

/* Both marked: the same mirror, and the one called good is not the older one. */
static int check_order(struct rebuild *r)
{
    const struct mark *x = &r->from, *y = &r->to;
    if (memcmp(x->uuid, y->uuid, sizeof(x->uuid)) != 0) {
        return block_fail(r->err, "%s belongs to another mirror than %s", r->stale->name,
                          r->good->name);
    }
    if (x->id[x->self] == y->id[y->self]) {
        return block_fail(r->err, "%s and %s are the same leg, one a copy of the other",
                          r->good->name, r->stale->name);
    }
    int at = number_of(y, x->id[x->self]), back = number_of(x, y->id[y->self]);
    bool good_excluded = at < 0 || !bit(y->good, (unsigned)at);
    bool stale_excluded = back < 0 || !bit(x->good, (unsigned)back);
    bool stale_complete = bit(y->good, y->self);
    if (stale_complete && !stale_excluded && (good_excluded || x->session + 1 < y->session)) {
        return block_fail(r->err,
                          "%s is the stale one, %s has newer data: ring3 image rebuild %s %s",
                          r->good->name, r->stale->name, r->stale->name, r->good->name);
    }
    return 0;
}

static int plan_member(struct rebuild *r)
{
    if (!bit(r->from.good, r->from.self)) {
        return block_fail(r->err, "%s does not hold all the data, its own rebuild was not finished",
                          r->good->name);
    }
    if (r->to_marked && check_order(r)) {
        return -1;
    }
    return plan_number(r);
}

static int plan(struct rebuild *r)
{
    if (read_marks(r) || (r->from_marked ? plan_member(r) : plan_new(r))) {
        return -1;
    }
    unsigned long long need = r->from.size + MIRROR_META_SIZE;
    if (mark_offset(r->stale) < r->from.size) {
        return block_fail(r->err, "%s is too small: the mirror needs %llu bytes", r->stale->name,
                          need);
    }
    return 0;
}

/* Write r->from to the good leg. */
static int mark_good(struct rebuild *r)
{
    int rc = mark_write(r->good, &r->from, r->from.self, r->from_slot ^ 1);
    if (rc) {
        return io_error(r, r->good, rc);
    }
    r->from_slot ^= 1;
    return 0;
}

/* Write r->from, with self for the number, to the stale leg. */
static int mark_stale(struct rebuild *r)
{
    int rc = mark_write(r->stale, &r->from, r->self, r->to_slot ^ 1);
    if (rc) {
        return io_error(r, r->stale, rc);
    }
    r->to_slot ^= 1;
    return 0;
}

/* Before the first byte: nobody may take the stale leg for a good one until the end. */
static int begin(struct rebuild *r)
{
    int rc = 0;
    if (r->from_marked && bit(r->from.good, r->self)) {
        r->from.good &= ~(1u << r->self);
        r->from.events++;
        rc = mark_good(r);
    }
    if (rc) {
        return rc;
    }
    /* Whatever was there: older marks, regions. Also the place of the new mark and bitmap. */
    rc = block_write_zeroes(r->stale, mark_offset(r->stale), MIRROR_META_SIZE, false);
    rc = rc ? rc : block_flush(r->stale);
    if (rc) {
        return io_error(r, r->stale, rc);
    }
    if (!r->from_marked) {
        return 0;
    }
    if (!r->to_marked || number_of(&r->from, r->to.id[r->to.self]) < 0) {
        r->from.id[r->self] = mark_new_id();
    }
    return mark_stale(r);
}

static int copy_piece(struct rebuild *r, uint64_t off, uint64_t *len)
{
    uint64_t zeros = align_down(block_zero_run(r->good, off, *len), BLOCK_SECTOR);
    int rc;
    if (zeros > 0) {
        *len = zeros;
        rc = block_write_zeroes(r->stale, off, zeros, true);
        return rc ? io_error(r, r->stale, rc) : 0;
    }
    *len = min_u64(*len, MIRROR_BUFFER);
    rc = block_read_buf(r->good, off, r->buf, *len);
    if (rc) {
        return io_error(r, r->good, rc);
    }
    rc = block_write_buf(r->stale, off, r->buf, *len);
    return rc ? io_error(r, r->stale, rc) : 0;
}

static int copy_all(struct rebuild *r, bool (*progress)(void *ctx, uint64_t done, uint64_t all),
                    void *ctx)
{
    uint64_t size = r->from.size;
    for (uint64_t off = 0, len; off < size; off += len) {
        len = size - off;
        if (progress && !progress(ctx, off, size)) {
            return block_fail(r->err, "stopped: %s is not a good leg", r->stale->name);
        }
        if (copy_piece(r, off, &len)) {
            return -1;
        }
    }
    int rc = block_flush(r->stale);
    return rc ? io_error(r, r->stale, rc) : 0;
}

/* The copy is whole: say so, on the copy first. A new mirror counts as used only when both legs are
 * marked. */
static int finish(struct rebuild *r)
{
    r->from.good |= 1u << r->self;
    r->from.events++;
    if (mark_stale(r) || mark_good(r)) {
        return -1;
    }
    if (r->from.session > 0) {
        return 0;
    }
    r->from.session = 1;
    return mark_stale(r) || mark_good(r) ? -1 : 0;
}

int mirror_rebuild(struct block *good, struct block *stale,
                   bool (*progress)(void *ctx, uint64_t done, uint64_t all), void *ctx,
                   struct block_error *err)
{
    struct rebuild r = {.good = good, .stale = stale, .buf = malloc(MIRROR_BUFFER), .err = err};
    if (!r.buf) {
        return block_fail(err, "mirror: no memory");
    }
    int rc = plan(&r) || begin(&r) || copy_all(&r, progress, ctx) || finish(&r) ? -1 : 0;
    if (rc == 0 && progress) {
        (void)progress(ctx, r.from.size, r.from.size);
    }
    free(r.buf);
    return rc;
}
