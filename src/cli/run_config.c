/* config.json: what a machine was started with. */
#include "cli/run.h"
#include "control/json_text.h"

#include <json-c/json.h>
#include <time.h>

static void add_string(struct json_object *o, const char *name, const char *text)
{
    json_object_object_add(o, name, json_text(text));
}

static void add_number(struct json_object *o, const char *name, uint64_t n)
{
    json_object_object_add(o, name, json_object_new_uint64(n));
}

static void add_list(struct json_object *o, const char *name, const char *const *strings,
                     size_t count)
{
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        json_object_array_add(list, json_text(strings[i]));
    }
    json_object_object_add(o, name, list);
}

static void add_command(struct json_object *o, char *const *command)
{
    struct json_object *list = json_object_new_array();
    for (char *const *arg = command; *arg; arg++) {
        json_object_array_add(list, json_text(*arg));
    }
    json_object_object_add(o, "command", list);
}

struct json_object *run_config(const struct run *r)
{
    const struct run_options *opt = r->o;
    struct json_object *o = json_object_new_object();
    add_number(o, "started", (uint64_t)time(NULL));
    json_object_object_add(o, "detached", json_object_new_boolean(opt->detach));
    add_string(o, "engine", r->engine->name);
    add_number(o, "processors", opt->cpus);
    add_number(o, "memory", opt->ram_size);
    add_string(o, "kernel", r->plan->kernel);
    if (*r->plan->initrd) {
        add_string(o, "initrd", r->plan->initrd);
    }
    add_string(o, "append", r->plan->cmdline);
    if (opt->command) {
        add_command(o, opt->command);
    }
    add_list(o, "disks", opt->disk, opt->disk_count);
    add_list(o, "networks", opt->net, opt->net_count);
    add_list(o, "ports", opt->port, opt->port_count);
    add_list(o, "shares", opt->share, opt->share_count);
    add_number(o, "weight", opt->weight);
    if (opt->cap) {
        add_number(o, "cap", opt->cap);
    }
    return o;
}
