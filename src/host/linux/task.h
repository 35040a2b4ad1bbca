/* A vCPU's own process, and host.h's groups "time, kicks, waiting" and "the window" as it sees
 * them. */
#ifndef HOST_LINUX_TASK_H
#define HOST_LINUX_TASK_H

#include "host/host.h"

#include <sys/types.h>

/* A kick of a vCPU in guest code is this signal. The handler, whoever installs one, must set
 * *host_kick_flag(v): the timer's signal comes without anybody having set it. */
#define TASK_KICK_SIGNAL 12 /* SIGUSR2 */

/* The exit status of a task that has panicked; why stands in the arena. */
#define TASK_PANICKED 70

struct task_birth {
    void (*enter)(const void *ctx); /* the first thing a task does; may be NULL */
    const void *ctx;
    /* Process ids of its own (namespaces.h), so that it sees and signals nobody else. Asked for of
     * a machine's only task, since one does not see another's; then whether it got them. */
    bool own_pids;
};

/** Fork the task of vCPU `index` of the machine in the arena. It leads a process group of its own,
 * dies with the monitor, and ends by itself after the machine has ended. Returns its process id, or
 * -errno. Of a process with one thread. */
pid_t task_start(unsigned index, struct task_birth *b) MUST_CHECK;
/** The task has been waited for and no device's thread is left: forget how to signal it. Monitor. */
void task_forget(unsigned index);

/** The word that is non-zero from a kick until host_kick_clear, for a look from translated code or
 * a handler. */
volatile int *host_kick_flag(const struct vcpu *v);

#endif
