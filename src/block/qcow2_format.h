/* The qcow2 format's constants, and its header once it was read and found sound.
 *
 * Source: QEMU's docs/interop/qcow2.txt, "Qcow2 Image File Format"; section titles are named beside
 * what they define. Numbers in the file are big-endian.
 */
#ifndef BLOCK_QCOW2_FORMAT_H
#define BLOCK_QCOW2_FORMAT_H

#include "block/qcow2.h"

#define QCOW2_MAGIC 0x514649fbu

/* "Header" */
enum {
    HEADER_MAGIC = 0,
    HEADER_VERSION = 4,
    HEADER_BACKING_OFFSET = 8,
    HEADER_BACKING_SIZE = 16,
    HEADER_CLUSTER_BITS = 20,
    HEADER_SIZE = 24,
    HEADER_CRYPT_METHOD = 32,
    HEADER_L1_SIZE = 36,
    HEADER_L1_OFFSET = 40,
    HEADER_REFTABLE_OFFSET = 48,
    HEADER_REFTABLE_CLUSTERS = 56,
    HEADER_SNAPSHOTS = 60,
    HEADER_SNAPSHOTS_OFFSET = 64,
    HEADER_V2_LENGTH = 72,
    HEADER_INCOMPATIBLE = 72,
    HEADER_COMPATIBLE = 80,
    HEADER_AUTOCLEAR = 88,
    HEADER_REFCOUNT_ORDER = 96,
    HEADER_LENGTH = 100,
    HEADER_V3_LENGTH = 104,
    HEADER_COMPRESSION = 104,
};

#define INCOMPATIBLE_DIRTY (1ull << 0)
#define INCOMPATIBLE_CORRUPT (1ull << 1)
#define INCOMPATIBLE_EXTERNAL_DATA (1ull << 2)
#define INCOMPATIBLE_COMPRESSION (1ull << 3)
#define INCOMPATIBLE_EXTENDED_L2 (1ull << 4)
#define INCOMPATIBLE_KNOWN 0x1full
#define COMPATIBLE_LAZY_REFCOUNTS (1ull << 0)

/* "Header extensions" */
#define EXTENSION_END 0u
#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_FEATURE_NAMES 0x6803f857u
#define EXTENSION_BITMAPS 0x23852875u

/* "Cluster mapping": entries of L1 and L2 tables */
#define ENTRY_OFFSET 0x00fffffffffffe00ull
#define ENTRY_COPIED (1ull << 63)     /* its refcount is exactly one */
#define ENTRY_COMPRESSED (1ull << 62) /* L2 only */
#define ENTRY_ZERO (1ull << 0)        /* L2 only, version 3 */
#define L1_RESERVED 0x7f000000000001ffull
#define L2_RESERVED 0x3f000000000001feull

#define QCOW2_OFFSET_END (1ull << 56) /* host offsets lie below */
#define QCOW2_L1_MAX (32u << 20)      /* bytes; QEMU's limits, here too: what is held in memory */
#define QCOW2_REFTABLE_MAX (8u << 20) /* bytes */
#define QCOW2_SNAPSHOTS_MAX 65536u
#define QCOW2_SNAPSHOT_TABLE_MAX (64u << 20) /* bytes */

/** A header that holds what qcow2_header_parse promises. */
struct qcow2_header {
    uint32_t version; /* 2 or 3 */
    unsigned cluster_bits, refcount_order;
    uint32_t crypt_method;
    uint64_t size;
    uint32_t l1_size; /* entries */
    uint64_t l1_offset;
    uint64_t reftable_offset;
    uint32_t reftable_clusters;
    uint32_t snapshots;
    uint64_t snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    uint8_t compression; /* 0 zlib, 1 zstd */
    uint32_t bitmaps;    /* how many; 0: no such extension */
    uint64_t bitmaps_offset, bitmaps_size;
    char unknown_feature[80]; /* of the first unknown incompatible bit, in words */
    char backing[QCOW2_NAME_MAX + 1];
    char backing_format[16];
};

/** Read the header from the first `len` bytes of a file (the first cluster or more, as far as the
 * file has it); `file_size` is the file's. 0: every field is in its range, tables are aligned and
 * lie in the file. Features that cannot be used are accepted here; qcow2_header_usable refuses
 * them. -1 with *err. */
int qcow2_header_parse(struct qcow2_header *h, const uint8_t *bytes, size_t len, uint64_t file_size,
                       const char *name, struct block_error *err) MUST_CHECK;
/** Whether the disk can be read and written by this program. 0, or -1 with *err. */
int qcow2_header_usable(const struct qcow2_header *h, const char *name,
                        struct block_error *err) MUST_CHECK;

/* ---- big-endian numbers in tables ---- */

static inline uint16_t load_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)load_be16(p) << 16 | load_be16(p + 2);
}

static inline uint64_t load_be64(const uint8_t *p)
{
    return (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
}

static inline void store_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void store_be32(uint8_t *p, uint32_t v)
{
    store_be16(p, (uint16_t)(v >> 16));
    store_be16(p + 2, (uint16_t)v);
}

static inline void store_be64(uint8_t *p, uint64_t v)
{
    store_be32(p, (uint32_t)(v >> 32));
    store_be32(p + 4, (uint32_t)v);
}

#endif
