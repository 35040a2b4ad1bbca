/* For guests whose kernel writes where the rewriting engine's own memory lies: guest addresses from
 * 0xffff880000000000 up are the host addresses from 0 up (bt/bt.h). What happens then cannot be
 * foretold, but it happens to this machine only. */
#ifndef GUEST_ALIAS_H
#define GUEST_ALIAS_H

#include "lib/hostile.h"
#include "lib/paging.h"

/** Write `value` to host addresses [from, to) in steps, each from an instruction of its own: one
 * that has faulted once is not run natively again. */
static inline void alias_write(uint64_t from, uint64_t to, uint64_t step, uint64_t value)
{
    const uint64_t code = SPARE_HIGH2;
    static uint64_t slots;
    for (uint64_t at = from; at < to; at += step) {
        uint64_t place = code + 16 * slots++;
        if (!(*pte(place, 1) & PTE_P))
            map(place, page_alloc(), PTE_KERNEL);
        *(volatile uint32_t *)place = 0xc3078948; /* mov %rax, (%rdi); ret */
        asm volatile(TRY_BEGIN "call *%0" TRY_END
                     :
                     : "r"(place), "D"(0xffff880000000000 + at), "a"(value)
                     : "memory", "cc");
    }
    print("survived\n");
}

#endif
