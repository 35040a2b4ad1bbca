/* The tables of an image that is being opened. See qcow2_impl.h.
 *
 * Opening for writing learns where all tables are (the set of metadata clusters), so that no guest
 * data is ever written over one and no free cluster is believed that holds one; tables that lie
 * over each other are found then. Memory: the L1 and refcount tables, within the format's limits,
 * and 16 bytes or so for each table.
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdlib.h>

#define SNAPSHOT_L1_MAX (512ull << 20) /* bytes, of all snapshots */

static int add_metadata(struct qcow2 *q, uint64_t off, uint64_t len)
{
    uint64_t last = cluster_of(q, off + len - 1);
    for (uint64_t c = cluster_of(q, off); c <= last; c++) {
        int rc = cluster_set_add(&q->metadata, c);
        if (rc < 0) {
            return rc;
        }
        if (rc) {
            q->overlaps = true;
        }
    }
    return 0;
}

/** A table that an entry names. */
static int add_table(struct qcow2 *q, uint64_t off, uint64_t len)
{
    if (off == 0 || len == 0) {
        return 0;
    }
    if (off & (q->cluster - 1) || off >= q->file.io.size ||
        len > align_up(q->file.io.size, q->cluster) - off) {
        q->misplaced = true;
        return 0;
    }
    return add_metadata(q, off, len);
}

struct snapshot_sum {
    struct qcow2 *q;
    uint64_t l1_bytes;
};

static int add_snapshot(void *ctx, const struct qcow2_snapshot *s)
{
    struct snapshot_sum *sum = ctx;
    uint64_t len = (uint64_t)s->l1_size * 8;
    sum->l1_bytes += len;
    if (len > QCOW2_L1_MAX || sum->l1_bytes > SNAPSHOT_L1_MAX) {
        return -EIO;
    }
    return add_table(sum->q, s->l1_offset, len);
}

/** Collect the clusters of all tables. 0, -ENOMEM, or -EIO: they cannot be read. */
static int open_metadata(struct qcow2 *q)
{
    struct snapshot_sum sum = {.q = q};
    uint64_t end;
    int rc = add_metadata(q, 0, q->cluster);
    rc = rc ? rc : add_table(q, q->h.l1_offset, (uint64_t)q->h.l1_size * 8);
    rc = rc ? rc : add_table(q, q->h.reftable_offset, q->reftable_count * 8);
    for (uint64_t i = 0; !rc && i < q->reftable_count; i++) {
        rc = add_table(q, q->reftable[i], q->reftable[i] ? q->cluster : 0);
    }
    for (uint32_t i = 0; !rc && i < q->l1_count; i++) {
        uint64_t off = q->l1[i] & ENTRY_OFFSET;
        rc = add_table(q, off, off ? q->cluster : 0);
    }
    if (!rc && q->h.snapshots) {
        rc = snapshots_each(q, add_snapshot, &sum, &end);
        rc = rc ? rc : add_table(q, q->h.snapshots_offset, end - q->h.snapshots_offset);
    }
    if (rc == -EIO && q->check) {
        q->misplaced = true; /* the check will say what is wrong */
        rc = 0;
    }
    return rc;
}

/** A table of 64-bit entries. */
static int load_entries(struct qcow2 *q, uint64_t off, uint64_t count, uint64_t **out)
{
    uint64_t *table = calloc(count ? count : 1, sizeof(*table));
    if (!table) {
        return -ENOMEM;
    }
    int rc = count ? qcow2_io_read(&q->file.io, off, table, count * sizeof(*table)) : 0;
    for (uint64_t i = 0; i < count; i++) {
        table[i] = load_be64((const uint8_t *)&table[i]);
    }
    *out = table;
    return rc;
}

int qcow2_load_tables(struct qcow2 *q)
{
    q->l1_count = q->h.l1_size;
    q->l1_dirty = calloc(1, q->l1_count / 8 + 8);
    q->l1_new = calloc(1, q->l1_count / 8 + 8);
    q->edge[0] = malloc(q->cluster);
    q->edge[1] = malloc(q->cluster);
    if (!q->l1_dirty || !q->l1_new || !q->edge[0] || !q->edge[1]) {
        return -ENOMEM;
    }
    int rc = load_entries(q, q->h.l1_offset, q->l1_count, &q->l1);
    if (rc || (q->base.read_only && !q->check)) {
        return rc; /* reading needs no refcounts */
    }
    q->reftable_count = ((uint64_t)q->h.reftable_clusters << q->h.cluster_bits) / 8;
    q->reftable_dirty = calloc(1, q->reftable_count / 512 + 1);
    rc = q->reftable_dirty ? load_entries(q, q->h.reftable_offset, q->reftable_count, &q->reftable)
                           : -ENOMEM;
    return rc ? rc : open_metadata(q);
}
