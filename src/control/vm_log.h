/* What a detached machine's console said, in two files of bounded size.
 *
 * `log` grows to VM_LOG_MAX; then its bytes become those of `log.1`, and it starts anew. Copying,
 * not renaming: a monitor that may open no files can do it, and whoever follows `log` keeps his
 * descriptor (he sees the file shrink, and finds what he missed in log.1).
 * Used by the monitor's loop only.
 */
#ifndef CONTROL_VM_LOG_H
#define CONTROL_VM_LOG_H

#include "base/types.h"

#define VM_LOG_MAX (2u << 20)

struct vm_log {
    int fd, old_fd; /* borrowed */
    uint64_t size;  /* of the first */
};

/** Go on writing where the first file ends. */
void vm_log_init(struct vm_log *l, int fd, int old_fd);
/** Append. What cannot be written (a full file system) is lost, and the next is tried again. */
void vm_log_write(struct vm_log *l, const void *bytes, size_t len);

#endif
