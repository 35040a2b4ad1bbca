/* See decompress.h. Uses liblz4, liblzma, libzstd and zlib, which are fit for hostile input.
 *
 * All but lz4 are streams: decode into one buffer, hand it on when full. Memory is bounded by that
 * buffer and the decoder's window (LZMA_MEMORY_MAX, ZSTD_WINDOW_LOG_MAX), time by `total`: a stream
 * that has more to say is cut off there.
 */
#include "boot/decompress.h"

#define ZLIB_CONST /* const input pointers */
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "boot/bytes.h"

#define PIECE_SIZE (1u << 20)          /* stream output buffer: stays in the L2 cache */
#define LZ4_BLOCK_SIZE (8u << 20)      /* of the legacy frame, unpacked */
#define LZMA_MEMORY_MAX (256ull << 20) /* kernels use dictionaries up to 128 MB */
#define ZSTD_WINDOW_LOG_MAX 27         /* zstd -22 --ultra */

/** One decompression under way. */
struct job {
    enum compression kind;
    const uint8_t *src;
    size_t len;
    uint64_t total, done; /* bytes of output: promised, handed over */
    const struct decompress_sink *sink;
    const char *name;
    struct boot_error *err;
    uint8_t *buf;
    size_t buf_size;
};

static const struct {
    const char *magic;
    size_t len;
    enum compression kind;
} magics[] = {
    {"\037\213", 2, COMPRESSION_GZIP},
    {"\3757zXZ", 6, COMPRESSION_XZ}, /* with the NUL behind it */
    {"\135\0\0", 3, COMPRESSION_LZMA},
    {"\050\265\057\375", 4, COMPRESSION_ZSTD},
    {"\002\041\114\030", 4, COMPRESSION_LZ4},
    {"BZh", 3, COMPRESSION_BZIP2},
    {"\211LZO", 4, COMPRESSION_LZO},
};

enum compression compression_detect(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(magics); i++) {
        if (len >= magics[i].len && memcmp(bytes, magics[i].magic, magics[i].len) == 0) {
            return magics[i].kind;
        }
    }
    return COMPRESSION_UNKNOWN;
}

const char *compression_name(enum compression kind)
{
    switch (kind) {
    case COMPRESSION_GZIP:
        return "gzip";
    case COMPRESSION_XZ:
        return "xz";
    case COMPRESSION_LZMA:
        return "lzma";
    case COMPRESSION_ZSTD:
        return "zstd";
    case COMPRESSION_LZ4:
        return "lz4";
    case COMPRESSION_BZIP2:
        return "bzip2";
    case COMPRESSION_LZO:
        return "lzo";
    case COMPRESSION_UNKNOWN:
        break;
    }
    return "unknown";
}

static int fail_damaged(struct job *j)
{
    return boot_fail(j->err, BOOT_ENOEXEC,
                     "%s: damaged: its %s data breaks off after %llu of %llu bytes", j->name,
                     compression_name(j->kind), (unsigned long long)j->done,
                     (unsigned long long)j->total);
}

static int fail_memory(struct job *j)
{
    return boot_fail(j->err, BOOT_ENOMEM, "%s: no host memory to unpack its %s data", j->name,
                     compression_name(j->kind));
}

/** Hand over the first len bytes of the buffer. */
static int put(struct job *j, size_t len)
{
    if (len == 0) {
        return 0;
    }
    if (len > j->total - j->done) {
        return boot_fail(j->err, BOOT_ENOEXEC,
                         "%s: damaged: its %s data unpacks to more than the promised %llu bytes",
                         j->name, compression_name(j->kind), (unsigned long long)j->total);
    }
    int rc = j->sink->put(j->sink->ctx, j->buf, len);
    if (rc == 0) {
        j->done += len;
    }
    return rc;
}

static int run_gzip(struct job *j)
{
    z_stream z = {.next_in = j->src, .avail_in = (uInt)j->len};
    if (inflateInit2(&z, 15 + 16) != Z_OK) {
        return fail_memory(j);
    }
    int rc = 0;
    for (int state = Z_OK; state == Z_OK && rc == 0;) {
        z.next_out = j->buf;
        z.avail_out = (uInt)j->buf_size;
        while (state == Z_OK && z.avail_out) {
            state = inflate(&z, Z_NO_FLUSH);
        }
        if (state != Z_OK && state != Z_STREAM_END) {
            rc = fail_damaged(j);
        } else {
            rc = put(j, j->buf_size - z.avail_out);
        }
    }
    inflateEnd(&z);
    return rc;
}

/** xz and lzma. */
static int run_lzma(struct job *j)
{
    lzma_stream z = LZMA_STREAM_INIT;
    lzma_ret state = j->kind == COMPRESSION_XZ ? lzma_stream_decoder(&z, LZMA_MEMORY_MAX, 0)
                                               : lzma_alone_decoder(&z, LZMA_MEMORY_MAX);
    z.next_in = j->src;
    z.avail_in = j->len;
    int rc = state == LZMA_OK ? 0 : fail_memory(j);
    while (state == LZMA_OK && rc == 0) {
        z.next_out = j->buf;
        z.avail_out = j->buf_size;
        while (state == LZMA_OK && z.avail_out) {
            state = lzma_code(&z, LZMA_FINISH);
        }
        if (state == LZMA_MEM_ERROR || state == LZMA_MEMLIMIT_ERROR) {
            rc = fail_memory(j);
        } else if (state != LZMA_OK && state != LZMA_STREAM_END) {
            rc = fail_damaged(j);
        } else {
            rc = put(j, j->buf_size - z.avail_out);
        }
    }
    lzma_end(&z);
    return rc;
}

static int run_zstd(struct job *j)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    if (!z) {
        return fail_memory(j);
    }
    int rc = 0;
    if (ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX))) {
        rc = fail_damaged(j);
    }
    ZSTD_inBuffer in = {.src = j->src, .size = j->len};
    size_t state = 1; /* 0: the frame is complete */
    while (state != 0 && rc == 0) {
        ZSTD_outBuffer out = {.dst = j->buf, .size = j->buf_size};
        bool stuck = false;
        while (state != 0 && out.pos < out.size && !stuck) {
            size_t before = in.pos + out.pos;
            state = ZSTD_decompressStream(z, &out, &in);
            stuck = ZSTD_isError(state) || in.pos + out.pos == before;
        }
        rc = stuck ? fail_damaged(j) : put(j, out.pos);
    }
    ZSTD_freeDStream(z);
    return rc;
}

/** The legacy frame: a magic number, then blocks: packed length, packed bytes. Each unpacks to
 *  LZ4_BLOCK_SIZE bytes but the last, and stands for itself. */
static int run_lz4(struct job *j)
{
    size_t at = 4;
    while (j->done < j->total) {
        if (j->len - at < 4) {
            return fail_damaged(j);
        }
        size_t packed = load_le32(j->src + at);
        at += 4;
        if (packed > j->len - at || packed > LZ4_COMPRESSBOUND(LZ4_BLOCK_SIZE)) {
            return fail_damaged(j);
        }
        const char *from = (const char *)j->src + at;
        int n = LZ4_decompress_safe(from, (char *)j->buf, (int)packed, (int)j->buf_size);
        if (n <= 0) {
            return fail_damaged(j);
        }
        int rc = put(j, (size_t)n);
        if (rc) {
            return rc;
        }
        at += packed;
    }
    return 0;
}

static int run(struct job *j)
{
    switch (j->kind) {
    case COMPRESSION_GZIP:
        return run_gzip(j);
    case COMPRESSION_XZ:
    case COMPRESSION_LZMA:
        return run_lzma(j);
    case COMPRESSION_ZSTD:
        return run_zstd(j);
    case COMPRESSION_LZ4:
        return run_lz4(j);
    case COMPRESSION_BZIP2:
    case COMPRESSION_LZO:
        return boot_fail(j->err, BOOT_ENOTSUP,
                         "%s: its kernel is packed with %s, which is not supported; use one with "
                         "lz4, zstd, gzip, xz or lzma, or give the ELF vmlinux", j->name,
                         compression_name(j->kind));
    case COMPRESSION_UNKNOWN:
        break;
    }
    return boot_fail(j->err, BOOT_ENOTSUP,
                     "%s: damaged, or packed in an unknown way (begins with %02x %02x %02x %02x)",
                     j->name, j->src[0], j->src[1], j->src[2], j->src[3]);
}

int decompress(enum compression kind, const uint8_t *src, size_t len, uint64_t total,
               const struct decompress_sink *sink, const char *name, struct boot_error *err)
{
    struct job j = {
        .kind = kind, .src = src, .len = len, .total = total, .sink = sink, .name = name,
        .err = err,
        .buf_size = kind == COMPRESSION_LZ4 ? LZ4_BLOCK_SIZE : PIECE_SIZE,
    };
    j.buf = malloc(j.buf_size);
    if (!j.buf) {
        return fail_memory(&j);
    }
    int rc = run(&j);
    if (rc == 0 && j.done != total) {
        rc = fail_damaged(&j);
    }
    free(j.buf);
    return rc;
}
