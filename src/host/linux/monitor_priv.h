/* What the parts of the monitor share: monitor.c (life, the loop), monitor_tasks.c (its vCPU
 * tasks), monitor_control.c (what others ask of it), monitor_end.c (how it ends). All run in the monitor's main thread. Not for
 * others.
 */
#ifndef HOST_LINUX_MONITOR_PRIV_H
#define HOST_LINUX_MONITOR_PRIV_H

#include "control/server.h"
#include "host/linux/cpu_cap.h"
#include "host/linux/monitor.h"

#include <signal.h>

/* Why the tasks are stopped; they run when no reason is left. */
enum monitor_hold {
    HOLD_PAUSE = 1, /* somebody asked for it */
    HOLD_CAP = 2,   /* they have used up their processor time */
    HOLD_JOB = 4,   /* the user stopped the job */
};

struct monitor {
    struct monitor_config cfg; /* strings in cfg.machine and cfg.devices are not used any more */
    struct machine_facts facts;
    struct devices *devices;
    struct terminal terminal;
    struct console console;
    sigset_t old_signals;
    int signals; /* signalfd */
    int event;   /* eventfd that tasks write: console output, readiness, counters, the end */
    uint64_t start_ns;
    unsigned namespaces; /* CLONE_NEW*: those that it or its tasks have of their own */

    /* tasks */
    pid_t task[VM_MAX_CPUS];              /* 0: gone */
    const struct vcpu *vcpu[VM_MAX_CPUS]; /* a copy: those in the arena may lead anywhere */
    unsigned tasks;                       /* running */
    unsigned holds;                       /* enum monitor_hold */
    bool killing;                         /* we sent SIGKILL: such a death is no crash */
    bool started;                         /* cfg.started was called */
    struct cpu_cap cap;
    bool capping; /* the cap is ours to hold */

    /* the end */
    bool decided; /* *result is final */
    bool hurry;   /* somebody wants it to end at once, whatever its disks have left to do */
    struct monitor_result *result;
    uint64_t stop_ms; /* when a machine that was asked to power off is ended; 0: it was not asked */
    unsigned stop_seconds; /* the time it was given */
    uint64_t press_ms;     /* when its button is pressed again */
    unsigned press_pause;  /* ms from then to the next time */

    /* requests for statistics, all answered at once */
    ticket_t stats[SERVER_CLIENTS];
    unsigned stats_waiting;
    uint64_t stats_ms;    /* when they are answered with what there is */
    uint32_t stats_meter; /* the measurement they wait for */
};

/* ---- monitor.c ---- */

uint64_t monitor_now_ms(void);
/** Wait for something to do, timeout ms at most (-1: for ever), and do it. False: it cannot. */
bool monitor_step(struct monitor *m, int timeout);

/* ---- monitor_end.c ---- */

/** The machine ends for a reason of the monitor's; the first reason counts. */
void monitor_decide(struct monitor *m, enum monitor_end end, int code);
/** All tasks have left: finish the output and the disks, drop the devices. */
void monitor_settle(struct monitor *m);
/** After that: what did the machine say, if nothing was decided? */
void monitor_conclude(struct monitor *m);

/* ---- monitor_tasks.c ---- */

/** 0 or -errno; then some may run. */
int monitor_start_tasks(struct monitor *m) MUST_CHECK;
/** See who has ended. */
void monitor_reap(struct monitor *m);
/** Kill and wait for every process that the tasks left behind. */
void monitor_reap_all(struct monitor *m);
/** Stop the tasks for this reason, or no longer. */
void monitor_hold(struct monitor *m, unsigned why);
void monitor_release(struct monitor *m, unsigned why);
/** Call cfg.started if all tasks are set up now. */
void monitor_look_started(struct monitor *m);
/** The meter has measured: is the machine within its cap? */
void monitor_look_cap(struct monitor *m);

/* ---- monitor_control.c ---- */

/** Serve requests from now on, and no longer. Nothing without a server. */
void monitor_serve(struct monitor *m);
void monitor_serve_no_more(struct monitor *m);
/** Do what is due: answer statistics, end a machine that did not power off in time. Returns the ms
 * until the next thing is due, or -1. */
int monitor_control_due(struct monitor *m);
/** Write the machine's state to its directory. */
void monitor_show_state(const struct monitor *m);

/* ---- monitor_stats.c ---- */

struct json_object *monitor_stats(const struct monitor *m);
struct json_object *monitor_inspect(const struct monitor *m);

#endif
