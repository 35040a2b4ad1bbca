/* Keeping a machine's use of processors within a percentage, where the host has no means of its
 * own: when to stop it and when to let it go on.
 *
 * A pure calculation. Time earns credit at the rate of the cap, use spends it; a machine in debt is
 * stopped until it has earned a slice again. Credit is kept for BURST_NS at most, so that a machine
 * that was idle cannot take much more than its share afterwards, and debt for DEBT_NS, so that one
 * late measurement cannot stop it for long.
 */
#ifndef HOST_LINUX_CPU_CAP_H
#define HOST_LINUX_CPU_CAP_H

#include "base/types.h"

struct cpu_cap {
    unsigned percent; /* of one processor */
    uint64_t last_ns, last_used_ns;
    int64_t credit_ns;
    bool holding;
};

void cpu_cap_init(struct cpu_cap *c, unsigned percent, uint64_t now_ns, uint64_t used_ns);
/** Until now the machine has used so much processor time. Returns whether it is to be stopped. */
bool cpu_cap_update(struct cpu_cap *c, uint64_t now_ns, uint64_t used_ns);

#endif
