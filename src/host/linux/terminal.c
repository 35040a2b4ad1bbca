/* Raw mode and its undoing; the prefix key.
 *
 * State: crash_terminal, because a handler of a fatal signal has no other way to find what to put
 * back.
 */
#include "host/linux/terminal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFIX 0x01 /* Ctrl-A */

static struct terminal *crash_terminal;

/* Set the mode even if we are not the terminal's foreground job any more. */
static void set_mode(int fd, const struct termios *mode)
{
    sigset_t ttou, old;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    sigprocmask(SIG_BLOCK, &ttou, &old);
    tcsetattr(fd, TCSADRAIN, mode);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static void on_crash(int sig)
{
    if (crash_terminal && crash_terminal->raw) {
        tcsetattr(crash_terminal->fd, TCSANOW, &crash_terminal->saved);
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

static void watch_for_crashes(struct terminal *t)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    crash_terminal = t;
    struct sigaction sa = {.sa_handler = on_crash};
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++) {
        sigaction(fatal[i], &sa, NULL);
    }
}

/* A process that outlives the monitor by an instant: when the monitor is gone without having put
 * the terminal back, it does. In a session of its own, it may set the mode, and signals to our job
 * do not reach it. If somebody else (the shell) has already set a mode, it is left alone. */
static pid_t start_guard(const struct terminal *t)
{
    pid_t monitor = getpid();
    sigset_t wake, old;
    sigfillset(&wake);
    sigprocmask(SIG_SETMASK, &wake, &old); /* before the fork: none may get lost */
    pid_t guard = fork();
    if (guard != 0) {
        sigprocmask(SIG_SETMASK, &old, NULL);
        return guard > 0 ? guard : 0;
    }
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
    while (getppid() == monitor) {
        int sig;
        sigwait(&wake, &sig);
    }
    struct termios now;
    if (tcgetattr(t->fd, &now) == 0 && now.c_lflag == t->raw_mode.c_lflag &&
        now.c_iflag == t->raw_mode.c_iflag && now.c_oflag == t->raw_mode.c_oflag) {
        tcsetattr(t->fd, TCSANOW, &t->saved);
    }
    _exit(0);
}

int terminal_init(struct terminal *t, int fd)
{
    *t = (struct terminal){.fd = fd};
    if (tcgetattr(fd, &t->saved) != 0) {
        return -errno;
    }
    t->raw_mode = t->saved;
    cfmakeraw(&t->raw_mode);
    watch_for_crashes(t);
    t->guard = start_guard(t);
    t->guard_fd = t->guard ? (int)syscall(SYS_pidfd_open, t->guard, 0) : -1;
    t->raw = true;
    set_mode(fd, &t->raw_mode);
    return 0;
}

void terminal_suspend(struct terminal *t)
{
    if (t->raw) {
        set_mode(t->fd, &t->saved);
        t->raw = false;
    }
}

void terminal_resume(struct terminal *t)
{
    if (!t->raw && t->guard) {
        set_mode(t->fd, &t->raw_mode);
        t->raw = true;
    }
}

void terminal_fini(struct terminal *t)
{
    terminal_suspend(t);
    crash_terminal = NULL;
    if (t->guard && t->guard_fd >= 0) {
        syscall(SYS_pidfd_send_signal, t->guard_fd, SIGKILL, NULL, 0);
        while (waitpid(t->guard, NULL, 0) < 0 && errno == EINTR) {
        }
        close(t->guard_fd);
        t->guard = 0;
    }
}

const char terminal_help[] = "\r\n"
                             "Ctrl-A x       end ring3 and the guest at once\r\n"
                             "Ctrl-A h       this help\r\n"
                             "Ctrl-A Ctrl-A  send Ctrl-A to the guest (also Ctrl-A a)\r\n";

const char terminal_help_attached[] =
    "\r\n"
    "Ctrl-A d       detach: the guest goes on, 'ring3 console' comes back to it\r\n"
    "Ctrl-A x       end the guest at once\r\n"
    "Ctrl-A h       this help\r\n"
    "Ctrl-A Ctrl-A  send Ctrl-A to the guest (also Ctrl-A a)\r\n";

enum terminal_key terminal_filter(struct terminal_keys *k, uint8_t *buf, size_t *len)
{
    size_t kept = 0, n = *len;
    enum terminal_key key = KEY_NONE;
    for (size_t i = 0; i < n && key == KEY_NONE; i++) {
        uint8_t b = buf[i];
        if (!k->prefixed) {
            if (b == PREFIX) {
                k->prefixed = true;
            } else {
                buf[kept++] = b;
            }
            continue;
        }
        k->prefixed = false;
        if (b == 'x' || b == 'X') {
            key = KEY_QUIT;
        } else if (b == 'h' || b == 'H' || b == '?') {
            key = KEY_HELP;
        } else if (b == 'd' || b == 'D') {
            key = KEY_DETACH;
        } else if (b == PREFIX || b == 'a') {
            buf[kept++] = PREFIX;
        }
    }
    *len = kept;
    return key;
}
