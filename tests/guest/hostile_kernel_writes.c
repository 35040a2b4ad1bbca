/* A kernel that writes everywhere: all of the address space in big steps, with everything mapped
 * that a page table can map, then the addresses where the engine's own memory may lie. Wherever it
 * hits, only this machine may end, with one line. */
/* EXPECT: 0 123 125 126 */
#include "lib/hostile.h"
#include "lib/paging.h"

void guest_main(void)
{
    CASE("unmapped addresses: page faults and #GP, nothing else");
    for (unsigned slot = 0; slot < 512; slot++) {
        uint64_t base = (uint64_t)slot << 39;
        base |= slot & 256 ? 0xffff000000000000 : 0;
        for (unsigned i = 0; i < 24; i++) {
            uint64_t va = base + (i < 12 ? 1ull << (12 + 2 * i) : hostile_random() & 0x7fffffffff);
            if (slot == 273 || (slot == 511 && va >= 0xffffffff80000000) || slot == 0)
                continue;
            TRY_IN("movq %0, (%0)", "r"(va));
            CHECK(trap.vector == VEC_PF || trap.vector == VEC_GP);
        }
    }
    CASE("the same, mapped");
    uint64_t frame = page_alloc();
    for (unsigned slot = 1; slot < 511; slot++) {
        uint64_t base = (uint64_t)slot << 39;
        base |= slot & 256 ? 0xffff000000000000 : 0;
        if (slot == 273 || (slot >= 256 && slot < 273))
            continue;
        map(base + 0x123456000, frame, PTE_KERNEL);
        poke64(base + 0x123456008, slot);
        CHECK_EQ(*(uint64_t *)va_of(frame + 8), slot);
        unmap(base + 0x123456000);
    }
    CASE("where the engine lives: from 0xffff880000000000");
    print("now the engine's own place\n");
    for (uint64_t off = 0; off < 0x100000000; off += 0x1000)
        TRY_IN("movq %0, (%0)", "r"(0xffff880000000000 + off));
    for (uint64_t off = 0; off < 0x8000000000; off += 0x7654000)
        TRY_IN("movq %0, (%0)", "r"(0xffff880000000000 + off));
}
