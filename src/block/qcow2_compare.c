/* Checking an image: references against counts, counts against flags; and setting them right. See
 * qcow2_check.h.
 *
 * A count that is too low is always raised. One that is too high is lowered only when every table
 * could be read. New refcount structures go where nothing refers to (the hooks). All changes reach
 * the disk by commits, in their order: whatever is cut off leaves an image that can be checked
 * again.
 */
#include "block/qcow2_check.h"

#include <errno.h>
#include <stdlib.h>

static bool is_taken(void *ctx, uint64_t cluster)
{
    return refs_get(&((struct check *)ctx)->refs, cluster) > 0;
}

static int on_placed(void *ctx, uint64_t cluster)
{
    return refs_add(&((struct check *)ctx)->refs, cluster, 1);
}

static const struct refcount_hooks hooks = {.taken = is_taken, .placed = on_placed};

/** A cluster whose count differs from its references. */
static int mismatch(struct check *c, uint64_t cluster, uint64_t count, uint64_t refs)
{
    struct qcow2 *q = c->q;
    const bool leak = count > refs;
    const unsigned long long off = offset_of(q, cluster);
    if (leak) {
        c->result->leaks++;
        check_say(c,
                  "the cluster at byte %llu is leaked: counted %llu times, referred to %llu times",
                  off, (unsigned long long)count, (unsigned long long)refs);
    } else {
        check_corrupt(c,
                      "the cluster at byte %llu is counted %llu times, but referred to %llu times",
                      off, (unsigned long long)count, (unsigned long long)refs);
    }
    if (!c->fix || (leak && c->unsure)) {
        return 0;
    }
    int rc = qcow2_commit_if_full(q);
    rc = rc ? rc : refcount_set(q, cluster, refs);
    if (rc == -EOVERFLOW) {
        return 0; /* the field is too narrow: it stays wrong */
    }
    if (!rc) {
        c->result->leaks_fixed += leak;
        c->result->corruptions_fixed += !leak;
    }
    return rc;
}

/** Clusters that a block counts, whether rightly or not. */
static int check_block(struct check *c, uint64_t i)
{
    struct qcow2 *q = c->q;
    uint64_t off = refcount_block_offset(q, i);
    if (off == 0 || q->file.io.ops->hole(&q->file.io, off, q->cluster)) {
        return 0; /* counts nothing */
    }
    const uint64_t first = i * q->refblock_entries;
    int rc = check_stopped(c) ? -EINTR : 0;
    for (uint64_t j = 0; !rc && j < q->refblock_entries; j++) {
        uint64_t count;
        rc = refcount_get(q, first + j, &count);
        uint64_t refs = refs_get(&c->refs, first + j);
        if (!rc && count && count != refs) {
            rc = mismatch(c, first + j, count, refs);
        }
    }
    return rc;
}

/** Clusters that are referred to but not counted. New blocks add chunks at the end. */
static int check_uncounted(struct check *c)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < c->refs.chunks; i++) {
        for (unsigned j = 0; !rc && j < REFS_CHUNK; j++) {
            const struct refs_chunk *chunk = c->refs.chunk[i];
            uint64_t count = 0;
            if (chunk->count[j]) {
                rc = refcount_get(c->q, chunk->first + j, &count);
                rc = rc || count ? rc : mismatch(c, chunk->first + j, 0, chunk->count[j]);
            }
        }
    }
    return rc;
}

int check_counts(struct check *c)
{
    if (c->fix) {
        c->q->hooks = &hooks;
        c->q->hooks_ctx = c;
    }
    int rc = 0;
    for (uint64_t i = 0; !rc && i < c->q->reftable_count; i++) {
        rc = check_block(c, i);
    }
    return rc ? rc : check_uncounted(c);
}

/* ---- "63: 1 if its refcount is exactly one" ---- */

/** Whether the flag of an entry that refers to this cluster is wrong. */
static int flag_is_wrong(struct check *c, uint64_t entry, uint64_t off, bool *wrong)
{
    uint64_t count;
    int rc = refcount_get(c->q, cluster_of(c->q, off), &count);
    *wrong = !rc && (count == 1) != !!(entry & ENTRY_COPIED);
    return rc;
}

static int check_l2_flags(struct check *c, uint32_t index)
{
    struct qcow2 *q = c->q;
    const uint64_t end = (uint64_t)(index + 1) << q->l2_bits;
    int rc = 0;
    for (uint64_t guest = (uint64_t)index << q->l2_bits; !rc && guest < end;) {
        uint64_t entry[64], host;
        unsigned n = ARRAY_LEN(entry);
        rc = map_get_run(q, guest, entry, &n);
        for (unsigned i = 0; !rc && i < n; i++) {
            enum cluster_kind kind = entry_kind(q, entry[i], &host);
            bool wrong = kind == CLUSTER_COMPRESSED && entry[i] & ENTRY_COPIED;
            if (host && (kind == CLUSTER_DATA || kind == CLUSTER_ZERO)) {
                rc = flag_is_wrong(c, entry[i], host, &wrong);
            }
            if (rc || !wrong) {
                continue;
            }
            check_corrupt(c, "guest cluster %llu: the flag for a count of one is wrong",
                          (unsigned long long)(guest + i));
            rc = c->fix ? map_set(q, guest + i, entry[i] ^ ENTRY_COPIED) : 0;
            c->result->corruptions_fixed += c->fix && !rc;
        }
        guest += n;
    }
    return rc;
}

static int check_l1_flag(struct check *c, uint32_t index)
{
    struct qcow2 *q = c->q;
    bool wrong;
    int rc = flag_is_wrong(c, q->l1[index], q->l1[index] & ENTRY_OFFSET, &wrong);
    if (rc || !wrong) {
        return rc;
    }
    check_corrupt(c, "L1 entry %u: the flag for a count of one is wrong", index);
    if (c->fix) {
        map_set_l1(q, index, q->l1[index] ^ ENTRY_COPIED);
        c->result->corruptions_fixed++;
    }
    return 0;
}

int check_flags(struct check *c)
{
    struct qcow2 *q = c->q;
    for (uint32_t i = 0; i < q->l1_count; i++) {
        uint64_t off = q->l1[i] & ENTRY_OFFSET;
        if (off == 0 || off & (q->cluster - 1) || cluster_of(q, off) >= c->file_clusters) {
            continue;
        }
        if (q->file.io.ops->hole(&q->file.io, off, q->cluster)) {
            continue;
        }
        int rc = check_stopped(c) ? -EINTR : check_l1_flag(c, i);
        rc = rc ? rc : check_l2_flags(c, i);
        rc = rc || !c->fix ? rc : qcow2_commit_if_full(q);
        if (rc == -EIO && q->overlaps) {
            continue; /* one page as two kinds of table: that was told */
        }
        if (rc) {
            return rc;
        }
    }
    return 0;
}
