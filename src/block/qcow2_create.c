/* Making an image: version 3, 16-bit refcounts, nothing allocated.
 *
 *   cluster 0          header, its extensions, the backing file's name
 *   then               refcount table, refcount blocks, L1 table
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REFCOUNT_ORDER 4u
#define HEADER_LENGTH_NEW 112u /* up to the compression type, and padding */

struct layout {
    uint64_t cluster;
    uint64_t l1_entries;
    uint64_t reftable, reftable_clusters; /* first cluster of each, and how many */
    uint64_t blocks, block_count;
    uint64_t l1, l1_clusters;
    uint64_t clusters; /* in all */
};

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static void lay_out(struct layout *l, const struct qcow2_create *what)
{
    *l = (struct layout){.cluster = 1ull << what->cluster_bits, .reftable = 1};
    const uint64_t per_block = l->cluster * 8 >> REFCOUNT_ORDER;
    l->l1_entries = divide_up(what->size, l->cluster * (l->cluster / 8));
    l->l1_clusters = divide_up(max_u64(l->l1_entries, 1) * 8, l->cluster);
    for (uint64_t before = UINT64_MAX; before != l->block_count;) {
        before = l->block_count;
        l->reftable_clusters = max_u64(divide_up(l->block_count * 8, l->cluster), 1);
        l->clusters = 1 + l->reftable_clusters + l->block_count + l->l1_clusters;
        l->block_count = divide_up(l->clusters, per_block);
    }
    l->blocks = l->reftable + l->reftable_clusters;
    l->l1 = l->blocks + l->block_count;
}

/** A header extension at p; returns its length. */
static size_t put_extension(uint8_t *p, uint32_t type, const void *data, uint32_t len)
{
    store_be32(p, type);
    store_be32(p + 4, len);
    memcpy(p + 8, data, len);
    return 8 + align_up(len, 8);
}

/** Bytes that a header takes at most. */
static uint64_t header_room(const struct layout *l)
{
    return min_u64(l->cluster, 4096);
}

static int write_header(struct qcow2_io *io, const struct qcow2_create *what,
                        const struct layout *l, const char *name, struct block_error *err)
{
    uint8_t *p = calloc(1, header_room(l));
    if (!p) {
        return block_fail(err, "%s: no memory", name);
    }
    store_be32(p + HEADER_MAGIC, QCOW2_MAGIC);
    store_be32(p + HEADER_VERSION, 3);
    store_be32(p + HEADER_CLUSTER_BITS, what->cluster_bits);
    store_be64(p + HEADER_SIZE, what->size);
    store_be32(p + HEADER_L1_SIZE, (uint32_t)l->l1_entries);
    store_be64(p + HEADER_L1_OFFSET, l->l1 * l->cluster);
    store_be64(p + HEADER_REFTABLE_OFFSET, l->reftable * l->cluster);
    store_be32(p + HEADER_REFTABLE_CLUSTERS, (uint32_t)l->reftable_clusters);
    store_be32(p + HEADER_REFCOUNT_ORDER, REFCOUNT_ORDER);
    store_be32(p + HEADER_LENGTH, HEADER_LENGTH_NEW);
    size_t at = HEADER_LENGTH_NEW;
    int rc = 0;
    if (what->backing) {
        const char *format = what->backing_format;
        size_t len = strlen(what->backing);
        at += put_extension(p + at, EXTENSION_BACKING_FORMAT, format, (uint32_t)strlen(format));
        at += 8; /* the end of the extensions */
        if (len > QCOW2_NAME_MAX || len > header_room(l) - at) {
            rc = block_fail(err, "%s: the backing file's name is too long for the image's header",
                            name);
        } else {
            memcpy(p + at, what->backing, len);
            store_be64(p + HEADER_BACKING_OFFSET, at);
            store_be32(p + HEADER_BACKING_SIZE, (uint32_t)len);
        }
    }
    if (!rc) {
        int bad = qcow2_io_write(io, 0, p, header_room(l));
        rc = bad ? block_fail(err, "%s: %s", name, strerror(-bad)) : 0;
    }
    free(p);
    return rc;
}

/** The refcount table and the blocks it names, as far as they are not zero. */
static int write_tables(struct qcow2_io *io, const struct layout *l)
{
    const uint64_t per_block = l->cluster * 8 >> REFCOUNT_ORDER;
    uint8_t *p = calloc(1, max_u64(l->block_count * 8, l->cluster));
    if (!p) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < l->block_count; i++) {
        store_be64(p + i * 8, (l->blocks + i) * l->cluster);
    }
    int rc = qcow2_io_write(io, l->reftable * l->cluster, p, l->block_count * 8);
    for (uint64_t i = 0; !rc && i < l->block_count; i++) {
        uint64_t used = min_u64(per_block, l->clusters - i * per_block);
        for (uint64_t j = 0; j < used; j++) {
            refcount_store(p, j, REFCOUNT_ORDER, 1);
        }
        rc = qcow2_io_write(io, (l->blocks + i) * l->cluster, p, used << REFCOUNT_ORDER >> 3);
    }
    free(p);
    return rc;
}

int qcow2_create(int fd, const char *name, const struct qcow2_create *what, struct block_error *err)
{
    struct qcow2_io io;
    struct layout l;
    if (what->cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
        what->cluster_bits > QCOW2_CLUSTER_BITS_MAX) {
        return block_fail(err, "%s: clusters can have 512 bytes to 2 MB", name);
    }
    if (what->size % BLOCK_SECTOR) {
        return block_fail(err, "%s: a disk's size is a multiple of 512 bytes", name);
    }
    lay_out(&l, what);
    if (l.l1_entries > QCOW2_L1_MAX / 8) {
        return block_fail(
            err, "%s: with clusters of %llu bytes a disk cannot be so large; use larger ones", name,
            (unsigned long long)l.cluster);
    }
    int rc = qcow2_io_init(&io, fd);
    if (rc) {
        return block_fail(err, "%s: %s", name, strerror(-rc));
    }
    if (write_header(&io, what, &l, name, err)) {
        return -1;
    }
    rc = write_tables(&io, &l);
    if (!rc && (ftruncate(fd, (off_t)(l.clusters << what->cluster_bits)) || fsync(fd))) {
        rc = -errno;
    }
    return rc ? block_fail(err, "%s: %s", name, strerror(-rc)) : 0;
}
