/* I/O APIC. See ioapic.h for state and threads; 82093AA data sheet §3 for the registers. */
#include "irq/ioapic.h"

#include "irq/lapic.h"
#include "vm/vm.h"

/* Register window */
#define IOREGSEL 0x00u
#define IOWIN 0x10u

/* Indirect registers */
#define REG_ID 0x00u
#define REG_VERSION 0x01u
#define REG_ARBITRATION 0x02u
#define REG_REDIR 0x10u

#define VERSION (0x11u | (IOAPIC_PINS - 1) << 16)
#define ID_MASK 0x0f000000u

/* Redirection entry */
#define REDIR_REMOTE_IRR (1ull << 14)
#define REDIR_LEVEL (1ull << 15)
#define REDIR_MASKED (1ull << 16)
#define REDIR_READ_ONLY (1ull << 12 | REDIR_REMOTE_IRR)
#define REDIR_WRITABLE (0xff00000000000000ull | (0x1ffffull & ~REDIR_READ_ONLY))

static void send(struct ioapic *io, uint64_t redir)
{
    uint32_t dest = (uint32_t)(redir >> 56);
    struct irq_msg msg = {
        .dest = dest == 0xff ? 0xffffffffu : dest,
        .logical = bit(redir, 11),
        .level = redir & REDIR_LEVEL,
        .mode = (uint8_t)bits(redir, 8, 3),
        .vector = (uint8_t)redir,
    };
    irq_deliver(io->vm, &msg);
}

/* Entry *old := redir, unless it has changed; then false, and *old is what it is now. */
static bool replace_redir(struct ioapic *io, unsigned pin, uint64_t *old, uint64_t redir)
{
    return __atomic_compare_exchange_n(&io->redir[pin], old, redir, true, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* Send a level pin's interrupt if it is raised, unmasked and not already in service. Whoever sets
 * the remote IRR sends. */
static void service_level(struct ioapic *io, unsigned pin)
{
    uint64_t redir = __atomic_load_n(&io->redir[pin], __ATOMIC_SEQ_CST);
    do {
        if (!bit(__atomic_load_n(&io->level, __ATOMIC_SEQ_CST), pin) || !(redir & REDIR_LEVEL) ||
            (redir & (REDIR_MASKED | REDIR_REMOTE_IRR))) {
            return;
        }
    } while (!replace_redir(io, pin, &redir, redir | REDIR_REMOTE_IRR));
    send(io, redir);
}

void ioapic_init(struct ioapic *io, struct vm *vm)
{
    *io = (struct ioapic){.vm = vm};
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        io->redir[pin] = REDIR_MASKED;
    }
}

void ioapic_raise(struct ioapic *io, unsigned pin)
{
    if (pin >= IOAPIC_PINS) {
        return;
    }
    uint32_t before = __atomic_fetch_or(&io->level, 1u << pin, __ATOMIC_SEQ_CST);
    uint64_t redir = __atomic_load_n(&io->redir[pin], __ATOMIC_SEQ_CST);
    if (redir & REDIR_LEVEL) {
        service_level(io, pin);
    } else if (!bit(before, pin) && !(redir & REDIR_MASKED)) {
        send(io, redir);
    }
}

void ioapic_lower(struct ioapic *io, unsigned pin)
{
    if (pin < IOAPIC_PINS) {
        __atomic_fetch_and(&io->level, ~(1u << pin), __ATOMIC_SEQ_CST);
    }
}

void ioapic_eoi(struct ioapic *io, uint8_t vec)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t redir = __atomic_load_n(&io->redir[pin], __ATOMIC_SEQ_CST);
        if ((uint8_t)redir == vec && (redir & REDIR_LEVEL) && (redir & REDIR_REMOTE_IRR)) {
            __atomic_fetch_and(&io->redir[pin], ~REDIR_REMOTE_IRR, __ATOMIC_SEQ_CST);
            service_level(io, pin);
        }
    }
}

/* Replace the half of a table entry at bit `shift`. Turning a pin to edge ends its service: that is
 * how kernels clear a stuck remote IRR of an I/O APIC without an EOI register. */
static void redir_write(struct ioapic *io, unsigned pin, unsigned shift, uint32_t value)
{
    uint64_t half = 0xffffffffull << shift & REDIR_WRITABLE;
    uint64_t old = __atomic_load_n(&io->redir[pin], __ATOMIC_SEQ_CST);
    uint64_t redir;
    do {
        redir = (old & ~half) | ((uint64_t)value << shift & half);
        if (!(redir & REDIR_LEVEL)) {
            redir &= ~REDIR_REMOTE_IRR;
        }
    } while (!replace_redir(io, pin, &old, redir));
    service_level(io, pin);
}

static uint32_t window_read(const struct ioapic *io)
{
    uint32_t select = __atomic_load_n(&io->select, __ATOMIC_RELAXED);
    switch (select) {
    case REG_ID:
    case REG_ARBITRATION:
        return io->id;
    case REG_VERSION:
        return VERSION;
    }
    if (select < REG_REDIR || select >= REG_REDIR + 2 * IOAPIC_PINS) {
        return 0;
    }
    unsigned pin = (select - REG_REDIR) / 2;
    uint64_t redir = __atomic_load_n(&io->redir[pin], __ATOMIC_SEQ_CST);
    return (uint32_t)(redir >> (select & 1 ? 32 : 0));
}

static void window_write(struct ioapic *io, uint32_t value)
{
    uint32_t select = __atomic_load_n(&io->select, __ATOMIC_RELAXED);
    if (select == REG_ID) {
        io->id = value & ID_MASK;
    } else if (select >= REG_REDIR && select < REG_REDIR + 2 * IOAPIC_PINS) {
        redir_write(io, (select - REG_REDIR) / 2, select & 1 ? 32 : 0, value);
    }
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned size)
{
    const struct ioapic *io = dev;
    (void)size;
    if (off == IOREGSEL) {
        return __atomic_load_n(&io->select, __ATOMIC_RELAXED);
    }
    return off == IOWIN ? window_read(io) : 0;
}

/* The window is written with aligned 32-bit accesses only (82093AA §3.1); narrower ones are
 * dropped. */
static void mmio_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct ioapic *io = dev;
    if (off == IOREGSEL) {
        __atomic_store_n(&io->select, (uint8_t)value, __ATOMIC_RELAXED);
    } else if (off == IOWIN && size == 4) {
        window_write(io, (uint32_t)value);
    }
}

const struct bus_ops ioapic_bus_ops = {.read = mmio_read, .write = mmio_write, .access_max = 4};
