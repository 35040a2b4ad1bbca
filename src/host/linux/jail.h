/* The jails (DESIGN §4.8): what is left to a vCPU task, and to the monitor, once they are set up. docs/security.md says what each stops. */
#ifndef HOST_LINUX_JAIL_H
#define HOST_LINUX_JAIL_H

#include "base/types.h"

/** Become an unprivileged user when started as root, and lose every capability. Before the spaces' zygote exists, so that it and the
 *  task stay the same user. Clears the parent-death signal. 0 or -errno. */
int jail_drop_privileges(void) MUST_CHECK;
/** Lose every capability but those of `wanted` (bit CAP_*) that this thread has. 0 or -errno. */
int jail_keep_capabilities(uint64_t wanted) MUST_CHECK;
/** From now on this task can only map memory it already has, wait, be woken, and deal with its own children; no file can be opened, no process
 *  started, nothing executed, no socket made. Irrevocable. write_fds (count of them): where it may still write. 0 or -errno. */
int jail_enter(const int *write_fds, unsigned count) MUST_CHECK;
/** The monitor: all threads of this process lose what they do not need to serve devices, the console and the control socket with the files they have: no
 *  new files, no processes, nothing executed or made executable, no new connections, signals only to `groups` (process groups, count of them) and by
 *  descriptors it has. Of capabilities it keeps the one to signal tasks that have become another user. Irrevocable. 0 or -errno. */
int jail_enter_monitor(const int *groups, unsigned count) MUST_CHECK;

#endif
