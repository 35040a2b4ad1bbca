/* Handoff between the vCPU task and a space: commands, waiting, kicks, the gate's answers, killing.
 *
 * A command is a new number in ctl.seq. News from the stub ring sh.bell. Either side looks for a
 * while, yields, or sleeps on the other's word, as space_place.c decides.
 *
 * Kicks: a signal to the space. It can arrive when the thread is in the stub already, where it is
 * acknowledged without effect, so a kick is repeated until an event is there, and no command is
 * given while one is unacknowledged. It must not hit a thread in the gate (space_stub.S ends it
 * then): after a gate command it waits for the stub's word that it has left.
 *
 * The space may be hostile: nothing it says is waited for without a limit, and only the gate's
 * answer is believed.
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

#define STREAK_US 30      /* a run is short up to here */
#define YIELD_LONG_US 100 /* somebody else ran */
#define YIELD_BAN_US 20000
#define SLEEP_NS 100000000ull /* look for life at least so often */
#define STUB_SLEEP_NS                                                                              \
    20000000ull /* where only the stub has to act; below a tick it would cost a timer's set-up, 4  \
                   us */
#define KICK_PAUSE_NS 50000ull /* between two kicks at first; doubled each time up to the next */
#define KICK_PAUSE_MAX_NS 4000000ull
#define KICKS_MAX 24 /* acknowledged without an event: the thread hides in the stub */
#define LIMIT_SLEPT_NS 1000000000ull /* where only the stub has to act, it may sleep for so long, */
#define LIMIT_CPU_NS 250000000ull    /* and it may use so much time, */
#define LIMIT_PAGE_NS 40000ull       /* both more by this for each page to be mapped */

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

enum news { NEWS_EVENT, NEWS_DONE, NEWS_ACK };

/** A wait in progress. */
struct wait {
    enum news what;
    bool kickable;      /* a kick of the vCPU ends it */
    uint64_t start;     /* TSC */
    unsigned kicks;     /* sent */
    uint64_t slept;     /* ns slept while only the stub had to act, 0: not yet */
    uint64_t used;      /* ns that the space had of a processor in the meantime */
    uint64_t cpu;       /* its CPU time at the last look, ns */
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
    __atomic_store_n(&c->seq, c->seq + 1,
                     __ATOMIC_SEQ_CST); /* pairs with the stub's xchg of sh.sleeps */
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
    case NEWS_DONE: return done;
    case NEWS_ACK: return (int32_t)(now(&sh->kicks) - s->kicks) >= 0;
    }
    return false;
}

/** Send a kick if none is under way and the thread is not in the gate. False: it is gone, or does
 * not react. */
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
    __atomic_store_n(&s->ctl->task_sleeps, how,
                     __ATOMIC_SEQ_CST); /* pairs with the stub's ringing */
    uint32_t bell = now(&s->sh->bell);
    bool watch_kick = w->kickable && !*h->kicked;
    if (!arrived(s, w->what)) {
        uint64_t until = clock_ns(CLOCK_MONOTONIC) + ns;
        struct timespec at = {.tv_sec = (time_t)(until / 1000000000u),
                              .tv_nsec = (long)(until % 1000000000u)};
        struct futex_waitv on[2] = {
            {.val = bell, .uaddr = (uintptr_t)&s->sh->bell, .flags = FUTEX_32},
            {.val = 0, .uaddr = (uintptr_t)h->kicked, .flags = FUTEX_32},
        };
        if (syscall(SYS_futex_waitv, on, watch_kick ? 2 : 1, 0, &at, CLOCK_MONOTONIC) < 0 &&
            errno == ENOSYS) {
            struct timespec brief = {.tv_nsec = 1000000}; /* a kick can slip in before the sleep */
            syscall(SYS_futex, &s->sh->bell, FUTEX_WAIT, bell, &brief, NULL, 0);
        }
    }
    __atomic_store_n(&s->ctl->task_sleeps, 0, __ATOMIC_RELAXED);
}

/** The process's clock: CPUCLOCK_SCHED of a whole process, clock_getcpuclockid(3) without its
 * system call. */
static uint64_t cpu_ns(const struct space *s)
{
    return clock_ns((clockid_t)((~(unsigned)s->pid << 3) | 2));
}

/** Whether the thread still deserves waiting for after a sleep of ns as it was meant: alive, and,
 * where only the stub has to act, within its limits. A look counts ns at most, whatever the clocks
 * say: on a host that is itself a virtual machine they count the time in which it did not run. */
static bool within_limits(struct space *s, struct wait *w, uint64_t ns)
{
    struct pollfd gone = {.fd = s->pidfd, .events = POLLIN};
    if (poll(&gone, 1, 0) > 0) {
        return false;
    }
    bool kicking = !arrived(s, NEWS_ACK) || (w->kickable && *s->host->kicked);
    if (w->what == NEWS_EVENT && !kicking) {
        w->slept = w->used = 0;
        return true; /* guest code may take as long as it likes */
    }
    uint64_t cpu = cpu_ns(s);
    w->used += w->slept ? min_u64(cpu - w->cpu, ns) : 0;
    w->cpu = cpu;
    /* A thread that is ready may wait long for a processor on a loaded host; one that we wake sleeps
     * where it should not. */
    bool asleep = syscall(SYS_futex, &s->ctl->seq, FUTEX_WAKE, 1, NULL, NULL, 0) > 0;
    w->slept += (asleep ? ns : 0) + 1;
    uint64_t pages = s->op_pages * LIMIT_PAGE_NS;
    return w->slept < LIMIT_SLEPT_NS + pages && w->used < LIMIT_CPU_NS + pages;
}

static bool spin(struct space *s, const struct wait *w)
{
    uint64_t limit = SPACE_SPIN_US * s->host->tsc_per_us;
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
    bool probe = false;
    while (!arrived(s, what)) {
        bool kicked = kickable && (probe || *s->host->kicked);
        if (kicked && !kick(s, &w)) {
            break;
        }
        uint64_t ns = sleep_length(&w, kicked), before = __rdtsc();
        sleep_for(s, &w, ns);
        if (arrived(s, what)) {
            s->host->stats.futex_handoffs++;
            return 0;
        }
        uint64_t slept = (__rdtsc() - before) * 1000 / s->host->tsc_per_us;
        if (!within_limits(s, &w, min_u64(slept, ns))) {
            break;
        }
        probe |= ns == SLEEP_NS; /* silent for long: does it still run guest code? A kick shows what hides in the stub */
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

/** Change the queue so that what is left of it after a failed operation can be carried out. What is
 * mapped is only a TLB: a mapping that cannot be changed (holes, too many mappings) is dropped, and
 * where that does not do, all are. */
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
    memmove(s->ops + s->own_count + 1, failed, left * sizeof(*failed)); /* queue() left room */
    s->op_count = 0;
    space_queue_empty(s);
    s->op_count += left;
    return true;
}

/** Check the gate's answer. 0: all operations done, the queue is empty; 1: some were not, give what
 * is in the queue now; -ESRCH: killed. */
static int gate_check(struct space *s)
{
    int64_t done = gate_answer(s);
    s->armed = false;
    if (done == s->op_count) {
        s->op_count = 0;
        s->op_pages = 0;
        return 0;
    }
    if (done >= 0 &&
        queue_repair(s, (uint32_t)done, __atomic_load_n(&s->sh->error, __ATOMIC_RELAXED))) {
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
            if (!err) { /* whatever it claimed before is settled now, also for its next user */
                s->state = SPACE_PARKED;
                s->events = now(&s->sh->events);
                s->kicks = now(&s->sh->kicks);
            }
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

/* The thread is stopped: its answers can change. */
static void give_cpuid_answers(struct space *s)
{
    const struct space_host *h = s->host;
    memcpy(s->ctl->cpuid, h->cpuid, h->cpuids * sizeof(h->cpuid[0]));
    s->ctl->cpuids = h->cpuids;
    s->cpuid_seen = h->cpuid_version;
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
    if (s->cpuid_seen != s->host->cpuid_version) {
        give_cpuid_answers(s);
    }
    space_place(s);
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
