/* Two ports for test guests and the default guest's init.
 *
 * 0xf4: a 1, 2 or 4 byte write of N ends the machine with exit status N (VM_EXIT_CODE); reads all
 * ones. 0xe9: a byte written goes to the console; reading gives 0xe9, by which guests know the port
 * is there. No state; the device pointer is the machine.
 * Threads: vCPU tasks.
 */
#ifndef DEV_DEBUGPORT_H
#define DEV_DEBUGPORT_H

#include "vm/bus.h"

#define DEBUGPORT_EXIT 0xf4u
#define DEBUGPORT_EXIT_PORTS 4u
#define DEBUGPORT_CONSOLE 0xe9u

extern const struct bus_ops debugport_exit_bus_ops;    /* dev: struct vm */
extern const struct bus_ops debugport_console_bus_ops; /* dev: struct vm */

#endif
