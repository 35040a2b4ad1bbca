/* Guest RAM: one contiguous host object seen by the guest in two pieces.
 *
 * RAM byte `off` of the object appears at guest-physical `off` while below RAM_HOLE_START, and at
 * `off + (RAM_HOLE_END - RAM_HOLE_START)` above; the hole holds devices (I/O APIC, ECAM, BARs).
 * The object is mapped once, linearly, at `base` in the monitor. The guest changes the bytes at any
 * time: copy first, then check.
 */
#ifndef MMU_RAM_H
#define MMU_RAM_H

#include "base/types.h"

#define RAM_HOLE_START 0xc0000000ull
#define RAM_HOLE_END 0x100000000ull

struct ram {
    uint8_t *base; /* linear view, `size` bytes */
    uint64_t size; /* bytes, a multiple of PAGE_SIZE */
    int fd;        /* host object handle (memfd on Linux); -1 where the host needs none */
};

/** First guest-physical address past the last RAM byte. */
static inline uint64_t ram_end(const struct ram *ram)
{
    return ram->size <= RAM_HOLE_START ? ram->size : ram->size + (RAM_HOLE_END - RAM_HOLE_START);
}

/** Offset of a into the RAM object when [a, a+len) is wholly RAM, else -1. len > 0. */
static inline int64_t ram_offset(const struct ram *ram, gpa_t a, uint64_t len)
{
    uint64_t off = a.v;
    if (a.v >= RAM_HOLE_END) {
        off = a.v - (RAM_HOLE_END - RAM_HOLE_START);
    } else if (a.v >= RAM_HOLE_START || len > RAM_HOLE_START - a.v) {
        return -1;
    }
    if (off >= ram->size || len > ram->size - off) {
        return -1;
    }
    return (int64_t)off;
}

/** Host view of [a, a+len), or NULL if it is not wholly RAM (or crosses the hole). len > 0.
 *  Valid as long as the RAM. */
static inline uint8_t *ram_span(const struct ram *ram, gpa_t a, uint64_t len)
{
    int64_t off = ram_offset(ram, a, len);
    return off < 0 ? NULL : ram->base + off;
}

#endif
