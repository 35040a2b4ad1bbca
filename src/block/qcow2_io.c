/* The file below a qcow2 image, and vectors of bytes: see qcow2_impl.h. */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(struct io_vec) == sizeof(struct iovec) &&
                   offsetof(struct io_vec, base) == offsetof(struct iovec, iov_base) &&
                   offsetof(struct io_vec, len) == offsetof(struct iovec, iov_len),
               "io_vec is iovec");

/* ---- vectors ---- */

unsigned vec_take(struct vec_at *at, uint64_t len, struct io_vec *out, unsigned max, uint64_t *got)
{
    unsigned count = 0;
    *got = 0;
    while (*got < len && at->n && count < max) {
        size_t piece = min_u64(at->vec->len - at->skip, len - *got);
        if (piece) {
            out[count++] = (struct io_vec){.base = at->vec->base + at->skip, .len = piece};
            *got += piece;
            at->skip += piece;
        }
        if (at->skip == at->vec->len) {
            at->vec++;
            at->n--;
            at->skip = 0;
        }
    }
    return count;
}

void vec_zero(struct vec_at *at, uint64_t len)
{
    struct io_vec piece;
    uint64_t got;
    for (; len && vec_take(at, len, &piece, 1, &got); len -= got) {
        memset(piece.base, 0, piece.len);
    }
}

void vec_put(struct vec_at *at, const uint8_t *from, uint64_t len)
{
    struct io_vec piece;
    uint64_t got;
    for (; len && vec_take(at, len, &piece, 1, &got); len -= got) {
        memcpy(piece.base, from, piece.len);
        from += got;
    }
}

/* ---- files ---- */

static int file_read(struct qcow2_io *io, uint64_t off, const struct io_vec *vec, unsigned n)
{
    struct vec_at at = {.vec = vec, .n = n};
    while (at.n) {
        struct io_vec part[QCOW2_IOV_MAX];
        struct vec_at next = at;
        uint64_t want;
        unsigned count = vec_take(&next, SIZE_MAX, part, QCOW2_IOV_MAX, &want);
        if (count == 0) {
            break;
        }
        ssize_t done = preadv(io->fd, (const struct iovec *)part, (int)count, (off_t)off);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return -errno;
        }
        if (done == 0) {
            vec_zero(&at, UINT64_MAX); /* beyond the end */
            break;
        }
        uint64_t got;
        for (uint64_t left = (uint64_t)done; left; left -= got) {
            vec_take(&at, left, part, QCOW2_IOV_MAX, &got);
        }
        off += (uint64_t)done;
    }
    return 0;
}

static int file_write(struct qcow2_io *io, uint64_t off, const struct io_vec *vec, unsigned n)
{
    struct vec_at at = {.vec = vec, .n = n};
    while (at.n) {
        struct io_vec part[QCOW2_IOV_MAX];
        struct vec_at next = at;
        uint64_t want, got;
        unsigned count = vec_take(&next, SIZE_MAX, part, QCOW2_IOV_MAX, &want);
        if (count == 0) {
            break;
        }
        ssize_t done = pwritev(io->fd, (const struct iovec *)part, (int)count, (off_t)off);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done ? -errno : -EIO;
        }
        for (uint64_t left = (uint64_t)done; left; left -= got) {
            vec_take(&at, left, part, QCOW2_IOV_MAX, &got);
        }
        off += (uint64_t)done;
        io->size = max_u64(io->size, off);
    }
    return 0;
}

static int file_sync(struct qcow2_io *io)
{
    return block_sync_files(&io->fd, 1);
}

static void file_discard(struct qcow2_io *io, uint64_t off, uint64_t len)
{
    if (off >= io->size) {
        return;
    }
    len = min_u64(len, io->size - off);
    if (fallocate(io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len)) {
        return; /* not every file system can: the space stays taken */
    }
}

static bool file_hole(struct qcow2_io *io, uint64_t off, uint64_t len)
{
    if (off >= io->size) {
        return io->grows;
    }
    off_t data = lseek(io->fd, (off_t)off, SEEK_DATA);
    return data < 0 ? errno == ENXIO && io->grows : (uint64_t)data >= off + len;
}

static void file_close(struct qcow2_io *io)
{
    close(io->fd);
}

static const struct qcow2_io_ops file_ops = {
    .read = file_read,
    .write = file_write,
    .sync = file_sync,
    .discard = file_discard,
    .hole = file_hole,
    .close = file_close,
};

int qcow2_io_init(struct qcow2_io *io, int fd)
{
    struct stat st;
    if (fstat(fd, &st)) {
        return -errno;
    }
    *io = (struct qcow2_io){.ops = &file_ops, .fd = fd};
    if (S_ISREG(st.st_mode)) {
        io->size = (uint64_t)st.st_size;
        io->grows = true;
        return 0;
    }
    if (S_ISBLK(st.st_mode)) {
        return ioctl(fd, BLKGETSIZE64, &io->size) ? -errno : 0;
    }
    return S_ISDIR(st.st_mode) ? -EISDIR : -ESPIPE;
}

int qcow2_io_fd(const struct qcow2_io *io)
{
    return io->ops == &file_ops ? io->fd : -1;
}

int qcow2_io_read(struct qcow2_io *io, uint64_t off, void *buf, size_t len)
{
    const struct io_vec vec = {.base = buf, .len = len};
    return io->ops->read(io, off, &vec, 1);
}

int qcow2_io_write(struct qcow2_io *io, uint64_t off, const void *buf, size_t len)
{
    const struct io_vec vec = {.base = (uint8_t *)(uintptr_t)buf, .len = len};
    return io->ops->write(io, off, &vec, 1);
}

int qcow2_io_zero(struct qcow2_io *io, uint64_t off, uint64_t len)
{
    static const uint8_t zeros[4096];
    while (len) {
        struct io_vec vec[64];
        unsigned n = 0;
        uint64_t part = 0;
        for (; n < ARRAY_LEN(vec) && part < len; n++) {
            vec[n].base = (uint8_t *)(uintptr_t)zeros;
            vec[n].len = min_u64(sizeof(zeros), len - part);
            part += vec[n].len;
        }
        int rc = io->ops->write(io, off, vec, n);
        if (rc) {
            return rc;
        }
        off += part;
        len -= part;
    }
    return 0;
}
