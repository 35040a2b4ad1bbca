/* The benchmark's first process: says at once that user code runs, then measures a few things and
 * prints them.
 *
 * The same program runs natively: `bench native BUSYBOX`. Output: "BENCH name value" lines, "BENCH
 * end" last. Each figure is the median of several short batches, so that a hiccup of the host does
 * not count.
 */
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 7
#define BATCH_NS 40000000ull

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *name, double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), by_value);
    printf("BENCH %s %.4f\n", name, values[count / 2]);
    fflush(stdout);
}

/* op done over and over, `unit` ns per reported unit. */
static void measure(const char *name, void (*op)(void), unsigned step, double unit)
{
    double values[BATCHES];
    for (unsigned i = 0; i < step; i++) {
        op(); /* warm */
    }
    for (int b = 0; b < BATCHES; b++) {
        uint64_t start = now_ns(), end = start, count = 0;
        while (end - start < BATCH_NS) {
            for (unsigned i = 0; i < step; i++) {
                op();
            }
            count += step;
            end = now_ns();
        }
        values[b] = (double)(end - start) / (double)count / unit;
    }
    report(name, values, BATCHES);
}

/* ---- what is measured ---- */

/* Integer work: fill a small array with random numbers and sort it. */
static uint32_t sort_some(uint32_t x)
{
    static uint32_t data[4096];
    for (unsigned i = 0; i < 4096; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = x >> 8;
    }
    for (unsigned gap = 2048; gap; gap /= 2) {
        for (unsigned i = gap; i < 4096; i++) {
            uint32_t v = data[i];
            unsigned j = i;
            for (; j >= gap && data[j - gap] > v; j -= gap) {
                data[j] = data[j - gap];
            }
            data[j] = v;
        }
    }
    return data[2048];
}

/* Floating point work: small matrices. */
static double multiply_some(double seed)
{
    enum { N = 48 };
    static double a[N][N], b[N][N], c[N][N];
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            a[i][j] = seed + i * 0.5 - j;
            b[i][j] = seed - i * 0.25 + j;
        }
    }
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < N; k++) {
                sum += a[i][k] * b[k][j];
            }
            c[i][j] = sum;
        }
    }
    return c[3][5] * 1e-9;
}

/* A fixed amount of both, in ms. */
static void user_code(void)
{
    double values[5];
    for (int round = 0; round < 5; round++) {
        uint64_t start = now_ns();
        uint32_t x = 1;
        double d = 1;
        for (int rep = 0; rep < 120; rep++) {
            x = sort_some(x);
            d = multiply_some(d) + multiply_some(d + 1);
        }
        __asm__ volatile("" : : "r"(x), "x"(d));
        values[round] = (double)(now_ns() - start) / 1e6;
    }
    report("user_code_ms", values, 5);
}

static void getppid_once(void)
{
    syscall(SYS_getppid);
}

static void fork_once(void)
{
    pid_t p = fork();
    if (p == 0) {
        _exit(0);
    }
    waitpid(p, NULL, 0);
}

static const char *busybox = "/bin/busybox";

static void exec_once(void)
{
    pid_t p = fork();
    if (p == 0) {
        execl(busybox, "true", (char *)NULL);
        _exit(1);
    }
    waitpid(p, NULL, 0);
}

#define FAULT_PAGES 256
static void fault_pages(void)
{
    char *m =
        mmap(NULL, FAULT_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(m, FAULT_PAGES * 4096, MADV_NOHUGEPAGE);
    for (int i = 0; i < FAULT_PAGES; i++) {
        ((volatile char *)m)[i * 4096] = 1;
    }
    munmap(m, FAULT_PAGES * 4096);
}

static int ping[2], pong[2];

static void ping_pong(void)
{
    char c = 0;
    if (write(ping[1], &c, 1) != 1 || read(pong[0], &c, 1) != 1) {
        exit(1);
    }
}

static void pipes(void)
{
    if (pipe(ping) || pipe(pong)) {
        return;
    }
    /* One processor for both, also natively: the guest has only one. */
    cpu_set_t one;
    sched_getaffinity(0, sizeof(one), &one);
    for (int i = 0, found = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &one) && found++) {
            CPU_CLR(i, &one);
        }
    }
    sched_setaffinity(0, sizeof(one), &one);
    pid_t p = fork();
    if (p == 0) {
        char c;
        close(ping[1]);
        while (read(ping[0], &c, 1) == 1 && write(pong[1], &c, 1) == 1) {
        }
        _exit(0);
    }
    measure("pipe_round_trip_us", ping_pong, 10, 1e3);
    close(ping[1]);
    waitpid(p, NULL, 0);
}

int main(int argc, char **argv)
{
    static const char first[] = "\nBENCH first_user\n";
    if (write(STDOUT_FILENO, first, sizeof(first) - 1) < 0) {
        return 1;
    }
    if (argc > 2 && strcmp(argv[1], "native") == 0) {
        busybox = argv[2];
    }
    user_code();
    measure("getppid_ns", getppid_once, 1000, 1);
    measure("fork_exit_wait_us", fork_once, 4, 1e3);
    measure("fork_exec_exit_wait_us", exec_once, 4, 1e3);
    measure("page_fault_us", fault_pages, 1, 1e3 * FAULT_PAGES);
    pipes();
    printf("BENCH end\n");
    fflush(stdout);
    if (getpid() == 1) {
        /* All is timed. Now host/watch.c looks how much memory this machine takes. */
        usleep(300000);
        reboot(RB_POWER_OFF);
    }
    return 0;
}
