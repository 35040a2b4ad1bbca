/* One disk made of several, one behind the other. Threads: the device's. */
#include "block/spread.h"

#include <stdlib.h>

struct concat {
    struct spread s;
    uint64_t start[SPREAD_LEGS_MAX]; /* where each leg begins */
};

static struct concat *concat_of(struct block *b)
{
    return (struct concat *)b;
}

static struct block *concat_map(struct spread *s, uint64_t off, uint64_t *at, uint64_t *len)
{
    const struct concat *c = (const struct concat *)s;
    unsigned i = s->count - 1;
    while (off < c->start[i]) {
        i--;
    }
    *at = off - c->start[i];
    *len = min_u64(*len, s->leg[i]->size - *at);
    return s->leg[i];
}

static int concat_discard(struct block *b, uint64_t off, uint64_t len)
{
    struct concat *c = concat_of(b);
    int err = 0;
    for (uint64_t done = 0, piece, at; done < len && !err; done += piece) {
        piece = len - done;
        struct block *leg = concat_map(&c->s, off + done, &at, &piece);
        err = block_discard(leg, at, piece);
    }
    return err;
}

static int concat_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
    struct concat *c = concat_of(b);
    int err = 0;
    for (uint64_t done = 0, piece, at; done < len && !err; done += piece) {
        piece = len - done;
        struct block *leg = concat_map(&c->s, off + done, &at, &piece);
        err = block_write_zeroes(leg, at, piece, unmap);
    }
    return err;
}

static uint64_t concat_zero_run(struct block *b, uint64_t off, uint64_t len)
{
    uint64_t at;
    struct block *leg = concat_map(&concat_of(b)->s, off, &at, &len);
    return block_zero_run(leg, at, len);
}

static const struct block_ops concat_ops = {
    .format = "concat",
    .read = spread_read,
    .write = spread_write,
    .flush = spread_flush,
    .locate = spread_locate,
    .flush_files = spread_flush_files,
    .flush_end = spread_flush_end,
    .discard = concat_discard,
    .write_zeroes = concat_write_zeroes,
    .zero_run = concat_zero_run,
    .close = spread_close,
};

int concat_open(struct block **legs, unsigned count, struct block **out, struct block_error *err)
{
    struct concat *c = calloc(1, sizeof(*c));
    if (!c) {
        spread_close_legs(legs, count);
        return block_fail(err, "concat: no memory");
    }
    if (spread_init(&c->s, "concat", &concat_ops, legs, count, err)) {
        free(c);
        return -1;
    }
    c->s.map = concat_map;
    for (unsigned i = 0; i < count; i++) {
        const struct block *leg = c->s.leg[i];
        c->start[i] = c->s.b.size;
        if (leg->size == 0 || leg->size > INT64_MAX - c->s.b.size) {
            (void)block_fail(err, "concat: %s is %s", leg->name, leg->size ? "too long" : "empty");
            spread_close(&c->s.b);
            return -1;
        }
        c->s.b.size += leg->size;
        c->s.b.optimal = leg->optimal > c->s.b.optimal ? leg->optimal : c->s.b.optimal;
    }
    *out = &c->s.b;
    return 0;
}
