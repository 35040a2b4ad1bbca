/* What block_locate and block_flush_files told, carried out. No state; any thread. */
#include "block/impl.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(struct io_vec) == sizeof(struct iovec), "struct io_vec is an iovec");
_Static_assert(offsetof(struct io_vec, len) == offsetof(struct iovec, iov_len), "in each field");

static void zero(const struct io_vec *vec, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        memset(vec[i].base, 0, vec[i].len);
    }
}

/* What a host's file system cannot tell is not in memory. */
static int not_now(int error)
{
    return error == EOPNOTSUPP || error == ENOSYS || error == EPERM ? -EAGAIN : -error;
}

static int read_run(const struct block_run *r, const struct io_vec *vec, unsigned n, bool wait)
{
    struct io_vec rest[BLOCK_VECS_MAX];
    for (uint64_t done = 0; done < r->len;) {
        unsigned count = vec_slice(vec, n, done, r->len - done, rest);
        const struct iovec *iov = (const struct iovec *)(const void *)rest;
        off_t at = (off_t)(r->at + done);
        ssize_t got = wait ? preadv(r->fd, iov, (int)count, at)
                           : preadv2(r->fd, iov, (int)count, at, RWF_NOWAIT);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got == 0 ? -EIO : wait ? -errno : not_now(errno);
        }
        done += (uint64_t)got;
    }
    return 0;
}

int block_read_runs(const struct block_run *run, unsigned count, const struct io_vec *vec,
                    unsigned n, bool wait)
{
    struct io_vec part[BLOCK_VECS_MAX];
    uint64_t at = 0;
    int err = 0;
    for (unsigned i = 0; i < count && !err; at += run[i++].len) {
        unsigned pieces = vec_slice(vec, n, at, run[i].len, part);
        if (run[i].fd < 0) {
            zero(part, pieces);
        } else {
            err = read_run(&run[i], part, pieces, wait);
        }
    }
    return err;
}

int block_sync_files(const int *fd, unsigned count)
{
    int err = 0;
    for (unsigned i = 0; i < count; i++) {
        int rc;
        do {
            rc = fdatasync(fd[i]);
        } while (rc && errno == EINTR);
        err = rc ? -errno : err;
    }
    return err;
}
