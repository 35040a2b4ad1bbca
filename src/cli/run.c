/* ring3 run: start a virtual machine, on this terminal or in the background. */
#include "cli/cli.h"
#include "cli/run.h"
#include "host/linux/launch.h"

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

static int open_trace(const struct run_options *o, struct run_plan *plan)
{
    if (!o->trace || o->dry_run) {
        return 0;
    }
    plan->trace_fd = open(o->trace, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0666);
    if (plan->trace_fd < 0) {
        fprintf(stderr, "ring3 run: --trace %s: %s\n", o->trace, strerror(errno));
        return CLI_USAGE;
    }
    return 0;
}

/* With a plan made. */
static int run_planned(const struct run_options *o, struct run_plan *plan, int *signal)
{
    struct run r = {.o = o, .plan = plan, .messages_fd = -1, .ready_fd = -1};
    int status = open_trace(o, plan);
    if (status) {
        return status;
    }
    r.engine = choose_engine(o->engine, r.why, sizeof(r.why));
    if (!r.engine) {
        return CLI_USAGE;
    }
    if (o->dry_run) {
        return run_dry(&r);
    }
    launch_hold(&r.mask);
    status = o->detach ? run_detached(&r) : run_vm(&r, signal);
    sigprocmask(SIG_SETMASK, &r.mask, NULL);
    return status;
}

int run_main(int argc, char **argv)
{
    struct run_options o;
    int signal = 0;
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
    if (!status) {
        status = run_planned(&o, plan, &signal);
    }
    if (plan->trace_fd >= 0) {
        close(plan->trace_fd);
    }
    cpio_fini(&plan->extra);
    free(plan);
    return signal ? run_die_of(signal) : status;
}
