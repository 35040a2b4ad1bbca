/* i8254 counters at 0x40..0x43 and the port 0x61 gate: counters only, no interrupt.
 *
 * Enough for code that spins on a counter or calibrates against channel 2 (Linux's decompressor and
 * old TSC calibration) to end with right answers: the counts follow host time at 1,193,182 Hz.
 * Left out: BCD, the read-back command, outputs but for channel 2's. Nothing is wired to IRQ 0: the
 * machine is hardware-reduced ACPI. Intel 8254 data sheet.
 * Threads: vCPU tasks; the guest serialises its own accesses.
 */
#ifndef DEV_PIT_H
#define DEV_PIT_H

#include "base/types.h"
#include "vm/bus.h"

#define PIT_PORT 0x40u
#define PIT_PORTS 4u
#define PIT_GATE_PORT 0x61u
#define PIT_HZ 1193182u

struct pit_channel {
    uint64_t start_ns;     /* host time of the load; the count falls from `reload` since then */
    uint16_t reload;       /* 0 means 65536 */
    uint16_t latch;
    uint8_t latched;       /* bytes of `latch` still to be read */
    uint8_t mode;          /* 0..5 */
    uint8_t access;        /* 1 low byte, 2 high byte, 3 low then high */
    bool high_next_read, high_next_write;
    uint8_t low_written;
};

struct pit {
    struct pit_channel channel[3];
    uint8_t gate; /* port 0x61 bits 1..0: speaker, channel 2 gate */
};

void pit_init(struct pit *p);
extern const struct bus_ops pit_bus_ops;      /* PIT_PORT, PIT_PORTS */
extern const struct bus_ops pit_gate_bus_ops; /* PIT_GATE_PORT, 1 */

#endif
