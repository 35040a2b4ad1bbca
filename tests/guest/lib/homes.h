/* Where the rewriting engine on Linux keeps pages of its own in user address spaces:
 * src/host/linux/space_home.c. Elsewhere these are addresses like any others. */
#ifndef GUEST_HOMES_H
#define GUEST_HOMES_H

#include "base/types.h"

#define HOMES 4u
#define HOME_PAGES 512u
#define STUB_PAGE 0xc0u /* of a home: the first that is there */
#define STUB_PAGES 64u
#define DESK 0xffffe000ull
#define FIRST_STUB 0x69c31a8c0000ull

static const uint64_t home[HOMES] = {0x69c31a800000, 0x5d176ec00000, 0x4a6b35e00000,
                                     0x27e44d200000};

#endif
