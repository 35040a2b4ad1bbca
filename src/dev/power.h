/* Switching the machine off and resetting it.
 *
 * ACPI's sleep and reset registers at ports of their own (ACPI 6.4 "Sleep Control and Status
 * Registers" §4.8.3.7, "Reset Register" §4.8.3.6), and the two older ways kernels fall back to: the
 * keyboard controller's pulse command (port 0x64) and the chipset's reset control register (port
 * 0xcf9). There is no keyboard controller: 0x64 reads all ones. 0xcf9 answers byte accesses only; a
 * wider access to 0xcf8 is PCI configuration and does not start in this range. No state but the
 * machine.
 * Threads: vCPU tasks.
 */
#ifndef DEV_POWER_H
#define DEV_POWER_H

#include "base/types.h"
#include "vm/bus.h"

/* Named to the guest by the ACPI tables. */
#define POWER_PORT 0x600u
#define POWER_PORTS 3u
#define POWER_SLEEP_CONTROL 0x600u
#define POWER_SLEEP_STATUS 0x601u
#define POWER_RESET 0x602u
#define POWER_SLEEP_S5 0x34u  /* SLP_EN (bit 5) | SLP_TYP 5 << 2, as the DSDT's _S5 says */
#define POWER_RESET_VALUE 0x01u

#define POWER_KBD_PORT 0x64u
#define POWER_CF9_PORT 0xcf9u

struct vm;

struct power {
    struct vm *vm; /* borrowed */
};

void power_init(struct power *p, struct vm *vm);
extern const struct bus_ops power_bus_ops;     /* POWER_PORT, POWER_PORTS */
extern const struct bus_ops power_kbd_bus_ops; /* POWER_KBD_PORT, 1 */
extern const struct bus_ops power_cf9_bus_ops; /* POWER_CF9_PORT, 1 */

#endif
