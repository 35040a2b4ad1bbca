/* The control socket's server: see server.h. */
#include "control/server.h"

#include "control/replay.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_MS 10         /* a client types faster than the guest takes it */
#define SCREEN_BYTES 16384u /* a late watcher sees no more than this of before */

/* ---- coming and going ---- */

void server_init(struct server *s, int listen_fd, const char *name)
{
    s->listen_fd = listen_fd;
    s->name = name;
    s->owner = geteuid();
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        s->client[i].fd = -1;
    }
}

static void drop(struct server_client *c)
{
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
}

/* To one who has to go. */
static void send_full(int fd)
{
    static const char full[] = "{\"ok\":false,\"error\":\"too many clients at a time\"}\n";
    (void)!send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A place for another client, or NULL. */
static struct server_client *find_room(struct server *s)
{
    struct server_client *silent = NULL;
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        struct server_client *c = &s->client[i];
        if (c->fd < 0) {
            return c;
        }
        if (!c->attached && !c->waiting && (!silent || c->heard < silent->heard)) {
            silent = c;
        }
    }
    if (silent) {
        if (!silent->out_len) { /* else it would come amid an answer */
            send_full(silent->fd);
        }
        drop(silent);
    }
    return silent;
}

void server_adopt(struct server *s, int fd)
{
    struct server_client *c = find_room(s);
    if (!c) {
        send_full(fd);
        close(fd);
        return;
    }
    c->fd = fd;
    c->generation++;
    c->heard = s->events++;
    c->waiting = c->attached = c->ended = c->leaving = c->stuck = false;
    c->in_len = c->out_len = c->out_done = 0;
}

static void accept_one(struct server *s)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 ||
        (peer.uid != s->owner && peer.uid != 0)) {
        close(fd);
        return;
    }
    server_adopt(s, fd);
}

/* ---- output ---- */

/* Send what there is to send. */
static void send_out(struct server *s, struct server_client *c)
{
    while (c->fd >= 0 && c->out_done < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_done, c->out_len - c->out_done,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            drop(c);
        }
        if (n <= 0) {
            return;
        }
        c->out_done += (size_t)n;
        if (c->out_done == c->out_len) {
            c->out_done = c->out_len = 0;
            if (c->leaving) {
                drop(c);
            }
        }
    }
    while (c->fd >= 0 && c->attached) {
        const uint8_t *bytes;
        uint64_t lost;
        size_t len = history_span(&s->history, &c->cursor, &bytes, &lost);
        if (lost) {
            c->out_len = (size_t)snprintf(c->out, sizeof(c->out),
                                          "\r\n[ring3: %llu bytes of output were lost here]\r\n",
                                          (unsigned long long)lost);
            send_out(s, c); /* once: the cursor has moved */
            return;
        }
        ssize_t n = len ? send(c->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            drop(c);
        }
        if (n <= 0) {
            return;
        }
        c->cursor += (size_t)n;
    }
}

static bool has_output(const struct server *s, const struct server_client *c)
{
    return c->out_done < c->out_len || (c->attached && c->cursor != s->history.total);
}

static void put_answer(struct server *s, struct server_client *c, struct json_object *answer)
{
    const char *text = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE);
    int len = text ? snprintf(c->out, sizeof(c->out), "%s\n", text) : -1;
    if (len < 0 || (size_t)len >= sizeof(c->out)) {
        len = snprintf(c->out, sizeof(c->out),
                       "{\"ok\":false,\"error\":\"the answer is too long\"}\n");
    }
    c->out_len = (size_t)len;
    c->out_done = 0;
    json_object_put(answer);
    send_out(s, c);
}

/* ---- answers ---- */

static struct server_client *holder(struct server *s, ticket_t ticket)
{
    struct server_client *c = &s->client[ticket % SERVER_CLIENTS];
    return c->fd >= 0 && c->waiting && c->generation == (uint32_t)(ticket / SERVER_CLIENTS) ? c
                                                                                            : NULL;
}

void server_answer(struct server *s, ticket_t ticket, struct json_object *answer)
{
    struct server_client *c = holder(s, ticket);
    if (!c) {
        json_object_put(answer);
        return;
    }
    c->waiting = false;
    struct json_object *o = answer ? answer : json_object_new_object();
    json_object_object_add(o, "ok", json_object_new_boolean(true));
    put_answer(s, c, o);
}

static void refuse(struct server *s, struct server_client *c, const char *why)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "ok", json_object_new_boolean(false));
    json_object_object_add(o, "error", json_object_new_string(why));
    put_answer(s, c, o);
}

void server_refuse(struct server *s, ticket_t ticket, const char *why)
{
    struct server_client *c = holder(s, ticket);
    if (c) {
        c->waiting = false;
        refuse(s, c, why);
    }
}

/* ---- requests ---- */

static void hello(struct server *s, struct server_client *c)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "ok", json_object_new_boolean(true));
    json_object_object_add(o, "ring3", json_object_new_string(RING3_VERSION));
    json_object_object_add(o, "protocol", json_object_new_int(CONTROL_PROTOCOL));
    json_object_object_add(o, "name", json_object_new_string(s->name));
    put_answer(s, c, o);
}

/* Say once more what the console said last, after the answer that is there already. */
static void replay(struct server *s, struct server_client *c, unsigned lines)
{
    struct replay old = {0};
    const uint8_t *bytes;
    uint64_t lost;
    size_t len;
    uint8_t *to = (uint8_t *)c->out;
    c->cursor = history_tail(&s->history, lines, SCREEN_BYTES);
    while ((len = history_span(&s->history, &c->cursor, &bytes, &lost))) {
        c->out_len += replay_filter(&old, bytes, len, to + c->out_len);
        c->cursor += len;
    }
    c->out_len += replay_rest(&old, to + c->out_len); /* what follows is part of it */
}

static void attach(struct server *s, struct server_client *c, const struct request *r)
{
    if (server_watchers(s) >= SERVER_WATCHERS) {
        refuse(s, c, "too many are attached to its console at a time");
        return;
    }
    static const char yes[] = "{\"ok\":true}\n";
    _Static_assert(sizeof(yes) + SCREEN_BYTES + REPLAY_HELD < SERVER_ANSWER_MAX, "room for both");
    memcpy(c->out, yes, sizeof(yes) - 1);
    c->out_len = sizeof(yes) - 1;
    c->out_done = 0;
    replay(s, c, (unsigned)r->lines);
    c->attached = true;
    send_out(s, c);
}

static void take_request(struct server *s, struct server_client *c, const char *line, size_t len)
{
    struct request r;
    struct vm_error err;
    if (request_parse(line, len, &r, &err)) {
        refuse(s, c, err.text);
    } else if (r.verb == REQUEST_HELLO) {
        hello(s, c);
    } else if (r.verb == REQUEST_CONSOLE) {
        attach(s, c, &r);
    } else {
        c->waiting = true;
        s->ops->request(s->ctx, &r,
                        c->generation * (uint64_t)SERVER_CLIENTS + (uint64_t)(c - s->client));
    }
}

static void consume(struct server_client *c, size_t len)
{
    c->in_len -= len;
    memmove(c->in, c->in + len, c->in_len);
}

/* Whether the client is to be asked, and heard, now. */
static bool ready(const struct server *s, const struct server_client *c)
{
    return c->fd >= 0 && s->ops && !c->waiting && !c->leaving && (c->attached || !c->out_len);
}

/* Do with the bytes that came what can be done. */
static void work(struct server *s, struct server_client *c)
{
    while (ready(s, c) && c->in_len) {
        if (c->attached) {
            size_t taken = s->ops->input(s->ctx, c->in, c->in_len);
            c->stuck = taken == 0;
            if (c->stuck) {
                return;
            }
            consume(c, taken);
            continue;
        }
        char *end = memchr(c->in, '\n', c->in_len);
        if (!end && c->in_len == sizeof(c->in)) {
            refuse(s, c, "a request longer than any has to be");
            c->leaving = true;
            c->in_len = 0;
            send_out(s, c);
            if (!c->out_len) {
                drop(c);
            }
            return;
        }
        if (!end) {
            return;
        }
        size_t len = (size_t)(end - c->in);
        take_request(s, c, c->in, len);
        consume(c, len + 1);
    }
    c->stuck = false;
}

static void read_in(struct server *s, struct server_client *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        c->ended = true;
        if (n < 0) {
            drop(c);
        }
        return;
    }
    c->in_len += (size_t)n;
    c->heard = s->events++;
}

static bool wants_input(const struct server *s, const struct server_client *c)
{
    return ready(s, c) && !c->ended && c->in_len < sizeof(c->in) && !c->stuck;
}

static void step_client(struct server *s, struct server_client *c, short revents)
{
    if ((revents & (POLLIN | POLLHUP | POLLERR)) && wants_input(s, c)) {
        read_in(s, c);
    } else if (revents & (POLLHUP | POLLERR | POLLNVAL)) {
        drop(c); /* nobody is there to be answered */
    }
    work(s, c);
    send_out(s, c);
    work(s, c); /* an answer that has gone makes room for the next request */
    if (c->fd >= 0 && c->ended && !c->attached && !c->waiting && !c->out_len) {
        drop(c);
    }
}

/* ---- the loop's part ---- */

/* How long until this client is to be seen to without anything coming from it. */
static int patience(const struct server *s, const struct server_client *c)
{
    if (!ready(s, c) || !c->in_len) {
        return -1;
    }
    if (c->attached) {
        return c->stuck ? RETRY_MS : 0;
    }
    return memchr(c->in, '\n', c->in_len) || c->in_len == sizeof(c->in) ? 0 : -1;
}

int server_poll_fds(const struct server *s, struct pollfd fds[SERVER_POLL_FDS])
{
    int wait = -1;
    fds[0] = (struct pollfd){.fd = s->listen_fd, .events = POLLIN};
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        const struct server_client *c = &s->client[i];
        short events = (wants_input(s, c) ? POLLIN : 0) | (has_output(s, c) ? POLLOUT : 0);
        fds[i + 1] = (struct pollfd){.fd = c->fd, .events = events};
        int one = patience(s, c);
        wait = one >= 0 && (wait < 0 || one < wait) ? one : wait;
    }
    return wait;
}

void server_step(struct server *s, const struct pollfd fds[SERVER_POLL_FDS])
{
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        struct server_client *c = &s->client[i];
        if (c->fd >= 0 && fds[i + 1].fd == c->fd) {
            step_client(s, c, fds[i + 1].revents);
        }
    }
    if (fds[0].revents) {
        accept_one(s);
    }
}

void server_serve(struct server *s, const struct server_ops *ops, void *ctx)
{
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        struct server_client *c = &s->client[i];
        if (c->fd >= 0 && c->waiting) {
            c->waiting = false;
            refuse(s, c, "the machine has ended");
        }
    }
    s->ops = ops;
    s->ctx = ctx;
}

void server_fini(struct server *s)
{
    server_serve(s, NULL, NULL);
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        if (s->client[i].fd >= 0) {
            send_out(s, &s->client[i]);
        }
        drop(&s->client[i]);
    }
}

void server_console(struct server *s, const void *bytes, size_t len)
{
    history_add(&s->history, bytes, len);
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        if (s->client[i].fd >= 0 && s->client[i].attached) {
            send_out(s, &s->client[i]);
        }
    }
}

unsigned server_watchers(const struct server *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        n += s->client[i].fd >= 0 && s->client[i].attached;
    }
    return n;
}
