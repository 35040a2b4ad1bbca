/* "Host cluster management": refcounts, their blocks, and the table of these. See qcow2_impl.h.
 *
 * The table is held in memory, blocks in the cache. A new block lies in the first cluster that it
 * counts itself: those are free, for there was no block. A table that is too small is replaced by a
 * larger one behind everything counted so far, together with the blocks that count it. Nothing in
 * the file refers to either before a commit.
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t refcount_load(const uint8_t *block, uint64_t i, unsigned order)
{
    switch (order) {
    case 3: return block[i];
    case 4: return load_be16(block + i * 2);
    case 5: return load_be32(block + i * 4);
    case 6: return load_be64(block + i * 8);
    default: break;
    }
    unsigned width = 1u << order, per_byte = 8 / width;
    return (block[i / per_byte] >> (i % per_byte * width)) & ((1u << width) - 1);
}

void refcount_store(uint8_t *block, uint64_t i, unsigned order, uint64_t count)
{
    switch (order) {
    case 3: block[i] = (uint8_t)count; return;
    case 4: store_be16(block + i * 2, (uint16_t)count); return;
    case 5: store_be32(block + i * 4, (uint32_t)count); return;
    case 6: store_be64(block + i * 8, count); return;
    default: break;
    }
    unsigned width = 1u << order, per_byte = 8 / width, shift = (unsigned)(i % per_byte) * width;
    unsigned mask = ((1u << width) - 1) << shift;
    block[i / per_byte] = (uint8_t)((block[i / per_byte] & ~mask) | ((unsigned)count << shift));
}

uint64_t refcount_max(const struct qcow2 *q)
{
    return q->h.refcount_order == 6 ? UINT64_MAX : (1ull << (1u << q->h.refcount_order)) - 1;
}

uint64_t refcount_block_offset(const struct qcow2 *q, uint64_t i)
{
    uint64_t off = i < q->reftable_count ? q->reftable[i] : 0;
    bool sound = (off & (q->cluster - 1)) == 0 && off >= q->cluster && off < QCOW2_OFFSET_END;
    return sound ? off : 0;
}

int refcount_page(struct qcow2 *q, uint64_t cluster, struct qcow2_page **out, uint64_t *index)
{
    uint64_t block = refcount_block_offset(q, cluster / q->refblock_entries);
    uint64_t i = cluster % q->refblock_entries;
    uint64_t per_page = (uint64_t)q->cache.page_size * 8 >> q->h.refcount_order;
    *out = NULL;
    *index = i % per_page;
    return block ? qcache_get(q, PAGE_REFCOUNT, block + i / per_page * q->cache.page_size, out) : 0;
}

int refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
    struct qcow2_page *p;
    uint64_t i;
    *count = 0;
    int rc = refcount_page(q, cluster, &p, &i);
    if (!rc && p) {
        *count = refcount_load(p->bytes, i, q->h.refcount_order);
    }
    return rc;
}

int refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    if (count > refcount_max(q)) {
        return -EOVERFLOW;
    }
    struct qcow2_page *p;
    uint64_t i;
    int rc = refcount_page(q, cluster, &p, &i);
    if (!rc && !p) {
        rc = refcount_make_block(q, cluster);
        rc = rc ? rc : refcount_page(q, cluster, &p, &i);
    }
    if (rc) {
        return rc;
    }
    BUG_ON(!p);
    refcount_store(p->bytes, i, q->h.refcount_order, count);
    qcache_mark_dirty(&q->cache, p);
    return 0;
}

/* ---- new blocks ---- */

void refcount_set_block(struct qcow2 *q, uint64_t i, uint64_t off)
{
    q->reftable[i] = off;
    q->reftable_dirty[i / 64 / 8] |= (uint8_t)(1u << i / 64 % 8);
    q->reftable_any_dirty = true;
}

/** A refcount structure is in this cluster from now on. */
static int note_placed(struct qcow2 *q, uint64_t cluster)
{
    int rc = cluster_set_add(&q->metadata, cluster);
    q->area_from = q->area_from ? max_u64(q->area_from, cluster + 1) : 0;
    if (rc > 0) {
        rc = qcow2_corrupt(q, "the table at byte %llu lies where nothing should be",
                           (unsigned long long)offset_of(q, cluster));
    }
    return rc || !q->hooks ? rc : q->hooks->placed(q->hooks_ctx, cluster);
}

/** Where block i goes: into its own range, or in a repair, when all of that is in use, behind
 * everything. */
static uint64_t place_block(struct qcow2 *q, uint64_t i)
{
    uint64_t at = i * q->refblock_entries, end = at + q->refblock_entries;
    if (!q->hooks) {
        return at;
    }
    while (at < end && (q->hooks->taken(q->hooks_ctx, at) || cluster_set_has(&q->metadata, at))) {
        at++;
    }
    return at < end ? at : q->area_from;
}

/** A larger table, to be written where clusters [first, first + blocks + clusters) are: first the
 * blocks that count these clusters, then the table. */
struct new_table {
    uint64_t first, blocks, clusters, entries;
};

static int plan_table(struct qcow2 *q, uint64_t entries, struct new_table *t)
{
    const uint64_t per_block = q->refblock_entries, per_cluster = q->cluster / 8;
    BUG_ON(per_block == 0 || per_cluster == 0);
    *t = (struct new_table){.first = max_u64(q->reftable_count * per_block, q->area_from)};
    entries = max_u64(entries, q->reftable_count + q->reftable_count / 2);
    for (;;) {
        t->clusters = (entries + per_cluster - 1) / per_cluster;
        uint64_t last = (t->first + t->blocks + t->clusters - 1) / per_block;
        uint64_t blocks = last - t->first / per_block + 1;
        if (blocks == t->blocks && last < entries) {
            break;
        }
        t->blocks = blocks;
        entries = max_u64(entries, last + 1);
        if (entries > max_u64(QCOW2_REFTABLE_MAX, q->cluster) / 8) {
            return -EFBIG;
        }
    }
    t->entries = t->clusters * per_cluster;
    if (t->clusters > max_u64(QCOW2_REFTABLE_MAX >> q->h.cluster_bits, 1)) {
        return -EFBIG;
    }
    return alloc_check_range(q, t->first, t->blocks + t->clusters);
}

static int enlarge_arrays(struct qcow2 *q, uint64_t entries)
{
    uint64_t *table = realloc(q->reftable, entries * sizeof(*table));
    if (!table) {
        return -ENOMEM;
    }
    q->reftable = table;
    uint8_t *dirty = realloc(q->reftable_dirty, entries / 512 + 1);
    if (!dirty) {
        return -ENOMEM;
    }
    q->reftable_dirty = dirty;
    memset(table + q->reftable_count, 0, (entries - q->reftable_count) * sizeof(*table));
    memset(dirty + q->reftable_count / 512, 0, entries / 512 + 1 - q->reftable_count / 512);
    return 0;
}

/** The new table is written whole by the next commit, before the header names it. */
static int grow_table(struct qcow2 *q, uint64_t entries)
{
    struct new_table t;
    int rc = plan_table(q, entries, &t);
    rc = rc ? rc : free_reserve(q, 1);
    rc = rc ? rc : enlarge_arrays(q, t.entries);
    for (uint64_t i = 0; !rc && i < t.blocks; i++) {
        rc = cluster_clear(q, t.first + i);
    }
    if (rc) {
        return rc;
    }
    alloc_take_fresh(q, t.first + t.blocks, t.clusters);
    free_later(q, cluster_of(q, q->h.reftable_offset), q->h.reftable_clusters, true);
    q->reftable_count = t.entries;
    q->h.reftable_offset = offset_of(q, t.first + t.blocks);
    q->h.reftable_clusters = (uint32_t)t.clusters;
    q->reftable_moved = true;
    for (uint64_t i = 0; i < t.blocks; i++) {
        refcount_set_block(q, t.first / q->refblock_entries + i, offset_of(q, t.first + i));
    }
    for (uint64_t i = 0; !rc && i < t.blocks + t.clusters; i++) {
        rc = note_placed(q, t.first + i);
        rc = rc ? rc : refcount_set(q, t.first + i, 1);
    }
    return rc;
}

int refcount_make_block(struct qcow2 *q, uint64_t cluster)
{
    const uint64_t i = cluster / q->refblock_entries;
    if (i >= q->reftable_count) {
        int rc = grow_table(q, i + 1);
        if (rc || refcount_block_offset(q, i)) {
            return rc;
        }
    }
    uint64_t at = place_block(q, i);
    int rc = alloc_check_range(q, at, 1);
    if (!rc && !q->hooks && cluster_set_has(&q->metadata, at)) {
        rc = qcow2_corrupt(q, "the table at byte %llu has no refcount",
                           (unsigned long long)offset_of(q, at));
    }
    rc = rc ? rc : cluster_clear(q, at);
    rc =
        rc ? rc
           : note_placed(q, at); /* first: its own count may need a block, which must not go here */
    if (rc) {
        return rc;
    }
    refcount_set_block(q, i, offset_of(q, at));
    return refcount_set(q, at, 1);
}
