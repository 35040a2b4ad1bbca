/* One virtual machine as a Linux process: the monitor, which owns the console, the devices and the
 * machine's life, and the vCPU tasks it forks (DESIGN §4.8).
 *
 * monitor_open builds everything and fails before anything runs; monitor_run runs the machine to
 * its end; monitor_close drops it. One machine at a time in a process (the arena has one place).
 */
#ifndef HOST_LINUX_MONITOR_H
#define HOST_LINUX_MONITOR_H

#include "host/linux/console.h"
#include "host/linux/cpu_meter.h"
#include "host/linux/cpu_share.h"
#include "host/linux/devices.h"
#include "host/linux/machine.h"

struct server;
struct vm_dir;
struct vm_log;

struct monitor_config {
    struct machine_config machine;
    struct devices_config devices; /* its strings are not used after monitor_open either */
    enum console_mode console;
    const char *token; /* CHANNEL_TOKEN_LEN characters; NULL with CONSOLE_PLAIN */
    bool raw_terminal; /* standard input is a terminal and goes to the guest key by key */
    bool stat;
    int trace_fd;  /* where the event stream goes, -1: nowhere. Borrowed */
    int log_level; /* enum log_level */

    /* What others can do to the machine. All borrowed; NULL: nothing. */
    struct server *server;
    struct vm_dir *dir; /* where its state is written */
    struct cpu_share *share;
    struct cpu_meter *meter;
    /* A detached machine: output and messages go there, the standard streams are not used. */
    struct vm_log *log;
    int messages_fd; /* what is written to standard error comes out here; only with log */
    /* Called once, when the vCPU tasks are set up and run; false: nobody wants the machine any
     * more. May be NULL. */
    bool (*started)(void *ctx);
    void *started_ctx;
};

enum monitor_end {
    MONITOR_POWEROFF,     /* the guest switched itself off */
    MONITOR_REBOOT,       /* the guest asked for a reset */
    MONITOR_STATUS,       /* the guest, or its command, ended with exit status `code` */
    MONITOR_TRIPLE_FAULT, /* reason; monitor_vcpu has the state before the first fault */
    MONITOR_GUEST_FAILED, /* beyond repair: reason */
    MONITOR_QUIT,         /* the user pressed Ctrl-A x */
    MONITOR_KILLED,       /* somebody asked for it by the control socket: reason */
    MONITOR_SIGNAL,       /* the monitor got signal `code` */
    MONITOR_OUTPUT,       /* standard output or error takes no more: errno is `code` */
    MONITOR_BROKEN,       /* ring3 or the host failed: reason */
};

struct monitor_result {
    enum monitor_end end;
    int code;
    char reason[512]; /* one line; empty where the end says it all */
};

struct monitor; /* opaque */

/** Build the machine. 0; else -1 and *err says what is wrong and what to do. */
int monitor_open(struct monitor **out, const struct monitor_config *cfg,
                 struct boot_error *err) MUST_CHECK;
/** What was built. */
const struct machine_facts *monitor_facts(const struct monitor *m);
/** Run to the end, which *result describes. The terminal is as it was before, no process is left.
 * Once. */
void monitor_run(struct monitor *m, struct monitor_result *result);
/** After monitor_run: a vCPU's last state, and the event counters ("name value" lines, empty if not
 * asked for). */
const struct vcpu *monitor_vcpu(const struct monitor *m, unsigned index);
const char *monitor_stat(const struct monitor *m);
void monitor_close(struct monitor *m);

#endif
