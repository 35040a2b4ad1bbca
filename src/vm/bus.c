/* Port and MMIO buses. See bus.h for state and threads. */
#include "vm/bus.h"

#include "base/log.h"

/* Index of the first range that ends after addr; count if there is none. */
static unsigned first_after(const struct bus *bus, uint64_t addr)
{
    unsigned lo = 0, hi = bus->count;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (addr - bus->range[mid].start < bus->range[mid].len || addr < bus->range[mid].start) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

static const struct bus_range *find(const struct bus *bus, uint64_t addr)
{
    unsigned i = first_after(bus, addr);
    if (i == bus->count || addr < bus->range[i].start) {
        return NULL;
    }
    return &bus->range[i];
}

void bus_add(struct bus *bus, uint64_t start, uint64_t len, const struct bus_ops *ops, void *dev)
{
    BUG_ON(len == 0 || start + (len - 1) < start);
    BUG_ON(bus->count == BUS_RANGES_MAX);
    unsigned at = first_after(bus, start);
    BUG_ON(at < bus->count && bus->range[at].start <= start + (len - 1));
    for (unsigned i = bus->count; i > at; i--) {
        bus->range[i] = bus->range[i - 1];
    }
    bus->range[at] = (struct bus_range){.start = start, .len = len, .ops = ops, .dev = dev};
    bus->count++;
}

/* Whether r takes an access of this size at this offset in one piece. */
static bool takes_whole(const struct bus_range *r, uint64_t off, unsigned size)
{
    return size <= r->len - off && (r->ops->access_max == 0 || size <= r->ops->access_max);
}

static uint64_t ones(unsigned size)
{
    return size == 8 ? ~0ull : (1ull << (size * 8)) - 1;
}

uint64_t bus_read(const struct bus *bus, uint64_t addr, unsigned size)
{
    const struct bus_range *r = find(bus, addr);
    if (r == NULL) {
        return ones(size);
    }
    uint64_t off = addr - r->start;
    if (takes_whole(r, off, size)) {
        return r->ops->read(r->dev, off, size) & ones(size);
    }
    unsigned half = size / 2;
    uint64_t low = bus_read(bus, addr, half);
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): half is 4 at most */
    return low | bus_read(bus, addr + half, half) << (half * 8);
}

void bus_write(const struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
    const struct bus_range *r = find(bus, addr);
    if (r == NULL) {
        return;
    }
    uint64_t off = addr - r->start;
    if (takes_whole(r, off, size)) {
        r->ops->write(r->dev, off, size, value & ones(size));
        return;
    }
    unsigned half = size / 2;
    bus_write(bus, addr, half, value);
    bus_write(bus, addr + half, half, value >> (half * 8));
}

bool bus_claims(const struct bus *bus, uint64_t addr)
{
    return find(bus, addr) != NULL;
}
