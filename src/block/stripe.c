/* One disk made of several of one size, in turns of `chunk` bytes (RAID 0). What does not fill a
 * chunk at the end of the legs is not used. Threads: the device's.
 */
#include "block/spread.h"

#include <stdlib.h>

#define CHUNK_MIN 4096u
#define CHUNK_MAX (1ull << 30)

struct stripe {
    struct spread s;
    uint64_t chunk; /* bytes, a power of two */
};

static struct stripe *stripe_of(struct block *b)
{
    return (struct stripe *)b;
}

static struct block *stripe_map(struct spread *s, uint64_t off, uint64_t *at, uint64_t *len)
{
    uint64_t chunk = ((const struct stripe *)s)->chunk, n = off / chunk, in = off % chunk;
    *at = n / s->count * chunk + in;
    *len = min_u64(*len, chunk - in);
    return s->leg[n % s->count];
}

/* How much of the disk's first `off` bytes lies on leg i: there it is what comes first. */
static uint64_t share(const struct stripe *t, unsigned i, uint64_t off)
{
    uint64_t n = off / t->chunk, in = off % t->chunk, row = n / t->s.count, turn = n % t->s.count;
    return row * t->chunk + (i < turn ? t->chunk : i == turn ? in : 0);
}

/* A range of the disk is one range on each leg. */
static int stripe_discard(struct block *b, uint64_t off, uint64_t len)
{
    struct stripe *t = stripe_of(b);
    int err = 0;
    for (unsigned i = 0; i < t->s.count && !err; i++) {
        uint64_t from = share(t, i, off);
        err = block_discard(t->s.leg[i], from, share(t, i, off + len) - from);
    }
    return err;
}

static int stripe_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
    struct stripe *t = stripe_of(b);
    int err = 0;
    for (unsigned i = 0; i < t->s.count && !err; i++) {
        uint64_t from = share(t, i, off);
        err = block_write_zeroes(t->s.leg[i], from, share(t, i, off + len) - from, unmap);
    }
    return err;
}

/* All of it or nothing: asking chunk by chunk would take long. */
static uint64_t stripe_zero_run(struct block *b, uint64_t off, uint64_t len)
{
    struct stripe *t = stripe_of(b);
    for (unsigned i = 0; i < t->s.count; i++) {
        uint64_t from = share(t, i, off), all = share(t, i, off + len) - from;
        if (block_zero_run(t->s.leg[i], from, all) < all) {
            return 0;
        }
    }
    return len;
}

static const struct block_ops stripe_ops = {
    .format = "stripe",
    .read = spread_read,
    .write = spread_write,
    .flush = spread_flush,
    .locate = spread_locate,
    .flush_files = spread_flush_files,
    .flush_end = spread_flush_end,
    .discard = stripe_discard,
    .write_zeroes = stripe_write_zeroes,
    .zero_run = stripe_zero_run,
    .close = spread_close,
};

/* All legs of one size, and at least one chunk long. */
static int check_sizes(struct stripe *t, struct block_error *err)
{
    const struct block *first = t->s.leg[0];
    for (unsigned i = 1; i < t->s.count; i++) {
        const struct block *leg = t->s.leg[i];
        if (leg->size != first->size) {
            return block_fail(
                err, "stripe: %s has %llu bytes and %s %llu: legs must be of one size", first->name,
                (unsigned long long)first->size, leg->name, (unsigned long long)leg->size);
        }
    }
    uint64_t used = align_down(first->size, t->chunk);
    if (used == 0 || used > INT64_MAX / t->s.count) {
        return block_fail(err, "stripe: %s has %llu bytes, too %s for stripes of %llu", first->name,
                          (unsigned long long)first->size, used ? "long" : "short",
                          (unsigned long long)t->chunk);
    }
    t->s.b.size = used * t->s.count;
    return 0;
}

int stripe_open(struct block **legs, unsigned count, uint64_t stripe, struct block **out,
                struct block_error *err)
{
    struct stripe *t = calloc(1, sizeof(*t));
    if (!t) {
        spread_close_legs(legs, count);
        return block_fail(err, "stripe: no memory");
    }
    if (spread_init(&t->s, "stripe", &stripe_ops, legs, count, err)) {
        free(t);
        return -1;
    }
    t->s.map = stripe_map;
    t->chunk = stripe;
    if (stripe < CHUNK_MIN || stripe > CHUNK_MAX || (stripe & (stripe - 1))) {
        (void)block_fail(err, "stripe: %llu bytes a turn: it must be a power of two from 4K to 1G",
                         (unsigned long long)stripe);
        spread_close(&t->s.b);
        return -1;
    }
    if (check_sizes(t, err)) {
        spread_close(&t->s.b);
        return -1;
    }
    t->s.b.optimal = (uint32_t)min_u64(stripe * count, UINT32_MAX / 2);
    *out = &t->s.b;
    return 0;
}
