/* All machines of the user, seen from outside; and removing what is left of one. No state. */
#include "control/vm_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_MAX (4u << 20) /* a command's arguments can be long */
#define HIDDEN_AGE_S 60       /* a hidden directory this old is a crash's */

/* ---- one machine ---- */

/* A small file as a string. Its length, or -errno. */
static int read_small(int dir_fd, const char *name, char *text, size_t size)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = read(fd, text, size - 1);
    int err = n < 0 ? -errno : (int)n;
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return err;
}

/* Whether the machine's monitor lives. */
static bool locked(int dir_fd)
{
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int fd = openat(dir_fd, FILE_PID, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool held = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    close(fd);
    return held;
}

static enum vm_state parse_status(const char *text, int *code)
{
    size_t len = strcspn(text, " \n");
    for (unsigned s = 0; s < VM_STATES; s++) {
        const char *name = vm_state_name((enum vm_state)s);
        if (strlen(name) == len && strncmp(text, name, len) == 0) {
            *code = s == VM_EXITED ? atoi(text + len) : 0;
            return (enum vm_state)s;
        }
    }
    return VM_DEAD;
}

/* The lock first: what the monitor wrote before it let go of it is then final. */
static void look(int dir_fd, struct vm_entry *e)
{
    char text[64];
    bool alive = locked(dir_fd);
    e->state = read_small(dir_fd, FILE_STATUS, text, sizeof(text)) > 0
                   ? parse_status(text, &e->code)
                   : VM_DEAD;
    if (alive) {
        e->pid = read_small(dir_fd, FILE_PID, text, sizeof(text)) > 0 ? atoi(text) : 0;
        e->state = e->state >= VM_EXITED ? VM_STOPPING : e->state; /* it is about to leave */
    } else if (e->state < VM_EXITED) {
        e->state = strstr(text, STATUS_FLEETING) ? VM_GONE : VM_DEAD;
    }
}

int vm_open_dir(const struct vm_base *b, const char *name)
{
    if (b->fd < 0 || !vm_name_valid(name)) {
        return -ENOENT;
    }
    int fd = openat(b->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* As vm_look, but tells of what is VM_GONE too. */
static int look_at(const struct vm_base *b, const char *name, struct vm_entry *e)
{
    int fd = vm_open_dir(b, name); /* which checks the name */
    if (fd < 0) {
        return fd;
    }
    *e = (struct vm_entry){0};
    memcpy(e->name, name, strlen(name));
    look(fd, e);
    close(fd);
    return 0;
}

int vm_look(const struct vm_base *b, const char *name, struct vm_entry *e)
{
    int rc = look_at(b, name, e);
    return !rc && e->state == VM_GONE ? -ENOENT : rc;
}

struct json_object *vm_read_config(const struct vm_base *b, const char *name)
{
    struct json_object *config = NULL;
    struct stat st;
    int dir_fd = vm_open_dir(b, name);
    if (dir_fd < 0) {
        return NULL;
    }
    int fd = openat(dir_fd, FILE_CONFIG, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    close(dir_fd);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size <= CONFIG_MAX) {
        config = json_object_from_fd(fd);
    }
    if (fd >= 0) {
        close(fd);
    }
    return config;
}

/* ---- removing ---- */

int vm_remove(const struct vm_base *b, const char *name)
{
    char hidden[HIDDEN_LEN];
    struct vm_entry e = {0};
    int rc = vm_base_lock(b->fd);
    if (rc) {
        return rc;
    }
    int fd = vm_open_dir(b, name);
    if (fd < 0) {
        rc = fd;
    } else {
        look(fd, &e);
        vm_hidden_name(hidden, HIDDEN_OLD);
        rc = vm_alive(&e) ? -EBUSY : renameat(b->fd, name, b->fd, hidden) != 0 ? -errno : 0;
    }
    vm_base_unlock(b->fd);
    if (!rc) {
        vm_delete_group(fd);
        rc = vm_delete_tree(b->fd, hidden);
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

/* A hidden directory: of a process that is at work, or of one that crashed at it. */
static void sweep_hidden(const struct vm_base *b, const char *name)
{
    struct stat st;
    int fd = openat(b->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (fstat(fd, &st) == 0 && st.st_mtime + HIDDEN_AGE_S < time(NULL) && !locked(fd)) {
        (void)!vm_delete_tree(b->fd, name);
    }
    close(fd);
}

/* ---- all machines ---- */

static int by_name(const void *a, const void *b)
{
    const struct vm_entry *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static bool is_hidden(const char *name)
{
    return strncmp(name, HIDDEN_NEW, strlen(HIDDEN_NEW)) == 0 ||
           strncmp(name, HIDDEN_OLD, strlen(HIDDEN_OLD)) == 0;
}

/* Take in what one directory says, or remove it. */
static void add_entry(const struct vm_base *b, const char *name, struct vm_entry *list,
                      size_t *count)
{
    struct vm_entry *e = &list[*count];
    if (look_at(b, name, e) != 0) {
        return;
    }
    if (e->state == VM_GONE) {
        (void)!vm_remove(b, name);
    } else {
        (*count)++;
    }
}

int vm_list(const struct vm_base *b, struct vm_entry **list, size_t *count)
{
    size_t room = 32;
    *count = 0;
    *list = calloc(room, sizeof(**list));
    int fd = b->fd < 0 ? -1 : openat(b->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!*list) {
        return -ENOMEM;
    }
    if (!dir) {
        return b->fd < 0 ? 0 : -errno;
    }
    struct dirent *d;
    while ((d = readdir(dir))) {
        if (is_hidden(d->d_name)) {
            sweep_hidden(b, d->d_name);
            continue;
        }
        if (*count == room) {
            struct vm_entry *more = reallocarray(*list, room *= 2, sizeof(**list));
            if (!more) {
                closedir(dir);
                return -ENOMEM;
            }
            *list = more;
        }
        add_entry(b, d->d_name, *list, count);
    }
    closedir(dir);
    qsort(*list, *count, sizeof(**list), by_name);
    return 0;
}
