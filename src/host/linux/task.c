/* The vCPU task: a process with its own address space, forked from the monitor, that runs one vCPU.
 *
 * It shares the arena and guest RAM with the monitor and the other tasks; everything else is its
 * own copy. Single-threaded. Functions of host.h that name no vCPU also serve the monitor.
 *
 * A kick is a word in the arena plus something that makes the task look at it: a futex wake while
 * it waits, a signal otherwise. The timer is a POSIX timer that sends the same signal; it is not
 * moved when a later time is asked for than it is set to: it fires early then, and is set anew (a
 * guest moves its timer far more often than it lets it expire).
 */
#include "host/linux/task.h"

#include "engine/engine.h"
#include "host/linux/arena.h"
#include "host/linux/host_error.h"
#include "host/linux/io.h"
#include "host/linux/jail.h"
#include "host/linux/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

_Static_assert(TASK_KICK_SIGNAL == SIGUSR2, "the number in the header");

#define NS_PER_S 1000000000u
#define STACK_SIZE 0x40000u

/* This process's own view of the tasks. The monitor: descriptors of those it started, 0 where there is none; device threads read them. A vCPU task:
 * in_task, and no descriptors. */
static int task_fds[VM_MAX_CPUS];
static bool in_task;
/* A task that is being set up: a descriptor of the monitor, whose number it may not see. */
static int monitor_fd = -1;

static struct task_shared *task_of(const struct vcpu *v)
{
    return &ARENA->task[v->index];
}

static long futex(void *word, int op, int value, const struct timespec *until)
{
    return syscall(SYS_futex, word, op, value, until, NULL, FUTEX_BITSET_MATCH_ANY);
}

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

/* ---- messages ---- */

void host_log(enum log_level level, const char *line)
{
    char text[320];
    if ((int)level > ARENA->log_level) {
        return;
    }
    int len =
        fmt_line(text, sizeof(text), "ring3: %s%s", line, ARENA->terminal_raw ? "\r\n" : "\n");
    (void)!write(STDERR_FILENO, text, (size_t)len);
}

NORETURN void host_panic(const char *line)
{
    size_t len = strlen(line);
    len = len < PANIC_MAX - 1 ? len : PANIC_MAX - 1;
    memcpy(ARENA->panic, line, len);
    ARENA->panic[len] = '\0';
    if (in_task) {
        _exit(TASK_PANICKED); /* process 1 is deaf to a SIGABRT of its own */
    }
    abort();
}

/* ---- time ---- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    syscall(SYS_clock_gettime, clock, &t); /* not the vDSO's: it is unmapped in the task */
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t host_time_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t host_wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

uint64_t host_tsc(void)
{
    return __rdtsc();
}

void host_random(void *buf, size_t len)
{
    uint8_t *at = buf;
    while (len) {
        ssize_t n = getrandom(at, len, 0);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else if (errno != EINTR) {
            host_panic("the host gives no random numbers");
        }
    }
}

static void timer_arm(struct task_shared *t, uint64_t when_ns)
{
    struct itimerspec at = {.it_value = to_timespec(when_ns)};
    t->armed_ns = when_ns;
    timer_settime((timer_t)t->timer, TIMER_ABSTIME, &at, NULL);
}

void host_timer_set(struct vcpu *v, uint64_t when_ns)
{
    struct task_shared *t = task_of(v);
    t->when_ns = when_ns;
    if (when_ns && (!t->armed_ns || when_ns < t->armed_ns)) {
        timer_arm(t, when_ns);
    }
}

void host_trace_write(int fd, const void *buf, size_t len)
{
    const uint8_t *at = buf;
    while (len) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno != EINTR) {
            return;
        }
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

/* ---- kicks ---- */

volatile int *host_kick_flag(const struct vcpu *v)
{
    return &task_of(v)->kick;
}

/* Wake task `index`, whose kick word was set just now, out of guest code. The monitor knows its tasks by descriptors: process ids in the arena are
 * the tasks' to spoil, and could name anybody. */
static void signal_task(unsigned index)
{
    int fd = __atomic_load_n(&task_fds[index], __ATOMIC_ACQUIRE);
    if (fd > 0) {
        syscall(SYS_pidfd_send_signal, fd, TASK_KICK_SIGNAL, NULL, 0);
        return;
    }
    int tid = __atomic_load_n(&ARENA->task[index].tid, __ATOMIC_ACQUIRE);
    if (in_task && tid && tid != gettid()) {
        syscall(SYS_tgkill, tid, tid, TASK_KICK_SIGNAL); /* a task has one thread */
    }
}

void host_kick(unsigned index)
{
    if (index >= VM_MAX_CPUS) {
        return;
    }
    struct task_shared *t = &ARENA->task[index];
    if (__atomic_exchange_n(&t->kick, 1, __ATOMIC_SEQ_CST)) {
        return; /* whoever set it wakes the task */
    }
    if (__atomic_load_n(&t->waiting, __ATOMIC_SEQ_CST)) {
        futex(&t->kick, FUTEX_WAKE, 1, NULL);
    } else {
        signal_task(index);
    }
}

bool host_kick_clear(struct vcpu *v)
{
    struct task_shared *t = task_of(v);
    bool kicked = __atomic_exchange_n(&t->kick, 0, __ATOMIC_SEQ_CST);
    if (kicked && t->armed_ns) {
        uint64_t now = host_time_ns();
        if (now >= t->armed_ns) { /* it has fired: early, or for the time asked for */
            t->armed_ns = 0;
            if (t->when_ns > now) {
                timer_arm(t, t->when_ns);
            } else {
                t->when_ns = 0;
            }
        }
    }
    return kicked;
}

void host_wait(struct vcpu *v)
{
    struct task_shared *t = task_of(v);
    __atomic_store_n(&t->waiting, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&t->kick, __ATOMIC_SEQ_CST)) {
        futex(&t->kick, FUTEX_WAIT, 0, NULL);
    }
    __atomic_store_n(&t->waiting, 0, __ATOMIC_SEQ_CST);
}

static void on_kick_signal(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    if (info->si_code == SI_TIMER) {
        ARENA->task[info->si_value.sival_int].kick = 1;
    }
}

/* ---- console ---- */

void host_console_flush(struct vm *vm)
{
    struct console_ring *r = &ARENA->console;
    (void)vm;
    if (r->in != __atomic_load_n(&r->out, __ATOMIC_ACQUIRE) &&
        !__atomic_exchange_n(&r->notified, 1, __ATOMIC_SEQ_CST)) {
        uint64_t one = 1;
        (void)!write(ARENA->console_event, &one, sizeof(one));
    }
}

/* Wait until the monitor has taken something out of the full ring. */
static void console_wait_room(struct vm *vm, uint32_t seen_out)
{
    struct console_ring *r = &ARENA->console;
    __atomic_store_n(&r->blocked, 1, __ATOMIC_SEQ_CST);
    host_console_flush(vm);
    futex(&r->out, FUTEX_WAIT, (int)seen_out, NULL);
    __atomic_store_n(&r->blocked, 0, __ATOMIC_SEQ_CST);
}

void host_console_write(struct vm *vm, const void *buf, size_t len)
{
    struct console_ring *r = &ARENA->console;
    const uint8_t *from = buf;
    bool newline = false;
    while (len) {
        uint32_t out = __atomic_load_n(&r->out, __ATOMIC_SEQ_CST);
        if (r->in - out >= CONSOLE_RING_SIZE) {
            if (vm_ended(vm) != VM_RUNNING) {
                return; /* nobody may be reading any more */
            }
            console_wait_room(vm, out);
            continue;
        }
        newline |= *from == '\n';
        r->bytes[r->in % CONSOLE_RING_SIZE] = *from++;
        __atomic_store_n(&r->in, r->in + 1, __ATOMIC_RELEASE);
        len--;
    }
    if (newline) {
        host_console_flush(vm);
    }
}

/* ---- the window ---- */

static int prot_of(unsigned prot)
{
    return ((prot & HOST_R) ? PROT_READ : 0) | ((prot & HOST_W) ? PROT_WRITE : 0) |
           ((prot & HOST_X) ? PROT_EXEC : 0);
}

int host_window_map(struct vcpu *v, uint64_t hva, uint64_t ram_off, uint64_t len, unsigned prot)
{
    void *at = mmap((void *)hva, len, prot_of(prot), MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
                    v->vm->ram.fd, (off_t)ram_off);
    return at == MAP_FAILED ? -errno : 0;
}

int host_window_protect(struct vcpu *v, uint64_t hva, uint64_t len, unsigned prot)
{
    (void)v;
    return mprotect((void *)hva, len, prot_of(prot)) ? -errno : 0;
}

int host_window_unmap(struct vcpu *v, uint64_t hva, uint64_t len)
{
    (void)v;
    return munmap((void *)hva, len) ? -errno : 0;
}

/* ---- the task's life ---- */

struct stat_text {
    size_t len;
};

static void wake_monitor(void)
{
    uint64_t one = 1;
    (void)!write(ARENA->console_event, &one, sizeof(one));
}

static void emit_stat(void *ctx, const char *name, uint64_t value)
{
    struct stat_text *s = ctx;
    s->len += (size_t)fmt_line(ARENA->stat_text + s->len, STAT_TEXT_MAX - s->len, "%s %llu\n", name,
                               (unsigned long long)value);
}

static void write_counters(struct vcpu *v)
{
    const struct engine *engine = v->vm->engine;
    struct stat_text s = {0};
    if (engine->stat) {
        engine->stat(v, emit_stat, &s);
    }
}

void host_publish_counters(struct vcpu *v)
{
    uint32_t asked = __atomic_load_n(&ARENA->counters_asked, __ATOMIC_ACQUIRE);
    write_counters(v);
    __atomic_store_n(&ARENA->counters_given, asked, __ATOMIC_RELEASE);
    wake_monitor();
}

/* Signals as a fresh process has them, whatever the monitor arranged for itself. */
static void reset_signals(void)
{
    static const int monitors[] = {SIGINT,   SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCHLD, SIGCONT,
                                   SIGWINCH, SIGSEGV, SIGBUS, SIGILL,  SIGFPE,  SIGABRT, SIGPIPE};
    for (size_t i = 0; i < ARRAY_LEN(monitors); i++) {
        signal(monitors[i], SIG_DFL);
    }
    signal(SIGTTOU,
           SIG_IGN); /* a message to the terminal from outside its foreground group is fine */
    struct sigaction kick = {.sa_sigaction = on_kick_signal, .sa_flags = SA_SIGINFO};
    sigaction(TASK_KICK_SIGNAL, &kick, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Go on in fn(index) on the stack that ends at top. */
NORETURN static void call_on_stack(void *top, void (*fn)(unsigned), unsigned index)
{
    __asm__ volatile("mov %0, %%rsp\n\tcall *%1\n\tud2"
                     :
                     : "a"(top), "c"(fn), "D"(index)
                     : "memory");
    __builtin_unreachable();
}

/* Of the monitor's files only these stay: disks and connections are not the task's. 0 or -errno. */
static int close_files(const struct vm *vm)
{
    const int keep[] = {STDERR_FILENO, ARENA->console_event, vm->trace ? ARENA->trace.fd : -1, vm->ram.fd, monitor_fd};
    unsigned next = STDERR_FILENO + 1;
    while (next < IO_BELL_FIRST) {
        unsigned end = IO_BELL_FIRST; /* the first to keep from `next` on */
        for (size_t i = 0; i < ARRAY_LEN(keep); i++) {
            if (keep[i] >= (int)next && (unsigned)keep[i] < end) {
                end = (unsigned)keep[i];
            }
        }
        if (end > next && syscall(SYS_close_range, next, end - 1, 0)) {
            return -errno;
        }
        next = end + 1;
    }
    return syscall(SYS_close_range, IO_BELL_LAST + 1, ~0u, 0) ? -errno : 0;
}

/* Changing the user clears what this sets. */
static void die_with_monitor(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct pollfd monitor = {.fd = monitor_fd, .events = POLLIN};
    if (poll(&monitor, 1, 0) != 0) {
        _exit(0); /* it died before the line above */
    }
}

static int drop_privileges(void)
{
    int err = jail_drop_privileges();
    die_with_monitor();
    close(monitor_fd);
    return err;
}

/* The last of set-up: no terminal, the jail. Standard error stays, for messages. */
static int shut_in(const struct vm *vm)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0) {
        return -errno;
    }
    close(null);
    const int write_fds[] = {STDERR_FILENO, ARENA->console_event, vm->trace ? ARENA->trace.fd : -1};
    return jail_enter(write_fds, ARRAY_LEN(write_fds));
}

NORETURN static void task_main(unsigned index)
{
    struct vm *vm = &ARENA->vm;
    struct vcpu *v = vm->vcpu[index];
    struct task_shared *t = &ARENA->task[index];
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID,
                          .sigev_signo = TASK_KICK_SIGNAL,
                          .sigev_value.sival_int = (int)index};
    ev._sigev_un._tid = gettid();
    timer_t timer;
    mallopt(M_MMAP_MAX, 0); /* the heap only: what mmap would choose lies in the guest's window */
    in_task = true;
    memset(task_fds, 0, sizeof(task_fds)); /* the next line closes them */
    int err = close_files(vm);
    if (!err) {
        err = drop_privileges();
    }
    if (!err) {
        err = timer_create(CLOCK_MONOTONIC, &ev, &timer) ? -errno : 0;
    }
    if (!err) {
        t->timer = timer;
        __atomic_store_n(&t->tid, gettid(), __ATOMIC_RELEASE);
        err = vm->engine->vcpu_init(v);
    }
    if (!err) {
        err = shut_in(vm);
    }
    if (err) {
        fmt_line(ARENA->panic, PANIC_MAX, "the %s engine cannot start: %s", vm->engine->name,
                 host_error(-err));
        _exit(1);
    }
    __atomic_store_n(&t->ready, 1, __ATOMIC_RELEASE);
    wake_monitor();
    vm_run_vcpu(vm, v);
    if (ARENA->want_stat) {
        write_counters(v);
    }
    host_console_flush(vm);
    vm->engine->vcpu_fini(v);
    _exit(0);
}

/* In the monitor: know the task by a descriptor. */
static int name_task(unsigned index, pid_t task)
{
    setpgid(task, task); /* in both, so that neither runs before it is done */
    int fd = (int)syscall(SYS_pidfd_open, task, 0);
    if (fd < 0) {
        int err = -errno;
        kill(task, SIGKILL);
        waitpid(task, NULL, 0);
        return err;
    }
    __atomic_store_n(&task_fds[index], fd, __ATOMIC_RELEASE);
    return 0;
}

NORETURN static void begin(unsigned index, const struct task_birth *b)
{
    die_with_monitor();
    setpgid(0, 0);
    if (b->enter) {
        b->enter(b->ctx);
    }
    reset_signals();
    /* The stack the process was born with lies where the engine maps the guest's memory. */
    uint8_t *stack = host_private_map(0, STACK_SIZE, HOST_R | HOST_W);
    if (!stack) {
        _exit(1);
    }
    call_on_stack(stack + STACK_SIZE, task_main, index);
}

pid_t task_start(unsigned index, struct task_birth *b)
{
    monitor_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (monitor_fd < 0) {
        return -errno;
    }
    pid_t task = b->own_pids ? namespaces_fork(&b->own_pids) : fork();
    if (task == 0) {
        begin(index, b);
    }
    int err = task < 0 ? -errno : name_task(index, task);
    close(monitor_fd);
    monitor_fd = -1;
    return err ? err : task;
}

void task_forget(unsigned index)
{
    int fd = __atomic_exchange_n(&task_fds[index], 0, __ATOMIC_ACQ_REL);
    if (fd > 0) {
        close(fd);
    }
}
