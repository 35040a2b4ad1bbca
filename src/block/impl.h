/* For those who implement a kind of disk: errors, reports, vectors. */
#ifndef BLOCK_IMPL_H
#define BLOCK_IMPL_H

#include "block/block.h"

/** Fill *err with one line. Returns -1. */
int block_fail(struct block_error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** The same for a file or server that is not there: a mirror can do without (err->gone). */
int block_fail_gone(struct block_error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** What open(2) said, in errno, about a disk's file. */
int block_fail_open(struct block_error *err, const char *path, bool read_only);
/** Tell people, if anybody listens. */
void block_report(const struct block *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Set the fields that all kinds have alike. name is cut to what fits. */
void block_init(struct block *b, const struct block_ops *ops, const char *name, uint64_t size);

/** The part [at, at+len) of vec[0..n), which is at least that long, as vectors. to has room for n.
 *  Returns how many. */
unsigned vec_slice(const struct io_vec *vec, unsigned n, uint64_t at, uint64_t len,
                   struct io_vec *to);
/** Bytes in all. */
uint64_t vec_length(const struct io_vec *vec, unsigned n);
/** Copy len bytes at offset `at` of vec, which is long enough, to buf, or from it. */
void vec_gather(const struct io_vec *vec, unsigned n, uint64_t at, void *buf, uint64_t len);
void vec_scatter(const struct io_vec *vec, unsigned n, uint64_t at, const void *buf, uint64_t len);

/** Write zeros: what write_zeroes does for kinds that have nothing better. */
int block_zero_by_writing(struct block *b, uint64_t off, uint64_t len) MUST_CHECK;

/** One contiguous buffer, checked as all requests are. */
int block_read_buf(struct block *b, uint64_t off, void *buf, uint64_t len) MUST_CHECK;
int block_write_buf(struct block *b, uint64_t off, void *buf, uint64_t len) MUST_CHECK;

#endif
