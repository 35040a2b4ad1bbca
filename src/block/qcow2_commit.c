/* What reaches the disk, in which order: see qcow2_impl.h.
 *
 * A commit writes in steps with barriers (fdatasync) between them; of each step, any subset of the
 * sectors may be lost.
 *   1. refcount blocks (in which counts have only gone up), and tables that nothing in the file
 *      refers to yet; data was written before. Lost: clusters leak.
 *   2. the refcount table's entries for new blocks, or, when the table has moved, the header that
 *      names it. As 1.
 *   3. L2 tables and the L1 table. Each entry refers to the old or to the new place of its cluster;
 *      both are valid, both are counted.
 *   4. counts that go down. Lost: clusters leak. Only now may these clusters be used again.
 *
 * A sector (512 bytes) is written whole or not at all; no entry, and nothing that must change
 * together, crosses one. A barrier that failed has lost writes that nobody can name: from then on
 * the image fails for good (the kernel reports such an error once only).
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdlib.h>

#define PENDING_MAX 4096u

static int barrier(struct qcow2 *q)
{
    int rc = q->file.io.ops->sync(&q->file.io);
    if (rc) {
        q->failed = rc;
    }
    return rc;
}

static bool is_new_table(const struct qcow2 *q, uint32_t index)
{
    return q->l1_new[index / 8] >> index % 8 & 1;
}

enum which_pages { PAGES_UNREACHABLE, PAGES_REST };

/** Write dirty pages: those that nothing in the file refers to, and refcounts; or all that are
 * left. */
static int write_pages(struct qcow2 *q, enum which_pages which)
{
    struct qcow2_page *next;
    for (struct qcow2_page *p = q->cache.dirty.next; p != &q->cache.dirty; p = next) {
        next = p->next;
        if (which == PAGES_UNREACHABLE && p->kind == PAGE_L2 && !is_new_table(q, p->l1_index)) {
            continue;
        }
        int rc = qcow2_io_write(&q->file.io, p->off, p->bytes, q->cache.page_size);
        if (rc) {
            return rc;
        }
        qcache_mark_clean(&q->cache, p);
    }
    return 0;
}

/** Entries [first, first + 64) of a table in memory to the file, where it lies at `off`. */
static int write_entries(struct qcow2 *q, const uint64_t *table, uint64_t first, uint64_t count,
                         uint64_t off)
{
    uint8_t bytes[512];
    uint64_t n = min_u64(64, count - first);
    for (uint64_t i = 0; i < n; i++) {
        store_be64(bytes + i * 8, table[first + i]);
    }
    return qcow2_io_write(&q->file.io, off + first * 8, bytes, n * 8);
}

static int write_moved_reftable(struct qcow2 *q)
{
    int rc = 0;
    for (uint64_t i = 0; !rc && i < q->reftable_count; i += 64) {
        rc = write_entries(q, q->reftable, i, q->reftable_count, q->h.reftable_offset);
    }
    return rc;
}

static void clear_reftable_dirty(struct qcow2 *q)
{
    for (uint64_t i = 0; i <= q->reftable_count / 512; i++) {
        q->reftable_dirty[i] = 0;
    }
    q->reftable_any_dirty = false;
}

static int write_header(struct qcow2 *q)
{
    return qcow2_io_write(&q->file.io, 0, q->header_sector,
                          q->h.version == 2 ? HEADER_V2_LENGTH : HEADER_V3_LENGTH);
}

/** Step 2. */
static int write_reftable(struct qcow2 *q)
{
    int rc = 0;
    if (q->reftable_moved) {
        store_be64(q->header_sector + HEADER_REFTABLE_OFFSET, q->h.reftable_offset);
        store_be32(q->header_sector + HEADER_REFTABLE_CLUSTERS, q->h.reftable_clusters);
        rc = write_header(q);
        q->failed = rc; /* which table is in use is not known any more */
    } else {
        for (uint64_t i = 0; !rc && i < q->reftable_count; i += 64) {
            if (q->reftable_dirty[i / 512] >> i / 64 % 8 & 1) {
                rc = write_entries(q, q->reftable, i, q->reftable_count, q->h.reftable_offset);
            }
        }
    }
    rc = rc ? rc : barrier(q);
    if (!rc) {
        q->reftable_moved = false;
        clear_reftable_dirty(q);
    }
    return rc;
}

/** From the first try on, the file may refer to the new tables. */
static int write_l1(struct qcow2 *q)
{
    for (uint32_t i = 0; i < q->l1_count; i += 64) {
        uint64_t any = 0;
        for (uint32_t byte = i / 8; byte < i / 8 + 8; byte++) {
            any |= q->l1_dirty[byte];
            q->l1_new[byte] = 0;
        }
        int rc = any ? write_entries(q, q->l1, i, q->l1_count, q->h.l1_offset) : 0;
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static void clear_l1_dirty(struct qcow2 *q)
{
    for (uint32_t i = 0; i < q->l1_count; i += 8) {
        q->l1_dirty[i / 8] = 0;
    }
    q->l1_any_dirty = false;
}

int qcow2_commit(struct qcow2 *q)
{
    if (q->failed) {
        return q->failed;
    }
    int rc = write_pages(q, PAGES_UNREACHABLE);
    if (!rc && q->reftable_moved) {
        rc = write_moved_reftable(q);
    }
    rc = rc ? rc : barrier(q);
    if (!rc && (q->reftable_moved || q->reftable_any_dirty)) {
        rc = write_reftable(q);
    }
    if (!rc && (q->l1_any_dirty || q->cache.dirty_pages)) {
        rc = write_pages(q, PAGES_REST);
        if (!rc && q->l1_any_dirty) {
            rc = write_l1(q);
        }
        rc = rc ? rc : barrier(q);
        if (!rc) {
            clear_l1_dirty(q);
        }
    }
    if (!rc && q->pending_count) {
        int freed =
            free_now(q); /* what could not be freed has leaked: the data is safe all the same */
        (void)freed;
        rc = write_pages(q, PAGES_UNREACHABLE);
    }
    return rc;
}

int qcow2_commit_if_full(struct qcow2 *q)
{
    return qcache_is_full(&q->cache) || q->pending_count > PENDING_MAX ? qcow2_commit(q) : 0;
}

int qcow2_set_features(struct qcow2 *q, unsigned field, uint64_t set, uint64_t clear)
{
    uint64_t old = load_be64(q->header_sector + field);
    uint64_t now = (old | set) & ~clear;
    if (q->h.version < 3 || now == old) {
        return 0;
    }
    store_be64(q->header_sector + field, now);
    int rc = write_header(q);
    return rc ? rc : barrier(q);
}

int qcow2_begin_write(struct qcow2 *q)
{
    if (q->base.read_only) {
        return -EROFS;
    }
    if (q->corrupt || q->failed) {
        return q->failed ? q->failed : -EIO;
    }
    if (q->writing) {
        return 0;
    }
    int rc = qcow2_set_features(q, HEADER_AUTOCLEAR, 0, UINT64_MAX);
    q->writing = !rc;
    return rc;
}
