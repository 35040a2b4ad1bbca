/* How fast the time stamp counter runs: guests are told, and keep time by it. */
#ifndef HOST_LINUX_TSC_H
#define HOST_LINUX_TSC_H

#include "base/types.h"

/** One reading of counter and clock. */
struct tsc_point {
    uint64_t tsc;
    uint64_t ns; /* CLOCK_MONOTONIC_RAW */
};

/** A point for tsc_khz to start from; take it early. */
struct tsc_point tsc_start(void);
/** The frequency in kHz, never 0. From the host kernel's own conversion factors where it gives them
 * out (at once, exact); else measured against the clock since `start`, which takes at least 10 ms
 * in all and is good to about 10 ppm. */
uint32_t tsc_khz(const struct tsc_point *start);

#endif
