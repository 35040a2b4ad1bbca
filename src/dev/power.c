/* Switching off and resetting. See power.h. */
#include "dev/power.h"

#include "vm/vm.h"

#define SLEEP_ENABLE 0x20u
#define SLEEP_TYPE 0x1cu

#define KBD_PULSE 0xf0u /* commands 0xf0..0xff pulse the output lines whose bit is 0 */
#define KBD_RESET_LINE 0x01u
#define CF9_RESET_CPU 0x04u

void power_init(struct power *p, struct vm *vm)
{
    p->vm = vm;
}

/* Sleep control reads back 0 (SLP_TYP is write-only in effect), sleep status 0: never woken. */
static uint64_t acpi_read(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return 0;
}

static void acpi_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct power *p = dev;
    (void)size;
    switch (POWER_PORT + off) {
    case POWER_SLEEP_CONTROL:
        if ((value & (SLEEP_ENABLE | SLEEP_TYPE)) == POWER_SLEEP_S5) {
            vm_end(p->vm, VM_POWEROFF, 0);
        }
        break;
    case POWER_RESET:
        if (value == POWER_RESET_VALUE) {
            vm_end(p->vm, VM_REBOOT, 0);
        }
        break;
    }
}

const struct bus_ops power_bus_ops = {.read = acpi_read, .write = acpi_write, .access_max = 1};

static uint64_t kbd_read(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return 0xff;
}

static void kbd_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct power *p = dev;
    (void)off;
    (void)size;
    if ((value & KBD_PULSE) == KBD_PULSE && !(value & KBD_RESET_LINE)) {
        vm_end(p->vm, VM_REBOOT, 0);
    }
}

const struct bus_ops power_kbd_bus_ops = {.read = kbd_read, .write = kbd_write, .access_max = 1};

static uint64_t cf9_read(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return 0;
}

static void cf9_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct power *p = dev;
    (void)off;
    (void)size;
    if (value & CF9_RESET_CPU) {
        vm_end(p->vm, VM_REBOOT, 0);
    }
}

const struct bus_ops power_cf9_bus_ops = {.read = cf9_read, .write = cf9_write, .access_max = 1};
