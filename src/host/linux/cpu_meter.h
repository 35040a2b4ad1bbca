/* How much processor time a machine's vCPU tasks and their spaces have used.
 *
 * Only a process that may look at others can know: the launcher measures, since the monitor is in
 * its jail, and they share a page. The monitor says which process groups are its tasks' and asks;
 * the launcher answers. A time never goes back.
 *
 * Counted are the task itself, the living processes it forked, and those it has waited for. Both
 * sides check what the other wrote no more than they must: the launcher believes no group that the
 * monitor is not the parent of; the monitor lives with any number.
 */
#ifndef HOST_LINUX_CPU_METER_H
#define HOST_LINUX_CPU_METER_H

#include "vm/vm.h"

#include <sys/types.h>

struct cpu_meter_page {
    int group[VM_MAX_CPUS]; /* 0: none. Written by the monitor */
    uint32_t asked;         /* by the monitor: how many times (release) */
    uint32_t answered;      /* by the launcher: `asked` as it was before measuring (release) */
    uint64_t used_ns;       /* of all groups together; written by the launcher before `answered` */
};

struct cpu_meter {
    struct cpu_meter_page *page;       /* shared; NULL: there is no meter */
    int ask_fd, answer_fd;             /* eventfds */
    struct cpu_meter_members *members; /* the launcher's */
};

/** Before the monitor is forked. 0 or -errno; then m is as if there were none. */
int cpu_meter_open(struct cpu_meter *m) MUST_CHECK;
void cpu_meter_close(struct cpu_meter *m);

/* ---- the monitor's side ---- */

/** Task `index` leads this process group; 0: not any more. */
void cpu_meter_set_group(struct cpu_meter *m, unsigned index, pid_t group);
/** Ask for a measurement. Returns its number; answer_fd becomes readable when it is made. */
uint32_t cpu_meter_ask(struct cpu_meter *m);
/** Whether measurement `number` has been made. */
bool cpu_meter_answered(const struct cpu_meter *m, uint32_t number);
/** The last measurement. */
uint64_t cpu_meter_used(const struct cpu_meter *m);

/* ---- the launcher's side ---- */

/** Measure the tasks of this monitor, and answer whatever was asked. */
void cpu_meter_measure(struct cpu_meter *m, pid_t monitor);

#endif
