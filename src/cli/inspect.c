/* ring3 inspect: everything that is known about machines, as JSON. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"
#include "control/client.h"
#include "control/json_text.h"

#include <json-c/json.h>
#include <stdio.h>

static const struct args_option options[] = {{0}};

/* Add what the running machine says of itself. What the configuration calls "memory" is its size.
 */
static int add_live(const struct vms *v, const struct vm_entry *e, struct json_object *o)
{
    struct vm_error err;
    struct json_object *answer;
    int failed = client_ask(&v->base, e->name, "inspect", &answer, VMS_ANSWER_MS, &err);
    if (failed) {
        return vms_say_failed(v, e, failed, &err);
    }
    json_object_object_del(answer, "ok");
    json_object_object_add(o, "live", answer);
    return 0;
}

/* Append what is known about one machine to the list. */
static int describe(const struct vms *v, const struct vm_entry *e, void *ctx)
{
    struct json_object *list = ctx, *o = vms_json(v, e);
    char path[sizeof(v->base.path) + VM_NAME_MAX + 2];
    snprintf(path, sizeof(path), "%s/%s", v->base.path, e->name);
    json_object_object_add(o, "directory", json_text(path));
    int status = vm_alive(e) ? add_live(v, e, o) : 0;
    json_object_array_add(list, o);
    return status;
}

int inspect_main(int argc, char **argv)
{
    struct args a;
    struct vms v;
    int status = vms_begin(argc, argv, options, VMS_BEGINNINGS, &a, &v);
    if (status >= 0) {
        return status;
    }
    struct json_object *list = json_object_new_array();
    status = vms_each(&v, a.words, a.count, describe, list);
    if (json_object_array_length(list)) {
        vms_print_json(list);
    } else {
        json_object_put(list);
    }
    vms_close(&v);
    return status;
}
