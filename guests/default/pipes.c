/* A command without a terminal: its three streams over one serial line.
 *
 * The console becomes a raw line. Output is read from two pipes and sent between marks; input is
 * asked for by marks and goes into a third pipe. Everything is one poll loop in the first process.
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define CHUNK 4096

enum { IN, OUT, ERR, STREAMS };

struct line {
    int pipe[STREAMS]; /* our ends; -1 once closed */
    int child_ended;   /* a pipe that becomes readable at SIGCHLD */
    bool escaped;      /* the last byte received was CHANNEL_ESC */
    bool input_ended;
    unsigned received; /* input bytes since room was last announced */
    unsigned char input[CHANNEL_WINDOW];
    size_t input_len; /* bytes waiting to go into pipe[IN] */
};

static void send_all(const unsigned char *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(STDOUT_FILENO, bytes, len);
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        } else if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return;
        }
    }
}

static void send_mark(unsigned char mark)
{
    unsigned char m[2] = {CHANNEL_ESC, mark};
    send_all(m, sizeof(m));
}

/* Send what the pipe holds now, at most a chunk. False: nothing there, or its end (then closed). */
static bool forward_output(struct line *l, int stream, unsigned char mark)
{
    unsigned char in[CHUNK], out[2 * CHUNK + 4];
    ssize_t n = read(l->pipe[stream], in, sizeof(in));
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            close(l->pipe[stream]);
            l->pipe[stream] = -1;
        }
        return false;
    }
    size_t len = 0;
    out[len++] = CHANNEL_ESC;
    out[len++] = mark;
    for (ssize_t i = 0; i < n; i++) {
        if (in[i] == CHANNEL_ESC) {
            out[len++] = CHANNEL_ESC;
        }
        out[len++] = in[i];
    }
    out[len++] = CHANNEL_ESC;
    out[len++] = CHANNEL_KERNEL;
    send_all(out, len);
    return true;
}

static void close_input(struct line *l)
{
    if (l->pipe[IN] >= 0) {
        close(l->pipe[IN]);
        l->pipe[IN] = -1;
    }
    l->input_len = 0;
}

/* Bytes from ring3: input, marks. At most CHANNEL_WINDOW bytes of input are under way. */
static void receive(struct line *l)
{
    unsigned char buf[CHUNK];
    ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
    for (ssize_t i = 0; i < n; i++) {
        bool was_escaped = l->escaped;
        l->escaped = !was_escaped && buf[i] == CHANNEL_ESC;
        if (l->escaped) {
            continue;
        }
        if (was_escaped && buf[i] == CHANNEL_EOF) {
            l->input_ended = true;
        } else if (l->input_len < sizeof(l->input)) {
            l->input[l->input_len++] = buf[i];
            l->received++;
        }
    }
}

/* Move waiting input to the command; ask for more when all is gone. */
static void forward_input(struct line *l)
{
    if (l->input_len && l->pipe[IN] >= 0) {
        ssize_t n = write(l->pipe[IN], l->input, l->input_len);
        if (n > 0) {
            l->input_len -= (size_t)n;
            memmove(l->input, l->input + n, l->input_len);
        } else if (n < 0 && errno == EPIPE) {
            close_input(l);
        }
    }
    if (l->pipe[IN] < 0) {
        l->input_len = 0; /* nobody reads it any more */
    } else if (l->input_len == 0 && l->input_ended) {
        close_input(l);
    } else if (l->input_len == 0 && l->received == CHANNEL_WINDOW) {
        l->received = 0;
        send_mark(CHANNEL_ROOM);
    }
}

static int child_signal_pipe = -1; /* the signal handler's end */

static void on_child(int sig)
{
    (void)sig;
    int saved = errno;
    (void)!write(child_signal_pipe, "", 1);
    errno = saved;
}

/* Fork the command with its pipes. Returns its process, or -1. */
static pid_t start(struct line *l, char **argv)
{
    int p[STREAMS][2], ended[2];
    for (int i = 0; i < STREAMS; i++) {
        if (pipe2(p[i], O_CLOEXEC) != 0) {
            return -1;
        }
    }
    if (pipe2(ended, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -1;
    }
    child_signal_pipe = ended[1];
    struct sigaction sa = {.sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigaction(SIGCHLD, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);

    pid_t child = fork();
    if (child == 0) {
        setsid();
        signal(SIGPIPE, SIG_DFL);
        dup2(p[IN][0], 0);
        dup2(p[OUT][1], 1);
        dup2(p[ERR][1], 2);
        init_exec(argv);
    }
    close(p[IN][0]);
    close(p[OUT][1]);
    close(p[ERR][1]);
    *l = (struct line){.pipe = {p[IN][1], p[OUT][0], p[ERR][0]}, .child_ended = ended[0]};
    for (int i = 0; i < STREAMS; i++) {
        fcntl(l->pipe[i], F_SETFL, O_NONBLOCK);
    }
    return child;
}

/* Reap everything that has ended. True when the command is among it. */
static bool reap(struct line *l, pid_t child, int *status)
{
    char drop[64];
    while (read(l->child_ended, drop, sizeof(drop)) > 0) {
    }
    bool found = false;
    int s;
    pid_t who;
    while ((who = waitpid(-1, &s, WNOHANG)) > 0) {
        if (who == child) {
            *status = s;
            found = true;
        }
    }
    return found;
}

int init_run_piped(char **argv)
{
    struct termios raw;
    tcgetattr(STDIN_FILENO, &raw);
    cfmakeraw(&raw);
    raw.c_cflag |= CLOCAL | CREAD | CRTSCTS;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);

    struct line l;
    int status = 255 << 8;
    pid_t child = start(&l, argv);
    send_mark(CHANNEL_KERNEL);
    send_mark(CHANNEL_ROOM);
    bool ended = child < 0;
    while (!ended) {
        struct pollfd fds[] = {
            {.fd = STDIN_FILENO, .events = l.input_len || l.input_ended ? 0 : POLLIN},
            {.fd = l.pipe[OUT], .events = POLLIN},
            {.fd = l.pipe[ERR], .events = POLLIN},
            {.fd = l.child_ended, .events = POLLIN},
            {.fd = l.pipe[IN], .events = l.input_len ? POLLOUT : 0},
        };
        if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0) {
            continue;
        }
        if (fds[0].revents & POLLIN) {
            receive(&l);
        }
        if (fds[4].revents & POLLERR) {
            close_input(&l);
        }
        forward_input(&l);
        if (fds[1].revents) {
            forward_output(&l, OUT, CHANNEL_STDOUT);
        }
        if (fds[2].revents) {
            forward_output(&l, ERR, CHANNEL_STDERR);
        }
        if (fds[3].revents) {
            ended = reap(&l, child, &status);
        }
    }
    /* What it wrote before it ended is in the pipes; what its own children still write is not
     * waited for. */
    while (child >= 0 && l.pipe[OUT] >= 0 && forward_output(&l, OUT, CHANNEL_STDOUT)) {
    }
    while (child >= 0 && l.pipe[ERR] >= 0 && forward_output(&l, ERR, CHANNEL_STDERR)) {
    }
    tcdrain(STDOUT_FILENO);
    return init_shell_status(status);
}
