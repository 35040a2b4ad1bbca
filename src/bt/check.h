/* The debug build's check of every expansion: whether guest state can be got back at each host
 * instruction boundary (translate.h's invariant). In a release build check_expansion does nothing.
 */
#ifndef BT_CHECK_H
#define BT_CHECK_H

#include "bt/translate.h"

/** Follow the host code from cpc `from` to the cursor, which was emitted for t->in, and its notes.
 * A boundary from which cache_recover would not restore the guest's registers is a bug of ours and
 * ends the task, with a line that says where. */
void check_host_code(const struct tr *t, uint32_t from);

static inline void check_expansion(const struct tr *t, uint32_t from)
{
#ifdef RING3_DEBUG
    check_host_code(t, from);
#else
    (void)t;
    (void)from;
#endif
}

#endif
