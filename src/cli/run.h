/* The parts of `ring3 run`. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "host/linux/cpio.h"
#include "host/linux/monitor.h"

#include <stdio.h>

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
    char **command; /* after "--", ends with NULL; NULL if there was no "--" or nothing after it */
};

/* ---- run_options.c ---- */

/** Parse argv (argv[0] is the verb). 0; else CLI_USAGE, and one line on standard error says why. */
int run_parse(int argc, char **argv, struct run_options *o) MUST_CHECK;

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

/* ---- run_report.c ---- */

/** Print the machine that was built, as --dry-run and --verbose do. why: what the engine's probe
 * said, which begins with its name. */
void run_describe(FILE *f, const struct run_options *o, const struct run_plan *plan,
                  const char *why, const struct machine_facts *facts);
/** Say how the machine ended where that needs saying, and return ring3's exit status. Does not
 * return when ring3 is to die of a signal. */
int run_conclude(const struct run_options *o, const struct monitor *m,
                 const struct monitor_result *r);

#endif
