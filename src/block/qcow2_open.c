/* Opening an image, its backing files, and closing. See qcow2_impl.h.
 *
 * Opening for writing learns where all tables are (the set of metadata clusters), so that no guest data is ever written over one and
 * no free cluster is believed that holds one; tables that lie over each other are found then. An image that was not closed cleanly
 * (the dirty bit: another program's lazy refcounts) is repaired first.
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHAIN_MAX 16u                  /* backing files of backing files */
#define SNAPSHOT_L1_MAX (512ull << 20) /* bytes, of all snapshots */

static int open_path(const char *path, const struct block_options *o, unsigned depth, struct block **out,
                     struct block_error *err);

/* ---- the backing file ---- */

/** What the image says, relative to the image's folder. malloc'd, or NULL. */
static char *backing_path(const char *image, const char *backing)
{
    const char *slash = strrchr(image, '/');
    int dir_len = slash && backing[0] != '/' ? (int)(slash + 1 - image) : 0;
    char *path;
    return asprintf(&path, "%.*s%s", dir_len, image, backing) < 0 ? NULL : path;
}

static bool is_qcow2_file(const char *path)
{
    char magic[4] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    ssize_t len = pread(fd, magic, sizeof(magic), 0);
    close(fd);
    return len == 4 && qcow2_probe(magic, 4);
}

/** Whether the backing file is qcow2: what the image has recorded. What a guest may have written into a raw one must not decide. */
static int backing_is_qcow2(const struct qcow2 *q, const char *path, bool *yes, struct block_error *err)
{
    const char *format = q->h.backing_format;
    *yes = strcmp(format, "qcow2") == 0;
    if (*yes || strcmp(format, "raw") == 0) {
        return 0;
    }
    if (format[0]) {
        return block_fail(err, "%s: its backing file %s is of format %s; only raw and qcow2 are supported", q->base.name, path,
                          format);
    }
    size_t len = strlen(path);
    *yes = len > 6 && strcmp(path + len - 6, ".qcow2") == 0;
    if (!*yes && is_qcow2_file(path)) {
        return block_fail(err,
                          "%s: it does not say of what format its backing file %s is; if it is qcow2, say so with qemu-img "
                          "rebase -u -b FILE -F qcow2",
                          q->base.name, path);
    }
    return 0;
}

static int open_backing(struct qcow2 *q, const char *path, const struct block_options *o, unsigned depth,
                        struct block_error *err)
{
    const char *name = q->h.backing, *colon = strchr(name, ':'), *slash = strchr(name, '/');
    if (!o->allow_backing) {
        return block_fail(err, "%s: this image has the backing file %s; say ,backing to allow it to be opened", path, name);
    }
    if (depth >= CHAIN_MAX) {
        return block_fail(err, "%s: more than %u backing files in a chain, or a circle of them", path, CHAIN_MAX);
    }
    if (colon && (!slash || colon < slash)) {
        return block_fail(err, "%s: its backing file %s is not a plain file; only those are supported", path, name);
    }
    char *file = backing_path(path, name);
    if (!file) {
        return block_fail(err, "%s: no memory", path);
    }
    struct block_options options = *o;
    options.read_only = true;
    options.format = NULL;
    bool is_qcow2;
    int rc = backing_is_qcow2(q, file, &is_qcow2, err);
    if (!rc) {
        rc = is_qcow2 ? open_path(file, &options, depth + 1, &q->backing, err) : raw_open(file, &options, &q->backing, err);
    }
    free(file);
    return rc;
}

/* ---- tables ---- */

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
    if (off & (q->cluster - 1) || off >= q->file.io.size || len > align_up(q->file.io.size, q->cluster) - off) {
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

static int load_tables(struct qcow2 *q)
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
    rc = q->reftable_dirty ? load_entries(q, q->h.reftable_offset, q->reftable_count, &q->reftable) : -ENOMEM;
    return rc ? rc : open_metadata(q);
}

/* ---- opening ---- */

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
        return block_fail(err, "%s: the image is marked as damaged; try ring3 image check --repair, or open it with ,ro", path);
    }
    if (q->overlaps || q->misplaced) {
        return block_fail(err, "%s: the image is damaged: %s; see ring3 image check, or open it with ,ro to save what is left",
                          path, q->overlaps ? "its tables lie over each other" : "a table is where none can be");
    }
    if (!(q->h.incompatible & INCOMPATIBLE_DIRTY)) {
        return 0;
    }
    q->check = true;
    int rc = qcow2_check_open(q, true, NULL, &result, err);
    q->check = false;
    if (!rc && (result.corruptions != result.corruptions_fixed || q->corrupt)) {
        rc = block_fail(err, "%s: it was not closed cleanly and cannot be repaired; see ring3 image check", path);
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

static int open_rest(struct qcow2 *q, const char *path, const struct block_options *o, unsigned depth, struct block_error *err)
{
    int rc = read_header(q, path, err);
    rc = rc ? rc : qcow2_header_usable(&q->h, path, err);
    if (rc) {
        return rc;
    }
    init_geometry(q);
    rc = qcache_init(&q->cache, (uint32_t)min_u64(4096, q->cluster));
    rc = rc ? rc : load_tables(q);
    if (rc == -EIO) {
        return block_fail(err, "%s: the qcow2 image is damaged or cannot be read; see ring3 image check", path);
    }
    if (rc) {
        return block_fail(err, "%s: cannot be opened: %s", path, strerror(-rc));
    }
    if (!q->check && q->h.backing[0]) {
        rc = open_backing(q, path, o, depth, err);
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

static int open_image(const struct qcow2_file *file, const char *path, const struct block_options *o, enum qcow2_purpose purpose,
                      unsigned depth, struct qcow2 **out, struct block_error *err)
{
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

int qcow2_open_image(const struct qcow2_file *file, const char *path, const struct block_options *o, enum qcow2_purpose purpose,
                     struct qcow2 **out, struct block_error *err)
{
    return open_image(file, path, o, purpose, 0, out, err);
}

static int fail_open(const char *path, bool read_only, struct block_error *err)
{
    switch (errno) {
    case ENOENT: return block_fail_gone(err, "%s: no such file: make it with ring3 image create", path);
    case ENXIO:
    case EIO:
    case ENODEV: return block_fail_gone(err, "%s: %s", path, strerror(errno));
    case EBUSY: return block_fail(err, "%s is in use by the host, mounted for instance: unmount it first", path);
    case EISDIR: return block_fail(err, "%s is a folder: a disk is a file or a block device", path);
    default: break;
    }
    bool hint = !read_only && (errno == EACCES || errno == EPERM || errno == EROFS || errno == ETXTBSY);
    return block_fail(err, "%s: %s%s", path, strerror(errno), hint ? " (add ,ro to only read it)" : "");
}

int qcow2_open_file(const char *path, const struct block_options *o, struct qcow2_file *file, struct block_error *err)
{
    /* O_EXCL claims a block device for us alone; not blocking, for a pipe must not hold us up. */
    int fd = open(path, (o->read_only ? O_RDONLY : O_RDWR | O_EXCL) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return fail_open(path, o->read_only, err);
    }
    int rc = qcow2_io_init(&file->io, fd);
    if (rc) {
        close(fd);
        return block_fail(err, "%s: %s", path, rc == -ESPIPE ? "neither a file nor a block device" : strerror(-rc));
    }
    file->lock.note = -1;
    if (lock_take(&file->lock, fd, path, !o->read_only, o->vm_name, err)) {
        close(fd);
        return -1;
    }
    return 0;
}

static int open_path(const char *path, const struct block_options *o, unsigned depth, struct block **out,
                     struct block_error *err)
{
    struct qcow2_file file;
    struct qcow2 *q;
    if (qcow2_open_file(path, o, &file, err) || open_image(&file, path, o, QCOW2_AS_DISK, depth, &q, err)) {
        return -1;
    }
    *out = &q->base;
    return 0;
}

int qcow2_open(const char *path, const struct block_options *o, struct block **out, struct block_error *err)
{
    return open_path(path, o, 0, out, err);
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
