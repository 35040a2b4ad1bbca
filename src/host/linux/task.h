/* A vCPU's own process, and host.h's groups "time, kicks, waiting" and "the window" as it sees
 * them. */
#ifndef HOST_LINUX_TASK_H
#define HOST_LINUX_TASK_H

#include "host/host.h"

#include <sys/types.h>

/* A kick of a vCPU in guest code is this signal. The handler, whoever installs one, must set
 * *host_kick_flag(v): the timer's signal comes without anybody having set it. */
#define TASK_KICK_SIGNAL 12 /* SIGUSR2 */

/** Fork the task of vCPU `index` of the machine in the arena. It leads a process group of its own,
 * dies with the monitor, and ends by itself after the machine has ended. enter(ctx), if not NULL, is
 * the first thing it does. Returns its process id, or -errno. */
pid_t task_start(unsigned index, void (*enter)(const void *ctx), const void *ctx) MUST_CHECK;
/** The task has been waited for and no device's thread is left: forget how to signal it. Monitor. */
void task_forget(unsigned index);

/** The word that is non-zero from a kick until host_kick_clear, for a look from translated code or
 * a handler. */
volatile int *host_kick_flag(const struct vcpu *v);

#endif
