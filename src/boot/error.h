/* How the loader says what is wrong.
 *
 * Every function of src/boot that can fail takes a struct boot_error and returns 0 or one of the
 * negative values below (the numbers are Linux's errno, so that a host can pass them on). The text
 * is one line without a newline, ready to be shown: what is wrong, where, and what to do about it.
 */
#ifndef BOOT_ERROR_H
#define BOOT_ERROR_H

#include "base/log.h"
#include "base/types.h"

#define BOOT_E2BIG 7    /* a command line longer than the kernel takes */
#define BOOT_ENOEXEC 8  /* not a kernel this machine can start, or a damaged one */
#define BOOT_ENOMEM 12  /* it does not fit into guest RAM, or the host has no memory left */
#define BOOT_EFAULT 14  /* the kernel asks for addresses that are not RAM or are ours */
#define BOOT_EINVAL 22  /* the caller's configuration makes no sense */
#define BOOT_ENOTSUP 95 /* sound, but a kind we do not take: 32-bit, an unknown compression */

struct boot_error {
    char text[512]; /* empty while nothing failed */
};

/** Fill in the text and return -code. fmt as log_msg takes it. */
#define boot_fail(err, code, ...) (fmt_line((err)->text, sizeof((err)->text), __VA_ARGS__), -(code))

#endif
