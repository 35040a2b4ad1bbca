/* Writer of cpio archives in the "newc" form that Linux unpacks as an initramfs
 * (kernel documentation "initramfs buffer format").
 *
 * Used by the build (tools/mkcpio) and at run time, to append a few files to an initrd: the kernel
 * unpacks any number of archives one after the other, and later files join or replace earlier ones.
 * Archives are reproducible: times are 0, owner is root, inodes count up.
 */
#ifndef HOST_LINUX_CPIO_H
#define HOST_LINUX_CPIO_H

#include "base/types.h"

/** An archive growing in memory. Zero it before the first cpio_add; cpio_fini frees it. */
struct cpio {
    uint8_t *bytes; /* malloc'd */
    size_t len, size;
    unsigned entries;
    bool failed; /* out of memory once: bytes is no archive */
};

/** Append one entry. mode holds the file type as in struct stat; path has no leading slash; data is
 *  the contents of a file or the target of a symbolic link (NULL with len 0 otherwise); major and
 *  minor name a device node's device, else 0. A failure is remembered, see cpio_finish. */
void cpio_add(struct cpio *c, const char *path, unsigned mode, unsigned major, unsigned minor,
              const void *data, size_t len);
/** Append the end mark and pad to 4 bytes, so that another archive may follow.
 *  0, or -ENOMEM when any step ran out of memory. */
int cpio_finish(struct cpio *c) MUST_CHECK;
void cpio_fini(struct cpio *c);

#endif
