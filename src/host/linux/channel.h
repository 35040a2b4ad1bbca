/* What the default guest's init and ring3 say to each other over the serial console.
 *
 * The line carries bytes; CHANNEL_ESC makes the next byte a mark.
 *
 * Whenever the guest was started with a command (`ring3 run -- CMD`):
 *   guest to host   ESC 'x' TOKEN HH \n   the command has ended, exit status HH (two hex digits)
 *
 * The token is CHANNEL_TOKEN_LEN random characters that only this machine was given: nothing that a
 * program happens to print ends the machine.
 *
 * Besides, when standard input or output is not a terminal:
 *   guest to host   ESC ESC   one byte 0x10
 *                   ESC '1'   what follows is the command's standard output ...
 *                   ESC '2'   ... its standard error ...
 *                   ESC '0'   ... or not the command's: the kernel's messages
 *                   ESC 'w'   room for CHANNEL_WINDOW more bytes of standard input
 *   host to guest   ESC ESC   one byte 0x10
 *                   ESC 'e'   end of standard input
 * Kernel messages come between the marks as they are, and go to standard error; so the command's
 * output is exact. The host sends no byte that it was not given room for (escapes are not counted),
 * so the guest's terminal layer never overflows.
 *
 * Before the machine starts, the host appends to the initramfs: CHANNEL_ARGV, the command and its
 * arguments, each ended by a NUL (absent: an interactive shell); CHANNEL_ENV, environment variables
 * likewise; CHANNEL_TOKEN, the token; CHANNEL_PIPES, an empty file that asks for the second list
 * above; CHANNEL_SHARES, three strings for each directory of the host's: the tag of its virtio-fs
 * device, the absolute path to mount it at, and "ro" or "rw" (absent: no directories); CHANNEL_NET,
 * one string for each network card in the order of their PCI slots, CHANNEL_NET_USER,
 * CHANNEL_NET_TAP or CHANNEL_NET_SWITCH (absent: all are CHANNEL_NET_USER).
 *
 * Included by the program inside the guest as well: no other headers.
 */
#ifndef HOST_LINUX_CHANNEL_H
#define HOST_LINUX_CHANNEL_H

#define CHANNEL_ESC 0x10
#define CHANNEL_STDOUT '1'
#define CHANNEL_STDERR '2'
#define CHANNEL_KERNEL '0'
#define CHANNEL_ROOM 'w'
#define CHANNEL_EOF 'e'
#define CHANNEL_EXIT 'x'

#define CHANNEL_WINDOW 1024
#define CHANNEL_TOKEN_LEN 16

#define CHANNEL_DIR "ring3"
#define CHANNEL_ARGV "ring3/argv"
#define CHANNEL_ENV "ring3/env"
#define CHANNEL_TOKEN "ring3/token"
#define CHANNEL_PIPES "ring3/pipes"
#define CHANNEL_SHARES "ring3/shares"
#define CHANNEL_NET "ring3/net"

#define CHANNEL_NET_USER "user"     /* DHCP, and a command waits for its answer */
#define CHANNEL_NET_TAP "tap"       /* DHCP, and nobody waits */
#define CHANNEL_NET_SWITCH "switch" /* no DHCP: an IPv4 link-local address made from the MAC */

#endif
