/* Network back ends: where a virtual network card's cable ends.
 *
 *   virtio/net.c ──> net_device.c ──> struct net_port ──> { passt (user) | tap | switch }
 *
 * A port sends and receives Ethernet frames, each with a struct virtio_net_hdr (dev/virtio/net.h)
 * in front, which says what offloading the frame needs; a back end without offloads gets and gives
 * headers of zeros. Calls come from the device's thread and never block.
 * docs/network.md says what each kind is good for.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "dev/virtio/net.h"

#define NET_HDR_LEN VIRTIO_NET_HDR_LEN
#define NET_FRAME_MAX VIRTIO_NET_FRAME_MAX
#define NET_FORWARDS_MAX 32u

struct net_port;

struct net_ops {
    /** Send one frame, header first (vec[0] is the header). 0: taken (or dropped, as a cable may);
     *  -EAGAIN: no room, try when writable. */
    int (*send)(struct net_port *p, const struct io_vec *vec, unsigned n);
    /** Receive one frame, header first, into buf, NET_HDR_LEN + NET_FRAME_MAX bytes. Its length; 0:
     * none there; -errno: the cable is unplugged for good. */
    int64_t (*receive)(struct net_port *p, uint8_t *buf);
    /** The driver has chosen what it takes from us: VIRTIO_NET_RECEIVE_OFFLOADS. May be NULL. */
    void (*set_features)(struct net_port *p, uint64_t features);
    /** p->unsent was set and fd is writable: go on with it. May be NULL. */
    void (*flush)(struct net_port *p);
    /** fd is readable while a rate limit lets nothing be received: take in what is there, if
     * !p->full. May be NULL. */
    void (*hoard)(struct net_port *p);
    void (*close)(struct net_port *p);
};

/** Every back end embeds this as its first member. */
struct net_port {
    const struct net_ops *ops;
    int fd; /* to poll: POLLIN for receive, POLLOUT after -EAGAIN or with unsent. Another may take
               its place during receive */
    bool down;         /* no link at present: what is sent is lost, receive brings it up again */
    bool unsent;       /* a part of what was sent is still here: flush */
    bool ready;        /* there may be something to receive that fd does not tell of */
    bool full;         /* no room to hoard */
    uint64_t features; /* VIRTIO_NET_OFFLOADS that this back end can do */
    uint8_t mac[6];
    uint16_t mtu;  /* 0: unsaid */
    char name[64]; /* "user", "tap=t0", "switch=lan", for messages */
};

struct net_error {
    char text[512]; /* one line: what is wrong, where, what to do */
};

/** One -p: host ports host_port..host_port+count-1 lead to guest ports from guest_port on. */
struct net_forward {
    bool udp;
    char host_addr[46]; /* numeric IPv4 or IPv6; empty: any */
    uint16_t host_port, guest_port;
    uint16_t count; /* at least 1 */
};

enum net_kind { NET_USER, NET_TAP, NET_SWITCH };

/** One --net, with the -p that belong to it. */
struct net_config {
    enum net_kind kind;
    char name[32];         /* of the tap or the switch */
    uint8_t mac[6];        /* all zero: made up from vm_name and index, locally administered */
    uint64_t bps;          /* bytes a second each way, 0: no limit */
    bool no_host_loopback; /* NET_USER: what listens on the host's loopback is out of reach */
    struct net_forward forward[NET_FORWARDS_MAX]; /* NET_USER only */
    unsigned forwards;
    const char *vm_name; /* may be NULL */
    unsigned index;      /* which card of the VM */
};

/** Parse "user", "tap=NAME", "switch=NAME", each with [,mac=..][,bps=..], user also with
 * [,no-host-loopback], into *c, which is cleared. 0, or -1 with *err. */
int net_parse(const char *arg, struct net_config *c, struct net_error *err) MUST_CHECK;
/** Parse "[ADDR:]HOST[-HOST]:GUEST[-GUEST][/udp|/tcp]", an IPv6 ADDR in brackets. 0, or -1 with
 * *err. */
int net_parse_forward(const char *arg, struct net_forward *f, struct net_error *err) MUST_CHECK;
/** Add *f to c, which must be NET_USER. 0, or -1 with *err: too many, or host ports that an earlier
 * one has (on the same address). */
int net_add_forward(struct net_config *c, const struct net_forward *f,
                    struct net_error *err) MUST_CHECK;

/** Plug in. 0, or -1 with *err. Helper processes that it starts die with this one, but for a
 * switch, which serves other machines too. Opens files and starts processes: before any jail. */
int net_open(const struct net_config *c, struct net_port **out, struct net_error *err) MUST_CHECK;
void net_close(struct net_port *p);
/** The MAC that c has or gets. */
void net_make_mac(const struct net_config *c, uint8_t mac[6]);

/* ---- the kinds; each: 0, or -1 with *err ---- */

int passt_open(const struct net_config *c, struct net_port **out, struct net_error *err) MUST_CHECK;
int tap_open(const struct net_config *c, struct net_port **out, struct net_error *err) MUST_CHECK;
int switch_port_open(const struct net_config *c, struct net_port **out,
                     struct net_error *err) MUST_CHECK;

#endif
