/* See spawn.h. */
#include "host/linux/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

static int place_files(posix_spawn_file_actions_t *files, const int *high, unsigned count)
{
    int err = 0;
    for (unsigned i = 0; i < count && !err; i++) {
        err = high[i] < 0 ? posix_spawn_file_actions_addopen(files, (int)i, "/dev/null", O_RDWR, 0)
                          : posix_spawn_file_actions_adddup2(files, high[i], (int)i);
    }
    return err ? err : posix_spawn_file_actions_addclosefrom_np(files, (int)count);
}

/* high: descriptors beyond the places that they are to get. */
static int start(const struct spawn *s, const int *high, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawn_file_actions_init(&files) || posix_spawnattr_init(&attr)) {
        return -ENOMEM;
    }
    int err = place_files(&files, high, s->fd_count);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr,
                             (short)((s->session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP) |
                                     POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
    err = err ? err : posix_spawnp(pid, s->program, &files, &attr, s->argv, s->envp);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return -err;
}

int spawn_process(const struct spawn *s, pid_t *pid)
{
    int high[SPAWN_FDS_MAX], err = 0;
    if (s->fd_count > SPAWN_FDS_MAX) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < s->fd_count; i++) {
        high[i] = s->fds[i] < 0 || err ? -1 : fcntl(s->fds[i], F_DUPFD_CLOEXEC, s->fd_count);
        err = err ? err : s->fds[i] >= 0 && high[i] < 0 ? -errno : 0;
    }
    err = err ? err : start(s, high, pid);
    for (unsigned i = 0; i < s->fd_count; i++) {
        if (high[i] >= 0) {
            close(high[i]);
        }
    }
    return err;
}
