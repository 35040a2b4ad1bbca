/* String instructions: exact RCX, RSI, RDI when they fault in the middle, both directions, all
 * sizes, across pages, in the kernel half, below and above 8 TB, between them; and that nothing
 * beyond the fault was touched. SDM 2 "REP/REPE/REPZ/REPNE/REPNZ". */
#include "lib/paging.h"
#include "lib/trap.h"

static const uint64_t places[] = {SPARE_HIGH + 0x10000, SPARE_LOW + 0x10000, SPARE_FAR + 0x10000};

/* Two pages at each place; the second can be taken away. */
static void set_second(uint64_t at, bool present)
{
    volatile uint64_t *entry = pte(at + KB4, 1);
    *entry = present ? *entry | PTE_P : *entry & ~PTE_P;
    invlpg(at + KB4);
}

static void fill(uint64_t at, uint8_t seed)
{
    for (unsigned i = 0; i < 2 * KB4; i++)
        ((volatile uint8_t *)at)[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

#define STRING(insn, src, dst, n, value)                                                           \
    asm volatile(TRY_BEGIN insn TRY_END                                                            \
                 : "=S"(rsi), "=D"(rdi), "=c"(rcx)                                                 \
                 : "0"(src), "1"(dst), "2"((uint64_t)(n)), "a"((uint64_t)(value))                  \
                 : "memory", "cc")

static uint64_t rsi, rdi, rcx;

static void check_progress(uint64_t src, uint64_t dst, uint64_t count)
{
    CHECK_EQ(trap.rsi, src);
    CHECK_EQ(trap.rdi, dst);
    CHECK_EQ(trap.rcx, count);
}

static void movs(uint64_t from, uint64_t to)
{
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned skew = 0; skew<size; skew += size> 1 ? size / 2 : 1) {
            uint64_t src = from + KB4 - 96 + skew, dst = to + KB4 - 160;
            uint64_t n = 256 / size,
                     fit = (96 - skew) / size; /* elements wholly in the first page */
            fill(from, 1);
            fill(to, 77);
            set_second(from, false);
            if (size == 1)
                STRING("rep movsb", src, dst, n, 0);
            else if (size == 2)
                STRING("rep movsw", src, dst, n, 0);
            else if (size == 4)
                STRING("rep movsl", src, dst, n, 0);
            else
                STRING("rep movsq", src, dst, n, 0);
            EXPECT_PF(0, from + KB4);
            check_progress(src + fit * size, dst + fit * size, n - fit);
            CHECK_EQ(memcmp((void *)dst, (void *)src, fit * size), 0);
            CHECK_EQ(*(uint8_t *)(dst + fit * size), (uint8_t)(77 + (KB4 - 160 + fit * size) * 7 +
                                                               ((KB4 - 160 + fit * size) >> 8)));
            set_second(from, true);
            set_second(to, false);
            fit = 160 / size;
            if (size == 1)
                STRING("rep movsb", src, dst, n, 0);
            else if (size == 2)
                STRING("rep movsw", src, dst, n, 0);
            else if (size == 4)
                STRING("rep movsl", src, dst, n, 0);
            else
                STRING("rep movsq", src, dst, n, 0);
            EXPECT_PF(PF_W, to + KB4);
            check_progress(src + fit * size, dst + fit * size, n - fit);
            set_second(to, true);
            STRING("rep movsb", src, dst, 256, 0);
            EXPECT_NOTHING();
            CHECK_EQ(rcx, 0);
            CHECK_EQ(rsi, src + 256);
            CHECK_EQ(rdi, dst + 256);
            CHECK_EQ(memcmp((void *)dst, (void *)src, 256), 0);
        }
    }
}

static void backward(uint64_t from, uint64_t to)
{
    fill(from, 3);
    fill(to, 9);
    uint64_t src = from + KB4 + 56, dst = to + KB4 + 120;
    CASE("DF: down across a page, source missing");
    volatile uint64_t *entry = pte(from, 1);
    *entry &= ~PTE_P;
    invlpg(from);
    STRING("std; rep movsq; cld", src, dst, 20, 0);
    asm volatile("cld");
    expect_pf(__FILE__, __LINE__, 0, from + KB4 - 8, probe.start + 1);
    check_progress(from + KB4 - 8, dst - 64, 12);
    CHECK(trap.rflags & RFLAGS_DF);
    *entry |= PTE_P;
    CASE("DF: down, destination missing");
    entry = pte(to, 1);
    *entry &= ~PTE_P;
    invlpg(to);
    STRING("std; rep movsb; cld", src, dst, 400, 0);
    asm volatile("cld");
    expect_pf(__FILE__, __LINE__, PF_W, to + KB4 - 1, probe.start + 1);
    check_progress(src - 121, to + KB4 - 1, 400 - 121);
    *entry |= PTE_P;
    STRING("std; rep movsb; cld", src, dst, 400, 0);
    EXPECT_NOTHING();
    CHECK_EQ(rsi, src - 400);
    CHECK_EQ(rdi, dst - 400);
    CHECK_EQ(memcmp((void *)(dst - 399), (void *)(src - 399), 400), 0);
}

static void overlapping(uint64_t at)
{
    CASE("overlap: a pattern is propagated");
    fill(at, 5);
    for (unsigned i = 0; i < 3; i++)
        ((uint8_t *)at)[0xf00 + i] = (uint8_t)(0xa0 + i);
    STRING("rep movsb", at + 0xf00, at + 0xf03, 600, 0);
    EXPECT_NOTHING();
    for (unsigned i = 0; i < 603; i++)
        if (((uint8_t *)at)[0xf00 + i] != 0xa0 + i % 3)
            CHECK_EQ(((uint8_t *)at)[0xf00 + i], 0xa0 + i % 3);
    CASE("overlap: down");
    fill(at, 5);
    ((uint8_t *)at)[0x1100] = 0x5a;
    STRING("std; rep movsb; cld", at + 0x1100, at + 0x10ff, 600, 0);
    EXPECT_NOTHING();
    CHECK_EQ(*(uint8_t *)(at + 0x10ff - 599), 0x5a);
}

static void corners(uint64_t at)
{
    uint64_t flags;
    CASE("count 0 touches nothing");
    STRING("rep movsb", 0x800000000000, 0, 0, 0);
    EXPECT_NOTHING();
    STRING("stc; repe cmpsb", 0, 0, 0, 0);
    asm volatile("pushfq; popq %0" : "=r"(flags));
    EXPECT_NOTHING();
    CASE("32-bit address size");
    map(0x7fff0000, pa_of((void *)at), PTE_USER);
    memset((void *)at, 0, 64);
    STRING("addr32 rep stosb", 0, 0xffffffff7fff0010, 0xffffffff00000004, 0x99);
    EXPECT_NOTHING();
    CHECK_EQ(rdi, 0x7fff0014);
    CHECK_EQ(rcx & 0xffffffff, 0);
    CHECK_EQ(*(uint64_t *)(at + 0x10), 0x99999999);
    CASE("non-canonical in the middle");
    STRING("rep movsb", at, 0x800000000000, 4, 0);
    EXPECT_FAULT(VEC_GP, 0);
    CHECK_EQ(trap.rcx, 4);
    STRING("rep stosb", 0, 0xffff7ffffffffff0, 64, 0);
    EXPECT_FAULT(VEC_GP, 0);
    CHECK_EQ(trap.rcx, 64);
}

static void others(uint64_t at)
{
    CASE("rep stos into a missing page");
    fill(at, 1);
    set_second(at, false);
    STRING("rep stosq", 0, at + KB4 - 804, 200, 0x1122334455667788);
    EXPECT_PF(PF_W, at + KB4);
    CHECK_EQ(trap.rcx, 100);
    CHECK_EQ(trap.rdi, at + KB4 - 4);
    CHECK_EQ(*(uint64_t *)(at + KB4 - 12), 0x1122334455667788);
    CHECK(*(uint32_t *)(at + KB4 - 4) != 0x55667788); /* nothing of the element that crosses */
    STRING("rep stosb", 0, at + KB4 - 5, 200, 0x77);
    EXPECT_PF(PF_W, at + KB4);
    CHECK_EQ(trap.rcx, 195);
    CHECK_EQ(trap.rdi, at + KB4);
    CASE("scas, cmps, lods at a page's end");
    memset((void *)at, 0x11, KB4);
    STRING("repe scasb", 0, at, 2 * KB4, 0x11);
    EXPECT_PF(0, at + KB4);
    CHECK_EQ(trap.rcx, KB4);
    CHECK_EQ(trap.rdi, at + KB4);
    STRING("repne scasw", 0, at + KB4 - 100, 100, 0x2222);
    EXPECT_PF(0, at + KB4);
    CHECK_EQ(trap.rcx, 50);
    ((uint8_t *)at)[0xfff] = 0x33;
    STRING("repne scasb", 0, at + KB4 - 100, 200, 0x33);
    EXPECT_NOTHING();
    CHECK_EQ(rcx, 100);
    CHECK_EQ(rdi, at + KB4);
    STRING("repe cmpsb", at + 0x100, at + 0xf00, 0x200, 0);
    EXPECT_NOTHING();
    CHECK_EQ(rcx, 0x200 - 0x100);
    CHECK_EQ(rdi, at + KB4);
    STRING("repe cmpsl", at, at + 0x800, 0x400, 0);
    EXPECT_NOTHING();
    CHECK_EQ(rdi, at + KB4);
    ((uint8_t *)at)[0xfff] = 0x11;
    STRING("repe cmpsl", at, at + 0x800, 0x400, 0);
    EXPECT_PF(0, at + KB4);
    CHECK_EQ(trap.rcx, 0x200);
    CHECK_EQ(trap.rsi, at + 0x800);
    STRING("rep lodsb", at + KB4 - 3, 0, 9, 0);
    EXPECT_PF(0, at + KB4);
    CHECK_EQ(trap.rcx, 6);
    STRING("lodsq", at + KB4 - 8, 0, 9, 0);
    EXPECT_NOTHING();
    CHECK_EQ(rsi, at + KB4);
    STRING("lodsq", at + KB4 - 4, 0, 9, 0);
    EXPECT_PF(0, at + KB4);
    CHECK_EQ(trap.rsi, at + KB4 - 4);
    set_second(at, true);
    corners(at);
}

void guest_main(void)
{
    for (unsigned i = 0; i < 3; i++) {
        uint64_t frames = pages_alloc(4, KB4);
        for (unsigned p = 0; p < 4; p++)
            map(places[i] + p * KB4 + (p > 1 ? 0x10000 - 2 * KB4 : 0), frames + p * KB4,
                i ? PTE_USER : PTE_KERNEL);
    }
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < 3; k++) {
            CASE("movs, forward");
            movs(places[i], places[k] + 0x10000);
            backward(places[i], places[k] + 0x10000);
        }
        overlapping(places[i]);
        others(places[i]);
    }
}
