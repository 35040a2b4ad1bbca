/* Measuring processor time: see cpu_meter.h.
 *
 * A task's children are listed by the kernel where it was built to (/proc/PID/task/PID/children);
 * elsewhere all of /proc is looked through, no oftener than SCAN_NS. Their clocks are read without
 * opening anything. State: struct cpu_meter_members, the launcher's own.
 */
#include "host/linux/cpu_meter.h"

#include "host/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SCAN_NS 100000000ull
#define MEMBERS_MAX 1024u

struct cpu_meter_members {
    uint64_t scan_ns; /* when /proc was last looked through */
    unsigned count;
    pid_t pid[MEMBERS_MAX];
    int group[VM_MAX_CPUS]; /* those that were checked; 0: none */
    bool no_children_file;
    uint64_t before_ns; /* used by tasks of earlier monitors */
    uint64_t now_ns;    /* by the tasks there are now; never less than it was */
};

int cpu_meter_open(struct cpu_meter *m)
{
    *m = (struct cpu_meter){.ask_fd = -1, .answer_fd = -1};
    m->members = calloc(1, sizeof(*m->members));
    void *page =
        mmap(NULL, sizeof(*m->page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    m->page = page == MAP_FAILED ? NULL : page;
    m->ask_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    m->answer_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!m->members || !m->page || m->ask_fd < 0 || m->answer_fd < 0) {
        int err = -errno;
        cpu_meter_close(m);
        return err;
    }
    return 0;
}

void cpu_meter_close(struct cpu_meter *m)
{
    if (m->page) {
        munmap(m->page, sizeof(*m->page));
    }
    if (m->ask_fd >= 0) {
        close(m->ask_fd);
    }
    if (m->answer_fd >= 0) {
        close(m->answer_fd);
    }
    free(m->members);
    *m = (struct cpu_meter){.ask_fd = -1, .answer_fd = -1};
}

static void ring(int fd)
{
    uint64_t one = 1;
    (void)!write(fd, &one, sizeof(one));
}

/* ---- the monitor's side ---- */

void cpu_meter_set_group(struct cpu_meter *m, unsigned index, pid_t group)
{
    if (m->page && index < VM_MAX_CPUS) {
        __atomic_store_n(&m->page->group[index], group, __ATOMIC_RELAXED);
    }
}

uint32_t cpu_meter_ask(struct cpu_meter *m)
{
    if (!m->page) {
        return 0;
    }
    uint32_t number = __atomic_add_fetch(&m->page->asked, 1, __ATOMIC_RELEASE);
    ring(m->ask_fd);
    return number;
}

bool cpu_meter_answered(const struct cpu_meter *m, uint32_t number)
{
    return !m->page ||
           (int32_t)(__atomic_load_n(&m->page->answered, __ATOMIC_ACQUIRE) - number) >= 0;
}

uint64_t cpu_meter_used(const struct cpu_meter *m)
{
    return m->page ? __atomic_load_n(&m->page->used_ns, __ATOMIC_RELAXED) : 0;
}

/* ---- the launcher's side: one process ---- */

/* What /proc/PID/stat says. */
struct process {
    pid_t parent, group;
    uint64_t waited_ns; /* used by children it has waited for */
};

static bool read_process(pid_t pid, struct process *p)
{
    char path[48], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    const char *rest = strrchr(text, ')'); /* names can hold anything */
    if (!rest || sscanf(rest, ") %*c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %lu %lu",
                        &p->parent, &p->group, &user, &system) != 4) {
        return false;
    }
    p->waited_ns = (user + system) * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
    return true;
}

/* The clock of a whole process, as clock_getcpuclockid would name it. 0: it has gone. */
static uint64_t process_ns(pid_t pid)
{
    struct timespec t = {0};
    clock_gettime((clockid_t)((~(unsigned)pid << 3) | 2), &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- members ---- */

static void add_member(struct cpu_meter_members *s, pid_t pid)
{
    if (s->count < MEMBERS_MAX) {
        s->pid[s->count++] = pid;
    }
}

static bool list_children(struct cpu_meter_members *s, pid_t task)
{
    char path[64];
    int pid;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)task, (int)task);
    FILE *f = fopen(path, "re");
    if (!f) {
        return false;
    }
    while (fscanf(f, "%d", &pid) == 1) {
        add_member(s, pid);
    }
    fclose(f);
    return true;
}

static bool is_group(const struct cpu_meter_members *s, pid_t group)
{
    for (unsigned i = 0; i < VM_MAX_CPUS; i++) {
        if (s->group[i] == group && group) {
            return true;
        }
    }
    return false;
}

/* All processes of the groups but their leaders, by looking at every process. */
static void scan(struct cpu_meter_members *s)
{
    DIR *dir = opendir("/proc");
    struct dirent *d;
    while (dir && (d = readdir(dir))) {
        pid_t pid = atoi(d->d_name);
        pid_t group = pid > 0 ? getpgid(pid) : -1;
        if (group > 0 && group != pid && is_group(s, group)) {
            add_member(s, pid);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

static void find_members(struct cpu_meter_members *s)
{
    uint64_t now = host_time_ns();
    if (s->no_children_file && now - s->scan_ns < SCAN_NS) {
        return;
    }
    s->count = 0;
    for (unsigned i = 0; i < VM_MAX_CPUS && !s->no_children_file; i++) {
        s->no_children_file = s->group[i] && !list_children(s, s->group[i]);
    }
    if (s->no_children_file) {
        s->count = 0;
        s->scan_ns = now;
        scan(s);
    }
}

/* Take over the groups that the monitor names, if they are its children's. */
static void check_groups(struct cpu_meter *m, pid_t monitor)
{
    struct cpu_meter_members *s = m->members;
    for (unsigned i = 0; i < VM_MAX_CPUS; i++) {
        struct process p;
        int group = __atomic_load_n(&m->page->group[i], __ATOMIC_RELAXED);
        if (group == s->group[i]) {
            continue;
        }
        bool good = group > 0 && read_process(group, &p) && p.parent == monitor && p.group == group;
        s->group[i] = good ? group : 0;
        s->scan_ns = 0;
        s->before_ns += s->now_ns;
        s->now_ns = 0;
    }
}

void cpu_meter_measure(struct cpu_meter *m, pid_t monitor)
{
    uint64_t count, used = 0;
    struct cpu_meter_members *s = m->members;
    if (!m->page) {
        return;
    }
    (void)!read(m->ask_fd, &count, sizeof(count));
    uint32_t asked = __atomic_load_n(&m->page->asked, __ATOMIC_ACQUIRE);
    check_groups(m, monitor);
    /* What was waited for first: a child that ends meanwhile is missed once, not counted twice. */
    for (unsigned i = 0; i < VM_MAX_CPUS; i++) {
        struct process p;
        if (s->group[i] && read_process(s->group[i], &p)) {
            used += p.waited_ns + process_ns(s->group[i]);
        }
    }
    find_members(s);
    for (unsigned i = 0; i < s->count; i++) {
        used += process_ns(s->pid[i]);
    }
    s->now_ns = max_u64(s->now_ns, used);
    __atomic_store_n(&m->page->used_ns, s->before_ns + s->now_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&m->page->answered, asked, __ATOMIC_RELEASE);
    ring(m->answer_fd);
}
