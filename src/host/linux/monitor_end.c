/* How a machine ends, once its tasks have left or must: what is left of its output and of its disks
 * is written, and the first reason for the end is the result. Main thread only.
 */
#include "host/linux/monitor_priv.h"

#include "host/host.h"
#include "host/linux/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define DISKS_MS 60000 /* what disks may take to write out what they have kept */
#define HURRY_MS 1000  /* the same when somebody wants it to end at once */

/* ---- the result ---- */

void monitor_decide(struct monitor *m, enum monitor_end end, int code)
{
    m->hurry |= end == MONITOR_QUIT || end == MONITOR_KILLED || end == MONITOR_SIGNAL;
    if (!m->decided) {
        m->decided = true;
        m->result->end = end;
        m->result->code = code;
    }
    vm_end(&ARENA->vm, VM_KILLED, 0);
    monitor_release(m, HOLD_PAUSE | HOLD_CAP); /* only who runs can leave */
}

/* All tasks have left: what did the machine say? */
void monitor_conclude(struct monitor *m)
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

/* ---- what is left ---- */

/* Write what the guest still said. A signal, or Ctrl-A x, ends this too. */
static void drain_output(struct monitor *m)
{
    bool wanted = !m->decided || m->result->end == MONITOR_STATUS ||
                  m->result->end == MONITOR_BROKEN || m->cfg.log;
    while (wanted && !m->console.write_error && console_pending(&m->console, ARENA)) {
        struct pollfd fds[CONSOLE_POLL_FDS + 1];
        console_poll_output(&m->console, fds);
        fds[CONSOLE_POLL_FDS] = (struct pollfd){.fd = m->signals, .events = POLLIN};
        if (poll(fds, CONSOLE_POLL_FDS + 1, m->console.chunk_len ? -1 : 0) < 0 && errno != EINTR) {
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
    bool ended_well = !m->decided || m->result->end == MONITOR_STATUS;
    if (m->console.write_error && ended_well) { /* a status is no comfort then */
        *m->result = (struct monitor_result){.end = MONITOR_OUTPUT, .code = m->console.write_error};
        m->decided = true;
    } else if (m->console.exit_status >= 0 && !m->decided) {
        *m->result = (struct monitor_result){.end = MONITOR_STATUS, .code = m->console.exit_status};
        m->decided = true;
    }
}

/* Wait for the devices' threads, as long as the end has time. Requests and keys are still served:
 * who kills a machine that waits for a disk shall not wait, too. */
static void wait_for_devices(struct monitor *m)
{
    uint64_t end = monitor_now_ms() + DISKS_MS;
    bool hurried = false;
    while (devices_busy(m->devices)) {
        uint64_t now = monitor_now_ms();
        m->hurry |= m->stop_ms && now >= m->stop_ms;
        if (m->hurry && !hurried) {
            hurried = true;
            end = min_u64(end, now + HURRY_MS);
        }
        uint64_t until = m->stop_ms && !hurried ? min_u64(end, m->stop_ms) : end;
        if (now >= end || !monitor_step(m, (int)(until - now))) {
            return;
        }
    }
}

/* A device that has not ended by now is left alone; this process ends around it. */
static void give_up_on(struct monitor *m, const struct device *dev)
{
    struct monitor_result *r = m->result;
    char line[200];
    fmt_line(line, sizeof(line), "%s does not answer: what the guest wrote there and did not flush may be lost", dev->label);
    if (m->hurry) {
        host_log(LOG_WARN, line);
        return;
    }
    monitor_decide(m, MONITOR_BROKEN, 0);
    r->end = MONITOR_BROKEN;
    fmt_line(r->reason, sizeof(r->reason), "%s", line);
}

void monitor_settle(struct monitor *m)
{
    devices_stop(m->devices, m->event);
    wait_for_devices(m);
    const struct device *busy = devices_busy(m->devices);
    if (busy) {
        give_up_on(m, busy);
    }
    drain_output(m);
    devices_destroy(m->devices);
    m->devices = NULL;
}
