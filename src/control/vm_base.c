/* Where the machines' directories lie, and what both sides of vm_dir.h do there. No state. */
#include "control/vm_files.h"

#include "base/log.h"
#include "host/linux/runtime_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_TRIES 2000 /* a millisecond apart */
#define GROUP_TRIES 500 /* a millisecond apart */
#define GROUP_PREFIX "ring3."

int vm_base_open(struct vm_base *b, bool create, struct vm_error *err)
{
    int fd = runtime_dir_open(NULL, create, b->path, sizeof(b->path));
    b->fd = fd < 0 ? -1 : fd;
    if (fd < 0 && !(fd == -ENOENT && !create)) {
        fmt_line(
            err->text, sizeof(err->text),
            "no directory for machines: %s: %s; set XDG_RUNTIME_DIR to a directory of your own",
            b->path, strerror(-fd));
        return -1;
    }
    return 0;
}

void vm_base_close(struct vm_base *b)
{
    if (b->fd >= 0) {
        close(b->fd);
        b->fd = -1;
    }
}

/* ---- renaming and removing in it ---- */

int vm_base_lock(int base_fd)
{
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (flock(base_fd, LOCK_EX | LOCK_NB) == 0) {
            return 0;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return -errno;
        }
        usleep(1000);
    }
    return -EBUSY;
}

void vm_base_unlock(int base_fd)
{
    flock(base_fd, LOCK_UN);
}

void vm_hidden_name(char name[HIDDEN_LEN], const char *prefix)
{
    uint64_t random = 0;
    (void)!getrandom(&random, sizeof(random), 0);
    snprintf(name, HIDDEN_LEN, "%s%d-%016llx", prefix, (int)getpid(), (unsigned long long)random);
}

int vm_delete_tree(int base_fd, const char *name)
{
    int fd = openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int err = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return err;
    }
    struct dirent *e;
    while ((e = readdir(dir))) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            (void)!unlinkat(fd, e->d_name, 0);
        }
    }
    closedir(dir);
    return unlinkat(base_fd, name, AT_REMOVEDIR) ? -errno : 0;
}

static bool remove_empty(const char *path)
{
    for (unsigned i = 0; rmdir(path) != 0; i++) {
        if (errno != EBUSY || i == GROUP_TRIES) {
            return errno == ENOENT;
        }
        usleep(1000);
    }
    return true;
}

bool vm_group_remove(const char *path)
{
    char inner[600];
    int len = snprintf(inner, sizeof(inner), "%s/" VM_GROUP_INNER, path);
    return len < (int)sizeof(inner) && remove_empty(inner) && remove_empty(path);
}

void vm_delete_group(int dir_fd)
{
    char path[512];
    int fd = openat(dir_fd, FILE_GROUP, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, path, sizeof(path) - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0) {
        return;
    }
    path[n] = '\0';
    const char *last = strrchr(path, '/');
    if (last && strncmp(last + 1, GROUP_PREFIX, strlen(GROUP_PREFIX)) == 0) {
        (void)vm_group_remove(path);
    }
}
