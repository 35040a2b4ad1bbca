/* 2 MB and 1 GB pages: use, change, splitting and joining, INVLPG by any address inside. SDM 3
 * §4.5, §4.10.2.3 "Details of TLB Use". */
/* OPTIONS: -m 32M */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_load, "mov (%rdi), %rax; syscall");
USER_CODE(user_store, "mov %rsi, (%rdi); syscall");

static uint64_t big; /* 4 MB of frames: two large pages */

static uint64_t load_user(uint64_t va)
{
    user_call(user_load, va, 0, 0);
    EXPECT_SYSCALL(user_load_end);
    return user.rax;
}

typedef uint64_t (*loader)(uint64_t va);

static void change(uint64_t va, loader load)
{
    CASE("2 MB page: all of it, then another frame");
    map_level(va, big, PTE_USER, 2);
    for (uint64_t off = 0; off < MB2; off += 0x31000)
        CHECK_EQ(load(va + (off & ~4095ull)), big + (off & ~4095ull));
    *pte(va, 2) = (big + MB2) | PTE_USER | PTE_PS;
    invlpg(va + 0x123456);
    CHECK_EQ(load(va), big + MB2);
    CHECK_EQ(load(va + 0x1ff000), big + MB2 + 0x1ff000);
    CHECK_EQ(*pte(va, 2) & PTE_A, PTE_A);

    CASE("2 MB page split into 4 KB pages");
    uint64_t table = page_alloc();
    for (unsigned i = 0; i < 512; i++)
        ((uint64_t *)va_of(table))[i] = (big + (511 - i) * KB4) | PTE_USER;
    *pte(va, 2) = table | PTE_USER;
    invlpg(va);
    write_cr3(read_cr3());
    CHECK_EQ(load(va), big + 511 * KB4);
    CHECK_EQ(load(va + 5 * KB4), big + 506 * KB4);
    CASE("a hole in the split page");
    ((volatile uint64_t *)va_of(table))[9] = 0;
    invlpg(va + 9 * KB4);
    TRY_IN("cmpb $0, (%0)", "r"(va + 9 * KB4));
    EXPECT_PF(0, va + 9 * KB4);
    CHECK_EQ(load(va + 8 * KB4), big + 503 * KB4);
    CASE("joined again");
    *pte(va, 2) = big | PTE_USER | PTE_PS;
    write_cr3(read_cr3());
    CHECK_EQ(load(va + 9 * KB4), big + 9 * KB4);
    CHECK_EQ(load(va + 5 * KB4), big + 5 * KB4);
    CASE("D of a large page");
    CHECK_EQ(*pte(va, 2) & PTE_D, 0);
    poke64(va + 0x3008, 1);
    CHECK_EQ(*pte(va, 2) & PTE_D, PTE_D);
    CASE("read-only large page");
    *pte(va, 2) = big | PTE_P | PTE_U | PTE_PS;
    invlpg(va + 0x100000);
    TRY_IN("movq $0, (%0)", "r"(va + 0x4000));
    EXPECT_PF(PF_P | PF_W, va + 0x4000);
    user_call(user_store, va + 0x5000, 1, 0);
    EXPECT_USER_PF(PF_P | PF_W | PF_U, va + 0x5000, user_store);
    CASE("not present any more");
    *pte(va, 2) = 0;
    invlpg(va + 0x1000);
    TRY_IN("cmpb $0, (%0)", "r"(va + 0x1ff000));
    EXPECT_PF(0, va + 0x1ff000);
}

static void gigabyte(uint64_t va, loader load)
{
    uint32_t r[4];
    cpuid(0x80000001, 0, r);
    if (!(r[3] & (1u << 26)))
        return;
    CASE("1 GB page");
    uint64_t old = *pte(va, 3);
    *pte(va, 3) = 0 | PTE_USER | PTE_PS;
    write_cr3(read_cr3());
    CHECK_EQ(load(va + big), big);
    CHECK_EQ(load(va + big + MB2 + 0x9000), big + MB2 + 0x9000);
    CHECK_EQ(*pte(va, 3) & (PTE_A | PTE_D), PTE_A);
    poke64(va + big + 0x7008, 3);
    CHECK_EQ(*pte(va, 3) & PTE_D, PTE_D);
    CASE("1 GB page split into 2 MB pages, INVLPG by another address inside");
    uint64_t table = page_alloc();
    for (unsigned i = 0; i < 512; i++)
        ((uint64_t *)va_of(table))[i] =
            ((big & ~(MB2 - 1)) + ((i & 1) ^ 1) * MB2) | PTE_USER | PTE_PS;
    *pte(va, 3) = table | PTE_USER;
    invlpg(va + 0x12345678);
    CHECK_EQ(load(va), big + MB2);
    CHECK_EQ(load(va + MB2), big);
    CASE("and joined again");
    *pte(va, 3) = 0 | PTE_USER | PTE_PS;
    write_cr3(read_cr3());
    CHECK_EQ(load(va + big + 0x5000), big + 0x5000);
    *pte(va, 3) = old;
    write_cr3(read_cr3());
}

static void fill(void)
{
    big = pages_alloc(1024, MB2);
    for (uint64_t off = 0; off < 2 * MB2; off += KB4)
        *(uint64_t *)va_of(big + off) = big + off;
}

void guest_main(void)
{
    write_cr0(read_cr0() | CR0_WP);
    fill();
    change(SPARE_HIGH, peek64);
    fill();
    change(SPARE_LOW, peek64);
    change(SPARE_FAR, peek64);
    change(SPARE_LOW + 4 * MB2, load_user);
    change(SPARE_FAR + 4 * MB2, load_user);
    gigabyte(SPARE_HIGH2, peek64);
    gigabyte(SPARE_LOW, peek64);
    gigabyte(SPARE_LOW, load_user);
    gigabyte(SPARE_FAR, load_user);
}
