/* The monitor process: one loop over standard input and output, the console, signals and the
 * control socket.
 *
 * Signals are blocked and read from a signalfd. When the machine has ended, or must, a task has
 * GRACE_MS to leave by itself before it is killed. The monitor is the reaper of everything its
 * tasks leave. Once all is set up it jails itself (jail.h): what the loop does is done with the
 * files that are open by then.
 */
#include "host/linux/monitor_priv.h"

#include "control/vm_dir.h"
#include "control/vm_log.h"
#include "host/host.h"
#include "host/linux/arena.h"
#include "host/linux/device_console.h"
#include "host/linux/host_error.h"
#include "host/linux/jail.h"
#include "host/linux/namespaces.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define GRACE_MS 500

/* ---- open and close ---- */

static int build(struct monitor *m, const struct tsc_point *started, struct boot_error *err)
{
    const struct monitor_config *cfg = &m->cfg;
    if (machine_build(&cfg->machine, started, &m->facts, err) ||
        devices_create(&cfg->devices, &ARENA->vm, &m->devices, err)) {
        return -1;
    }
    for (unsigned i = 0; i < cfg->machine.cpus; i++) {
        m->vcpu[i] = ARENA->vm.vcpu[i];
    }
    if (cfg->trace_fd >= 0) {
        ARENA->trace.fd = cfg->trace_fd;
        ARENA->trace.start_ns = host_time_ns();
        ARENA->vm.trace = &ARENA->trace;
    }
    return 0;
}

/* Devices need bells with high numbers (io.h): take what the user may have anyway. */
static void raise_file_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur <= IO_BELL_LAST) {
        files.rlim_cur = files.rlim_max > IO_BELL_LAST ? IO_BELL_LAST + 1 : files.rlim_max;
        (void)!setrlimit(RLIMIT_NOFILE, &files);
    }
}

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
    raise_file_limit();
    m->cfg = *cfg;
    ARENA->log_level = cfg->log_level;
    ARENA->want_stat = cfg->stat;
    m->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->signals = -1;
    if (m->event < 0) {
        fmt_line(err->text, sizeof(err->text), "the host gives no event counter: %s",
                 strerror(errno));
        monitor_close(m);
        return -1;
    }
    ARENA->console_event = m->event;
    if (build(m, &started, err)) {
        monitor_close(m);
        return -1;
    }
    *out = m;
    return 0;
}

void monitor_close(struct monitor *m)
{
    devices_destroy(m->devices);
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
    return m->vcpu[index];
}

const char *monitor_stat(const struct monitor *m)
{
    (void)m;
    ARENA->stat_text[STAT_TEXT_MAX - 1] = '\0'; /* a task wrote it */
    return ARENA->stat_text;
}

uint64_t monitor_now_ms(void)
{
    return host_time_ns() / 1000000;
}

/* ---- the terminal ---- */

/* Stop like any job, and take the machine along. */
static void stop_job(struct monitor *m)
{
    terminal_suspend(&m->terminal);
    ARENA->terminal_raw = false;
    monitor_hold(m, HOLD_JOB);
    kill(getpid(), SIGSTOP);
    monitor_release(m, HOLD_JOB);
    terminal_resume(&m->terminal);
    ARENA->terminal_raw = m->terminal.raw;
}

static void take_terminal_size(struct monitor *m)
{
    struct winsize size;
    const struct device *dev = devices_find(m->devices, DEVICE_CONSOLE);
    if (dev && m->terminal.raw && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
        device_console_resize(dev, size.ws_col, size.ws_row);
    }
}

/* ---- signals ---- */

static void take_signals(struct monitor *m)
{
    struct signalfd_siginfo info;
    while (read(m->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGCHLD: monitor_reap(m); break;
        case SIGTSTP: stop_job(m); break;
        case SIGWINCH: take_terminal_size(m); break;
        case SIGCONT:
            /* Somebody sent SIGSTOP, which cannot be caught, and perhaps used the terminal. */
            terminal_suspend(&m->terminal);
            terminal_resume(&m->terminal);
            break;
        default: monitor_decide(m, MONITOR_SIGNAL, (int)info.ssi_signo);
        }
    }
}

static int watch_signals(struct monitor *m)
{
    static const int watched[] = {SIGCHLD, SIGINT,  SIGTERM, SIGHUP,
                                  SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};
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

/* ---- the console ---- */

/* Every piece of output, once. */
static void said(void *ctx, const void *bytes, size_t len)
{
    struct monitor *m = ctx;
    if (m->cfg.log) {
        vm_log_write(m->cfg.log, bytes, len);
    }
    if (m->cfg.server) {
        server_console(m->cfg.server, bytes, len);
    }
}

static bool port_listens(void *ctx)
{
    return device_console_listens(ctx);
}

static void open_console(struct monitor *m)
{
    const struct device *dev = devices_find(m->devices, DEVICE_CONSOLE);
    bool raw = m->cfg.raw_terminal && terminal_init(&m->terminal, STDIN_FILENO) == 0;
    struct console_config cfg = {
        .mode = m->cfg.console,
        .token = m->cfg.token,
        .standard = !m->cfg.log,
        .keys_on = raw,
        .port = {.fd = -1},
        .said = m->cfg.log || m->cfg.server ? said : NULL,
        .said_ctx = m,
    };
    if (dev) {
        union {
            const struct device *in;
            void *out;
        } ctx = {.in = dev};
        cfg.port = (struct console_port){device_console_fd(dev), port_listens, ctx.out};
    }
    ARENA->terminal_raw = raw;
    console_init(&m->console, &cfg);
    take_terminal_size(m);
}

static void take_console(struct monitor *m)
{
    struct console *c = &m->console;
    if (c->key == KEY_QUIT) {
        monitor_decide(m, MONITOR_QUIT, 0);
    } else if (c->key == KEY_HELP) {
        (void)!write(STDERR_FILENO, terminal_help, strlen(terminal_help));
    }
    c->key = KEY_NONE;
    if (c->write_error) {
        monitor_decide(m, MONITOR_OUTPUT, c->write_error);
    }
    if (c->exit_status >= 0) {
        monitor_decide(m, MONITOR_STATUS, c->exit_status);
    }
}

/* Messages of a detached machine: tasks and helpers write to standard error, which is a pipe. */
static void take_messages(struct monitor *m)
{
    char text[4096];
    ssize_t n = read(m->cfg.messages_fd, text, sizeof(text));
    if (n > 0) {
        vm_log_write(m->cfg.log, text, (size_t)n);
    }
}

/* ---- the loop ---- */

enum {
    POLL_SIGNALS,
    POLL_EVENT,
    POLL_METER,
    POLL_MESSAGES,
    POLL_CONSOLE,
    POLL_SERVER = POLL_CONSOLE + CONSOLE_POLL_FDS,
    POLL_FDS = POLL_SERVER + SERVER_POLL_FDS,
};

/* The shorter of two waits, of which -1 is without end. */
static int sooner(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* What to wait for, and for how long. Returns the number of descriptors. */
static nfds_t prepare(struct monitor *m, struct pollfd *fds, int *timeout)
{
    const struct monitor_config *cfg = &m->cfg;
    fds[POLL_SIGNALS] = (struct pollfd){.fd = m->signals, .events = POLLIN};
    fds[POLL_EVENT] = (struct pollfd){.fd = m->event, .events = POLLIN};
    fds[POLL_METER] =
        (struct pollfd){.fd = cfg->meter ? cfg->meter->answer_fd : -1, .events = POLLIN};
    fds[POLL_MESSAGES] = (struct pollfd){.fd = cfg->log ? cfg->messages_fd : -1, .events = POLLIN};
    *timeout = console_poll_fds(&m->console, fds + POLL_CONSOLE);
    if (!cfg->server) {
        return POLL_SERVER;
    }
    *timeout = sooner(*timeout, server_poll_fds(cfg->server, fds + POLL_SERVER));
    return POLL_FDS;
}

static bool take_event(struct pollfd *fd)
{
    uint64_t count;
    return fd->revents && read(fd->fd, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

static void step(struct monitor *m, struct pollfd *fds)
{
    if (take_event(&fds[POLL_EVENT])) {
        monitor_look_started(m);
    }
    if (take_event(&fds[POLL_METER])) {
        monitor_look_cap(m);
    }
    if (fds[POLL_MESSAGES].revents) {
        take_messages(m);
    }
    console_step(&m->console, ARENA, fds + POLL_CONSOLE);
    take_console(m);
    if (m->cfg.server) {
        server_step(m->cfg.server, fds + POLL_SERVER);
    }
    if (fds[POLL_SIGNALS].revents) {
        take_signals(m);
    }
}

/* The host refused something that cannot be done without. */
static void fail(struct monitor *m, const char *what, int error)
{
    monitor_decide(m, MONITOR_BROKEN, 0);
    fmt_line(m->result->reason, sizeof(m->result->reason), "%s: %s", what, host_error(error));
}

bool monitor_step(struct monitor *m, int timeout)
{
    struct pollfd fds[POLL_FDS];
    int wanted;
    nfds_t count = prepare(m, fds, &wanted);
    if (poll(fds, count, sooner(timeout, wanted)) >= 0) {
        step(m, fds);
        return true;
    }
    if (errno != EINTR) { /* EINVAL: more descriptors than a process may have */
        fail(m, "the host lets the monitor wait for nothing", errno == EINVAL ? EMFILE : errno);
        return false;
    }
    return true;
}

/* Until all tasks have left. */
static void loop(struct monitor *m)
{
    uint64_t deadline = 0; /* when the tasks' grace is over */
    while (m->tasks) {
        int timeout = monitor_control_due(m);
        if (m->decided || vm_ended(&ARENA->vm) != VM_RUNNING) {
            uint64_t now = monitor_now_ms();
            deadline = deadline ? deadline : now + GRACE_MS;
            if (now >= deadline) {
                return;
            }
            timeout = (int)(deadline - now);
        }
        if (!monitor_step(m, timeout)) {
            return;
        }
    }
}

/* Namespaces, processes, threads, and then no more of any. 0; or -errno, *what failed. */
static int start(struct monitor *m, const char **what)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    *what = "the host gives no process";
    int failed = watch_signals(m);
    if (!failed) {
        m->namespaces = namespaces_enter();
        failed = monitor_start_tasks(m);
    }
    if (!failed) { /* threads inherit it: before there are any */
        *what = "the host does not let go of capabilities";
        failed = jail_keep_capabilities(1u << CAP_KILL);
    }
    if (!failed) {
        *what = "the host gives no thread";
        failed = devices_start(m->devices);
    }
    if (!failed) {
        *what = "the host lets the monitor make no seccomp filter";
        failed = jail_enter_monitor(m->task, m->cfg.machine.cpus);
    }
    return failed;
}

static void leave(struct monitor *m)
{
    monitor_serve_no_more(m);
    terminal_fini(&m->terminal);
    ARENA->terminal_raw = false;
    if (m->signals >= 0) {
        close(m->signals);
    }
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &m->old_signals, NULL);
}

void monitor_run(struct monitor *m, struct monitor_result *result)
{
    *result = (struct monitor_result){.end = MONITOR_BROKEN};
    m->result = result;
    m->start_ns = host_time_ns();
    open_console(m);
    const char *what;
    int failed = start(m, &what);
    if (failed) {
        fail(m, what, -failed);
    } else {
        monitor_serve(m);
        loop(m);
    }
    monitor_reap_all(m);
    if (ARENA->vm.trace) { /* what the task left: its own to say how much, so checked */
        struct trace *t = &ARENA->trace;
        host_trace_write(m->cfg.trace_fd, t->text, t->used < TRACE_BUFFER ? t->used : TRACE_BUFFER);
    }
    monitor_settle(m);
    monitor_conclude(m);
    leave(m);
}
