/* ring3 run: start a virtual machine on this terminal. */
#include "cli/cli.h"
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct engine *const engines[] = {&engine_bt};

/* The engine asked for, and in `why` the reason it was chosen. NULL, and said, if there is none. */
static const struct engine *choose_engine(const char *name, char *why, size_t size)
{
    if (strcmp(name, "auto") == 0) {
        for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
            if (engines[i]->probe(why, size)) {
                return engines[i];
            }
        }
        fprintf(stderr, "ring3 run: no engine can run here: %s; 'ring3 doctor' says more\n", why);
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
        if (strcmp(name, engines[i]->name) == 0) {
            if (engines[i]->probe(why, size)) {
                return engines[i];
            }
            fprintf(stderr, "ring3 run: --engine %s: cannot run here: %s\n", name, why);
            return NULL;
        }
    }
    fprintf(stderr, "ring3 run: --engine %s: no such engine in this build; use auto or bt\n", name);
    return NULL;
}

static int open_machine(const struct run_options *o, const struct run_plan *plan,
                        const struct engine *engine, struct monitor **m)
{
    struct monitor_config cfg = {
        .machine = {.kernel = plan->kernel,
                    .initrd = *plan->initrd ? plan->initrd : NULL,
                    .extra = plan->extra.bytes,
                    .extra_len = plan->extra.len,
                    .cmdline = plan->cmdline,
                    .ram_size = o->ram_size,
                    .cpus = o->cpus,
                    .engine = engine},
        .console = plan->console,
        .token = plan->console == CONSOLE_PLAIN ? NULL : plan->token,
        .raw_terminal = plan->raw_terminal,
        .stat = o->stat,
        .trace_fd = plan->trace_fd,
        .log_level = o->verbose ? LOG_DEBUG : LOG_WARN,
    };
    struct boot_error err = {0};
    if (monitor_open(m, &cfg, &err)) {
        fprintf(stderr, "ring3 run: %s\n", err.text);
        return CLI_USAGE;
    }
    return 0;
}

/* Build and run the machine, again after each reboot. */
static int run_machine(const struct run_options *o, const struct run_plan *plan)
{
    char why[256] = "";
    const struct engine *engine = choose_engine(o->engine, why, sizeof(why));
    if (!engine) {
        return CLI_USAGE;
    }
    for (bool first = true;; first = false) {
        struct monitor *m;
        struct monitor_result result;
        int status = open_machine(o, plan, engine, &m);
        if (status) {
            return status;
        }
        if (o->dry_run || (o->verbose && first)) {
            run_describe(o->dry_run ? stdout : stderr, o, plan, why, monitor_facts(m));
        } else if (first && strcmp(o->engine, "auto") == 0 && plan->console == CONSOLE_PLAIN &&
                   isatty(STDERR_FILENO)) {
            fprintf(stderr, "ring3: engine %s\n", why);
        }
        bool again = false;
        if (!o->dry_run) {
            monitor_run(m, &result);
            again = result.end == MONITOR_REBOOT && !o->no_reboot && plan->console == CONSOLE_PLAIN;
            status = again ? 0 : run_conclude(o, m, &result);
        }
        monitor_close(m);
        if (!again) {
            return status;
        }
    }
}

int run_main(int argc, char **argv)
{
    struct run_options o;
    int status = run_parse(argc, argv, &o);
    if (status) {
        return status;
    }
    if (o.help) {
        return cli_print_help(cli_find_verb("run"));
    }
    struct run_plan *plan = malloc(sizeof(*plan));
    if (!plan) {
        fprintf(stderr, "ring3 run: out of memory\n");
        return CLI_USAGE;
    }
    status = run_make_plan(&o, plan);
    plan->trace_fd = -1;
    if (!status && o.trace && !o.dry_run) {
        plan->trace_fd = open(o.trace, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0666);
        if (plan->trace_fd < 0) {
            fprintf(stderr, "ring3 run: --trace %s: %s\n", o.trace, strerror(errno));
            status = CLI_USAGE;
        }
    }
    if (!status) {
        status = run_machine(&o, plan);
    }
    if (plan->trace_fd >= 0) {
        close(plan->trace_fd);
    }
    cpio_fini(&plan->extra);
    free(plan);
    return status;
}
