/* Debug exit and debug console. See debugport.h. */
#include "dev/debugport.h"

#include "host/host.h"
#include "vm/vm.h"

static uint64_t exit_read(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return ~0ull;
}

static void exit_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    (void)size;
    if (off == 0) {
        vm_end(dev, VM_EXIT_CODE, (int)(uint32_t)value);
    }
}

const struct bus_ops debugport_exit_bus_ops = {.read = exit_read, .write = exit_write};

static uint64_t console_read(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return DEBUGPORT_CONSOLE;
}

static void console_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    uint8_t byte = (uint8_t)value;
    (void)off;
    (void)size;
    host_console_write(dev, &byte, 1);
}

const struct bus_ops debugport_console_bus_ops = {
    .read = console_read,
    .write = console_write,
    .access_max = 1,
};
