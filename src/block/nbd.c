/* Network disks: nbd://... and nbd+unix://..., through a helper process that speaks NBD. See
 * nbd_proto.h.
 *
 * The helper's answers are not trusted more than a network's: sizes are fixed or our own, numbers
 * are checked. Threads: the device's.
 */
#include "block/impl.h"
#include "block/nbd_proto.h"

#include "base/log.h"
#include "host/linux/spawn.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER "ring3-nbd"

struct nbd {
    struct block b;
    int fd;    /* to the helper */
    int pidfd; /* the helper */
    pid_t pid;
    uint32_t features;
    bool broken;    /* the helper does not answer any more */
    bool unflushed; /* something was changed since the last flush that succeeded */
};

static struct nbd *nbd_of(struct block *b)
{
    return (struct nbd *)b;
}

/* ---- the socket ---- */

static bool transfer(int fd, const struct io_vec *vec, unsigned n, uint64_t len, bool send)
{
    struct io_vec rest[BLOCK_VECS_MAX + 1];
    for (uint64_t done = 0; done < len;) {
        struct msghdr msg = {.msg_iov = (struct iovec *)(void *)rest};
        msg.msg_iovlen = vec_slice(vec, n, done, len - done, rest);
        ssize_t got = send ? sendmsg(fd, &msg, MSG_NOSIGNAL) : recvmsg(fd, &msg, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        done += (uint64_t)got;
    }
    return true;
}

static bool send_all(int fd, const void *bytes, size_t len)
{
    const struct io_vec vec = {.base = (uint8_t *)(uintptr_t)bytes, .len = len};
    return transfer(fd, &vec, 1, len, true);
}

static bool receive_all(int fd, void *bytes, size_t len)
{
    const struct io_vec vec = {.base = bytes, .len = len};
    return transfer(fd, &vec, 1, len, false);
}

static int broken(struct nbd *n)
{
    if (!n->broken) {
        n->broken = true;
        block_report(&n->b, "%s: the helper " HELPER " has ended: the disk fails from now on",
                     n->b.name);
    }
    return -EIO;
}

static void report_events(const struct nbd *n, uint32_t events)
{
    if (events & NBD_EVENT_GONE) {
        block_report(&n->b, "%s: the server is gone: requests fail until it is back", n->b.name);
    }
    if (events & NBD_EVENT_BACK) {
        block_report(&n->b, "%s: the connection to the server broke and is back", n->b.name);
    }
}

/** One request. out, in: data to send and to receive, len bytes; NULL: none. */
static int request(struct nbd *n, const struct nbd_request *r, const struct io_vec *out,
                   const struct io_vec *in, unsigned count, uint64_t *value)
{
    struct nbd_reply reply;
    if (n->broken || !send_all(n->fd, r, sizeof(*r))) {
        return broken(n);
    }
    if ((out && !transfer(n->fd, out, count, r->len, true)) ||
        !receive_all(n->fd, &reply, sizeof(reply))) {
        return broken(n);
    }
    if (in && reply.error == 0 && !transfer(n->fd, in, count, r->len, false)) {
        return broken(n);
    }
    report_events(n, reply.events);
    if (value) {
        *value = reply.value;
    }
    return reply.error > 0 || reply.error < -4095 ? -EIO : reply.error;
}

/* ---- a disk ---- */

/** Data in pieces of NBD_DATA_MAX. */
static int move(struct nbd *n, enum nbd_op op, uint64_t off, const struct io_vec *vec,
                unsigned count, uint64_t len)
{
    for (uint64_t done = 0, part; done < len; done += part) {
        struct io_vec piece[BLOCK_VECS_MAX];
        part = min_u64(NBD_DATA_MAX, len - done);
        const struct nbd_request r = {.op = op, .off = off + done, .len = part};
        unsigned pieces = vec_slice(vec, count, done, part, piece);
        int rc = request(n, &r, op == NBD_WRITE ? piece : NULL, op == NBD_READ ? piece : NULL,
                         pieces, NULL);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int nbd_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                    uint64_t len)
{
    return move(nbd_of(b), NBD_READ, off, vec, n, len);
}

static int nbd_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                     uint64_t len)
{
    nbd_of(b)->unflushed = true;
    return move(nbd_of(b), NBD_WRITE, off, vec, n, len);
}

static int nbd_flush(struct block *b)
{
    const struct nbd_request r = {.op = NBD_FLUSH};
    struct nbd *n = nbd_of(b);
    int rc = n->features & NBD_CAN_FLUSH ? request(n, &r, NULL, NULL, 0, NULL) : 0;
    n->unflushed &= rc != 0;
    return rc;
}

static int nbd_discard(struct block *b, uint64_t off, uint64_t len)
{
    const struct nbd_request r = {.op = NBD_DISCARD, .off = off, .len = len};
    nbd_of(b)->unflushed = true;
    return nbd_of(b)->features & NBD_CAN_DISCARD ? request(nbd_of(b), &r, NULL, NULL, 0, NULL) : 0;
}

static int nbd_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
    const struct nbd_request r = {
        .op = NBD_ZERO, .flags = unmap ? NBD_MAY_UNMAP : 0, .off = off, .len = len};
    if (!(nbd_of(b)->features & NBD_CAN_ZERO)) {
        return block_zero_by_writing(b, off, len);
    }
    nbd_of(b)->unflushed = true;
    return request(nbd_of(b), &r, NULL, NULL, 0, NULL);
}

static uint64_t nbd_zero_run(struct block *b, uint64_t off, uint64_t len)
{
    const struct nbd_request r = {.op = NBD_ZERO_RUN, .off = off, .len = len};
    uint64_t run;
    if (!(nbd_of(b)->features & NBD_CAN_ZERO_RUN) || request(nbd_of(b), &r, NULL, NULL, 0, &run)) {
        return 0;
    }
    return align_down(min_u64(run, len), BLOCK_SECTOR);
}

static void nbd_free(struct nbd *n)
{
    close(
        n->fd); /* the helper ends by itself; should it hang in a name server's silence, this way */
    if (n->pidfd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, n->pidfd, SIGKILL, NULL, 0);
        close(n->pidfd);
    }
    while (waitpid(n->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    free(n);
}

static void nbd_close(struct block *b)
{
    /* With nothing to keep, a server that does not answer must not hold the end up. */
    int rc = nbd_of(b)->unflushed && !nbd_of(b)->broken ? nbd_flush(b) : 0;
    if (rc) {
        block_report(b, "%s: the last writes may be lost: %s", b->name, strerror(-rc));
    }
    nbd_free(nbd_of(b));
}

static const struct block_ops nbd_ops = {
    .format = "nbd",
    .read = nbd_read,
    .write = nbd_write,
    .flush = nbd_flush,
    .discard = nbd_discard,
    .write_zeroes = nbd_write_zeroes,
    .zero_run = nbd_zero_run,
    .close = nbd_close,
};

/* ---- the helper ---- */

/** Installed, beside the program in a build tree, or where RING3_LIBEXEC says. */
static bool find_helper(char *path, size_t size)
{
    static const char *const places[] = {"../libexec/ring3/" HELPER, HELPER};
    const char *given = getenv("RING3_LIBEXEC");
    char dir[PATH_MAX];
    if (given) {
        return snprintf(path, size, "%s/" HELPER, given) < (int)size && access(path, X_OK) == 0;
    }
    ssize_t len = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
    char *slash = len > 0 ? memrchr(dir, '/', (size_t)len) : NULL;
    if (!slash) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        int n = snprintf(path, size, "%.*s/%s", (int)(slash - dir), dir, places[i]);
        if (n < (int)size && access(path, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

/** Start it with `theirs` as its descriptor NBD_FD. 0 or -errno. */
static int spawn_helper(char *path, int theirs, pid_t *pid)
{
    char name[] = HELPER;
    char *const argv[] = {name, NULL};
    const int fds[NBD_FD + 1] = {-1, -1, STDERR_FILENO, [NBD_FD] = theirs};
    const struct spawn helper = {
        .program = path,
        .argv = argv,
        .envp = environ,
        .fds = fds,
        .fd_count = ARRAY_LEN(fds),
        .session = true, /* the terminal's Ctrl-C is for us, who will end it */
    };
    return spawn_process(&helper, pid);
}

static int start_helper(struct nbd *n, const char *uri, struct block_error *err)
{
    char path[PATH_MAX];
    int pair[2];
    if (!find_helper(path, sizeof(path))) {
        return block_fail(err,
                          "%s: the helper for network disks, " HELPER
                          ", is not installed beside ring3 (make builds it)",
                          uri);
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        return block_fail(err, "%s: %s", uri, strerror(errno));
    }
    int rc = spawn_helper(path, pair[1], &n->pid);
    close(pair[1]);
    if (rc) {
        close(pair[0]);
        return block_fail(err, "%s: %s cannot be started: %s", uri, path, strerror(-rc));
    }
    n->fd = pair[0];
    n->pidfd = (int)syscall(SYS_pidfd_open, n->pid, 0);
    return 0;
}

/** Ask the helper to connect, and look at what it has found. */
static int connect_disk(struct nbd *n, const char *uri, bool read_only, struct block_error *err)
{
    const struct nbd_request r = {
        .op = NBD_OPEN, .flags = read_only ? NBD_READ_ONLY : 0, .len = strlen(uri)};
    struct nbd_opened o;
    if (!send_all(n->fd, &r, sizeof(r)) || !send_all(n->fd, uri, r.len) ||
        !receive_all(n->fd, &o, sizeof(o))) {
        return block_fail(err, "%s: the helper " HELPER " ended at once; does it run (ldd)?", uri);
    }
    o.text[sizeof(o.text) - 1] = '\0';
    for (char *c = o.text; *c; c++) {
        *c = (unsigned char)*c < ' ' ? ' ' : *c;
    }
    if (o.error) {
        return block_fail_gone(err, "%s: %s", uri, o.text);
    }
    if (o.features & NBD_IS_READ_ONLY && !read_only) {
        return block_fail(err, "%s: the server allows only reading: add ,ro", uri);
    }
    if (o.min > BLOCK_SECTOR) {
        return block_fail(err,
                          "%s: the server wants requests of %u bytes at least, and disks have "
                          "sectors of 512 (nbdkit: "
                          "--filter=blocksize)",
                          uri, o.min);
    }
    if (o.size == 0 || o.size % BLOCK_SECTOR || o.size > INT64_MAX) {
        return block_fail(
            err, "%s: its size, %llu bytes, is not a multiple of 512 (nbdkit: --filter=truncate)",
            uri, (unsigned long long)o.size);
    }
    n->b.size = o.size;
    n->b.optimal = o.optimal >= BLOCK_SECTOR && (o.optimal & (o.optimal - 1)) == 0 ? o.optimal : 0;
    n->features = o.features;
    return 0;
}

int nbd_open(const char *uri, const struct block_options *o, struct block **out,
             struct block_error *err)
{
    if (strlen(uri) > NBD_URI_MAX) {
        return block_fail(err, "an NBD address has %u characters at most", NBD_URI_MAX);
    }
    struct nbd *n = calloc(1, sizeof(*n));
    if (!n) {
        return block_fail(err, "%s: no memory", uri);
    }
    block_init(&n->b, &nbd_ops, uri, 0);
    n->b.read_only = o->read_only;
    n->b.report = o->report;
    n->b.report_ctx = o->report_ctx;
    if (start_helper(n, uri, err)) {
        free(n);
        return -1;
    }
    if (connect_disk(n, uri, o->read_only, err)) {
        nbd_free(n);
        return -1;
    }
    if (!o->read_only && !(n->features & NBD_CAN_FLUSH)) {
        block_report(&n->b,
                     "%s: the server cannot flush: what was written may be lost when it fails",
                     n->b.name);
    }
    *out = &n->b;
    return 0;
}
