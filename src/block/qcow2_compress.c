/* Compressed clusters: "Compressed Clusters Descriptor". zlib (raw deflate) or zstd (one frame), as
 * the header says.
 *
 * The packed size in the entry is rounded up to sectors: what follows the compressed data there is
 * not looked at.
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST /* const input pointers */
#include <zlib.h>
#include <zstd.h>

#define DEFLATE_WINDOW 12 /* bits: what QEMU's reader takes at most */

static bool inflate_all(const uint8_t *from, size_t from_len, uint8_t *to, size_t to_len)
{
    z_stream z = {
        .next_in = from, .avail_in = (uInt)from_len, .next_out = to, .avail_out = (uInt)to_len};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) {
        return false;
    }
    int rc = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return (rc == Z_STREAM_END || rc == Z_BUF_ERROR || rc == Z_OK) && z.avail_out == 0;
}

static bool unzstd_all(const uint8_t *from, size_t from_len, uint8_t *to, size_t to_len)
{
    size_t frame = ZSTD_findFrameCompressedSize(from, from_len);
    if (ZSTD_isError(frame)) {
        return false;
    }
    return ZSTD_decompress(to, to_len, from, frame) == to_len;
}

static int make_buffers(struct qcow2 *q)
{
    q->packed = q->packed ? q->packed : malloc(2 * q->cluster);
    q->unpacked = q->unpacked ? q->unpacked : malloc(q->cluster);
    return q->packed && q->unpacked ? 0 : -ENOMEM;
}

int qcow2_unpack(struct qcow2 *q, uint64_t entry)
{
    uint64_t host, size = entry_packed_size(q, entry);
    if (entry == q->unpacked_at) {
        return 0;
    }
    if (entry_kind(q, entry, &host) != CLUSTER_COMPRESSED) {
        return -EIO;
    }
    int rc = make_buffers(q);
    q->unpacked_at = 0;
    rc = rc ? rc : qcow2_io_read(&q->file.io, host, q->packed, size);
    if (rc) {
        return rc;
    }
    bool good = q->h.compression ? unzstd_all(q->packed, size, q->unpacked, q->cluster)
                                 : inflate_all(q->packed, size, q->unpacked, q->cluster);
    if (!good) {
        return -EIO; /* damaged data, not a damaged table: the rest of the disk can go on */
    }
    q->unpacked_at = entry;
    return 0;
}

/* ---- packing ---- */

/** Pack a cluster into q->packed; 0: it does not get smaller, or no memory. */
static size_t pack(struct qcow2 *q, const uint8_t *data)
{
    size_t room = q->cluster - 1;
    if (q->h.compression) {
        size_t n = ZSTD_compress(q->packed, room, data, q->cluster, ZSTD_CLEVEL_DEFAULT);
        return ZSTD_isError(n) ? 0 : n;
    }
    z_stream z = {.next_in = data,
                  .avail_in = (uInt)q->cluster,
                  .next_out = q->packed,
                  .avail_out = (uInt)room};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -DEFLATE_WINDOW, 9,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return 0;
    }
    int rc = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return rc == Z_STREAM_END ? room - z.avail_out : 0;
}

/** Room for len bytes: in the cluster begun before, also on into the next one when that is free, or
 * in a new cluster. Each cluster touched has one reference more. */
static int place_packed(struct qcow2 *q, size_t len, uint64_t *off)
{
    uint64_t first, got, count;
    uint64_t left = q->packed_next ? align_up(q->packed_next, q->cluster) - q->packed_next : 0;
    uint64_t current = q->packed_next ? cluster_of(q, q->packed_next) : 0;
    int rc = left ? refcount_get(q, current, &count) : 0;
    if (rc) {
        return rc;
    }
    bool more = left && count < refcount_max(q);
    if (more && left >= len) {
        *off = q->packed_next;
        q->packed_next += len;
        return refcount_set(q, current, count + 1);
    }
    rc = alloc_clusters(q, 1, &first, &got);
    if (rc) {
        return rc;
    }
    alloc_take_fresh(q, first, 1);
    bool next = more && first == current + 1;
    *off = next ? q->packed_next : offset_of(q, first);
    q->packed_next = *off + len;
    rc = next ? refcount_set(q, current, count + 1) : 0;
    if (rc) {
        free_later(q, first, 1, false);
    }
    return rc;
}

int qcow2_write_compressed(struct block *b, uint64_t off, const uint8_t *data)
{
    struct qcow2 *q = (struct qcow2 *)b;
    const uint64_t guest = cluster_of(q, off);
    const struct io_vec whole = {.base = (uint8_t *)(uintptr_t)data,
                                 .len = min_u64(q->cluster, b->size - off)};
    uint64_t entry, host;
    int rc = qcow2_begin_write(q);
    rc = rc ? rc : qcow2_commit_if_full(q);
    rc = rc ? rc : make_buffers(q);
    rc = rc ? rc : map_get(q, guest, &entry);
    if (rc) {
        return rc;
    }
    q->unpacked_at = 0;
    size_t len = pack(q, data);
    if (len == 0 || entry) {
        return qcow2_write(b, off, &whole, 1, whole.len);
    }
    rc = map_prepare(q, guest);
    rc = rc ? rc : free_reserve(q, 2);
    rc = rc ? rc : place_packed(q, len, &host);
    if (rc) {
        return rc;
    }
    const unsigned offset_bits = 62 - (q->h.cluster_bits - 8);
    uint64_t sectors = (host + len - 1) / 512 - host / 512;
    uint64_t first = cluster_of(q, host), last = cluster_of(q, host + len - 1);
    rc = host >> offset_bits ? -EFBIG : qcow2_io_write(&q->file.io, host, q->packed, len);
    rc = rc ? rc : map_set(q, guest, host | sectors << offset_bits | ENTRY_COMPRESSED);
    if (rc) {
        free_later(q, first, last - first + 1, false);
    }
    return rc;
}
