/* Whether time passes as it should. Usage: clocks NOW, where NOW is the time of day by the host's
 * clock. Prints what is wrong, with the figures.
 */
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static int bad;

static double now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void within(const char *what, double got, double low, double high)
{
    if (got < low || got > high) {
        printf("FAIL: %s: %.6f, not %.6f to %.6f\n", what, got, low, high);
        bad = 1;
    }
}

static void never_back(void)
{
    double last = now(CLOCK_MONOTONIC), last_real = now(CLOCK_REALTIME);
    for (int i = 0; i < 300000; i++) {
        double t = now(CLOCK_MONOTONIC), r = now(CLOCK_REALTIME);
        if (t < last || r < last_real) {
            printf("FAIL: a clock went back by %g, %g\n", last - t, last_real - r);
            bad = 1;
            return;
        }
        last = t;
        last_real = r;
    }
}

/* The vDSO and the system call agree; the TSC runs at one rate. */
static void sources(void)
{
    for (int i = 0; i < 200; i++) {
        struct timespec t;
        double a = now(CLOCK_MONOTONIC);
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
        double b = now(CLOCK_MONOTONIC), mid = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
        if (mid < a - 1e-6 || mid > b + 1e-6) {
            printf("FAIL: the system call's time %.9f is not between the vDSO's %.9f and %.9f\n",
                   mid, a, b);
            bad = 1;
            return;
        }
    }
    uint64_t c0 = __rdtsc();
    double t0 = now(CLOCK_MONOTONIC);
    usleep(300000);
    uint64_t c1 = __rdtsc();
    double t1 = now(CLOCK_MONOTONIC);
    usleep(300000);
    double first = (double)(c1 - c0) / (t1 - t0),
           second = (double)(__rdtsc() - c1) / (now(CLOCK_MONOTONIC) - t1);
    within("TSC rate, twice", first / second, 0.995, 1.005);
}

static volatile int ticks;

static void on_tick(int sig)
{
    (void)sig;
    ticks++;
}

static void timers(void)
{
    double t = now(CLOCK_MONOTONIC);
    sleep(1);
    within("sleep(1)", now(CLOCK_MONOTONIC) - t, 0.999, 1.05);
    t = now(CLOCK_MONOTONIC);
    poll(NULL, 0, 200);
    within("poll 200 ms", now(CLOCK_MONOTONIC) - t, 0.199, 0.25);
    t = now(CLOCK_MONOTONIC);
    for (int i = 0; i < 100; i++) {
        usleep(1000);
    }
    within("100 times 1 ms", now(CLOCK_MONOTONIC) - t, 0.1, 0.35);
    signal(SIGALRM, on_tick);
    struct itimerval often = {{0, 10000}, {0, 10000}};
    setitimer(ITIMER_REAL, &often, NULL);
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    t = now(CLOCK_MONOTONIC);
    while (now(CLOCK_MONOTONIC) - t < 1.0) {
    }
    within("ticks of 10 ms in a busy second", ticks, 60, 101);
    within("CPU time of a busy second", now(CLOCK_PROCESS_CPUTIME_ID) - cpu, 0.2, 1.05);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    within("getrusage",
           (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6 +
               (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6,
           0.2, 3);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        within("time of day, less the host's", now(CLOCK_REALTIME) - atof(argv[1]), -2, 20);
    }
    within("REALTIME_COARSE", now(CLOCK_REALTIME) - now(CLOCK_REALTIME_COARSE), -0.001, 0.05);
    within("BOOTTIME", now(CLOCK_BOOTTIME) - now(CLOCK_MONOTONIC), -0.001, 1e9);
    never_back();
    sources();
    timers();
    printf("%s\n", bad ? "bad" : "good");
    return bad;
}
