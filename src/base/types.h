/* Scalar and address types shared by everything.
 *
 * Guest-physical addresses get a struct type, because handing one to code that expects a
 * host or guest-virtual address compiles silently otherwise and corrupts another page.
 * Guest-virtual addresses are plain uint64_t, always named `gva` or `gpc`; host-virtual ones
 * are pointers, or uintptr_t named `hva`.
 */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull
#define PAGE_MASK (PAGE_SIZE - 1)

/** A guest-physical address, bytes. */
typedef struct {
    uint64_t v;
} gpa_t;

static inline gpa_t gpa(uint64_t v)
{
    return (gpa_t){v};
}

static inline gpa_t gpa_add(gpa_t a, uint64_t off)
{
    return (gpa_t){a.v + off};
}

static inline uint64_t align_down(uint64_t x, uint64_t to)
{
    return x & ~(to - 1);
}

static inline uint64_t align_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) & ~(to - 1);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/** Bits [lo, lo+n) of x. n in 1..63. */
static inline uint64_t bits(uint64_t x, unsigned lo, unsigned n)
{
    return (x >> lo) & ((1ull << n) - 1);
}

/** Whether bit b of x is set. */
static inline bool bit(uint64_t x, unsigned b)
{
    return (x >> b) & 1;
}

#endif
