/* qcow2 images beyond reading and writing them as a disk: making, describing and checking them.
 *
 * The format is the one that QEMU's docs/interop/qcow2.txt ("Qcow2 Image File Format") describes,
 * versions 2 and 3. qcow2_open (block.h) opens an image as a disk. All of these run on the caller's
 * thread, print nothing, and leave nothing open.
 */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include "block/block.h"

#define QCOW2_NAME_MAX 1023u /* bytes of a backing file's name: the format's limit */
#define QCOW2_CLUSTER_BITS_MIN 9u
#define QCOW2_CLUSTER_BITS_MAX 21u
#define QCOW2_CLUSTER_BITS_DEFAULT 16u

/** What to make. */
struct qcow2_create {
    uint64_t size;         /* bytes, a multiple of BLOCK_SECTOR */
    unsigned cluster_bits; /* 9 to 21 */
    const char *backing;   /* NULL: none; as it shall stand in the image: relative to the image's
                              folder, or absolute */
    const char *backing_format; /* "raw" or "qcow2"; with backing only */
};

/** Write an empty image into fd, an empty file open for reading and writing, and bring it to stable
 * storage. `name` is for messages. 0, or -1 with *err. */
int qcow2_create(int fd, const char *name, const struct qcow2_create *what,
                 struct block_error *err) MUST_CHECK;

/** What an image says about itself. */
struct qcow2_info {
    unsigned version, cluster_bits, refcount_bits;
    uint64_t size; /* bytes of the disk */
    bool dirty, corrupt, zstd, lazy_refcounts, extended_l2, external_data, encrypted, bitmaps;
    uint32_t snapshots;
    char backing[QCOW2_NAME_MAX + 1]; /* empty: none */
    char backing_format[16];          /* empty: not recorded */
};

/** Describe the image that fd (readable) holds; nothing is locked. Also images that cannot be
 * opened as a disk. 0, or -1 with *err: not a qcow2 image, or its header is damaged. */
int qcow2_info(int fd, const char *name, struct qcow2_info *info,
               struct block_error *err) MUST_CHECK;

/** The file that the image at path `image` means by `backing`, the name of its backing file: such
 * names begin in the image's folder. malloc'd; NULL: no memory. */
char *qcow2_backing_path(const char *image, const char *backing) MUST_CHECK;

/** Whether the first bytes are those of a qcow2 image. len may be anything. */
bool qcow2_probe(const void *bytes, size_t len);

/** What a check found. Clusters, but for the last two. */
struct qcow2_check_result {
    uint64_t leaks;       /* with a higher reference count than references: space lost, no harm */
    uint64_t corruptions; /* references that cannot be, counts too low, flags that are wrong */
    uint64_t leaks_fixed, corruptions_fixed;
    uint64_t data, compressed, zero,
        total;          /* guest clusters: allocated, of these compressed, known zero, all */
    uint64_t image_end; /* bytes of the file that are in use */
    bool dirty;         /* was marked as not closed cleanly */
};

/** Whom the check tells. Any may be NULL. */
struct qcow2_check_sink {
    void *ctx;
    void (*line)(void *ctx, const char *line); /* a finding, one line; the first 32, then none */
    bool (*stop)(void *ctx);                   /* polled; true: give up */
    const char *vm_name;                       /* for the lock */
};

/** Hold all references against all reference counts. With fix, the counts and flags that differ are
 * set right; leaks only when every table could be read, for an unreadable one may hold the
 * references that are missing. Takes the image's lock. 0 with *result (also when there are
 * corruptions), or -1 with *err: it could not be checked. */
int qcow2_check(const char *path, bool fix, const struct qcow2_check_sink *sink,
                struct qcow2_check_result *result, struct block_error *err) MUST_CHECK;

/** Write one cluster (`data`: 1 << cluster_bits bytes) packed, where it was unallocated; b is what
 * qcow2_open gave. What does not get smaller is written as it is. off: a multiple of the cluster
 * size. 0 or -errno. */
int qcow2_write_compressed(struct block *b, uint64_t off, const uint8_t *data) MUST_CHECK;

#endif
