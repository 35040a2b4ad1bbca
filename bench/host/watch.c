/* watch SECONDS PROGRAM ARGS...: run a machine and time the benchmark's lines from outside.
 *
 * Prints "first_user_ms N" (from the start of the program to the guest's first line), "total_ms N"
 * (to its last), "memory_kb N" (what the program's processes use when it is done, less the guest's
 * RAM where that can be told), and the benchmark's own lines without their first word. Ends the
 * program after "BENCH end". Exit status 1 if that did not come in time.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Proportional memory of one process, in KB, but for the guest's RAM. */
static long memory_of(pid_t pid)
{
    char path[64], line[512];
    long sum = 0, kb;
    bool ram = false;
    snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f)) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
            ram = strstr(line, "ring3-ram") != NULL;
        } else if (!ram && sscanf(line, "Pss: %ld kB", &kb) == 1) {
            sum += kb;
        }
    }
    if (f) {
        fclose(f);
    }
    return sum;
}

static long memory_of_tree(pid_t pid)
{
    char path[64];
    long sum = memory_of(pid);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    FILE *f = fopen(path, "r");
    int child;
    while (f && fscanf(f, "%d", &child) == 1) {
        sum += memory_of_tree(child);
    }
    if (f) {
        fclose(f);
    }
    return sum;
}

static pid_t start(char **argv, int *out)
{
    int p[2];
    if (pipe(p)) {
        exit(2);
    }
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(p[1], 1);
        dup2(null, 2);
        close(p[0]);
        setpgid(0, 0);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(p[1]);
    *out = p[0];
    return child;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: watch SECONDS PROGRAM ARGS...\n");
        return 2;
    }
    int out;
    double begin = now_ms(), end = begin + atof(argv[1]) * 1e3;
    pid_t child = start(argv + 2, &out);
    char text[65536];
    size_t len = 0;
    bool done = false;
    while (!done && now_ms() < end) {
        struct pollfd fd = {.fd = out, .events = POLLIN};
        if (poll(&fd, 1, (int)(end - now_ms()) + 1) <= 0) {
            continue;
        }
        ssize_t n = read(out, text + len, sizeof(text) - 1 - len);
        double at = now_ms() - begin;
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
        text[len] = '\0';
        char *newline;
        while (!done && (newline = strchr(text, '\n'))) {
            *newline = '\0';
            text[strcspn(text, "\r")] = '\0';
            char *mark = strstr(text, "BENCH ");
            if (mark && strcmp(mark, "BENCH first_user") == 0) {
                printf("first_user_ms %.1f\n", at);
            } else if (mark && strcmp(mark, "BENCH end") == 0) {
                printf("total_ms %.1f\nmemory_kb %ld\n", at, memory_of_tree(child));
                done = true;
            } else if (mark) {
                printf("%s\n", mark + strlen("BENCH "));
            }
            len -= (size_t)(newline + 1 - text);
            memmove(text, newline + 1, len + 1);
        }
        if (len == sizeof(text) - 1) {
            len = 0; /* no line is that long */
        }
    }
    kill(child, SIGTERM);
    for (int i = 0; i < 100 && waitpid(child, NULL, WNOHANG) == 0; i++) {
        usleep(10000);
    }
    kill(-child, SIGKILL);
    waitpid(child, NULL, 0);
    return done ? 0 : 1;
}
