/* ring3-nbd: the process that speaks NBD for ring3. Started by ring3 only; see block/nbd_proto.h.
 */
#include "nbd-helper/jail.h"
#include "nbd-helper/link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/** All of it; the helper ends when ring3 has gone. */
static void receive(int fd, void *to, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t got = recv(fd, (uint8_t *)to + done, len - done, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            exit(0);
        }
        done += (size_t)got;
    }
}

static void reply(int fd, const void *from, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t got = send(fd, (const uint8_t *)from + done, len - done, MSG_NOSIGNAL);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            exit(0);
        }
        done += (size_t)got;
    }
}

/** What ring3 asks for is in the protocol; a ring3 that was taken over must not make more of us
 * than that. */
static bool is_sound(const struct link *l, const struct nbd_request *r)
{
    if (r->op < NBD_READ || r->op > NBD_ZERO_RUN || r->off > l->size || r->len > l->size - r->off) {
        return false;
    }
    return (r->op != NBD_READ && r->op != NBD_WRITE) || (r->len > 0 && r->len <= NBD_DATA_MAX);
}

static void serve(struct link *l, uint8_t *data)
{
    for (;;) {
        struct nbd_request r;
        receive(l->ring3, &r, sizeof(r));
        if (!is_sound(l, &r)) {
            return;
        }
        if (r.op == NBD_WRITE) {
            receive(l->ring3, data, r.len);
        }
        struct nbd_reply answer = {0};
        bool nothing = r.len == 0 && r.op != NBD_FLUSH;
        answer.error = nothing ? 0 : link_request(l, &r, data, &answer.value);
        answer.events = l->events;
        l->events = 0;
        reply(l->ring3, &answer, sizeof(answer));
        if (r.op == NBD_READ && !answer.error) {
            reply(l->ring3, data, r.len);
        }
    }
}

/** Nothing of ring3's but the socket, and no life without it. */
static int settle(void)
{
    int type;
    socklen_t len = sizeof(type);
    if (getsockopt(NBD_FD, SOL_SOCKET, SO_TYPE, &type, &len)) {
        fputs("ring3-nbd: this is a part of ring3, which starts it for disks like nbd://...\n",
              stderr);
        return -1;
    }
    (void)!syscall(SYS_close_range, NBD_FD + 1, ~0u, 0);
    (void)!fcntl(NBD_FD, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    signal(SIGPIPE, SIG_IGN);
    int rc = jail_helper();
    if (rc) {
        fprintf(stderr, "ring3-nbd: cannot jail itself: %s\n", strerror(-rc));
    }
    return rc;
}

int main(void)
{
    static struct link l = {.ring3 = NBD_FD};
    struct nbd_request r;
    struct nbd_opened o = {0};
    if (settle()) {
        return 1;
    }
    receive(NBD_FD, &r, sizeof(r));
    static uint8_t data[NBD_DATA_MAX];
    if (r.op != NBD_OPEN || r.len == 0 || r.len > NBD_URI_MAX) {
        return 1;
    }
    receive(NBD_FD, l.uri, r.len);
    link_open(&l, r.flags & NBD_READ_ONLY, &o);
    reply(NBD_FD, &o, sizeof(o));
    if (!o.error) {
        serve(&l, data);
    }
    return 0;
}
