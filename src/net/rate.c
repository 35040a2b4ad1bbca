/* See rate.h. */
#include "net/rate.h"

#define NS_PER_S 1000000000ull
#define BURST_PARTS 10u /* of a second */
#define BURST_MIN 4096u

void rate_init(struct rate *r, uint64_t bps, uint64_t now_ns)
{
    uint64_t burst = max_u64(bps / BURST_PARTS, BURST_MIN);
    *r = (struct rate){.bps = bps, .burst = burst, .tokens = (int64_t)burst, .last_ns = now_ns};
}

/* What has come since. A bucket that fills up needs no more than to be full. */
static void fill(struct rate *r, uint64_t now_ns)
{
    uint64_t passed = now_ns > r->last_ns ? now_ns - r->last_ns : 0;
    r->last_ns = now_ns;
    unsigned __int128 gained = (unsigned __int128)passed * r->bps + r->fraction;
    unsigned __int128 bytes = gained / NS_PER_S;
    uint64_t room = r->burst - (uint64_t)r->tokens; /* right for debts too: it wraps around */
    if (bytes >= room) {
        r->tokens = (int64_t)r->burst;
        r->fraction = 0;
        return;
    }
    r->tokens += (int64_t)bytes;
    r->fraction = (uint64_t)(gained % NS_PER_S);
}

uint64_t rate_wait(struct rate *r, uint64_t now_ns)
{
    if (r->bps == 0) {
        return 0;
    }
    fill(r, now_ns);
    if (r->tokens > 0) {
        return 0;
    }
    /* Until one byte is there, and a little longer, so that it pays to be woken. */
    uint64_t missing = min_u64((uint64_t)(1 - r->tokens) + r->burst / 64, UINT64_MAX / NS_PER_S);
    return now_ns + missing * NS_PER_S / r->bps + 1;
}

void rate_spend(struct rate *r, uint64_t bytes)
{
    if (r->bps != 0) {
        r->tokens -= (int64_t)bytes;
    }
}
