/* Starting and ending passt.
 *
 * passt inherits one end of a socket pair and ends when the other is closed, so it cannot outlive
 * us. It jails itself (as root it becomes nobody first). Nothing tells when it is ready, so we ask
 * it for the host's Ethernet address until it answers or has ended; its last words then say why.
 * Tried with the versions of Debian 12 and 13.
 */
#include "net/passt.h"

#include "base/log.h"
#include "host/linux/spawn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/if_ether.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define CHILD_FD 3
#define START_MS 10000
#define END_MS 1000
#define SOCKET_ROOM (4 << 20)
#define ARGS_MAX (25 + 2 * PASST_DNS_MAX + 2 * NET_FORWARDS_MAX)

/* ---- its command line ---- */

struct command {
    char *arg[ARGS_MAX + 1];
    unsigned count;
    char text[NET_FORWARDS_MAX][80]; /* of the forwards */
    char interface[IF_NAMESIZE];
    char mtu[8];
    char dns[PASST_DNS_MAX][INET6_ADDRSTRLEN];
};

static void add(struct command *cmd, const char *arg)
{
    if (cmd->count < ARGS_MAX) {
        cmd->arg[cmd->count++] = (char *)(uintptr_t)arg; /* execve does not change it */
    }
}

static void add_pair(struct command *cmd, const char *option, const char *value)
{
    add(cmd, option);
    add(cmd, value);
}

/* "ADDR/8000-8010:80-90", as passt writes it. */
static void format_forward(const struct net_forward *f, char *to, size_t size)
{
    fmt_line(to, size, "%s%s%u-%u:%u-%u", f->host_addr, f->host_addr[0] ? "/" : "", f->host_port,
             f->host_port + f->count - 1, f->guest_port, f->guest_port + f->count - 1);
}

/* Every protocol is mentioned: what passt does with one left away differs. */
static void add_forwards(struct command *cmd, const struct net_config *c)
{
    bool some[2] = {false, false};
    for (unsigned i = 0; i < c->forwards; i++) {
        const struct net_forward *f = &c->forward[i];
        format_forward(f, cmd->text[i], sizeof(cmd->text[i]));
        add_pair(cmd, f->udp ? "-u" : "-t", cmd->text[i]);
        some[f->udp] = true;
    }
    if (!some[false]) {
        add_pair(cmd, "-t", "none");
    }
    if (!some[true]) {
        add_pair(cmd, "-u", "none");
    }
}

static bool has_ipv4_default_route(void)
{
    char line[256];
    bool found = false;
    FILE *f = fopen("/proc/net/route", "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        unsigned long to, gateway, mask;
        unsigned flags;
        found = sscanf(line, "%*s %lx %lx %x %*s %*s %*s %lx", &to, &gateway, &flags, &mask) == 4 &&
                to == 0 && mask == 0 && (flags & RTF_UP);
    }
    if (f) {
        fclose(f);
    }
    return found;
}

/* The interface of the IPv6 default route, or "lo". */
static void find_ipv6_interface(char name[IF_NAMESIZE])
{
    char line[256], dev[IF_NAMESIZE];
    FILE *f = fopen("/proc/net/ipv6_route", "re");
    fmt_line(name, IF_NAMESIZE, "lo");
    while (f && fgets(line, sizeof(line), f)) {
        char to[33];
        unsigned len, flags;
        if (sscanf(line, "%32s %x %*s %*s %*s %*s %*s %*s %x %15s", to, &len, &flags, dev) == 4 &&
            strspn(to, "0") == 32 && len == 0 && (flags & RTF_UP) && strcmp(dev, "lo") != 0) {
            fmt_line(name, IF_NAMESIZE, "%s", dev);
            break;
        }
    }
    if (f) {
        fclose(f);
    }
}

/* The gateway's address no longer stands for the host. passt of 2023 would still connect to the
 * loopback addresses themselves: passt.c lets no such frame through. */
static void shut_out(struct command *cmd)
{
    add(cmd, "--no-map-gw");
    unsigned n = passt_find_dns(PASST_RESOLV, PASST_RESOLV_BEHIND, cmd->dns);
    for (unsigned i = 0; i < n; i++) {
        add_pair(cmd, "--dns", cmd->dns[i]);
    }
}

/* passt takes an interface to model the guest's on: by itself that of the default route. Where
 * there is none, any will do, since addresses are given. */
static void make_command(struct command *cmd, const struct net_config *c)
{
    cmd->count = 0;
    add(cmd, "passt");
    add(cmd, "--foreground");
    add(cmd, "--quiet");
    add_pair(cmd, "--fd", "3");
    add_pair(cmd, "--address", PASST_GUEST);
    add_pair(cmd, "--netmask", PASST_NETMASK);
    add_pair(cmd, "--gateway", PASST_HOST);
    add_pair(cmd, "--mac-addr", PASST_HOST_MAC);
    fmt_line(cmd->mtu, sizeof(cmd->mtu), "%u", passt_pace(c->bps).mtu);
    add_pair(cmd, "--mtu", cmd->mtu);
    if (!has_ipv4_default_route()) {
        find_ipv6_interface(cmd->interface);
        add_pair(cmd, "--interface", cmd->interface);
    }
    if (c->no_host_loopback) {
        shut_out(cmd);
    }
    add_forwards(cmd, c);
    cmd->arg[cmd->count] = NULL;
}

/* ---- the process ---- */

static void close_if_open(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static int start_process(const struct command *cmd, struct passt_process *p)
{
    int pair[2] = {-1, -1}, said[2] = {-1, -1};
    int err = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ||
                      pipe2(said, O_CLOEXEC | O_NONBLOCK)
                  ? -errno
                  : 0;
    /* As much room for its frames as it may have: what does not fit, passt loses. */
    const int room = SOCKET_ROOM;
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    const int fds[CHILD_FD + 1] = {-1, said[1], said[1], pair[1]};
    const struct spawn passt = {.program = "passt",
                                .argv = cmd->arg,
                                .envp = environ,
                                .fds = fds,
                                .fd_count = ARRAY_LEN(fds)};
    err = err ? err : spawn_process(&passt, &p->pid);
    close_if_open(pair[1]);
    close_if_open(said[1]);
    if (err) {
        close_if_open(pair[0]);
        close_if_open(said[0]);
        return err;
    }
    p->fd = pair[0];
    p->messages = said[0];
    p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void passt_stop(struct passt_process *p)
{
    struct pollfd end = {.fd = p->pidfd, .events = POLLIN};
    close(p->fd);
    close(p->messages);
    if (p->pidfd >= 0 && poll(&end, 1, END_MS) == 0) {
        /* a jail allows no other kill */
        syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
    }
    waitpid(p->pid, NULL, p->pidfd >= 0 ? 0 : WNOHANG);
    close_if_open(p->pidfd);
}

/* ---- whether it works ---- */

/* "Who has 10.0.2.2?" from the guest's card, with its length in front. */
static bool ask(int fd, const uint8_t mac[6])
{
    struct {
        uint32_t length;
        struct ether_header eth;
        struct ether_arp arp;
    } __attribute__((packed)) frame = {
        .length = htonl(sizeof(frame) - sizeof(frame.length)),
        .eth = {.ether_dhost = {255, 255, 255, 255, 255, 255}, .ether_type = htons(ETHERTYPE_ARP)},
        .arp.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER),
                       .ar_pro = htons(ETHERTYPE_IP),
                       .ar_hln = 6,
                       .ar_pln = 4,
                       .ar_op = htons(ARPOP_REQUEST)},
    };
    memcpy(frame.eth.ether_shost, mac, 6);
    memcpy(frame.arp.arp_sha, mac, 6);
    in_addr_t guest = inet_addr(PASST_GUEST), host = inet_addr(PASST_HOST);
    memcpy(frame.arp.arp_spa, &guest, sizeof(guest));
    memcpy(frame.arp.arp_tpa, &host, sizeof(host));
    return send(fd, &frame, sizeof(frame), MSG_NOSIGNAL) == (ssize_t)sizeof(frame);
}

/* Wait until it has sent a whole frame, and drop that. False: it ended, or is silent. */
static bool answers(int fd)
{
    uint8_t buf[2048];
    int64_t end = now_ms() + START_MS;
    size_t have = 0, want = 4;
    while (have < want) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int64_t left = end - now_ms();
        if (left <= 0 || (poll(&wait, 1, (int)left) < 0 && errno != EINTR)) {
            return false;
        }
        ssize_t n = recv(fd, buf + have, want - have, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            return false;
        }
        have += n > 0 ? (size_t)n : 0;
        if (have == 4 && want == 4) {
            want = 4 + ((size_t)buf[2] << 8 | buf[3]);
            if (buf[0] || buf[1] || want > sizeof(buf)) {
                return false;
            }
        }
    }
    return true;
}

/* Its last line that says something, without what every start says. */
static void last_words(int messages, char *to, size_t size)
{
    static const char *const usual[] = {"Failed to send", "Don't run as root", "Started as root",
                                        "No IPv6 nameserver", "Couldn't get any nameserver"};
    char said[4096];
    ssize_t n = read(messages, said, sizeof(said) - 1);
    said[n > 0 ? n : 0] = '\0';
    fmt_line(to, size, "it says nothing");
    char *save = NULL;
    for (char *line = strtok_r(said, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        bool skip = line[0] == ' ' || line[0] == '\t';
        for (size_t i = 0; i < ARRAY_LEN(usual) && !skip; i++) {
            skip = strncmp(line, usual[i], strlen(usual[i])) == 0;
        }
        if (!skip) {
            fmt_line(to, size, "%s", line);
        }
    }
}

static int explain(struct passt_process *p, struct net_error *err)
{
    char why[256];
    struct pollfd end = {.fd = p->pidfd, .events = POLLIN};
    bool ended = poll(&end, 1, 100) == 1; /* its socket closes before it has quite ended */
    last_words(p->messages, why, sizeof(why));
    const char *remedy = strstr(why, "user namespace")
                             ? "; passt needs user namespaces, which a container must be allowed"
                             : "";
    fmt_line(err->text, sizeof(err->text), "--net user: passt %s: %s%s",
             ended ? "does not start" : "does not answer", why, remedy);
    return -1;
}

int passt_start(const struct net_config *c, const uint8_t mac[6], struct passt_process *out,
                struct net_error *err)
{
    for (unsigned i = 0; i < c->forwards; i++) {
        if (passt_check_ports(&c->forward[i], err)) {
            return -1;
        }
    }
    struct command cmd;
    make_command(&cmd, c);
    int failed = start_process(&cmd, out);
    if (failed == -ENOENT) {
        fmt_line(err->text, sizeof(err->text),
                 "--net user: the program passt is not there; install the package passt");
        return -1;
    }
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "--net user: cannot start passt: %s",
                 strerror(-failed));
        return -1;
    }
    if (ask(out->fd, mac) && answers(out->fd)) {
        return 0;
    }
    int rc = explain(out, err);
    passt_stop(out);
    return rc;
}
