/* A fuzzer's input, taken piece by piece; after its end everything is 0. And guest RAM between
 * inaccessible pages: a stray access dies there. */
#ifndef TESTS_FUZZ_STREAM_H
#define TESTS_FUZZ_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mmu/ram.h"

struct stream {
    const uint8_t *at;
    size_t left;
};

static inline void stream_bytes(struct stream *s, void *to, size_t len)
{
    size_t n = len < s->left ? len : s->left;
    memset(to, 0, len);
    memcpy(to, s->at, n);
    s->at += n;
    s->left -= n;
}

static inline uint8_t stream8(struct stream *s)
{
    uint8_t v;
    stream_bytes(s, &v, sizeof(v));
    return v;
}

static inline uint16_t stream16(struct stream *s)
{
    uint16_t v;
    stream_bytes(s, &v, sizeof(v));
    return v;
}

static inline uint32_t stream32(struct stream *s)
{
    uint32_t v;
    stream_bytes(s, &v, sizeof(v));
    return v;
}

static inline uint64_t stream64(struct stream *s)
{
    uint64_t v;
    stream_bytes(s, &v, sizeof(v));
    return v;
}

#define FUZZ_GUARD (1u << 20)

/** Zeroed RAM of the same size each time, at the same place. */
static inline struct ram fuzz_ram(size_t size)
{
    static uint8_t *base; /* mapped once: a fuzzer's only state */
    if (!base) {
        uint8_t *all = mmap(NULL, size + 2 * FUZZ_GUARD, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (all == MAP_FAILED || mprotect(all + FUZZ_GUARD, size, PROT_READ | PROT_WRITE)) {
            abort();
        }
        base = all + FUZZ_GUARD;
    }
    if (madvise(base, size, MADV_DONTNEED)) {
        abort();
    }
    return (struct ram){.base = base, .size = size, .fd = -1};
}

#endif
