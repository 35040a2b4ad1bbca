/* What is left to the helper that talks to the network. */
#ifndef NBD_HELPER_JAIL_H
#define NBD_HELPER_JAIL_H

/** From now on this process gains no privileges, starts no process, executes nothing, writes to no
 * file, and looks into no other process. It keeps sockets, and reading files: coming back needs
 * names, keys and certificates. 0 or -errno. */
int jail_helper(void);

#endif
