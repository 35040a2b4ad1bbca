/* ring3 run --detach: the machine in the background.
 *
 *   ring3 run --detach       the caller's process: waits until the machine runs, prints its name
 *    └─ launcher             a session of its own; its standard error is a pipe
 *        └─ monitor ...      reads the pipe into the log, once the machine runs
 *
 * Until the machine runs the caller reads the pipe, so that what goes wrong is said on the caller's
 * standard error, and the launcher's exit status becomes the caller's. A caller who is gone by then
 * does not want the machine any more: one whom a signal ends, Ctrl-C say, ends the launcher first;
 * after one who was killed outright the machine finds nobody there to be told that it runs.
 */
#include "cli/cli.h"
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAME_SIGNAL_MS 500

struct pipes {
    int messages[2], ready[2]; /* read end, write end */
};

/* The messages pipe does not block: nobody is to wait for a log. */
static int open_pipes(struct pipes *p)
{
    if (pipe2(p->messages, O_CLOEXEC | O_NONBLOCK) || pipe2(p->ready, O_CLOEXEC)) {
        fprintf(stderr, "ring3 run: --detach: %s\n", strerror(errno));
        return CLI_BROKEN;
    }
    return 0;
}

/* What the caller's other files are is none of the machine's business. */
static void close_inherited(const struct run *r, const struct pipes *p)
{
    const int keep[] = {p->messages[0], p->messages[1], p->ready[1], r->plan->trace_fd};
    unsigned next = STDERR_FILENO + 1;
    for (;;) {
        unsigned end = ~0u; /* the first to keep from `next` on */
        for (size_t i = 0; i < ARRAY_LEN(keep); i++) {
            if (keep[i] >= (int)next && (unsigned)keep[i] < end) {
                end = (unsigned)keep[i];
            }
        }
        if (end > next) {
            (void)!syscall(SYS_close_range, next, end == ~0u ? end : end - 1, 0);
        }
        if (end == ~0u) {
            return;
        }
        next = end + 1;
    }
}

NORETURN static void be_launcher(struct run *r, struct pipes *p)
{
    setsid();
    close_inherited(r, p);
    int signal, null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(p->messages[1], STDERR_FILENO);
    close(p->messages[1]);
    if (null > STDERR_FILENO) {
        close(null);
    }
    r->messages_fd = p->messages[0];
    r->ready_fd = p->ready[1];
    _exit(run_vm(r, &signal));
}

/* Show what is in the messages pipe. */
static void show_messages(int fd)
{
    char text[4096];
    ssize_t n;
    while ((n = read(fd, text, sizeof(text))) > 0) {
        (void)!write(STDERR_FILENO, text, (size_t)n);
    }
}

/* Until the machine runs, or the launcher has ended, or a signal came (*given_up). The name's
 * length, 0 if there is none. */
static size_t wait_ready(const struct pipes *p, int signals, char *name, size_t size, int *given_up)
{
    size_t len = 0;
    for (;;) {
        struct pollfd fds[] = {{.fd = p->messages[0], .events = POLLIN},
                               {.fd = p->ready[0], .events = POLLIN},
                               {.fd = signals, .events = POLLIN}};
        struct signalfd_siginfo info;
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR) {
            return 0;
        }
        show_messages(p->messages[0]);
        if (fds[2].revents && read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
            *given_up = (int)info.ssi_signo;
            return 0;
        }
        if (!fds[1].revents) {
            continue;
        }
        ssize_t n = read(p->ready[0], name + len, size - 1 - len);
        if (n <= 0) {
            return 0;
        }
        len += (size_t)n;
        name[len] = '\0';
        if (strchr(name, '\n') || len == size - 1) {
            show_messages(p->messages[0]);
            return len;
        }
    }
}

/* The signals by which a caller gives up. */
static sigset_t give_up_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    return set;
}

/* End what is starting, and then as the signal says. A second signal does not wait for that; but who
 * signals a process and its group, as timeout(1) does, means one. */
static int give_up(pid_t launcher, int signals, int sig)
{
    struct signalfd_siginfo same;
    struct pollfd fds[] = {{.fd = (int)syscall(SYS_pidfd_open, launcher, 0), .events = POLLIN},
                           {.fd = signals, .events = POLLIN}};
    kill(launcher, SIGTERM);
    if (fds[0].fd >= 0 && poll(fds, 1, SAME_SIGNAL_MS) == 0) {
        while (read(signals, &same, sizeof(same)) > 0) {
        }
        (void)poll(fds, ARRAY_LEN(fds), -1);
    }
    return run_die_of(sig);
}

static int say_name(const char *line)
{
    size_t len = strlen(line);
    if (write(STDOUT_FILENO, line, len) == (ssize_t)len) {
        return 0;
    }
    fprintf(stderr, "ring3 run: --detach: the machine runs, but its name cannot be printed: %s: %s",
            strerror(errno), line);
    return CLI_BROKEN;
}

/* In the caller. */
static int wait_for(pid_t launcher, struct pipes *p, int signals)
{
    char name[VM_NAME_MAX + 8];
    int status, given_up = 0;
    if (wait_ready(p, signals, name, sizeof(name), &given_up)) {
        return say_name(name);
    }
    if (given_up) {
        return give_up(launcher, signals, given_up);
    }
    while (waitpid(launcher, &status, 0) < 0 && errno == EINTR) {
    }
    show_messages(p->messages[0]);
    return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : CLI_BROKEN;
}

int run_detached(struct run *r)
{
    struct pipes p;
    sigset_t set = give_up_signals();
    int status = open_pipes(&p);
    if (status) {
        return status;
    }
    pid_t launcher = fork();
    if (launcher == 0) {
        be_launcher(r, &p);
    }
    if (launcher < 0) {
        fprintf(stderr, "ring3 run: --detach: %s\n", strerror(errno));
        return CLI_BROKEN;
    }
    close(p.messages[1]);
    close(p.ready[1]);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    status = wait_for(launcher, &p, signals);
    if (signals >= 0) {
        close(signals);
    }
    return status;
}
