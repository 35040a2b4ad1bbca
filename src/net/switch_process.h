/* The process of a switch, and how to reach it.
 *
 * A switch belongs to a user, not to a machine: the first machine that names it starts it, and it
 * ends by itself SWITCH_LINGER_S after its last port was unplugged. Its socket is .switches/NAME in
 * the runtime directory (host/linux/runtime_dir.h). Whoever looks for a switch, starts or removes
 * one holds a lock on .switches.
 */
#ifndef NET_SWITCH_PROCESS_H
#define NET_SWITCH_PROCESS_H

#include "net/net.h"
#include "net/switch_proto.h"

#define SWITCH_LINGER_S 3u
#define SWITCH_TITLE_MAX sizeof(((struct net_config *)NULL)->name)
/* What a switch finds open when it starts. */
#define SWITCH_LISTEN_FD 3
#define SWITCH_DIR_FD 4

/** The directory, made if `make` says so: a file descriptor; -1 with *err (also when it is not
 * there). Nobody else may enter it. */
int switch_dir_open(bool make, struct net_error *err) MUST_CHECK;
/** Lock it: 0 or -errno (-ETIMEDOUT). Unlocked when it is closed. */
int switch_dir_lock(int dir) MUST_CHECK;
/** Connect to the switch of that name: a socket, or -errno; -ENOENT, -ECONNREFUSED: there is none.
 */
int switch_dir_connect(int dir, const char *name) MUST_CHECK;
/** A listening socket of that name; one that was there must be dead, and goes. A socket or -errno.
 */
int switch_dir_listen(int dir, const char *name) MUST_CHECK;
/** The names of all switches that there are, or were when somebody last cleaned up: at most max,
 * sorted. How many. */
unsigned switch_dir_names(int dir, char (*names)[SWITCH_TITLE_MAX], unsigned max);
/** Remove the socket of that name if no switch answers there any more. */
void switch_dir_clean(int dir, const char *name);

/** A connection to the switch, which is started if need be. A socket, -1 with *err. */
int switch_connect(const char *name, struct net_error *err) MUST_CHECK;
/** The same, hello said and welcomed: a port of the switch for the card mac of the machine vm_name.
 * A socket, -1 with *err. */
int switch_join(const char *name, const uint8_t mac[6], const char *vm_name,
                struct net_error *err) MUST_CHECK;
/** What `PROGRAM switch --serve NAME` does, the program being whatever called switch_connect: its
 * descriptors are SWITCH_*_FD. Returns the exit status, in the process that was started and in
 * those it forks. */
int switch_serve(const char *name);
/** Serve until there is no port any more. Jails this process. */
void switch_loop(int listening);

/* ---- plugging in again: switch_plug.c ----
 *
 * A switch may be killed; its machines then join the next one of that name. A running machine's
 * monitor is jailed and makes no connections, so each of its ports has a helper, started before the
 * jail: `PROGRAM switch --plug NAME MAC VM`, the monitor's user, a process image of its own with
 * one socket, on which it sleeps. Over that socket (SOCK_SEQPACKET):
 *
 *   monitor ──> helper   SWITCH_PLUG_MESSAGE: the connection is lost. No data of anybody's.
 *   helper ──> monitor   SWITCH_PLUG_MESSAGE, and with it the descriptor of a connection that is
 *                        what switch_join gives.
 *
 * The helper tries until that works, with pauses from SWITCH_PAUSE_MS, doubled each time, to
 * SWITCH_PAUSE_MAX_MS; a request begins with a pause. It starts the switch where there is none. It
 * ends when the monitor's end of the socket is closed. */

#define SWITCH_PLUG_MESSAGE 0x50533352u /* "R3SP", 4 bytes */
#define SWITCH_PLUG_FD 3                /* what the helper finds open */
#define SWITCH_PAUSE_MS 100
#define SWITCH_PAUSE_MAX_MS 3200

struct switch_plug {
    int pid, pidfd; /* pidfd -1: the host has none */
    int fd;         /* readable when there is something to take, or when the helper has gone */
};

/** Start the helper. 0 or -errno. Before any jail. */
int switch_plug_start(struct switch_plug *p, const char *name, const uint8_t mac[6],
                      const char *vm_name) MUST_CHECK;
void switch_plug_stop(struct switch_plug *p);
/** Ask for a connection. Never blocks. */
void switch_plug_ask(const struct switch_plug *p);
/** The connection that was asked for; -EAGAIN: not yet; -EPIPE: never, the helper has gone. */
int switch_plug_take(const struct switch_plug *p);
/** What `PROGRAM switch --plug NAME MAC VM` does. Returns the exit status. */
int switch_plug_serve(const char *name, const char *mac, const char *vm_name);

/** Ask a switch that runs for its ports. 0, or -1 with *err. */
int switch_ask(const char *name, struct switch_report *out, struct net_error *err) MUST_CHECK;

#endif
