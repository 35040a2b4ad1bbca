/* The end of the machine: by the shell's end, by poweroff and reboot, by the power button.
 *
 * Disks are left clean: whoever may still write to them is stopped first, then they are unmounted.
 * Much of this runs in a signal handler, so nothing here uses stdio or the heap.
 */
#include "init.h"

#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOUNTS_SIZE 16384
#define BUTTONS_MAX 8
#define STEP_MS 10
#define TERM_MS 2000 /* how long a program may take to end when asked to */
#define KILL_MS 500

struct mount_line {
    char *folder, *type;
};

/* Undo the escapes of /proc/mounts: a backslash and three octal digits. */
static void unescape(char *text)
{
    char *to = text;
    for (; *text; text++, to++) {
        if (text[0] == '\\' && text[1] && text[2] && text[3]) {
            *to = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
            text += 3;
        } else {
            *to = *text;
        }
    }
    *to = '\0';
}

/* Cut the last line off and find its words. False: there is none. */
static bool last_line(char *text, struct mount_line *line)
{
    size_t len = strlen(text);
    if (len && text[len - 1] == '\n') {
        text[--len] = '\0';
    }
    char *newline = strrchr(text, '\n'), *at = newline ? newline + 1 : text, *next = at;
    strsep(&next, " ");
    line->folder = strsep(&next, " ");
    line->type = strsep(&next, " ");
    if (newline) {
        newline[1] = '\0';
    } else {
        text[0] = '\0';
    }
    if (!line->type) {
        return false;
    }
    unescape(line->folder);
    return true;
}

static bool only_in_memory(const char *type)
{
    static const char *const types[] = {"rootfs",  "proc",    "sysfs",   "devtmpfs",
                                        "devpts",  "tmpfs",   "ramfs",   "mqueue",
                                        "debugfs", "cgroup2", "tracefs", NULL};
    for (const char *const *t = types; *t; t++) {
        if (strcmp(*t, type) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_mounts(char text[MOUNTS_SIZE])
{
    int fd = open("/proc/mounts", O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;
    size_t len = 0;
    while (fd >= 0 && len < MOUNTS_SIZE - 1 &&
           (n = read(fd, text + len, MOUNTS_SIZE - 1 - len)) > 0) {
        len += (size_t)n;
    }
    if (fd >= 0) {
        close(fd);
    }
    text[len] = '\0';
    return fd >= 0;
}

/* Wait until we have no children (orphans become ours), at most ms. */
static bool all_gone(unsigned ms)
{
    for (unsigned waited = 0;; waited += STEP_MS) {
        pid_t who;
        while ((who = waitpid(-1, NULL, WNOHANG)) > 0) {
        }
        if (who < 0) {
            return true;
        }
        if (waited >= ms) {
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000l}, NULL);
    }
}

static void stop_everybody(void)
{
    kill(-1, SIGTERM);
    kill(-1, SIGHUP); /* shells end by this one */
    kill(-1, SIGCONT);
    if (!all_gone(TERM_MS)) {
        kill(-1, SIGKILL);
        all_gone(KILL_MS);
    }
}

void power_settle(void)
{
    static char text[MOUNTS_SIZE];
    struct mount_line line;
    bool stopped = false;
    sync();
    (void)!chdir("/");
    if (!read_mounts(text)) {
        return;
    }
    while (last_line(text, &line)) {
        if (only_in_memory(line.type) || strcmp(line.folder, "/") == 0) {
            continue;
        }
        if (!stopped) {
            stop_everybody();
            stopped = true;
        }
        if (umount2(line.folder, 0) != 0) {
            mount(NULL, line.folder, NULL, MS_REMOUNT | MS_RDONLY, NULL);
        }
    }
}

NORETURN void power_off(void)
{
    power_settle();
    reboot(RB_POWER_OFF);
    for (;;) {
        pause();
    }
}

static void on_power_signal(int sig)
{
    if (sig == SIGTERM) {
        power_settle();
        reboot(RB_AUTOBOOT);
    }
    power_off();
}

void power_listen(void)
{
    struct sigaction sa = {.sa_handler = on_power_signal};
    sigfillset(&sa.sa_mask);
    sigaction(SIGUSR1, &sa, NULL); /* halt */
    sigaction(SIGUSR2, &sa, NULL); /* poweroff */
    sigaction(SIGTERM, &sa, NULL); /* reboot */
}

int power_ask(const char *name, bool at_once)
{
    bool again = strcmp(name, "reboot") == 0;
    if (at_once) {
        sync();
        return reboot(again ? RB_AUTOBOOT : RB_POWER_OFF);
    }
    return kill(1, again ? SIGTERM : SIGUSR2);
}

/* True when the power button is pressed; false when there is none to wait for. */
static bool button_pressed(void)
{
    struct pollfd fds[BUTTONS_MAX];
    char path[] = "/dev/input/event0";
    unsigned n = 0;
    for (char c = '0'; c < '0' + BUTTONS_MAX; c++) {
        path[sizeof(path) - 2] = c;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
    }
    while (n && poll(fds, n, -1) > 0) {
        for (unsigned i = 0; i < n; i++) {
            struct input_event e;
            if (!fds[i].revents) {
                continue;
            }
            if (read(fds[i].fd, &e, sizeof(e)) != sizeof(e)) {
                return false;
            }
            if (e.type == EV_KEY && e.code == KEY_POWER && e.value == 1) {
                return true;
            }
        }
    }
    return false;
}

void power_watch_button(void)
{
    if (fork() == 0) {
        init_plain_signals();
        setsid();
        modules_for_bus("/sys/bus/acpi/devices");
        modules_for_bus("/sys/class/input");
        if (button_pressed()) {
            power_ask("poweroff", false);
        }
        _exit(0);
    }
}
