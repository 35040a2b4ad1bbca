/* The TSC's frequency: asked of the kernel, or measured. No state; any thread. */
#include "host/linux/tsc.h"

#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define MEASURE_NS 10000000u
#define TRIES 16

/* Clock and counter read as close together as can be had in a few tries. */
struct tsc_point tsc_start(void)
{
    struct tsc_point best = {0};
    uint64_t best_gap = UINT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        struct timespec t;
        uint64_t before = __rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &t);
        uint64_t after = __rdtsc();
        if (after - before < best_gap) {
            best_gap = after - before;
            best.tsc = before + best_gap / 2;
            best.ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
        }
    }
    return best;
}

/* perf's user page tells time_mult and time_shift: ns = tsc * mult >> shift. Any event has one, a
 * software event of this process is allowed to everybody unless perf is locked altogether. 0 if not
 * to be had. */
static uint32_t khz_from_perf(void)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof(attr),
        .config = PERF_COUNT_SW_DUMMY,
        .exclude_kernel = 1,
        .exclude_hv = 1,
    };
    int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    uint32_t khz = 0;
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    struct perf_event_mmap_page *page = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) {
        if (page->cap_user_time && page->time_mult) {
            __uint128_t scaled = (__uint128_t)1000000 << page->time_shift;
            khz = (uint32_t)((scaled + page->time_mult / 2) / page->time_mult);
        }
        munmap(page, size);
    }
    close(fd);
    return khz;
}

uint32_t tsc_khz(const struct tsc_point *start)
{
    uint32_t khz = khz_from_perf();
    if (khz) {
        return khz;
    }
    struct tsc_point now = tsc_start();
    while (now.ns - start->ns < MEASURE_NS) {
        struct timespec rest = {.tv_nsec = (long)(MEASURE_NS - (now.ns - start->ns))};
        nanosleep(&rest, NULL);
        now = tsc_start();
    }
    __uint128_t ticks = (__uint128_t)(now.tsc - start->tsc) * 1000000u;
    return (uint32_t)(ticks / (now.ns - start->ns));
}
