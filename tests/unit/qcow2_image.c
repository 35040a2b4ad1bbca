/* See qcow2_image.h. */
#include "qcow2_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fflush(stdout);                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond);                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

void image_make_file(int fd, uint64_t size, unsigned cluster_bits, const char *backing)
{
    struct block_error err;
    struct qcow2_create what = {.size = size, .cluster_bits = cluster_bits, .backing = backing};
    if (backing) {
        what.backing_format = strstr(backing, ".qcow2") ? "qcow2" : "raw";
    }
    REQUIRE(qcow2_create(fd, "image", &what, &err) == 0);
}

void image_make(struct fake_file *d, uint64_t size, unsigned cluster_bits)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    REQUIRE(fd >= 0);
    image_make_file(fd, size, cluster_bits, NULL);
    fake_file_load(d, fd);
    close(fd);
}

void image_pack(struct qcow2 *q, struct disk_model *m)
{
    uint8_t *cluster = calloc(1, q->cluster);
    for (uint64_t at = 0; at < q->base.size; at += 3 * q->cluster) {
        struct model_sector *s = &m->sector[at / BLOCK_SECTOR];
        s->now = s->flushed = ++m->next_stamp;
        model_fill(cluster, s->now);
        REQUIRE(qcow2_write_compressed(&q->base, at, cluster) == 0);
    }
    free(cluster);
}

const char *image_try_open(struct fake_file *d, bool read_only, struct qcow2 **q)
{
    static struct block_error err;
    const struct qcow2_file file = fake_file_file(d);
    const struct block_options o = {.read_only = read_only};
    return qcow2_open_image(&file, "image", &o, QCOW2_AS_DISK, q, &err) ? err.text : NULL;
}

static void say(void *ctx, const char *line)
{
    (void)ctx;
    printf("%s\n", line);
}

struct qcow2 *image_open(struct fake_file *d, uint64_t backed, bool read_only)
{
    struct qcow2 *q;
    const char *error = image_try_open(d, read_only, &q);
    if (error) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
    q->base.report = say;
    q->backing = backed ? model_backing(backed) : NULL;
    return q;
}

struct qcow2_check_result image_repair(struct fake_file *d, bool fix)
{
    struct block_error err;
    struct qcow2_check_result result;
    const struct qcow2_check_sink sink = {.line = say};
    const struct qcow2_file file = fake_file_file(d);
    const struct block_options o = {.read_only = !fix};
    struct qcow2 *q;
    REQUIRE(qcow2_open_image(&file, "image", &o, QCOW2_TO_CHECK, &q, &err) == 0);
    int rc = qcow2_check_open(q, fix, fix ? NULL : &sink, &result, &err);
    qcow2_free(q);
    if (rc) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return result;
}

void image_check(struct fake_file *d, bool leaks_allowed)
{
    struct block_error err;
    struct qcow2_check_result result;
    const struct qcow2_check_sink sink = {.line = say};
    const struct qcow2_file file = fake_file_file(d);
    const struct block_options o = {.read_only = true};
    struct qcow2 *q;
    REQUIRE(qcow2_open_image(&file, "image", &o, QCOW2_TO_CHECK, &q, &err) == 0);
    REQUIRE(qcow2_check_open(q, false, leaks_allowed ? NULL : &sink, &result, &err) == 0);
    qcow2_free(q);
    if (result.corruptions) {
        image_repair(d, false); /* says which */
    }
    REQUIRE(result.corruptions == 0);
    REQUIRE(leaks_allowed || result.leaks == 0);
}

/* ---- snapshots, as QEMU's qemu-img snapshot -c makes them ---- */

static void share(struct qcow2 *q, uint64_t cluster)
{
    uint64_t count;
    REQUIRE(refcount_get(q, cluster, &count) == 0 && count > 0);
    REQUIRE(refcount_set(q, cluster, count + 1) == 0);
}

static void share_table(struct qcow2 *q, uint32_t index)
{
    for (uint64_t i = 0; i < 1ull << q->l2_bits; i++) {
        uint64_t guest = ((uint64_t)index << q->l2_bits) + i, entry, first, last;
        REQUIRE(map_get(q, guest, &entry) == 0);
        if (entry_clusters(q, entry, &first, &last)) {
            for (; first <= last; first++) {
                share(q, first);
            }
            REQUIRE(map_set(q, guest, entry & ~ENTRY_COPIED) == 0);
        }
    }
    share(q, cluster_of(q, q->l1[index] & ENTRY_OFFSET));
    map_set_l1(q, index, q->l1[index] & ~ENTRY_COPIED);
}

void image_snapshot(struct fake_file *d)
{
    struct qcow2 *q = image_open(d, 0, false);
    uint64_t first, got, table;
    const uint64_t clusters = ((uint64_t)q->l1_count * 8 + q->cluster - 1) >> q->h.cluster_bits;
    uint8_t entry[96] = {0}, *l1 = calloc(clusters, q->cluster);
    for (uint32_t i = 0; i < q->l1_count; i++) {
        if (q->l1[i] & ENTRY_OFFSET) {
            share_table(q, i);
        }
        store_be64(l1 + (size_t)i * 8, q->l1[i]);
    }
    q->free_hint = q->fresh_from; /* where there is room in a row */
    REQUIRE(alloc_clusters(q, clusters, &first, &got) == 0 && got == clusters);
    REQUIRE(alloc_clusters(q, 1, &table, &got) == 0);
    REQUIRE(qcow2_io_write(&q->file.io, offset_of(q, first), l1, clusters << q->h.cluster_bits) ==
            0);
    free(l1);
    store_be64(entry, offset_of(q, first));
    store_be32(entry + 8, q->l1_count);
    store_be16(entry + 12, 1);
    store_be16(entry + 14, 4);
    store_be32(entry + 36, 16);
    store_be64(entry + 48, q->h.size);
    memcpy(entry + 56, "1kept", 5);
    REQUIRE(qcow2_io_write(&q->file.io, offset_of(q, table), entry, sizeof(entry)) == 0);
    REQUIRE(qcow2_commit(q) == 0);
    store_be32(q->header_sector + HEADER_SNAPSHOTS, 1);
    store_be64(q->header_sector + HEADER_SNAPSHOTS_OFFSET, offset_of(q, table));
    REQUIRE(qcow2_io_write(&q->file.io, 0, q->header_sector, HEADER_V3_LENGTH) == 0);
    REQUIRE(q->file.io.ops->sync(&q->file.io) == 0);
    qcow2_free(q);
}

static int use_snapshot(void *ctx, const struct qcow2_snapshot *s)
{
    struct qcow2 *q = ctx;
    for (uint32_t i = 0; i < s->l1_size; i++) {
        uint8_t entry[8];
        REQUIRE(qcow2_io_read(&q->file.io, s->l1_offset + (uint64_t)i * 8, entry, 8) == 0);
        q->l1[i] = load_be64(entry);
    }
    return 0;
}

struct qcow2 *image_open_snapshot(struct fake_file *d, uint64_t backed)
{
    struct qcow2 *q = image_open(d, backed, true);
    uint64_t end;
    REQUIRE(snapshots_each(q, use_snapshot, q, &end) == 0);
    return q;
}
