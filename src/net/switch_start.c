/* Finding a switch, or starting it; and the first steps of the process that becomes it.
 *
 *   monitor ── spawn ──> starter ── fork ──> keeper ── fork ──> the switch, jailed (switch_loop.c)
 *
 * The starter ends at once, so that a switch is nobody's child. The keeper does nothing but wait,
 * and removes the socket's name when the switch has ended, which the jailed one may not. A new
 * process image, not a fork, is what keeps the first machine's memory and files out of it.
 */
#include "net/switch_process.h"

#include "base/log.h"
#include "host/linux/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the process that starts ---- */

NORETURN static void keep(pid_t child, int inherited_dir, const char *name)
{
    /* An open file of our own: a lock on the inherited one would be the machine's too. */
    int dir = openat(inherited_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close(inherited_dir);
    close(SWITCH_LISTEN_FD);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    if (dir >= 0) {
        switch_dir_clean(dir, name);
    }
    _exit(0);
}

static bool is_listening_socket(int fd)
{
    int listening = 0;
    socklen_t len = sizeof(listening);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

int switch_serve(const char *name)
{
    if (!is_listening_socket(SWITCH_LISTEN_FD) || fcntl(SWITCH_DIR_FD, F_GETFD) < 0 || chdir("/")) {
        return 1;
    }
    prctl(PR_SET_NAME, "ring3-switch");
    pid_t keeper = fork();
    if (keeper != 0) {
        return keeper < 0 ? 1 : 0;
    }
    pid_t child = fork();
    if (child > 0) {
        keep(child, SWITCH_DIR_FD, name);
    }
    if (child == 0) {
        close(SWITCH_DIR_FD);
        switch_loop(SWITCH_LISTEN_FD);
    }
    return child < 0 ? 1 : 0;
}

/* ---- the machine that starts it ---- */

static int run_starter(const char *name, int listening, int dir, pid_t *pid)
{
    char word[3][16] = {"ring3", "switch", "--serve"};
    char *argv[] = {word[0], word[1], word[2], (char *)(uintptr_t)name, NULL}; /* not changed */
    char *envp[] = {NULL};
    const int fds[] = {-1, -1, -1, [SWITCH_LISTEN_FD] = listening, [SWITCH_DIR_FD] = dir};
    const struct spawn starter = {.program = "/proc/self/exe",
                                  .argv = argv,
                                  .envp = envp,
                                  .fds = fds,
                                  .fd_count = ARRAY_LEN(fds),
                                  .session = true};
    return spawn_process(&starter, pid);
}

static int wait_for_starter(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

/* dir is locked, and there is no such switch. */
static int start(int dir, const char *name)
{
    int listening = switch_dir_listen(dir, name);
    if (listening < 0) {
        return listening;
    }
    pid_t pid = 0;
    int err = run_starter(name, listening, dir, &pid);
    err = err ? err : wait_for_starter(pid);
    close(listening);
    return err;
}

static int connect_or_start(int dir, const char *name)
{
    int err = switch_dir_lock(dir);
    if (err) {
        return err;
    }
    int fd = switch_dir_connect(dir, name);
    if (fd == -ENOENT || fd == -ECONNREFUSED) {
        err = start(dir, name);
        fd = err ? err : switch_dir_connect(dir, name);
    }
    flock(dir, LOCK_UN); /* closing is not enough: the new process may still hold what we locked */
    return fd;
}

int switch_connect(const char *name, struct net_error *err)
{
    int dir = switch_dir_open(true, err);
    if (dir < 0) {
        return -1;
    }
    int fd = connect_or_start(dir, name);
    close(dir);
    if (fd < 0) {
        fmt_line(err->text, sizeof(err->text), "--net switch=%s: the switch does not start: %s",
                 name,
                 fd == -ETIMEDOUT ? "another machine takes very long to start it" : strerror(-fd));
        return -1;
    }
    return fd;
}
