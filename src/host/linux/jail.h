/* The vCPU task's jail (DESIGN §4.8): what is left to it once it is set up. */
#ifndef HOST_LINUX_JAIL_H
#define HOST_LINUX_JAIL_H

#include "base/types.h"

/** Become an unprivileged user when started as root, and lose every capability. Before the spaces' zygote exists, so that it and the
 *  task stay the same user. 0 or -errno. */
int jail_drop_privileges(void) MUST_CHECK;
/** From now on this task can only map memory it already has, wait, be woken, and deal with its own children; no file can be opened, no process
 *  started, nothing executed, no socket made. Irrevocable. write_fds (count of them): where it may still write. 0 or -errno. */
int jail_enter(const int *write_fds, unsigned count) MUST_CHECK;

#endif
