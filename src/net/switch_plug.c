/* Plugging a port in again when its switch has gone: the helper process, and the monitor's side of
 * it. switch_process.h has the contract. No state but the processes'.
 */
#include "net/switch_process.h"

#include "base/log.h"
#include "host/linux/spawn.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* A message with a descriptor beside. */
struct parcel {
    uint32_t message;
    struct iovec vec;
    struct msghdr msg;
    _Alignas(struct cmsghdr) uint8_t beside[CMSG_SPACE(sizeof(int))];
};

static void parcel_init(struct parcel *p)
{
    memset(p, 0, sizeof(*p));
    p->message = SWITCH_PLUG_MESSAGE;
    p->vec = (struct iovec){.iov_base = &p->message, .iov_len = sizeof(p->message)};
    p->msg = (struct msghdr){.msg_iov = &p->vec,
                             .msg_iovlen = 1,
                             .msg_control = p->beside,
                             .msg_controllen = sizeof(p->beside)};
}

/* ---- the helper ---- */

/* Sleep. False: the monitor has gone. */
static bool pause_for(int ms)
{
    struct pollfd wait = {.fd = SWITCH_PLUG_FD, .events = 0};
    return poll(&wait, 1, ms) == 0 || errno == EINTR;
}

/* Until there is a connection: a socket; -1: the monitor has gone. */
static int connect_again(const char *name, const uint8_t mac[6], const char *vm_name)
{
    int fd = -1;
    for (int ms = SWITCH_PAUSE_MS; fd < 0; ms = ms < SWITCH_PAUSE_MAX_MS ? 2 * ms : ms) {
        struct net_error why;
        if (!pause_for(ms)) {
            return -1;
        }
        fd = switch_join(name, mac, vm_name, &why);
    }
    return fd;
}

static bool hand_over(int fd)
{
    struct parcel p;
    parcel_init(&p);
    struct cmsghdr *c = CMSG_FIRSTHDR(&p.msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    return sendmsg(SWITCH_PLUG_FD, &p.msg, MSG_NOSIGNAL) == (ssize_t)sizeof(p.message);
}

static bool parse_mac(const char *text, uint8_t mac[6])
{
    char end;
    return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0], &mac[1], &mac[2], &mac[3],
                  &mac[4], &mac[5], &end) == 6;
}

int switch_plug_serve(const char *name, const char *mac_text, const char *vm_name)
{
    uint8_t mac[6];
    uint32_t message;
    if (!parse_mac(mac_text, mac) || chdir("/")) {
        return 1;
    }
    prctl(PR_SET_NAME, "ring3-plug");
    for (;;) {
        ssize_t n = recv(SWITCH_PLUG_FD, &message, sizeof(message), 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n != (ssize_t)sizeof(message) || message != SWITCH_PLUG_MESSAGE) {
            return n == 0 ? 0 : 1;
        }
        int fd = connect_again(name, mac, vm_name);
        if (fd < 0 || !hand_over(fd)) {
            return 0;
        }
        close(fd);
    }
}

/* ---- the monitor ---- */

int switch_plug_start(struct switch_plug *p, const char *name, const uint8_t mac[6],
                      const char *vm_name)
{
    int pair[2];
    char word[3][16] = {"ring3", "switch", "--plug"}, text[3][SWITCH_NAME_MAX];
    char *argv[] = {word[0], word[1], word[2], text[0], text[1], text[2], NULL};
    fmt_line(text[0], sizeof(text[0]), "%s", name);
    fmt_line(text[1], sizeof(text[1]), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
             mac[3], mac[4], mac[5]);
    fmt_line(text[2], sizeof(text[2]), "%s", vm_name);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        return -errno;
    }
    const int fds[SWITCH_PLUG_FD + 1] = {-1, -1, -1, pair[1]};
    const struct spawn helper = {.program = "/proc/self/exe",
                                 .argv = argv,
                                 .envp = environ, /* it has to find the runtime directory */
                                 .fds = fds,
                                 .fd_count = ARRAY_LEN(fds)};
    int err = spawn_process(&helper, &p->pid);
    close(pair[1]);
    if (err) {
        close(pair[0]);
        return err;
    }
    p->fd = pair[0];
    p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    return 0;
}

void switch_plug_stop(struct switch_plug *p)
{
    close(p->fd); /* upon which it ends, unless it is just waiting for a switch's answer */
    if (p->pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL,
                0); /* a jail allows no other kill */
        close(p->pidfd);
    }
    waitpid(p->pid, NULL, p->pidfd >= 0 ? 0 : WNOHANG);
}

void switch_plug_ask(const struct switch_plug *p)
{
    const uint32_t message = SWITCH_PLUG_MESSAGE;
    /* if this fails, switch_plug_take will tell */
    (void)!send(p->fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
}

int switch_plug_take(const struct switch_plug *p)
{
    struct parcel in;
    int fd;
    parcel_init(&in);
    ssize_t n = recvmsg(p->fd, &in.msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return -EAGAIN;
    }
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&in.msg) : NULL;
    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
        c->cmsg_len != CMSG_LEN(sizeof(fd))) {
        return -EPIPE; /* the end; or it came without: this process has no descriptor to spare */
    }
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}
