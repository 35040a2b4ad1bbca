/* A machine's share of the host's processors: its weight among others, and its cap.
 *
 * Where a control group can be made the kernel holds both, and weights are exact among machines
 * whose groups stand side by side (cpu_group.h): all of root's, all that are in a user's own part
 * of systemd's groups (user_scope.h). Where not, the weight becomes a nice value, which is
 * approximate, counts only among the processes of a session and, for an ordinary user, can only
 * make less than the default; and the cap is the monitor's business (cpu_cap.h).
 *
 * Only the vCPU tasks and their spaces are in the group. The monitor, which serves the devices, is
 * not: it answers also when its machine is held back.
 * Made and dropped by the launcher; tasks enter.
 */
#ifndef HOST_LINUX_CPU_SHARE_H
#define HOST_LINUX_CPU_SHARE_H

#include "host/linux/cpu_group.h"

#define CPU_SHARE_DEFAULT 100u

struct cpu_share {
    unsigned weight; /* 1..10000, CPU_SHARE_DEFAULT */
    unsigned cap;    /* percent of one processor; 0: none */
    bool alone;      /* the session is the machine's own: it may have an autogroup */
    int nice;        /* without a group */
    struct cpu_group group;
    int *
        outside; /* shared by all processes: why a task is not in the group, an errno; 0: all are */
};

/** Make what can be made. name: a word for the group's name. alone: this process leads a session
 * that holds nothing but the machine. May move this process to another control group. Never fails;
 * cpu_share_falls_short says what was had. */
void cpu_share_open(struct cpu_share *s, const char *name, unsigned weight, unsigned cap,
                    bool alone);
/** In a vCPU task, before it has done anything. */
void cpu_share_enter(const void *share);
/** After the tasks have gone: remove the group. */
void cpu_share_close(struct cpu_share *s);
/** Whether the weight is less exact, or another, than was asked for; then a line that says why, and
 * what helps. */
bool cpu_share_falls_short(const struct cpu_share *s, char *why, size_t size);
/** Whether a task that has started could not enter the group; then a line that says so. */
bool cpu_share_missed(const struct cpu_share *s, char *why, size_t size);

/** The nice value that comes closest to a weight, -20..19. */
int cpu_share_nice(unsigned weight);

#endif
