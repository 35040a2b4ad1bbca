/* A progress bar: see image.h. */
#include "cli/image.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DRAW_NS 100000000ull
#define BAR_MAX 40u

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void progress_begin(struct progress *p)
{
    *p = (struct progress){.begun_ns = now_ns(), .terminal = isatty(STDERR_FILENO)};
    p->drawn_ns = p->begun_ns;
}

static unsigned bar_width(void)
{
    struct winsize w;
    unsigned columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
    return columns < 60 ? 0 : (unsigned)min_u64(columns - 45, BAR_MAX);
}

void progress_update(struct progress *p, uint64_t done, uint64_t all)
{
    uint64_t now = now_ns();
    if (!p->terminal || now - p->drawn_ns < DRAW_NS || all == 0) {
        return;
    }
    char bar[BAR_MAX + 1];
    unsigned width = bar_width(), full = (unsigned)((double)done / (double)all * width);
    memset(bar, '.', width);
    memset(bar, '#', full < width ? full : width);
    bar[width] = '\0';
    double seconds = (double)(now - p->begun_ns) / 1e9;
    double left = done ? seconds * (double)(all - done) / (double)done : 0;
    fprintf(stderr, "\r\033[K%3u%% %s %s of %s, %s/s, %u:%02u left",
            (unsigned)(100.0 * (double)done / (double)all), bar, image_bytes(done),
            image_bytes(all), image_bytes((uint64_t)((double)done / seconds)), (unsigned)left / 60,
            (unsigned)left % 60);
    fflush(stderr);
    p->drawn_ns = now;
    p->shown = true;
}

void progress_end(struct progress *p)
{
    if (p->shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        p->shown = false;
    }
}
