/* For guests whose user code attacks: anything may come of it, but the guest kernel gets its
 * processor back, and other user code still works. */
#ifndef GUEST_HOSTILE_H
#define GUEST_HOSTILE_H

#include "lib/user.h"

#define VEC_HOSTILE_TIMER 0xe8u

void hostile_start(void);
/** Go on with `user` for at most about 50 ms; returns at whatever event comes first, the timer's
 * interrupt included (trap.vector then is VEC_HOSTILE_TIMER). tag: printed if the guest does not
 * come back. */
void hostile_run(uint64_t tag);
/** Check that harmless user code gives the right results here and in another address space. */
void hostile_alive(void);
/** A sequence of numbers, the same each time. */
uint64_t hostile_random(void);

#endif
