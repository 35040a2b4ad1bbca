/* Changing a disk: writes, discards, zeros. See qcow2_impl.h.
 *
 * A cluster that is ours alone (one reference, no table) is written in its place. Any other gets a
 * new place: what the write leaves of it is filled in from the old contents, the bytes go to the
 * file, then the L2 entry changes in memory and the old place is freed later. Work goes in steps
 * within one page of an L2 table.
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <string.h>

#define RUN_MAX 64u /* clusters a step */

/** A step of a write: bytes [off, off+len) of the disk, all behind entries of one page. */
struct step {
    uint64_t off, len;
    struct vec_at *at;
    uint64_t guest; /* the first cluster */
    unsigned count; /* clusters */
    uint64_t entry[RUN_MAX];
};

/** Whether the entry's cluster is ours to write to: 1 (*host), 0, or -errno. */
static int own_space(struct qcow2 *q, uint64_t entry, uint64_t *host)
{
    enum cluster_kind kind = entry_kind(q, entry, host);
    if (kind == CLUSTER_BAD) {
        return qcow2_corrupt(q, "L2 entry %llx cannot be", (unsigned long long)entry);
    }
    if (kind == CLUSTER_COMPRESSED || *host == 0) {
        return 0;
    }
    if (cluster_set_has(&q->metadata, cluster_of(q, *host))) {
        return qcow2_corrupt(q, "guest data is where a table lies, at byte %llu",
                             (unsigned long long)*host);
    }
    uint64_t count;
    int rc = refcount_get(q, cluster_of(q, *host), &count);
    if (rc) {
        return rc;
    }
    if (count == 0) {
        return qcow2_corrupt(q, "the data at byte %llu has no references",
                             (unsigned long long)*host);
    }
    return count == 1;
}

/** Look up the entries of the clusters that [s->off, s->off+s->len) touches, and cut the step to
 * them. */
static int step_look_up(struct qcow2 *q, struct step *s)
{
    s->guest = cluster_of(q, s->off);
    s->count = (unsigned)min_u64(cluster_of(q, s->off + s->len - 1) - s->guest + 1, RUN_MAX);
    int rc = map_get_run(q, s->guest, s->entry, &s->count);
    s->len = min_u64(s->len, offset_of(q, s->guest + s->count) - s->off);
    return rc;
}

static void step_cut(const struct qcow2 *q, struct step *s, unsigned count)
{
    s->count = count;
    s->len = min_u64(s->len, offset_of(q, s->guest + count) - s->off);
}

/** The file's bytes from host on become: head_len bytes of edge 0, the step's, tail_len of edge 1.
 */
static int write_filled(struct qcow2 *q, uint64_t host, uint64_t head_len, struct step *s,
                        uint64_t tail_len)
{
    uint64_t left = s->len;
    bool tail_done = tail_len == 0;
    while (left || head_len || !tail_done) {
        struct io_vec vec[QCOW2_IOV_MAX];
        unsigned n = 0;
        uint64_t got = 0, written = head_len;
        if (head_len) {
            vec[n++] = (struct io_vec){.base = q->edge[0], .len = head_len};
        }
        n += vec_take(s->at, left, vec + n, QCOW2_IOV_MAX - 2, &got);
        BUG_ON(left && got == 0); /* the caller's vectors are shorter than its length */
        left -= got;
        written += got;
        if (left == 0 && tail_len) {
            vec[n++] = (struct io_vec){.base = q->edge[1], .len = tail_len};
            tail_done = true;
        }
        int rc = q->file.io.ops->write(&q->file.io, host, vec, n);
        if (rc) {
            return rc;
        }
        host += written;
        head_len = 0;
    }
    return 0;
}

static bool reads_zero(const struct qcow2 *q, uint64_t entry, uint64_t off)
{
    uint64_t host;
    enum cluster_kind kind = entry_kind(q, entry, &host);
    return kind == CLUSTER_ZERO ||
           (kind == CLUSTER_BACKING && (!q->backing || off >= q->backing->size));
}

/** What the step leaves of a cluster: [off, off+len) of the disk, into an edge. */
static int fill_edge(struct qcow2 *q, unsigned edge, uint64_t entry, uint64_t off, uint64_t len)
{
    if (reads_zero(q, entry, off)) {
        memset(q->edge[edge], 0, len);
        return 0;
    }
    uint64_t on_disk = off < q->base.size ? min_u64(len, q->base.size - off) : 0;
    memset(q->edge[edge] + on_disk, 0, len - on_disk);
    return on_disk ? qcow2_read_bytes(q, off, q->edge[edge], on_disk) : 0;
}

/** Put the step's bytes, and the rest of its clusters, to a new place. fresh: the file reads as
 * zero there. */
static int write_at_new_place(struct qcow2 *q, uint64_t host, bool fresh, struct step *s)
{
    uint64_t start = offset_of(q, s->guest), end = offset_of(q, s->guest + s->count);
    uint64_t head_len = s->off - start, tail_off = s->off + s->len, tail_len = end - tail_off;
    const uint64_t last = s->entry[s->count - 1];
    if (fresh && reads_zero(q, s->entry[0], start)) {
        host += head_len;
        head_len = 0;
    }
    if (fresh && reads_zero(q, last, tail_off)) {
        tail_len = 0;
    }
    int rc = head_len ? fill_edge(q, 0, s->entry[0], start, head_len) : 0;
    if (!rc && tail_len) {
        rc = fill_edge(q, 1, last, tail_off, tail_len);
    }
    return rc ? rc : write_filled(q, host, head_len, s, tail_len);
}

/** The entry's clusters have one reference less when the next commit has reached the disk. */
static void release(struct qcow2 *q, uint64_t entry)
{
    uint64_t first, last;
    if (entry_clusters(q, entry, &first, &last)) {
        free_later(q, first, last - first + 1, false);
    }
}

/** Let the step's entries refer to the clusters from `first` on. */
static int set_entries(struct qcow2 *q, const struct step *s, uint64_t first)
{
    for (unsigned i = 0; i < s->count; i++) {
        int rc = map_set(q, s->guest + i, offset_of(q, first + i) | ENTRY_COPIED);
        if (rc) {
            free_later(q, first + i, s->count - i, false);
            return rc;
        }
        release(q, s->entry[i]);
    }
    return 0;
}

/** A step over clusters none of which is ours to write to. It may become shorter. */
static int write_new(struct qcow2 *q, struct step *s)
{
    uint64_t first, got;
    int rc = map_prepare(q, s->guest);
    rc = rc ? rc : free_reserve(q, s->count + 1);
    rc = rc ? rc : alloc_clusters(q, s->count, &first, &got);
    if (rc) {
        return rc;
    }
    step_cut(q, s, (unsigned)got);
    bool fresh = alloc_take_fresh(q, first, got);
    rc = write_at_new_place(q, offset_of(q, first), fresh, s);
    if (rc) {
        free_later(q, first, got, false);
        return rc;
    }
    return set_entries(q, s, first);
}

/** One cluster that reads as zero but has its space: all of it is written, then it counts. */
static int write_into_zero(struct qcow2 *q, uint64_t host, struct step *s)
{
    int rc = map_prepare(q, s->guest);
    rc = rc ? rc : write_at_new_place(q, host, false, s);
    return rc ? rc : map_set(q, s->guest, host | ENTRY_COPIED);
}

static int write_step(struct qcow2 *q, struct step *s)
{
    uint64_t host = 0, next = 0;
    int rc = step_look_up(q, s);
    int own = rc ? rc : own_space(q, s->entry[0], &host);
    if (own < 0) {
        return own;
    }
    if (own && s->entry[0] & ENTRY_ZERO) {
        step_cut(q, s, 1);
        return write_into_zero(q, host, s);
    }
    unsigned count = 1;
    for (; count < s->count; count++) {
        int next_own = own_space(q, s->entry[count], &next);
        if (next_own < 0) {
            return next_own;
        }
        bool in_row = next == host + offset_of(q, count) && !(s->entry[count] & ENTRY_ZERO);
        if (next_own != own || (own && !in_row)) {
            break;
        }
    }
    step_cut(q, s, count);
    return own ? write_filled(q, host + (s->off & (q->cluster - 1)), 0, s, 0) : write_new(q, s);
}

int qcow2_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n, uint64_t len)
{
    struct qcow2 *q = (struct qcow2 *)b;
    struct vec_at at = {.vec = vec, .n = n};
    int rc = qcow2_begin_write(q);
    while (!rc && len) {
        struct step s = {.off = off, .len = len, .at = &at};
        rc = qcow2_commit_if_full(q);
        rc = rc ? rc : write_step(q, &s);
        off += s.len;
        len -= s.len;
    }
    return rc;
}

/* ---- discards and zeros ---- */

/** What becomes of one whole cluster: true: *now is its new entry. */
static bool discarded(const struct qcow2 *q, uint64_t entry, uint64_t *now)
{
    uint64_t host;
    enum cluster_kind kind = entry_kind(q, entry, &host);
    if (kind == CLUSTER_BACKING || (kind == CLUSTER_ZERO && host == 0) ||
        (q->backing && q->h.version < 3)) {
        return false;
    }
    *now = q->backing ? ENTRY_ZERO : 0; /* nothing of the backing file comes to light */
    return true;
}

/** The same for zeros; version 2 has no way to say so over a backing file, its caller writes them.
 */
static int zeroed(struct qcow2 *q, uint64_t entry, bool unmap, uint64_t *now)
{
    uint64_t host;
    enum cluster_kind kind = entry_kind(q, entry, &host);
    if ((kind == CLUSTER_ZERO && (host == 0 || !unmap)) ||
        (kind == CLUSTER_BACKING && !q->backing)) {
        return 0;
    }
    *now = q->backing ? ENTRY_ZERO : 0;
    if (unmap || q->h.version < 3) {
        return 1;
    }
    int own = own_space(q, entry, &host);
    if (own > 0) {
        *now = host | ENTRY_COPIED | ENTRY_ZERO;
    }
    return own < 0 ? own : 1;
}

enum clearing { CLEAR_DISCARD, CLEAR_ZERO_KEEP, CLEAR_ZERO_UNMAP };

static int clear_cluster(struct qcow2 *q, uint64_t guest, uint64_t entry, enum clearing how)
{
    uint64_t now = 0, host, kept;
    int change;
    if (entry_kind(q, entry, &host) == CLUSTER_BAD) {
        return qcow2_corrupt(q, "L2 entry %llx cannot be", (unsigned long long)entry);
    }
    change = how == CLEAR_DISCARD ? discarded(q, entry, &now)
                                  : zeroed(q, entry, how == CLEAR_ZERO_UNMAP, &now);
    if (change <= 0) {
        return change;
    }
    int rc = map_prepare(q, guest);
    rc = rc ? rc : free_reserve(q, 1);
    rc = rc ? rc : map_set(q, guest, now);
    if (!rc && (entry_kind(q, now, &kept) != CLUSTER_ZERO || kept == 0)) {
        release(q, entry);
    }
    return rc;
}

/** Whole clusters [guest, end). */
static int clear_clusters(struct qcow2 *q, uint64_t guest, uint64_t end, enum clearing how)
{
    int rc = 0;
    while (!rc && guest < end) {
        uint64_t entry[RUN_MAX];
        unsigned count = (unsigned)min_u64(end - guest, RUN_MAX);
        if (!map_has_table(q, guest) && (!q->backing || how == CLEAR_DISCARD)) {
            guest = ((guest >> q->l2_bits) + 1) << q->l2_bits;
            continue;
        }
        rc = qcow2_commit_if_full(q);
        rc = rc ? rc : map_get_run(q, guest, entry, &count);
        for (unsigned i = 0; !rc && i < count; i++) {
            rc = clear_cluster(q, guest + i, entry[i], how);
        }
        guest += count;
    }
    return rc;
}

int qcow2_discard(struct block *b, uint64_t off, uint64_t len)
{
    struct qcow2 *q = (struct qcow2 *)b;
    uint64_t end = off + len == b->size ? align_up(b->size, q->cluster) : off + len;
    int rc = qcow2_begin_write(q);
    return rc ? rc
              : clear_clusters(q, cluster_of(q, off + q->cluster - 1), cluster_of(q, end),
                               CLEAR_DISCARD);
}

/** Zeros by writing them, but for clusters that read so anyway. */
static int write_zero_bytes(struct qcow2 *q, uint64_t off, uint64_t len)
{
    static const uint8_t zeros[4096];
    int rc = 0;
    while (!rc && len) {
        struct io_vec vec[64];
        uint64_t entry, in_cluster = min_u64(len, q->cluster - (off & (q->cluster - 1)));
        uint64_t part = min_u64(in_cluster, sizeof(zeros) * ARRAY_LEN(vec));
        unsigned n = 0;
        for (uint64_t left = part; left; n++) {
            vec[n] = (struct io_vec){.base = (uint8_t *)(uintptr_t)zeros,
                                     .len = min_u64(left, sizeof(zeros))};
            left -= vec[n].len;
        }
        rc = map_get(q, cluster_of(q, off), &entry);
        if (!rc && reads_zero(q, entry, off)) {
            part = in_cluster;
        } else if (!rc) {
            rc = qcow2_write(&q->base, off, vec, n, part);
        }
        off += part;
        len -= part;
    }
    return rc;
}

int qcow2_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
    struct qcow2 *q = (struct qcow2 *)b;
    uint64_t end = off + len;
    uint64_t whole = align_up(off, q->cluster),
             whole_end = end == b->size ? align_up(end, q->cluster) : align_down(end, q->cluster);
    int rc = qcow2_begin_write(q);
    if (whole >= whole_end || (q->h.version < 3 && q->backing)) {
        return rc ? rc : write_zero_bytes(q, off, len);
    }
    rc = rc ? rc : write_zero_bytes(q, off, whole - off);
    rc = rc ? rc
            : clear_clusters(q, cluster_of(q, whole), cluster_of(q, whole_end),
                             unmap ? CLEAR_ZERO_UNMAP : CLEAR_ZERO_KEEP);
    return rc || end <= whole_end ? rc : write_zero_bytes(q, whole_end, end - whole_end);
}
