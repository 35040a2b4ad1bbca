/* A machine from its name to its end: the launcher's side, and each boot in a monitor.
 *
 * The launcher makes everything that outlives a boot (the name's directory, the control socket, the
 * control group) and drops it; it measures while the machine runs. See host/linux/launch.h.
 */
#include "block/lock.h"
#include "cli/cli.h"
#include "cli/run.h"
#include "control/vm_dir.h"
#include "host/linux/host_error.h"
#include "host/linux/launch.h"

#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define METER_MS 5 /* where the cap is ours to hold */

/* ---- in the monitor ---- */

/* The machine runs: tell who waits for that. Nobody there any more: it is not wanted. */
static bool started(void *ctx)
{
    struct run *r = ctx;
    char why[256];
    if (cpu_share_missed(&r->share, why, sizeof(why))) {
        fprintf(stderr, "ring3 run: %s\n", why);
    }
    if (r->ready_fd < 0) {
        return true;
    }
    char name[VM_NAME_MAX + 2];
    int len = snprintf(name, sizeof(name), "%s\n", r->dir.name);
    return write(r->ready_fd, name, (size_t)len) == len;
}

static int open_machine(struct run *r, struct vm_log *log, struct monitor **m)
{
    const struct run_options *o = r->o;
    const struct run_plan *plan = r->plan;
    struct monitor_config cfg = {
        .machine = {.kernel = plan->kernel,
                    .initrd = *plan->initrd ? plan->initrd : NULL,
                    .extra = plan->extra.bytes,
                    .extra_len = plan->extra.len,
                    .cmdline = plan->cmdline,
                    .ram_size = o->ram_size,
                    .cpus = o->cpus,
                    .engine = r->engine},
        .devices = {.disks = o->disk,
                    .disk_count = o->disk_count,
                    .nets = o->net,
                    .net_count = o->net_count,
                    .forwards = o->port,
                    .forward_count = o->port_count,
                    .shares = o->share,
                    .share_count = o->share_count,
                    .vm_name = r->named ? r->dir.name : NULL},
        .console = plan->console,
        .token = plan->console == CONSOLE_PLAIN ? NULL : plan->token,
        .raw_terminal = plan->raw_terminal,
        .stat = o->stat,
        .trace_fd = plan->trace_fd,
        .log_level = o->verbose ? LOG_DEBUG : LOG_WARN,
        .server = r->server,
        .dir = r->named ? &r->dir : NULL,
        .share = &r->share,
        .meter = &r->meter,
        .log = log,
        .messages_fd = r->messages_fd,
        .started = started,
        .started_ctx = r,
    };
    run_choose_devices(plan, &cfg.devices);
    struct boot_error err = {0};
    if (monitor_open(m, &cfg, &err)) {
        fprintf(stderr, "ring3 run: %s\n", err.text);
        return CLI_USAGE;
    }
    return 0;
}

static void describe(const struct run *r, const struct monitor *m)
{
    const struct run_options *o = r->o;
    if (o->verbose) {
        run_describe(stderr, o, r->plan, r->why, monitor_facts(m));
    } else if (strcmp(o->engine, "auto") == 0 && r->plan->console == CONSOLE_PLAIN && !o->detach &&
               isatty(STDERR_FILENO)) {
        fprintf(stderr, "ring3: engine %s\n", r->why);
    }
}

/* One boot, in a process of its own. */
static int boot_once(void *ctx, unsigned boot)
{
    struct run *r = ctx;
    struct vm_log log;
    struct monitor *m;
    struct monitor_result result;
    bool logged = r->messages_fd >= 0;
    if (boot) {
        r->ready_fd = -1; /* nobody waits any more */
    }
    if (logged) {
        vm_log_init(&log, r->dir.log_fd, r->dir.old_log_fd);
    }
    int status = open_machine(r, logged ? &log : NULL, &m);
    if (status) {
        return status;
    }
    if (boot == 0) {
        describe(r, m);
    }
    monitor_run(m, &result);
    bool again =
        result.end == MONITOR_REBOOT && !r->o->no_reboot && r->plan->console == CONSOLE_PLAIN;
    status = again ? LAUNCH_AGAIN : run_conclude(r->o, m, &result);
    monitor_close(m);
    return status;
}

int run_dry(struct run *r)
{
    struct monitor *m;
    int status = open_machine(r, NULL, &m);
    if (!status) {
        run_describe(stdout, r->o, r->plan, r->why, monitor_facts(m));
        monitor_close(m);
    }
    return status;
}

/* ---- in the launcher ---- */

/* A name, and a directory to be reached by. 0; else CLI_USAGE, said: a machine that nobody asked a
 * name for runs without one, where none can be had. */
static int claim_name(struct run *r)
{
    const struct run_options *o = r->o;
    struct vm_base base;
    struct vm_error err;
    bool needed = o->name || o->detach;
    if (o->nameless) {
        return 0;
    }
    struct json_object *config = run_config(r);
    struct vm_dir_config cfg = {
        .name = o->name,
        .config = config,
        .log = o->detach,
        .group = o->detach || o->cap || o->weight != CPU_SHARE_DEFAULT,
        .fleeting = !needed,
    };
    int failed = vm_base_open(&base, true, &err);
    if (!failed) {
        failed = vm_dir_claim(&r->dir, &base, &cfg, &err);
        vm_base_close(&base);
    }
    json_object_put(config);
    r->named = !failed;
    if (failed && needed) {
        fprintf(stderr, "ring3 run: %s: %s\n", o->name ? "--name" : "--detach", err.text);
        return CLI_USAGE;
    }
    r->server = r->named ? calloc(1, sizeof(*r->server)) : NULL;
    if (r->server) {
        server_init(r->server, r->dir.listen_fd, r->dir.name);
    }
    return 0;
}

static void open_share(struct run *r)
{
    const struct run_options *o = r->o;
    char why[256];
    cpu_share_open(&r->share, r->named ? r->dir.name : "vm", o->weight, o->cap, o->detach);
    if (r->named && r->share.group.path[0]) {
        vm_dir_set_group(&r->dir, r->share.group.path);
    }
    if (cpu_share_falls_short(&r->share, why, sizeof(why))) {
        fprintf(stderr, "ring3 run: %s\n", why);
    }
    if (cpu_meter_open(&r->meter) && o->cap && !r->share.group.caps) {
        fprintf(stderr, "ring3 run: --cap: no memory to measure with; it does not hold\n");
    }
}

static void measure(void *ctx, int monitor)
{
    struct run *r = ctx;
    cpu_meter_measure(&r->meter, monitor);
}

/* Messages that nobody has read yet go to the log too. */
static void drain_messages(struct run *r)
{
    struct vm_log log;
    char text[4096];
    ssize_t n;
    vm_log_init(&log, r->dir.log_fd, r->dir.old_log_fd);
    while ((n = read(r->messages_fd, text, sizeof(text))) > 0) {
        vm_log_write(&log, text, (size_t)n);
    }
}

/* Whether the machine ended because somebody signalled it to, not by a crash. */
static bool orderly(int signal)
{
    return signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT ||
           signal == SIGPIPE;
}

/* The directory of a machine in the background tells how it ended; the terminal did of another. */
static void release_name(struct run *r, int status, int signal)
{
    if (!r->named) {
        return;
    }
    bool keep = r->o->detach && !r->o->remove && vm_dir_was_up(&r->dir);
    if (keep) {
        drain_messages(r);
        bool crashed = signal && !orderly(signal);
        vm_dir_set_state(&r->dir, crashed ? VM_DEAD : VM_EXITED, signal ? 128 + signal : status);
    }
    vm_dir_release(&r->dir, !keep);
    free(r->server);
}

int run_vm(struct run *r, int *signal)
{
    int status = claim_name(r);
    if (status) {
        return status;
    }
    open_share(r);
    bool capping = r->o->cap && !r->share.group.caps;
    struct launch launch = {
        .monitor = boot_once,
        .tick = r->meter.page ? measure : NULL,
        .period_ms = capping ? METER_MS : 0,
        .wake_fd = r->meter.ask_fd,
        .mask = &r->mask,
        .ctx = r,
    };
    status = launch_run(&launch, signal);
    if (status < 0) {
        fprintf(stderr, "ring3 run: the host gives no process: %s\n", host_error(-status));
        status = CLI_BROKEN;
    }
    if (r->o->disk_count) {
        lock_sweep();
    }
    cpu_share_close(&r->share);
    cpu_meter_close(&r->meter);
    release_name(r, status, *signal);
    return status;
}
