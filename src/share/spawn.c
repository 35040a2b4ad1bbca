/* Starting virtiofsd: the C one that comes with Debian 12's QEMU, or the Rust one of Debian 13.
 *
 * It gets a listening socket, and we are its only client. It dies with the thread that started it and with the connection. It shuts itself into the
 * directory as far as it may: in namespaces of its own, else by chroot, else (Rust only, without any rights) not at all. For a read-only share we
 * first make the directory read-only in a mount namespace of its own: the guest cannot be asked to keep to it. Who may not mount has the Rust one
 * refuse the guest's changes. The C one is for root only: an ordinary user's is the root of a user namespace, where all that is the user's is root's.
 */
#include "share/share.h"

#include "base/log.h"
#include "host/linux/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LISTEN_FD 3
#define START_MS 5000
#define C_NEEDS_ROOT "this version of it needs root, or user namespaces; run ring3 as root, or install the package virtiofsd (Debian 13)"

static const struct program {
    const char *path;
    bool rust;
} programs[] = {
    {"/usr/libexec/virtiofsd", true},
    {"/usr/lib/qemu/virtiofsd", false},
    {"/usr/bin/virtiofsd", true},
};

static const struct program *find_program(void)
{
    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        if (access(programs[i].path, X_OK) == 0) {
            return &programs[i];
        }
    }
    return NULL;
}

/* ---- in the child ---- */

/* Only this process and what it starts see the directory read-only; what is mounted below it too. */
static int make_read_only(const char *dir)
{
    struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(dir, dir, NULL, MS_BIND | MS_REC, NULL)) {
        return -errno;
    }
    return mount_setattr(AT_FDCWD, dir, AT_RECURSIVE, &ro, sizeof(ro)) ? -errno : 0;
}

NORETURN static void run_program(const struct program *p, const struct share_config *c, const char *sandbox, int listen_fd, int messages)
{
    sigset_t none;
    char source[4200], box[64];
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(messages, STDERR_FILENO) < 0 ||
        /* NOLINTNEXTLINE(clang-analyzer-unix.StdCLibraryFunctions): there is no child without listen_fd */
        dup2(listen_fd, LISTEN_FD) < 0) {
        _exit(1);
    }
    fcntl(LISTEN_FD, F_SETFD, 0);
    syscall(SYS_close_range, LISTEN_FD + 1, ~0u, 0);
    /* or the root of a user namespace in which there is nobody but this user */
    int err = p->rust || geteuid() == 0 ? 0 : namespaces_enter_user(0, 0, 0);
    if (err) {
        fputs(C_NEEDS_ROOT "\n", stderr);
        _exit(1);
    }
    err = c->read_only ? make_read_only(c->source) : 0;
    bool refuses = err == -EPERM && p->rust;
    if (err && !refuses) {
        fprintf(stderr, "cannot make it read-only for the guest: %s\n", strerror(-err));
        _exit(1);
    }
    if (p->rust) {
        snprintf(source, sizeof(source), "--shared-dir=%s", c->source);
        snprintf(box, sizeof(box), "--sandbox=%s", sandbox);
        execl(p->path, "virtiofsd", "--fd=3", source, box, "--log-level=error", refuses ? "--readonly" : (char *)NULL,
              (char *)NULL);
    } else {
        snprintf(source, sizeof(source), "source=%s", c->source);
        snprintf(box, sizeof(box), "sandbox=%s", sandbox);
        execl(p->path, "virtiofsd", "-f", "--fd=3", "-o", source, "-o", box, "-o", "log_level=err", (char *)NULL);
    }
    _exit(1);
}

/* ---- in the monitor ---- */

/* A listening socket that has no name in any file system, and a connection to it. */
static int make_connection(int *listening, int *connected)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t); /* the kernel chooses */
    *listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *connected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*listening < 0 || *connected < 0 || bind(*listening, (struct sockaddr *)&name, len) || listen(*listening, 1)) {
        return -errno;
    }
    len = sizeof(name);
    if (getsockname(*listening, (struct sockaddr *)&name, &len) || connect(*connected, (struct sockaddr *)&name, len)) {
        return -errno;
    }
    return 0;
}

/* Whether it serves: it answers a first question. Else it ends. */
static bool serves(int fd, int pidfd)
{
    static const uint32_t get_features[3] = {1, 1, 0};
    uint8_t answer[20];
    if (send(fd, get_features, sizeof(get_features), MSG_NOSIGNAL) != (ssize_t)sizeof(get_features)) {
        return false;
    }
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    while (poll(fds, 2, START_MS) < 0 && errno == EINTR) {
    }
    return (fds[0].revents & POLLIN) && recv(fd, answer, sizeof(answer), MSG_WAITALL) == (ssize_t)sizeof(answer);
}

/* The last line it said, without its end. */
static void read_reason(int messages, char *why, size_t size)
{
    char text[1024];
    ssize_t n = read(messages, text, sizeof(text) - 1);
    size_t len = n > 0 ? (size_t)n : 0;
    while (len && text[len - 1] == '\n') {
        len--;
    }
    text[len] = '\0';
    const char *line = strrchr(text, '\n');
    fmt_line(why, size, "%s", line ? line + 1 : text);
}

/* One attempt. 0: *h; 1: it did not come up like this, and `why` may say something; -errno: the host gives nothing. */
static int attempt(const struct program *p, const struct share_config *c, const char *sandbox, struct share_helper *h, char *why, size_t size)
{
    int listening = -1, connected = -1, messages[2] = {-1, -1};
    int *fd = &h->fd, *pidfd = &h->pidfd;
    int err = make_connection(&listening, &connected);
    err = err ? err : pipe2(messages, O_CLOEXEC | O_NONBLOCK) ? -errno : 0;
    pid_t pid = err ? -1 : fork();
    if (pid == 0) {
        run_program(p, c, sandbox, listening, messages[1]);
    }
    if (!err && pid < 0) {
        err = -errno;
    }
    if (listening >= 0) {
        close(listening);
    }
    if (messages[1] >= 0) {
        close(messages[1]);
    }
    if (!err) {
        *pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        err = *pidfd < 0 ? -errno : serves(connected, *pidfd) ? 0 : 1;
    }
    if (err) {
        if (connected >= 0) {
            close(connected);
        }
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            close(*pidfd);
            read_reason(messages[0], why, size);
        }
        if (messages[0] >= 0) {
            close(messages[0]);
        }
        return err;
    }
    *fd = connected;
    h->messages = messages[0];
    return 0;
}

int share_spawn(const struct share_config *c, struct share_helper *h, struct share_error *err)
{
    const struct program *p = find_program();
    if (!p) {
        fmt_line(err->text, sizeof(err->text),
                 "-v %s: no virtiofsd here; install the package virtiofsd (Debian 13) or qemu-system-common (Debian 12)", c->source);
        return -1;
    }
    static const char *const with_rights[] = {"namespace", "chroot", NULL}, *const without[] = {"namespace", "none", NULL};
    const char *const *sandbox = geteuid() == 0 || !p->rust ? with_rights : without;
    int failed = 1;
    char said[256] = "";
    for (; *sandbox && failed == 1; sandbox++) {
        failed = attempt(p, c, *sandbox, h, said, sizeof(said));
    }
    if (failed) {
        const char *why = failed < 0 ? strerror(-failed) : *said ? said : "it ended at once";
        fmt_line(err->text, sizeof(err->text), "-v %s: virtiofsd does not start: %s", c->source, why);
        return -1;
    }
    return 0;
}
