/* The parts of `ring3 run`. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "control/server.h"
#include "control/vm_log.h"
#include "host/linux/cpio.h"
#include "host/linux/monitor.h"

#include <signal.h>
#include <stdio.h>

#define RUN_DISKS_MAX 16u
#define RUN_NETS_MAX 8u
#define RUN_PORTS_MAX 32u
#define RUN_SHARES_MAX 8u
#define RUN_WEIGHT_DEFAULT 100u
#define RUN_WEIGHT_MAX 10000u
#define RUN_CAP_MAX 6400u

/** What the command line asked for. Strings are argv's. */
struct run_options {
    const char *kernel; /* NULL: the default guest's */
    const char *initrd; /* NULL: none, or the default guest's */
    const char *append;
    const char *engine; /* "auto" or a name */
    const char *trace;  /* NULL: off */
    uint64_t ram_size;
    unsigned cpus;
    bool dry_run, verbose, stat, no_reboot, help;
    bool detach, remove;
    bool nameless;        /* no name, no directory: nobody sees or controls it (ring3 doctor's) */
    const char *name;     /* NULL: one is made up */
    unsigned weight, cap; /* cap: percent of one processor, 0: none */
    const char *disk[RUN_DISKS_MAX], *net[RUN_NETS_MAX], *port[RUN_PORTS_MAX],
        *share[RUN_SHARES_MAX];
    unsigned disk_count, net_count, port_count, share_count;
    char **command; /* after "--", ends with NULL; NULL if there was no "--" or nothing after it */
};

/* ---- run_options.c ---- */

/** Parse argv (argv[0] is the verb). 0; else CLI_USAGE, and one line on standard error says why. */
int run_parse(int argc, char **argv, struct run_options *o) MUST_CHECK;

/* ---- run_devices.c ---- */

/** Take the argument of -d, --net, -p or -v. 0; else CLI_USAGE, said. What is wrong inside one is
 * found when it is opened. */
int run_add_disk(const char *arg, struct run_options *o) MUST_CHECK;
int run_add_net(const char *arg, struct run_options *o) MUST_CHECK;
int run_add_port(const char *arg, struct run_options *o) MUST_CHECK;
int run_add_share(const char *arg, struct run_options *o) MUST_CHECK;

/* ---- guest_files.c ---- */

/** How the guest's console is used, and what the default guest is told about it. */
struct run_plan {
    char kernel[4096], initrd[4096]; /* paths; initrd empty: none */
    bool default_initrd;
    char cmdline[4096];
    enum console_mode console;
    bool raw_terminal;
    char token[CHANNEL_TOKEN_LEN + 1];
    struct cpio extra; /* for the default guest's init; empty otherwise */
    int trace_fd;      /* the event stream goes there, -1: nowhere; opened by run_main */
};

/** Find the files and decide how to talk to the guest. 0; else CLI_USAGE, said. plan->extra is to
 * be freed either way (cpio_fini). */
int run_make_plan(const struct run_options *o, struct run_plan *plan) MUST_CHECK;

/* ---- guest_devices.c ---- */

/** The devices that a machine has without being asked. */
void run_choose_devices(const struct run_plan *plan, struct devices_config *d);
/** Tell the default guest what its networks and shares are. 0; CLI_USAGE, said; -1: no memory. */
int run_tell_devices(struct cpio *c, const struct run_options *o) MUST_CHECK;

/* ---- run_report.c ---- */

/** Print the machine that was built, as --dry-run and --verbose do. why: what the engine's probe
 * said, which begins with its name. */
void run_describe(FILE *f, const struct run_options *o, const struct run_plan *plan,
                  const char *why, const struct machine_facts *facts);
/** Say how the machine ended where that needs saying, and return ring3's exit status. Does not
 * return when ring3 is to die of a signal. */
int run_conclude(const struct run_options *o, const struct monitor *m,
                 const struct monitor_result *r);
/** The end that a signal makes: as if ring3 had never caught it. Returns only if it does not end
 * ring3, with the exit status that says so. */
int run_die_of(int sig);

/* ---- run_vm.c ---- */

/** One `ring3 run`, in the launcher and, after its fork, in the monitor. */
struct run {
    const struct run_options *o;
    struct run_plan *plan;
    const struct engine *engine;
    char why[256]; /* it was chosen */

    bool named; /* there is a directory, and so a name */
    struct vm_dir dir;
    struct server *server; /* NULL: nobody can control it */
    struct cpu_share share;
    struct cpu_meter meter;

    sigset_t mask; /* the signals that the user who started it had held: not by us */

    /* Of a detached machine; else -1. */
    int messages_fd; /* what is written to standard error comes out here */
    int ready_fd;    /* the name is written there when the machine runs */
};

/** Build the machine and print what --dry-run prints. Returns the exit status. */
int run_dry(struct run *r);
/** Run the machine to its end, again after each reboot, with its name, its directory and its share
 * of the processors. Returns the exit status; *signal is the signal to die of, or 0. */
int run_vm(struct run *r, int *signal);

/* ---- run_config.c ---- */

/** What a machine was started with, as its directory tells it (docs/control.md). */
struct json_object *run_config(const struct run *r) MUST_CHECK;

/* ---- run_detach.c ---- */

/** Run the machine in the background. Returns when it runs, having printed its name, or when it
 * could not be started. The exit status. */
int run_detached(struct run *r);

#endif
