/* Are the host's ports free? passt says nothing when it gets only half of them. No state. */
#include "net/passt.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 500
#define STEP_MS 20

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Bind and let go: 0 or -errno. An address family that the host lacks is free. */
static int try_bind(bool udp, const union address *a, socklen_t len)
{
    const int on = 1;
    int fd = socket(a->any.sa_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno == EAFNOSUPPORT ? 0 : -errno;
    }
    if (!udp) { /* as passt does: what only lingers is no hindrance */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    }
    if (a->any.sa_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    int err = bind(fd, &a->any, len) ? -errno : 0;
    close(fd);
    return err;
}

static int try_v4(const struct net_forward *f, uint16_t port, struct in_addr addr)
{
    union address a = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = addr}};
    return try_bind(f->udp, &a, sizeof(a.v4));
}

static int try_v6(const struct net_forward *f, uint16_t port, struct in6_addr addr)
{
    union address a = {
        .v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = addr}};
    int err = try_bind(f->udp, &a, sizeof(a.v6));
    /* a host without any IPv6 address */
    return err == -EADDRNOTAVAIL && !f->host_addr[0] ? 0 : err;
}

static int try_port(const struct net_forward *f, uint16_t port)
{
    struct in_addr v4 = {htonl(INADDR_ANY)};
    struct in6_addr v6 = in6addr_any;
    if (f->host_addr[0] && inet_pton(AF_INET, f->host_addr, &v4) == 1) {
        return try_v4(f, port, v4);
    }
    if (f->host_addr[0]) {
        return inet_pton(AF_INET6, f->host_addr, &v6) == 1 ? try_v6(f, port, v6) : -EADDRNOTAVAIL;
    }
    int err = try_v4(f, port, v4);
    return err ? err : try_v6(f, port, v6);
}

static int explain(const struct net_forward *f, uint16_t port, int errnum, struct net_error *err)
{
    const char *kind = f->udp ? "UDP" : "TCP";
    switch (-errnum) {
    case EADDRINUSE:
        fmt_line(err->text, sizeof(err->text),
                 "-p: %s port %u of the host is in use; choose another ('ss -tulpn' tells whose "
                 "it is)",
                 kind, port);
        break;
    case EACCES:
        fmt_line(err->text, sizeof(err->text),
                 "-p: %s port %u of the host is root's; choose one from 1024 up", kind, port);
        break;
    case EADDRNOTAVAIL:
        fmt_line(err->text, sizeof(err->text), "-p: the host has no address %s", f->host_addr);
        break;
    default:
        fmt_line(err->text, sizeof(err->text), "-p: %s port %u of the host: %s", kind, port,
                 strerror(-errnum));
        break;
    }
    return -1;
}

int passt_check_ports(const struct net_forward *f, struct net_error *err)
{
    int patience = PATIENCE_MS;
    for (unsigned i = 0; i < f->count; i++) {
        uint16_t port = (uint16_t)(f->host_port + i);
        int failed;
        while ((failed = try_port(f, port)) == -EADDRINUSE && patience > 0) {
            const struct timespec step = {.tv_nsec = STEP_MS * 1000000l};
            nanosleep(&step, NULL);
            patience -= STEP_MS;
        }
        if (failed) {
            return explain(f, port, failed, err);
        }
    }
    return 0;
}
