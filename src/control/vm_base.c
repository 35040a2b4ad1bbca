/* Where the machines' directories lie, and what both sides of vm_dir.h do there. No state. */
#include "control/vm_files.h"

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
#define GROUP_PREFIX "ring3."

/* ---- finding it ---- */

/* dir/name as the base. owner: who dir must belong to. 0; -ENOENT: it could be made there, but is
 * not; another -errno: it cannot be had. */
static int try_base(struct vm_base *b, const char *dir, const char *name, uid_t owner, bool create)
{
    struct stat st;
    int len = snprintf(b->path, sizeof(b->path), "%s/%s", dir, name);
    if (dir[0] != '/' || (size_t)len >= sizeof(b->path)) {
        return -ENAMETOOLONG;
    }
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != owner) {
        return -ENOTDIR;
    }
    if (access(b->path, F_OK) != 0 && errno == ENOENT) {
        if (access(dir, W_OK | X_OK) != 0) {
            return -EACCES;
        }
        if (!create) {
            return -ENOENT;
        }
        if (mkdir(b->path, 0700) != 0 && errno != EEXIST) {
            return errno == ENOENT ? -EACCES : -errno;
        }
    }
    b->fd = open(b->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (b->fd < 0) {
        return errno == ENOENT ? -EACCES : -errno;
    }
    if (fstat(b->fd, &st) != 0 || st.st_uid != geteuid() || access(b->path, W_OK | X_OK) != 0 ||
        ((st.st_mode & 077) != 0 && fchmod(b->fd, 0700) != 0)) {
        close(b->fd);
        b->fd = -1;
        return -EPERM;
    }
    return 0;
}

int vm_base_open(struct vm_base *b, bool create, struct vm_error *err)
{
    char user[32], tmp[32];
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    uid_t uid = geteuid();
    *b = (struct vm_base){.fd = -1};
    snprintf(user, sizeof(user), "/run/user/%u", (unsigned)uid);
    snprintf(tmp, sizeof(tmp), "ring3-%u", (unsigned)uid);
    int rc = runtime ? try_base(b, runtime, "ring3", uid, create) : -ENOTDIR;
    if (rc && rc != -ENOENT) {
        rc = try_base(b, user, "ring3", uid, create);
    }
    if (rc && rc != -ENOENT && uid == 0) {
        rc = try_base(b, "/run", "ring3", 0, create);
    }
    if (rc && rc != -ENOENT) {
        rc = try_base(b, "/tmp", tmp, 0, create);
    }
    if (rc && !(rc == -ENOENT && !create)) {
        snprintf(err->text, sizeof(err->text),
                 "no directory for machines: %s: %s; set XDG_RUNTIME_DIR to a directory of your own",
                 b->path, strerror(-rc));
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
        (void)!rmdir(path); /* only an empty one goes */
    }
}
