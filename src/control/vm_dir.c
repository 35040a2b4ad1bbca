/* A machine's own directory, the monitor's side: claim, say how it is, give up. State: struct
 * vm_dir. One thread. */
#include "control/vm_files.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16
#define STATUS_LEN 24 /* always written whole: no reader sees half of it */
#define NAME_TRIES 1000u
#define PLAIN_NAMES 50u /* without a number, at first */

static const char *const state_names[VM_STATES] = {
    [VM_STARTING] = "starting", [VM_UP] = "running",    [VM_PAUSED] = "paused",
    [VM_STOPPING] = "stopping", [VM_EXITED] = "exited", [VM_DEAD] = "dead",
    [VM_GONE] = "gone",
};

const char *vm_state_name(enum vm_state s)
{
    return state_names[s];
}

/* ---- the files ---- */

static int create(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}

static int write_text(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int make_lock(struct vm_dir *d)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char pid[16];
    d->lock_fd = create(d->fd, FILE_PID);
    if (d->lock_fd < 0) {
        return d->lock_fd;
    }
    if (fcntl(d->lock_fd, F_OFD_SETLK, &whole) != 0) {
        return -errno;
    }
    int len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    return write_text(d->lock_fd, pid, (size_t)len);
}

static int make_config(struct vm_dir *d, const struct json_object *config)
{
    union {
        const struct json_object *in;
        struct json_object *out; /* the library keeps the text it made in the object */
    } c = {.in = config};
    int fd = create(d->fd, FILE_CONFIG);
    if (fd < 0) {
        return fd;
    }
    const char *text = json_object_to_json_string_ext(c.out, JSON_C_TO_STRING_PRETTY |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE);
    int err = text ? write_text(fd, text, strlen(text)) : -ENOMEM;
    err = err ? err : write_text(fd, "\n", 1);
    close(fd);
    return err;
}

/* By way of /proc, since a socket's path may have 107 bytes and the directory lies where it lies.
 */
static int make_socket(struct vm_dir *d)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    d->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->listen_fd < 0) {
        return -errno;
    }
    snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/" FILE_CONTROL, d->fd);
    if (bind(d->listen_fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(d->listen_fd, BACKLOG) != 0) {
        return -errno;
    }
    return 0;
}

static int make_logs(struct vm_dir *d)
{
    d->log_fd = create(d->fd, FILE_LOG);
    if (d->log_fd < 0) {
        return d->log_fd;
    }
    d->old_log_fd = create(d->fd, FILE_OLD_LOG);
    return d->old_log_fd < 0 ? d->old_log_fd : 0;
}

static int fill(struct vm_dir *d, const struct vm_dir_config *cfg)
{
    int err = make_lock(d);
    if (!err) {
        d->status_fd = create(d->fd, FILE_STATUS);
        err = d->status_fd < 0 ? d->status_fd : 0;
    }
    if (!err) {
        vm_dir_set_state(d, VM_STARTING, 0);
        err = make_config(d, cfg->config);
    }
    if (!err && cfg->group) {
        d->group_fd = create(d->fd, FILE_GROUP);
        err = d->group_fd < 0 ? d->group_fd : 0;
    }
    err = err ? err : make_socket(d);
    return err || !cfg->log ? err : make_logs(d);
}

/* ---- the name ---- */

/* Give the hidden directory this name. 0; -EEXIST; another -errno. */
static int take_name(struct vm_dir *d, const char *hidden, const char *name)
{
    struct stat st;
    if (fstatat(d->base_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        return -EEXIST;
    }
    if (renameat(d->base_fd, hidden, d->base_fd, name) != 0) {
        return -errno;
    }
    snprintf(d->name, sizeof(d->name), "%s", name);
    return 0;
}

static int take_any_name(struct vm_dir *d, const char *hidden)
{
    for (unsigned i = 0; i < NAME_TRIES; i++) {
        char name[VM_NAME_MAX + 1];
        uint32_t random = 0;
        (void)!getrandom(&random, sizeof(random), 0);
        vm_name_make(name, i < PLAIN_NAMES ? random & 0xfff : random & 0xffffff);
        int err = take_name(d, hidden, name);
        if (err != -EEXIST) {
            return err;
        }
    }
    return -EEXIST;
}

static void taken(const struct vm_base *b, const char *name, struct vm_error *err)
{
    struct vm_entry e;
    if (vm_look(b, name, &e) == 0 && !vm_alive(&e)) {
        snprintf(err->text, sizeof(err->text),
                 "there is a machine named %s, which has ended; 'ring3 rm %s' frees the name", name,
                 name);
    } else {
        snprintf(err->text, sizeof(err->text),
                 "there is a machine named %s already; choose another name", name);
    }
}

static void drop_descriptors(struct vm_dir *d)
{
    const int fds[] = {d->listen_fd, d->log_fd,  d->old_log_fd, d->group_fd,
                       d->status_fd, d->lock_fd, d->fd,         d->base_fd};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

int vm_dir_claim(struct vm_dir *d, const struct vm_base *b, const struct vm_dir_config *cfg,
                 struct vm_error *err)
{
    char hidden[HIDDEN_LEN];
    *d = (struct vm_dir){.fleeting = cfg->fleeting,
                         .fd = -1,
                         .lock_fd = -1,
                         .status_fd = -1,
                         .listen_fd = -1,
                         .log_fd = -1,
                         .old_log_fd = -1,
                         .group_fd = -1};
    vm_hidden_name(hidden, HIDDEN_NEW);
    d->base_fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 0);
    int rc = d->base_fd < 0 || mkdirat(d->base_fd, hidden, 0700) != 0 ? -errno : 0;
    bool made = !rc;
    if (!rc) {
        d->fd = openat(d->base_fd, hidden, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        rc = d->fd < 0 ? -errno : fill(d, cfg);
    }
    if (!rc) {
        rc = vm_base_lock(d->base_fd);
        if (!rc) {
            rc = cfg->name ? take_name(d, hidden, cfg->name) : take_any_name(d, hidden);
            vm_base_unlock(d->base_fd);
        }
    }
    if (!rc) {
        return 0;
    }
    if (rc == -EEXIST && cfg->name) {
        taken(b, cfg->name, err);
    } else {
        fmt_line(err->text, sizeof(err->text), "cannot make a directory for the machine in %s: %s",
                 b->path, strerror(-rc));
    }
    if (made && vm_delete_tree(d->base_fd, hidden) != 0) {
        /* vm_list does it */
    }
    drop_descriptors(d);
    return -1;
}

/* ---- life and end ---- */

void vm_dir_set_state(struct vm_dir *d, enum vm_state s, int code)
{
    char text[64];
    int len = s == VM_EXITED ? snprintf(text, sizeof(text), "%s %d", state_names[s], code)
                             : snprintf(text, sizeof(text), "%s%s", state_names[s],
                                        d->fleeting ? STATUS_FLEETING : "");
    memset(text + len, ' ', sizeof(text) - (size_t)len);
    text[STATUS_LEN - 1] = '\n';
    (void)!pwrite(d->status_fd, text, STATUS_LEN, 0);
}

bool vm_dir_was_up(const struct vm_dir *d)
{
    char text[STATUS_LEN];
    const char *first = state_names[VM_STARTING];
    return pread(d->status_fd, text, sizeof(text), 0) == STATUS_LEN &&
           memcmp(text, first, strlen(first)) != 0;
}

void vm_dir_set_group(struct vm_dir *d, const char *path)
{
    (void)!pwrite(d->group_fd, path, strlen(path), 0);
}

void vm_dir_release(struct vm_dir *d, bool remove)
{
    char hidden[HIDDEN_LEN];
    vm_delete_group(d->fd);
    if (remove) {
        vm_hidden_name(hidden, HIDDEN_OLD);
        if (renameat(d->base_fd, d->name, d->base_fd, hidden) != 0 ||
            vm_delete_tree(d->base_fd, hidden) != 0) {
            vm_dir_set_state(d, VM_GONE, 0);
        }
    }
    drop_descriptors(d);
}
