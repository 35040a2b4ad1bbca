/* The helper's side of a network disk: a connection that is made anew when it breaks. See
 * block/nbd_proto.h.
 *
 * What was written since the last flush is kept (at most LOG_BYTES; then the helper flushes by
 * itself) and sent again over a new connection: the server may be another process, which never saw
 * it. Without that a flush would promise what nobody can hold. One thread; every wait ends when
 * ring3 has gone, also for a server that does not answer: what it has answered it has.
 */
#ifndef NBD_HELPER_LINK_H
#define NBD_HELPER_LINK_H

#include "block/nbd_proto.h"

struct nbd_handle;

struct logged {
    struct nbd_request request;
    uint8_t *data; /* NBD_WRITE; else NULL */
};

struct link {
    struct nbd_handle *nbd; /* NULL: not connected */
    char uri[NBD_URI_MAX + 1];
    int ring3; /* the socket: its end is ours */
    uint64_t size;
    uint32_t features;
    uint32_t data_max; /* bytes of a read or write that the server takes */
    bool gone;         /* the last try to come back failed */
    uint32_t events;   /* for the next reply */
    struct logged *log;
    size_t logged, log_room, log_bytes;
};

/** Connect for the first time; fills *o. */
void link_open(struct link *l, bool read_only, struct nbd_opened *o);
/** Do a request (but NBD_OPEN); data: r->len bytes for NBD_READ and NBD_WRITE. 0 or -errno. *value:
 * NBD_ZERO_RUN's. */
int link_request(struct link *l, const struct nbd_request *r, uint8_t *data, uint64_t *value);

#endif
