/* Taps in network namespaces of the test's own; and between two of them the switch, so that Linux's
 * TCP judges what src/net/offload.c makes of its frames.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/net.h"
#include "net/switch.h"

#define BYTES (16u << 20) /* per connection */
#define PORT 7777

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- an end: a namespace with one tap ---- */

struct end {
    struct net_port *tap;
    int snmp; /* its counters, open while we were in its namespace */
};

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static struct net_port *open_tap(const char *name)
{
    struct net_config c = {.kind = NET_TAP};
    struct net_error err = {{0}};
    struct net_port *p = NULL;
    snprintf(c.name, sizeof(c.name), "%s", name);
    if (net_open(&c, &p, &err)) {
        fail_msg("%s", err.text);
    }
    return p;
}

/* 10.9.0.host/24 and fd09::host/64. */
static void give_addresses(const char *name, unsigned host)
{
    struct ifreq req = {0};
    struct sockaddr_in *a = (struct sockaddr_in *)&req.ifr_addr;
    struct {
        struct in6_addr addr;
        uint32_t prefix;
        int index;
    } six = {.addr.s6_addr = {0xfd, 9, [15] = (uint8_t)host},
             .prefix = 64,
             .index = (int)if_nametoindex(name)};
    char path[96];
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_dad", name);
    write_file(path, "0");
    int fd = socket(AF_INET, SOCK_DGRAM, 0), fd6 = socket(AF_INET6, SOCK_DGRAM, 0);
    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
    a->sin_family = AF_INET;
    a->sin_addr.s_addr = htonl(0x0a090000 | host);
    assert_int_equal(ioctl(fd, SIOCSIFADDR, &req), 0);
    a->sin_addr.s_addr = htonl(0xffffff00);
    assert_int_equal(ioctl(fd, SIOCSIFNETMASK, &req), 0);
    if (fd6 >= 0) {
        (void)ioctl(fd6, SIOCSIFADDR, &six);
        close(fd6);
    }
    close(fd);
}

static struct end make_end(unsigned host)
{
    char name[16];
    snprintf(name, sizeof(name), "t%u", host);
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    struct end e = {.tap = open_tap(name), .snmp = open("/proc/self/net/snmp", O_RDONLY)};
    give_addresses(name, host);
    return e;
}

/* TCP segments that arrived with a wrong checksum. */
static uint64_t checksum_errors(const struct end *e)
{
    char text[8192];
    ssize_t n = pread(e->snmp, text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    const char *values = strstr(strstr(text, "Tcp:") + 1, "Tcp:");
    assert_non_null(values);
    unsigned long long v[15] = {0};
    int got = sscanf(
        values, "Tcp: %llu %llu %lld %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu",
        &v[0], &v[1], (long long *)&v[2], &v[3], &v[4], &v[5], &v[6], &v[7], &v[8], &v[9], &v[10],
        &v[11], &v[12], &v[13], &v[14]);
    assert_int_equal(got, 15);
    return v[14];
}

/* ---- one TCP connection through the switch ---- */

struct flow {
    struct end end[2];
    struct net_switch sw;
    uint64_t largest[2]; /* frame that came from that end */
};

static bool to_tap(void *ctx, unsigned port, const struct io_vec *vec, unsigned n)
{
    struct flow *f = ctx;
    struct net_port *p = f->end[port].tap;
    return p->ops->send(p, vec, n) == 0;
}

static void carry(struct flow *f, unsigned from)
{
    static uint8_t buf[NET_HDR_LEN + NET_FRAME_MAX];
    struct net_port *p = f->end[from].tap;
    int64_t len;
    while ((len = p->ops->receive(p, buf)) > 0) {
        f->largest[from] = (uint64_t)len > f->largest[from] ? (uint64_t)len : f->largest[from];
        switch_frame(&f->sw, from, buf, (size_t)len, now_ms() * 1000000);
    }
    assert_int_equal(len, 0);
}

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i * 7 + i / 4093);
}

static socklen_t address(struct sockaddr_storage *a, bool v6, unsigned host)
{
    memset(a, 0, sizeof(*a));
    if (v6) {
        *(struct sockaddr_in6 *)a =
            (struct sockaddr_in6){.sin6_family = AF_INET6,
                                  .sin6_port = htons(PORT),
                                  .sin6_addr.s6_addr = {0xfd, 9, [15] = (uint8_t)host}};
        return sizeof(struct sockaddr_in6);
    }
    *(struct sockaddr_in *)a = (struct sockaddr_in){.sin_family = AF_INET,
                                                    .sin_port = htons(PORT),
                                                    .sin_addr.s_addr = htonl(0x0a090000 | host)};
    return sizeof(struct sockaddr_in);
}

static bool send_some(int fd, uint64_t *done)
{
    uint8_t out[65536];
    size_t len = BYTES - *done < sizeof(out) ? BYTES - *done : sizeof(out);
    for (size_t i = 0; i < len; i++) {
        out[i] = byte_at(*done + i);
    }
    ssize_t n = send(fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    *done += n > 0 ? (uint64_t)n : 0;
    return *done < BYTES;
}

static void receive_some(int fd, uint64_t *done)
{
    uint8_t in[65536];
    ssize_t n;
    while ((n = recv(fd, in, sizeof(in), MSG_DONTWAIT)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(in[i], byte_at(*done + (uint64_t)i));
        }
        *done += (uint64_t)n;
    }
}

static void run_flow(struct flow *f, int listening, int client)
{
    uint64_t sent = 0, received = 0, end = now_ms() + 20000;
    int server = -1;
    while (received < BYTES) {
        struct pollfd fds[4] = {{.fd = f->end[0].tap->fd, .events = POLLIN},
                                {.fd = f->end[1].tap->fd, .events = POLLIN},
                                {.fd = server >= 0 ? server : listening, .events = POLLIN},
                                {.fd = client, .events = sent < BYTES ? POLLOUT : 0}};
        assert_true(poll(fds, 4, 5000) > 0 && now_ms() < end);
        carry(f, 0);
        carry(f, 1);
        if (server < 0 && fds[2].revents) {
            server = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
        }
        if (server >= 0) {
            receive_some(server, &received);
        }
        if (fds[3].revents & POLLOUT) {
            send_some(client, &sent);
        }
    }
    close(server);
}

/* A new IPv6 address takes a moment to be good for something. */
static bool with_patience(int (*call)(int, const struct sockaddr *, socklen_t), int fd,
                          const struct sockaddr_storage *a, socklen_t len)
{
    uint64_t end = now_ms() + 5000;
    while (call(fd, (const struct sockaddr *)a, len) && errno != EINPROGRESS) {
        const struct timespec step = {.tv_nsec = 10000000};
        if (now_ms() >= end) {
            return false;
        }
        nanosleep(&step, NULL);
    }
    return true;
}

/* From end 1 to end 0; takes: what the receiving port takes, the sender's kernel giving all it can.
 */
static void flow(bool v6, uint64_t takes, bool sender_offloads)
{
    static struct flow f;
    struct sockaddr_storage a;
    uint8_t mac[6] = {0x52, 0x33, 0, 0, 0, 1};
    unsigned port;
    const int on = 1;
    memset(&f, 0, sizeof(f));
    f.sw.out = to_tap;
    f.sw.ctx = &f;
    f.end[0] = make_end(1);
    socklen_t len = address(&a, v6, 1);
    int listening = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listening < 0) {
        skip(); /* no IPv6 here */
    }
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_true(with_patience(bind, listening, &a, len) && listen(listening, 1) == 0);
    f.end[1] = make_end(2);
    int client = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    for (unsigned i = 0; i < 2; i++) {
        bool gives = i == 0 || sender_offloads;
        mac[5] = (uint8_t)(100 + i);
        assert_int_equal(switch_plug(&f.sw, mac, "end", &port), SWITCH_WELCOME);
        f.end[i].tap->ops->set_features(f.end[i].tap, gives ? VIRTIO_NET_RECEIVE_OFFLOADS : 0);
        f.sw.port[i].features = takes;
    }
    assert_true(with_patience(connect, client, &a, len));
    run_flow(&f, listening, client);
    assert_int_equal(checksum_errors(&f.end[0]), 0);
    assert_int_equal(checksum_errors(&f.end[1]), 0);
    assert_true(sender_offloads ? f.largest[1] > 20000 : f.largest[1] < 2000);
    close(client);
    close(listening);
    for (unsigned i = 0; i < 2; i++) {
        close(f.end[i].snmp);
        net_close(f.end[i].tap);
    }
}

#define CSUM VIRTIO_NET_F_GUEST_CSUM

static void test_flow_plain(void **state)
{
    (void)state;
    flow(false, 0, false);
}

static void test_flow_cut(void **state)
{
    (void)state;
    flow(false, 0, true);
}

static void test_flow_cut_unsummed(void **state)
{
    (void)state;
    flow(false, CSUM, true);
}

static void test_flow_whole(void **state)
{
    (void)state;
    flow(false, VIRTIO_NET_RECEIVE_OFFLOADS, true);
}

static void test_flow_cut_v6(void **state)
{
    (void)state;
    flow(true, 0, true);
}

static void test_flow_whole_v6(void **state)
{
    (void)state;
    flow(true, VIRTIO_NET_RECEIVE_OFFLOADS, true);
}

/* ---- the tap itself ---- */

static void expect_refusal(const char *name, const char *says)
{
    struct net_config c = {.kind = NET_TAP};
    struct net_error err = {{0}};
    struct net_port *p;
    snprintf(c.name, sizeof(c.name), "%s", name);
    assert_int_equal(net_open(&c, &p, &err), -1);
    if (!strstr(err.text, says)) {
        fail_msg("'%s' does not say '%s'", err.text, says);
    }
}

static void delete_interface(const char *name)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
    } say = {.head = {.nlmsg_len = sizeof(say),
                      .nlmsg_type = RTM_DELLINK,
                      .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
             .info = {.ifi_family = AF_UNSPEC, .ifi_index = (int)if_nametoindex(name)}};
    char answer[4096];
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    assert_int_equal(send(fd, &say, sizeof(say), 0), sizeof(say));
    assert_true(recv(fd, answer, sizeof(answer), 0) > 0);
    close(fd);
}

static void test_life(void **state)
{
    (void)state;
    static uint8_t buf[NET_HDR_LEN + NET_FRAME_MAX];
    struct ifreq req = {.ifr_name = "t1"};
    struct end e = make_end(1);
    struct net_port *p = e.tap;
    assert_string_equal(p->name, "tap=t1");
    assert_int_equal(p->mtu, 0); /* what cards have anyway */
    assert_int_equal(p->features, VIRTIO_NET_OFFLOADS);
    expect_refusal("t1", "needs a tap of its own");
    expect_refusal("lo", "it is no tap");
    /* down: what is sent is lost */
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &req), 0);
    assert_true(req.ifr_flags & IFF_UP);
    req.ifr_flags = (short)(req.ifr_flags & ~IFF_UP);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &req), 0);
    const struct io_vec vec[2] = {{buf, NET_HDR_LEN}, {buf + NET_HDR_LEN, 60}};
    assert_int_equal(p->ops->send(p, vec, 2), 0);
    while (p->ops->receive(p, buf) > 0) {
    }
    assert_int_equal(p->ops->receive(p, buf), 0);
    /* gone: unplugged */
    delete_interface("t1");
    assert_true(p->ops->receive(p, buf) < 0);
    assert_int_equal(p->ops->send(p, vec, 2), 0);
    net_close(p);
    close(e.snmp);
    close(fd);
}

/* One that was made before, for several queues, with large frames. */
static void test_made_before(void **state)
{
    (void)state;
    struct ifreq req = {.ifr_name = "old", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE};
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    int fd = open("/dev/net/tun", O_RDWR), s = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(ioctl(fd, TUNSETIFF, &req), 0);
    assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
    close(fd);
    req.ifr_mtu = 9000;
    assert_int_equal(ioctl(s, SIOCSIFMTU, &req), 0);
    close(s);
    struct net_port *p = open_tap("old");
    assert_int_equal(p->mtu, 9000);
    net_close(p);
    p = open_tap("old");
    net_close(p);
    assert_true(if_nametoindex("old") > 0);
    p = open_tap("new");
    net_close(p);
    assert_int_equal(if_nametoindex("new"), 0); /* ours went with us */
}

static void test_not_allowed(void **state)
{
    (void)state;
    if (geteuid() == 0 || access("/dev/net/tun", R_OK | W_OK)) {
        skip();
    }
    expect_refusal("mine", "as root, once: ip tuntap add");
}

/* Namespaces and a tap are not everywhere to be had. */
static bool possible(void)
{
    char text[64];
    uid_t user = geteuid();
    gid_t group = getegid();
    if (user != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
            return false;
        }
        write_file("/proc/self/setgroups", "deny");
        /* still that user, but with all rights */
        snprintf(text, sizeof(text), "%u %u 1", user, user);
        write_file("/proc/self/uid_map", text);
        snprintf(text, sizeof(text), "%u %u 1", group, group);
        write_file("/proc/self/gid_map", text);
    } else if (unshare(CLONE_NEWNET)) {
        return false;
    }
    struct ifreq req = {.ifr_name = "probe", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR);
    bool ok = fd >= 0 && ioctl(fd, TUNSETIFF, &req) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

int main(void)
{
    const struct CMUnitTest before[] = {cmocka_unit_test(test_not_allowed)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_made_before),
        cmocka_unit_test(test_flow_plain),
        cmocka_unit_test(test_flow_cut),
        cmocka_unit_test(test_flow_cut_unsummed),
        cmocka_unit_test(test_flow_whole),
        cmocka_unit_test(test_flow_cut_v6),
        cmocka_unit_test(test_flow_whole_v6),
    };
    signal(SIGPIPE, SIG_IGN);
    int failed = cmocka_run_group_tests_name("without rights", before, NULL, NULL);
    if (!possible()) {
        puts("no network namespace or no tap to be had here");
        return failed ? failed : 77;
    }
    return failed | cmocka_run_group_tests(tests, NULL, NULL);
}
