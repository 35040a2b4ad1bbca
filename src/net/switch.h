/* A virtual Ethernet switch: where frames go. The part without sockets (that is switch_process.c).
 *
 * Learns where stations are, floods what it does not know, drops what a port has no room for.
 * Frames carry a struct virtio_net_hdr; each port says what of that it understands, and what it
 * does not is done here, in software, on the way out. Ports are hostile guests': every frame is
 * checked. One thread; no system calls.
 */
#ifndef NET_SWITCH_H
#define NET_SWITCH_H

#include "dev/virtio/net.h"
#include "net/mac_table.h"

#define SWITCH_PORTS_MAX MAC_PORTS
#define SWITCH_NAME_MAX 64u

/** A port as seen from its card: sent is what the card sent. */
struct switch_counters {
    uint64_t sent_frames, sent_bytes, received_frames, received_bytes;
    uint64_t dropped; /* for the card, but it had no room */
    uint64_t bad;     /* from the card, and not a frame, or with someone else's address */
};

struct switch_port {
    bool plugged;
    uint8_t mac[6];
    char name[SWITCH_NAME_MAX]; /* of the VM */
    uint64_t features;          /* VIRTIO_NET_RECEIVE_OFFLOADS that it takes */
    struct switch_counters count;
};

struct net_switch {
    struct switch_port port[SWITCH_PORTS_MAX];
    struct mac_table macs;
    /** Give one frame, header first, to a port: whether it took it. Set by the owner. */
    bool (*out)(void *ctx, unsigned port, const struct io_vec *vec, unsigned n);
    void *ctx;
};

enum switch_refusal {
    SWITCH_WELCOME,
    SWITCH_FULL,
    SWITCH_MAC_TAKEN,
    SWITCH_BAD_HELLO,
};

/** Plug a card in. On SWITCH_WELCOME, *port is where. */
enum switch_refusal switch_plug(struct net_switch *s, const uint8_t mac[6], const char *name,
                                unsigned *port);
void switch_unplug(struct net_switch *s, unsigned port);
/** A frame from a port, len bytes with its header. The bytes may be changed. Returns what that
 * cost, in frames handled: at least 1. */
unsigned switch_frame(struct net_switch *s, unsigned from, uint8_t *bytes, size_t len,
                      uint64_t now_ns);

#endif
