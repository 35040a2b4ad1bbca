/* The card, the back end and the thread put together. See net_device.h.
 *
 * State: struct net_device, the device's thread's once that runs. What the card waits for becomes a
 * watch of the back end's descriptor; where a rate limit says "not yet", a timer takes the watch's
 * place.
 */
#include "net/net_device.h"

#include "base/log.h"

#include "host/host.h"
#include "net/rate.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

struct net_device {
    struct virtio_net card;
    struct net_port *port;
    struct io_thread *thread;
    struct rate sending, receiving;
    bool lost;   /* the cable was unplugged for good, and people were told */
    bool down;   /* the link is, as the card knows */
    int watched; /* the descriptor of the port's that the thread has a watch for */
};

/* ---- what the card asks of its cable ---- */

static bool must_wait(struct rate *r)
{
    return r->bps && rate_wait(r, host_time_ns());
}

static void follow_link(struct net_device *d)
{
    if (d->port->down == d->down) {
        return;
    }
    d->down = d->port->down;
    log_msg(LOG_WARN, "network %s: %s", d->port->name,
            d->down ? "the other end has gone; trying to reach it again" : "connected again");
    virtio_net_set_link(&d->card, !d->down);
}

static enum virtio_net_sent cable_send(void *ctx, const struct io_vec *vec, unsigned n)
{
    struct net_device *d = ctx;
    uint64_t len = 0;
    if (must_wait(&d->sending) || d->port->ops->send(d->port, vec, n) == -EAGAIN) {
        return VIRTIO_NET_BUSY;
    }
    for (unsigned i = 1; i < n; i++) {
        len += vec[i].len;
    }
    rate_spend(&d->sending, len);
    return VIRTIO_NET_TAKEN;
}

static int64_t cable_receive(void *ctx, uint8_t *buf)
{
    struct net_device *d = ctx;
    if (must_wait(&d->receiving)) {
        return 0;
    }
    int64_t len = d->port->ops->receive(d->port, buf);
    follow_link(d);
    if (len < 0) {
        if (!d->lost) {
            log_msg(LOG_WARN, "network %s: unplugged: %s", d->port->name,
                    len == -EPIPE || len == -ECONNRESET ? "the other end has gone"
                                                        : strerror((int)-len));
        }
        d->lost = true;
        return -1;
    }
    if (len > 0) {
        rate_spend(&d->receiving, (uint64_t)len - NET_HDR_LEN);
    }
    return len;
}

static void cable_set_features(void *ctx, uint64_t features)
{
    struct net_device *d = ctx;
    if (d->port->ops->set_features) {
        d->port->ops->set_features(d->port, features);
    }
}

static void on_timer(void *ctx)
{
    virtio_net_run(&((struct net_device *)ctx)->card);
}

static void on_ready(void *ctx, short revents)
{
    struct net_device *d = ctx;
    if (d->port->unsent && (revents & (POLLOUT | POLLERR | POLLHUP))) {
        d->port->ops->flush(d->port);
    }
    if ((revents & (POLLIN | POLLERR | POLLHUP)) && d->port->ops->hoard &&
        must_wait(&d->receiving)) {
        d->port->ops->hoard(d->port);
    }
    virtio_net_run(&d->card);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a && (!b || a < b) ? a : b; /* 0: never */
}

static void cable_wait(void *ctx, unsigned what, uint64_t until_ns)
{
    struct net_device *d = ctx;
    uint64_t timer_ns = until_ns, now_ns = host_time_ns();
    short events = d->port->unsent && !d->lost ? POLLOUT : 0;
    if (what & VIRTIO_NET_WAIT_RECEIVE) {
        uint64_t when_ns = rate_wait(&d->receiving, now_ns);
        timer_ns = earlier(timer_ns, when_ns || !d->port->ready ? when_ns : now_ns);
        events |= !when_ns || (d->port->ops->hoard && !d->port->full) ? POLLIN : 0;
    }
    if (what & VIRTIO_NET_WAIT_SEND) {
        uint64_t when_ns = rate_wait(&d->sending, now_ns);
        timer_ns = earlier(timer_ns, when_ns);
        events |= when_ns ? 0 : POLLOUT;
    }
    if (d->watched != d->port->fd) {
        io_thread_unwatch(d->thread, d->watched);
        d->watched = d->port->fd;
    }
    int err = io_thread_watch(d->thread, d->watched, events, on_ready, d);
    BUG_ON(err != 0); /* it is the only one of this thread */
    io_thread_timer(d->thread, timer_ns, on_timer, d);
}

static const struct virtio_net_cable cable = {.send = cable_send,
                                              .receive = cable_receive,
                                              .set_features = cable_set_features,
                                              .wait = cable_wait};

/* ---- life ---- */

int net_device_create(const struct net_config *c, struct virtio_regs *regs, const struct ram *ram,
                      unsigned slot, struct net_device **out, struct net_error *err)
{
    struct net_device *d = calloc(1, sizeof(*d));
    if (!d) {
        fmt_line(err->text, sizeof(err->text), "--net: no memory");
        return -1;
    }
    if (net_open(c, &d->port, err)) {
        free(d);
        return -1;
    }
    struct virtio_net_setup setup = {
        .mtu = d->port->mtu, .offloads = d->port->features, .cable = &cable, .ctx = d};
    memcpy(setup.mac, d->port->mac, sizeof(setup.mac));
    rate_init(&d->sending, c->bps, host_time_ns());
    rate_init(&d->receiving, c->bps, host_time_ns());
    virtio_net_init(&d->card, regs, ram, slot, &setup);
    d->watched = d->port->fd;
    int failed = io_thread_create(&d->thread, &d->card.device, "net");
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "--net %s: %s", d->port->name, strerror(-failed));
        net_close(d->port);
        free(d);
        return -1;
    }
    *out = d;
    return 0;
}

void net_device_destroy(struct net_device *d)
{
    io_thread_destroy(d->thread);
    net_close(d->port);
    free(d);
}

struct io_thread *net_device_thread(const struct net_device *d)
{
    return d->thread;
}

struct virtio_device *net_device_virtio(struct net_device *d)
{
    return &d->card.device;
}

const char *net_device_name(const struct net_device *d)
{
    return d->port->name;
}
