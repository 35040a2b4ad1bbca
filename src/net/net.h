/* Network back ends: where a virtual network card's cable ends.
 *
 *   virtio/net.c ──> struct net_port ──> { passt (user) | tap | switch }
 *
 * A port sends and receives Ethernet frames, each with a struct virtio_net_hdr (12 bytes, virtio 1.2 §5.1.6) in front, which says what offloading the
 * frame needs; a back end without offloads gets and gives headers of zeros. Calls come from the device's thread and never block.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "dev/virtio/virtq.h" /* struct io_vec */

#define NET_HDR_LEN 12u
#define NET_FRAME_MAX 65550u /* with GSO: 64 KB payload and the Ethernet header */

struct net_port;

struct net_ops {
    const char *kind; /* "user", "tap", "switch" */
    /** Send one frame, header first. 0: taken (or dropped, as a cable may); -EAGAIN: no room, try when writable. */
    int (*send)(struct net_port *p, const struct io_vec *vec, unsigned n);
    /** Receive one frame, header first, into vec, which holds NET_HDR_LEN + NET_FRAME_MAX bytes. Its length; 0: none there; -errno: the cable is
     *  unplugged for good. */
    int64_t (*receive)(struct net_port *p, const struct io_vec *vec, unsigned n);
    /** The driver has chosen: VIRTIO_NET_F_* it can take from us. May be NULL. */
    void (*set_features)(struct net_port *p, uint64_t features);
    void (*close)(struct net_port *p);
};

struct net_port {
    const struct net_ops *ops;
    int fd;             /* to poll: POLLIN for receive, POLLOUT after -EAGAIN */
    uint64_t features;  /* VIRTIO_NET_F_CSUM, HOST_TSO4, GUEST_CSUM, ... that this back end can do */
    uint8_t mac[6];
    uint16_t mtu;       /* 0: unsaid */
    char name[64];      /* "user", "tap=t0", "switch=lan", for messages */
};

struct net_error {
    char text[512];
};

struct net_forward {
    bool udp;
    char host_addr[46]; /* empty: any */
    uint16_t host_port, guest_port;
};

/** One --net, with the -p that belong to it. */
struct net_config {
    enum { NET_USER, NET_TAP, NET_SWITCH } kind;
    char name[32];                  /* of the tap or the switch */
    uint8_t mac[6];                 /* all zero: made up from vm_name, locally administered */
    uint64_t bps;                   /* bytes a second each way, 0: no limit */
    struct net_forward forward[32]; /* NET_USER only */
    unsigned forwards;
    const char *vm_name;
};

/** Parse "user", "tap=NAME", "switch=NAME", each with [,mac=..][,bps=..]. 0, or -1 with *err. */
int net_parse(const char *arg, struct net_config *c, struct net_error *err) MUST_CHECK;
/** Parse "[ADDR:]HOST:GUEST[/udp]". 0, or -1 with *err. */
int net_parse_forward(const char *arg, struct net_forward *f, struct net_error *err) MUST_CHECK;
/** Plug in. 0, or -1 with *err. Helper processes it starts die with this one. */
int net_open(const struct net_config *c, struct net_port **out, struct net_error *err) MUST_CHECK;
void net_close(struct net_port *p);

#endif
