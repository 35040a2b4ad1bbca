/* The control socket's server: clients, their lines, and the consoles they watch (docs/control.md).
 *
 * It runs inside a poll loop: server_poll_fds says what to wait for, server_step does what is
 * possible now; nothing blocks. Each client has buffers of fixed size; one that does not take its
 * answers is asked nothing more, one that sends too long a line is sent away. Only the user himself
 * and root are let in. What requests mean is the owner's business: struct server_ops.
 * One thread.
 */
#ifndef CONTROL_SERVER_H
#define CONTROL_SERVER_H

#include "control/history.h"
#include "control/request.h"

#include <poll.h>

#define SERVER_CLIENTS 16u
#define SERVER_WATCHERS 12u /* of them, attached to the console: the others can still ask */
#define SERVER_POLL_FDS (SERVER_CLIENTS + 1)
#define SERVER_ANSWER_MAX 65536u

struct json_object;

/** Names one request that waits for its answer. */
typedef uint64_t ticket_t;

struct server_ops {
    /** A request came: call server_answer for the ticket, now or later. Not for REQUEST_HELLO, nor
     * for REQUEST_CONSOLE (attached). */
    void (*request)(void *ctx, const struct request *r, ticket_t ticket);
    /** A client types; returns how many bytes were taken (0: none now). */
    size_t (*input)(void *ctx, const void *bytes, size_t len);
};

struct server_client {
    int fd; /* -1: free */
    uint32_t generation;
    bool waiting;   /* its request has no answer yet */
    bool attached;  /* to the console: no more requests */
    bool ended;     /* it sends nothing more */
    bool leaving;   /* goes when its answer is sent */
    bool stuck;     /* its input is not taken now */
    uint64_t heard; /* when it said something last, in events of the server's */
    uint64_t cursor;
    size_t in_len, out_len, out_done;
    char in[REQUEST_MAX];
    char out[SERVER_ANSWER_MAX];
};

struct server {
    int listen_fd; /* borrowed; -1: only adopted clients */
    const char *name;
    uid_t owner;
    const struct server_ops *ops; /* NULL: nobody can answer now */
    void *ctx;
    uint64_t events; /* clients that came, and pieces they sent */
    struct history history;
    struct server_client client[SERVER_CLIENTS];
};

/** s is large: calloc'd, most of it is never touched. name: the machine's, borrowed. */
void server_init(struct server *s, int listen_fd, const char *name);
/** Who answers from now on. ops NULL: requests wait until somebody does; those that have tickets
 * are answered with an error. */
void server_serve(struct server *s, const struct server_ops *ops, void *ctx);
/** Close everything but listen_fd. What can be sent at once still is. */
void server_fini(struct server *s);
/** Take a connected, non-blocking socket as a client. Where all have one, the one that has been
 * silent for longest gives way, unless it is attached or waits for an answer; where all are or do,
 * the new one is closed. */
void server_adopt(struct server *s, int fd);

/** Fill in all of fds. Returns the longest time to wait, in ms, or -1: 0 where there is a request
 * to see to that has been read already, a few where a client types what is not taken. */
int server_poll_fds(const struct server *s, struct pollfd fds[SERVER_POLL_FDS]);
void server_step(struct server *s, const struct pollfd fds[SERVER_POLL_FDS]);

/** Answer a request. answer: an object, NULL for {}; "ok" is added. Takes it over. A client that
 * has left is no error. */
void server_answer(struct server *s, ticket_t ticket, struct json_object *answer);
/** Answer that it failed, with a line why. */
void server_refuse(struct server *s, ticket_t ticket, const char *why);
/** The console said something: every watcher gets it. */
void server_console(struct server *s, const void *bytes, size_t len);
unsigned server_watchers(const struct server *s);

#endif
