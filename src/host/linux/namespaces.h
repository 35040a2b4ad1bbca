/* The monitor's namespaces: with the jail (jail.h), what a machine's processes can see of the host.
 *
 *   launcher, passt, virtiofsd, ring3-nbd    the host's namespaces; born before
 *   monitor                                  network, mounts, IPC, host name of its own, and a user
 *    └─ vCPU tasks, zygote, spaces           namespace where the user needs one; as the monitor, and
 *                                            process ids of their own: the task is their init
 *
 * A host may refuse any of it (containers do). That is no error: the jail stands by itself, and
 * `ring3 inspect` and `ring3 doctor` say what was had.
 */
#ifndef HOST_LINUX_NAMESPACES_H
#define HOST_LINUX_NAMESPACES_H

#include "base/types.h"

#include <sys/types.h>

/** Leave the host's namespaces for new and empty ones; files that are open stay. The calling
 * process must have one thread, and have started all helpers that need the host. What is left of
 * the file system are the few files that a task opens while it sets itself up. Returns the
 * CLONE_NEW* flags of what was entered; CLONE_NEWPID is namespaces_fork's. */
unsigned namespaces_enter(void);

/** A user namespace, with what else `flags` (CLONE_NEW*) says, in which this user is uid and gid
 * and nobody else exists. 0 or -errno; then it may be half done. Of a process with one thread. */
int namespaces_enter_user(int flags, uid_t uid, gid_t gid) MUST_CHECK;

/** Fork a child that is process 1 of new process ids: what it leaves behind dies with it. Where the
 * host does not allow it: an ordinary child. As fork; *own: whether it has its own. Of a process
 * with one thread. */
pid_t namespaces_fork(bool *own);

/** What both would give here: a child tries. CLONE_NEW* flags. */
unsigned namespaces_try(void);

/** Their names, with commas between them. */
void namespaces_describe(unsigned flags, char *text, size_t size);

#endif
