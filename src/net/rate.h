/* A rate limit in bytes a second: a token bucket that may go into debt.
 *
 * Whoever wants to send asks rate_wait; if it may, it sends, however much that is, and then says
 * how much it was. The debt is paid by waiting, so the average is exact whatever the sizes. Pure;
 * the time is the caller's, monotonic nanoseconds.
 */
#ifndef NET_RATE_H
#define NET_RATE_H

#include "base/types.h"

struct rate {
    uint64_t bps;      /* 0: no limit */
    uint64_t burst;    /* bytes that may go at once after a pause */
    int64_t tokens;    /* bytes; < 0: debt */
    uint64_t fraction; /* of a byte, in 1/NS_PER_S */
    uint64_t last_ns;
};

/** bps bytes a second, 0: as many as you like. Bursts are a tenth of a second's worth, at least 4
 * KB. */
void rate_init(struct rate *r, uint64_t bps, uint64_t now_ns);
/** 0: go on; else the time at which to ask again. */
uint64_t rate_wait(struct rate *r, uint64_t now_ns);
void rate_spend(struct rate *r, uint64_t bytes);

#endif
