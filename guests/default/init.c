/* The default guest's first process.
 *
 * Sets up a small Linux (mounts, host name, loopback), then runs one program and ends the machine:
 *   - no command given: an interactive busybox shell on the console; the machine powers off when it
 * ends
 *   - a command, with a terminal on ring3's side: the command on the console, as in a terminal
 * window
 *   - a command without one: the command with pipes, carried over the console by channel.h's
 * protocol The command's exit status (128 + n for a death by signal n, as shells have it) goes to
 * ring3 by a mark on the console (channel.h). What to run comes in files that ring3 appends to the
 * initramfs.
 *
 * The same program is /sbin/poweroff, /sbin/halt and /sbin/reboot: as another process than the
 * first it only asks the kernel.
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define SHELL "/bin/sh"

static int power(const char *name)
{
    sync();
    if (strcmp(name, "reboot") == 0) {
        reboot(RB_AUTOBOOT);
    } else {
        reboot(RB_POWER_OFF);
    }
    perror(name);
    return 1;
}

NORETURN void init_power_off(void)
{
    power("init");
    for (;;) {
        pause();
    }
}

/* How busybox's poweroff, halt and reboot, which the shell prefers to ours, ask the first process.
 */
static void on_power_signal(int sig)
{
    power(sig == SIGTERM ? "reboot" : "poweroff");
}

static void listen_to_power_signals(void)
{
    signal(SIGUSR1, on_power_signal); /* halt */
    signal(SIGUSR2, on_power_signal); /* poweroff */
    signal(SIGTERM, on_power_signal); /* reboot */
}

/* The mark ends the machine; under another monitor powering off must do. */
NORETURN static void end_with_status(int status)
{
    struct termios raw;
    if (tcgetattr(STDOUT_FILENO, &raw) == 0) {
        raw.c_oflag &= ~(tcflag_t)OPOST;
        tcsetattr(STDOUT_FILENO, TCSADRAIN, &raw);
    }
    char token[CHANNEL_TOKEN_LEN + 1] = "", mark[CHANNEL_TOKEN_LEN + 8];
    int fd = open("/" CHANNEL_TOKEN, O_RDONLY | O_CLOEXEC);
    sync();
    if (fd >= 0 && read(fd, token, CHANNEL_TOKEN_LEN) == CHANNEL_TOKEN_LEN) {
        int len = snprintf(mark, sizeof(mark), "%c%c%s%02x\n", CHANNEL_ESC, CHANNEL_EXIT, token,
                           status & 0xff);
        (void)!write(STDOUT_FILENO, mark, (size_t)len);
        tcdrain(STDOUT_FILENO);
    }
    init_power_off();
}

static void set_up_system(void)
{
    mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    mkdir("/dev/pts", 0755);
    mkdir("/dev/shm", 01777);
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=0,mode=620,ptmxmode=666");
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    (void)!symlink("/proc/self/fd", "/dev/fd");
    (void)!symlink("/proc/self/fd/0", "/dev/stdin");
    (void)!symlink("/proc/self/fd/1", "/dev/stdout");
    (void)!symlink("/proc/self/fd/2", "/dev/stderr");
    (void)!sethostname("ring3", 5);

    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (s >= 0) {
        ioctl(s, SIOCSIFFLAGS, &ifr);
        close(s);
    }
}

/* The contents of a file of NUL-terminated strings as a NULL-terminated vector; NULL if there is no
 * file. */
static char **read_strings(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        return NULL;
    }
    size_t size = (size_t)st.st_size, len = 0, count = 0;
    char *text = malloc(size + 1);
    while (text && len < size) {
        ssize_t n = read(fd, text + len, size - len);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    close(fd);
    for (size_t i = 0; i < len; i++) {
        count += text[i] == '\0';
    }
    char **v = calloc(count + 1, sizeof(*v));
    for (size_t i = 0, at = 0; v && i < count; i++) {
        v[i] = text + at;
        at += strlen(text + at) + 1;
    }
    return v;
}

static void set_up_environment(void)
{
    setenv("PATH", "/sbin:/bin:/usr/sbin:/usr/bin", 1);
    setenv("HOME", "/root", 1);
    setenv("USER", "root", 1);
    char **env = read_strings("/" CHANNEL_ENV);
    for (; env && *env; env++) {
        putenv(*env);
    }
    /* The kernel hands words of its command line that it does not know to us as variables. */
    unsetenv("BOOT_IMAGE");
}

NORETURN void init_exec(char **argv)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (chdir("/root") != 0) {
        (void)!chdir("/");
    }
    execvp(argv[0], argv);
    int why = errno;
    fprintf(stderr, "ring3 guest: %s: %s\n", argv[0],
            why == ENOENT ? "no such command in the default guest" : strerror(why));
    _exit(why == ENOENT ? 127 : 126);
}

int init_shell_status(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* Run argv as the session leader of the console; wait for it, and meanwhile for whatever else dies.
 */
static int run_on_terminal(char **argv)
{
    pid_t child = fork();
    if (child == 0) {
        setsid();
        int tty = open("/dev/console", O_RDWR);
        const char *rows = getenv("LINES"), *columns = getenv("COLUMNS");
        struct winsize size = {.ws_row = (unsigned short)(rows ? atoi(rows) : 0),
                               .ws_col = (unsigned short)(columns ? atoi(columns) : 0)};
        unsetenv("LINES");
        unsetenv("COLUMNS");
        if (tty >= 0) {
            ioctl(tty, TIOCSCTTY, 1);
            if (size.ws_row && size.ws_col) {
                ioctl(tty, TIOCSWINSZ, &size);
            }
            dup2(tty, 0);
            dup2(tty, 1);
            dup2(tty, 2);
        }
        init_exec(argv);
    }
    for (;;) {
        int status;
        pid_t who = wait(&status);
        if (who == child) {
            tcdrain(STDOUT_FILENO);
            return init_shell_status(status);
        }
        if (who < 0 && errno != EINTR) {
            return 255;
        }
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    const char *name = strrchr(argv[0], '/');
    name = name ? name + 1 : argv[0];
    if (getpid() != 1) {
        return power(name);
    }
    listen_to_power_signals();
    set_up_system();
    /* Whatever the kernel could or could not open for us. */
    int console = open("/dev/console", O_RDWR);
    for (int fd = 0; console >= 0 && fd < 3; fd++) {
        dup2(console, fd);
    }
    if (console > 2) {
        close(console);
    }
    set_up_environment();
    char **command = read_strings("/" CHANNEL_ARGV);
    bool given = command && command[0];
    if (access("/" CHANNEL_PIPES, F_OK) == 0) {
        char *plain_shell[] = {SHELL, NULL};
        end_with_status(init_run_piped(given ? command : plain_shell));
    }
    if (given) {
        end_with_status(run_on_terminal(command));
    }
    char *login[] = {SHELL, "-l", NULL};
    run_on_terminal(login);
    init_power_off();
}
