/* Disks whose bytes are spread over several: what concat and stripe share. Each says by `map` where
 * a byte lies. Nothing but the data is written on the legs: which they are, and in what order, is
 * for the user to remember.
 */
#ifndef BLOCK_SPREAD_H
#define BLOCK_SPREAD_H

#include "block/impl.h"

#define SPREAD_LEGS_MAX 64u

/* First member of a struct concat or stripe. */
struct spread {
    struct block b;
    struct block *leg[SPREAD_LEGS_MAX]; /* owned */
    unsigned count;
    /** The leg that holds byte off of the disk; *at: where on that leg; *len is cut to what follows
     * there without a break. */
    struct block *(*map)(struct spread *s, uint64_t off, uint64_t *at, uint64_t *len);
};

/** Take the legs over. kind is for messages: "concat". At least two, all alike in being read-only
 * or not. On failure they are closed. 0, or -1 with *err. */
int spread_init(struct spread *s, const char *kind, const struct block_ops *ops,
                struct block **legs, unsigned count, struct block_error *err) MUST_CHECK;

/* Operations for struct block_ops. */
int spread_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n, uint64_t len);
int spread_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n, uint64_t len);
int spread_flush(struct block *b);
unsigned spread_locate(struct block *b, uint64_t off, uint64_t len, struct block_run *run,
                       unsigned max);
unsigned spread_flush_files(struct block *b, int *fd, unsigned max);
int spread_flush_end(struct block *b, int err);
void spread_close(struct block *b);

void spread_close_legs(struct block **legs, unsigned count);

#endif
