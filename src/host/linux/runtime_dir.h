/* The user's directory for what lives as long as machines do: their own directories, notes about locks, switches.
 *
 * $XDG_RUNTIME_DIR/ring3, else /run/user/UID/ring3, else /run/ring3 for root, else /tmp/ring3-UID; mode 0700, the user's own. Names in it that begin
 * with a dot are ring3's; the others are machines.
 */
#ifndef HOST_LINUX_RUNTIME_DIR_H
#define HOST_LINUX_RUNTIME_DIR_H

#include "base/types.h"

#define RUNTIME_DIR_LOCKS ".locks"
#define RUNTIME_DIR_SWITCHES ".switches"

/** Open it, or the directory `sub` in it (NULL: itself), making what is missing if `create`. path (may be NULL) gets its name, also of the
 *  place that failed. A descriptor; -ENOENT: not there, but could be made; another -errno: it cannot be had. */
int runtime_dir_open(const char *sub, bool create, char *path, size_t size) MUST_CHECK;

#endif
