/* The launcher. Single-threaded; all state is on the stack of launch_run.
 *
 * Keys of the terminal signal the whole foreground group, the monitor too; what somebody sends to us alone is passed on to it.
 */
#include "host/linux/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_AGAIN 0 /* on the pipe: one byte instead of the end of file */

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1};

struct watch {
    sigset_t held; /* before the watch */
    int signals;   /* signalfd of passed_on, SIGCHLD and SIGTSTP */
};

static sigset_t passed_on_set(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(passed_on); i++) {
        sigaddset(&set, passed_on[i]);
    }
    return set;
}

void launch_hold(sigset_t *before)
{
    sigset_t set = passed_on_set();
    sigprocmask(SIG_BLOCK, &set, before);
}

static int watch_signals(struct watch *w)
{
    sigset_t set = passed_on_set();
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTSTP); /* the monitor stops first, having put the terminal right, and then we do */
    sigprocmask(SIG_BLOCK, &set, &w->held);
    w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return w->signals < 0 ? -errno : 0;
}

NORETURN static void be_monitor(const struct launch *l, const struct watch *w, pid_t launcher, unsigned boot, int again_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != launcher) {
        _exit(0);
    }
    close(w->signals);
    sigprocmask(SIG_SETMASK, l->mask, NULL);
    int status = l->monitor(l->ctx, boot);
    if (status == LAUNCH_AGAIN) {
        const char mark = STATUS_AGAIN;
        (void)!write(again_fd, &mark, 1);
        status = 0;
    }
    _exit(status);
}

/* Whether the monitor has ended; then *wait_status. Stops when it has stopped. */
static bool look_at(pid_t monitor, int *wait_status)
{
    pid_t who;
    while ((who = waitpid(monitor, wait_status, WNOHANG | WUNTRACED)) == monitor) {
        if (!WIFSTOPPED(*wait_status)) {
            return true;
        }
        kill(getpid(), SIGSTOP); /* until the shell continues the group */
        kill(monitor, SIGCONT);  /* or somebody only us */
    }
    return who < 0 && errno != EINTR;
}

/* early: some may have come when there was no monitor yet for a key to signal. */
static void pass_on(const struct watch *w, pid_t monitor, bool early)
{
    struct signalfd_siginfo info;
    while (read(w->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGCHLD && (early || info.ssi_code != SI_KERNEL)) {
            kill(monitor, (int)info.ssi_signo);
        }
    }
}

static int wait_for(const struct launch *l, const struct watch *w, pid_t monitor)
{
    int wait_status = 0;
    pass_on(w, monitor, true);
    while (!look_at(monitor, &wait_status)) {
        struct pollfd fds[] = {{.fd = w->signals, .events = POLLIN},
                               {.fd = l->tick ? l->wake_fd : -1, .events = POLLIN}};
        int ready = poll(fds, ARRAY_LEN(fds), l->tick && l->period_ms ? (int)l->period_ms : -1);
        if (ready > 0 && fds[0].revents) {
            pass_on(w, monitor, false);
        }
        if (l->tick && (ready == 0 || (ready > 0 && fds[1].revents))) {
            l->tick(l->ctx, monitor);
        }
    }
    return wait_status;
}

/* One boot. Returns the wait status, with *again; or -errno. */
static int run_once(const struct launch *l, const struct watch *w, unsigned boot, bool *again)
{
    int pipe_fd[2];
    pid_t launcher = getpid();
    if (pipe2(pipe_fd, O_CLOEXEC)) {
        return -errno;
    }
    pid_t monitor = fork();
    if (monitor == 0) {
        close(pipe_fd[0]);
        be_monitor(l, w, launcher, boot, pipe_fd[1]);
    }
    int result = monitor < 0 ? -errno : 0;
    close(pipe_fd[1]);
    if (!result) {
        result = wait_for(l, w, monitor);
        char mark;
        /* helpers of the monitor's may still hold the other end for a moment: what is there is there */
        fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK);
        *again = read(pipe_fd[0], &mark, 1) == 1;
    }
    close(pipe_fd[0]);
    return result;
}

int launch_run(const struct launch *l, int *signal)
{
    struct watch w;
    *signal = 0;
    int result = watch_signals(&w);
    if (result == 0) {
        bool again = true;
        for (unsigned boot = 0; again && result >= 0; boot++) {
            again = false;
            result = run_once(l, &w, boot, &again);
        }
        close(w.signals);
    }
    sigprocmask(SIG_SETMASK, &w.held, NULL);
    if (result >= 0 && WIFSIGNALED(result)) {
        *signal = WTERMSIG(result);
        return 0;
    }
    return result < 0 ? result : WEXITSTATUS(result);
}
