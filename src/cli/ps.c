/* ring3 ps: the user's machines. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { FORMAT, QUIET };
static const struct args_option options[] = {
    [FORMAT] = {"--format", NULL, "FORMAT"},
    [QUIET] = {"--quiet", "-q", NULL},
    {0},
};

static uint64_t number(struct json_object *config, const char *name)
{
    struct json_object *o;
    return json_object_object_get_ex(config, name, &o) ? json_object_get_uint64(o) : 0;
}

static const char *string(struct json_object *config, const char *name)
{
    struct json_object *o;
    const char *text =
        json_object_object_get_ex(config, name, &o) ? json_object_get_string(o) : NULL;
    return text ? text : "";
}

/* ---- as a table ---- */

/* What runs there: the command, or the kernel's name. Control characters are not shown. */
static void print_what(struct json_object *config)
{
    char text[41] = "";
    size_t len = 0;
    struct json_object *command;
    if (json_object_object_get_ex(config, "command", &command)) {
        for (size_t i = 0; i < json_object_array_length(command) && len < sizeof(text) - 1; i++) {
            const char *arg = json_object_get_string(json_object_array_get_idx(command, i));
            int n = snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "", arg);
            len += (size_t)(n > 0 ? n : 0);
        }
    } else {
        const char *kernel = strrchr(string(config, "kernel"), '/');
        snprintf(text, sizeof(text), "%s", kernel ? kernel + 1 : string(config, "kernel"));
    }
    for (char *c = text; *c; c++) {
        putchar((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c);
    }
    puts(len >= sizeof(text) ? "..." : "");
}

static void print_row(const struct vms *v, const struct vm_entry *e, int width)
{
    char state[32], memory[16], up[32] = "-", pid[16] = "-";
    struct json_object *config = vm_read_config(&v->base, e->name);
    uint64_t started = number(config, "started"), now = (uint64_t)time(NULL);
    if (vm_alive(e)) {
        vms_seconds(now > started && started ? now - started : 0, up);
        snprintf(pid, sizeof(pid), "%d", (int)e->pid);
    }
    printf("%-*s  %-12s  %7s  %4llu  %6s  %8s  ", width, e->name, vms_state(e, state), pid,
           (unsigned long long)number(config, "processors"),
           vms_bytes((double)number(config, "memory"), memory), up);
    print_what(config);
    json_object_put(config);
}

static void print_table(const struct vms *v)
{
    int width = 4;
    for (size_t i = 0; i < v->count; i++) {
        int len = (int)strlen(v->list[i].name);
        width = len > width ? len : width;
    }
    printf("%-*s  %-12s  %7s  %4s  %6s  %8s  %s\n", width, "NAME", "STATE", "PID", "CPUS", "MEMORY",
           "UP", "RUNS");
    for (size_t i = 0; i < v->count; i++) {
        print_row(v, &v->list[i], width);
    }
}

/* ---- as JSON ---- */

static void print_json(const struct vms *v)
{
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < v->count; i++) {
        json_object_array_add(list, vms_json(v, &v->list[i]));
    }
    vms_print_json(list);
}

int ps_main(int argc, char **argv)
{
    struct args a;
    struct vms v;
    bool json = false;
    int status = args_parse(argc, argv, options, &a);
    if (status >= 0) {
        return status;
    }
    status = args_words(&a, 0, 0, "");
    status = status ? status : args_format(&a, FORMAT, &json);
    if (status) {
        return status;
    }
    status = vms_open(&v, a.verb, VMS_BEGINNINGS);
    if (!status && a.value[QUIET]) {
        for (size_t i = 0; i < v.count; i++) {
            puts(v.list[i].name);
        }
    } else if (!status && json) {
        print_json(&v);
    } else if (!status) {
        print_table(&v);
    }
    vms_close(&v);
    return status;
}
