/* Where a space's thread runs, relative to the vCPU task.
 *
 * While a CPU is idle and the guest keeps coming back soon, the space runs on another CPU and both
 * sides spin. Else both stay on one CPU, where a switch is cheap, and yield or sleep: waking a
 * sleeper on an idle CPU costs ten times a switch. "Soon" is a number of short runs in a row;
 * "idle" is read from the host's load now and then.
 *
 * State: the handoff part of struct space_host, and of struct space. Runs in the vCPU task.
 */
#include "host/linux/space_priv.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define STREAK_MIN 12 /* short runs in a row before the space moves to another CPU */
#define LOAD_EVERY_US 5000
#define PIN_US 20000 /* the task stays on its CPU for so long, */
#define FREE_US 200  /* then goes anywhere for so long */
#define CALIBRATE_NS 200000

static uint64_t now_ns(void)
{
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t); /* the task may have no vDSO */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

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

/** The CPU's number as Linux keeps it in a segment limit; the task may have neither vDSO nor
 * restartable sequences. */
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
    s->ctl->spin = place == PLACE_OTHER ? SPACE_SPIN_US * h->pauses_per_us : 0;
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

/** Where the task sleeps for a space on its own CPU while another is idle, it would wake up on the
 * idle one, which is dear: pin it, but let it go where it likes now and then. */
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

void space_place(struct space *s)
{
    struct space_host *h = s->host;
    if (h->cpu_count < 2) {
        s->ctl->yields = SPACE_YIELDS;
        return;
    }
    uint64_t tsc = __rdtsc();
    look_at_load(h, s->place, tsc);
    if (__atomic_load_n(&s->sh->sleeps, __ATOMIC_RELAXED)) {
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
    h->cpu_count =
        sched_getaffinity(0, sizeof(h->cpus), &h->cpus) < 0 ? 1 : (unsigned)CPU_COUNT(&h->cpus);
    uint64_t ns = now_ns(), tsc = __rdtsc();
    uint64_t pauses = 0, end = ns;
    while (end - ns < CALIBRATE_NS) {
        for (unsigned i = 0; i < 100; i++) {
            _mm_pause();
        }
        pauses += 100;
        end = now_ns();
    }
    h->tsc_per_us = max_u64(1, (__rdtsc() - tsc) * 1000 / (end - ns));
    h->pauses_per_us = (uint32_t)max_u64(1, pauses * 1000 / (end - ns));
}
