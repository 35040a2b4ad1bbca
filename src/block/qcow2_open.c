/* Opening an image, describing one, and closing. See qcow2_impl.h.
 *
 * An image that was not closed cleanly (the dirty bit: another program's lazy refcounts) is
 * repaired when it is opened for writing.
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER_READ_MAX (2u << 20) /* the largest cluster */

static int read_header(struct qcow2 *q, const char *path, struct block_error *err)
{
    size_t len = min_u64(HEADER_READ_MAX, q->file.io.size);
    uint8_t *bytes = calloc(1, len > sizeof(q->header_sector) ? len : sizeof(q->header_sector));
    if (!bytes) {
        return block_fail(err, "%s: no memory", path);
    }
    int rc = qcow2_io_read(&q->file.io, 0, bytes, len);
    if (rc) {
        rc = block_fail(err, "%s: cannot be read: %s", path, strerror(-rc));
    } else {
        rc = qcow2_header_parse(&q->h, bytes, len, q->file.io.size, path, err);
        memcpy(q->header_sector, bytes, sizeof(q->header_sector));
    }
    free(bytes);
    return rc;
}

/** An image that was not closed cleanly, or was found damaged, and is to be written. */
static int make_clean(struct qcow2 *q, const char *path, struct block_error *err)
{
    struct qcow2_check_result result;
    if (q->h.incompatible & INCOMPATIBLE_CORRUPT) {
        return block_fail(err,
                          "%s: the image is marked as damaged; try ring3 image check --repair, or "
                          "open it with ,ro",
                          path);
    }
    if (q->overlaps || q->misplaced) {
        return block_fail(
            err,
            "%s: the image is damaged: %s; see ring3 image check, or open it with ,ro to save what "
            "is left",
            path, q->overlaps ? "its tables lie over each other" : "a table is where none can be");
    }
    if (!(q->h.incompatible & INCOMPATIBLE_DIRTY)) {
        return 0;
    }
    q->check = true;
    int rc = qcow2_check_open(q, true, NULL, &result, err);
    q->check = false;
    if (!rc && (result.corruptions != result.corruptions_fixed || q->corrupt)) {
        rc = block_fail(
            err, "%s: it was not closed cleanly and cannot be repaired; see ring3 image check",
            path);
    }
    return rc;
}

static void init_geometry(struct qcow2 *q)
{
    q->cluster = 1ull << q->h.cluster_bits;
    q->l2_bits = q->h.cluster_bits - 3;
    q->refblock_entries = q->cluster * 8 >> q->h.refcount_order;
    q->fresh_from = (q->file.io.size + q->cluster - 1) >> q->h.cluster_bits;
    q->base.size = q->h.size;
    q->base.optimal = (uint32_t)q->cluster;
}

static int open_rest(struct qcow2 *q, const char *path, const struct block_options *o,
                     unsigned depth, struct block_error *err)
{
    int rc = read_header(q, path, err);
    rc = rc ? rc : qcow2_header_usable(&q->h, path, err);
    if (rc) {
        return rc;
    }
    init_geometry(q);
    rc = qcache_init(&q->cache, (uint32_t)min_u64(4096, q->cluster));
    rc = rc ? rc : qcow2_load_tables(q);
    if (rc == -EIO) {
        return block_fail(
            err, "%s: the qcow2 image is damaged or cannot be read; see ring3 image check", path);
    }
    if (rc) {
        return block_fail(err, "%s: cannot be opened: %s", path, strerror(-rc));
    }
    if (!q->check && q->h.backing[0]) {
        rc = qcow2_open_backing(q, path, o, depth, err);
    }
    if (!rc && !q->check && !q->base.read_only) {
        rc = make_clean(q, path, err);
    }
    return rc;
}

static void close_file(struct qcow2_file *file)
{
    file->io.ops->close(&file->io);
    lock_drop(&file->lock); /* after the file: lock.h */
}

static int open_image(const struct qcow2_file *file, const char *path,
                      const struct block_options *o, enum qcow2_purpose purpose, unsigned depth,
                      struct qcow2 **out, struct block_error *err)
{
    BUG_ON(!file->io.ops);
    struct qcow2 *q = calloc(1, sizeof(*q));
    if (!q) {
        struct qcow2_file lost = *file;
        close_file(&lost);
        return block_fail(err, "%s: no memory", path);
    }
    block_init(&q->base, &qcow2_ops, path, 0);
    q->file = *file;
    q->base.read_only = o->read_only;
    q->base.report = o->report;
    q->base.report_ctx = o->report_ctx;
    q->check = purpose == QCOW2_TO_CHECK;
    int rc = open_rest(q, path, o, depth, err);
    if (rc) {
        qcow2_free(q);
        return -1;
    }
    *out = q;
    return 0;
}

int qcow2_open_image(const struct qcow2_file *file, const char *path, const struct block_options *o,
                     enum qcow2_purpose purpose, struct qcow2 **out, struct block_error *err)
{
    return open_image(file, path, o, purpose, 0, out, err);
}

int qcow2_open_file(const char *path, const struct block_options *o, struct qcow2_file *file,
                    struct block_error *err)
{
    /* O_EXCL claims a block device for us alone; not blocking, for a pipe must not hold us up. */
    int fd =
        open(path, (o->read_only ? O_RDONLY : O_RDWR | O_EXCL) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return block_fail_open(err, path, o->read_only);
    }
    int rc = qcow2_io_init(&file->io, fd);
    if (rc) {
        close(fd);
        return block_fail(err, "%s: %s", path,
                          rc == -ESPIPE ? "neither a file nor a block device" : strerror(-rc));
    }
    file->lock.note = -1;
    if (lock_take(&file->lock, fd, path, !o->read_only, o->vm_name, err)) {
        close(fd);
        return -1;
    }
    return 0;
}

int qcow2_open_depth(const char *path, const struct block_options *o, unsigned depth,
                     struct block **out, struct block_error *err)
{
    struct qcow2_file file = {.lock = {.note = -1}};
    struct qcow2 *q = NULL;
    if (qcow2_open_file(path, o, &file, err) ||
        open_image(&file, path, o, QCOW2_AS_DISK, depth, &q, err)) {
        return -1;
    }
    *out = &q->base;
    return 0;
}

int qcow2_open(const char *path, const struct block_options *o, struct block **out,
               struct block_error *err)
{
    return qcow2_open_depth(path, o, 0, out, err);
}

void qcow2_free(struct qcow2 *q)
{
    if (q->backing) {
        block_close(q->backing);
    }
    qcache_fini(&q->cache);
    cluster_set_fini(&q->metadata);
    free(q->l1);
    free(q->l1_dirty);
    free(q->l1_new);
    free(q->reftable);
    free(q->reftable_dirty);
    free(q->pending);
    free(q->edge[0]);
    free(q->edge[1]);
    free(q->packed);
    free(q->unpacked);
    close_file(&q->file);
    free(q);
}

/* ---- describing ---- */

int qcow2_info(int fd, const char *name, struct qcow2_info *info, struct block_error *err)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    if (!q) {
        return block_fail(err, "%s: no memory", name);
    }
    int rc = qcow2_io_init(&q->file.io, fd);
    rc = rc ? block_fail(err, "%s: %s", name, strerror(-rc)) : read_header(q, name, err);
    if (!rc) {
        const struct qcow2_header *h = &q->h;
        *info = (struct qcow2_info){
            .version = h->version,
            .cluster_bits = h->cluster_bits,
            .refcount_bits = 1u << h->refcount_order,
            .size = h->size,
            .dirty = h->incompatible & INCOMPATIBLE_DIRTY,
            .corrupt = h->incompatible & INCOMPATIBLE_CORRUPT,
            .zstd = h->compression == 1,
            .lazy_refcounts = h->compatible & COMPATIBLE_LAZY_REFCOUNTS,
            .extended_l2 = h->incompatible & INCOMPATIBLE_EXTENDED_L2,
            .external_data = h->incompatible & INCOMPATIBLE_EXTERNAL_DATA,
            .encrypted = h->crypt_method,
            .bitmaps = h->bitmaps,
            .snapshots = h->snapshots,
        };
        memcpy(info->backing, h->backing, sizeof(info->backing));
        memcpy(info->backing_format, h->backing_format, sizeof(info->backing_format));
    }
    free(q);
    return rc;
}
