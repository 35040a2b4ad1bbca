/* The parts of the default guest's init.
 *
 * init.c      set-up, what to run
 * modules.c   kernel modules for the devices that are there
 * network.c   network cards up, with an address
 * shares.c    directories of the host's
 * power.c     ending the machine
 * pipes.c     a command without a terminal: its streams over the console, by channel.h's protocol
 */
#ifndef GUESTS_DEFAULT_INIT_H
#define GUESTS_DEFAULT_INIT_H

#include "host/linux/channel.h"

#include <stdbool.h>
#include <stddef.h>

#define NORETURN __attribute__((noreturn))

/** Replace this process by argv (searched in PATH); ends with 126 or 127, having said why, if it
 * cannot. */
NORETURN void init_exec(char **argv);
/** The signal handling that a program expects to start with. */
void init_plain_signals(void);
/** A status from wait as shells show it: 0..255. */
int init_shell_status(int wait_status);
/** A file's contents, ended by a NUL, to be freed; NULL if it cannot be read. len may be NULL. */
char *init_read_file(const char *path, size_t *len);

/** Load a module and what it needs, if this kernel's folder has it. */
void modules_load(const char *name);
/** Load the modules for all devices in a folder of sysfs, by the modalias of each. */
void modules_for_bus(const char *devices);
/** Say so when there are disks, network cards or directories, but no drivers in this kernel. */
void modules_check(void);

void network_up(const char *interface);
/** Bring the cards up, each as CHANNEL_NET says (kinds: its strings, may be NULL); does not wait.
 */
void network_start(char *const *kinds);
/** Wait until each card has an address, but for those on a tap: at most ms for all of them, then
 * say so. */
void network_wait(char *const *kinds, unsigned ms);

/** Mount CHANNEL_SHARES (words: its strings, may be NULL). False: not all could be; it was said. */
bool shares_mount(char *const *words);

/** The first process: react to busybox's poweroff, halt and reboot. */
void power_listen(void);
/** Start the process that turns a press of the power button into a poweroff. */
void power_watch_button(void);
/** Leave the disks clean: sync; when some are mounted, end all other processes and unmount. */
void power_settle(void);
/** power_settle, then power off. */
NORETURN void power_off(void);
/** Another process asks for "poweroff", "halt" or "reboot": the first one, or the kernel at once.
 *  0 or -1 with errno. */
int power_ask(const char *name, bool at_once);

/** Run argv with three pipes for its standard streams and carry them over the console (descriptors
 * 0 and 1). Returns the exit status when it has ended and all it wrote has left the serial port. */
int init_run_piped(char **argv);

#endif
