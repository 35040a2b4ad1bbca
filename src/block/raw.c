/* Raw disks: a file or a block device whose bytes are the disk's.
 *
 * Requests go through the host's page cache; a flush is fdatasync. Once that has failed, later ones
 * would succeed although the data that failed is gone from the cache, so every flush after it fails
 * too. Threads: the device's.
 */
#include "block/impl.h"
#include "block/lock.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define OPTIMAL_FILE 4096u

struct raw {
    struct block b;
    int fd;
    int claim;   /* of a block device open for writing: keeps the host off it; else -1 */
    bool device; /* a block device */
    bool no_discard, no_punch, no_zero_range; /* found out: not possible here */
    int flush_error;                          /* of the first flush that failed */
    struct image_lock lock;
};

static struct raw *raw_of(struct block *b)
{
    return (struct raw *)b;
}

/* ---- data ---- */

static unsigned raw_locate(struct block *b, uint64_t off, uint64_t len, struct block_run *run,
                           unsigned max)
{
    (void)max;
    *run = (struct block_run){.fd = raw_of(b)->fd, .at = off, .len = len};
    return 1;
}

static int raw_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                    uint64_t len)
{
    struct block_run run;
    return block_read_runs(&run, raw_locate(b, off, len, &run, 1), vec, n, true);
}

/* All of vec: the kernel may do a part at a time. */
static int raw_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                     uint64_t len)
{
    struct io_vec rest[BLOCK_VECS_MAX];
    for (uint64_t done = 0; done < len;) {
        unsigned count = vec_slice(vec, n, done, len - done, rest);
        const struct iovec *iov = (const struct iovec *)(const void *)rest;
        ssize_t got = pwritev(raw_of(b)->fd, iov, (int)count, (off_t)(off + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? -errno : -EIO;
        }
        done += (uint64_t)got;
    }
    return 0;
}

static unsigned raw_flush_files(struct block *b, int *fd, unsigned max)
{
    if (raw_of(b)->flush_error || max == 0) {
        return 0;
    }
    *fd = raw_of(b)->fd;
    return 1;
}

static int raw_flush_end(struct block *b, int err)
{
    struct raw *r = raw_of(b);
    r->flush_error = r->flush_error ? r->flush_error : err;
    return r->flush_error;
}

static int raw_flush(struct block *b)
{
    int fd;
    return raw_flush_files(b, &fd, 1) ? raw_flush_end(b, block_sync_files(&fd, 1))
                                      : raw_of(b)->flush_error;
}

/* ---- holes ---- */

/* The operation is not possible here, or a device refuses just this range for its alignment
 * (-EINVAL). */
static bool refused(int err)
{
    return err == -EOPNOTSUPP || err == -ENOSYS || err == -EINVAL || err == -ENODEV ||
           err == -EPERM;
}

static bool refused_for_good(const struct raw *r, int err)
{
    return refused(err) && !(r->device && err == -EINVAL);
}

static int allocate(struct raw *r, int mode, uint64_t off, uint64_t len)
{
    while (fallocate(r->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len)) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int raw_discard(struct block *b, uint64_t off, uint64_t len)
{
    struct raw *r = raw_of(b);
    uint64_t range[2] = {off, len};
    if (r->no_discard) {
        return 0;
    }
    int err = r->device ? (ioctl(r->fd, BLKDISCARD, range) ? -errno : 0)
                        : allocate(r, FALLOC_FL_PUNCH_HOLE, off, len);
    r->no_discard = refused_for_good(r, err);
    return refused(err) ? 0 : err;
}

static int raw_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
    struct raw *r = raw_of(b);
    int err = -EOPNOTSUPP;
    if (unmap && !r->no_punch) {
        err = allocate(r, FALLOC_FL_PUNCH_HOLE, off, len);
        r->no_punch = refused_for_good(r, err);
    }
    if (refused(err) && !r->no_zero_range) {
        err = allocate(r, FALLOC_FL_ZERO_RANGE, off, len);
        r->no_zero_range = refused_for_good(r, err);
    }
    return refused(err) ? block_zero_by_writing(b, off, len) : err;
}

static uint64_t raw_zero_run(struct block *b, uint64_t off, uint64_t len)
{
    struct raw *r = raw_of(b);
    if (r->device) {
        return 0;
    }
    off_t data = lseek(r->fd, (off_t)off, SEEK_DATA);
    if (data < 0) {
        return errno == ENXIO ? len : 0; /* nothing but a hole up to the end */
    }
    return min_u64((uint64_t)data - off, len);
}

/* ---- life ---- */

static void raw_free(struct raw *r)
{
    close(r->fd);
    if (r->claim >= 0) {
        close(r->claim);
    }
    lock_drop(&r->lock);
    free(r);
}

static void raw_close(struct block *b)
{
    if (!b->read_only) {
        (void)!raw_flush(b);
    }
    raw_free(raw_of(b));
}

static const struct block_ops raw_ops = {
    .format = "raw",
    .read = raw_read,
    .write = raw_write,
    .flush = raw_flush,
    .discard = raw_discard,
    .write_zeroes = raw_write_zeroes,
    .zero_run = raw_zero_run,
    .locate = raw_locate,
    .flush_files = raw_flush_files,
    .flush_end = raw_flush_end,
    .close = raw_close,
};

static int open_file(const char *path, bool read_only, struct block_error *err)
{
    /* Not blocking: a pipe must not hold us up before it is refused. */
    int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return fd >= 0 ? fd : block_fail_open(err, path, read_only);
}

/* Claim a device for us alone: refused when it is mounted or part of another. The claim lasts as
 * long as the descriptor. */
static int claim_device(struct raw *r, const char *path, struct block_error *err)
{
    struct stat first, second;
    r->claim = open(path, O_RDWR | O_EXCL | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (r->claim < 0 && errno == EBUSY) {
        return block_fail(err, "%s is in use by the host, mounted for instance: unmount it first",
                          path);
    }
    if (r->claim < 0 || fstat(r->fd, &first) || fstat(r->claim, &second)) {
        return block_fail(err, "%s: %s", path, strerror(errno));
    }
    if (!S_ISBLK(second.st_mode) || first.st_rdev != second.st_rdev) {
        return block_fail(err, "%s was replaced while it was being opened: try again", path);
    }
    return 0;
}

/* Size, kind and preferred size of requests. */
static int measure(struct raw *r, const char *path, struct block_error *err)
{
    struct stat st;
    if (fstat(r->fd, &st)) {
        return block_fail(err, "%s: %s", path, strerror(errno));
    }
    uint64_t size = (uint64_t)st.st_size;
    r->b.optimal = OPTIMAL_FILE;
    if (S_ISBLK(st.st_mode)) {
        unsigned optimal = 0;
        r->device = true;
        if (ioctl(r->fd, BLKGETSIZE64, &size)) {
            return block_fail(err, "%s: its size cannot be read: %s", path, strerror(errno));
        }
        if (ioctl(r->fd, BLKPBSZGET, &optimal) == 0 && optimal > OPTIMAL_FILE) {
            r->b.optimal = optimal;
        }
    } else if (!S_ISREG(st.st_mode)) {
        return block_fail(err, "%s is %s: a disk is a file or a block device", path,
                          S_ISDIR(st.st_mode) ? "a folder" : "neither file nor block device");
    }
    if (size == 0) {
        return block_fail(err, "%s is empty: give it a size (truncate -s 10G %s)", path, path);
    }
    if (size % BLOCK_SECTOR) {
        uint64_t fit = align_up(size, BLOCK_SECTOR);
        return block_fail(err, "%s is %llu bytes long, not a multiple of 512: truncate -s %llu %s",
                          path, (unsigned long long)size, (unsigned long long)fit, path);
    }
    r->b.size = size;
    return 0;
}

int raw_open(const char *path, const struct block_options *o, struct block **out,
             struct block_error *err)
{
    int fd = open_file(path, o->read_only, err);
    if (fd < 0) {
        return -1;
    }
    struct raw *r = calloc(1, sizeof(*r));
    if (!r) {
        close(fd);
        return block_fail(err, "%s: no memory", path);
    }
    block_init(&r->b, &raw_ops, path, 0);
    r->b.read_only = o->read_only;
    r->fd = fd;
    r->claim = -1;
    r->lock.note = -1;
    if (measure(r, path, err) || lock_take(&r->lock, fd, path, !o->read_only, o->vm_name, err) ||
        (r->device && !o->read_only && claim_device(r, path, err))) {
        raw_free(r);
        return -1;
    }
    *out = &r->b;
    return 0;
}
