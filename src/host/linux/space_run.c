/* Handoff between the vCPU task and a space: commands, waiting, kicks, the gate's answers, killing.
 *
 * A command is a new number in ctl.seq. News from the stub ring sh.bell. Either side looks for a while, yields, or sleeps on the other's word,
 * as place_choose decides: while a CPU is idle and the guest keeps coming back soon, the space runs on another CPU and both spin; else both
 * stay on one CPU, where a switch is cheap, and yield or sleep (numbers: docs).
 *
 * Kicks: a signal to the space. It can arrive when the thread is in the stub already, where it is acknowledged without effect, so a
 * kick is repeated until an event is there, and no command is given while one is unacknowledged. It must not hit
 * a thread in the gate (space_stub.S ends it then): after a gate command it waits for the stub's word that it has left.
 *
 * The space may be hostile: nothing it says is waited for without a limit, and only the gate's answer is believed.
 *
 * State: struct space, the handoff part of struct space_host. Runs in the vCPU task.
 */
#include "host/linux/space_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define SPIN_US 50             /* what waking a sleeper on an idle CPU costs */
#define STREAK_US 30           /* a run is short up to here */
#define STREAK_MIN 12          /* so many short runs in a row before the space moves to another CPU */
#define YIELD_LONG_US 100      /* somebody else ran */
#define YIELD_BAN_US 20000
#define LOAD_EVERY_US 5000
#define PIN_US 20000           /* the task stays on its CPU for so long */
#define FREE_US 200            /* then goes anywhere for so long */
#define SLEEP_NS 100000000ull  /* look for life at least so often */
#define STUB_SLEEP_NS 20000000ull /* where only the stub has to act; below a tick it would cost a timer's set-up, 4 us */
#define KICK_PAUSE_NS 50000ull  /* between two kicks at first; doubled each time up to the next */
#define KICK_PAUSE_MAX_NS 4000000ull
#define KICKS_MAX 24           /* acknowledged without an event: the thread hides in the stub */
#define LIMIT_WALL_NS 10000000000ull
#define LIMIT_KICK_NS 3000000000ull
#define LIMIT_CPU_NS 500000000ull /* a gate command's, without its pages */
#define LIMIT_PAGE_NS 40000ull

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

enum news { NEWS_EVENT, NEWS_DONE, NEWS_ACK };

/** A wait in progress. */
struct wait {
    enum news what;
    bool kickable;       /* a kick of the vCPU ends it */
    uint64_t start;      /* TSC */
    unsigned kicks;      /* sent */
    uint64_t sleep_ns;   /* host time of the first sleep, 0: none yet */
    uint64_t sleep_cpu;  /* the space's CPU time then */
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    if (syscall(SYS_clock_gettime, clock, &t) < 0) {
        return 0;
    }
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t now(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* ---- commands ---- */

static void command(struct space *s, uint32_t cmd)
{
    struct space_ctl *c = s->ctl;
    c->cmd = cmd;
    __atomic_store_n(&c->seq, c->seq + 1, __ATOMIC_SEQ_CST); /* pairs with the stub's xchg of sh.sleeps */
    if (__atomic_load_n(&s->sh->sleeps, __ATOMIC_SEQ_CST)) {
        syscall(SYS_futex, &c->seq, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

void space_gate_start(struct space *s, uint32_t cmd)
{
    s->ctl->count = s->op_count;
    BUG_ON(lseek(s->gate_fd, (off_t)s->token, SEEK_SET) != (off_t)s->token);
    s->armed = true;
    s->host->stats.batches++;
    s->host->stats.ops += s->op_count;
    command(s, cmd);
}

/** The number of operations done, by the gate's authenticated answer; -1 if there is none. */
static int64_t gate_answer(struct space *s)
{
    off_t at = lseek(s->gate_fd, 0, SEEK_CUR);
    uint64_t done = (uint64_t)at & UINT32_MAX;
    return (uint64_t)at >> 32 == s->token >> 32 && done <= s->ctl->count ? (int64_t)done : -1;
}

/* ---- waiting ---- */

static bool arrived(const struct space *s, enum news what)
{
    const struct space_sh *sh = s->sh;
    bool done = s->armed && now(&sh->done) == s->ctl->seq;
    switch (what) {
    case NEWS_EVENT:
        return now(&sh->events) != s->events || (done && now((const uint32_t *)&sh->error));
    case NEWS_DONE:
        return done;
    case NEWS_ACK:
        return (int32_t)(now(&sh->kicks) - s->kicks) >= 0;
    }
    return false;
}

/** Send a kick if none is under way and the thread is not in the gate. False: it is gone, or does not react. */
static bool kick(struct space *s, struct wait *w)
{
    if (!arrived(s, NEWS_ACK) || (s->armed && !arrived(s, NEWS_DONE))) {
        return true;
    }
    if (w->kicks++ == KICKS_MAX) {
        return false;
    }
    s->kicks = now(&s->sh->kicks) + 1;
    s->host->stats.kicks++;
    return syscall(SYS_pidfd_send_signal, s->pidfd, SIGUSR1, NULL, 0) == 0;
}

/** Sleep until the bell rings, the vCPU is kicked, or for at most ns. */
static void sleep_for(struct space *s, const struct wait *w, uint64_t ns)
{
    struct space_host *h = s->host;
    uint32_t how = w->what == NEWS_ACK ? SPACE_SLEEPS_FOR_ACK : SPACE_SLEEPS;
    __atomic_store_n(&s->ctl->task_sleeps, how, __ATOMIC_SEQ_CST); /* pairs with the stub's ringing */
    uint32_t bell = now(&s->sh->bell);
    bool watch_kick = w->kickable && !*h->kicked;
    if (!arrived(s, w->what)) {
        uint64_t until = clock_ns(CLOCK_MONOTONIC) + ns;
        struct timespec at = {.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
        struct futex_waitv on[2] = {
            {.val = bell, .uaddr = (uintptr_t)&s->sh->bell, .flags = FUTEX_32},
            {.val = 0, .uaddr = (uintptr_t)h->kicked, .flags = FUTEX_32},
        };
        if (syscall(SYS_futex_waitv, on, watch_kick ? 2 : 1, 0, &at, CLOCK_MONOTONIC) < 0 && errno == ENOSYS) {
            struct timespec brief = {.tv_nsec = 1000000}; /* a kick can slip in before the sleep */
            syscall(SYS_futex, &s->sh->bell, FUTEX_WAIT, bell, &brief, NULL, 0);
        }
    }
    __atomic_store_n(&s->ctl->task_sleeps, 0, __ATOMIC_RELAXED);
}

/** The process's clock: CPUCLOCK_SCHED of a whole process, clock_getcpuclockid(3) without its system call. */
static uint64_t cpu_ns(const struct space *s)
{
    return clock_ns((clockid_t)((~(unsigned)s->pid << 3) | 2));
}

/** Whether the thread still deserves waiting for: alive, and, where only the stub has to act, within its limits. */
static bool within_limits(struct space *s, struct wait *w)
{
    struct pollfd gone = {.fd = s->pidfd, .events = POLLIN};
    if (poll(&gone, 1, 0) > 0) {
        return false;
    }
    bool kicking = !arrived(s, NEWS_ACK);
    if (w->what == NEWS_EVENT && !kicking && !(w->kickable && *s->host->kicked)) {
        w->sleep_ns = 0;
        return true; /* guest code may take as long as it likes */
    }
    uint64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = cpu_ns(s);
    if (!w->sleep_ns) {
        w->sleep_ns = wall;
        w->sleep_cpu = cpu;
    }
    uint64_t allowed = LIMIT_CPU_NS + s->op_pages * LIMIT_PAGE_NS;
    return wall - w->sleep_ns < (kicking ? LIMIT_KICK_NS : LIMIT_WALL_NS) + allowed && cpu - w->sleep_cpu < allowed;
}

static bool spin(struct space *s, const struct wait *w)
{
    uint64_t limit = SPIN_US * s->host->tsc_per_us;
    while (__rdtsc() - w->start < limit) {
        if (arrived(s, w->what)) {
            s->host->stats.spin_handoffs++;
            return true;
        }
        if (w->kickable && *s->host->kicked) {
            return false;
        }
        _mm_pause();
    }
    s->streak = 0;
    return false;
}

static bool yield(struct space *s, const struct wait *w)
{
    struct space_host *h = s->host;
    uint64_t before = __rdtsc();
    for (unsigned i = 0; i < SPACE_YIELDS && before >= h->yield_ban; i++) {
        if (w->kickable && *h->kicked) {
            return false;
        }
        sched_yield();
        if (arrived(s, w->what)) {
            h->stats.yield_handoffs++;
            return true;
        }
        uint64_t after = __rdtsc();
        if (after - before > YIELD_LONG_US * h->tsc_per_us) {
            h->yield_ban = after + YIELD_BAN_US * h->tsc_per_us;
        }
        before = after;
    }
    return false;
}

/** How long to sleep at most: the bell is a promise only where guest code is known not to run. */
static uint64_t sleep_length(const struct wait *w, bool kicked)
{
    if (kicked) {
        return min_u64(KICK_PAUSE_NS << w->kicks, KICK_PAUSE_MAX_NS);
    }
    return w->what == NEWS_EVENT ? SLEEP_NS : STUB_SLEEP_NS;
}

/** Wait for news. 0, or -ESRCH: the process ended or had to be killed. */
static int wait_for(struct space *s, enum news what, bool kickable)
{
    struct wait w = {.what = what, .kickable = kickable, .start = __rdtsc()};
    if (s->place == PLACE_OTHER ? spin(s, &w) : yield(s, &w)) {
        return 0;
    }
    while (!arrived(s, what)) {
        bool kicked = kickable && *s->host->kicked;
        if (kicked && !kick(s, &w)) {
            break;
        }
        sleep_for(s, &w, sleep_length(&w, kicked));
        if (arrived(s, what)) {
            s->host->stats.futex_handoffs++;
            return 0;
        }
        if (!within_limits(s, &w)) {
            break;
        }
    }
    if (arrived(s, what)) {
        return 0;
    }
    space_kill(s);
    return -ESRCH;
}

int space_wait_birth(struct space *s)
{
    int err = wait_for(s, NEWS_EVENT, false);
    if (!err) {
        s->events = now(&s->sh->events);
    }
    return err;
}

/* ---- where to run ---- */

/** Whether no CPU is idle but for what this handoff itself keeps busy. */
static void look_at_load(struct space_host *h, enum space_place place, uint64_t tsc)
{
    char text[64];
    if (tsc - h->load_checked < LOAD_EVERY_US * h->tsc_per_us) {
        return;
    }
    h->load_checked = tsc;
    ssize_t n = h->load_fd < 0 ? 0 : pread(h->load_fd, text, sizeof(text) - 1, 0);
    unsigned fields = 0, running = 0;
    for (ssize_t i = 0; i < n && text[i] != '/'; i++) { /* "0.00 0.01 0.05 2/118 1234": two run */
        if (text[i] == ' ') {
            fields++;
            running = 0;
        } else if (fields == 3 && text[i] >= '0' && text[i] <= '9') {
            running = running * 10 + (unsigned)(text[i] - '0');
        }
    }
    h->crowded = fields < 3 || running + (place != PLACE_OTHER) > h->cpu_count;
}

/** The CPU's number as Linux keeps it in a segment limit; the task may have neither vDSO nor restartable sequences. */
static int this_cpu(void)
{
    uint32_t limit;
    __asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(0x7b));
    return (int)(limit & 0xfff);
}

static void place_set(struct space *s, enum space_place place, int cpu)
{
    struct space_host *h = s->host;
    cpu_set_t cpus = h->cpus;
    if (place == PLACE_SAME) {
        CPU_ZERO(&cpus);
        CPU_SET(cpu, &cpus);
    } else {
        CPU_CLR(cpu, &cpus);
    }
    if (sched_setaffinity(s->pid, sizeof(cpus), &cpus) < 0) {
        return;
    }
    s->place = place;
    s->place_cpu = cpu;
    s->ctl->spin = place == PLACE_OTHER ? SPIN_US * h->pauses_per_us : 0;
    s->ctl->yields = place == PLACE_OTHER ? 0 : SPACE_YIELDS;
}

/** Keep the task on one CPU, or on none in particular (-1). */
static void task_pin(struct space_host *h, int cpu)
{
    cpu_set_t cpus = h->cpus;
    if (cpu == h->pinned) {
        return;
    }
    if (cpu >= 0) {
        CPU_ZERO(&cpus);
        CPU_SET(cpu, &cpus);
    }
    if (sched_setaffinity(0, sizeof(cpus), &cpus) == 0) {
        h->pinned = cpu;
    }
}

/** Where the task sleeps for a space on its own CPU while another is idle, it would wake up on the idle one, which is dear: pin
 *  it, but let it go where it likes now and then. */
static void task_place(struct space_host *h, enum space_place place, int cpu, uint64_t tsc)
{
    if (place == PLACE_OTHER || h->crowded) {
        task_pin(h, -1);
    } else if (tsc - h->pin_start > PIN_US * h->tsc_per_us) {
        task_pin(h, -1);
        h->pin_start = tsc;
    } else if (tsc - h->pin_start > FREE_US * h->tsc_per_us) {
        task_pin(h, cpu);
    }
}

int space_place_zygote(struct space_host *h)
{
    cpu_set_t cpus;
    int cpu = this_cpu();
    if (h->cpu_count < 2) {
        return -1;
    }
    look_at_load(h, PLACE_SAME, __rdtsc());
    task_place(h, PLACE_SAME, cpu, __rdtsc());
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    return sched_setaffinity(h->zygote_pid, sizeof(cpus), &cpus) == 0 ? cpu : -1;
}

static void place_choose(struct space *s)
{
    struct space_host *h = s->host;
    if (h->cpu_count < 2) {
        s->ctl->yields = SPACE_YIELDS;
        return;
    }
    uint64_t tsc = __rdtsc();
    look_at_load(h, s->place, tsc);
    if (now(&s->sh->sleeps)) {
        s->streak = 0; /* waking it on another CPU costs more than a switch */
    }
    int cpu = this_cpu();
    enum space_place place = s->streak >= STREAK_MIN && !h->crowded ? PLACE_OTHER : PLACE_SAME;
    task_place(h, place, cpu, tsc);
    if (place != s->place || cpu != s->place_cpu) {
        place_set(s, place, cpu);
    }
}

void space_handoff_init(struct space_host *h)
{
    h->pinned = -1;
    h->load_fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    CPU_ZERO(&h->cpus);
    h->cpu_count = sched_getaffinity(0, sizeof(h->cpus), &h->cpus) < 0 ? 1 : (unsigned)CPU_COUNT(&h->cpus);
    uint64_t ns = clock_ns(CLOCK_MONOTONIC), tsc = __rdtsc();
    uint64_t pauses = 0, end = ns;
    while (end - ns < 200000) {
        for (unsigned i = 0; i < 100; i++) {
            _mm_pause();
        }
        pauses += 100;
        end = clock_ns(CLOCK_MONOTONIC);
    }
    h->tsc_per_us = max_u64(1, (__rdtsc() - tsc) * 1000 / (end - ns));
    h->pauses_per_us = (uint32_t)max_u64(1, pauses * 1000 / (end - ns));
}

/* ---- the gate ---- */

void space_kill(struct space *s)
{
    if (s->state == SPACE_GONE || s->state == SPACE_FREE) {
        return;
    }
    kill(s->pid, SIGKILL); /* ours to reap, so still the same process */
    while (waitpid(s->pid, NULL, __WALL) < 0 && errno == EINTR) {
    }
    if (s->pidfd >= 0) {
        close(s->pidfd);
        s->pidfd = -1;
    }
    lseek(s->gate_fd, 0, SEEK_SET);
    s->token = 0;
    s->armed = false;
    s->op_count = 0;
    s->op_pages = 0;
    s->state = SPACE_GONE;
    s->host->stats.destroyed++;
}

/** Change the queue so that what is left of it after a failed operation can be carried out. What is mapped is only a TLB: a mapping
 *  that cannot be changed (holes, too many mappings) is dropped, and where that does not do, all are. */
static bool queue_repair(struct space *s, uint32_t done, int32_t error)
{
    struct space_op *failed = &s->ops[done];
    uint32_t left = s->op_count - done;
    if (error != -ENOMEM) {
        return false;
    }
    if (failed->nr == SYS_mprotect) {
        failed->nr = SYS_munmap;
        memmove(s->ops, failed, left * sizeof(*failed));
        s->op_count = left;
        return true;
    }
    if (s->retried) {
        return false;
    }
    s->retried = true;
    memmove(s->ops + 2, failed, left * sizeof(*failed)); /* queue() left room */
    s->op_count = 0;
    space_queue_empty(s);
    s->op_count += left;
    return true;
}

/** Check the gate's answer. 0: all operations done, the queue is empty; 1: some were not, give what is in the queue now;
 *  -ESRCH: killed. */
static int gate_check(struct space *s)
{
    int64_t done = gate_answer(s);
    s->armed = false;
    if (done == s->op_count) {
        s->op_count = 0;
        s->op_pages = 0;
        return 0;
    }
    if (done >= 0 && queue_repair(s, (uint32_t)done, __atomic_load_n(&s->sh->error, __ATOMIC_RELAXED))) {
        return 1;
    }
    space_kill(s);
    return -ESRCH;
}

int space_gate_finish(struct space *s)
{
    s->retried = false;
    for (;;) {
        int err = wait_for(s, NEWS_DONE, false);
        if (!err) {
            err = gate_check(s);
        }
        if (err <= 0) {
            s->state = err ? s->state : SPACE_PARKED;
            return err;
        }
        space_gate_start(s, SPACE_CMD_GATE);
    }
}

/* ---- running ---- */

/** Give the command that lets guest code run, and wait for its event. 0 or -ESRCH. */
static int run_to_event(struct space *s, uint64_t start)
{
    s->retried = false;
    s->state = SPACE_STOPPED;
    for (;;) {
        if (s->op_count) {
            space_gate_start(s, SPACE_CMD_GATE_RUN);
        } else {
            command(s, SPACE_CMD_RUN);
        }
        int err = wait_for(s, NEWS_EVENT, true);
        if (!err && s->armed) {
            err = gate_check(s);
        }
        if (err < 0) {
            return err;
        }
        if (err == 0) {
            break;
        }
    }
    if (now(&s->sh->events) == s->events) { /* a failure that was none */
        space_kill(s);
        return -ESRCH;
    }
    bool is_short = __rdtsc() - start < STREAK_US * s->host->tsc_per_us;
    s->streak = is_short ? s->streak + 1 : 0;
    return arrived(s, NEWS_ACK) ? 0 : wait_for(s, NEWS_ACK, false);
}

int host_space_run(struct space *s, struct space_regs *regs, struct space_exit *out)
{
    *out = (struct space_exit){.event = SPACE_DEAD};
    if (s->state == SPACE_GONE) {
        return 0;
    }
    int err = space_regs_write(s, regs);
    if (err) {
        return err;
    }
    if (*s->host->kicked) {
        out->event = SPACE_KICKED;
        return 0;
    }
    s->host->stats.runs++;
    place_choose(s);
    if (run_to_event(s, __rdtsc())) {
        return 0;
    }
    s->events = now(&s->sh->events);
    if (!space_event_read(s, regs, out)) {
        space_kill(s);
        *out = (struct space_exit){.event = SPACE_DEAD};
    }
    return 0;
}
