/* See link.h. */
#if __has_include(<libnbd.h>)
#include <libnbd.h>
#else
#error "libnbd-dev is not installed: tools/setup build"
#endif

#include "nbd-helper/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OPEN_MS 15000u
#define COMMAND_MS 60000u /* a server that is silent for so long is gone */
#define RETRY_MS 100u
#define GONE_TRY_MS 500u /* once it is gone, a request tries for so long */
#define ATTEMPTS 4u      /* a request that breaks the connection each time */
#define LOG_BYTES (16u << 20)
#define LOG_COUNT 4096u
#define DISCARD_MAX (512u << 20)
#define ZERO_MAX (64u << 20)
#define STATUS_MAX (1u << 30)

enum { LOST = 1 }; /* the connection broke: beside 0 and -errno */

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/** Sleep, unless ring3 goes. */
static void pause_ms(const struct link *l, unsigned ms)
{
    struct pollfd p = {.fd = l->ring3, .events = POLLRDHUP};
    if (poll(&p, 1, (int)ms) > 0) {
        _exit(0);
    }
}

/** Let the connection get on until something has happened, or the deadline. 0 or LOST. */
static int step(struct link *l, uint64_t deadline)
{
    const unsigned direction = nbd_aio_get_direction(l->nbd);
    struct pollfd p[2] = {{.fd = l->ring3, .events = POLLRDHUP}, {.fd = nbd_aio_get_fd(l->nbd)}};
    const bool reads = direction & LIBNBD_AIO_DIRECTION_READ,
               writes = direction & LIBNBD_AIO_DIRECTION_WRITE;
    uint64_t now = now_ms();
    if (now >= deadline) {
        return LOST;
    }
    p[1].events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
    int ready = poll(p, 2, (int)min_u64(deadline - now, 10000));
    if (ready < 0) {
        return errno == EINTR ? 0 : LOST;
    }
    if (p[0].revents) {
        _exit(0);
    }
    int rc = 0;
    if (reads && p[1].revents & (POLLIN | POLLHUP | POLLERR)) {
        rc = nbd_aio_notify_read(l->nbd);
    } else if (writes && p[1].revents & (POLLOUT | POLLHUP | POLLERR)) {
        rc = nbd_aio_notify_write(l->nbd);
    } else if (p[1].revents) {
        return LOST;
    }
    return rc ? LOST : 0;
}

static void disconnect(struct link *l)
{
    if (l->nbd) {
        nbd_close(l->nbd);
        l->nbd = NULL;
    }
}

/** Connect until the deadline. 0 or LOST; then nbd_get_error says why. */
static int connect_once(struct link *l, uint64_t deadline)
{
    l->nbd = nbd_create();
    if (!l->nbd) {
        return LOST;
    }
    nbd_set_uri_allow_local_file(l->nbd,
                                 true); /* the user's own keys; the address is the user's too */
    nbd_add_meta_context(l->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION);
    int rc = nbd_aio_connect_uri(l->nbd, l->uri) ? LOST : 0;
    while (!rc && !nbd_aio_is_ready(l->nbd)) {
        rc = nbd_aio_is_dead(l->nbd) || nbd_aio_is_closed(l->nbd) ? LOST : step(l, deadline);
    }
    return rc;
}

/** Why the last call failed, as one line. */
static void tell_why(struct nbd_opened *o, bool late)
{
    const char *why = nbd_get_error();
    const char *colon = why ? strchr(why, ':') : NULL; /* the function's name first */
    o->error = -ENOTCONN;
    if (late) {
        snprintf(o->text, sizeof(o->text), "the server does not answer");
    } else {
        snprintf(o->text, sizeof(o->text), "no connection: %s",
                 colon ? colon + 2
                 : why ? why
                       : "the server hung up");
    }
}

static uint32_t size_limit(struct link *l, int which)
{
    int64_t limit = nbd_get_block_size(l->nbd, which);
    return limit > 0 && limit < UINT32_MAX ? (uint32_t)limit : 0;
}

void link_open(struct link *l, bool read_only, struct nbd_opened *o)
{
    uint64_t deadline = now_ms() + OPEN_MS;
    if (connect_once(l, deadline)) {
        tell_why(o, now_ms() >= deadline);
        return;
    }
    int64_t size = nbd_get_size(l->nbd);
    if (size < 0) {
        tell_why(o, false);
        return;
    }
    l->size = o->size = (uint64_t)size;
    o->features |= nbd_is_read_only(l->nbd) > 0 ? NBD_IS_READ_ONLY : 0;
    o->features |= nbd_can_flush(l->nbd) > 0 ? NBD_CAN_FLUSH : 0;
    o->features |= !read_only && nbd_can_trim(l->nbd) > 0 ? NBD_CAN_DISCARD : 0;
    o->features |= !read_only && nbd_can_zero(l->nbd) > 0 ? NBD_CAN_ZERO : 0;
    o->features |=
        nbd_can_meta_context(l->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0 ? NBD_CAN_ZERO_RUN : 0;
    o->optimal = size_limit(l, LIBNBD_SIZE_PREFERRED);
    o->min = size_limit(l, LIBNBD_SIZE_MINIMUM);
    l->features = o->features;
    uint32_t max = size_limit(l, LIBNBD_SIZE_MAXIMUM);
    l->data_max = max >= 512 && max < NBD_DATA_MAX ? (uint32_t)align_down(max, 512) : NBD_DATA_MAX;
}

/* ---- commands ---- */

/** Wait for a command. 0, -errno: what the server said, or LOST. */
static int finish(struct link *l, int64_t cookie)
{
    const uint64_t deadline = now_ms() + COMMAND_MS;
    int rc = cookie < 0 ? LOST : 0;
    while (!rc) {
        int done = nbd_aio_command_completed(l->nbd, (uint64_t)cookie);
        if (done > 0) {
            return 0;
        }
        if (done < 0) {
            int error = nbd_get_errno();
            bool alive = !nbd_aio_is_dead(l->nbd) && !nbd_aio_is_closed(l->nbd) &&
                         error != ESHUTDOWN; /* it is about to go */
            return !alive ? LOST : error > 0 ? -error : -EIO;
        }
        bool dead = nbd_aio_is_dead(l->nbd) || nbd_aio_is_closed(l->nbd);
        rc = dead ? LOST : step(l, deadline);
    }
    return rc;
}

struct zero_run {
    uint64_t run;
    bool ended;
};

static int on_extents(void *ctx, const char *context, uint64_t off, uint32_t *entries, size_t count,
                      int *error)
{
    struct zero_run *z = ctx;
    (void)off;
    (void)error;
    if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0) {
        return 0;
    }
    for (size_t i = 0; i + 1 < count && !z->ended; i += 2) {
        z->ended = !(entries[i + 1] & LIBNBD_STATE_ZERO);
        z->run += z->ended ? 0 : entries[i];
    }
    return 0;
}

/** One piece of a request that the server takes. */
static int64_t send_piece(struct link *l, const struct nbd_request *r, uint64_t off, uint64_t len,
                          uint8_t *data, struct zero_run *z)
{
    const nbd_completion_callback none = NBD_NULL_COMPLETION;
    switch (r->op) {
    case NBD_READ: return nbd_aio_pread(l->nbd, data, len, off, none, 0);
    case NBD_WRITE: return nbd_aio_pwrite(l->nbd, data, len, off, none, 0);
    case NBD_FLUSH: return nbd_aio_flush(l->nbd, none, 0);
    case NBD_DISCARD: return nbd_aio_trim(l->nbd, len, off, none, 0);
    case NBD_ZERO:
        return nbd_aio_zero(l->nbd, len, off, none,
                            r->flags & NBD_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE);
    default: break;
    }
    nbd_extent_callback extents = {.callback = on_extents, .user_data = z};
    return nbd_aio_block_status(l->nbd, len, off, extents, none, 0);
}

static uint64_t piece_max(const struct link *l, uint32_t op)
{
    switch (op) {
    case NBD_READ:
    case NBD_WRITE: return l->data_max;
    case NBD_DISCARD: return DISCARD_MAX;
    case NBD_ZERO: return ZERO_MAX;
    default: return STATUS_MAX;
    }
}

/** The whole request over the connection there is. */
static int run(struct link *l, const struct nbd_request *r, uint8_t *data, uint64_t *value)
{
    struct zero_run z = {0};
    uint64_t done = 0;
    do {
        uint64_t len = min_u64(r->len - done, piece_max(l, r->op));
        int rc = finish(l, send_piece(l, r, r->off + done, len, data ? data + done : NULL, &z));
        if (rc) {
            return rc;
        }
        done = r->op == NBD_ZERO_RUN ? r->len : done + len; /* one answer is enough */
    } while (done < r->len);
    if (value) {
        *value = min_u64(z.run, r->len);
    }
    return 0;
}

/* ---- the log ---- */

static void log_clear(struct link *l)
{
    for (size_t i = 0; i < l->logged; i++) {
        free(l->log[i].data);
    }
    l->logged = l->log_bytes = 0;
}

/** Keep a request that succeeded. False: no memory. */
static bool log_add(struct link *l, const struct nbd_request *r, const uint8_t *data)
{
    if (l->logged == l->log_room) {
        size_t room = l->log_room ? l->log_room * 2 : 64;
        struct logged *log = realloc(l->log, room * sizeof(*log));
        if (!log) {
            return false;
        }
        l->log = log;
        l->log_room = room;
    }
    struct logged kept = {.request = *r};
    if (r->op == NBD_WRITE) {
        kept.data = malloc(r->len);
        if (!kept.data) {
            return false;
        }
        memcpy(kept.data, data, r->len);
        l->log_bytes += r->len;
    }
    l->log[l->logged++] = kept;
    return true;
}

/* ---- coming back ---- */

/** The same disk again? Then send what it may have lost. 0, -errno or LOST. */
static int resume(struct link *l)
{
    if (nbd_get_size(l->nbd) != (int64_t)l->size ||
        (nbd_is_read_only(l->nbd) > 0) > !!(l->features & NBD_IS_READ_ONLY)) {
        return -EIO; /* another disk */
    }
    int rc = 0;
    for (size_t i = 0; !rc && i < l->logged; i++) {
        rc = run(l, &l->log[i].request, l->log[i].data, NULL);
    }
    return rc;
}

static bool reconnect(struct link *l)
{
    const uint64_t deadline = now_ms() + (l->gone ? GONE_TRY_MS : NBD_RECONNECT_MS);
    disconnect(l);
    for (;;) {
        if (connect_once(l, deadline) == 0 && resume(l) == 0) {
            l->events |= NBD_EVENT_BACK;
            l->gone = false;
            return true;
        }
        disconnect(l);
        if (now_ms() + RETRY_MS >= deadline) {
            l->events |= l->gone ? 0 : NBD_EVENT_GONE;
            l->gone = true;
            return false;
        }
        pause_ms(l, RETRY_MS);
    }
}

static int run_surely(struct link *l, const struct nbd_request *r, uint8_t *data, uint64_t *value)
{
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        if (!l->nbd && !reconnect(l)) {
            return -EIO;
        }
        int rc = run(l, r, data, value);
        if (rc <= 0) {
            return rc;
        }
        disconnect(l);
    }
    return -EIO;
}

int link_request(struct link *l, const struct nbd_request *r, uint8_t *data, uint64_t *value)
{
    const struct nbd_request flush = {.op = NBD_FLUSH};
    int rc = run_surely(l, r, data, value);
    if (rc) {
        return rc;
    }
    if (r->op == NBD_FLUSH) {
        log_clear(l);
        return 0;
    }
    bool changes = r->op == NBD_WRITE || r->op == NBD_DISCARD || r->op == NBD_ZERO;
    if (!changes || !(l->features & NBD_CAN_FLUSH)) {
        return 0;
    }
    if (log_add(l, r, data) && l->log_bytes < LOG_BYTES && l->logged < LOG_COUNT) {
        return 0;
    }
    rc = run_surely(l, &flush, NULL, NULL);
    if (!rc) {
        log_clear(l);
    }
    return rc;
}
