/* What the verbs about running machines share: finding them by what the user typed, asking them. */
#ifndef CLI_VMS_H
#define CLI_VMS_H

#include "cli/args.h"
#include "control/vm_dir.h"

#include <stdio.h>

#define CLI_FAILED 1 /* the machine is not in a state for it, or does not answer */
#define VMS_ANSWER_MS 5000

struct json_object;

/** What a word on the command line may be: of a verb that changes machines, all of a name. */
enum vms_names { VMS_BEGINNINGS, VMS_WHOLE_NAMES };

struct vms {
    const char *verb;
    enum vms_names names;
    struct vm_base base;
    struct vm_entry *list; /* sorted by name */
    size_t count;
};

/** All machines there are now. 0; else CLI_BROKEN, said. To be closed either way. */
int vms_open(struct vms *v, const char *verb, enum vms_names names) MUST_CHECK;
void vms_close(struct vms *v);
/** The beginning of a verb whose words are names of machines, one at least: the command line, and
 * all machines there are.
 * Returns -1 to go on, with v to be closed; else the exit status: all is said, and v closed. */
int vms_begin(int argc, char **argv, const struct args_option *options, enum vms_names names,
              struct args *a, struct vms *v) MUST_CHECK;
/** The machine of that name, or (VMS_BEGINNINGS) the only one whose name begins so; NULL, and said.
 */
const struct vm_entry *vms_find(const struct vms *v, const char *word);
/** The same, but it must be alive: else *status is CLI_USAGE (no such) or CLI_FAILED. */
const struct vm_entry *vms_find_alive(const struct vms *v, const char *word, int *status);

/** Call fn for each word's machine; goes on after failures. The first status that is not 0. */
int vms_each(const struct vms *v, char *const *words, size_t count,
             int (*fn)(const struct vms *v, const struct vm_entry *e, void *ctx), void *ctx);
/** The same, but each must be alive. */
int vms_each_alive(const struct vms *v, char *const *words, size_t count,
                   int (*fn)(const struct vms *v, const struct vm_entry *e, void *ctx), void *ctx);
/** Send a request without members and drop its answer. 0; else CLI_FAILED, said. */
int vms_tell(const struct vms *v, const struct vm_entry *e, const char *request);
/** End a machine at once, in kill.c. 0; else CLI_FAILED, said. */
int kill_machine(const struct vms *v, const struct vm_entry *e);
/** Say why a request failed; failed and err are client_call's. CLI_FAILED. */
int vms_say_failed(const struct vms *v, const struct vm_entry *e, int failed,
                   const struct vm_error *err);
/** Wait until the machine is not alive any more, at most ms; *e is how it is then. */
bool vms_wait_end(const struct vms *v, struct vm_entry *e, unsigned ms);

/** What is known about a machine without asking it: its name, its state and its configuration. */
struct json_object *vms_json(const struct vms *v, const struct vm_entry *e) MUST_CHECK;
/** Print it on standard output, for people and programs, and put it. */
void vms_print_json(struct json_object *o);

/** Say something about a machine on standard error. */
void vms_say(const struct vms *v, const struct vm_entry *e, const char *what);
/** "running", "exited (3)" */
const char *vms_state(const struct vm_entry *e, char text[32]);
/** A number of bytes in 8 characters at most: "12.3M" */
const char *vms_bytes(double bytes, char text[16]);
/** A number of seconds in 8 characters at most: "3m 12s" */
const char *vms_seconds(uint64_t seconds, char text[32]);

#endif
