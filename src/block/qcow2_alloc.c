/* Finding free clusters, and freeing them when the file no longer refers to them. See qcow2_impl.h.
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdlib.h>

int alloc_check_range(const struct qcow2 *q, uint64_t first, uint64_t count)
{
    if (!q->file.io.grows && first + count > q->file.io.size >> q->h.cluster_bits) {
        return -ENOSPC;
    }
    return first + count > QCOW2_OFFSET_END >> q->h.cluster_bits ? -EFBIG : 0;
}

bool alloc_take_fresh(struct qcow2 *q, uint64_t first, uint64_t count)
{
    bool fresh = q->file.io.grows && first >= q->fresh_from;
    q->fresh_from = max_u64(q->fresh_from, first + count);
    return fresh;
}

int cluster_clear(struct qcow2 *q, uint64_t cluster)
{
    qcache_drop(q, cluster);
    return alloc_take_fresh(q, cluster, 1)
               ? 0
               : qcow2_io_zero(&q->file.io, offset_of(q, cluster), q->cluster);
}

int alloc_is_free(struct qcow2 *q, uint64_t cluster)
{
    uint64_t count;
    int rc = refcount_get(q, cluster, &count);
    if (rc || count) {
        return rc;
    }
    if (cluster_set_has(&q->metadata, cluster)) {
        return qcow2_corrupt(q, "the table at byte %llu has no refcount",
                             (unsigned long long)offset_of(q, cluster));
    }
    return 1;
}

/** Move *cluster on to the first one in the same page that has no references; false: to the first
 * behind the page. */
static bool find_in_page(const struct qcow2 *q, const struct qcow2_page *p, uint64_t index,
                         uint64_t *cluster)
{
    const uint64_t per_page = (uint64_t)q->cache.page_size * 8 >> q->h.refcount_order;
    for (; index < per_page; index++, ++*cluster) {
        if (refcount_load(p->bytes, index, q->h.refcount_order) == 0) {
            return true;
        }
    }
    return false;
}

/** Find a cluster without references, from the hint on; its block exists. The search ends: blocks
 * that count something are really there, each once (open_metadata), and behind them clusters are
 * free. */
static int find_free(struct qcow2 *q, uint64_t *cluster)
{
    *cluster = q->free_hint;
    for (;;) {
        struct qcow2_page *p;
        uint64_t index;
        int rc = alloc_check_range(q, *cluster, 1);
        rc = rc ? rc : refcount_page(q, *cluster, &p, &index);
        if (rc) {
            return rc;
        }
        if (!p) {
            rc = refcount_make_block(q, *cluster);
            if (rc) {
                return rc;
            }
        } else if (find_in_page(q, p, index, cluster)) {
            return 0;
        }
    }
}

int alloc_clusters(struct qcow2 *q, uint64_t want, uint64_t *first, uint64_t *got)
{
    *got = 0;
    int rc = find_free(q, first);
    while (!rc && *got < want) {
        uint64_t next = *first + *got;
        struct qcow2_page *p;
        uint64_t index;
        rc = refcount_page(q, next, &p, &index);
        if (rc || !p || alloc_check_range(q, next, 1)) {
            break;
        }
        int is_free = alloc_is_free(q, next);
        if (is_free <= 0) {
            rc = is_free;
            break;
        }
        rc = refcount_set(q, next, 1);
        *got += !rc;
    }
    q->free_hint = rc && *got == 0 ? q->free_hint : *first + *got;
    return *got ? 0 : rc;
}

int alloc_table(struct qcow2 *q, uint64_t *cluster)
{
    uint64_t got;
    int rc = free_reserve(q, 1);
    rc = rc ? rc : alloc_clusters(q, 1, cluster, &got);
    if (rc) {
        return rc;
    }
    rc = cluster_clear(q, *cluster);
    rc = rc ? rc : cluster_set_add(&q->metadata, *cluster);
    if (rc) {
        free_later(q, *cluster, 1, false);
    }
    return rc > 0 ? -EIO : rc;
}

/* ---- freeing ---- */

int free_reserve(struct qcow2 *q, size_t n)
{
    if (q->pending_count + n <= q->pending_size) {
        return 0;
    }
    size_t size = (q->pending_count + n) * 2;
    struct pending_free *bigger = realloc(q->pending, size * sizeof(*bigger));
    if (!bigger) {
        return -ENOMEM;
    }
    q->pending = bigger;
    q->pending_size = size;
    return 0;
}

void free_later(struct qcow2 *q, uint64_t first, uint64_t count, bool metadata)
{
    struct pending_free *last = q->pending_count ? &q->pending[q->pending_count - 1] : NULL;
    if (last && last->first + last->count == first && last->metadata == metadata) {
        last->count += count;
        return;
    }
    BUG_ON(!q->pending || q->pending_count == q->pending_size);
    q->pending[q->pending_count++] =
        (struct pending_free){.first = first, .count = count, .metadata = metadata};
}

/** One reference less; *is_free: that was the last. */
static int drop_reference(struct qcow2 *q, uint64_t cluster, bool *is_free)
{
    uint64_t count;
    *is_free = false;
    int rc = refcount_get(q, cluster, &count);
    if (rc) {
        return rc;
    }
    if (count == 0) {
        return q->check ? 0
                        : qcow2_corrupt(q, "the cluster at byte %llu has no references",
                                        (unsigned long long)offset_of(q, cluster));
    }
    *is_free = count == 1;
    return refcount_set(q, cluster, count - 1);
}

static int free_run(struct qcow2 *q, const struct pending_free *run)
{
    uint64_t hole = 0; /* clusters before i that became free */
    int rc = 0;
    for (uint64_t i = 0; i < run->count; i++) {
        uint64_t cluster = run->first + i;
        bool is_free = false;
        int one = drop_reference(q, cluster, &is_free);
        rc = rc ? rc : one;
        if (run->metadata && is_free) {
            cluster_set_remove(&q->metadata, cluster);
        }
        if (is_free) {
            q->free_hint = min_u64(q->free_hint, cluster);
            hole++;
        }
        if (hole && (!is_free || i + 1 == run->count)) {
            uint64_t end = cluster + is_free;
            q->file.io.ops->discard(&q->file.io, offset_of(q, end - hole),
                                    hole << q->h.cluster_bits);
            hole = 0;
        }
    }
    return rc;
}

int free_now(struct qcow2 *q)
{
    int rc = 0;
    if (q->pending_count) {
        q->unpacked_at = 0; /* its place may be used anew */
        q->packed_next = 0;
    }
    for (size_t i = 0; i < q->pending_count; i++) {
        int one = free_run(q, &q->pending[i]);
        rc = rc ? rc : one;
    }
    q->pending_count = 0;
    return rc;
}
