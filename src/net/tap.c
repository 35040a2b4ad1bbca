/* --net tap=NAME: a tap interface of the host, whose kernel takes and gives frames as they are,
 * offloads and all. It exists already and belongs to the user, or is made here, which takes
 * CAP_NET_ADMIN. Owner: the device's thread.
 */
#include "net/net.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define ETHERNET_MTU 1500

static int tap_send(struct net_port *p, const struct io_vec *vec, unsigned n)
{
    _Static_assert(sizeof(struct io_vec) == sizeof(struct iovec) &&
                       offsetof(struct io_vec, len) == offsetof(struct iovec, iov_len),
                   "io_vec is iovec by another name");
    ssize_t sent;
    do {
        sent = writev(p->fd, (const struct iovec *)(const void *)vec, (int)n);
    } while (sent < 0 && errno == EINTR);
    /* Any other error is the fate of this frame: the interface is down, or the kernel does not like
     * it. */
    return sent < 0 && errno == EAGAIN ? -EAGAIN : 0;
}

static int64_t tap_receive(struct net_port *p, uint8_t *buf)
{
    for (;;) {
        ssize_t n = read(p->fd, buf, NET_HDR_LEN + NET_FRAME_MAX);
        if (n >= (ssize_t)(NET_HDR_LEN + VIRTIO_NET_FRAME_MIN) &&
            n <= (ssize_t)(NET_HDR_LEN + NET_FRAME_MAX)) {
            return n;
        }
        if (n < 0 && errno != EINTR) {
            return errno == EAGAIN ? 0 : -errno;
        }
        /* no frame that a card could take: the next one */
    }
}

static void tap_set_features(struct net_port *p, uint64_t features)
{
    static const struct {
        uint64_t feature;
        unsigned flag;
    } pairs[] = {
        {VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM},
        {VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4},
        {VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6},
        {VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN},
    };
    unsigned flags = 0;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        flags |= features & pairs[i].feature ? pairs[i].flag : 0;
    }
    /* What the kernel cannot keep to, the card drops: it checks each header. */
    (void)ioctl(p->fd, TUNSETOFFLOAD, (unsigned long)flags);
}

static void tap_close(struct net_port *p)
{
    close(p->fd);
    free(p);
}

static const struct net_ops tap_ops = {
    .send = tap_send, .receive = tap_receive, .set_features = tap_set_features, .close = tap_close};

/* ---- opening ---- */

static int explain(const struct net_config *c, int errnum, struct net_error *err)
{
    const char *name = c->name;
    switch (errnum) {
    case EPERM:
        fmt_line(
            err->text, sizeof(err->text),
            "--net tap=%s: not allowed; as root, once: ip tuntap add dev %s mode tap user %u && ip "
            "link set %s up",
            name, name, (unsigned)geteuid(), name);
        break;
    case EBUSY:
        fmt_line(
            err->text, sizeof(err->text),
            "--net tap=%s: another program or machine uses it; each machine needs a tap of its own",
            name);
        break;
    case EINVAL:
        fmt_line(err->text, sizeof(err->text),
                 "--net tap=%s: the host has an interface %s, but it is no tap", name, name);
        break;
    default:
        fmt_line(err->text, sizeof(err->text), "--net tap=%s: %s", name, strerror(errnum));
        break;
    }
    return -1;
}

static int open_tun(const struct net_config *c, struct net_error *err)
{
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        return fd;
    }
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
        fmt_line(
            err->text, sizeof(err->text),
            "--net tap=%s: the host has no /dev/net/tun; as root: modprobe tun (in a container, "
            "pass the device in)",
            c->name);
    } else {
        const char *remedy = errno == EACCES ? "; as root: chmod 666 /dev/net/tun" : "";
        fmt_line(err->text, sizeof(err->text), "--net tap=%s: cannot open /dev/net/tun: %s%s",
                 c->name, strerror(errno), remedy);
    }
    return -1;
}

/* 0 or a positive errno. An interface made for several queues wants to hear so. */
static int attach(int fd, const struct net_config *c)
{
    static const short ways[] = {0, IFF_MULTI_QUEUE};
    int why = 0;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct ifreq req = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | ways[i])};
        fmt_line(req.ifr_name, sizeof(req.ifr_name), "%s", c->name);
        if (ioctl(fd, TUNSETIFF, &req) == 0) {
            return 0;
        }
        why = i == 0 ? errno : why;
        if (why != EINVAL) {
            break;
        }
    }
    return why;
}

/* What the interface is like; and up, if we may. */
static void adjust(struct net_port *p, const struct net_config *c)
{
    struct ifreq req = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    fmt_line(req.ifr_name, sizeof(req.ifr_name), "%s", c->name);
    if (ioctl(fd, SIOCGIFMTU, &req) == 0 && req.ifr_mtu != ETHERNET_MTU && req.ifr_mtu >= 68 &&
        req.ifr_mtu <= 65535) {
        p->mtu = (uint16_t)req.ifr_mtu;
    }
    if (ioctl(fd, SIOCGIFFLAGS, &req) == 0 && !(req.ifr_flags & IFF_UP)) {
        req.ifr_flags = (short)(req.ifr_flags | IFF_UP);
        (void)ioctl(fd, SIOCSIFFLAGS, &req); /* else whoever made it will bring it up */
    }
    close(fd);
}

int tap_open(const struct net_config *c, struct net_port **out, struct net_error *err)
{
    int fd = open_tun(c, err);
    if (fd < 0) {
        return -1;
    }
    const int header = NET_HDR_LEN, on = 1;
    int why = attach(fd, c);
    if (!why && (ioctl(fd, TUNSETVNETHDRSZ, &header) || ioctl(fd, TUNSETVNETLE, &on))) {
        why = errno;
    }
    struct net_port *p = why ? NULL : calloc(1, sizeof(*p));
    if (!p) {
        close(fd);
        return explain(c, why ? why : ENOMEM, err);
    }
    *p = (struct net_port){.ops = &tap_ops, .fd = fd, .features = VIRTIO_NET_OFFLOADS};
    fmt_line(p->name, sizeof(p->name), "tap=%s", c->name);
    tap_set_features(p, 0);
    adjust(p, c);
    *out = p;
    return 0;
}
