/* More than 4 GB: RAM goes on above the hole for devices; a few pages of each GB are touched. */
/* OPTIONS: -m 5G */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_load, "mov (%rdi), %rax; syscall");

void guest_main(void)
{
    static const uint64_t where[] = {0x40000000,  0x80001000,  0xbffff000, 0x100000000,
                                     0x100200000, 0x140000000, 0x17ffff000};
    CASE("pages in every GB");
    for (unsigned i = 0; i < ARRAY_LEN(where); i++) {
        map(SPARE_HIGH + i * KB4, where[i], PTE_KERNEL);
        map(SPARE_LOW + i * KB4, where[i], PTE_USER);
        poke64(SPARE_HIGH + i * KB4, where[i]);
    }
    for (unsigned i = 0; i < ARRAY_LEN(where); i++) {
        CHECK_EQ(peek64(SPARE_HIGH + i * KB4), where[i]);
        CHECK_EQ(peek64(SPARE_LOW + i * KB4), where[i]);
        user_call(user_load, SPARE_LOW + i * KB4, 0, 0);
        CHECK_EQ(user.rax, where[i]);
    }
    CASE("the hole and the end");
    map(SPARE_HIGH, 0xc0000000, PTE_KERNEL);
    CHECK_EQ(peek64(SPARE_HIGH), ~0ull);
    map(SPARE_HIGH, 0x180000000, PTE_KERNEL);
    CHECK_EQ(peek64(SPARE_HIGH), ~0ull);
    CASE("2 MB and 1 GB pages above 4 GB");
    map_level(SPARE_HIGH2, 0x140000000, PTE_KERNEL, 2);
    CHECK_EQ(peek64(SPARE_HIGH2), 0x140000000);
    *pte(SPARE_HIGH2 + GB1, 3) = 0x140000000 | PTE_KERNEL | PTE_PS;
    CHECK_EQ(peek64(SPARE_HIGH2 + GB1), 0x140000000);
    CHECK_EQ(peek64(SPARE_HIGH2 + GB1 + 0x3ffff000), 0x17ffff000);
    CASE("a page that straddles the hole's edge: RAM below, nothing above");
    *pte(SPARE_HIGH2 + 2 * GB1, 3) = 0x80000000 | PTE_KERNEL | PTE_PS;
    CHECK_EQ(peek64(SPARE_HIGH2 + 2 * GB1 + 0x3ffff000), 0xbffff000);
}
