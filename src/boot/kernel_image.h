/* From the bytes of a kernel file to a kernel in guest RAM.
 *
 * Takes a bzImage (any payload compression decompress.h knows) or a plain ELF64: a Linux vmlinux or
 * a test guest. Both end as PT_LOAD segments at their physical addresses; the bzImage's own
 * decompressor never runs, so no 16- or 32-bit code does (FACTS §1), and relocations are never
 * applied. Every byte of the file is hostile.
 *
 * Runs once, before any vCPU; keeps no state.
 */
#ifndef BOOT_KERNEL_IMAGE_H
#define BOOT_KERNEL_IMAGE_H

#include "boot/error.h"
#include "boot/layout.h"
#include "mmu/ram.h"

/** A file, wholly in memory (mapped read-only, say). The name is for messages only. */
struct kernel_file {
    const uint8_t *bytes; /* may be NULL when len is 0 */
    size_t len;
    const char *name;
};

enum kernel_kind {
    KERNEL_BZIMAGE, /* Linux; setup_header is valid */
    KERNEL_ELF,     /* vmlinux or a test guest; setup_header is zero */
};

#define KERNEL_SETUP_HEADER_MAX 0x9f /* boot_params.hdr: 0x1f1 up to edd_mbr_sig_buffer at 0x290 */

struct kernel_image {
    enum kernel_kind kind;
    gpa_t entry;          /* physical; inside a loaded segment */
    gpa_t start, end;     /* all segments with their bss lie in [start, end) */
    uint64_t loaded;      /* bytes of RAM really written (zero pages are skipped) */
    uint32_t cmdline_max; /* longest command line, bytes without the NUL */
    uint64_t initrd_max;  /* highest address a byte of the initrd may have */
    char compression[8];  /* "lz4", "xz", ...; "none" for a plain ELF */
    char version[64];     /* "6.1.0-56-cloud-amd64 ..." from a bzImage, printable; else empty */
    uint8_t setup_header[KERNEL_SETUP_HEADER_MAX]; /* from file offset 0x1f1 */
    unsigned setup_header_len;
};

/** Load the file into ram and describe it in *out.
 *  ram must read as zero wherever the kernel goes (fresh memory): bss and all-zero pages of the
 *  file are not written, so that they cost neither time nor memory.
 *  0; -ENOEXEC no kernel or a damaged one, -ENOTSUP 32-bit or an unknown compression, -ENOMEM the
 *  RAM is too small (the text names a size that does), -EFAULT segments outside RAM or over our
 *  structures. After a failure *out is meaningless and RAM may be partly written. */
int kernel_image_load(const struct ram *ram, const struct kernel_file *file,
                      struct kernel_image *out, struct boot_error *err) MUST_CHECK;

#endif
