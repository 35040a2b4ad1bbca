/* Filling a struct vcpu_exception. Every raise_ function returns false, so that a failing check is
 * one line: `return raise_gp(ex, error)`. The work is kept out of the paths that succeed.
 */
#ifndef VCPU_RAISE_H
#define VCPU_RAISE_H

#include "vcpu/vcpu.h"

__attribute__((cold, noinline, unused)) static void
raise_fill(struct vcpu_exception *ex, uint8_t vec, bool has_error, uint32_t error)
{
    *ex = (struct vcpu_exception){.vector = vec, .has_error = has_error, .error = error};
}

/** An exception with an error code (selector codes: the caller has masked and tagged it). */
static inline bool raise_error(struct vcpu_exception *ex, enum vector vec, uint32_t error)
{
    raise_fill(ex, (uint8_t)vec, true, error);
    return false;
}

/** #GP(error). */
static inline bool raise_gp(struct vcpu_exception *ex, uint32_t error)
{
    return raise_error(ex, VEC_GP, error);
}

static inline bool raise_ud(struct vcpu_exception *ex)
{
    raise_fill(ex, VEC_UD, false, 0);
    return false;
}

#endif
