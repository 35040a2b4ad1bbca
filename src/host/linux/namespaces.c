/* Namespaces: see namespaces.h. No state but the kernel's.
 *
 * root makes them directly; anybody else in a user namespace, where only the user's own id exists.
 * Some hosts allow such a namespace but nothing in it, not even to say whose it is, and then there
 * is no way back: a child tries first.
 */
#include "host/linux/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMESPACES (CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)
#define SCRATCH "/tmp" /* in our mounts only: where the new root grows */

/* ---- the user ---- */

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t len = (ssize_t)strlen(text);
    bool done = fd >= 0 && write(fd, text, (size_t)len) == len;
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

int namespaces_enter_user(int flags, uid_t uid, gid_t gid)
{
    char users[32], groups[32];
    snprintf(users, sizeof(users), "%u %u 1", uid, geteuid());
    snprintf(groups, sizeof(groups), "%u %u 1", gid, getegid());
    bool done = unshare(CLONE_NEWUSER | flags) == 0 && write_text("/proc/self/setgroups", "deny") &&
                write_text("/proc/self/uid_map", users) &&
                write_text("/proc/self/gid_map", groups);
    return done ? 0 : -errno;
}

/* The same, staying who we are. */
static bool enter_as_user(int flags)
{
    return namespaces_enter_user(flags, geteuid(), getegid()) == 0;
}

/* Whether a child could. */
static bool may_as_user(void)
{
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        _exit(!enter_as_user(CLONE_NEWNS | CLONE_NEWIPC));
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status == 0;
}

static unsigned enter(void)
{
    if (geteuid() != 0) {
        return may_as_user() && enter_as_user(NAMESPACES) ? CLONE_NEWUSER | NAMESPACES : 0;
    }
    static const int each[] = {CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS};
    unsigned entered = 0;
    for (size_t i = 0; i < ARRAY_LEN(each); i++) {
        entered |= unshare(each[i]) == 0 ? (unsigned)each[i] : 0;
    }
    return entered;
}

/* ---- the files ---- */

/* path, as it is outside, at the same place below the current directory. */
static bool keep_file(const char *path)
{
    int fd = open(path + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd < 0) {
        return false;
    }
    close(fd);
    return mount(path, path + 1, NULL, MS_BIND, NULL) == 0;
}

static bool fill_root(void)
{
    static const char *const dirs[] = {"dev", "proc", "proc/sys", "proc/sys/vm"};
    static const char *const files[] = {"/dev/null", "/proc/loadavg",
                                        "/proc/sys/vm/mmap_min_addr"};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        if (mkdir(dirs[i], 0555) != 0) {
            return false;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        if (!keep_file(files[i])) {
            return false;
        }
    }
    return mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) ==
           0;
}

/* Put the current directory, a mount, in the root's place. One root can hide the other for an
 * instant: both have the same path until the old one, on top, goes. */
static bool change_root(void)
{
    if (syscall(SYS_pivot_root, ".", ".") == 0) {
        return umount2(".", MNT_DETACH) == 0 && chdir("/") == 0;
    }
    return chroot(".") == 0; /* ours is no mount: somebody's chroot */
}

/* In mounts of our own: leave nothing of them but a handful of files. */
static bool empty_root(void)
{
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", SCRATCH, "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,mode=555") == 0 &&
           chdir(SCRATCH) == 0 && fill_root() && change_root();
}

unsigned namespaces_enter(void)
{
    unsigned entered = enter();
    if ((entered & CLONE_NEWNS) && !empty_root()) {
        entered &= ~(unsigned)CLONE_NEWNS; /* mounts of our own that hide nothing */
    }
    return entered;
}

/* ---- process ids ---- */

pid_t namespaces_fork(bool *own)
{
    long pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    *own = pid >= 0;
    return pid >= 0 ? (pid_t)pid : fork();
}

/* ---- trying ---- */

/* In a child, which tells what it got. */
NORETURN static void try_all(int answer_fd)
{
    bool own;
    unsigned flags = namespaces_enter();
    pid_t child = namespaces_fork(&own);
    if (child == 0) {
        _exit(0);
    }
    flags |= own ? CLONE_NEWPID : 0;
    (void)!write(answer_fd, &flags, sizeof(flags));
    _exit(0);
}

unsigned namespaces_try(void)
{
    unsigned flags = 0;
    int answer[2];
    if (pipe2(answer, O_CLOEXEC)) {
        return 0;
    }
    pid_t child = fork();
    if (child == 0) {
        try_all(answer[1]);
    }
    close(answer[1]);
    if (read(answer[0], &flags, sizeof(flags)) != (ssize_t)sizeof(flags)) {
        flags = 0;
    }
    close(answer[0]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    return flags;
}

/* ---- words ---- */

void namespaces_describe(unsigned flags, char *text, size_t size)
{
    static const struct {
        unsigned flag;
        const char *name;
    } names[] = {{CLONE_NEWUSER, "user"}, {CLONE_NEWPID, "pid"}, {CLONE_NEWNET, "net"},
                 {CLONE_NEWNS, "mnt"},    {CLONE_NEWIPC, "ipc"}, {CLONE_NEWUTS, "uts"}};
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(names) && len < size; i++) {
        if (flags & names[i].flag) {
            len += (size_t)snprintf(text + len, size - len, "%s%s", len ? "," : "", names[i].name);
        }
    }
}
