/* The monitor process: one loop over standard input and output, the console ring, and signals.
 *
 * Signals are blocked and read from a signalfd; the vCPU tasks lead process groups of their own, so
 * that keys and job control reach only the monitor, which passes on what should be. When the
 * machine has ended, or must, a task has GRACE_MS to leave by itself before it is killed. The
 * monitor is the reaper of everything its tasks leave.
 */
#include "host/linux/monitor.h"

#include "host/linux/arena.h"
#include "host/linux/host_error.h"
#include "host/linux/task.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GRACE_MS 500

struct monitor {
    struct monitor_config cfg; /* cfg.machine's strings are not used after monitor_open */
    struct machine_facts facts;
    struct terminal terminal;
    struct console console;
    sigset_t old_signals;
    int signals;             /* signalfd */
    int event;               /* eventfd of the console ring */
    pid_t task[VM_MAX_CPUS]; /* 0: gone */
    unsigned tasks;          /* running */
    bool killing;            /* we sent SIGKILL: such a death is no crash */
    bool decided;            /* *result is final */
    struct monitor_result *result;
};

/* ---- open and close ---- */

int monitor_open(struct monitor **out, const struct monitor_config *cfg, struct boot_error *err)
{
    struct tsc_point started = tsc_start();
    struct monitor *m = calloc(1, sizeof(*m));
    signal(SIGXFSZ, SIG_IGN); /* where ulimit -f is too small, calls fail and we say so */
    int failed = m ? arena_create(cfg->machine.ram_size) : -ENOMEM;
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "the host gives no memory for the machine: %s",
                 host_error(-failed));
        free(m);
        return -1;
    }
    m->cfg = *cfg;
    ARENA->log_level = cfg->log_level;
    ARENA->want_stat = cfg->stat;
    m->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->signals = -1;
    if (m->event < 0) {
        fmt_line(err->text, sizeof(err->text), "the host gives no event counter: %s",
                 strerror(errno));
        goto fail;
    }
    ARENA->console_event = m->event;
    if (machine_build(&cfg->machine, &started, &m->facts, err)) {
        goto fail;
    }
    if (cfg->trace_fd >= 0) {
        ARENA->trace.fd = cfg->trace_fd;
        ARENA->trace.start_ns = host_time_ns();
        ARENA->vm.trace = &ARENA->trace;
    }
    *out = m;
    return 0;
fail:
    monitor_close(m);
    return -1;
}

void monitor_close(struct monitor *m)
{
    if (m->event >= 0) {
        close(m->event);
    }
    arena_destroy();
    free(m);
}

const struct machine_facts *monitor_facts(const struct monitor *m)
{
    return &m->facts;
}

const struct vcpu *monitor_vcpu(const struct monitor *m, unsigned index)
{
    (void)m;
    return ARENA->vm.vcpu[index];
}

const char *monitor_stat(const struct monitor *m)
{
    (void)m;
    ARENA->stat_text[STAT_TEXT_MAX - 1] = '\0'; /* a task wrote it */
    return ARENA->stat_text;
}

/* ---- the end ---- */

/* The machine ends for a reason of the monitor's; the first reason counts. */
static void decide(struct monitor *m, enum monitor_end end, int code)
{
    if (!m->decided) {
        m->decided = true;
        m->result->end = end;
        m->result->code = code;
    }
    vm_end(&ARENA->vm, VM_KILLED, 0);
}

/* All tasks have left: what did the machine say? */
static void conclude(struct monitor *m)
{
    static const enum monitor_end ends[] = {
        [VM_POWEROFF] = MONITOR_POWEROFF,   [VM_REBOOT] = MONITOR_REBOOT,
        [VM_EXIT_CODE] = MONITOR_STATUS,    [VM_TRIPLE_FAULT] = MONITOR_TRIPLE_FAULT,
        [VM_FAILED] = MONITOR_GUEST_FAILED,
    };
    struct monitor_result *r = m->result;
    struct vm *vm = &ARENA->vm;
    if (m->decided) {
        return;
    }
    unsigned how = (unsigned)vm_ended(vm);
    vm->reason[VM_REASON_MAX - 1] = '\0';
    if (how == VM_RUNNING || how >= ARRAY_LEN(ends) || how == VM_KILLED) {
        r->end = MONITOR_BROKEN;
        fmt_line(r->reason, sizeof(r->reason), "the vCPU task left without ending the machine");
        return;
    }
    r->end = ends[how];
    r->code = how == VM_EXIT_CODE ? vm->exit_code & 0xff : 0;
    fmt_line(r->reason, sizeof(r->reason), "%s", vm->reason);
}

/* A task died of a signal. Its own last words say more than the signal's name. */
static void task_crashed(struct monitor *m, int status)
{
    struct monitor_result *r = m->result;
    if (m->decided || m->killing) {
        return;
    }
    decide(m, MONITOR_BROKEN, 0);
    ARENA->panic[PANIC_MAX - 1] = '\0';
    if (ARENA->panic[0]) {
        fmt_line(r->reason, sizeof(r->reason), "%s", ARENA->panic);
    } else if (WIFSIGNALED(status)) {
        fmt_line(r->reason, sizeof(r->reason), "the vCPU task was ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else {
        fmt_line(r->reason, sizeof(r->reason), "the vCPU task ended with status %d",
                 WEXITSTATUS(status));
    }
}

static void reap(struct monitor *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (unsigned i = 0; i < ARENA->vm.cpu_count; i++) {
            if (m->task[i] != pid) {
                continue;
            }
            kill(-pid, SIGKILL); /* what is left of its group: spaces */
            m->task[i] = 0;
            m->tasks--;
            if (status != 0) {
                task_crashed(m, status);
            }
        }
        if (pid == m->terminal.guard) {
            m->terminal.guard = 0;
        }
    }
}

static void signal_tasks(struct monitor *m, int sig)
{
    for (unsigned i = 0; i < ARENA->vm.cpu_count; i++) {
        if (m->task[i] > 0) {
            kill(-m->task[i], sig);
        }
    }
}

/* Wait for every process that the tasks left behind. */
static void reap_all(struct monitor *m)
{
    m->killing = true;
    signal_tasks(m, SIGKILL);
    while (m->tasks) {
        struct timespec rest = {.tv_nsec = 1000000};
        reap(m);
        if (m->tasks) {
            nanosleep(&rest, NULL);
        }
    }
    reap(m);
}

/* ---- signals ---- */

/* Stop like any job, and take the machine along. */
static void stop_job(struct monitor *m)
{
    terminal_suspend(&m->terminal);
    ARENA->terminal_raw = false;
    signal_tasks(m, SIGSTOP);
    kill(getpid(), SIGSTOP);
    signal_tasks(m, SIGCONT);
    terminal_resume(&m->terminal);
    ARENA->terminal_raw = m->terminal.raw;
}

static void take_signals(struct monitor *m)
{
    struct signalfd_siginfo info;
    while (read(m->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGCHLD: reap(m); break;
        case SIGTSTP: stop_job(m); break;
        case SIGCONT:
            /* Somebody sent SIGSTOP, which cannot be caught, and perhaps used the terminal. */
            terminal_suspend(&m->terminal);
            terminal_resume(&m->terminal);
            break;
        default: decide(m, MONITOR_SIGNAL, (int)info.ssi_signo);
        }
    }
}

static int watch_signals(struct monitor *m)
{
    static const int watched[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(watched); i++) {
        sigaddset(&set, watched[i]);
    }
    sigprocmask(SIG_BLOCK, &set, &m->old_signals);
    signal(SIGPIPE, SIG_IGN);
    m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return m->signals < 0 ? -errno : 0;
}

/* ---- the loop ---- */

static uint64_t now_ms(void)
{
    return host_time_ns() / 1000000;
}

static void take_console(struct monitor *m)
{
    struct console *c = &m->console;
    if (c->key == KEY_QUIT) {
        decide(m, MONITOR_QUIT, 0);
    } else if (c->key == KEY_HELP) {
        (void)!write(STDERR_FILENO, terminal_help, strlen(terminal_help));
    }
    c->key = KEY_NONE;
    if (c->exit_status >= 0) {
        decide(m, MONITOR_STATUS, c->exit_status);
    }
    if (c->write_error) {
        decide(m, MONITOR_OUTPUT, c->write_error);
    }
}

/* Until all tasks have left. */
static void loop(struct monitor *m)
{
    enum { SIGNALS, EVENT, CONSOLE, FDS = CONSOLE + CONSOLE_POLL_FDS };
    uint64_t deadline = 0; /* when the tasks' grace is over */
    while (m->tasks) {
        struct pollfd fds[FDS];
        fds[SIGNALS] = (struct pollfd){.fd = m->signals, .events = POLLIN};
        fds[EVENT] = (struct pollfd){.fd = m->event, .events = POLLIN};
        int timeout = console_poll_fds(&m->console, fds + CONSOLE);
        if (m->decided || vm_ended(&ARENA->vm) != VM_RUNNING) {
            uint64_t now = now_ms();
            deadline = deadline ? deadline : now + GRACE_MS;
            if (now >= deadline) {
                return;
            }
            timeout = (int)(deadline - now);
        }
        if (poll(fds, FDS, timeout) < 0 && errno != EINTR) {
            return;
        }
        if (fds[EVENT].revents) {
            uint64_t count;
            (void)!read(m->event, &count, sizeof(count));
        }
        console_step(&m->console, ARENA, fds + CONSOLE);
        take_console(m);
        if (fds[SIGNALS].revents) {
            take_signals(m);
        }
    }
}

/* Write what the guest still said. A signal, or Ctrl-A x, ends this too. */
static void drain_output(struct monitor *m)
{
    bool wanted =
        !m->decided || m->result->end == MONITOR_STATUS || m->result->end == MONITOR_BROKEN;
    while (wanted && console_pending(&m->console, ARENA) && !m->console.write_error) {
        struct pollfd fds[CONSOLE_POLL_FDS + 1];
        console_poll_fds(&m->console, fds);
        fds[0].fd = -1; /* no more input */
        fds[CONSOLE_POLL_FDS] = (struct pollfd){.fd = m->signals, .events = POLLIN};
        int timeout = m->console.chunk_len ? -1 : 0;
        if (poll(fds, CONSOLE_POLL_FDS + 1, timeout) < 0 && errno != EINTR) {
            return;
        }
        if (fds[CONSOLE_POLL_FDS].revents) {
            struct signalfd_siginfo info;
            if (read(m->signals, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
                info.ssi_signo != SIGCHLD && info.ssi_signo != SIGCONT) {
                return;
            }
        }
        console_step(&m->console, ARENA, fds);
    }
    if (m->console.exit_status >= 0 && !m->decided) {
        m->decided = true;
        *m->result = (struct monitor_result){.end = MONITOR_STATUS, .code = m->console.exit_status};
    }
}

static int start_tasks(struct monitor *m)
{
    for (unsigned i = 0; i < ARENA->vm.cpu_count; i++) {
        pid_t task = task_start(i);
        if (task < 0) {
            return (int)task;
        }
        m->task[i] = task;
        m->tasks++;
    }
    return 0;
}

void monitor_run(struct monitor *m, struct monitor_result *result)
{
    *result = (struct monitor_result){.end = MONITOR_BROKEN};
    m->result = result;
    bool raw = m->cfg.raw_terminal && terminal_init(&m->terminal, STDIN_FILENO) == 0;
    ARENA->terminal_raw = raw;
    console_init(&m->console, m->cfg.console, m->cfg.token, raw);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int failed = watch_signals(m);
    if (!failed) {
        failed = start_tasks(m);
    }
    if (failed) {
        decide(m, MONITOR_BROKEN, 0);
        fmt_line(result->reason, sizeof(result->reason), "the host gives no process: %s",
                 host_error(-failed));
    } else {
        loop(m);
    }
    reap_all(m);
    if (ARENA->vm.trace) { /* what the task left: its own to say how much, so checked */
        struct trace *t = &ARENA->trace;
        host_trace_write(m->cfg.trace_fd, t->text, t->used < TRACE_BUFFER ? t->used : TRACE_BUFFER);
    }
    drain_output(m);
    conclude(m);
    terminal_fini(&m->terminal);
    ARENA->terminal_raw = false;
    if (m->signals >= 0) {
        close(m->signals);
    }
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &m->old_signals, NULL);
}
