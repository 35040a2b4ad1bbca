/* Saying hello to a switch: as a port, or to ask it how it is. The machine's side of the first part
 * of switch_proto.h. No state.
 */
#include "net/switch_process.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ATTEMPTS 5 /* a switch may end just when we come */
#define BUFFER_SIZE (1 << 20)

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

static int refuse(const char *name, const struct switch_welcome *w, struct net_error *err)
{
    switch ((enum switch_refusal)w->refusal) {
    case SWITCH_FULL:
        fmt_line(err->text, sizeof(err->text), "--net switch=%s: all its %u ports are taken", name,
                 SWITCH_PORTS_MAX);
        break;
    case SWITCH_MAC_TAKEN:
        fmt_line(err->text, sizeof(err->text),
                 "--net switch=%s: machine '%.*s' is on it with the same mac; give this one "
                 "another, as in "
                 "mac=52:33:00:00:00:01",
                 name, (int)strnlen(w->holder, sizeof(w->holder)), w->holder);
        break;
    default:
        fmt_line(err->text, sizeof(err->text), "--net switch=%s: it does not take this machine",
                 name);
        break;
    }
    return -1;
}

/* 0; 1: it has just ended, try again; -1: *err. */
static int attempt(const char *name, const struct switch_hello *hello, int *out,
                   struct net_error *err)
{
    struct switch_welcome w;
    int fd = switch_connect(name, err);
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
        return refuse(name, &w, err);
    }
    fmt_line(err->text, sizeof(err->text), "--net switch=%s: what answers there is %s", name,
             n == -EPERM ? "another user's"
             : n < 0     ? strerror((int)-n)
                         : "of another version of ring3; end its machines, and it ends too");
    return -1;
}

int switch_join(const char *name, const uint8_t mac[6], const char *vm_name, struct net_error *err)
{
    struct switch_hello hello = {
        .magic = SWITCH_MAGIC, .version = SWITCH_VERSION, .kind = SWITCH_HELLO_PORT};
    int fd = -1, failed = 1;
    const int size = BUFFER_SIZE;
    memcpy(hello.mac, mac, sizeof(hello.mac));
    fmt_line(hello.name, sizeof(hello.name), "%s", vm_name);
    for (unsigned i = 0; i < ATTEMPTS && failed > 0; i++) {
        failed = attempt(name, &hello, &fd, err);
    }
    if (failed > 0) {
        fmt_line(err->text, sizeof(err->text),
                 "--net switch=%s: the switch ends as soon as it starts", name);
    }
    if (failed) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* as far as we may */
    return fd;
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
