/* Local APIC timer: one-shot, periodic and TSC-deadline. See lapic.h for state; the owner's task
 * only. SDM 3 "APIC Timer" §11.5.4.
 *
 * The host knows one time of expiry, timer_next_ns. In the counting modes a tick is `divide`
 * nanoseconds from timer_start_ns on; in deadline mode the TSC itself decides whether the time has
 * come, and the host time only says when to look again.
 */
#include "host/host.h"
#include "irq/lapic.h"
#include "irq/lapic_impl.h"
#include "vm/vm.h"

/* A period below this is stretched, or the host would do nothing but expire it. */
#define MIN_PERIOD_NS 20000ull

_Static_assert(LAPIC_TIMER_HZ == 1000000000, "the code below takes a tick for a nanosecond");

#define DIVIDE_BITS 0xbu

static uint32_t mode(const struct lapic *l)
{
    return l->lvt_timer & LAPIC_TIMER_MODE;
}

static bool counting(const struct lapic *l)
{
    return mode(l) == LAPIC_TIMER_ONE_SHOT || mode(l) == LAPIC_TIMER_PERIODIC;
}

/* Nanoseconds a tick: divide configuration bits 3, 1, 0 = 0..6 divide by 2..128, 7 by 1. */
static uint64_t tick_ns(const struct lapic *l)
{
    unsigned code = (l->timer_divide & 3) | (l->timer_divide >> 1 & 4);
    return 1ull << ((code + 1) & 7);
}

/* Duration of `cycles` of the TSC, rounded up: looking too early would only mean looking twice.
 * Exact: the quotient and remainder keep every product below 2^64; a deadline centuries away is cut
 * to half the range. */
static uint64_t tsc_to_ns(const struct lapic *l, uint64_t cycles)
{
    uint64_t ms = cycles / l->tsc_khz;
    uint64_t rest = cycles % l->tsc_khz;
    if (ms > INT64_MAX / 1000000) {
        return INT64_MAX;
    }
    return ms * 1000000 + (rest * 1000000 + l->tsc_khz - 1) / l->tsc_khz;
}

/* Tell the host when to look: not at all while a masked timer runs, its expiry has no effect. */
static void set_next(struct lapic *l, uint64_t next_ns)
{
    l->timer_next_ns = next_ns;
    bool silent = l->lvt_timer & LAPIC_LVT_MASKED;
    host_timer_set(l->vm->vcpu[l->id], silent ? 0 : next_ns);
}

static void expire(struct lapic *l)
{
    if (!(l->lvt_timer & LAPIC_LVT_MASKED)) {
        lapic_raise(l, (uint8_t)l->lvt_timer, false);
    }
}

/* ---- TSC deadline ---- */

static void poll_deadline(struct lapic *l)
{
    if (l->tsc_deadline == 0) {
        return;
    }
    uint64_t tsc = host_tsc();
    if (tsc >= l->tsc_deadline) {
        l->tsc_deadline = 0;
        expire(l);
        set_next(l, 0);
        return;
    }
    uint64_t now = host_time_ns();
    if (now >= l->timer_next_ns) { /* the two clocks drifted apart since */
        set_next(l, now + tsc_to_ns(l, l->tsc_deadline - tsc));
    }
}

uint64_t lapic_tsc_deadline(const struct lapic *l)
{
    return mode(l) == LAPIC_TIMER_DEADLINE ? l->tsc_deadline : 0;
}

void lapic_set_tsc_deadline(struct lapic *l, uint64_t tsc)
{
    if (mode(l) != LAPIC_TIMER_DEADLINE) {
        return;
    }
    uint64_t now = host_tsc();
    l->tsc_deadline = tsc;
    if (tsc > now) {
        set_next(l, host_time_ns() + tsc_to_ns(l, tsc - now));
        return;
    }
    l->tsc_deadline = 0;
    if (tsc != 0) {
        expire(l);
    }
    if (l->timer_next_ns != 0) {
        set_next(l, 0);
    }
}

/* ---- one-shot and periodic ---- */

/* Start counting down from the initial count now. */
static void start_count(struct lapic *l)
{
    l->timer_start_ns = host_time_ns();
    uint64_t length = l->timer_initial * tick_ns(l);
    set_next(l, length == 0 ? 0 : l->timer_start_ns + length);
}

static void poll_count(struct lapic *l)
{
    uint64_t now = host_time_ns();
    if (now < l->timer_next_ns) {
        return;
    }
    expire(l);
    if (mode(l) == LAPIC_TIMER_ONE_SHOT) {
        set_next(l, 0);
        return;
    }
    /* Periods that went by unseen make one interrupt: the IRR holds no more. */
    uint64_t period = l->timer_initial * tick_ns(l);
    l->timer_start_ns += (now - l->timer_start_ns) / period * period;
    set_next(l, max_u64(l->timer_start_ns + period, now + MIN_PERIOD_NS));
}

uint32_t lapic_timer_current(const struct lapic *l)
{
    if (!counting(l) || l->timer_next_ns == 0) {
        return 0;
    }
    uint64_t ticks = (host_time_ns() - l->timer_start_ns) / tick_ns(l);
    if (mode(l) == LAPIC_TIMER_PERIODIC) {
        return l->timer_initial - (uint32_t)(ticks % l->timer_initial);
    }
    return ticks >= l->timer_initial ? 0 : l->timer_initial - (uint32_t)ticks;
}

void lapic_timer_set_initial(struct lapic *l, uint32_t count)
{
    if (!counting(l)) {
        return;
    }
    l->timer_initial = count;
    start_count(l);
}

/* A running count keeps its value and goes on at the new rate. */
void lapic_timer_set_divide(struct lapic *l, uint32_t divide)
{
    lapic_poll_timer(l);
    uint32_t left = lapic_timer_current(l);
    l->timer_divide = divide & DIVIDE_BITS;
    if (left == 0) {
        return;
    }
    uint64_t now = host_time_ns();
    l->timer_start_ns = now - min_u64(now, (l->timer_initial - left) * tick_ns(l));
    if (l->timer_next_ns != 0) {
        set_next(l, now + left * tick_ns(l));
    }
}

/* ---- both ---- */

void lapic_poll_timer(struct lapic *l)
{
    if (l->timer_next_ns == 0) {
        return;
    }
    if (counting(l)) {
        poll_count(l);
    } else {
        poll_deadline(l);
    }
}

/* Going to or from deadline mode disarms; between one-shot and periodic the count runs on. */
void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt)
{
    lapic_poll_timer(l);
    bool was_counting = counting(l);
    l->lvt_timer = lvt;
    if (was_counting != counting(l) || mode(l) == LAPIC_TIMER_MODE) {
        l->timer_initial = 0;
        l->tsc_deadline = 0;
        if (l->timer_next_ns != 0) {
            set_next(l, 0);
        }
    } else if (l->timer_next_ns != 0) {
        set_next(l, l->timer_next_ns); /* the mask may have changed */
    }
}

void lapic_timer_reset(struct lapic *l)
{
    bool running = l->timer_next_ns != 0;
    l->lvt_timer = LAPIC_LVT_MASKED;
    l->timer_initial = 0;
    l->timer_divide = 0;
    l->timer_start_ns = 0;
    l->tsc_deadline = 0;
    if (running) {
        set_next(l, 0);
    }
}
