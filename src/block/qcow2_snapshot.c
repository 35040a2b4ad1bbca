/* What else an image refers to: "Snapshots", "Bitmaps". Both are only walked, never changed. See
 * qcow2_impl.h. */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "Snapshot table entry" */
#define SNAPSHOT_FIXED 40u
/* "Structure of a bitmap directory entry" */
#define BITMAP_FIXED 24u
#define BITMAP_DIRECTORY_MAX (64u << 20)
#define BITMAP_TABLE_MAX (32u << 20)

int snapshots_each(struct qcow2 *q, int (*fn)(void *ctx, const struct qcow2_snapshot *s), void *ctx,
                   uint64_t *end)
{
    uint64_t at = q->h.snapshots_offset;
    const uint64_t start = at;
    for (uint32_t i = 0; i < q->h.snapshots; i++) {
        uint8_t fixed[SNAPSHOT_FIXED];
        int rc = qcow2_io_read(&q->file.io, at, fixed, sizeof(fixed));
        if (rc) {
            return rc;
        }
        struct qcow2_snapshot s = {.l1_offset = load_be64(fixed), .l1_size = load_be32(fixed + 8)};
        uint64_t id_len = load_be16(fixed + 12), name_len = load_be16(fixed + 14),
                 extra = load_be32(fixed + 36);
        uint64_t name_at = at + SNAPSHOT_FIXED + extra + id_len;
        at = align_up(name_at + name_len, 8);
        if (at - start > QCOW2_SNAPSHOT_TABLE_MAX || name_at + name_len > q->file.io.size) {
            return -EIO;
        }
        size_t shown = min_u64(name_len, sizeof(s.name) - 1);
        rc = shown ? qcow2_io_read(&q->file.io, name_at, s.name, shown) : 0;
        for (size_t c = 0; c < shown; c++) {
            s.name[c] = s.name[c] < ' ' || s.name[c] == 0x7f ? '?' : s.name[c];
        }
        rc = rc ? rc : fn(ctx, &s);
        if (rc) {
            return rc;
        }
    }
    *end = at;
    return 0;
}

static int bitmap_table_each(struct qcow2 *q, uint64_t off, uint64_t size,
                             int (*fn)(void *ctx, uint64_t off, uint64_t len), void *ctx)
{
    if (size > BITMAP_TABLE_MAX || off & (q->cluster - 1) || off >= q->file.io.size ||
        size > q->file.io.size - off) {
        return -EIO;
    }
    int rc = size ? fn(ctx, off, size) : 0;
    for (uint64_t at = 0; !rc && at < size; at += 8) {
        uint8_t entry[8];
        rc = qcow2_io_read(&q->file.io, off + at, entry, sizeof(entry));
        uint64_t data = load_be64(entry) & ENTRY_OFFSET;
        if (!rc && data) {
            rc = fn(ctx, data, q->cluster);
        }
    }
    return rc;
}

int bitmaps_each(struct qcow2 *q, int (*fn)(void *ctx, uint64_t off, uint64_t len), void *ctx)
{
    uint64_t at = q->h.bitmaps_offset, end = at + q->h.bitmaps_size;
    if (q->h.bitmaps == 0) {
        return 0;
    }
    if (q->h.bitmaps_size > BITMAP_DIRECTORY_MAX) {
        return -EIO;
    }
    int rc = fn(ctx, at, q->h.bitmaps_size);
    for (uint32_t i = 0; !rc && i < q->h.bitmaps; i++) {
        uint8_t fixed[BITMAP_FIXED];
        if (end - at < BITMAP_FIXED) {
            return -EIO;
        }
        rc = qcow2_io_read(&q->file.io, at, fixed, sizeof(fixed));
        uint64_t len =
            align_up(BITMAP_FIXED + load_be16(fixed + 18) + (uint64_t)load_be32(fixed + 20), 8);
        if (!rc && len > end - at) {
            return -EIO;
        }
        rc = rc ? rc
                : bitmap_table_each(q, load_be64(fixed), (uint64_t)load_be32(fixed + 8) * 8, fn,
                                    ctx);
        at += len;
    }
    return rc;
}
