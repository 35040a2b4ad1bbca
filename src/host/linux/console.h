/* The monitor's side of the guest's console.
 *
 *   guest ── serial port ────┬─ ring in the arena ─┐            ┌── standard output and error
 *         └─ virtio console ─┘                     │  console   ├── `said`: log, watchers
 *                                                  └────────────┘
 *
 * Input comes from standard input and from console_type, and goes to the virtio console while its
 * driver is there, else to the serial port. channel.h's protocol is in the bytes when a command
 * runs in the default guest.
 *
 * Nothing here waits: console_poll_fds names what to wait for, console_step does what is possible
 * now. At most one chunk of output (CONSOLE_CHUNK bytes, a size a pipe takes whole) is taken from
 * the guest before it is written.
 */
#ifndef HOST_LINUX_CONSOLE_H
#define HOST_LINUX_CONSOLE_H

#include "base/types.h"
#include "host/linux/channel.h"
#include "host/linux/terminal.h"

#include <poll.h>

struct arena;

enum console_mode {
    CONSOLE_PLAIN,   /* bytes as they are, both ways */
    CONSOLE_COMMAND, /* the same, but the guest may say that its command has ended */
    CONSOLE_PIPES,   /* the full protocol: separate streams, flow control, end of input */
};

#define CONSOLE_CHUNK 4096u
#define CONSOLE_EXIT_MARK (2 + CHANNEL_TOKEN_LEN + 3)

/** Where the virtio console takes input, if the machine has one: a non-blocking stream socket, and
 * whether a driver listens at its other end. */
struct console_port {
    int fd; /* -1: none */
    bool (*listens)(void *ctx);
    void *ctx;
};

struct console_config {
    enum console_mode mode;
    const char *token; /* CHANNEL_TOKEN_LEN characters; NULL with CONSOLE_PLAIN */
    bool standard;     /* the standard streams are the console; else only `said` and console_type */
    bool keys_on;      /* the prefix key works: standard input is a raw terminal */
    struct console_port port;
    /** Told every piece of output, once. May be NULL. */
    void (*said)(void *ctx, const void *bytes, size_t len);
    void *said_ctx;
};

struct console {
    struct console_config cfg;
    char token[CHANNEL_TOKEN_LEN + 1];

    /* output */
    int stream;                      /* whose bytes come: 0 kernel messages, 1, 2 */
    uint8_t held[CONSOLE_EXIT_MARK]; /* what may become a mark, held back */
    size_t held_len;
    uint8_t chunk[CONSOLE_CHUNK];
    size_t chunk_len, chunk_done;
    int chunk_fd;
    int write_error; /* errno of a standard stream that takes no more output; 0 */
    int exit_status; /* the command's, or -1 while it runs */

    /* input */
    struct terminal_keys keys;
    enum terminal_key key; /* a key pressed for the monitor to see to; the monitor resets it */
    uint8_t in[2 * CHANNEL_WINDOW + 2];
    size_t in_len, in_done;
    unsigned room;   /* CONSOLE_PIPES: bytes the guest takes now */
    bool in_ended;   /* nothing more will be read */
};

/** cfg is copied, and its token. */
void console_init(struct console *c, const struct console_config *cfg);

#define CONSOLE_POLL_FDS 2
/** Fill in what to poll for (fd -1 = nothing) and return the longest time to wait, in ms, or -1. */
int console_poll_fds(const struct console *c, struct pollfd fds[CONSOLE_POLL_FDS]);
/** The same without input: what is left to be written, at the end. */
void console_poll_output(const struct console *c, struct pollfd fds[CONSOLE_POLL_FDS]);
/** Move input and output as far as it goes without waiting; fds as poll left them. */
void console_step(struct console *c, struct arena *a, const struct pollfd fds[CONSOLE_POLL_FDS]);
/** Whether output is left, in the ring or in the chunk. */
bool console_pending(const struct console *c, const struct arena *a);
/** Type something from elsewhere. Returns how many bytes were taken; 0: try again after a step.
 * With CONSOLE_PIPES input is the command's alone, and what is typed here is lost. */
size_t console_type(struct console *c, struct arena *a, const void *bytes, size_t len);

#endif
