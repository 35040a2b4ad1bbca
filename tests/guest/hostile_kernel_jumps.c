/* A kernel that jumps everywhere: unmapped, not executable, into data, into the middle of
 * instructions, into the engine's own place. */
/* EXPECT: 0 123 125 126 */
#include "lib/hostile.h"
#include "lib/paging.h"

static void go(uint64_t va)
{
    TRY_IN("call *%0", "r"(va));
}

void guest_main(void)
{
    CASE("unmapped and non-canonical");
    for (unsigned slot = 1; slot < 511; slot++) {
        uint64_t base = (uint64_t)slot << 39;
        base |= slot & 256 ? 0xffff000000000000 : 0;
        uint64_t va = base + (hostile_random() & 0x7fffffffff);
        if (slot == 273)
            continue;
        go(va);
        CHECK(trap.vector == VEC_PF && trap.rip == va);
    }
    for (unsigned i = 17; i < 47; i++) {
        go(0x8000000000000000 >> (i - 17) | 0x800000000000);
        CHECK(trap.vector == VEC_GP || trap.vector == VEC_PF);
    }
    CASE("into a page of each single byte");
    uint64_t frame = page_alloc(), at = SPARE_HIGH;
    map(at, frame, PTE_KERNEL);
    static const uint8_t harmless[] = {0x06, 0x0e, 0x16, 0x1e, 0x27, 0x2f, 0x37, 0x3f, 0x60,
                                       0x61, 0x62, 0xce, 0xd4, 0xd5, 0xd6, 0xea, 0xcc, 0xf1};
    for (unsigned i = 0; i < ARRAY_LEN(harmless); i++) {
        memset(va_of(frame), harmless[i], KB4);
        go(at);
        CHECK(trap.vector != NO_TRAP);
    }
    CASE("a page full of nops that runs into an unmapped one");
    memset(va_of(frame), 0x90, KB4);
    go(at);
    CHECK_EQ(trap.vector, VEC_PF);
    CHECK_EQ(trap.rip, at + KB4);
    CASE("a chain of prefixes across the page's end");
    memset(va_of(frame), 0x66, KB4);
    go(at + KB4 - 7);
    CHECK_EQ(trap.vector, VEC_PF);
    go(at);
    CHECK_EQ(trap.vector, VEC_GP);
    CASE("into the engine's own place");
    print("now the engine's own place\n");
    for (uint64_t off = 0; off < 0x40000000; off += 0x10000)
        go(0xffff880000000000 + off);
    CASE("into a hole in physical memory: one line and the end");
    map(SPARE_HIGH2, 0xd0000000, PTE_KERNEL);
    go(SPARE_HIGH2);
}
