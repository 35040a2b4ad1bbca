/* ring3 stop: press the power button, and wait. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"
#include "control/client.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SECONDS_DEFAULT 30u
#define SECONDS_MAX 86400u
#define LOOK_MS 5
#define LEAVE_MS 5000u /* for a machine that has ended to leave */

enum { TIME };
static const struct args_option options[] = {
    [TIME] = {"--time", "-t", "SECONDS"},
    {0},
};

/* One machine's button. */
struct button {
    struct vm_entry e;
    uint64_t pressed_ms, ended_ms; /* 0: not yet */
    int status;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A machine that is ending already takes no requests: then its end is waited for, too. */
static int press(const struct vms *v, struct button *b, unsigned seconds)
{
    struct vm_error err;
    struct json_object *request = client_request("stop");
    json_object_object_add(request, "seconds", json_object_new_int((int)seconds));
    b->pressed_ms = now_ms();
    int fd = client_connect(&v->base, b->e.name, &err), failed = -EPIPE;
    if (fd >= 0) {
        failed = client_call(fd, request, NULL, VMS_ANSWER_MS, &err);
        close(fd);
    } else {
        json_object_put(request);
    }
    bool ended = failed && vms_wait_end(v, &b->e, failed == -ETIMEDOUT ? 0 : LEAVE_MS);
    return failed && !ended ? vms_say_failed(v, &b->e, failed, &err) : 0;
}

/* How it ended. Its own exit status is nobody's failure, unless it had to be killed. */
static int judge(const struct vms *v, const struct button *b, unsigned seconds)
{
    char what[64];
    if (!b->ended_ms) {
        vms_say(v, &b->e, "it does not end; 'ring3 kill' makes it");
        return CLI_FAILED;
    }
    if (b->e.state == VM_EXITED && b->e.code == CLI_KILLED) {
        if (b->ended_ms - b->pressed_ms < seconds * 1000ull) {
            vms_say(v, &b->e, "it was killed before it had powered off");
            return CLI_FAILED;
        }
        snprintf(what, sizeof(what), "it did not power off within %u s and was killed", seconds);
        vms_say(v, &b->e, what);
        return CLI_FAILED;
    }
    puts(b->e.name);
    return 0;
}

/* Wait until all have ended, or should have. */
static void await_all(const struct vms *v, struct button *b, size_t count, unsigned seconds)
{
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (size_t i = 0; i < count; i++) {
            if (b[i].status || b[i].ended_ms) {
                continue;
            }
            bool ended = vms_wait_end(v, &b[i].e, 0);
            uint64_t now = now_ms();
            b[i].ended_ms = ended ? now : 0;
            waiting |= !ended && now < b[i].pressed_ms + seconds * 1000ull + LEAVE_MS;
        }
        if (waiting) {
            nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
        }
    }
}

/* All buttons first, so that they go down together. The first status that is not 0. */
static int stop_all(const struct vms *v, const struct args *a, unsigned seconds)
{
    struct button *b = calloc(a->count, sizeof(*b));
    int status = 0;
    if (!b) {
        fprintf(stderr, "ring3 stop: out of memory\n");
        return CLI_BROKEN;
    }
    for (size_t i = 0; i < a->count; i++) {
        const struct vm_entry *e = vms_find_alive(v, a->words[i], &b[i].status);
        if (e) {
            b[i].e = *e;
            b[i].status = press(v, &b[i], seconds);
        }
        status = status ? status : b[i].status;
    }
    await_all(v, b, a->count, seconds);
    for (size_t i = 0; i < a->count; i++) {
        int one = b[i].status ? 0 : judge(v, &b[i], seconds);
        status = status ? status : one;
    }
    free(b);
    return status;
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
    status = vms_open(&v, a.verb, VMS_WHOLE_NAMES);
    status = status ? status : stop_all(&v, &a, seconds);
    vms_close(&v);
    return status;
}
