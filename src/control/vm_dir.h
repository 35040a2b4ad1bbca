/* The directories of the user's virtual machines: who has which name, who is alive, how one ended.
 *
 *   BASE/NAME/pid          the monitor's process id; the monitor holds a lock on it as long as it
 * lives BASE/NAME/status       one line: how the machine is, or how it ended BASE/NAME/config.json
 * what it was started with BASE/NAME/control      the control socket (docs/control.md)
 *   BASE/NAME/log, log.1   what a detached machine's console said (vm_log.h)
 *   BASE/NAME/group        the control group that was made for it, if one was
 *
 * BASE is the user's runtime directory, host/linux/runtime_dir.h.
 *
 * A directory is filled under a hidden name and then renamed, while BASE is locked: a name belongs
 * to one machine, and whoever finds a name finds everything in it. After the rename everything goes
 * through descriptors that are open already: a monitor that may open no more files can go on. A
 * monitor that cannot even remove its directory at the end marks it as gone, and the next vm_list
 * removes it. So it does with what a crash leaves of a machine that nobody gave a name and that was
 * on somebody's terminal.
 */
#ifndef CONTROL_VM_DIR_H
#define CONTROL_VM_DIR_H

#include "base/types.h"

#include <sys/types.h>

#define VM_NAME_MAX 48u

struct json_object;

struct vm_error {
    char text[512]; /* one line: what is wrong, where, what to do */
};

/* ---- where they are ---- */

struct vm_base {
    int fd; /* -1: there is none, hence no machines */
    char path[4096];
};

/** Find the base directory, or make it. 0, or -1 with *err. Without `create` it is no error that
 * there is none. */
int vm_base_open(struct vm_base *b, bool create, struct vm_error *err) MUST_CHECK;
void vm_base_close(struct vm_base *b);

/* ---- names ---- */

/** Whether a machine can have this name: 1 to VM_NAME_MAX letters, digits, '_', '.' and '-', the
 * first a letter or a digit. */
bool vm_name_valid(const char *name);
/** An adjective and a noun out of 64 each, chosen by 12 bits of `random`; from the 13th bit on, a
 * number too if they are not zero. */
void vm_name_make(char name[VM_NAME_MAX + 1], uint32_t random);

/* ---- a machine's own directory: the monitor's side ---- */

enum vm_state {
    VM_STARTING,
    VM_UP,
    VM_PAUSED,
    VM_STOPPING, /* the power button was pressed */
    VM_EXITED,   /* with an exit status */
    VM_DEAD,     /* the monitor went without saying anything */
    VM_GONE,     /* over; the directory is to be removed */
    VM_STATES,
};

/** "starting", "running", ... */
const char *vm_state_name(enum vm_state s);

struct vm_dir {
    char name[VM_NAME_MAX + 1];
    bool fleeting;
    int base_fd;
    int fd, lock_fd, status_fd;
    int listen_fd;          /* the control socket, listening, non-blocking */
    int log_fd, old_log_fd; /* -1 unless asked for */
    int group_fd;           /* the file `group`; -1 unless asked for */
};

struct vm_dir_config {
    const char *name;                 /* NULL: make one up */
    const struct json_object *config; /* becomes config.json. Borrowed */
    bool log;
    bool group;    /* there may be a control group to remember */
    bool fleeting; /* nobody will look for it after its end, however that comes */
};

/** Claim a name and make its directory, in state VM_STARTING. 0, or -1 with *err and nothing left
 * behind. Descriptors are close-on-exec; the claim lasts until release, or until this process and
 * every fork of it that still has lock_fd are gone. */
int vm_dir_claim(struct vm_dir *d, const struct vm_base *b, const struct vm_dir_config *cfg,
                 struct vm_error *err) MUST_CHECK;
/** Say how the machine is. code: the exit status, with VM_EXITED. Errors are ignored. */
void vm_dir_set_state(struct vm_dir *d, enum vm_state s, int code);
/** Whether the machine ever ran: another state than VM_STARTING was set, by whoever has the claim.
 */
bool vm_dir_was_up(const struct vm_dir *d);
/* In a machine's control group, where it is not the group itself that holds the processes. */
#define VM_GROUP_INNER "vcpus"
/** Remove a machine's control group and the inner one. Processes that were killed just now are still
 * there for a moment, for which this waits. False: there are others. */
bool vm_group_remove(const char *path);
/** Remember the control group to be removed with the directory. Errors are ignored. */
void vm_dir_set_group(struct vm_dir *d, const char *path);
/** Give the claim up. remove: the directory goes too, else it stays as the last state says. */
void vm_dir_release(struct vm_dir *d, bool remove);

/* ---- all machines: everybody else's side ---- */

struct vm_entry {
    char name[VM_NAME_MAX + 1];
    enum vm_state state; /* never VM_GONE */
    int code;            /* VM_EXITED: the exit status */
    pid_t pid;           /* of the monitor; 0 if it is gone */
};

static inline bool vm_alive(const struct vm_entry *e)
{
    return e->state < VM_EXITED;
}

/** All machines, sorted by name. *list is malloc'd, also when there are none. Directories that are
 * over are removed on the way. 0 or -errno. */
int vm_list(const struct vm_base *b, struct vm_entry **list, size_t *count) MUST_CHECK;
/** One machine, by its whole name. 0; -ENOENT. */
int vm_look(const struct vm_base *b, const char *name, struct vm_entry *e) MUST_CHECK;
/** A machine's directory, opened; -errno. */
int vm_open_dir(const struct vm_base *b, const char *name) MUST_CHECK;
/** Its config.json; NULL if it cannot be read. The caller puts it. */
struct json_object *vm_read_config(const struct vm_base *b, const char *name) MUST_CHECK;
/** Remove the directory (and the control group) of a machine that is not alive. 0; -EBUSY: it is;
 * -ENOENT, or another -errno. */
int vm_remove(const struct vm_base *b, const char *name) MUST_CHECK;

#endif
