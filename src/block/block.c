/* The checked entry points of block.h, and what kinds of disk share. No state of its own. */
#include "block/impl.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ZERO_PIECE 0x10000u
#define ZERO_VECS 16u

/* ---- errors and reports ---- */

int block_fail(struct block_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    err->gone = err->busy = false;
    return -1;
}

int block_fail_gone(struct block_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    err->gone = true;
    err->busy = false;
    return -1;
}

int block_fail_open(struct block_error *err, const char *path, bool read_only)
{
    const int error = errno;
    switch (error) {
    case ENOENT: return block_fail_gone(err, "%s: no such file", path);
    case ENXIO:
    case EIO:
    case ENODEV: return block_fail_gone(err, "%s: %s", path, strerror(error));
    case EBUSY:
        return block_fail(err, "%s is in use by the host, mounted for instance: unmount it first",
                          path);
    case EISDIR: return block_fail(err, "%s is a folder: a disk is a file or a block device", path);
    case EACCES:
    case EPERM:
    case EROFS:
    case ETXTBSY: break;
    default: return block_fail(err, "%s: %s", path, strerror(error));
    }
    bool readable = !read_only && faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0;
    return block_fail(err, "%s cannot be opened for %s: %s%s", path,
                      read_only ? "reading" : "writing", strerror(error),
                      readable ? " (add ,ro to only read it)" : "");
}

void block_report(const struct block *b, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    if (!b->report) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    b->report(b->report_ctx, line);
}

void block_init(struct block *b, const struct block_ops *ops, const char *name, uint64_t size)
{
    *b = (struct block){.ops = ops, .size = size};
    snprintf(b->name, sizeof(b->name), "%s", name);
}

/* ---- vectors ---- */

unsigned vec_slice(const struct io_vec *vec, unsigned n, uint64_t at, uint64_t len,
                   struct io_vec *to)
{
    unsigned count = 0;
    for (unsigned i = 0; i < n && len > 0; i++) {
        if (at >= vec[i].len) {
            at -= vec[i].len;
            continue;
        }
        uint64_t piece = min_u64(vec[i].len - at, len);
        to[count++] = (struct io_vec){.base = vec[i].base + at, .len = piece};
        at = 0;
        len -= piece;
    }
    BUG_ON(len > 0);
    return count;
}

uint64_t vec_length(const struct io_vec *vec, unsigned n)
{
    uint64_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        len += vec[i].len;
    }
    return len;
}

void vec_gather(const struct io_vec *vec, unsigned n, uint64_t at, void *buf, uint64_t len)
{
    struct io_vec part[BLOCK_VECS_MAX];
    uint8_t *to = buf;
    unsigned count = vec_slice(vec, n, at, len, part);
    for (unsigned i = 0; i < count; i++) {
        memcpy(to, part[i].base, part[i].len);
        to += part[i].len;
    }
}

void vec_scatter(const struct io_vec *vec, unsigned n, uint64_t at, const void *buf, uint64_t len)
{
    struct io_vec part[BLOCK_VECS_MAX];
    const uint8_t *from = buf;
    unsigned count = vec_slice(vec, n, at, len, part);
    for (unsigned i = 0; i < count; i++) {
        memcpy(part[i].base, from, part[i].len);
        from += part[i].len;
    }
}

/* ---- entry points ---- */

static void check_range(const struct block *b, uint64_t off, uint64_t len)
{
    BUG_ON(off % BLOCK_SECTOR || len % BLOCK_SECTOR);
    BUG_ON(off > b->size || len > b->size - off);
}

int block_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n)
{
    uint64_t len = vec_length(vec, n);
    BUG_ON(n > BLOCK_VECS_MAX);
    check_range(b, off, len);
    return len ? b->ops->read(b, off, vec, n, len) : 0;
}

int block_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n)
{
    uint64_t len = vec_length(vec, n);
    BUG_ON(n > BLOCK_VECS_MAX);
    check_range(b, off, len);
    if (b->read_only) {
        return -EROFS;
    }
    return len ? b->ops->write(b, off, vec, n, len) : 0;
}

int block_read_buf(struct block *b, uint64_t off, void *buf, uint64_t len)
{
    const struct io_vec vec = {.base = buf, .len = len};
    return block_read(b, off, &vec, 1);
}

int block_write_buf(struct block *b, uint64_t off, void *buf, uint64_t len)
{
    const struct io_vec vec = {.base = buf, .len = len};
    return block_write(b, off, &vec, 1);
}

int block_flush(struct block *b)
{
    return b->read_only ? 0 : b->ops->flush(b);
}

int block_discard(struct block *b, uint64_t off, uint64_t len)
{
    check_range(b, off, len);
    if (b->read_only) {
        return -EROFS;
    }
    return len && b->ops->discard ? b->ops->discard(b, off, len) : 0;
}

int block_zero_by_writing(struct block *b, uint64_t off, uint64_t len)
{
    uint8_t *zeros = calloc(1, ZERO_PIECE);
    int err = zeros ? 0 : -ENOMEM;
    while (len > 0 && !err) {
        struct io_vec vec[ZERO_VECS];
        uint64_t done = 0;
        unsigned n = 0;
        while (n < ZERO_VECS && done < len) {
            vec[n] = (struct io_vec){.base = zeros, .len = min_u64(len - done, ZERO_PIECE)};
            done += vec[n++].len;
        }
        err = b->ops->write(b, off, vec, n, done);
        off += done;
        len -= done;
    }
    free(zeros);
    return err;
}

int block_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
    check_range(b, off, len);
    if (b->read_only) {
        return -EROFS;
    }
    if (len == 0) {
        return 0;
    }
    return b->ops->write_zeroes ? b->ops->write_zeroes(b, off, len, unmap)
                                : block_zero_by_writing(b, off, len);
}

uint64_t block_zero_run(struct block *b, uint64_t off, uint64_t len)
{
    check_range(b, off, len);
    return len && b->ops->zero_run ? min_u64(b->ops->zero_run(b, off, len), len) : 0;
}

unsigned block_locate(struct block *b, uint64_t off, uint64_t len, struct block_run *run,
                      unsigned max)
{
    check_range(b, off, len);
    return len && max && b->ops->locate ? b->ops->locate(b, off, len, run, max) : 0;
}

unsigned block_flush_files(struct block *b, int *fd, unsigned max)
{
    return b->read_only || !b->ops->flush_files ? 0 : b->ops->flush_files(b, fd, max);
}

int block_flush_end(struct block *b, int err)
{
    return b->ops->flush_end(b, err);
}

uint64_t block_ready_ns(struct block *b)
{
    return b->ops->ready_ns ? b->ops->ready_ns(b) : 0;
}

void block_close(struct block *b)
{
    b->ops->close(b);
}
