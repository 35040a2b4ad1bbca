/* Output and input of the guest's console, in the monitor. Single-threaded; all state is in struct
 * console, but for the ring in the arena, whose bytes and counts are the guest's to spoil. */
#include "host/linux/console.h"

#include "host/host.h"
#include "host/linux/arena.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RETRY_MS 10 /* the serial port's ring was full */

enum { POLL_IN, POLL_OUT };

void console_init(struct console *c, const struct console_config *cfg)
{
    *c = (struct console){.cfg = *cfg, .exit_status = -1, .in_ended = !cfg->standard};
    /* Until the guest says what its bytes are, they are the kernel's. */
    c->stream = cfg->mode == CONSOLE_PIPES ? 0 : 1;
    if (cfg->token) {
        memcpy(c->token, cfg->token, CHANNEL_TOKEN_LEN);
    }
}

/* ---- output: what the bytes mean ---- */

static int stream_fd(const struct console *c)
{
    return c->stream == 1 ? STDOUT_FILENO : STDERR_FILENO;
}

static void emit(struct console *c, uint8_t b)
{
    c->chunk_fd = stream_fd(c);
    c->chunk[c->chunk_len++] = b;
}

/* A byte after ESC, in CONSOLE_PIPES. */
static void mark(struct console *c, uint8_t b)
{
    switch (b) {
    case CHANNEL_ESC: emit(c, b); break;
    case CHANNEL_STDOUT:
    case CHANNEL_STDERR:
    case CHANNEL_KERNEL: c->stream = b - '0'; break;
    case CHANNEL_ROOM: c->room = CHANNEL_WINDOW; break;
    default: break;
    }
}

static int hex_digit(uint8_t b)
{
    return b >= '0' && b <= '9' ? b - '0' : b >= 'a' && b <= 'f' ? b - 'a' + 10 : -1;
}

/* Whether b, after the held bytes, may still be part of an exit mark. */
static bool continues_exit_mark(const struct console *c, uint8_t b)
{
    size_t at = c->held_len;
    if (at == 1) {
        return b == CHANNEL_EXIT;
    }
    if (at < 2 + CHANNEL_TOKEN_LEN) {
        return b == (uint8_t)c->token[at - 2];
    }
    return at == CONSOLE_EXIT_MARK - 1 ? b == '\n' : hex_digit(b) >= 0;
}

/* One byte from the guest. Emits at most CONSOLE_EXIT_MARK bytes. */
static void receive(struct console *c, uint8_t b)
{
    if (c->exit_status >= 0) {
        return; /* the command has ended: what follows is the guest going down */
    }
    if (c->held_len) {
        if (continues_exit_mark(c, b)) {
            c->held[c->held_len++] = b;
            if (c->held_len == CONSOLE_EXIT_MARK) {
                c->exit_status = hex_digit(c->held[CONSOLE_EXIT_MARK - 3]) * 16 +
                                 hex_digit(c->held[CONSOLE_EXIT_MARK - 2]);
                c->held_len = 0;
            }
            return;
        }
        size_t held_len = c->held_len;
        c->held_len = 0;
        if (held_len == 1 && c->cfg.mode == CONSOLE_PIPES) {
            mark(c, b);
            return;
        }
        for (size_t i = 0; i < held_len; i++) {
            emit(c, c->held[i]);
        }
    }
    if (b == CHANNEL_ESC && c->cfg.mode != CONSOLE_PLAIN) {
        c->held[0] = b;
        c->held_len = 1;
    } else {
        emit(c, b);
    }
}

/* ---- output: where it comes from ---- */

static uint32_t ring_count(const struct arena *a)
{
    uint32_t count = __atomic_load_n(&a->console.in, __ATOMIC_ACQUIRE) - a->console.out;
    return count < CONSOLE_RING_SIZE ? count : CONSOLE_RING_SIZE;
}

/* Take bytes from the ring until the chunk is full or changes its stream. */
static void fill_from_ring(struct console *c, struct arena *a)
{
    struct console_ring *r = &a->console;
    __atomic_store_n(&r->notified, 0, __ATOMIC_SEQ_CST);
    uint32_t count = ring_count(a), taken = 0;
    while (taken < count && c->chunk_len <= CONSOLE_CHUNK - CONSOLE_EXIT_MARK &&
           (c->chunk_len == 0 || c->chunk_fd == stream_fd(c))) {
        receive(c, r->bytes[(r->out + taken) % CONSOLE_RING_SIZE]);
        taken++;
    }
    if (taken) {
        __atomic_store_n(&r->out, r->out + taken, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&r->blocked, __ATOMIC_SEQ_CST)) {
            syscall(SYS_futex, &r->out, FUTEX_WAKE, 1, NULL, NULL, 0);
        }
    }
}

static void fill_chunk(struct console *c, struct arena *a)
{
    fill_from_ring(c, a);
    if (c->chunk_len && c->cfg.said) {
        c->cfg.said(c->cfg.said_ctx, c->chunk, c->chunk_len);
    }
    if (!c->cfg.standard) {
        c->chunk_len = 0;
    }
}

/* Take a ring full of output at most. What comes later is announced by an event of its own. */
static void fill(struct console *c, struct arena *a)
{
    for (size_t taken = 0; !c->chunk_len && taken < CONSOLE_RING_SIZE; taken += CONSOLE_CHUNK / 2) {
        fill_chunk(c, a);
        if (!ring_count(a)) {
            return;
        }
    }
}

static void write_chunk(struct console *c)
{
    ssize_t n = write(c->chunk_fd, c->chunk + c->chunk_done, c->chunk_len - c->chunk_done);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        c->write_error = errno;
        n = (ssize_t)(c->chunk_len - c->chunk_done); /* lost */
    }
    if (n > 0) {
        c->chunk_done += (size_t)n;
    }
    if (c->chunk_done == c->chunk_len) {
        c->chunk_done = c->chunk_len = 0;
    }
}

bool console_pending(const struct console *c, const struct arena *a)
{
    return c->chunk_len || ring_count(a);
}

/* ---- input ---- */

static void queue_input(struct console *c, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (c->cfg.mode == CONSOLE_PIPES && bytes[i] == CHANNEL_ESC) {
            c->in[c->in_len++] = CHANNEL_ESC;
        }
        c->in[c->in_len++] = bytes[i];
    }
}

/* Read standard input; it is known to be readable, and the queue is empty. */
static void read_input(struct console *c)
{
    uint8_t bytes[CHANNEL_WINDOW];
    bool pipes = c->cfg.mode == CONSOLE_PIPES;
    size_t want = pipes && c->room < sizeof(bytes) ? c->room : sizeof(bytes);
    ssize_t n = read(STDIN_FILENO, bytes, want);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (n <= 0) {
        c->in_ended = true;
        if (pipes) {
            c->in[c->in_len++] = CHANNEL_ESC;
            c->in[c->in_len++] = CHANNEL_EOF;
        }
        return;
    }
    size_t len = (size_t)n;
    if (c->cfg.keys_on) {
        c->key = terminal_filter(&c->keys, bytes, &len);
    } else if (pipes) {
        c->room -= (unsigned)len;
    }
    queue_input(c, bytes, len);
}

static bool port_listens(const struct console *c)
{
    const struct console_port *p = &c->cfg.port;
    return p->fd >= 0 && c->cfg.mode != CONSOLE_PIPES && p->listens(p->ctx);
}

static void push_input(struct console *c, struct arena *a)
{
    const uint8_t *from = c->in + c->in_done;
    size_t len = c->in_len - c->in_done, taken;
    if (port_listens(c)) {
        ssize_t n = send(c->cfg.port.fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        taken = n > 0 ? (size_t)n : 0;
    } else {
        taken = serial_push_input(&a->vm.serial, from, len);
        if (taken) {
            host_kick(0);
        }
    }
    c->in_done += taken;
    if (c->in_done == c->in_len) {
        c->in_done = c->in_len = 0;
    }
}

size_t console_type(struct console *c, struct arena *a, const void *bytes, size_t len)
{
    if (c->cfg.mode == CONSOLE_PIPES) {
        return len;
    }
    size_t n = c->in_len ? 0 : min_u64(len, CHANNEL_WINDOW);
    queue_input(c, bytes, n);
    if (n) {
        push_input(c, a);
    }
    return n;
}

/* ---- both ---- */

void console_poll_output(const struct console *c, struct pollfd fds[CONSOLE_POLL_FDS])
{
    fds[POLL_IN] = (struct pollfd){.fd = -1};
    fds[POLL_OUT] = (struct pollfd){.fd = c->chunk_len ? c->chunk_fd : -1, .events = POLLOUT};
}

int console_poll_fds(const struct console *c, struct pollfd fds[CONSOLE_POLL_FDS])
{
    bool want = !c->in_ended && !c->in_len && (c->cfg.mode != CONSOLE_PIPES || c->room);
    console_poll_output(c, fds);
    fds[POLL_IN] = (struct pollfd){.fd = want ? STDIN_FILENO : -1, .events = POLLIN};
    return c->in_len ? RETRY_MS : -1;
}

void console_step(struct console *c, struct arena *a, const struct pollfd fds[CONSOLE_POLL_FDS])
{
    if (fds[POLL_OUT].revents && c->chunk_len) {
        write_chunk(c);
    }
    if (!c->chunk_len) {
        fill(c, a);
    }
    if (fds[POLL_IN].revents && !c->in_len) {
        read_input(c);
    }
    if (c->in_len) {
        push_input(c, a);
    }
}
