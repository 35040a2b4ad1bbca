/* The launcher: the process the user started, above the monitor.
 *
 *   ring3 run             the launcher: life and death; handles nothing that a guest made
 *    └─ monitor           devices, console, control socket; jails itself once it is set up
 *        └─ vCPU tasks    ...
 *
 * A jailed process cannot open a kernel file again, so a reboot is a new monitor, and what must look at other processes while the machine runs (CPU
 * accounting) is done here. The launcher passes signals on, stops when the monitor stops, and ends the way it ended.
 */
#ifndef HOST_LINUX_LAUNCH_H
#define HOST_LINUX_LAUNCH_H

#include "base/types.h"

#include <signal.h>

/** What the monitor's function returns to be started again: the machine rebooted. */
#define LAUNCH_AGAIN 256

struct launch {
    /** Runs in the child, the monitor: returns an exit status 0..255, or LAUNCH_AGAIN. boot: 0, 1, ... */
    int (*monitor)(void *ctx, unsigned boot);
    /** Called every period_ms in the launcher while a monitor runs; may be NULL. */
    void (*tick)(void *ctx, int monitor_pid);
    unsigned period_ms; /* 0: only when wake_fd says so */
    int wake_fd;        /* call tick when this is readable, too; -1: none */
    const sigset_t *mask; /* the signals that the monitor holds */
    void *ctx;
};

/** Hold the signals that launch_run passes on, so that none ends the launcher while it prepares; *before is the mask until now, for the
 *  monitor and for the launcher's end. */
void launch_hold(sigset_t *before);

/** Run it to its end. Returns the exit status; *signal is the signal that ended the monitor, or 0; -errno if the host gives no process. */
int launch_run(const struct launch *l, int *signal) MUST_CHECK;

#endif
