/* XGETBV, XSETBV and the XSAVE instructions in the kernel. SDM 1 §13.3 "Enabling the XSAVE Feature
 * Set", SDM 2 "XSETBV", "XGETBV". */
#include "lib/paging.h"
#include "lib/trap.h"

static uint64_t xgetbv(uint32_t n)
{
    uint32_t lo, hi;
    asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(n));
    return lo | (uint64_t)hi << 32;
}

static void xsetbv_refused(uint32_t n, uint64_t value)
{
    TRY_IN("xsetbv", "c"(n), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
    EXPECT_FAULT(VEC_GP, 0);
}

static void set(uint64_t value)
{
    asm volatile("xsetbv" : : "c"(0), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static void images(uint64_t all)
{
    uint32_t r[4];
    cpuid(0xd, 0, r);
    uint64_t size = align_up(r[2], KB4), at = SPARE_HIGH, far = SPARE_FAR;
    for (uint64_t off = 0; off < size + KB4; off += KB4) {
        map(at + off, page_alloc(), PTE_KERNEL);
        map(far + off, page_alloc(), PTE_USER);
    }
    const uint64_t places[] = {at, at + KB4 - 576, far, far + KB4 - 576};
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        uint64_t to = places[i];
        static const uint64_t pattern[2] = {0x1122334455667788, 0x99aabbccddeeff00};
        uint64_t back[2];
        asm volatile("movdqu %0, %%xmm5" : : "m"(pattern));
        asm volatile("xsave64 (%0)"
                     :
                     : "r"(to), "a"((uint32_t)all), "d"((uint32_t)(all >> 32))
                     : "memory");
        CHECK_EQ(*(uint64_t *)(to + 160 + 5 * 16), pattern[0]);
        asm volatile("pxor %%xmm5, %%xmm5; xrstor64 (%0)"
                     :
                     : "r"(to), "a"((uint32_t)all), "d"((uint32_t)(all >> 32))
                     : "memory");
        asm volatile("movdqu %%xmm5, %0" : "=m"(back));
        CHECK_EQ(back[0], pattern[0]);
        CHECK_EQ(back[1], pattern[1]);
        *(uint64_t *)(to + 512 + 8) = 1; /* XCOMP_BV: compacted bits without bit 63 */
        TRY_IN("xrstor64 (%0)", "r"(to), "a"((uint32_t)all), "d"((uint32_t)(all >> 32)));
        EXPECT_FAULT(VEC_GP, 0);
        *(uint64_t *)(to + 512 + 8) = 0;
        TRY_IN("xsave64 (%0)", "r"(to + 8), "a"((uint32_t)all), "d"((uint32_t)(all >> 32)));
        EXPECT_FAULT(VEC_GP, 0);
        TRY_IN("fxsave64 (%0)", "r"(to));
        EXPECT_NOTHING();
        CHECK_EQ(*(uint64_t *)(to + 160 + 5 * 16), pattern[0]);
        asm volatile("pxor %%xmm5, %%xmm5; fxrstor64 (%0); movdqu %%xmm5, %1"
                     :
                     : "r"(to), "m"(back)
                     : "memory");
        CHECK_EQ(back[1], pattern[1]);
    }
}

void guest_main(void)
{
    uint32_t r[4];
    cpuid(1, 0, r);
    if (!(r[2] & (1u << 26)))
        return;
    write_cr4((read_cr4() | CR4_OSFXSR) & ~CR4_OSXSAVE);
    CASE("without CR4.OSXSAVE: #UD");
    TRY_IN("xgetbv", "c"(0));
    EXPECT_FAULT(VEC_UD, 0);
    TRY_IN("xsetbv", "c"(0), "a"(3), "d"(0));
    EXPECT_FAULT(VEC_UD, 0);
    write_cr4(read_cr4() | CR4_OSXSAVE);
    CASE("XCR0 starts as x87 only");
    CHECK_EQ(xgetbv(0), 1);
    cpuid(0xd, 0, r);
    uint64_t all = r[0] | (uint64_t)r[3] << 32;
    CASE("refused: without x87, AVX without SSE, AVX-512 in part, unknown bits, other registers");
    xsetbv_refused(0, all & ~1ull);
    xsetbv_refused(0, 5);
    xsetbv_refused(0, 0x27);
    xsetbv_refused(0, all | 1ull << 62);
    xsetbv_refused(0, ~0ull);
    xsetbv_refused(1, 1);
    TRY_IN("xgetbv", "c"(2));
    EXPECT_FAULT(VEC_GP, 0);
    CASE("accepted, read back, and leaf 0xd's current size follows");
    set(3);
    CHECK_EQ(xgetbv(0), 3);
    cpuid(0xd, 0, r);
    CHECK_EQ(r[1], 576);
    set(all);
    CHECK_EQ(xgetbv(0), all);
    cpuid(0xd, 0, r);
    CHECK_EQ(r[1], r[2]);
    CASE("xsave and xrstor in the kernel half and beyond 8 TB, across pages; #GP for bad images");
    images(all);
}
