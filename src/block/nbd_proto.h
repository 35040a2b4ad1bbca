/* What ring3 and its helper for network disks (ring3-nbd) say to each other, over a socket pair.
 *
 * The monitor opens no sockets and parses nothing from a network: the helper does, with libnbd. It
 * is started by nbd_open with the socket as descriptor 3. ring3 sends one request at a time and
 * waits for its reply; when the socket closes, the helper ends. The first request is NBD_OPEN. Both
 * sides run on one machine: numbers are in its byte order.
 *
 *   NBD_OPEN        len bytes of the address follow; reply: struct nbd_opened
 *   NBD_READ        reply; len bytes follow when it has no error
 *   NBD_WRITE       len bytes follow; reply
 *   NBD_FLUSH, NBD_DISCARD, NBD_ZERO, NBD_ZERO_RUN   reply
 *
 * A connection that breaks is made anew: for NBD_RECONNECT_MS a request waits for that, then it
 * fails. What was written since the last flush is sent again over the new connection, for the
 * server may have lost it.
 */
#ifndef BLOCK_NBD_PROTO_H
#define BLOCK_NBD_PROTO_H

#include "base/types.h"

#define NBD_FD 3
#define NBD_DATA_MAX (4u << 20) /* bytes of NBD_READ and NBD_WRITE */
#define NBD_URI_MAX 4096u
#define NBD_RECONNECT_MS 5000u

enum nbd_op { NBD_OPEN = 1, NBD_READ, NBD_WRITE, NBD_FLUSH, NBD_DISCARD, NBD_ZERO, NBD_ZERO_RUN };

#define NBD_READ_ONLY 1u /* NBD_OPEN */
#define NBD_MAY_UNMAP 1u /* NBD_ZERO */

struct nbd_request {
    uint32_t op, flags;
    uint64_t off, len; /* bytes */
};

/* What has happened since the last reply. */
#define NBD_EVENT_BACK 1u /* the connection broke and was made anew */
#define NBD_EVENT_GONE 2u /* it could not be made anew */

struct nbd_reply {
    int32_t error; /* 0 or -errno */
    uint32_t events;
    uint64_t value; /* NBD_ZERO_RUN: bytes from off on that are known to be zero */
};

#define NBD_CAN_FLUSH 1u
#define NBD_CAN_DISCARD 2u
#define NBD_CAN_ZERO 4u
#define NBD_CAN_ZERO_RUN 8u
#define NBD_IS_READ_ONLY 16u

struct nbd_opened {
    int32_t error; /* 0 or -errno; then text */
    uint32_t features;
    uint64_t size;
    uint32_t optimal; /* preferred size of requests, 0: any */
    uint32_t min;     /* smallest size and alignment of requests, 0 or 1: any */
    char text[384];   /* why not, NUL-terminated */
};

#endif
