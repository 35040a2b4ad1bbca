/* Finding and asking machines: see vms.h. No state. */
#include "cli/vms.h"

#include "cli/cli.h"
#include "control/client.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 5

/* ---- finding ---- */

int vms_open(struct vms *v, const char *verb, enum vms_names names)
{
    struct vm_error err;
    *v = (struct vms){.verb = verb, .names = names, .base = {.fd = -1}};
    if (vm_base_open(&v->base, false, &err)) {
        fprintf(stderr, "ring3 %s: %s\n", verb, err.text);
        return CLI_BROKEN;
    }
    int failed = vm_list(&v->base, &v->list, &v->count);
    if (failed) {
        fprintf(stderr, "ring3 %s: %s: %s\n", verb, v->base.path, strerror(-failed));
        return CLI_BROKEN;
    }
    return 0;
}

void vms_close(struct vms *v)
{
    free(v->list);
    vm_base_close(&v->base);
}

int vms_begin(int argc, char **argv, const struct args_option *options, enum vms_names names,
              struct args *a, struct vms *v)
{
    int status = args_parse(argc, argv, options, a);
    if (status >= 0) {
        return status;
    }
    status = args_words(a, 1, (size_t)argc, "the name of a machine");
    if (status) {
        return status;
    }
    status = vms_open(v, a->verb, names);
    if (status) {
        vms_close(v);
        return status;
    }
    return -1;
}

/* begins: a machine whose name begins so, or NULL. */
static void no_such(const struct vms *v, const char *word, const struct vm_entry *begins)
{
    const char **names = calloc(v->count + 1, sizeof(*names));
    for (size_t i = 0; names && i < v->count; i++) {
        names[i] = v->list[i].name;
    }
    const char *meant = begins ? begins->name : names ? cli_suggest(word, names, v->count) : NULL;
    if (meant) {
        fprintf(stderr, "ring3 %s: no machine is named %s; did you mean %s?\n", v->verb, word,
                meant);
    } else {
        fprintf(stderr, "ring3 %s: no machine is named %s; 'ring3 ps' lists them\n", v->verb, word);
    }
    free(names);
}

const struct vm_entry *vms_find(const struct vms *v, const char *word)
{
    const struct vm_entry *found = NULL, *other = NULL;
    size_t len = strlen(word);
    for (size_t i = 0; i < v->count; i++) {
        const struct vm_entry *e = &v->list[i];
        if (strcmp(e->name, word) == 0) {
            return e;
        }
        if (len && strncmp(e->name, word, len) == 0) {
            other = found;
            found = e;
        }
    }
    if (v->names == VMS_WHOLE_NAMES || !found) {
        no_such(v, word, found);
        return NULL;
    }
    if (other) {
        fprintf(stderr, "ring3 %s: %s can be %s or %s: say more of the name\n", v->verb, word,
                other->name, found->name);
        return NULL;
    }
    return found;
}

const struct vm_entry *vms_find_alive(const struct vms *v, const char *word, int *status)
{
    char state[32], what[64];
    const struct vm_entry *e = vms_find(v, word);
    *status = e ? 0 : CLI_USAGE;
    if (e && !vm_alive(e)) {
        snprintf(what, sizeof(what), "it is not running: %s", vms_state(e, state));
        vms_say(v, e, what);
        *status = CLI_FAILED;
        return NULL;
    }
    return e;
}

/* Of the words' machines; alive: only if they are. */
static int each(const struct vms *v, char *const *words, size_t count, bool alive,
                int (*fn)(const struct vms *v, const struct vm_entry *e, void *ctx), void *ctx)
{
    int first = 0;
    for (size_t i = 0; i < count; i++) {
        int status = CLI_USAGE;
        const struct vm_entry *e =
            alive ? vms_find_alive(v, words[i], &status) : vms_find(v, words[i]);
        if (e) {
            status = fn(v, e, ctx);
        }
        first = first ? first : status;
    }
    return first;
}

int vms_each(const struct vms *v, char *const *words, size_t count,
             int (*fn)(const struct vms *v, const struct vm_entry *e, void *ctx), void *ctx)
{
    return each(v, words, count, false, fn, ctx);
}

int vms_each_alive(const struct vms *v, char *const *words, size_t count,
                   int (*fn)(const struct vms *v, const struct vm_entry *e, void *ctx), void *ctx)
{
    return each(v, words, count, true, fn, ctx);
}

/* ---- asking ---- */

int vms_tell(const struct vms *v, const struct vm_entry *e, const char *request)
{
    struct vm_error err;
    int failed = client_ask(&v->base, e->name, request, NULL, VMS_ANSWER_MS, &err);
    return failed ? vms_say_failed(v, e, failed, &err) : 0;
}

int vms_say_failed(const struct vms *v, const struct vm_entry *e, int failed,
                   const struct vm_error *err)
{
    struct vm_entry now;
    bool starting =
        failed == -ETIMEDOUT && vm_look(&v->base, e->name, &now) == 0 && now.state == VM_STARTING;
    vms_say(v, e, starting ? "it is still starting; try again when it runs" : err->text);
    return CLI_FAILED;
}

bool vms_wait_end(const struct vms *v, struct vm_entry *e, unsigned ms)
{
    char name[VM_NAME_MAX + 1];
    snprintf(name, sizeof(name), "%s", e->name);
    for (unsigned waited = 0;; waited += LOOK_MS) {
        struct timespec rest = {.tv_nsec = LOOK_MS * 1000000};
        if (vm_look(&v->base, name, e) || !vm_alive(e)) {
            return true;
        }
        if (waited >= ms) {
            return false;
        }
        nanosleep(&rest, NULL);
    }
}

/* ---- JSON ---- */

struct json_object *vms_json(const struct vms *v, const struct vm_entry *e)
{
    struct json_object *o = json_object_new_object();
    struct json_object *config = vm_read_config(&v->base, e->name);
    json_object_object_add(o, "name", json_object_new_string(e->name));
    json_object_object_add(o, "state", json_object_new_string(vm_state_name(e->state)));
    if (e->state == VM_EXITED) {
        json_object_object_add(o, "exit_status", json_object_new_int(e->code));
    }
    if (vm_alive(e)) {
        json_object_object_add(o, "pid", json_object_new_int(e->pid));
    }
    if (json_object_is_type(config, json_type_object)) {
        json_object_object_foreach(config, key, value)
        {
            json_object_object_add(o, key, json_object_get(value));
        }
    }
    json_object_put(config);
    return o;
}

void vms_print_json(struct json_object *o)
{
    puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                               JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
}

/* ---- words ---- */

void vms_say(const struct vms *v, const struct vm_entry *e, const char *what)
{
    fprintf(stderr, "ring3 %s: %s: %s\n", v->verb, e->name, what);
}

const char *vms_state(const struct vm_entry *e, char text[32])
{
    if (e->state == VM_EXITED) {
        snprintf(text, 32, "exited (%d)", e->code);
    } else {
        snprintf(text, 32, "%s", vm_state_name(e->state));
    }
    return text;
}

const char *vms_bytes(double bytes, char text[16])
{
    static const char units[] = "BKMGTP";
    size_t unit = 0;
    while (bytes >= 1024 && unit + 2 < sizeof(units)) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, 16, bytes < 10 && unit ? "%.1f%c" : "%.0f%c", bytes, units[unit]);
    return text;
}

const char *vms_seconds(uint64_t seconds, char text[32])
{
    unsigned long long s = seconds;
    if (s < 60) {
        snprintf(text, 32, "%llus", s);
    } else if (s < 3600) {
        snprintf(text, 32, "%llum %02llus", s / 60, s % 60);
    } else if (s < 86400) {
        snprintf(text, 32, "%lluh %02llum", s / 3600, s / 60 % 60);
    } else {
        snprintf(text, 32, "%llud %02lluh", s / 86400, s / 3600 % 24);
    }
    return text;
}
