/* The network card: virtio 1.2 §5.1 "Network Device".
 *
 *   driver <── two queues ──> net.c ──> struct virtio_net_cable ──> a back end (src/net, glued in
 * net/net_device.c)
 *
 * One receive and one transmit queue, no control queue. Checksums and segmentation are passed
 * through to the cable as far as it and the driver can do them; the card itself computes nothing.
 * All calls come from the device's thread; none blocks.
 */
#ifndef DEV_VIRTIO_NET_H
#define DEV_VIRTIO_NET_H

#include "dev/virtio/device.h"

/* Features, §5.1.3. HOST_*: what the driver may send us; GUEST_*: what it takes from us. */
#define VIRTIO_NET_F_CSUM (1ull << 0)
#define VIRTIO_NET_F_GUEST_CSUM (1ull << 1)
#define VIRTIO_NET_F_MTU (1ull << 3)
#define VIRTIO_NET_F_MAC (1ull << 5)
#define VIRTIO_NET_F_GUEST_TSO4 (1ull << 7)
#define VIRTIO_NET_F_GUEST_TSO6 (1ull << 8)
#define VIRTIO_NET_F_GUEST_ECN (1ull << 9)
#define VIRTIO_NET_F_HOST_TSO4 (1ull << 11)
#define VIRTIO_NET_F_HOST_TSO6 (1ull << 12)
#define VIRTIO_NET_F_HOST_ECN (1ull << 13)
#define VIRTIO_NET_F_MRG_RXBUF (1ull << 15)
#define VIRTIO_NET_F_STATUS (1ull << 16)

/* What of these a cable has a say in: sending, and receiving. */
#define VIRTIO_NET_SEND_OFFLOADS                                                                   \
    (VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_HOST_ECN)
#define VIRTIO_NET_RECEIVE_OFFLOADS                                                                \
    (VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 |                 \
     VIRTIO_NET_F_GUEST_ECN)
#define VIRTIO_NET_OFFLOADS (VIRTIO_NET_SEND_OFFLOADS | VIRTIO_NET_RECEIVE_OFFLOADS)

/* In front of every frame, §5.1.6. Little-endian. */
struct virtio_net_hdr {
    uint8_t flags;        /* VIRTIO_NET_HDR_* */
    uint8_t gso_type;     /* VIRTIO_NET_GSO_* */
    uint16_t hdr_len;     /* with GSO: Ethernet, IP and TCP headers in all; a hint */
    uint16_t gso_size;    /* with GSO: payload bytes a segment */
    uint16_t csum_start;  /* with NEEDS_CSUM: from here to the end is summed up, */
    uint16_t csum_offset; /* and the sum goes this far behind csum_start */
    uint16_t num_buffers; /* received frames only */
};

#define VIRTIO_NET_HDR_NEEDS_CSUM 1u
#define VIRTIO_NET_HDR_DATA_VALID 2u
#define VIRTIO_NET_GSO_NONE 0u
#define VIRTIO_NET_GSO_TCPV4 1u
#define VIRTIO_NET_GSO_TCPV6 4u
#define VIRTIO_NET_GSO_ECN 0x80u

#define VIRTIO_NET_HDR_LEN 12u
#define VIRTIO_NET_FRAME_MIN 14u    /* an Ethernet header */
#define VIRTIO_NET_FRAME_MAX 65550u /* 64 KB of payload and an Ethernet header */

_Static_assert(sizeof(struct virtio_net_hdr) == VIRTIO_NET_HDR_LEN, "virtio 1.2 §5.1.6");

/** Whether a frame of frame_len bytes (without the header) may have this header, coming from
 * someone who may use `offloads`, a set of VIRTIO_NET_SEND_OFFLOADS. Clears in *hdr what has no
 * meaning, so that of two frames that mean the same the headers are equal. What TCP makes of it is
 * not looked at. */
bool virtio_net_check_header(struct virtio_net_hdr *hdr, uint64_t frame_len, uint64_t offloads);
/** The sending features that correspond to receiving ones (GUEST_CSUM: CSUM, ...). */
uint64_t virtio_net_as_sender(uint64_t receive_offloads);

/* What to wait for, in virtio_net_cable.wait. */
#define VIRTIO_NET_WAIT_RECEIVE 1u /* something to receive */
#define VIRTIO_NET_WAIT_SEND 2u    /* room to send, after VIRTIO_NET_BUSY */

enum virtio_net_sent {
    VIRTIO_NET_TAKEN, /* sent, or lost on the way, as happens on networks */
    VIRTIO_NET_BUSY,  /* not now */
};

/** What the card is plugged into. */
struct virtio_net_cable {
    /** Send one frame, header first: vec[0] is the header, checked, in memory of ours; the rest is
     *  guest RAM. */
    enum virtio_net_sent (*send)(void *ctx, const struct io_vec *vec, unsigned n);
    /** Receive one frame, header first, into buf of VIRTIO_NET_HDR_LEN + VIRTIO_NET_FRAME_MAX
     * bytes. Its length; 0: none there; -1: nothing will ever come again. */
    int64_t (*receive)(void *ctx, uint8_t *buf);
    /** The driver is ready and takes these (VIRTIO_NET_RECEIVE_OFFLOADS); 0 when it has reset. */
    void (*set_features)(void *ctx, uint64_t features);
    /** Call virtio_net_run when one of these is there (VIRTIO_NET_WAIT_*; 0: never), and at host
     * time until_ns (0: never). Replaces the last wait. */
    void (*wait)(void *ctx, unsigned what, uint64_t until_ns);
};

struct virtio_net_setup {
    uint8_t mac[6];
    uint16_t mtu;      /* 0: unsaid */
    uint64_t offloads; /* of VIRTIO_NET_OFFLOADS: what the cable can do */
    const struct virtio_net_cable *cable;
    void *ctx; /* for the cable's functions */
};

struct virtio_net_taken {
    uint16_t head;
    uint32_t len;
};

/** One direction. */
struct virtio_net_pace {
    bool by_clock;      /* nobody is asked to tell of a frame: they are looked for by the clock */
    uint64_t bytes;     /* that the last look found */
    uint64_t looked_ns; /* when: the last look that found something, or ended by_clock */
};

struct virtio_net {
    struct virtio_device device;
    const struct virtio_net_cable *cable;
    void *ctx;
    bool unplugged; /* the cable said that nothing comes any more */
    bool starved;   /* a received frame waits for buffers */
    bool blocked;   /* the cable had no room for the next frame */
    struct virtio_net_pace sending, receiving;
    uint32_t pending; /* bytes in `frame`, header and all; 0: none */
    uint8_t frame[VIRTIO_NET_HDR_LEN + VIRTIO_NET_FRAME_MAX];
    struct virtq_chain first, chain; /* being filled: the first of a frame, another */
    /* the chains that hold the frame being placed */
    struct virtio_net_taken taken[VIRTIO_QUEUE_SIZE_MAX];
    struct io_vec vec[VIRTQ_SEGMENTS_MAX + 1];
};

/** Make the card in slot. n and regs are zeroed. Before the machine runs. */
void virtio_net_init(struct virtio_net *n, struct virtio_regs *regs, const struct ram *ram,
                     unsigned slot, const struct virtio_net_setup *setup);
/** Something that was waited for has come, or may have. Harmless at any time. Afterwards, kick what
 *  virtio_device_again says. */
void virtio_net_run(struct virtio_net *n);
/** The link goes down or comes up: the driver is told. At any time, also from within the cable's
 * functions. */
void virtio_net_set_link(struct virtio_net *n, bool up);

#endif
