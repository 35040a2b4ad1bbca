/* ring3 stop: press the power button, and wait. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"
#include "control/client.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECONDS_DEFAULT 30u
#define SECONDS_MAX 86400u
#define LEAVE_MS 5000u /* for a machine that has ended to leave */

enum { TIME };
static const struct args_option options[] = {
    [TIME] = {"--time", "-t", "SECONDS"},
    {0},
};

static int press_button(const struct vms *v, const struct vm_entry *e, void *ctx)
{
    const unsigned *seconds = ctx;
    struct vm_error err;
    struct json_object *request = client_request("stop");
    json_object_object_add(request, "seconds", json_object_new_int((int)*seconds));
    int fd = client_connect(&v->base, e->name, &err);
    int failed = fd < 0 ? -1 : client_call(fd, request, NULL, VMS_ANSWER_MS, &err);
    if (fd >= 0) {
        close(fd);
    } else {
        json_object_put(request);
    }
    if (failed) {
        vms_say(v, e, err.text);
        return CLI_FAILED;
    }
    return 0;
}

/* Wait for its end. Its own exit status is nobody's failure, unless it had to be killed. */
static int await(const struct vms *v, const struct vm_entry *from, unsigned seconds)
{
    struct vm_entry e = *from;
    char what[64];
    if (!vms_wait_end(v, &e, seconds * 1000 + LEAVE_MS)) {
        vms_say(v, &e, "it does not end; 'ring3 kill' makes it");
        return CLI_FAILED;
    }
    if (e.state == VM_EXITED && e.code == CLI_KILLED) {
        snprintf(what, sizeof(what), "it did not power off within %u s and was killed", seconds);
        vms_say(v, &e, what);
        return CLI_FAILED;
    }
    puts(e.name);
    return 0;
}

int stop_main(int argc, char **argv)
{
    struct args a;
    struct vms v;
    unsigned seconds = SECONDS_DEFAULT;
    int status = args_parse(argc, argv, options, &a);
    if (status >= 0) {
        return status;
    }
    status = args_words(&a, 1, (size_t)argc, "the name of a machine");
    status = status ? status : args_number(&a, options, TIME, 0, SECONDS_MAX, &seconds);
    if (status) {
        return status;
    }
    status = vms_open(&v, a.verb);
    if (!status) { /* all buttons first, so that they go down together */
        int *pressed = calloc(a.count, sizeof(*pressed));
        for (size_t i = 0; pressed && i < a.count; i++) {
            pressed[i] = vms_each_alive(&v, &a.words[i], 1, press_button, &seconds);
            status = status ? status : pressed[i];
        }
        for (size_t i = 0; pressed && i < a.count; i++) {
            int one = pressed[i] ? 0 : await(&v, vms_find(&v, a.words[i]), seconds);
            status = status ? status : one;
        }
        free(pressed);
    }
    vms_close(&v);
    return status;
}
