/* A qcow2 image as a disk: reading, flushing, what is where. See qcow2_impl.h. */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RUN_MAX 64u /* clusters a step */

int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...)
{
    if (q->corrupt) {
        return -EIO;
    }
    q->corrupt = true;
    if (q->check) {
        return -EIO; /* the check finds its own words */
    }
    char what[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    block_report(&q->base,
                 "%s: the qcow2 image is damaged: %s; no more writes, look with ring3 image check",
                 q->base.name, what);
    if (!q->base.read_only && !q->failed &&
        qcow2_set_features(q, HEADER_INCOMPATIBLE, INCOMPATIBLE_CORRUPT, 0)) {
        return -EIO; /* the next one to open it will find out himself */
    }
    return -EIO;
}

/* ---- reading ---- */

static int read_backing(struct qcow2 *q, uint64_t off, struct vec_at *at, uint64_t len)
{
    uint64_t there =
        q->backing && off < q->backing->size ? min_u64(len, q->backing->size - off) : 0;
    for (uint64_t left = there, got; left; left -= got, off += got) {
        struct io_vec part[64];
        unsigned n = vec_take(at, left, part, ARRAY_LEN(part), &got);
        BUG_ON(n == 0); /* the caller's vectors are shorter than its length */
        int rc = block_read(q->backing, off, part, n);
        if (rc) {
            return rc;
        }
    }
    vec_zero(at, len - there);
    return 0;
}

static int read_data(struct qcow2 *q, uint64_t host, struct vec_at *at, uint64_t len)
{
    for (uint64_t left = len, got; left; left -= got, host += got) {
        struct io_vec part[QCOW2_IOV_MAX];
        unsigned n = vec_take(at, left, part, QCOW2_IOV_MAX, &got);
        BUG_ON(n == 0);
        int rc = q->file.io.ops->read(&q->file.io, host, part, n);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/** Clusters alike and in a row from `guest` on, at most `want`: how many, what they are, and where
 * the first is. */
static int find_extent(struct qcow2 *q, uint64_t guest, uint64_t want, enum cluster_kind *kind,
                       uint64_t *host, unsigned *count)
{
    uint64_t entry[RUN_MAX], next_host;
    *count = (unsigned)min_u64(want, RUN_MAX);
    int rc = map_get_run(q, guest, entry, count);
    if (rc) {
        return rc;
    }
    *kind = entry_kind(q, entry[0], host);
    unsigned n = 1;
    for (; n < *count && *kind != CLUSTER_COMPRESSED; n++) {
        bool alike = entry_kind(q, entry[n], &next_host) == *kind;
        if (!alike || (*kind == CLUSTER_DATA && next_host != *host + offset_of(q, n))) {
            break;
        }
    }
    *count = n;
    if (*kind == CLUSTER_BAD) {
        return qcow2_corrupt(q, "L2 entry %llx cannot be", (unsigned long long)entry[0]);
    }
    return *kind == CLUSTER_COMPRESSED ? qcow2_unpack(q, entry[0]) : 0;
}

static int read_at(struct qcow2 *q, uint64_t off, struct vec_at *at, uint64_t len)
{
    while (len) {
        uint64_t host, guest = cluster_of(q, off), in_cluster = off & (q->cluster - 1);
        enum cluster_kind kind;
        unsigned count;
        int rc =
            find_extent(q, guest, cluster_of(q, off + len - 1) - guest + 1, &kind, &host, &count);
        if (rc) {
            return rc;
        }
        uint64_t part = min_u64(len, offset_of(q, guest + count) - off);
        switch (kind) {
        case CLUSTER_BACKING: rc = read_backing(q, off, at, part); break;
        case CLUSTER_ZERO: vec_zero(at, part); break;
        case CLUSTER_DATA: rc = read_data(q, host + in_cluster, at, part); break;
        case CLUSTER_COMPRESSED: vec_put(at, q->unpacked + in_cluster, part); break;
        case CLUSTER_BAD: rc = -EIO; break;
        }
        if (rc) {
            return rc;
        }
        off += part;
        len -= part;
    }
    return 0;
}

static int qcow2_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                      uint64_t len)
{
    struct vec_at at = {.vec = vec, .n = n};
    return read_at((struct qcow2 *)b, off, &at, len);
}

int qcow2_read_bytes(struct qcow2 *q, uint64_t off, uint8_t *buf, uint64_t len)
{
    const struct io_vec vec = {.base = buf, .len = len};
    struct vec_at at = {.vec = &vec, .n = 1};
    return read_at(q, off, &at, len);
}

/** How far from off on, at most len, one L2 table's absence or one entry says that zeros are read.
 */
static uint64_t zero_piece(struct qcow2 *q, uint64_t off, uint64_t len)
{
    const uint64_t guest = cluster_of(q, off);
    uint64_t host, entry;
    if (!map_has_table(q, guest) && !q->backing) {
        return min_u64(len, offset_of(q, ((guest >> q->l2_bits) + 1) << q->l2_bits) - off);
    }
    if (map_get(q, guest, &entry)) {
        return 0;
    }
    len = min_u64(len, offset_of(q, guest + 1) - off);
    switch (entry_kind(q, entry, &host)) {
    case CLUSTER_ZERO: return len;
    case CLUSTER_BACKING:
        if (!q->backing || off >= q->backing->size) {
            return len;
        }
        return block_zero_run(q->backing, off, min_u64(len, q->backing->size - off));
    default: return 0;
    }
}

static uint64_t qcow2_zero_run(struct block *b, uint64_t off, uint64_t len)
{
    uint64_t run = 0, piece = 1;
    while (run < len && piece) {
        piece = zero_piece((struct qcow2 *)b, off + run, len - run);
        run += piece;
    }
    return run;
}

/** What [off, off+len) of one extent is, as runs. How many, at most max >= 1; 0: not to be told. */
static unsigned locate_part(struct qcow2 *q, enum cluster_kind kind, uint64_t host, uint64_t off,
                            uint64_t len, struct block_run *run, unsigned max)
{
    uint64_t there = 0; /* below */
    unsigned n = 0;
    switch (kind) {
    case CLUSTER_DATA:
        *run = (struct block_run){.fd = qcow2_io_fd(&q->file.io), .at = host, .len = len};
        return run->fd >= 0;
    case CLUSTER_BACKING:
        if (q->backing && off < q->backing->size) {
            there = min_u64(len, q->backing->size - off);
            n = block_locate(q->backing, off, there, run, max);
        }
        if ((there && !n) || n + (there < len) > max) {
            return 0;
        }
        if (there < len) {
            run[n++] = (struct block_run){.fd = -1, .len = len - there};
        }
        return n;
    case CLUSTER_ZERO: *run = (struct block_run){.fd = -1, .len = len}; return 1;
    case CLUSTER_COMPRESSED:
    case CLUSTER_BAD: break;
    }
    return 0;
}

static unsigned qcow2_locate(struct block *b, uint64_t off, uint64_t len, struct block_run *run,
                             unsigned max)
{
    struct qcow2 *q = (struct qcow2 *)b;
    unsigned n = 0, more, count;
    for (uint64_t part; len && n < max; off += part, len -= part, n += more) {
        uint64_t host, guest = cluster_of(q, off), last = cluster_of(q, off + len - 1);
        enum cluster_kind kind;
        if (find_extent(q, guest, last - guest + 1, &kind, &host, &count)) {
            return 0;
        }
        part = min_u64(len, offset_of(q, guest + count) - off);
        host += off & (q->cluster - 1);
        more = locate_part(q, kind, host, off, part, run + n, max - n);
        if (!more) {
            return 0;
        }
    }
    return len ? 0 : n;
}

/* ---- the rest ---- */

static int qcow2_flush(struct block *b)
{
    struct qcow2 *q = (struct qcow2 *)b;
    return b->read_only ? 0 : qcow2_commit(q);
}

static void qcow2_close(struct block *b)
{
    struct qcow2 *q = (struct qcow2 *)b;
    int rc = qcow2_flush(b);
    if (rc) {
        block_report(b, "%s: the last writes may be lost: %s", b->name, strerror(-rc));
    }
    qcow2_free(q);
}

const struct block_ops qcow2_ops = {
    .format = "qcow2",
    .read = qcow2_read,
    .write = qcow2_write,
    .flush = qcow2_flush,
    .discard = qcow2_discard,
    .write_zeroes = qcow2_write_zeroes,
    .zero_run = qcow2_zero_run,
    .locate = qcow2_locate,
    .close = qcow2_close,
};
