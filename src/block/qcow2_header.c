/* The header of a qcow2 image: "Header", "Header extensions", "Feature name table". See
 * qcow2_format.h. No state. */
#include "block/qcow2_impl.h"

#include <stdio.h>
#include <string.h>

bool qcow2_probe(const void *bytes, size_t len)
{
    return len >= 4 && memcmp(bytes, "QFI\373", 4) == 0;
}

/** The first cluster, as far as the file has it, and who asks. */
struct source {
    const uint8_t *bytes;
    size_t len;
    uint64_t file_size;
    const char *name;
    struct block_error *err;
};

static int damaged(const struct source *s, const char *what)
{
    return block_fail(s->err, "%s: the qcow2 image is damaged: %s", s->name, what);
}

/** A table of `size` bytes at `off`: aligned, not over the header, in the file. */
static int check_table(const struct source *s, const struct qcow2_header *h, uint64_t off,
                       uint64_t size, const char *what)
{
    const uint64_t cluster = 1ull << h->cluster_bits;
    bool sound = off >= cluster && (off & (cluster - 1)) == 0 && off < QCOW2_OFFSET_END &&
                 size <= s->file_size && off <= s->file_size - size;
    if (sound) {
        return 0;
    }
    return block_fail(
        s->err,
        "%s: the qcow2 image is damaged or cut off: its %s (byte %llu, %llu bytes) is misplaced",
        s->name, what, (unsigned long long)off, (unsigned long long)size);
}

static int parse_geometry(const struct source *s, struct qcow2_header *h)
{
    const uint8_t *p = s->bytes;
    h->cluster_bits = load_be32(p + HEADER_CLUSTER_BITS);
    if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX) {
        return damaged(s, "its cluster size is not between 512 bytes and 2 MB");
    }
    h->size = load_be64(p + HEADER_SIZE);
    if (h->size % BLOCK_SECTOR || h->size >= 1ull << 62) {
        return damaged(s, "the disk's size is not a number of 512-byte sectors");
    }
    h->crypt_method = load_be32(p + HEADER_CRYPT_METHOD);
    h->l1_size = load_be32(p + HEADER_L1_SIZE);
    h->l1_offset = load_be64(p + HEADER_L1_OFFSET);
    h->reftable_offset = load_be64(p + HEADER_REFTABLE_OFFSET);
    h->reftable_clusters = load_be32(p + HEADER_REFTABLE_CLUSTERS);
    h->snapshots = load_be32(p + HEADER_SNAPSHOTS);
    h->snapshots_offset = load_be64(p + HEADER_SNAPSHOTS_OFFSET);
    return 0;
}

static int parse_features(const struct source *s, struct qcow2_header *h, uint32_t *length)
{
    const uint8_t *p = s->bytes;
    h->refcount_order = 4;
    *length = HEADER_V2_LENGTH;
    if (h->version == 2) {
        return 0;
    }
    if (s->len < HEADER_V3_LENGTH) {
        return damaged(s, "it ends in the header");
    }
    h->incompatible = load_be64(p + HEADER_INCOMPATIBLE);
    h->compatible = load_be64(p + HEADER_COMPATIBLE);
    h->autoclear = load_be64(p + HEADER_AUTOCLEAR);
    h->refcount_order = load_be32(p + HEADER_REFCOUNT_ORDER);
    *length = load_be32(p + HEADER_LENGTH);
    if (h->refcount_order > 6) {
        return damaged(s, "its reference counts are wider than 64 bits");
    }
    if (*length < HEADER_V3_LENGTH || *length % 8 || *length > s->len) {
        return damaged(s, "its header length cannot be");
    }
    h->compression = *length > HEADER_COMPRESSION ? p[HEADER_COMPRESSION] : 0;
    if (!(h->incompatible & INCOMPATIBLE_COMPRESSION) != !h->compression) {
        return damaged(s, "its compression type and the flag for it contradict each other");
    }
    return 0;
}

/** A text of the file into a string, without what a terminal would take amiss. */
static void copy_text(char *out, size_t size, const uint8_t *from, size_t len)
{
    size_t n = 0;
    for (; n < len && n + 1 < size && from[n]; n++) {
        out[n] = from[n] < ' ' || from[n] == 0x7f ? '?' : (char)from[n];
    }
    out[n] = '\0';
}

static void find_feature_name(struct qcow2_header *h, const uint8_t *table, uint32_t len)
{
    const uint64_t unknown = h->incompatible & ~INCOMPATIBLE_KNOWN;
    if (!unknown) {
        return;
    }
    unsigned bit_nr = (unsigned)__builtin_ctzll(unknown);
    for (; len >= 48; table += 48, len -= 48) {
        if (table[0] == 0 && table[1] == bit_nr) {
            char feature[47];
            copy_text(feature, sizeof(feature), table + 2, 46);
            snprintf(h->unknown_feature, sizeof(h->unknown_feature),
                     "\"%s\" (incompatible feature bit %u)", feature, bit_nr);
        }
    }
}

static int parse_extension(const struct source *s, struct qcow2_header *h, uint32_t type,
                           const uint8_t *data, uint32_t len)
{
    switch (type) {
    case EXTENSION_BACKING_FORMAT:
        if (len >= sizeof(h->backing_format)) {
            return damaged(s, "the name of its backing file's format is too long");
        }
        copy_text(h->backing_format, sizeof(h->backing_format), data, len);
        return 0;
    case EXTENSION_FEATURE_NAMES: find_feature_name(h, data, len); return 0;
    case EXTENSION_BITMAPS:
        if (len != 24) {
            return damaged(s, "its bitmaps extension has a wrong length");
        }
        h->bitmaps = load_be32(data);
        h->bitmaps_size = load_be64(data + 8);
        h->bitmaps_offset = load_be64(data + 16);
        return h->bitmaps ? check_table(s, h, h->bitmaps_offset, h->bitmaps_size, "list of bitmaps")
                          : 0;
    default: return 0; /* "Unknown header extension, can be safely ignored" */
    }
}

/** The extensions lie between the header and the backing file's name, or the end of the cluster. */
static int parse_extensions(const struct source *s, struct qcow2_header *h, uint64_t at,
                            uint64_t end)
{
    end = min_u64(end, s->len);
    while (end - min_u64(at, end) >= 8) {
        uint32_t type = load_be32(s->bytes + at), len = load_be32(s->bytes + at + 4);
        at += 8;
        if (type == EXTENSION_END) {
            return 0;
        }
        if (len > end - at) {
            return damaged(s, "a header extension is longer than its place");
        }
        int rc = parse_extension(s, h, type, s->bytes + at, len);
        if (rc) {
            return rc;
        }
        at += align_up(len, 8);
    }
    return 0;
}

static int parse_backing(const struct source *s, struct qcow2_header *h, uint64_t *extensions_end)
{
    const uint64_t cluster = 1ull << h->cluster_bits;
    uint64_t off = load_be64(s->bytes + HEADER_BACKING_OFFSET);
    uint32_t len = load_be32(s->bytes + HEADER_BACKING_SIZE);
    *extensions_end = cluster;
    if (off == 0) {
        return 0;
    }
    if (len > QCOW2_NAME_MAX || off > min_u64(cluster, s->len) ||
        len > min_u64(cluster, s->len) - off) {
        return damaged(s, "its backing file's name is misplaced");
    }
    if (memchr(s->bytes + off, '\0', len)) {
        return damaged(s, "its backing file's name has a NUL in it");
    }
    memcpy(h->backing, s->bytes + off, len);
    *extensions_end = off;
    return 0;
}

static int check_tables(const struct source *s, const struct qcow2_header *h)
{
    const uint64_t cluster = 1ull << h->cluster_bits;
    const uint64_t per_l1 = cluster * (cluster / 8);
    const uint64_t needed = h->size / per_l1 + (h->size % per_l1 != 0);
    if (h->l1_size > QCOW2_L1_MAX / 8) {
        return damaged(s, "its L1 table is larger than 32 MB");
    }
    if (h->l1_size < needed && !(h->incompatible & INCOMPATIBLE_EXTENDED_L2)) {
        return damaged(s, "its L1 table is too small for the disk's size");
    }
    if (h->l1_size && check_table(s, h, h->l1_offset, (uint64_t)h->l1_size * 8, "L1 table")) {
        return -1;
    }
    if (h->reftable_clusters == 0 ||
        h->reftable_clusters > max_u64(QCOW2_REFTABLE_MAX >> h->cluster_bits, 1)) {
        return damaged(s, "its refcount table has no size that can be");
    }
    uint64_t reftable_size = (uint64_t)h->reftable_clusters << h->cluster_bits;
    if (check_table(s, h, h->reftable_offset, reftable_size, "refcount table")) {
        return -1;
    }
    if (h->snapshots > QCOW2_SNAPSHOTS_MAX) {
        return damaged(s, "it has more than 65536 snapshots");
    }
    /* a snapshot takes 40 bytes at least */
    return h->snapshots ? check_table(s, h, h->snapshots_offset, (uint64_t)h->snapshots * 40,
                                      "snapshot table")
                        : 0;
}

int qcow2_header_parse(struct qcow2_header *h, const uint8_t *bytes, size_t len, uint64_t file_size,
                       const char *name, struct block_error *err)
{
    const struct source s = {
        .bytes = bytes, .len = len, .file_size = file_size, .name = name, .err = err};
    *h = (struct qcow2_header){0};
    if (!qcow2_probe(bytes, len)) {
        return block_fail(err, "%s: not a qcow2 image: it does not begin with QFI", name);
    }
    if (len < HEADER_V2_LENGTH) {
        return damaged(&s, "it ends in the header");
    }
    h->version = load_be32(bytes + HEADER_VERSION);
    if (h->version != 2 && h->version != 3) {
        return block_fail(
            err,
            "%s: a qcow image of version %u; only 2 and 3 are supported: convert it with qemu-img",
            name, h->version);
    }
    uint32_t header_length;
    uint64_t extensions_end;
    if (parse_geometry(&s, h) || parse_features(&s, h, &header_length) ||
        parse_backing(&s, h, &extensions_end)) {
        return -1;
    }
    if (parse_extensions(&s, h, header_length, extensions_end) || check_tables(&s, h)) {
        return -1;
    }
    uint64_t unknown = h->incompatible & ~INCOMPATIBLE_KNOWN;
    if (unknown && !h->unknown_feature[0]) {
        snprintf(h->unknown_feature, sizeof(h->unknown_feature), "incompatible feature bit %d",
                 __builtin_ctzll(unknown));
    }
    return 0;
}

int qcow2_header_usable(const struct qcow2_header *h, const char *name, struct block_error *err)
{
    const char *what = NULL;
    if (h->incompatible & ~INCOMPATIBLE_KNOWN) {
        what = h->unknown_feature;
    } else if (h->crypt_method) {
        what = h->crypt_method == 1 ? "AES encryption" : "LUKS encryption";
    } else if (h->incompatible & INCOMPATIBLE_EXTERNAL_DATA) {
        what = "an external data file";
    } else if (h->incompatible & INCOMPATIBLE_EXTENDED_L2) {
        what = "extended L2 entries (subclusters)";
    } else if (h->compression > 1) {
        what = "an unknown compression type";
    }
    if (!what) {
        return 0;
    }
    return block_fail(
        err,
        "%s: this qcow2 image uses %s, which is not supported; qemu-img convert makes one without",
        name, what);
}
