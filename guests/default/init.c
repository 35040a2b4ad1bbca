/* The default guest's first process.
 *
 * Sets up a small Linux (mounts, drivers, network, the host's directories), then runs one program
 * and ends the machine:
 *   - no command given: an interactive busybox shell on the terminal; the machine powers off when
 *     it ends
 *   - a command, with a terminal on ring3's side: the command on the terminal, as in a terminal
 *     window
 *   - a command without one: the command with pipes, carried over the serial console by channel.h's
 *     protocol
 * The command's exit status (128 + n for a death by signal n, as shells have it) goes to
 * ring3 by a mark on the console (channel.h). What to run comes in files that ring3 appends to the
 * initramfs.
 *
 * The same program is /sbin/poweroff, /sbin/halt and /sbin/reboot: as another process than the
 * first it only asks (with -f, the kernel at once).
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SHELL "/bin/sh"
#define VIRTIO_TERMINAL "/dev/hvc0"
#define TERMINAL_WAIT_MS 1000
#define TERMINAL_STEP_MS 2
#define NETWORK_WAIT_MS 3000
#define NOT_STARTED 125 /* as container tools have it: the command was not even tried */

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
    power_settle();
    if (fd >= 0 && read(fd, token, CHANNEL_TOKEN_LEN) == CHANNEL_TOKEN_LEN) {
        int len = snprintf(mark, sizeof(mark), "%c%c%s%02x\n", CHANNEL_ESC, CHANNEL_EXIT, token,
                           status & 0xff);
        (void)!write(STDOUT_FILENO, mark, (size_t)len);
        tcdrain(STDOUT_FILENO);
    }
    power_off();
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

    network_up("lo");
}

char *init_read_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0, size = 4096;
    char *text = fd < 0 ? NULL : malloc(size);
    ssize_t n;
    while (text && (n = read(fd, text + have, size - 1 - have)) > 0) {
        have += (size_t)n;
        if (have == size - 1) {
            size *= 2;
            text = realloc(text, size);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    if (text) {
        text[have] = '\0';
    }
    if (len) {
        *len = have;
    }
    return text;
}

/* The contents of a file of NUL-terminated strings as a NULL-terminated vector; NULL if there is no
 * file. */
static char **read_strings(const char *path)
{
    size_t len, count = 0;
    char *text = init_read_file(path, &len);
    if (!text) {
        return NULL;
    }
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

void init_plain_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

NORETURN void init_exec(char **argv)
{
    init_plain_signals();
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

/* The terminal for people: the virtio console when there is one, which knows its size, else the
 * serial port. Its ports may appear a moment after its driver. */
static int open_terminal(void)
{
    unsigned wait_ms = access("/sys/module/virtio_console", F_OK) == 0 ? TERMINAL_WAIT_MS : 0;
    int tty = open(VIRTIO_TERMINAL, O_RDWR | O_NOCTTY | O_CLOEXEC);
    for (unsigned ms = 0; tty < 0 && ms < wait_ms; ms += TERMINAL_STEP_MS) {
        nanosleep(&(struct timespec){.tv_nsec = TERMINAL_STEP_MS * 1000000l}, NULL);
        tty = open(VIRTIO_TERMINAL, O_RDWR | O_NOCTTY | O_CLOEXEC);
    }
    return tty >= 0 ? tty : open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* A terminal that does not know its size gets the one that ring3's terminal had at the start. */
static void set_size(int tty)
{
    const char *rows = getenv("LINES"), *columns = getenv("COLUMNS");
    struct winsize now, size = {.ws_row = (unsigned short)(rows ? atoi(rows) : 0),
                                .ws_col = (unsigned short)(columns ? atoi(columns) : 0)};
    if (size.ws_row && size.ws_col && ioctl(tty, TIOCGWINSZ, &now) == 0 && now.ws_row == 0) {
        ioctl(tty, TIOCSWINSZ, &size);
    }
    unsetenv("LINES");
    unsetenv("COLUMNS");
}

/* Run argv as the session leader of a terminal; wait for it, and meanwhile for whatever else dies.
 */
static int run_on_terminal(char **argv)
{
    int tty = open_terminal();
    pid_t child = fork();
    if (child == 0) {
        setsid();
        set_size(tty);
        ioctl(tty, TIOCSCTTY, 1);
        for (int fd = 0; fd < 3; fd++) {
            dup2(tty, fd);
        }
        init_exec(argv);
    }
    for (;;) {
        int status;
        pid_t who = wait(&status);
        if (who == child) {
            tcdrain(tty);
            return init_shell_status(status);
        }
        if (who < 0 && errno != EINTR) {
            return 255;
        }
    }
}

/* Disks, network cards, directories and what else a driver is there for. False: a directory could
 * not be mounted. */
static bool set_up_devices(char *const *cards)
{
    modules_for_bus("/sys/bus/pci/devices");
    modules_for_bus("/sys/bus/virtio/devices");
    modules_check();
    network_start(cards);
    power_watch_button();
    return shares_mount(read_strings("/" CHANNEL_SHARES));
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');
    name = name ? name + 1 : argv[0];
    if (getpid() != 1) {
        if (power_ask(name, argc > 1 && strcmp(argv[1], "-f") == 0) != 0) {
            perror(name);
            return 1;
        }
        return 0;
    }
    power_listen();
    set_up_system();
    /* Whatever the kernel could or could not open for us. */
    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    for (int fd = 0; console >= 0 && fd < 3; fd++) {
        dup2(console, fd);
    }
    if (console > 2) {
        close(console);
    }
    set_up_environment();
    char **cards = read_strings("/" CHANNEL_NET);
    bool complete = set_up_devices(cards);
    char **command = read_strings("/" CHANNEL_ARGV);
    bool given = command && command[0];
    bool piped = access("/" CHANNEL_PIPES, F_OK) == 0;
    if (given || piped) {
        /* What is missing would change what the command does. */
        if (!complete) {
            end_with_status(NOT_STARTED);
        }
        network_wait(cards, NETWORK_WAIT_MS);
    }
    if (piped) {
        char *plain_shell[] = {SHELL, NULL};
        end_with_status(init_run_piped(given ? command : plain_shell));
    }
    if (given) {
        end_with_status(run_on_terminal(command));
    }
    char *login[] = {SHELL, "-l", NULL};
    run_on_terminal(login);
    power_off();
}
