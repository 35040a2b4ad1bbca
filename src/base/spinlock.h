/* A lock that is spun on, for state in the arena which several vCPU tasks change.
 *
 * Held for a few instructions, never while guest code runs. A waiter can only be another vCPU task
 * of the same machine: the monitor takes none of these locks, so a task that was taken over by its
 * guest stops nobody but its own machine.
 */
#ifndef BASE_SPINLOCK_H
#define BASE_SPINLOCK_H

#include "base/types.h"

struct spinlock {
    uint32_t held; /* 0 or 1 */
};

/** Acquire pairs with the release in spin_unlock. */
static inline void spin_lock(struct spinlock *l)
{
    while (__atomic_exchange_n(&l->held, 1, __ATOMIC_ACQUIRE) != 0) {
        __builtin_ia32_pause();
    }
}

static inline void spin_unlock(struct spinlock *l)
{
    __atomic_store_n(&l->held, 0, __ATOMIC_RELEASE);
}

#endif
