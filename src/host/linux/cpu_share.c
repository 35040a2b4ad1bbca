/* Weights and caps: see cpu_share.h. State: struct cpu_share. */
#include "host/linux/cpu_share.h"

#include "host/linux/host_error.h"
#include "host/linux/user_scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define AUTOGROUP_TRIES 20u /* 10 ms apart: one such change in a tenth of a second on a host */

/* ---- nice values ---- */

/* A nice value weighs 1.25 times as much as the next. */
int cpu_share_nice(unsigned weight)
{
    int nice = 0;
    double w = CPU_SHARE_DEFAULT;
    while (nice < 19 && w > weight * 1.118) { /* half a step, on that scale */
        w /= 1.25;
        nice++;
    }
    while (nice > -20 && w * 1.118 < weight) {
        w *= 1.25;
        nice--;
    }
    return nice;
}

static bool may_be_nice(int nice)
{
    struct rlimit raise = {0};
    getrlimit(RLIMIT_NICE, &raise);
    return nice >= 0 || geteuid() == 0 || (int)raise.rlim_cur >= 20 - nice;
}

/* Processes of one session share one weight in the scheduler, where it groups them so. */
static void set_autogroup(const struct cpu_share *s)
{
    char text[16];
    int fd = s->alone ? open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    int len = snprintf(text, sizeof(text), "%d", s->nice);
    for (unsigned i = 0; i < AUTOGROUP_TRIES; i++) {
        if (write(fd, text, (size_t)len) >= 0 || errno != EAGAIN) {
            break;
        }
        usleep(10000);
    }
    close(fd);
}

/* ---- all together ---- */

void cpu_share_open(struct cpu_share *s, const char *name, unsigned weight, unsigned cap,
                    bool alone)
{
    *s = (struct cpu_share){.weight = weight, .cap = cap, .alone = alone, .group.enter_fd = -1};
    if (!alone && weight == CPU_SHARE_DEFAULT && !cap) {
        return; /* nothing was asked for, and a group costs milliseconds */
    }
    if (cpu_group_make(&s->group, name, weight, cap) ||
        (user_scope_enter(name) && cpu_group_make(&s->group, name, weight, cap))) {
        void *page = mmap(NULL, sizeof(*s->outside), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        s->outside = page == MAP_FAILED ? NULL : page;
        return;
    }
    s->nice = cpu_share_nice(weight);
    if (s->nice) {
        set_autogroup(s);
    }
}

void cpu_share_enter(const void *share)
{
    const struct cpu_share *s = share;
    if (s->group.enter_fd >= 0) {
        int err = cpu_group_enter(&s->group);
        if (err && s->outside) {
            __atomic_store_n(s->outside, -err, __ATOMIC_RELAXED);
        }
    } else if (s->nice) {
        (void)!setpriority(PRIO_PROCESS, 0, s->nice);
    }
}

void cpu_share_close(struct cpu_share *s)
{
    cpu_group_drop(&s->group);
    if (s->outside) {
        munmap(s->outside, sizeof(*s->outside));
        s->outside = NULL;
    }
}

bool cpu_share_falls_short(const struct cpu_share *s, char *why, size_t size)
{
    if (s->group.enter_fd >= 0 || !s->nice) {
        return false;
    }
    const char *had = may_be_nice(s->nice)
                          ? "it holds roughly, by a nice value, among machines of this session"
                          : "it is 100: for more one needs the right to raise priorities";
    const char *remedy =
        user_scope_exists() ? "; 'systemd-run --user --scope ring3 run ...' can make one" : "";
    snprintf(why, size, "--weight %u: no control group can be made here, so %s%s", s->weight, had,
             remedy);
    return true;
}

bool cpu_share_missed(const struct cpu_share *s, char *why, size_t size)
{
    int err = s->outside ? __atomic_load_n(s->outside, __ATOMIC_RELAXED) : 0;
    if (err) {
        snprintf(why, size,
                 "the processors cannot enter their control group (%s): the weight is 100, the cap "
                 "does not hold",
                 host_error(err));
    }
    return err != 0;
}
