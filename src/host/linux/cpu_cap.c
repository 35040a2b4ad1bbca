/* The bookkeeping of a cap: see cpu_cap.h. */
#include "host/linux/cpu_cap.h"

#define BURST_NS 50000000ull /* of time, not of credit */
#define DEBT_NS 5000000000ull
#define SLICE_NS 5000000ull

void cpu_cap_init(struct cpu_cap *c, unsigned percent, uint64_t now_ns, uint64_t used_ns)
{
    *c = (struct cpu_cap){.percent = percent, .last_ns = now_ns, .last_used_ns = used_ns};
}

static int64_t earned(const struct cpu_cap *c, uint64_t ns)
{
    return (int64_t)(ns * c->percent / 100);
}

bool cpu_cap_update(struct cpu_cap *c, uint64_t now_ns, uint64_t used_ns)
{
    int64_t most = earned(c, BURST_NS), least = -earned(c, DEBT_NS);
    c->credit_ns += earned(c, now_ns - c->last_ns) - (int64_t)(used_ns - c->last_used_ns);
    c->credit_ns = c->credit_ns > most ? most : c->credit_ns < least ? least : c->credit_ns;
    c->last_ns = now_ns;
    c->last_used_ns = used_ns;
    c->holding = c->credit_ns < (c->holding ? earned(c, SLICE_NS) : 0);
    return c->holding;
}
