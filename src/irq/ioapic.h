/* I/O APIC, 24 pins, at IOAPIC_BASE (82093AA data sheet; SDM 3 §11.x for the messages it sends).
 * State: the redirection table and pin levels. Level-triggered pins are re-sent on EOI while still
 * raised.
 * Threads: lines are raised and lowered from any task, without a lock: `level` and the table
 * entries change by atomic operations, and of two racing changes the later one sees the earlier
 * (sequentially consistent), so no level is forgotten. The register window (select, then data) is
 * serialised by the guest, as on a PC.
 */
#ifndef IRQ_IOAPIC_H
#define IRQ_IOAPIC_H

#include "base/types.h"
#include "vm/bus.h"

#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_SIZE 0x1000ull
#define IOAPIC_PINS 24u

struct vm;

struct ioapic {
    struct vm *vm;
    uint32_t select;
    uint32_t id;
    uint64_t redir[IOAPIC_PINS];
    uint32_t level;   /* pin levels, a bit each */
};

void ioapic_init(struct ioapic *io, struct vm *vm);
extern const struct bus_ops ioapic_bus_ops;

/** Raise or lower an interrupt line. Edge pins send on the rising edge, level pins while raised and
 *  not in service. */
void ioapic_raise(struct ioapic *io, unsigned pin);
void ioapic_lower(struct ioapic *io, unsigned pin);
/** A local APIC finished a level-triggered vector. */
void ioapic_eoi(struct ioapic *io, uint8_t vec);

#endif
