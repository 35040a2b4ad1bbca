/* A disk with limits: throttle.h's arithmetic over another disk. It delays nothing by itself:
 * ready_ns tells when. Threads: the device's.
 */
#include "block/throttle.h"

#include "block/impl.h"

#include <stdlib.h>
#include <time.h>

#define NS_PER_S 1000000000ull

struct throttle {
    struct block b;
    struct block *below; /* owned */
    struct rate ops, bytes;
};

uint64_t rate_ready_ns(const struct rate *r)
{
    return r->line_ns > RATE_BURST_NS ? r->line_ns - RATE_BURST_NS : 0;
}

void rate_charge(struct rate *r, uint64_t now_ns, uint64_t units)
{
    if (r->per_s == 0) {
        return;
    }
    if (r->line_ns < now_ns) {
        r->line_ns = now_ns;
        r->rest = 0;
    }
    unsigned __int128 cost = (unsigned __int128)units * NS_PER_S + r->rest;
    r->line_ns += (uint64_t)(cost / r->per_s);
    r->rest = (uint64_t)(cost % r->per_s);
}

static struct throttle *throttle_of(struct block *b)
{
    return (struct throttle *)b;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void charge(struct throttle *t, uint64_t len)
{
    uint64_t now = now_ns();
    rate_charge(&t->ops, now, 1);
    rate_charge(&t->bytes, now, len);
}

static int throttle_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                         uint64_t len)
{
    charge(throttle_of(b), len);
    return block_read(throttle_of(b)->below, off, vec, n);
}

static int throttle_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                          uint64_t len)
{
    charge(throttle_of(b), len);
    return block_write(throttle_of(b)->below, off, vec, n);
}

static int throttle_flush(struct block *b)
{
    charge(throttle_of(b), 0);
    return block_flush(throttle_of(b)->below);
}

static int throttle_discard(struct block *b, uint64_t off, uint64_t len)
{
    charge(throttle_of(b), 0);
    return block_discard(throttle_of(b)->below, off, len);
}

/* Zeros may have to be written one by one: they cost what data costs. */
static int throttle_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
    charge(throttle_of(b), len);
    return block_write_zeroes(throttle_of(b)->below, off, len, unmap);
}

static uint64_t throttle_zero_run(struct block *b, uint64_t off, uint64_t len)
{
    return block_zero_run(throttle_of(b)->below, off, len);
}

static unsigned throttle_locate(struct block *b, uint64_t off, uint64_t len, struct block_run *run,
                                unsigned max)
{
    unsigned count = block_locate(throttle_of(b)->below, off, len, run, max);
    if (count) {
        charge(throttle_of(b), len);
    }
    return count;
}

static unsigned throttle_flush_files(struct block *b, int *fd, unsigned max)
{
    unsigned count = block_flush_files(throttle_of(b)->below, fd, max);
    if (count) {
        charge(throttle_of(b), 0);
    }
    return count;
}

static int throttle_flush_end(struct block *b, int err)
{
    return block_flush_end(throttle_of(b)->below, err);
}

static uint64_t throttle_ready_ns(struct block *b)
{
    const struct throttle *t = throttle_of(b);
    return max_u64(max_u64(rate_ready_ns(&t->ops), rate_ready_ns(&t->bytes)),
                   block_ready_ns(t->below));
}

static void throttle_close(struct block *b)
{
    block_close(throttle_of(b)->below);
    free(b);
}

static const struct block_ops throttle_ops = {
    .format = "throttle",
    .read = throttle_read,
    .write = throttle_write,
    .flush = throttle_flush,
    .discard = throttle_discard,
    .write_zeroes = throttle_write_zeroes,
    .zero_run = throttle_zero_run,
    .locate = throttle_locate,
    .flush_files = throttle_flush_files,
    .flush_end = throttle_flush_end,
    .ready_ns = throttle_ready_ns,
    .close = throttle_close,
};

int throttle_open(struct block *b, uint64_t iops, uint64_t bps, struct block **out,
                  struct block_error *err)
{
    struct throttle *t = calloc(1, sizeof(*t));
    if (!t) {
        (void)block_fail(err, "%s: no memory", b->name);
        block_close(b);
        return -1;
    }
    t->b = *b; /* name, size, report and the like are those of the disk below */
    t->b.ops = &throttle_ops;
    t->below = b;
    t->ops.per_s = iops;
    t->bytes.per_s = bps;
    *out = &t->b;
    return 0;
}
