/* --net switch=NAME: a port of a switch, and asking a switch how it is. The machine's side of
 * switch_proto.h. Owner: the device's thread.
 */
#include "net/switch_process.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define ATTEMPTS 5 /* a switch may end just when we come */
#define BUFFER_SIZE (1 << 20)

struct port {
    struct net_port port;
    uint64_t features; /* what the driver takes; the switch has been told unless port.unsent */
};

static struct port *of_port(struct net_port *p)
{
    return (struct port *)p;
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
    port_flush(p);
}

static int port_send(struct net_port *p, const struct io_vec *vec, unsigned n)
{
    /* the vectors are only read */
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)vec, .msg_iovlen = n};
    ssize_t sent;
    if (p->unsent) {
        port_flush(p);
    }
    do {
        sent = sendmsg(p->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 && errno == EAGAIN ? -EAGAIN : 0;
}

static int64_t port_receive(struct net_port *p, uint8_t *buf)
{
    for (;;) {
        ssize_t n = recv(p->fd, buf, SWITCH_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC);
        if (n == 0) {
            return -EPIPE;
        }
        if (n < 0 && errno != EINTR) {
            return errno == EAGAIN ? 0 : -errno;
        }
        if (n >= (ssize_t)SWITCH_FRAME_MIN && n <= (ssize_t)SWITCH_FRAME_MAX) {
            return n;
        }
    }
}

static void port_close(struct net_port *p)
{
    close(p->fd);
    free(p);
}

static const struct net_ops port_ops = {.send = port_send,
                                        .receive = port_receive,
                                        .set_features = port_set_features,
                                        .flush = port_flush,
                                        .close = port_close};

/* ---- hello ---- */

/* Ask and take the answer, up to size bytes: its length, or -errno. */
static ssize_t exchange(int fd, const struct switch_hello *hello, void *answer, size_t size)
{
    if (send(fd, hello, sizeof(*hello), MSG_NOSIGNAL) != (ssize_t)sizeof(*hello)) {
        return -EPIPE;
    }
    ssize_t n;
    do {
        n = recv(fd, answer, size, 0);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n == 0 ? -EPIPE : n;
}

static bool same_user(int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.uid == geteuid();
}

static int refuse(const struct net_config *c, const struct switch_welcome *w, struct net_error *err)
{
    switch ((enum switch_refusal)w->refusal) {
    case SWITCH_FULL:
        fmt_line(err->text, sizeof(err->text), "--net switch=%s: all its %u ports are taken",
                 c->name, SWITCH_PORTS_MAX);
        break;
    case SWITCH_MAC_TAKEN:
        fmt_line(err->text, sizeof(err->text),
                 "--net switch=%s: machine '%.*s' is on it with the same mac; give this one "
                 "another, as in "
                 "mac=52:33:00:00:00:01",
                 c->name, (int)strnlen(w->holder, sizeof(w->holder)), w->holder);
        break;
    default:
        fmt_line(err->text, sizeof(err->text), "--net switch=%s: it does not take this machine",
                 c->name);
        break;
    }
    return -1;
}

/* 0; 1: it has just ended, try again; -1: *err. */
static int attempt(const struct net_config *c, const struct switch_hello *hello, int *out,
                   struct net_error *err)
{
    struct switch_welcome w;
    int fd = switch_connect(c->name, err);
    if (fd < 0) {
        return -1;
    }
    ssize_t n = same_user(fd) ? exchange(fd, hello, &w, sizeof(w)) : -EPERM;
    *out = fd;
    if (n == (ssize_t)sizeof(w) && w.magic == SWITCH_MAGIC && w.version == SWITCH_VERSION &&
        w.refusal == SWITCH_WELCOME) {
        return 0;
    }
    close(fd);
    if (n == -EPIPE || n == -ECONNRESET) {
        return 1;
    }
    if (n == (ssize_t)sizeof(w) && w.magic == SWITCH_MAGIC && w.version == SWITCH_VERSION) {
        return refuse(c, &w, err);
    }
    fmt_line(err->text, sizeof(err->text), "--net switch=%s: what answers there is %s", c->name,
             n == -EPERM ? "another user's"
             : n < 0     ? strerror((int)-n)
                         : "of another version of ring3; end its machines, and it ends too");
    return -1;
}

int switch_port_open(const struct net_config *c, struct net_port **out, struct net_error *err)
{
    struct switch_hello hello = {
        .magic = SWITCH_MAGIC, .version = SWITCH_VERSION, .kind = SWITCH_HELLO_PORT};
    int fd = -1, failed = 1;
    const int size = BUFFER_SIZE;
    net_make_mac(c, hello.mac);
    fmt_line(hello.name, sizeof(hello.name), "%s", c->vm_name ? c->vm_name : "");
    for (unsigned i = 0; i < ATTEMPTS && failed > 0; i++) {
        failed = attempt(c, &hello, &fd, err);
    }
    if (failed > 0) {
        fmt_line(err->text, sizeof(err->text),
                 "--net switch=%s: the switch ends as soon as it starts", c->name);
    }
    if (failed) {
        return -1;
    }
    struct port *p = calloc(1, sizeof(*p));
    if (!p) {
        close(fd);
        fmt_line(err->text, sizeof(err->text), "--net switch=%s: no memory", c->name);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* as far as we may */
    p->port = (struct net_port){.ops = &port_ops, .fd = fd, .features = VIRTIO_NET_OFFLOADS};
    fmt_line(p->port.name, sizeof(p->port.name), "switch=%s", c->name);
    *out = &p->port;
    return 0;
}

int switch_ask(const char *name, struct switch_report *out, struct net_error *err)
{
    const struct switch_hello hello = {
        .magic = SWITCH_MAGIC, .version = SWITCH_VERSION, .kind = SWITCH_HELLO_REPORT};
    int dir = switch_dir_open(false, err);
    int fd = dir < 0 ? dir : switch_dir_connect(dir, name);
    ssize_t n = fd < 0 ? fd : same_user(fd) ? exchange(fd, &hello, out, sizeof(*out)) : -EPERM;
    if (fd >= 0) {
        close(fd);
    }
    if (dir >= 0) {
        close(dir);
    }
    if (n == (ssize_t)sizeof(*out) && out->magic == SWITCH_MAGIC &&
        out->version == SWITCH_VERSION && out->ports <= SWITCH_PORTS_MAX) {
        return 0;
    }
    fmt_line(err->text, sizeof(err->text), "no switch %s runs", name);
    return -1;
}
