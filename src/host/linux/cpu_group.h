/* A control group that holds a machine's weight and cap, of version 2 or of version 1 ("cpu").
 *
 * Version 2 (Linux "Control Group v2", admin-guide/cgroup-v2.rst):
 *
 *   PARENT                 hands "cpu" out
 *    └─ ring3.NAME.PID     cpu.weight, cpu.max; hands "cpu" out
 *        └─ vcpus          the processes
 *
 * The second level keeps the first one's files alive. systemd takes a controller back from a group
 * of its own, the top too, when none of its units needs it ("Top-down Constraint": the files vanish
 * and nothing holds any more); the kernel refuses that while a child hands the controller out.
 *
 * PARENT is the topmost ancestor of ours that we may write to, so that machines that were started
 * side by side are weighed against each other; but never one beyond a group with limits of its own,
 * which somebody put around ring3 ("limits": memory, processor time, which processors, disks).
 * Where that leaves only a group that has processes (a container's top, a service with limits), it
 * is made there as a threaded group ("Threads"), which may stand beside processes.
 */
#ifndef HOST_LINUX_CPU_GROUP_H
#define HOST_LINUX_CPU_GROUP_H

#include "base/types.h"

#define CPU_GROUP_PATH 512

struct cpu_group {
    char path[CPU_GROUP_PATH]; /* empty: none */
    int enter_fd;              /* a process that writes 0 there is in it; -1: no group */
    bool caps;                 /* it holds the cap */
    bool threaded;
};

/** Make one, if that can be done and processes of this user can enter it. name: a word for its
 * name. weight: 1..10000. cap: percent of one processor, 0: none. False: g is as if there were
 * none. */
bool cpu_group_make(struct cpu_group *g, const char *name, unsigned weight, unsigned cap);
/** Remove it, after its processes have gone. */
void cpu_group_drop(struct cpu_group *g);

/** Put this process in. 0 or -errno. */
int cpu_group_enter(const struct cpu_group *g) MUST_CHECK;

/** Whether the version 2 group `path` (below the top, beginning with /) has the cpu controller. */
bool cpu_group_has_controller(const char *path);
/** Whether this process is in the version 2 group whose last name is `name`. */
bool cpu_group_is_own(const char *name);

#endif
