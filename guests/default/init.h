/* The parts of the default guest's init.
 *
 * init.c   set-up, what to run, ending the machine
 * pipes.c  a command without a terminal: its streams over the console, by channel.h's protocol
 */
#ifndef GUESTS_DEFAULT_INIT_H
#define GUESTS_DEFAULT_INIT_H

#include "host/linux/channel.h"

#define NORETURN __attribute__((noreturn))

/** Replace this process by argv (searched in PATH); ends with 126 or 127, having said why, if it
 * cannot. */
NORETURN void init_exec(char **argv);
/** A status from wait as shells show it: 0..255. */
int init_shell_status(int wait_status);
NORETURN void init_power_off(void);

/** Run argv with three pipes for its standard streams and carry them over the console (descriptors
 * 0 and 1). Returns the exit status when it has ended and all it wrote has left the serial port. */
int init_run_piped(char **argv);

#endif
