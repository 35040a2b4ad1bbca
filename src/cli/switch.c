/* ring3 switch: who is on the networks between machines. And, said by a machine that starts
 * them, a switch itself, and what plugs that machine into another. */
#include "cli/cli.h"
#include "host/linux/runtime_dir.h"
#include "net/switch_process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SWITCHES_MAX 256u

static void print_port(const char *name, const struct switch_port *p)
{
    const struct switch_counters *c = &p->count;
    printf("%-12s %-20.*s %02x:%02x:%02x:%02x:%02x:%02x %14llu %14llu %10llu\n", name,
           (int)strnlen(p->name, sizeof(p->name)), p->name, p->mac[0], p->mac[1], p->mac[2],
           p->mac[3], p->mac[4], p->mac[5], (unsigned long long)c->sent_bytes,
           (unsigned long long)c->received_bytes, (unsigned long long)c->dropped);
}

static void print_head(void)
{
    printf("%-12s %-20s %-17s %14s %14s %10s\n", "SWITCH", "MACHINE", "MAC", "SENT", "RECEIVED",
           "DROPPED");
}

static void print_ports(const char *name, const struct switch_report *r)
{
    for (unsigned i = 0; i < r->ports; i++) {
        print_port(name, &r->port[i]);
    }
}

/* One that ends while we look is no mistake. */
static int print_all(void)
{
    static char names[SWITCHES_MAX][SWITCH_TITLE_MAX];
    static struct switch_report r;
    struct net_error err;
    char path[256];
    int dir = runtime_dir_open(RUNTIME_DIR_SWITCHES, false, path, sizeof(path));
    if (dir < 0 && dir != -ENOENT) {
        fprintf(stderr,
                "ring3 switch: no directory for switches: %s: %s; set XDG_RUNTIME_DIR to a "
                "directory of your own\n",
                path, strerror(-dir));
        return CLI_BROKEN;
    }
    unsigned n = dir < 0 ? 0 : switch_dir_names(dir, names, SWITCHES_MAX);
    if (dir >= 0) {
        close(dir);
    }
    print_head();
    for (unsigned i = 0; i < n; i++) {
        if (switch_ask(names[i], &r, &err) == 0) {
            print_ports(names[i], &r);
        }
    }
    return 0;
}

static int print_one(const char *name)
{
    static struct switch_report r;
    struct net_error err;
    if (switch_ask(name, &r, &err)) {
        fprintf(stderr, "ring3 switch: %s\n", err.text);
        return CLI_USAGE;
    }
    print_head();
    print_ports(name, &r);
    return 0;
}

int switch_main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--serve") == 0) {
        return switch_serve(argv[2]);
    }
    if (argc == 5 && strcmp(argv[1], "--plug") == 0) {
        return switch_plug_serve(argv[2], argv[3], argv[4]);
    }
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "ring3 switch: what is %s? 'ring3 help switch' says more\n",
                argv[argc > 2 ? 2 : 1]);
        return CLI_USAGE;
    }
    if (argc == 1) {
        return print_all();
    }
    struct net_config c;
    struct net_error err;
    char arg[128];
    snprintf(arg, sizeof(arg), "switch=%s", argv[1]);
    if (strchr(argv[1], ',') || net_parse(arg, &c, &err)) {
        fprintf(stderr, "ring3 switch: %s: not the name of a switch\n", argv[1]);
        return CLI_USAGE;
    }
    return print_one(argv[1]);
}
