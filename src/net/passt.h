/* The process behind --net user: Debian's passt. Between passt.c (frames) and passt_start.c
 * (process).
 */
#ifndef NET_PASST_H
#define NET_PASST_H

#include "net/net.h"

#include <sys/types.h>

struct passt_process {
    pid_t pid;
    int pidfd;    /* -1: the host has none */
    int fd;       /* frames: each a 4-byte big-endian length, then that many bytes */
    int messages; /* what it says on standard error; never blocks it, nobody has to read */
};

/** Start passt for c and wait until it answers. 0, or -1 with *err and nothing left. */
int passt_start(const struct net_config *c, const uint8_t mac[6], struct passt_process *out,
                struct net_error *err) MUST_CHECK;
/** Close its connection, upon which it ends, and see that it did. */
void passt_stop(struct passt_process *p);

/** Whether the host's ports of f are free for us: 0, or -1 with *err. Waits a little for one that
 * is busy: a machine that was just here may be about to leave it. */
int passt_check_ports(const struct net_forward *f, struct net_error *err) MUST_CHECK;

/* What the guest sees, the same everywhere. */
#define PASST_GUEST "10.0.2.15"
#define PASST_HOST "10.0.2.2" /* gateway; the host itself too */
#define PASST_NETMASK "255.255.255.0"
#define PASST_HOST_MAC "52:33:00:00:00:02"
#define PASST_MTU 65520u

#endif
