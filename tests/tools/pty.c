/* pty PROGRAM ARGS... < SCRIPT: run a program on a pseudo terminal, typing as the script says; for
 * tests.
 *
 * Script lines:   expect TEXT    wait until the output holds TEXT (after what was matched before)
 *                 type TEXT      \r \n \t \\ and \xHH are understood
 *                 sleep MS
 *                 size ROWS COLUMNS    the terminal is resized
 *                 signal NAME    INT TERM KILL TSTP CONT HUP to the program
 *                 size ROWS COLUMNS    the terminal has this size now
 *                 modes          print "raw" or "cooked": the terminal's mode now
 *                 stopped        wait until the program has stopped, as a job
 *                 wait           for the program's end; prints "status N" or "signal N"
 * The program's output goes to standard output at the end of each step. Exit status 1 if an
 * expectation does not come true within EXPECT_MS.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define EXPECT_MS 20000
#define OUTPUT_MAX (4u << 20)

struct session {
    int master, slave;
    pid_t child;
    char *output;
    size_t len, matched;
    bool closed;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Take what the program wrote, waiting at most ms for it. */
static bool absorb(struct session *s, int ms)
{
    struct pollfd fd = {.fd = s->master, .events = POLLIN};
    if (s->closed || poll(&fd, 1, ms) <= 0) {
        return false;
    }
    ssize_t n = read(s->master, s->output + s->len, OUTPUT_MAX - s->len);
    if (n <= 0) {
        s->closed = true;
        return false;
    }
    fwrite(s->output + s->len, 1, (size_t)n, stdout);
    fflush(stdout);
    s->len += (size_t)n;
    return true;
}

static bool expect(struct session *s, const char *text)
{
    uint64_t end = now_ms() + EXPECT_MS;
    for (;;) {
        char *at = memmem(s->output + s->matched, s->len - s->matched, text, strlen(text));
        if (at) {
            s->matched = (size_t)(at - s->output) + strlen(text);
            return true;
        }
        if (now_ms() > end || (!absorb(s, 100) && s->closed)) {
            printf("\npty: did not see: %s\n", text);
            return false;
        }
    }
}

static size_t unescape(char *text)
{
    char *to = text;
    for (char *p = text; *p; p++) {
        if (*p != '\\' || !p[1]) {
            *to++ = *p;
            continue;
        }
        p++;
        if (*p == 'x' && p[1] && p[2]) {
            char hex[3] = {p[1], p[2], 0};
            *to++ = (char)strtol(hex, NULL, 16);
            p += 2;
        } else {
            *to++ = *p == 'r' ? '\r' : *p == 'n' ? '\n' : *p == 't' ? '\t' : *p;
        }
    }
    return (size_t)(to - text);
}

static void print_mode(const struct session *s)
{
    struct termios t;
    tcgetattr(s->slave, &t);
    bool raw = !(t.c_lflag & (ICANON | ECHO | ISIG));
    bool cooked =
        (t.c_lflag & ICANON) && (t.c_lflag & ECHO) && (t.c_lflag & ISIG) && (t.c_oflag & OPOST);
    printf("\nmode %s\n", raw ? "raw" : cooked ? "cooked" : "odd");
}

static bool wait_for(struct session *s, int options)
{
    int status;
    uint64_t end = now_ms() + EXPECT_MS;
    for (;;) {
        while (absorb(s, 0)) {
        }
        pid_t who = waitpid(s->child, &status, options | WNOHANG);
        if (who == s->child) {
            break;
        }
        if (now_ms() > end) {
            printf("\npty: the program does not end\n");
            return false;
        }
        absorb(s, 10);
    }
    while (absorb(s, 20)) {
    }
    if (WIFSTOPPED(status)) {
        printf("\nstopped\n");
    } else if (WIFSIGNALED(status)) {
        printf("\nsignal %d\n", WTERMSIG(status));
    } else {
        printf("\nstatus %d\n", WEXITSTATUS(status));
    }
    return true;
}

static int signal_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"INT", SIGINT},   {"TERM", SIGTERM}, {"KILL", SIGKILL}, {"TSTP", SIGTSTP},
                 {"CONT", SIGCONT}, {"HUP", SIGHUP},   {"SEGV", SIGSEGV}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(name, known[i].name) == 0) {
            return known[i].number;
        }
    }
    return 0;
}

static bool resize(struct session *s, const char *arg)
{
    struct winsize size = {0};
    return sscanf(arg, "%hu %hu", &size.ws_row, &size.ws_col) == 2 &&
           ioctl(s->master, TIOCSWINSZ, &size) == 0;
}

static bool step(struct session *s, char *line)
{
    char *arg = strchr(line, ' ');
    if (arg) {
        *arg++ = '\0';
    } else {
        arg = line + strlen(line);
    }
    if (strcmp(line, "expect") == 0) {
        return expect(s, arg);
    }
    if (strcmp(line, "type") == 0) {
        size_t len = unescape(arg);
        return write(s->master, arg, len) == (ssize_t)len;
    }
    if (strcmp(line, "sleep") == 0) {
        uint64_t end = now_ms() + strtoull(arg, NULL, 10);
        while (now_ms() < end) {
            absorb(s, 10);
            usleep(1000);
        }
        return true;
    }
    if (strcmp(line, "size") == 0) {
        return resize(s, arg);
    }
    if (strcmp(line, "signal") == 0) {
        return kill(s->child, signal_number(arg)) == 0;
    }
    if (strcmp(line, "size") == 0) {
        struct winsize size = {0};
        return sscanf(arg, "%hu %hu", &size.ws_row, &size.ws_col) == 2 &&
               ioctl(s->master, TIOCSWINSZ, &size) == 0;
    }
    if (strcmp(line, "modes") == 0) {
        print_mode(s);
        return true;
    }
    if (strcmp(line, "stopped") == 0) {
        return wait_for(s, WUNTRACED);
    }
    if (strcmp(line, "wait") == 0) {
        return wait_for(s, 0);
    }
    printf("pty: what is '%s'?\n", line);
    return false;
}

static void start(struct session *s, char **argv)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    s->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (s->master < 0 || grantpt(s->master) || unlockpt(s->master)) {
        perror("pty");
        exit(2);
    }
    s->slave = open(ptsname(s->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ioctl(s->slave, TIOCSWINSZ, &size);
    s->child = fork();
    if (s->child == 0) {
        setsid();
        ioctl(s->slave, TIOCSCTTY, 0);
        dup2(s->slave, 0);
        dup2(s->slave, 1);
        dup2(s->slave, 2);
        execvp(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: pty PROGRAM ARGS... < SCRIPT\n");
        return 2;
    }
    struct session s = {.output = malloc(OUTPUT_MAX)};
    start(&s, argv + 1);
    char line[4096];
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] && line[0] != '#' && !step(&s, line)) {
            kill(s.child, SIGKILL);
            return 1;
        }
    }
    return 0;
}
