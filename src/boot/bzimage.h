/* The bzImage container: a setup header at 0x1f1 and, behind it, the compressed ELF of the kernel
 * (kernel documentation "The Linux/x86 Boot Protocol", fields payload_offset, payload_length).
 */
#ifndef BOOT_BZIMAGE_H
#define BOOT_BZIMAGE_H

#include "boot/kernel_image.h"

/* More than any kernel needs: its text mapping ends after 1 GB. */
#define BZIMAGE_MAX_UNPACKED (1ull << 30)

/** Whether the file has Linux's boot signature. */
bool bzimage_probe(const struct kernel_file *file);

/** kernel_image_load for a file that bzimage_probe accepts; the name is short. */
int bzimage_load(const struct ram *ram, const struct kernel_file *file, struct kernel_image *out,
                 struct boot_error *err) MUST_CHECK;

#endif
