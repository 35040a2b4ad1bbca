/* The process behind --net user: Debian's passt. Between passt.c (frames) and passt_start.c
 * (process).
 */
#ifndef NET_PASST_H
#define NET_PASST_H

#include "net/net.h"

#include <netinet/in.h>
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

#define PASST_DNS_MAX 3u
#define PASST_RESOLV "/etc/resolv.conf"
#define PASST_RESOLV_BEHIND "/run/systemd/resolve/resolv.conf"

/** The name servers for a guest that cannot reach the host's loopback interface, if all that the
 * file `resolv` names are there: those of the file `behind`, in which systemd-resolved names the
 * servers that it asks itself. Returns how many, to[PASST_DNS_MAX]; 0: passt finds them, or there
 * are none. */
unsigned passt_find_dns(const char *resolv, const char *behind, char (*to)[INET6_ADDRSTRLEN]);

/* What the guest sees, the same everywhere. */
#define PASST_GUEST "10.0.2.15"
#define PASST_HOST "10.0.2.2" /* gateway; the host itself too */
#define PASST_NETMASK "255.255.255.0"
#define PASST_HOST_MAC "52:33:00:00:00:02"

/** How TCP is kept from overrunning a rate limit of bps bytes a second (0: none): all that a few
 *  connections may have under way fits into what passt.c holds. A window of half a second's worth
 * is a compromise: what waits delays everything else, and passt stalls for up to a second at the
 * end of what is larger than a window. Large frames save work, but are too coarse for a low limit.
 */
struct passt_pace {
    uint16_t mtu;
    uint32_t window; /* bytes; 0: as the guest likes */
};

static inline struct passt_pace passt_pace(uint64_t bps)
{
    return (struct passt_pace){.mtu = bps && bps < 16u << 20 ? 1500 : 65520,
                               .window = bps ? 64u << 10 : 0};
}

#endif
