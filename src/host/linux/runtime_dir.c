/* Finding the runtime directory. No state. */
#include "host/linux/runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Open path, which must be ours alone. A descriptor or -errno. */
static int open_own(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? -EACCES : -errno;
    }
    if (fstat(fd, &st) != 0 || st.st_uid != geteuid() || access(path, W_OK | X_OK) != 0 || ((st.st_mode & 077) != 0 && fchmod(fd, 0700) != 0)) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

/* path, made if need be in `parent`, which must belong to owner. */
static int open_in(const char *parent, const char *path, uid_t owner, bool create)
{
    struct stat st;
    if (stat(parent, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != owner) {
        return -ENOTDIR;
    }
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        if (access(parent, W_OK | X_OK) != 0) {
            return -EACCES;
        }
        if (!create) {
            return -ENOENT;
        }
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return errno == ENOENT ? -EACCES : -errno;
        }
    }
    return open_own(path);
}

/* One candidate: parent/name. *path is set. */
static int try_place(char path[PATH_MAX], const char *parent, const char *name, uid_t owner, bool create)
{
    int len = snprintf(path, PATH_MAX, "%s/%s", parent, name);
    return parent[0] != '/' || len >= PATH_MAX ? -ENAMETOOLONG : open_in(parent, path, owner, create);
}

/* The last answer stands when none is better; "could be made" ends the search. */
static bool goes_on(int rc)
{
    return rc < 0 && rc != -ENOENT;
}

static int open_base(char path[PATH_MAX], bool create)
{
    char user[32], tmp[32];
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    uid_t uid = geteuid();
    snprintf(user, sizeof(user), "/run/user/%u", (unsigned)uid);
    snprintf(tmp, sizeof(tmp), "ring3-%u", (unsigned)uid);
    int rc = runtime ? try_place(path, runtime, "ring3", uid, create) : -ENOTDIR;
    if (goes_on(rc)) {
        rc = try_place(path, user, "ring3", uid, create);
    }
    if (goes_on(rc) && uid == 0) {
        rc = try_place(path, "/run", "ring3", 0, create);
    }
    return goes_on(rc) ? try_place(path, "/tmp", tmp, 0, create) : rc;
}

int runtime_dir_open(const char *sub, bool create, char *path, size_t size)
{
    char base[PATH_MAX] = "", inner[PATH_MAX + 32];
    int fd = open_base(base, create);
    if (path) {
        snprintf(path, size, "%s", base);
    }
    if (fd < 0 || !sub) {
        return fd;
    }
    close(fd);
    snprintf(inner, sizeof(inner), "%s/%s", base, sub);
    if (path) {
        snprintf(path, size, "%s", inner);
    }
    return open_in(base, inner, geteuid(), create);
}
