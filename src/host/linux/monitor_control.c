/* What others ask of a running machine, by the control socket (docs/control.md). */
#include "host/linux/monitor_priv.h"

#include "control/vm_dir.h"
#include "host/host.h"
#include "host/linux/arena.h"
#include "host/linux/device_console.h"

#include <json-c/json.h>

#define PRESS_MS 500 /* to the second press of the power button */
#define STATS_MS 1000 /* a busy host keeps the launcher, which measures, waiting */

/* ---- the machine's state ---- */

static enum vm_state state(const struct monitor *m)
{
    if (!m->started) {
        return VM_STARTING;
    }
    return m->holds & HOLD_PAUSE ? VM_PAUSED : m->stop_ms ? VM_STOPPING : VM_UP;
}

void monitor_show_state(const struct monitor *m)
{
    if (m->cfg.dir) {
        vm_dir_set_state(m->cfg.dir, state(m), 0);
    }
}

/* ---- ending it ---- */

static void end_now(struct monitor *m, const char *why)
{
    if (!m->decided) {
        fmt_line(m->result->reason, sizeof(m->result->reason), "%s", why);
    }
    monitor_decide(m, MONITOR_KILLED, 0);
}

/* A guest that still boots may not hear it yet: it is pressed again, ever more rarely. */
static void press_button(struct monitor *m, uint64_t now_ms)
{
    vm_press_power_button(&ARENA->vm);
    m->press_ms = now_ms + m->press_pause;
    m->press_pause *= 2;
}

/* Press the power button, and be sure of an end. */
static void stop(struct monitor *m, uint64_t seconds)
{
    uint64_t now = monitor_now_ms();
    m->stop_seconds = (unsigned)seconds;
    m->stop_ms = now + seconds * 1000;
    m->press_pause = PRESS_MS;
    monitor_release(m, HOLD_PAUSE);
    press_button(m, now);
    monitor_show_state(m);
}

/* ---- statistics ---- */

/* Ask the tasks for their counters and the launcher for their time. */
static void ask_for_stats(struct monitor *m, ticket_t ticket)
{
    if (m->stats_waiting == ARRAY_LEN(m->stats)) {
        server_refuse(m->cfg.server, ticket, "too many requests for statistics at a time");
        return;
    }
    m->stats[m->stats_waiting++] = ticket;
    if (m->stats_waiting > 1) {
        return;
    }
    m->stats_ms = monitor_now_ms() + STATS_MS;
    m->stats_meter = m->cfg.meter ? cpu_meter_ask(m->cfg.meter) : 0;
    __atomic_fetch_add(&ARENA->counters_asked, 1, __ATOMIC_RELEASE);
    if (!m->holds) {
        vm_note(&ARENA->vm, 0, VM_NOTE_COUNTERS);
    }
}

static bool stats_ready(const struct monitor *m)
{
    bool counted = m->holds || __atomic_load_n(&ARENA->counters_given, __ATOMIC_ACQUIRE) ==
                                   __atomic_load_n(&ARENA->counters_asked, __ATOMIC_RELAXED);
    bool measured = !m->cfg.meter || cpu_meter_answered(m->cfg.meter, m->stats_meter);
    return (counted && measured) || monitor_now_ms() >= m->stats_ms;
}

static void answer_stats(struct monitor *m)
{
    for (unsigned i = 0; i < m->stats_waiting; i++) {
        server_answer(m->cfg.server, m->stats[i], monitor_stats(m));
    }
    m->stats_waiting = 0;
}

/* ---- devices ---- */

static void set_balloon(struct monitor *m, ticket_t ticket, uint64_t memory)
{
    const struct device *dev = devices_find(m->devices, DEVICE_BALLOON);
    uint64_t size = m->cfg.machine.ram_size;
    if (!dev) {
        server_refuse(m->cfg.server, ticket, "the machine has no balloon");
        return;
    }
    device_balloon_target(dev, memory < size ? size - memory : 0);
    server_answer(m->cfg.server, ticket, NULL);
}

static void resize(struct monitor *m, ticket_t ticket, const struct request *r)
{
    const struct device *dev = devices_find(m->devices, DEVICE_CONSOLE);
    if (!dev) {
        server_refuse(m->cfg.server, ticket, "the machine's console has no size");
        return;
    }
    device_console_resize(dev, (uint16_t)r->columns, (uint16_t)r->rows);
    server_answer(m->cfg.server, ticket, NULL);
}

/* ---- requests ---- */

static void pause_machine(struct monitor *m, bool pause)
{
    if (pause) {
        monitor_hold(m, HOLD_PAUSE);
    } else {
        monitor_release(m, HOLD_PAUSE);
    }
    monitor_show_state(m);
}

static void on_request(void *ctx, const struct request *r, ticket_t ticket)
{
    struct monitor *m = ctx;
    struct server *s = m->cfg.server;
    if (m->decided && r->verb != REQUEST_INSPECT && r->verb != REQUEST_KILL) {
        server_refuse(s, ticket, "the machine is ending");
        return;
    }
    switch (r->verb) {
    case REQUEST_INSPECT: server_answer(s, ticket, monitor_inspect(m)); return;
    case REQUEST_STATS: ask_for_stats(m, ticket); return;
    case REQUEST_RESIZE: resize(m, ticket, r); return;
    case REQUEST_BALLOON: set_balloon(m, ticket, r->memory); return;
    case REQUEST_PAUSE: pause_machine(m, true); break;
    case REQUEST_RESUME: pause_machine(m, false); break;
    case REQUEST_STOP: stop(m, r->seconds); break;
    case REQUEST_KILL: end_now(m, "'ring3 kill' ended it"); break;
    default: server_refuse(s, ticket, "not served"); return;
    }
    server_answer(s, ticket, NULL);
}

static size_t on_input(void *ctx, const void *bytes, size_t len)
{
    struct monitor *m = ctx;
    return console_type(&m->console, ARENA, bytes, len);
}

/* ---- the loop's part ---- */

void monitor_serve(struct monitor *m)
{
    static const struct server_ops ops = {.request = on_request, .input = on_input};
    const struct cpu_share *share = m->cfg.share;
    if (m->cfg.server) {
        server_serve(m->cfg.server, &ops, m);
    }
    m->capping = share && share->cap && !share->group.caps && m->cfg.meter && m->cfg.meter->page;
    if (m->capping) {
        cpu_cap_init(&m->cap, share->cap, host_time_ns(), cpu_meter_used(m->cfg.meter));
    }
}

void monitor_serve_no_more(struct monitor *m)
{
    if (m->cfg.server) {
        answer_stats(m);
        server_fini(m->cfg.server);
    }
}

int monitor_control_due(struct monitor *m)
{
    uint64_t now = monitor_now_ms();
    int due = -1;
    if (m->stats_waiting && stats_ready(m)) {
        answer_stats(m);
    } else if (m->stats_waiting) {
        due = (int)(m->stats_ms - now);
    }
    if (!m->stop_ms || m->decided || vm_ended(&ARENA->vm) != VM_RUNNING) {
        return due;
    }
    if (now >= m->stop_ms) {
        char why[96];
        fmt_line(why, sizeof(why), "it did not power off within %u seconds", m->stop_seconds);
        end_now(m, why);
        return 0;
    }
    if (now >= m->press_ms) {
        press_button(m, now);
    }
    int left = (int)(min_u64(m->stop_ms, m->press_ms) - now);
    return due < 0 || left < due ? left : due;
}
