/* --net switch=NAME: a port of a switch. Frames, and losing the switch: then the link is down until
 * the helper (switch_plug.c) has found one again. Owner: the device's thread.
 */
#include "net/switch_process.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct port {
    struct net_port port; /* port.fd: the connection's, or while port.down the helper's */
    struct switch_plug plug;
    uint64_t features; /* what the driver takes; the switch has been told unless port.unsent */
};

static struct port *of_port(struct net_port *p)
{
    return (struct port *)p;
}

/* ---- the connection ---- */

static void lose(struct port *p)
{
    close(p->port.fd);
    p->port.fd = p->plug.fd;
    p->port.down = true;
    p->port.unsent = false;
    switch_plug_ask(&p->plug);
}

/* 0: connected again; -EAGAIN: not yet; -EPIPE: never. */
static int find_again(struct port *p)
{
    int fd = switch_plug_take(&p->plug);
    if (fd < 0) {
        return fd;
    }
    p->port.fd = fd;
    p->port.down = false;
    p->port.ops->set_features(&p->port, p->features);
    return 0;
}

/* ---- frames ---- */

static void port_flush(struct net_port *p)
{
    const struct switch_features say = {.magic = SWITCH_MAGIC, .features = of_port(p)->features};
    ssize_t n = send(p->fd, &say, sizeof(say), MSG_DONTWAIT | MSG_NOSIGNAL);
    p->unsent = n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void port_set_features(struct net_port *p, uint64_t features)
{
    of_port(p)->features = features;
    if (!p->down) {
        port_flush(p);
    }
}

static int port_send(struct net_port *p, const struct io_vec *vec, unsigned n)
{
    /* the vectors are only read */
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)vec, .msg_iovlen = n};
    ssize_t sent;
    if (p->down) {
        return 0;
    }
    if (p->unsent) {
        port_flush(p);
    }
    do {
        sent = sendmsg(p->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 && errno == EAGAIN ? -EAGAIN : 0; /* receiving will tell of other errors */
}

static int64_t port_receive(struct net_port *p, uint8_t *buf)
{
    for (;;) {
        int err = p->down ? find_again(of_port(p)) : 0;
        if (err) {
            return err == -EAGAIN ? 0 : err;
        }
        ssize_t n = recv(p->fd, buf, SWITCH_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && errno == EAGAIN) {
            return 0;
        }
        if (n == 0 || (n < 0 && errno != EINTR)) {
            lose(of_port(p));
        } else if (n >= (ssize_t)SWITCH_FRAME_MIN && n <= (ssize_t)SWITCH_FRAME_MAX) {
            return n;
        }
    }
}

static void port_close(struct net_port *p)
{
    if (!p->down) {
        close(p->fd);
    }
    switch_plug_stop(&of_port(p)->plug);
    free(p);
}

static const struct net_ops port_ops = {.send = port_send,
                                        .receive = port_receive,
                                        .set_features = port_set_features,
                                        .flush = port_flush,
                                        .close = port_close};

/* ---- life ---- */

int switch_port_open(const struct net_config *c, struct net_port **out, struct net_error *err)
{
    uint8_t mac[6];
    const char *vm_name = c->vm_name ? c->vm_name : "";
    struct port *p = calloc(1, sizeof(*p));
    if (!p) {
        fmt_line(err->text, sizeof(err->text), "--net switch=%s: no memory", c->name);
        return -1;
    }
    net_make_mac(c, mac);
    int fd = switch_join(c->name, mac, vm_name, err);
    if (fd < 0) {
        free(p);
        return -1;
    }
    int failed = switch_plug_start(&p->plug, c->name, mac, vm_name);
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "--net switch=%s: no helper process: %s", c->name,
                 strerror(-failed));
        close(fd);
        free(p);
        return -1;
    }
    p->port = (struct net_port){.ops = &port_ops, .fd = fd, .features = VIRTIO_NET_OFFLOADS};
    fmt_line(p->port.name, sizeof(p->port.name), "switch=%s", c->name);
    *out = &p->port;
    return 0;
}
