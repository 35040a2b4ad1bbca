/* Asking systemd for a scope: see user_scope.h. No state. Runs in the launcher. */
#include "host/linux/user_scope.h"

#include "host/linux/cpu_group.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOVE_TRIES 200u /* 5 ms apart */
#define ASK_TIMEOUT "--timeout=3"

static void bus_path(char *path, size_t size)
{
    snprintf(path, size, "/run/user/%u/bus", (unsigned)getuid());
}

bool user_scope_exists(void)
{
    char path[128];
    unsigned uid = (unsigned)getuid();
    bus_path(path, sizeof(path));
    if (access(path, W_OK) != 0) {
        return false;
    }
    snprintf(path, sizeof(path), "/user.slice/user-%u.slice/user@%u.service", uid, uid);
    return cpu_group_has_controller(path);
}

static bool lingers(void)
{
    char path[256];
    const char *user = getenv("LOGNAME");
    if (!user || !*user || strchr(user, '/')) {
        return false;
    }
    snprintf(path, sizeof(path), "/var/lib/systemd/linger/%s", user);
    return access(path, F_OK) == 0;
}

/* Run busctl to its end, without input or output. */
static bool call(char *const argv[], const char *bus)
{
    char address[160];
    pid_t pid;
    int status = 1;
    posix_spawn_file_actions_t files;
    snprintf(address, sizeof(address), "DBUS_SESSION_BUS_ADDRESS=unix:path=%s", bus);
    char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char *const env[] = {address, path, NULL};
    if (posix_spawn_file_actions_init(&files)) {
        return false;
    }
    int err = 0;
    for (int fd = 0; fd < 3 && !err; fd++) {
        err = posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
    }
    err = err ? err : posix_spawnp(&pid, argv[0], &files, NULL, argv, env);
    posix_spawn_file_actions_destroy(&files);
    if (err) {
        return false;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool user_scope_enter(const char *name)
{
    char bus[64], unit[128], pid[16];
    if (!user_scope_exists() || !lingers()) {
        return false;
    }
    bus_path(bus, sizeof(bus));
    snprintf(unit, sizeof(unit), "ring3-%s-%d.scope", name, (int)getpid());
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    char *const argv[] = {
        (char[]){"busctl"}, (char[]){"--user"}, (char[]){ASK_TIMEOUT}, (char[]){"call"},
        (char[]){"org.freedesktop.systemd1"}, (char[]){"/org/freedesktop/systemd1"},
        (char[]){"org.freedesktop.systemd1.Manager"}, (char[]){"StartTransientUnit"},
        /* name, what to do if it exists, one property: an array of one process; no further units */
        (char[]){"ssa(sv)a(sa(sv))"}, unit, (char[]){"fail"}, (char[]){"1"}, (char[]){"PIDs"},
        (char[]){"au"}, (char[]){"1"}, pid, (char[]){"0"}, NULL};
    if (!call(argv, bus)) {
        return false;
    }
    for (unsigned i = 0; i < MOVE_TRIES; i++) { /* the answer says that it will be done */
        if (cpu_group_is_own(unit)) {
            return true;
        }
        usleep(5000);
    }
    return false;
}
