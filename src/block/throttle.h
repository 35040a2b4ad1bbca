/* Rate limits: how the next request's time is found from those before. Pure arithmetic; block.h's
 * throttle_open uses it.
 *
 * Each limit is a line in time: every request moves it on by what the request costs, 1 s / rate for
 * each unit, from now or from where it was, whichever is later. A request is welcome while the line
 * is less than RATE_BURST_NS ahead of now. So a disk that rested may do a tenth of a second's worth
 * at once, and no more than its rate in the long run. A big request is not held up by its own size,
 * but by what came before.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "base/types.h"

#define RATE_BURST_NS 100000000ull

struct rate {
    uint64_t per_s;   /* units a second, 0: no limit */
    uint64_t line_ns; /* the time up to which the rate is used up */
    uint64_t rest; /* of the last division, in units of 1 / per_s ns: nothing is lost by rounding */
};

/** Host time from which on the next request is welcome. */
uint64_t rate_ready_ns(const struct rate *r);
/** A request of `units` starts now. */
void rate_charge(struct rate *r, uint64_t now_ns, uint64_t units);

#endif
