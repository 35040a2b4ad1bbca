/* Starting helper processes: passt, a switch, what plugs a port in again, ring3-nbd. No state. */
#ifndef HOST_LINUX_SPAWN_H
#define HOST_LINUX_SPAWN_H

#include "base/types.h"

#include <sys/types.h>

#define SPAWN_FDS_MAX 8u

struct spawn {
    const char *program; /* a path, or to be looked for in PATH */
    char *const *argv;
    char *const *envp;
    const int *fds; /* fds[i] is the new process's descriptor i; -1: /dev/null. It has no others */
    unsigned fd_count;
    bool session; /* a session of its own; else a process group: keys of the terminal are not for it
                   */
};

/** Start it, all signals as they are by default. 0 or -errno. */
int spawn_process(const struct spawn *s, pid_t *pid) MUST_CHECK;

#endif
