/* Where switches are found. See switch_process.h. No state but the file system's. */
#include "net/switch_process.h"

#include "base/log.h"
#include "host/linux/runtime_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LOCK_MS 5000
#define STEP_MS 10
#define BACKLOG 32
#define TIMEOUT_S 5

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

int switch_dir_open(bool make, struct net_error *err)
{
    char path[256];
    int dir = runtime_dir_open(RUNTIME_DIR_SWITCHES, make, path, sizeof(path));
    if (dir < 0) {
        fmt_line(err->text, sizeof(err->text),
                 "--net switch: no directory for switches: %s: %s; set XDG_RUNTIME_DIR to a "
                 "directory of your own",
                 path, strerror(-dir));
        return -1;
    }
    return dir;
}

int switch_dir_lock(int dir)
{
    for (int waited = 0; waited <= LOCK_MS; waited += STEP_MS) {
        const struct timespec step = {.tv_nsec = STEP_MS * 1000000l};
        if (flock(dir, LOCK_EX | LOCK_NB) == 0) {
            return 0;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return -errno;
        }
        nanosleep(&step, NULL);
    }
    return -ETIMEDOUT;
}

/* A socket, and the address of `name`: by way of the directory's descriptor, however long its path
 * is. */
static int make_socket(int dir, const char *name, struct sockaddr_un *a)
{
    const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    fmt_line(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", dir, name);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    return fd;
}

int switch_dir_connect(int dir, const char *name)
{
    struct sockaddr_un a;
    int fd = make_socket(dir, name, &a);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof(a))) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

int switch_dir_listen(int dir, const char *name)
{
    struct sockaddr_un a;
    int fd = make_socket(dir, name, &a);
    if (fd < 0) {
        return fd;
    }
    int err = unlinkat(dir, name, 0) && errno != ENOENT ? -errno : 0;
    if (!err && (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)&a, sizeof(a)) ||
                 listen(fd, BACKLOG))) {
        err = -errno;
    }
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

void switch_dir_clean(int dir, const char *name)
{
    if (switch_dir_lock(dir)) {
        return; /* whoever starts the next one will do it */
    }
    int fd = switch_dir_connect(dir, name);
    if (fd >= 0) {
        close(fd);
    } else if (fd == -ECONNREFUSED) {
        unlinkat(dir, name, 0);
    }
    flock(dir, LOCK_UN);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

unsigned switch_dir_names(int dir, char (*names)[SWITCH_TITLE_MAX], unsigned max)
{
    unsigned n = 0;
    int fd = openat(dir, ".", OPEN_DIR);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        return 0;
    }
    for (struct dirent *e; n < max && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (e->d_name[0] != '.' && len < SWITCH_TITLE_MAX) {
            memcpy(names[n++], e->d_name, len + 1);
        }
    }
    closedir(d);
    qsort(names, n, sizeof(names[0]), compare_names);
    return n;
}
