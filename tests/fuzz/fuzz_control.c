/* The control socket against clients that send anything, in any pieces.
 *
 * The input is a list of steps for three clients: connect, send bytes, stop sending, leave, read;
 * and for the owner: say something on the console, answer what was asked, stop serving and serve
 * again. Nothing may crash, and the server must come to rest.
 */
#include "control/server.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 3u
#define STEPS_MAX 400u
#define ROUNDS_MAX 100000u

struct input {
    const uint8_t *at, *end;
};

static uint8_t take(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

struct owner {
    struct server *s;
    ticket_t asked[64];
    unsigned count;
    uint8_t mood; /* what it does with the next request, and how much it takes of typing */
};

static void on_request(void *ctx, const struct request *r, ticket_t ticket)
{
    struct owner *o = ctx;
    if (r->seconds > REQUEST_SECONDS_MAX || r->lines > REQUEST_LINES_MAX ||
        r->columns > REQUEST_SIZE_MAX || r->verb >= REQUEST_VERBS) {
        abort();
    }
    if (o->mood % 3 == 0) {
        server_answer(o->s, ticket, NULL);
    } else if (o->mood % 3 == 1) {
        server_refuse(o->s, ticket, "no\n\"\\\x01\xff");
    } else if (o->count < ARRAY_LEN(o->asked)) {
        o->asked[o->count++] = ticket;
    }
}

static size_t on_input(void *ctx, const void *bytes, size_t len)
{
    const struct owner *o = ctx;
    (void)bytes;
    return o->mood < len ? o->mood : len;
}

static const struct server_ops ops = {.request = on_request, .input = on_input};

/* Until nothing happens any more, which must be soon. */
static void serve(struct server *s)
{
    for (unsigned i = 0;; i++) {
        struct pollfd fds[SERVER_POLL_FDS];
        int wait = server_poll_fds(s, fds);
        if (poll(fds, SERVER_POLL_FDS, 0) <= 0 && wait != 0) {
            return;
        }
        server_step(s, fds);
        if (i > ROUNDS_MAX) {
            abort();
        }
    }
}

static int join(struct server *s)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
        abort();
    }
    server_adopt(s, pair[0]);
    return pair[1];
}

static void client_step(struct server *s, int *fd, uint8_t what, struct input *in)
{
    static uint8_t sink[70000];
    if (*fd < 0) {
        *fd = join(s);
        return;
    }
    switch (what % 8) {
    case 0:
        close(*fd);
        *fd = -1;
        break;
    case 1: shutdown(*fd, SHUT_WR); break;
    case 2: (void)!recv(*fd, sink, sizeof(sink), 0); break;
    case 3: (void)!send(*fd, "\n", 1, MSG_NOSIGNAL); break;
    default: {
        size_t len = take(in) * (what & 8 ? 16u : 1u), left = (size_t)(in->end - in->at);
        len = len < left ? len : left;
        (void)!send(*fd, in->at, len, MSG_NOSIGNAL);
        in->at += len;
    }
    }
}

static void owner_step(struct owner *o, uint8_t what, struct input *in)
{
    static const uint8_t text[5000] = "said\n";
    switch (what % 4) {
    case 0: o->mood = take(in); break;
    case 1: server_console(o->s, text, (size_t)take(in) * 19); break;
    case 2:
        for (; o->count; o->count--) {
            server_answer(o->s, o->asked[o->count - 1], NULL);
        }
        break;
    default:
        server_serve(o->s, NULL, NULL);
        serve(o->s);
        server_serve(o->s, &ops, o);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct owner o = {.s = calloc(1, sizeof(struct server))};
    int fd[CLIENTS] = {-1, -1, -1};
    server_init(o.s, -1, "fuzz");
    server_serve(o.s, &ops, &o);
    for (unsigned i = 0; i < STEPS_MAX && in.at < in.end; i++) {
        uint8_t step = take(&in);
        if (step % 4 == CLIENTS) {
            owner_step(&o, step / 4, &in);
        } else {
            client_step(o.s, &fd[step % 4], step / 4, &in);
        }
        serve(o.s);
    }
    server_fini(o.s);
    free(o.s);
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (fd[i] >= 0) {
            close(fd[i]);
        }
    }
    return 0;
}
