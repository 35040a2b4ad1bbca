/* --net user: frames to and from passt over a stream socket.
 *
 * Each frame is a 4-byte big-endian length and the frame itself, without a virtio header: passt
 * does no offloading, its frames are large instead (MTU 65520). What came is collected in `in`;
 * what the socket took only a part of waits in `out`, and until that is gone nothing else is sent.
 * Pings to the host are answered here: passt can do it only where the host lets everybody send them
 * (net.ipv4.ping_group_range).
 * Owner: the device's thread.
 */
#include "net/passt.h"

#include "base/log.h"
#include "net/echo.h"
#include "net/loopback.h"
#include "net/window.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define LENGTH_SIZE 4u
#define IN_SIZE (256u << 10)
#define IN_SIZE_LIMITED (4u << 20)
#define IPV4_PROTOCOL_AT 23u /* in a frame */

struct passt {
    struct net_port port;
    struct passt_process process;
    size_t in_size, in_at, in_len; /* in[in_at..in_len) has not been given out */
    size_t out_at, out_len;
    struct window_limit window;
    bool no_host_loopback;
    uint32_t host;   /* PASST_HOST, in network order */
    size_t echo_len; /* an answer to be received; 0: none */
    uint8_t echo[NET_ECHO_MAX];
    uint8_t out[LENGTH_SIZE + NET_FRAME_MAX];
    uint8_t in[]; /* in_size bytes */
};

static struct passt *of_port(struct net_port *p)
{
    return (struct passt *)p;
}

/* ---- sending ---- */

static void put_length(uint8_t to[LENGTH_SIZE], size_t len)
{
    for (unsigned i = 0; i < LENGTH_SIZE; i++) {
        to[i] = (uint8_t)(len >> (8 * (LENGTH_SIZE - 1 - i)));
    }
}

/* True: all gone. A connection that failed takes everything: the receiving side will say so. */
static bool flush_out(struct passt *p)
{
    while (p->out_at < p->out_len) {
        ssize_t n = send(p->port.fd, p->out + p->out_at, p->out_len - p->out_at,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return false;
        }
        p->out_at += n < 0 ? p->out_len - p->out_at : (size_t)n;
    }
    p->port.unsent = false;
    return true;
}

static void passt_flush(struct net_port *port)
{
    (void)flush_out(of_port(port));
}

/* Keep what lies behind the first `done` bytes of the vectors. */
static void keep_rest(struct passt *p, const struct iovec *vec, unsigned n, size_t done)
{
    p->out_at = p->out_len = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t skip = done < vec[i].iov_len ? done : vec[i].iov_len;
        memcpy(p->out + p->out_len, (const uint8_t *)vec[i].iov_base + skip, vec[i].iov_len - skip);
        p->out_len += vec[i].iov_len - skip;
        done -= skip;
    }
    p->port.unsent = true;
}

/* A ping to the host, answered. An answer that has not been received yet is lost to the next. */
static bool answer_ping(struct passt *p, const struct io_vec *vec, unsigned n)
{
    uint8_t frame[NET_ECHO_MAX];
    size_t len = 0;
    if (n > 1 && vec[1].len > IPV4_PROTOCOL_AT && vec[1].base[IPV4_PROTOCOL_AT] != IPPROTO_ICMP) {
        return false; /* most frames */
    }
    for (unsigned i = 1; i < n; i++) {
        if (vec[i].len > sizeof(frame) - len) {
            return false;
        }
        memcpy(frame + len, vec[i].base, vec[i].len);
        len += vec[i].len;
    }
    size_t answer = net_echo(frame, len, p->host, p->echo);
    p->echo_len = answer ? answer : p->echo_len;
    p->port.ready |= answer != 0;
    return answer != 0;
}

static bool is_shut_out(const struct passt *p, const struct io_vec *vec, unsigned n)
{
    uint8_t head[LOOPBACK_HEAD];
    size_t len = 0;
    for (unsigned i = 1; i < n && p->no_host_loopback && len < sizeof(head); i++) {
        size_t part = min_u64(vec[i].len, sizeof(head) - len);
        memcpy(head + len, vec[i].base, part);
        len += part;
    }
    return net_to_loopback(head, len);
}

/* The frame's vectors behind vec[0], the header: what the window's limit changes in a copy, `head`,
 * the rest as it is. Returns how many. */
static unsigned gather(struct passt *p, const struct io_vec *vec, unsigned n, uint8_t *head,
                       struct iovec iov[1 + VIRTQ_SEGMENTS_MAX])
{
    size_t len = 0, skip = 0;
    unsigned count = 0;
    for (unsigned i = 1; i < n && p->window.bytes && len < WINDOW_HEAD; i++) {
        size_t part = min_u64(vec[i].len, WINDOW_HEAD - len);
        memcpy(head + len, vec[i].base, part);
        len += part;
    }
    if (window_limit(&p->window, head, len)) {
        iov[count++] = (struct iovec){.iov_base = head, .iov_len = len};
        skip = len;
    }
    for (unsigned i = 1; i < n && count <= VIRTQ_SEGMENTS_MAX; i++) {
        size_t part = min_u64(vec[i].len, skip);
        if (part < vec[i].len) {
            iov[count++] =
                (struct iovec){.iov_base = vec[i].base + part, .iov_len = vec[i].len - part};
        }
        skip -= part;
    }
    return count;
}

static int passt_send(struct net_port *port, const struct io_vec *vec, unsigned n)
{
    struct passt *p = of_port(port);
    uint8_t length[LENGTH_SIZE], head[WINDOW_HEAD];
    struct iovec iov[2 + VIRTQ_SEGMENTS_MAX];
    if (!flush_out(p)) {
        return -EAGAIN;
    }
    if (answer_ping(p, vec, n) || is_shut_out(p, vec, n)) {
        return 0;
    }
    unsigned count = 1 + gather(p, vec, n, head, iov + 1);
    size_t total = 0;
    for (unsigned i = 1; i < count; i++) {
        total += iov[i].iov_len;
    }
    put_length(length, total);
    iov[0] = (struct iovec){.iov_base = length, .iov_len = sizeof(length)};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t sent;
    do {
        sent = sendmsg(port->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        return errno == EAGAIN ? -EAGAIN : 0;
    }
    if ((size_t)sent < LENGTH_SIZE + total) {
        keep_rest(p, iov, count, (size_t)sent);
    }
    return 0;
}

/* ---- receiving ---- */

/* The length of the frame at in_at. 0: it is not all here; -1: there can be no such frame. */
static int64_t next_length(const struct passt *p)
{
    const uint8_t *at = p->in + p->in_at;
    size_t have = p->in_len - p->in_at;
    if (have < LENGTH_SIZE) {
        return 0;
    }
    uint32_t len = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    if (len < VIRTIO_NET_FRAME_MIN || len > NET_FRAME_MAX) {
        return -1;
    }
    return have - LENGTH_SIZE < len ? 0 : len;
}

/* More into `in`. 1: some came; 0: none there, or no room; -errno: the end. */
static int read_more(struct passt *p)
{
    if (p->in_size - p->in_len < LENGTH_SIZE + NET_FRAME_MAX) {
        memmove(p->in, p->in + p->in_at, p->in_len - p->in_at);
        p->in_len -= p->in_at;
        p->in_at = 0;
    }
    if (p->in_len == p->in_size) {
        return 0;
    }
    ssize_t n;
    do {
        n = recv(p->port.fd, p->in + p->in_len, p->in_size - p->in_len, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN ? 0 : -errno;
    }
    p->in_len += (size_t)n;
    return n ? 1 : -EPIPE;
}

/* passt takes badly to a full socket: what is behind a rate limit waits here. */
static void passt_hoard(struct net_port *port)
{
    struct passt *p = of_port(port);
    bool ended = read_more(p) < 0; /* to be noticed when it may be received */
    port->ready = true;
    port->full = ended || p->in_len - p->in_at > p->in_size - (LENGTH_SIZE + NET_FRAME_MAX);
}

static int64_t receive_echo(struct passt *p, uint8_t *buf)
{
    size_t len = p->echo_len;
    memset(buf, 0, NET_HDR_LEN);
    memcpy(buf + NET_HDR_LEN, p->echo, len);
    p->echo_len = 0;
    return (int64_t)(NET_HDR_LEN + len);
}

static int64_t passt_receive(struct net_port *port, uint8_t *buf)
{
    struct passt *p = of_port(port);
    int64_t len;
    if (p->echo_len) {
        return receive_echo(p, buf);
    }
    port->full = false;
    while ((len = next_length(p)) == 0) {
        int more = read_more(p);
        if (more <= 0) {
            port->ready = false;
            return more;
        }
    }
    if (len < 0) {
        return -EPROTO;
    }
    memset(buf, 0, NET_HDR_LEN);
    memcpy(buf + NET_HDR_LEN, p->in + p->in_at + LENGTH_SIZE, (size_t)len);
    p->in_at += LENGTH_SIZE + (size_t)len;
    return (int64_t)NET_HDR_LEN + len;
}

/* ---- life ---- */

static void passt_close(struct net_port *port)
{
    struct passt *p = of_port(port);
    passt_stop(&p->process);
    free(p);
}

static const struct net_ops passt_ops = {
    .send = passt_send,
    .receive = passt_receive,
    .flush = passt_flush,
    .hoard = passt_hoard,
    .close = passt_close,
};

int passt_open(const struct net_config *c, struct net_port **out, struct net_error *err)
{
    uint8_t mac[6];
    size_t in_size = c->bps ? IN_SIZE_LIMITED : IN_SIZE;
    struct passt *p = calloc(1, sizeof(*p) + in_size);
    if (!p) {
        fmt_line(err->text, sizeof(err->text), "--net user: no memory");
        return -1;
    }
    net_make_mac(c, mac);
    if (passt_start(c, mac, &p->process, err)) {
        free(p);
        return -1;
    }
    p->in_size = in_size;
    p->port.ops = &passt_ops;
    p->port.fd = p->process.fd;
    p->port.mtu = passt_pace(c->bps).mtu;
    p->window.bytes = passt_pace(c->bps).window;
    p->no_host_loopback = c->no_host_loopback;
    p->host = inet_addr(PASST_HOST);
    fmt_line(p->port.name, sizeof(p->port.name), "user");
    *out = &p->port;
    return 0;
}
