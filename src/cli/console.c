/* ring3 console: attach this terminal to a running machine's console.
 *
 * The connection carries the console's bytes both ways once the monitor has agreed. It ends with
 * the machine, and when the machine reboots: then there is another monitor to be asked again.
 */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"
#include "control/client.h"
#include "host/linux/terminal.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ATTACH_MS 15000 /* a machine that reboots needs a while to listen again */
#define LINES_DEFAULT 24
#define LINES_MAX 1000

static const struct args_option options[] = {{0}};

struct session {
    const struct vms *v;
    const struct vm_entry *e;
    struct terminal terminal;
    struct terminal_keys keys;
    int signals; /* signalfd, or -1 */
    int fd;      /* the connection */
    bool input_ended;
    int end_signal; /* the signal we are to die of */
};

enum outcome { GO_ON, DETACHED, LOST, QUIT, SIGNALLED };

/* ---- the machine ---- */

static bool terminal_size(struct winsize *size)
{
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, size) == 0 && size->ws_row && size->ws_col;
}

/* On a connection of its own. A machine whose console has no size says no. */
static void tell_size(const struct session *s)
{
    struct winsize size;
    struct vm_error err;
    int fd = terminal_size(&size) ? client_connect(&s->v->base, s->e->name, &err) : -1;
    if (fd >= 0) {
        struct json_object *o = client_request("resize");
        json_object_object_add(o, "columns", json_object_new_int(size.ws_col));
        json_object_object_add(o, "rows", json_object_new_int(size.ws_row));
        (void)!client_call(fd, o, NULL, VMS_ANSWER_MS, &err);
        close(fd);
    }
}

/* 0; else *err says why not. lines: how much of what was said before is wanted. */
static int attach(struct session *s, int lines, struct vm_error *err)
{
    s->fd = client_connect(&s->v->base, s->e->name, err);
    if (s->fd < 0) {
        return -1;
    }
    struct json_object *o = client_request("console");
    json_object_object_add(o, "lines", json_object_new_int(lines));
    int failed = client_call(s->fd, o, NULL, ATTACH_MS, err);
    if (failed) {
        close(s->fd);
        s->fd = -1;
        return failed;
    }
    if (s->input_ended) {
        shutdown(s->fd, SHUT_WR);
    }
    return 0;
}

/* ---- bytes ---- */

static bool send_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static enum outcome take_input(struct session *s)
{
    uint8_t bytes[512];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n <= 0) {
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            return GO_ON;
        }
        s->input_ended = true;
        shutdown(s->fd, SHUT_WR);
        return GO_ON;
    }
    size_t len = (size_t)n;
    enum terminal_key key = s->terminal.raw ? terminal_filter(&s->keys, bytes, &len) : KEY_NONE;
    (void)!send_all(s->fd, bytes, len); /* a lost connection shows when it is read */
    switch (key) {
    case KEY_QUIT: return QUIT;
    case KEY_DETACH: return DETACHED;
    case KEY_HELP:
        (void)!write(STDERR_FILENO, terminal_help_attached, strlen(terminal_help_attached));
        return GO_ON;
    default: return GO_ON;
    }
}

static enum outcome take_output(struct session *s)
{
    uint8_t bytes[4096];
    ssize_t n = recv(s->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return GO_ON;
    }
    if (n <= 0) {
        return LOST;
    }
    for (ssize_t done = 0; done < n;) {
        ssize_t w = write(STDOUT_FILENO, bytes + done, (size_t)(n - done));
        if (w < 0 && errno != EINTR && errno != EAGAIN) {
            return DETACHED; /* nobody looks any more */
        }
        done += w > 0 ? w : 0;
    }
    return GO_ON;
}

static enum outcome take_signal(struct session *s)
{
    struct signalfd_siginfo info;
    if (read(s->signals, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return GO_ON;
    }
    switch (info.ssi_signo) {
    case SIGWINCH: tell_size(s); return GO_ON;
    case SIGTSTP:
        terminal_suspend(&s->terminal);
        kill(getpid(), SIGSTOP);
        terminal_resume(&s->terminal);
        return GO_ON;
    case SIGCONT:
        terminal_suspend(&s->terminal);
        terminal_resume(&s->terminal);
        return GO_ON;
    default: s->end_signal = (int)info.ssi_signo; return SIGNALLED;
    }
}

static enum outcome converse(struct session *s)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = s->input_ended ? -1 : STDIN_FILENO, .events = POLLIN},
            {.fd = s->fd, .events = POLLIN},
            {.fd = s->signals, .events = POLLIN},
        };
        enum outcome o = GO_ON;
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR) {
            return DETACHED;
        }
        if (fds[1].revents) {
            o = take_output(s);
        }
        if (o == GO_ON && fds[2].revents) {
            o = take_signal(s);
        }
        if (o == GO_ON && fds[0].revents) {
            o = take_input(s);
        }
        if (o != GO_ON) {
            return o;
        }
    }
}

/* ---- the session ---- */

static void begin(struct session *s)
{
    static const int watched[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(watched); i++) {
        sigaddset(&set, watched[i]);
    }
    s->signals = -1;
    if (isatty(STDIN_FILENO) && terminal_init(&s->terminal, STDIN_FILENO) == 0) {
        sigprocmask(SIG_BLOCK, &set, NULL);
        s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        fprintf(stderr, "[%s: Ctrl-A d detaches, Ctrl-A h helps]\r\n", s->e->name);
        tell_size(s);
    }
}

/* Says how the session ended, and returns the exit status. */
static int finish(struct session *s, enum outcome o)
{
    struct vm_entry now = *s->e;
    char state[32];
    bool raw = s->terminal.guard != 0;
    terminal_fini(&s->terminal);
    if (o == QUIT) {
        return kill_machine(s->v, s->e) ? CLI_FAILED : CLI_QUIT;
    }
    if (o == SIGNALLED) {
        sigset_t set;
        sigfillset(&set);
        signal(s->end_signal, SIG_DFL);
        raise(s->end_signal);
        sigprocmask(SIG_UNBLOCK, &set, NULL); /* and here it ends */
        return 128 + s->end_signal;
    }
    if (o == DETACHED) {
        if (raw) {
            fprintf(stderr, "\n[detached from %s]\n", s->e->name);
        }
        return 0;
    }
    bool known = vm_look(&s->v->base, s->e->name, &now) == 0;
    if (raw) {
        fprintf(stderr, "\n[%s has ended%s%s]\n", s->e->name, known ? ": " : "",
                known ? vms_state(&now, state) : "");
    }
    return known && now.state == VM_EXITED ? now.code
           : known && now.state == VM_DEAD ? CLI_BROKEN
                                           : 0;
}

static int run_session(const struct vms *v, const struct vm_entry *e)
{
    struct session s = {.v = v, .e = e};
    struct vm_error err;
    struct winsize size;
    int lines = terminal_size(&size) ? size.ws_row : LINES_DEFAULT;
    int failed = attach(&s, lines < LINES_MAX ? lines : LINES_MAX, &err);
    if (failed) {
        return vms_say_failed(v, e, failed, &err);
    }
    begin(&s);
    enum outcome o;
    do { /* after a reboot all that is said is new */
        o = converse(&s);
        close(s.fd);
    } while (o == LOST && attach(&s, LINES_MAX, &err) == 0);
    if (o == LOST) {
        struct vm_entry now = *e;
        (void)vms_wait_end(v, &now, VMS_ANSWER_MS);
    }
    return finish(&s, o);
}

int console_main(int argc, char **argv)
{
    struct args a;
    struct vms v;
    int status = args_parse(argc, argv, options, &a);
    if (status >= 0) {
        return status;
    }
    status = args_words(&a, 1, 1, "the name of a machine");
    if (status) {
        return status;
    }
    status = vms_open(&v, a.verb, VMS_BEGINNINGS);
    const struct vm_entry *e = status ? NULL : vms_find_alive(&v, a.words[0], &status);
    if (e) {
        status = run_session(&v, e);
    }
    vms_close(&v);
    return status;
}
