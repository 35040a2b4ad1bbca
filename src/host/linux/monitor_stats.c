/* What a machine is, and what it has used, as JSON (docs/control.md). Reads only; of what lies in
 * the arena every byte may be the guest's. */
#include "host/linux/monitor_priv.h"

#include "control/json_text.h"
#include "host/host.h"
#include "host/linux/arena.h"
#include "host/linux/namespaces.h"

#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COUNTER_NAME_MAX 60u
#define COUNTERS_MAX 256u

static void add_number(struct json_object *o, const char *name, uint64_t n)
{
    json_object_object_add(o, name, json_object_new_uint64(n));
}

/* The first word of a text: a kernel's version says much after it. */
static void add_word(struct json_object *o, const char *name, const char *text)
{
    json_object_object_add(o, name, json_object_new_string_len(text, (int)strcspn(text, " ")));
}

static void add_string(struct json_object *o, const char *name, const char *text)
{
    json_object_object_add(o, name, json_text(text));
}

/* ---- the guest's counters ---- */

/* One "name value" of len bytes, where the name may hold spaces. */
static void add_counter(struct json_object *o, const char *line, size_t len)
{
    char name[COUNTER_NAME_MAX + 1];
    uint64_t value = 0;
    size_t at = len, digits = 0;
    while (at && line[at - 1] >= '0' && line[at - 1] <= '9') {
        at--;
    }
    if (at < 2 || at == len || line[at - 1] != ' ' || at - 1 > COUNTER_NAME_MAX) {
        return;
    }
    for (size_t i = 0; i < at - 1; i++) {
        bool plain = line[i] >= ' ' && line[i] <= '~' && line[i] != '"' && line[i] != '\\';
        name[i] = plain ? line[i] : '?';
    }
    name[at - 1] = '\0';
    for (; at < len && digits < 19; at++, digits++) {
        value = value * 10 + (uint64_t)(line[at] - '0');
    }
    add_number(o, name, value);
}

/* The event counters that the task wrote last. */
static struct json_object *counters(void)
{
    const char *const end = ARENA->stat_text + STAT_TEXT_MAX;
    struct json_object *o = json_object_new_object();
    unsigned count = 0;
    for (const char *line = ARENA->stat_text; line < end && *line && count < COUNTERS_MAX;
         count++) {
        char copy[COUNTER_NAME_MAX + 32]; /* the task can write while we read */
        size_t len = 0;
        while (line + len < end && line[len] != '\n' && line[len] && len < sizeof(copy)) {
            copy[len] = line[len];
            len++;
        }
        add_counter(o, copy, len);
        line += len + 1;
    }
    return o;
}

/* ---- devices ---- */

static const char *kind_name(enum device_kind kind)
{
    switch (kind) {
    case DEVICE_CONSOLE: return "console";
    case DEVICE_RNG: return "rng";
    case DEVICE_BALLOON: return "balloon";
    case DEVICE_DISK: return "disk";
    case DEVICE_NET: return "net";
    case DEVICE_SHARE: return "share";
    }
    return "?";
}

static uint64_t read_counter(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED); /* its device's thread writes it */
}

static void add_device_counters(struct json_object *o, const struct device *dev)
{
    const struct virtio_stat *stat = &dev->virtio->stat;
    add_number(o, "in_ops", read_counter(&stat->in_ops));
    add_number(o, "in_bytes", read_counter(&stat->in_bytes));
    /* what the task says to have served itself is its word */
    const struct virtio_regs *r = dev->virtio->regs;
    add_number(o, "out_ops", read_counter(&stat->out_ops) + read_counter(&r->served_ops));
    add_number(o, "out_bytes", read_counter(&stat->out_bytes) + read_counter(&r->served_bytes));
    add_number(o, "errors", read_counter(&stat->errors));
    add_number(o, "kicks", read_counter(&stat->kicks));
    add_number(o, "interrupts", read_counter(&stat->interrupts));
}

static struct json_object *device_list(const struct monitor *m, bool counted)
{
    struct json_object *list = json_object_new_array();
    const struct device *dev;
    for (unsigned i = 0; (dev = devices_get(m->devices, i)); i++) {
        struct json_object *o = json_object_new_object();
        add_string(o, "kind", kind_name(dev->kind));
        add_string(o, "label", dev->label);
        if (counted && dev->virtio) {
            add_device_counters(o, dev);
        }
        json_object_array_add(list, o);
    }
    return list;
}

/* ---- both answers ---- */

static uint64_t own_cpu_ns(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct json_object *memory(const struct monitor *m)
{
    struct json_object *o = json_object_new_object();
    const struct device *balloon = devices_find(m->devices, DEVICE_BALLOON);
    struct stat st = {0};
    (void)!fstat(arena_ram()->fd, &st);
    add_number(o, "size", m->cfg.machine.ram_size);
    add_number(o, "used", (uint64_t)st.st_blocks * 512);
    if (balloon) {
        add_number(o, "balloon", device_balloon_actual(balloon));
    }
    return o;
}

struct json_object *monitor_stats(const struct monitor *m)
{
    struct json_object *o = json_object_new_object(), *cpu = json_object_new_object();
    add_number(o, "time_ns", host_time_ns());
    add_number(o, "uptime_ns", host_time_ns() - m->start_ns);
    add_number(cpu, "guest", m->cfg.meter ? cpu_meter_used(m->cfg.meter) : 0);
    add_number(cpu, "monitor", own_cpu_ns());
    json_object_object_add(o, "cpu_ns", cpu);
    json_object_object_add(o, "memory", memory(m));
    json_object_object_add(o, "devices", device_list(m, true));
    json_object_object_add(o, "exits", counters());
    return o;
}

static const char *console_name(enum console_mode mode)
{
    return mode == CONSOLE_PLAIN ? "plain" : mode == CONSOLE_COMMAND ? "command" : "pipes";
}

struct json_object *monitor_inspect(const struct monitor *m)
{
    struct json_object *o = json_object_new_object(), *tasks = json_object_new_array();
    for (unsigned i = 0; i < m->cfg.machine.cpus; i++) {
        json_object_array_add(tasks, json_object_new_int(m->task[i]));
    }
    char namespaces[64];
    namespaces_describe(m->namespaces, namespaces, sizeof(namespaces));
    add_string(o, "engine", m->cfg.machine.engine->name);
    if (m->facts.kernel.kind == KERNEL_BZIMAGE) {
        add_word(o, "kernel_version", m->facts.kernel.version);
    }
    add_string(o, "console", console_name(m->cfg.console));
    add_number(o, "watchers", server_watchers(m->cfg.server));
    add_number(o, "uptime_ns", host_time_ns() - m->start_ns);
    add_number(o, "monitor", (uint64_t)getpid());
    json_object_object_add(o, "tasks", tasks);
    add_string(o, "namespaces", namespaces);
    json_object_object_add(o, "memory", memory(m));
    json_object_object_add(o, "devices", device_list(m, false));
    return o;
}
