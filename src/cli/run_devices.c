/* The options of `ring3 run` that plug something in: -d, --net, -p, -v.
 *
 * Only what can be seen at once is checked here; each kind of device understands its own argument
 * when it is opened, before the machine starts.
 */
#include "cli/cli.h"
#include "cli/run.h"

#include <stdio.h>
#include <string.h>

static int usage(const char *option, const char *why)
{
    fprintf(stderr, "ring3 run: %s: %s\n", option, why);
    return CLI_USAGE;
}

/* Append arg to a list of count out of max. */
static int add(const char *option, const char *arg, const char **list, unsigned *count,
               unsigned max)
{
    if (*count == max) {
        fprintf(stderr, "ring3 run: %s %s: a machine has room for %u of these\n", option, arg, max);
        return CLI_USAGE;
    }
    list[(*count)++] = arg;
    return 0;
}

int run_add_disk(const char *arg, struct run_options *o)
{
    if (!*arg || arg[0] == '-') {
        return usage("-d", "a FILE comes after it, the disk's image; to run in the background say "
                           "--detach");
    }
    return add("-d", arg, o->disk, &o->disk_count, RUN_DISKS_MAX);
}

int run_add_net(const char *arg, struct run_options *o)
{
    if (!*arg || arg[0] == '-') {
        return usage("--net", "a network comes after it: user, tap=NAME or switch=NAME");
    }
    return add("--net", arg, o->net, &o->net_count, RUN_NETS_MAX);
}

int run_add_port(const char *arg, struct run_options *o)
{
    if (!strchr(arg, ':') || arg[0] == '-') {
        return usage("-p", "HOST:GUEST comes after it, two port numbers, as in -p 8080:80");
    }
    return add("-p", arg, o->port, &o->port_count, RUN_PORTS_MAX);
}

int run_add_share(const char *arg, struct run_options *o)
{
    if (!strchr(arg, ':') || arg[0] == '-') {
        return usage("-v",
                     "SRC:DST comes after it, a directory here and its place in the guest; for "
                     "more messages say --verbose");
    }
    return add("-v", arg, o->share, &o->share_count, RUN_SHARES_MAX);
}
