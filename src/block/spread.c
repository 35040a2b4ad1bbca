/* Implementation of spread.h. Threads: the device's. */
#include "block/spread.h"

#include <stdlib.h>
#include <string.h>

static struct spread *spread_of(struct block *b)
{
    return (struct spread *)b;
}

void spread_close_legs(struct block **legs, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        block_close(legs[i]);
    }
}

int spread_init(struct spread *s, const char *kind, const struct block_ops *ops,
                struct block **legs, unsigned count, struct block_error *err)
{
    if (count < 2 || count > SPREAD_LEGS_MAX) {
        spread_close_legs(legs, count);
        return block_fail(err, "%s: %u legs: there can be 2 to %u", kind, count, SPREAD_LEGS_MAX);
    }
    for (unsigned i = 1; i < count; i++) {
        if (legs[i]->read_only != legs[0]->read_only) {
            (void)block_fail(err, "%s: %s is read-only: open all legs so (ro)", kind,
                             legs[legs[i]->read_only ? i : 0]->name);
            spread_close_legs(legs, count);
            return -1;
        }
    }
    block_init(&s->b, ops, kind, 0);
    s->b.read_only = legs[0]->read_only;
    memcpy(s->leg, legs, count * sizeof(struct block *));
    s->count = count;
    return 0;
}

static int transfer(struct spread *s, uint64_t off, const struct io_vec *vec, unsigned n,
                    uint64_t len, bool write)
{
    struct io_vec part[BLOCK_VECS_MAX];
    int err = 0;
    for (uint64_t done = 0, piece, at; done < len && !err; done += piece) {
        piece = len - done;
        struct block *leg = s->map(s, off + done, &at, &piece);
        unsigned count = vec_slice(vec, n, done, piece, part);
        err = write ? block_write(leg, at, part, count) : block_read(leg, at, part, count);
    }
    return err;
}

int spread_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n, uint64_t len)
{
    return transfer(spread_of(b), off, vec, n, len, false);
}

int spread_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n, uint64_t len)
{
    return transfer(spread_of(b), off, vec, n, len, true);
}

/* All of them, also when one fails. */
int spread_flush(struct block *b)
{
    struct spread *s = spread_of(b);
    int err = 0;
    for (unsigned i = 0; i < s->count; i++) {
        int rc = block_flush(s->leg[i]);
        err = err ? err : rc;
    }
    return err;
}

unsigned spread_locate(struct block *b, uint64_t off, uint64_t len, struct block_run *run,
                       unsigned max)
{
    struct spread *s = spread_of(b);
    unsigned count = 0;
    for (uint64_t done = 0, piece, at; done < len; done += piece) {
        piece = len - done;
        struct block *leg = s->map(s, off + done, &at, &piece);
        unsigned more = block_locate(leg, at, piece, run + count, max - count);
        if (more == 0) {
            return 0;
        }
        count += more;
    }
    return count;
}

unsigned spread_flush_files(struct block *b, int *fd, unsigned max)
{
    struct spread *s = spread_of(b);
    unsigned count = 0;
    for (unsigned i = 0; i < s->count; i++) {
        unsigned more = block_flush_files(s->leg[i], fd + count, max - count);
        if (more == 0) {
            return 0;
        }
        count += more;
    }
    return count;
}

/* Which file failed is not known: none is believed from then on. */
int spread_flush_end(struct block *b, int err)
{
    struct spread *s = spread_of(b);
    for (unsigned i = 0; i < s->count; i++) {
        int rc = block_flush_end(s->leg[i], err);
        err = err ? err : rc;
    }
    return err;
}

void spread_close(struct block *b)
{
    struct spread *s = spread_of(b);
    spread_close_legs(s->leg, s->count);
    free(s);
}
