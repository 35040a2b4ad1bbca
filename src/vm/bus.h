/* Port and MMIO buses: who answers at an address.
 *
 * A small sorted table each; ranges never overlap (BUG_ON). Unclaimed reads give all ones,
 * unclaimed writes vanish, as on a PC. An access belongs to the range it starts in; bytes past that
 * range's end go to whoever is there.
 * Threads: added to during set-up only; accesses by the vCPU tasks.
 */
#ifndef VM_BUS_H
#define VM_BUS_H

#include "base/types.h"

#define BUS_RANGES_MAX 64

/** A device's register window. off is relative to the range's start; size is 1, 2, 4 or 8 (ports:
 *  1, 2, 4), never crossing the end of the range. */
struct bus_ops {
    uint64_t (*read)(void *dev, uint64_t off, unsigned size);
    void (*write)(void *dev, uint64_t off, unsigned size, uint64_t value);
    unsigned access_max; /* wider accesses are split into ones of this size; 0: as they come */
};

struct bus_range {
    uint64_t start, len;
    const struct bus_ops *ops;
    void *dev; /* borrowed */
};

struct bus {
    struct bus_range range[BUS_RANGES_MAX];
    unsigned count;
};

/** Claim [start, start+len) for dev. len > 0. Set-up only. */
void bus_add(struct bus *bus, uint64_t start, uint64_t len, const struct bus_ops *ops, void *dev);
/** size is 1, 2, 4 or 8. A read's value is zero-extended; a write's is cut to size. */
uint64_t bus_read(const struct bus *bus, uint64_t addr, unsigned size);
void bus_write(const struct bus *bus, uint64_t addr, unsigned size, uint64_t value);
/** Whether something answers at addr. */
bool bus_claims(const struct bus *bus, uint64_t addr);

#endif
