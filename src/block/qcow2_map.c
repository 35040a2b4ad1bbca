/* "Cluster mapping": L1 and L2 tables, from a guest cluster to its place in the file. See
 * qcow2_impl.h.
 *
 * The L1 table is held in memory, L2 tables in the cache. A table that a snapshot shares is copied
 * before it changes; the new one is complete in memory and in the file before a commit lets the L1
 * table refer to it.
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t l1_index(const struct qcow2 *q, uint64_t guest)
{
    return (uint32_t)(guest >> q->l2_bits);
}

bool map_has_table(const struct qcow2 *q, uint64_t guest)
{
    return q->l1[l1_index(q, guest)] & ENTRY_OFFSET;
}

void map_set_l1(struct qcow2 *q, uint32_t index, uint64_t entry)
{
    q->l1[index] = entry;
    q->l1_dirty[index / 8] |= (uint8_t)(1u << index % 8);
    q->l1_any_dirty = true;
}

/** Offset of guest's entry in the file; 0: no table. */
static int entry_offset(struct qcow2 *q, uint64_t guest, uint64_t *off)
{
    uint64_t table = q->l1[l1_index(q, guest)] & ENTRY_OFFSET;
    *off = 0;
    if (table == 0) {
        return 0;
    }
    if (table & (q->cluster - 1)) {
        return qcow2_corrupt(q, "L1 entry %u is not at a cluster's beginning", l1_index(q, guest));
    }
    *off = table + (guest & ((1ull << q->l2_bits) - 1)) * 8;
    return 0;
}

int map_get_run(struct qcow2 *q, uint64_t guest, uint64_t *entries, unsigned *count)
{
    uint64_t off;
    int rc = entry_offset(q, guest, &off);
    if (rc) {
        return rc;
    }
    unsigned at = (unsigned)(guest * 8 & (q->cache.page_size - 1));
    *count = (unsigned)min_u64(*count, (q->cache.page_size - at) / 8);
    struct qcow2_page *p = NULL;
    if (off) {
        rc = qcache_get(q, PAGE_L2, off, &p);
    }
    for (unsigned i = 0; !rc && i < *count; i++) {
        entries[i] = p ? load_be64(p->bytes + at + i * 8) : 0;
    }
    return rc;
}

int map_get(struct qcow2 *q, uint64_t guest, uint64_t *entry)
{
    unsigned one = 1;
    return map_get_run(q, guest, entry, &one);
}

/** A copy of the table that a snapshot shares with us. It has no dirty pages: those are only in
 * tables of our own. */
static int copy_table(struct qcow2 *q, uint64_t from, uint64_t to)
{
    int rc = qcow2_io_read(&q->file.io, from, q->edge[0], q->cluster);
    return rc ? rc : qcow2_io_write(&q->file.io, to, q->edge[0], q->cluster);
}

int map_prepare(struct qcow2 *q, uint64_t guest)
{
    const uint32_t index = l1_index(q, guest);
    const uint64_t old = q->l1[index] & ENTRY_OFFSET;
    uint64_t count = 0, table;
    if (old) {
        uint64_t unused;
        int rc = entry_offset(q, guest, &unused);
        rc = rc ? rc : refcount_get(q, cluster_of(q, old), &count);
        if (rc) {
            return rc;
        }
        if (count == 0) {
            return qcow2_corrupt(q, "the L2 table at byte %llu has no references",
                                 (unsigned long long)old);
        }
        if (count == 1) {
            return 0;
        }
    }
    int rc = free_reserve(q, 2);
    rc = rc ? rc : alloc_table(q, &table);
    if (!rc && old) {
        rc = copy_table(q, old, offset_of(q, table));
        if (rc) {
            free_later(q, table, 1, true);
        }
    }
    if (rc) {
        return rc;
    }
    if (old) {
        free_later(q, cluster_of(q, old), 1, false);
    }
    map_set_l1(q, index, offset_of(q, table) | ENTRY_COPIED);
    q->l1_new[index / 8] |= (uint8_t)(1u << index % 8);
    return old ? 0
               : map_set(q, guest,
                         0); /* the table will be in the file, whatever becomes of this write */
}

int map_set(struct qcow2 *q, uint64_t guest, uint64_t entry)
{
    uint64_t off;
    struct qcow2_page *p;
    int rc = entry_offset(q, guest, &off);
    rc = rc ? rc : qcache_get(q, PAGE_L2, off, &p);
    if (rc) {
        return rc;
    }
    store_be64(p->bytes + (off & (q->cache.page_size - 1)), entry);
    p->l1_index = l1_index(q, guest);
    qcache_mark_dirty(&q->cache, p);
    return 0;
}

/* ---- entries ---- */

static unsigned packed_offset_bits(const struct qcow2 *q)
{
    return 62 - (q->h.cluster_bits - 8);
}

uint64_t entry_packed_size(const struct qcow2 *q, uint64_t entry)
{
    uint64_t off = entry & ((1ull << packed_offset_bits(q)) - 1);
    uint64_t sectors = ((entry & ~(3ull << 62)) >> packed_offset_bits(q)) + 1;
    return sectors * 512 - (off & 511);
}

enum cluster_kind entry_kind(const struct qcow2 *q, uint64_t entry, uint64_t *host)
{
    *host = 0;
    if (entry & ENTRY_COMPRESSED) {
        *host = entry & ((1ull << packed_offset_bits(q)) - 1);
        return *host < QCOW2_OFFSET_END && *host >= q->cluster && *host < q->file.io.size
                   ? CLUSTER_COMPRESSED
                   : CLUSTER_BAD;
    }
    *host = entry & ENTRY_OFFSET;
    if (*host & (q->cluster - 1) || (*host == 0 && entry & ENTRY_COPIED)) {
        return CLUSTER_BAD;
    }
    if (entry & ENTRY_ZERO) {
        return q->h.version >= 3 ? CLUSTER_ZERO : CLUSTER_BAD;
    }
    return *host ? CLUSTER_DATA : CLUSTER_BACKING;
}

bool entry_clusters(const struct qcow2 *q, uint64_t entry, uint64_t *first, uint64_t *last)
{
    uint64_t host;
    switch (entry_kind(q, entry, &host)) {
    case CLUSTER_DATA:
    case CLUSTER_ZERO: *first = *last = cluster_of(q, host); return host != 0;
    case CLUSTER_COMPRESSED:
        *first = cluster_of(q, host);
        *last = cluster_of(q, host + entry_packed_size(q, entry) - 1);
        return true;
    case CLUSTER_BACKING:
    case CLUSTER_BAD: break;
    }
    return false;
}
