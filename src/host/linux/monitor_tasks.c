/* The monitor's vCPU tasks: starting, stopping, holding and burying them.
 *
 * Tasks lead process groups of their own, so that keys and job control reach only the monitor, and
 * so that one signal reaches a task with all its spaces. The process ids used here are those that
 * fork returned; what stands in the arena may be anybody's.
 */
#include "host/linux/monitor_priv.h"

#include "host/linux/arena.h"
#include "host/linux/task.h"

#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int monitor_start_tasks(struct monitor *m)
{
    struct task_birth birth = {
        .enter = m->cfg.share ? cpu_share_enter : NULL,
        .ctx = m->cfg.share,
        .own_pids = m->cfg.machine.cpus == 1,
    };
    for (unsigned i = 0; i < m->cfg.machine.cpus; i++) {
        pid_t task = task_start(i, &birth);
        if (task < 0) {
            return (int)task;
        }
        m->namespaces |= birth.own_pids ? CLONE_NEWPID : 0;
        m->task[i] = task;
        m->tasks++;
        if (m->cfg.meter) {
            cpu_meter_set_group(m->cfg.meter, i, task);
        }
    }
    return 0;
}

/* ---- the end of one ---- */

/* A task died of a signal. Its own last words say more than the signal's name. */
static void task_crashed(struct monitor *m, int status)
{
    struct monitor_result *r = m->result;
    if (m->decided || m->killing) {
        return;
    }
    monitor_decide(m, MONITOR_BROKEN, 0);
    ARENA->panic[PANIC_MAX - 1] = '\0';
    if (ARENA->panic[0]) {
        fmt_line(r->reason, sizeof(r->reason), "%s", ARENA->panic);
    } else if (WIFSIGNALED(status)) {
        bool killed = WTERMSIG(status) == SIGKILL;
        fmt_line(r->reason, sizeof(r->reason), "the vCPU task was ended by signal %d (%s)%s",
                 WTERMSIG(status), strsignal(WTERMSIG(status)),
                 killed ? ": the host ran out of memory, or somebody did it" : "");
    } else {
        fmt_line(r->reason, sizeof(r->reason), "the vCPU task ended with status %d",
                 WEXITSTATUS(status));
    }
}

static void bury(struct monitor *m, unsigned i, int status)
{
    kill(-m->task[i], SIGKILL); /* what is left of its group: spaces */
    m->task[i] = 0;
    m->tasks--;
    if (m->cfg.meter) {
        cpu_meter_set_group(m->cfg.meter, i, 0);
    }
    if (status != 0) {
        task_crashed(m, status);
    }
}

void monitor_reap(struct monitor *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (unsigned i = 0; i < m->cfg.machine.cpus; i++) {
            if (m->task[i] == pid) {
                bury(m, i, status);
            }
        }
        if (pid == m->terminal.guard) {
            m->terminal.guard = 0;
        }
    }
}

static void signal_tasks(struct monitor *m, int sig)
{
    for (unsigned i = 0; i < m->cfg.machine.cpus; i++) {
        if (m->task[i] > 0) {
            kill(-m->task[i], sig);
        }
    }
}

void monitor_reap_all(struct monitor *m)
{
    m->killing = true;
    signal_tasks(m, SIGKILL);
    while (m->tasks) {
        struct timespec rest = {.tv_nsec = 1000000};
        monitor_reap(m);
        if (m->tasks) {
            nanosleep(&rest, NULL);
        }
    }
    monitor_reap(m);
    for (unsigned i = 0; i < m->cfg.machine.cpus; i++) {
        task_forget(i);
    }
}

/* ---- holding them ---- */

/* The guest is to be told that its time stood still, so that it blames nobody for being late: the
 * vCPU task does that before it runs guest code again. */
static void note_stop(struct monitor *m)
{
    for (unsigned i = 0; i < m->cfg.machine.cpus; i++) {
        vm_note(&ARENA->vm, i, VM_NOTE_STOPPED);
    }
}

void monitor_hold(struct monitor *m, unsigned why)
{
    if (!m->holds) {
        signal_tasks(m, SIGSTOP);
    }
    m->holds |= why;
}

void monitor_release(struct monitor *m, unsigned why)
{
    if (m->holds & why & (HOLD_PAUSE | HOLD_JOB)) {
        note_stop(m);
    }
    bool held = m->holds != 0;
    m->holds &= ~why;
    if (held && !m->holds) {
        signal_tasks(m, SIGCONT);
    }
}

void monitor_look_cap(struct monitor *m)
{
    if (!m->capping) {
        return;
    }
    if (m->decided || vm_ended(&ARENA->vm) != VM_RUNNING) {
        monitor_release(m, HOLD_CAP); /* only who runs can leave */
    } else if (cpu_cap_update(&m->cap, host_time_ns(), cpu_meter_used(m->cfg.meter))) {
        monitor_hold(m, HOLD_CAP);
    } else {
        monitor_release(m, HOLD_CAP);
    }
}

void monitor_look_started(struct monitor *m)
{
    for (unsigned i = 0; i < m->cfg.machine.cpus; i++) {
        if (!__atomic_load_n(&ARENA->task[i].ready, __ATOMIC_ACQUIRE)) {
            return;
        }
    }
    if (m->started) {
        return;
    }
    m->started = true;
    if (m->cfg.started && !m->cfg.started(m->cfg.started_ctx)) {
        monitor_decide(m, MONITOR_KILLED, 0);
        return; /* for others it has never run */
    }
    monitor_show_state(m);
}
