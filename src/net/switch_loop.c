/* The process that is a switch: sockets around switch.c.
 *
 * State: struct server, allocated once, before the jail. Afterwards the process has its sockets, a
 * few system calls on sockets, and nothing else: no files, no memory calls, no privileges. It never
 * waits for anybody: what a port has no room for is dropped, a connection that says nothing is
 * closed.
 */
#include "net/switch_process.h"

#include "host/linux/jail.h"

#include <errno.h>
#include <poll.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define GUESTS_MAX (SWITCH_PORTS_MAX + 8) /* ports, and who has only just come */
#define FILES_MAX (GUESTS_MAX + 16)
#define BUFFER_SIZE (1 << 20)
#define HELLO_S 5
#define START_S 10 /* until the first port, at most */
#define TURN 64u   /* frames that one port may have handled before the next is looked at */
#define NO_FILES_NS (NS_PER_S / 10)

struct guest {
    int fd;   /* -1: free */
    int port; /* -1: has not said hello */
    uint64_t since_ns;
};

struct server {
    struct net_switch net;
    int listening;
    uid_t user;
    uint64_t now_ns;
    uint64_t end_ns;    /* when to end, if there is still no port */
    uint64_t accept_ns; /* not before: the host had no more file descriptors */
    int fd_of[SWITCH_PORTS_MAX];
    struct guest guest[GUESTS_MAX];
    struct switch_report report;
    uint8_t buf[SWITCH_FRAME_MAX];
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- frames ---- */

static bool put_out(void *ctx, unsigned port, const struct io_vec *vec, unsigned n)
{
    const struct server *s = ctx;
    /* the vectors are only read */
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)vec, .msg_iovlen = n};
    return sendmsg(s->fd_of[port], &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void take_features(struct server *s, unsigned port, size_t len)
{
    struct switch_features say;
    struct switch_port *p = &s->net.port[port];
    memcpy(&say, s->buf, sizeof(say));
    if (len != sizeof(say) || say.magic != SWITCH_MAGIC) {
        p->count.bad++;
        return;
    }
    bool sums = say.features & VIRTIO_NET_F_GUEST_CSUM; /* without, the others mean nothing */
    p->features = sums ? say.features & VIRTIO_NET_RECEIVE_OFFLOADS : 0;
}

/* ---- who comes and goes ---- */

static void show_out(struct server *s, struct guest *g)
{
    close(g->fd);
    if (g->port >= 0) {
        switch_unplug(&s->net, (unsigned)g->port);
        s->end_ns = s->now_ns + SWITCH_LINGER_S * NS_PER_S;
    }
    g->fd = -1;
}

static void answer(int fd, const void *message, size_t len)
{
    (void)!send(fd, message, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send_report(struct server *s, int fd)
{
    struct switch_report *r = &s->report;
    memset(r, 0, sizeof(*r));
    r->magic = SWITCH_MAGIC;
    r->version = SWITCH_VERSION;
    for (unsigned i = 0; i < SWITCH_PORTS_MAX; i++) {
        if (s->net.port[i].plugged) {
            r->port[r->ports++] = s->net.port[i];
        }
    }
    answer(fd, r, sizeof(*r));
}

/* Plug in who said hello. False: show it out. */
static bool welcome(struct server *s, struct guest *g, const struct switch_hello *hello)
{
    unsigned port = 0;
    struct switch_welcome w = {.magic = SWITCH_MAGIC, .version = SWITCH_VERSION};
    char name[SWITCH_NAME_MAX + 1] = {0};
    memcpy(name, hello->name, SWITCH_NAME_MAX);
    w.refusal = switch_plug(&s->net, hello->mac, name, &port);
    if (w.refusal == SWITCH_MAC_TAKEN) {
        int holder = mac_table_find(&s->net.macs, hello->mac, s->now_ns);
        memcpy(w.holder, s->net.port[holder].name, sizeof(w.holder));
    }
    answer(g->fd, &w, sizeof(w));
    if (w.refusal != SWITCH_WELCOME) {
        return false;
    }
    g->port = (int)port;
    s->fd_of[port] = g->fd;
    return true;
}

static bool greet(struct server *s, struct guest *g)
{
    struct switch_hello hello;
    ssize_t n = recv(g->fd, &hello, sizeof(hello), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n != (ssize_t)sizeof(hello) || hello.magic != SWITCH_MAGIC) {
        return false;
    }
    if (hello.version != SWITCH_VERSION) {
        const struct switch_welcome w = {
            .magic = SWITCH_MAGIC, .version = SWITCH_VERSION, .refusal = SWITCH_BAD_HELLO};
        answer(g->fd, &w, sizeof(w));
        return false;
    }
    if (hello.kind != SWITCH_HELLO_PORT) {
        send_report(s, g->fd);
        return false;
    }
    return welcome(s, g, &hello);
}

/* What a port sent, up to a turn. False: it is gone. */
static bool serve_port(struct server *s, struct guest *g)
{
    unsigned port = (unsigned)g->port, cost = 0;
    while (cost < TURN) {
        ssize_t n = recv(g->fd, s->buf, sizeof(s->buf), MSG_DONTWAIT | MSG_TRUNC);
        if (n <= 0) {
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        }
        if (n > (ssize_t)sizeof(s->buf)) {
            s->net.port[port].count.bad++;
            cost++;
        } else if (n < (ssize_t)SWITCH_FRAME_MIN) {
            take_features(s, port, (size_t)n);
            cost++;
        } else {
            cost += switch_frame(&s->net, port, s->buf, (size_t)n, s->now_ns);
        }
    }
    return true;
}

static bool same_user(const struct server *s, int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.uid == s->user;
}

static void let_in(struct server *s)
{
    struct guest *g = NULL;
    const int size = BUFFER_SIZE;
    for (unsigned i = 0; i < GUESTS_MAX && !g; i++) {
        g = s->guest[i].fd < 0 ? &s->guest[i] : NULL;
    }
    int fd = accept4(s->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        s->accept_ns = errno == EMFILE || errno == ENFILE ? s->now_ns + NO_FILES_NS : 0;
        return;
    }
    if (!g || !same_user(s, fd)) {
        close(fd);
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* as far as we may */
    *g = (struct guest){.fd = fd, .port = -1, .since_ns = s->now_ns};
}

/* ---- the loop ---- */

/* Show out who says nothing. Returns the time of the next thing to do without anybody's asking; 0:
 * end. */
static uint64_t keep_house(struct server *s)
{
    uint64_t next = UINT64_MAX;
    bool ports = false;
    for (unsigned i = 0; i < GUESTS_MAX; i++) {
        struct guest *g = &s->guest[i];
        uint64_t limit = g->since_ns + HELLO_S * NS_PER_S;
        ports |= g->fd >= 0 && g->port >= 0;
        if (g->fd >= 0 && g->port < 0 && s->now_ns >= limit) {
            show_out(s, g);
        } else if (g->fd >= 0 && g->port < 0) {
            next = min_u64(next, limit);
        }
    }
    if (!ports) {
        next = s->now_ns >= s->end_ns ? 0 : min_u64(next, s->end_ns);
    }
    if (s->now_ns >= s->accept_ns) {
        s->accept_ns = 0;
    }
    return s->accept_ns && next ? min_u64(next, s->accept_ns) : next;
}

static void wait_for_work(const struct server *s, uint64_t until_ns,
                          struct pollfd fds[1 + GUESTS_MAX])
{
    struct timespec rest, *timeout = NULL;
    fds[0] = (struct pollfd){.fd = s->accept_ns ? -1 : s->listening, .events = POLLIN};
    for (unsigned i = 0; i < GUESTS_MAX; i++) {
        fds[1 + i] = (struct pollfd){.fd = s->guest[i].fd, .events = POLLIN};
    }
    if (until_ns != UINT64_MAX) {
        uint64_t left = until_ns > s->now_ns ? until_ns - s->now_ns : 0;
        rest = (struct timespec){.tv_sec = (time_t)(left / NS_PER_S),
                                 .tv_nsec = (long)(left % NS_PER_S)};
        timeout = &rest;
    }
    if (ppoll(fds, 1 + GUESTS_MAX, timeout, NULL) < 0) {
        for (unsigned i = 0; i < 1 + GUESTS_MAX; i++) {
            fds[i].revents = 0;
        }
    }
}

static void serve(struct server *s)
{
    struct pollfd fds[1 + GUESTS_MAX];
    uint64_t next;
    while ((next = keep_house(s)) != 0) {
        wait_for_work(s, next, fds);
        s->now_ns = now_ns();
        for (unsigned i = 0; i < GUESTS_MAX; i++) {
            struct guest *g = &s->guest[i];
            if (fds[1 + i].revents && !(g->port < 0 ? greet(s, g) : serve_port(s, g))) {
                show_out(s, g);
            }
        }
        if (fds[0].revents) {
            let_in(s);
        }
    }
}

/* ---- the jail ---- */

static void allow_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FILES_MAX) {
        limit.rlim_cur = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool lock_up(void)
{
    static const int calls[] = {
        SCMP_SYS(accept4),    SCMP_SYS(clock_gettime),   SCMP_SYS(close),
        SCMP_SYS(exit_group), SCMP_SYS(getsockopt),      SCMP_SYS(ppoll),
        SCMP_SYS(recvfrom),   SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sendmsg),    SCMP_SYS(sendto),
    };
    static const struct scmp_arg_cmp buffers[2] = {
        {.arg = 1, .op = SCMP_CMP_EQ, .datum_a = SOL_SOCKET},
        {.arg = 2, .op = SCMP_CMP_EQ, .datum_a = SO_SNDBUF},
    };
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int rc = ctx ? 0 : -ENOMEM;
    for (size_t i = 0; !rc && i < ARRAY_LEN(calls); i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
    }
    rc = rc ? rc : seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2, buffers);
    rc = rc ? rc : seccomp_load(ctx);
    return rc == 0;
}

void switch_loop(int listening)
{
    struct server *s = calloc(1, sizeof(*s));
    if (!s) {
        return;
    }
    s->listening = listening;
    s->user = geteuid();
    s->net.out = put_out;
    s->net.ctx = s;
    s->now_ns = now_ns();
    s->end_ns = s->now_ns + START_S * NS_PER_S;
    for (unsigned i = 0; i < GUESTS_MAX; i++) {
        s->guest[i].fd = -1;
    }
    allow_files();
    prctl(PR_SET_DUMPABLE, 0);
    if (jail_drop_privileges() == 0 && prctl(PR_SET_PDEATHSIG, 0) == 0 && lock_up()) {
        serve(s);
    }
    _exit(0);
}
