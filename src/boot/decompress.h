/* Decompression of a bzImage's payload, by the usual libraries; the only file of the loader that
 * needs libc. Output goes to a sink in pieces, so that memory use does not depend on what a hostile
 * file claims (the decoders' own windows are capped, see decompress.c).
 */
#ifndef BOOT_DECOMPRESS_H
#define BOOT_DECOMPRESS_H

#include "boot/error.h"

/* The first piece of output is at least this long, or all there is, for any honest kernel. */
#define DECOMPRESS_FIRST_PIECE 65536u

enum compression {
    COMPRESSION_UNKNOWN,
    COMPRESSION_GZIP,
    COMPRESSION_XZ,
    COMPRESSION_LZMA,
    COMPRESSION_ZSTD,
    COMPRESSION_LZ4, /* the legacy frame of the lz4 program, as kernels use it */
    COMPRESSION_BZIP2, /* recognised, not supported */
    COMPRESSION_LZO,   /* recognised, not supported */
};

struct decompress_sink {
    /** Takes the next len > 0 bytes. 0, or a negative error with its text set: that ends it. */
    int (*put)(void *ctx, const uint8_t *bytes, size_t len);
    void *ctx;
};

/** By the magic number. */
enum compression compression_detect(const uint8_t *bytes, size_t len);

/** "lz4", "xz", ...; at most 7 characters. */
const char *compression_name(enum compression kind);

/** Decompress src[0, len) and hand exactly `total` bytes to the sink, in order. name is the file's.
 *  0; -ENOEXEC damaged, or not `total` bytes; -ENOTSUP cannot decompress this kind; -ENOMEM no host
 *  memory; or what the sink said. */
int decompress(enum compression kind, const uint8_t *src, size_t len, uint64_t total,
               const struct decompress_sink *sink, const char *name,
               struct boot_error *err) MUST_CHECK;

#endif
