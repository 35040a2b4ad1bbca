/* How machines talk to their switch: messages over a SOCK_SEQPACKET Unix socket.
 *
 * First a hello, which is answered. Then, both ways, frames, each with its struct virtio_net_hdr:
 * at least SWITCH_FRAME_MIN bytes. What is shorter is a struct switch_features, from the machine
 * only. Both ends are the same program, or two versions of it: a change to this file is a new
 * SWITCH_VERSION.
 */
#ifndef NET_SWITCH_PROTO_H
#define NET_SWITCH_PROTO_H

#include "net/switch.h"

#define SWITCH_MAGIC 0x57533352u /* "R3SW" */
#define SWITCH_VERSION 1u
#define SWITCH_FRAME_MIN (VIRTIO_NET_HDR_LEN + VIRTIO_NET_FRAME_MIN)
#define SWITCH_FRAME_MAX (VIRTIO_NET_HDR_LEN + VIRTIO_NET_FRAME_MAX)

enum switch_hello_kind { SWITCH_HELLO_PORT, SWITCH_HELLO_REPORT };

struct switch_hello {
    uint32_t magic;
    uint16_t version;
    uint16_t kind; /* enum switch_hello_kind */
    uint8_t mac[6];
    char name[SWITCH_NAME_MAX]; /* of the VM, ends with 0 */
};

/** To SWITCH_HELLO_PORT. */
struct switch_welcome {
    uint32_t magic;
    uint16_t version;
    uint16_t refusal;             /* enum switch_refusal */
    char holder[SWITCH_NAME_MAX]; /* SWITCH_MAC_TAKEN: the VM that has the address */
};

/** To SWITCH_HELLO_REPORT: the plugged ports. */
struct switch_report {
    uint32_t magic;
    uint16_t version;
    uint16_t ports;
    struct switch_port port[SWITCH_PORTS_MAX];
};

/** What the driver takes from now on. */
struct switch_features {
    uint32_t magic;
    uint32_t zero;
    uint64_t features;
};
_Static_assert(sizeof(struct switch_features) < SWITCH_FRAME_MIN, "told apart by length");

#endif
