/* Checking an image: all that refers to clusters. See qcow2_check.h. */
#include "block/qcow2_check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 32u

void check_say(struct check *c, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    if (!c->sink || !c->sink->line || c->lines > LINES_MAX) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    c->sink->line(c->sink->ctx, c->lines++ < LINES_MAX ? line : "more of this is not shown");
}

bool check_stopped(const struct check *c)
{
    return c->sink && c->sink->stop && c->sink->stop(c->sink->ctx);
}

/** n references to the clusters of [off, off+len), which is `what`. */
static int refer(struct check *c, uint64_t off, uint64_t len, uint64_t n, const char *what)
{
    uint64_t first = cluster_of(c->q, off), last = cluster_of(c->q, off + len - 1);
    if (last >= c->file_clusters) {
        check_corrupt(c, "%s at byte %llu: beyond the end of the file", what,
                      (unsigned long long)off);
        return 0;
    }
    for (uint64_t cluster = first; cluster <= last; cluster++) {
        int rc = refs_add(&c->refs, cluster, n);
        if (rc) {
            return rc;
        }
    }
    c->result->image_end = max_u64(c->result->image_end, offset_of(c->q, last + 1));
    return 0;
}

/** An entry of an L1 table. */
static int walk_l1_entry(struct check *c, uint64_t entry, uint64_t index, const char *whose,
                         bool active)
{
    struct qcow2 *q = c->q;
    uint64_t off = entry & ENTRY_OFFSET;
    if (entry & L1_RESERVED) {
        check_corrupt(c, "%s: L1 entry %llu has reserved bits set", whose,
                      (unsigned long long)index);
    }
    if (off == 0) {
        return 0;
    }
    if (off & (q->cluster - 1) || cluster_of(q, off) >= c->file_clusters) {
        check_corrupt(c, "%s: L1 entry %llu is not where a table can be", whose,
                      (unsigned long long)index);
        c->unsure = true;
        return 0;
    }
    int rc = refer(c, off, q->cluster, 1, "L2 table");
    rc = rc ? rc : refs_add(&c->tables, cluster_of(q, off), 1);
    if (!rc && active && cluster_set_add(&c->active, cluster_of(q, off)) < 0) {
        rc = -ENOMEM;
    }
    return rc;
}

static int walk_snapshot(void *ctx, const struct qcow2_snapshot *s)
{
    struct check *c = ctx;
    struct qcow2 *q = c->q;
    char whose[96];
    snprintf(whose, sizeof(whose), "snapshot '%s'", s->name);
    if (s->l1_size == 0) {
        return 0;
    }
    uint64_t size = (uint64_t)s->l1_size * 8, off = s->l1_offset;
    if (off & (q->cluster - 1) || off >= q->file.io.size || size > QCOW2_L1_MAX ||
        size > q->file.io.size - off) {
        check_corrupt(c, "%s: its L1 table is not where one can be", whose);
        c->unsure = true;
        return 0;
    }
    int rc = refer(c, off, size, 1, whose);
    for (uint64_t at = 0; !rc && at < size; at += q->cluster) {
        uint64_t len = min_u64(q->cluster, size - at);
        rc = qcow2_io_read(&q->file.io, off + at, c->buf, len);
        for (uint64_t i = 0; !rc && i < len; i += 8) {
            rc = walk_l1_entry(c, load_be64(c->buf + i), (at + i) / 8, whose, false);
        }
    }
    return rc;
}

static void count_entry(struct check *c, enum cluster_kind kind)
{
    c->result->data += kind == CLUSTER_DATA || kind == CLUSTER_COMPRESSED;
    c->result->compressed += kind == CLUSTER_COMPRESSED;
    c->result->zero += kind == CLUSTER_ZERO;
}

/** An L2 table, to which n L1 entries refer. */
static int walk_l2(struct check *c, uint64_t table, uint64_t n)
{
    struct qcow2 *q = c->q;
    const uint64_t off = offset_of(q, table);
    if (q->file.io.ops->hole(&q->file.io, off, q->cluster)) {
        return 0;
    }
    bool active = cluster_set_has(&c->active, table);
    int rc = qcow2_io_read(&q->file.io, off, c->buf, q->cluster);
    for (uint64_t at = 0; !rc && at < q->cluster; at += 8) {
        uint64_t entry = load_be64(c->buf + at), host, first, last;
        enum cluster_kind kind = entry_kind(q, entry, &host);
        if (kind == CLUSTER_BAD) {
            check_corrupt(c, "L2 table at byte %llu: entry %llu cannot be", (unsigned long long)off,
                          (unsigned long long)at / 8);
            c->unsure = true;
            continue;
        }
        if (kind != CLUSTER_COMPRESSED && entry & L2_RESERVED) {
            check_corrupt(c, "L2 table at byte %llu: entry %llu has reserved bits set",
                          (unsigned long long)off, (unsigned long long)at / 8);
        }
        if (active) {
            count_entry(c, kind);
        }
        if (entry_clusters(q, entry, &first, &last)) {
            if (cluster_set_has(&q->metadata, first) || cluster_set_has(&q->metadata, last)) {
                check_corrupt(c, "L2 table at byte %llu: entry %llu puts guest data over a table",
                              (unsigned long long)off, (unsigned long long)at / 8);
            }
            last = kind == CLUSTER_COMPRESSED ? min_u64(last, c->file_clusters - 1)
                                              : last; /* rounded up to sectors */
            rc = refer(c, offset_of(q, first), (last - first + 1) << q->h.cluster_bits, n,
                       "guest data");
        }
    }
    return rc;
}

static int walk_l2_tables(struct check *c)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < c->tables.chunks; i++) {
        const struct refs_chunk *chunk = c->tables.chunk[i];
        for (unsigned j = 0; !rc && j < REFS_CHUNK; j++) {
            if (chunk->count[j]) {
                rc = check_stopped(c) ? -EINTR : walk_l2(c, chunk->first + j, chunk->count[j]);
            }
        }
    }
    return rc;
}

/** The refcount table and its blocks. */
static int walk_refcounts(struct check *c)
{
    struct qcow2 *q = c->q;
    int rc = refer(c, q->h.reftable_offset, q->reftable_count * 8, 1, "refcount table");
    for (uint64_t i = 0; !rc && i < q->reftable_count; i++) {
        uint64_t off = refcount_block_offset(q, i);
        if (q->reftable[i] == 0) {
            continue;
        }
        if (off && cluster_of(q, off) < c->file_clusters) {
            rc = refer(c, off, q->cluster, 1, "refcount block");
            continue;
        }
        check_corrupt(c, "refcount table: entry %llu is not where a block can be",
                      (unsigned long long)i);
        if (c->fix) {
            refcount_set_block(q, i, 0); /* a new one is made where counts are missing */
            c->result->corruptions_fixed++;
        } else {
            q->reftable[i] = 0;
        }
    }
    return rc;
}

static int walk_bitmap(void *ctx, uint64_t off, uint64_t len)
{
    struct check *c = ctx;
    if (off & (c->q->cluster - 1) || len == 0) {
        return -EIO;
    }
    return refer(c, off, len, 1, "bitmap");
}

static int walk_snapshots(struct check *c)
{
    uint64_t end;
    if (c->q->h.snapshots == 0) {
        return 0;
    }
    int rc = snapshots_each(c->q, walk_snapshot, c, &end);
    if (rc == -EIO) {
        check_corrupt(c, "the snapshot table is damaged");
        c->unsure = true;
        return 0;
    }
    return rc ? rc
              : refer(c, c->q->h.snapshots_offset, end - c->q->h.snapshots_offset, 1,
                      "snapshot table");
}

/** Count every reference. */
static int walk(struct check *c)
{
    struct qcow2 *q = c->q;
    int rc = refer(c, 0, q->cluster, 1, "header");
    rc = rc ? rc : walk_refcounts(c);
    if (!rc && q->l1_count) {
        rc = refer(c, q->h.l1_offset, (uint64_t)q->l1_count * 8, 1, "L1 table");
    }
    for (uint32_t i = 0; !rc && i < q->l1_count; i++) {
        rc = walk_l1_entry(c, q->l1[i], i, "the disk", true);
    }
    rc = rc ? rc : walk_snapshots(c);
    rc = rc ? rc : walk_l2_tables(c);
    rc = rc ? rc : bitmaps_each(q, walk_bitmap, c);
    if (rc == -EIO && q->h.bitmaps) {
        check_corrupt(c, "the bitmaps cannot be read");
        c->unsure = true;
        rc = 0;
    }
    return rc;
}

static bool is_clean(const struct qcow2_check_result *r)
{
    return r->corruptions == r->corruptions_fixed;
}

/** All changes to the disk; then the image is as good as any. */
static int finish_fix(struct check *c)
{
    int rc = qcow2_commit(c->q);
    if (!rc && is_clean(c->result)) {
        rc = qcow2_set_features(c->q, HEADER_INCOMPATIBLE, 0,
                                INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT);
        c->q->h.incompatible &= ~(INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT);
    }
    return rc;
}

static int run(struct check *c)
{
    struct qcow2 *q = c->q;
    if (q->overlaps) {
        check_corrupt(c, "tables lie over each other: this cannot be repaired, convert the image "
                         "to save what is left");
        c->fix = false;
    }
    int rc = walk(c);
    if (!rc && c->fix) {
        q->area_from = max_u64(c->file_clusters, cluster_of(q, c->result->image_end));
        rc = qcow2_begin_write(q);
    }
    rc = rc ? rc : check_counts(c);
    rc = rc ? rc : check_flags(c);
    if (!rc && c->fix) {
        rc = finish_fix(c);
    }
    q->hooks = NULL;
    q->area_from = 0;
    q->free_hint = 0;
    return rc;
}

int qcow2_check_open(struct qcow2 *q, bool fix, const struct qcow2_check_sink *sink,
                     struct qcow2_check_result *result, struct block_error *err)
{
    struct check c = {.q = q, .fix = fix, .sink = sink, .result = result};
    *result = (struct qcow2_check_result){.dirty = q->h.incompatible & INCOMPATIBLE_DIRTY};
    result->total = (q->h.size + q->cluster - 1) >> q->h.cluster_bits;
    c.file_clusters = (q->file.io.size + q->cluster - 1) >> q->h.cluster_bits;
    c.buf = malloc(q->cluster);
    int rc = c.buf ? run(&c) : -ENOMEM;
    free(c.buf);
    refs_fini(&c.refs);
    refs_fini(&c.tables);
    cluster_set_fini(&c.active);
    if (rc) {
        return block_fail(err, "%s: the check came to no end: %s", q->base.name,
                          rc == -ENOMEM ? "no memory" : strerror(-rc));
    }
    return 0;
}

int qcow2_check(const char *path, bool fix, const struct qcow2_check_sink *sink,
                struct qcow2_check_result *result, struct block_error *err)
{
    const struct block_options o = {.read_only = !fix, .vm_name = sink ? sink->vm_name : NULL};
    struct qcow2_file file = {.lock = {.note = -1}};
    struct qcow2 *q = NULL;
    if (qcow2_open_file(path, &o, &file, err) ||
        qcow2_open_image(&file, path, &o, QCOW2_TO_CHECK, &q, err)) {
        return -1;
    }
    int rc = qcow2_check_open(q, fix, sink, result, err);
    qcow2_free(q);
    return rc;
}
