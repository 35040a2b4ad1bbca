/* Several address spaces: CR3, PCIDs with and without the no-flush bit, global pages. SDM 3 §4.10.1
 * "Process-Context Identifiers", §4.10.2.4 "Global Pages", §4.10.4.1. */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_load, "mov (%rdi), %rax; syscall");

static uint64_t frame[3], roots[3];

static uint64_t load_user(uint64_t va)
{
    user_call(user_load, va, 0, 0);
    EXPECT_SYSCALL(user_load_end);
    return user.rax;
}

static void check(uint64_t va, uint64_t want)
{
    CHECK_EQ(peek64(va), want);
    CHECK_EQ(load_user(va), want);
}

static void invpcid(uint64_t type, uint64_t pcid, uint64_t va)
{
    struct {
        uint64_t pcid, va;
    } d = {pcid, va};
    asm volatile("invpcid %0, %1" : : "m"(d), "r"(type) : "memory");
}

static void separate(uint64_t va)
{
    for (unsigned i = 0; i < 3; i++)
        *pte_in(roots[i], va, 1) = frame[i] | PTE_USER;
    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < 3; i++) {
            write_cr3(roots[i]);
            check(va, i);
        }
    }
    CASE("an entry changed while another root is loaded");
    write_cr3(roots[0]);
    *pte_in(roots[1], va, 1) = frame[2] | PTE_USER;
    write_cr3(roots[1]);
    check(va, 2);
    *pte_in(roots[1], va, 1) = frame[1] | PTE_USER;
    write_cr3(roots[0]);
}

static void pcids_all(uint64_t va)
{
    CASE("one PCID for two roots, with a flush");
    write_cr3(roots[0] | 5);
    check(va, 0);
    write_cr3(roots[2] | 5);
    check(va, 2);
    write_cr3(roots[0] | 5);
    check(va, 0);
    CASE("INVPCID of all contexts");
    write_cr3(roots[0] | 1);
    *pte_in(roots[1], va, 1) = frame[0] | PTE_USER;
    *pte_in(roots[2], va, 1) = frame[0] | PTE_USER;
    invpcid(2, 0, 0);
    write_cr3(roots[1] | 2 | CR3_NOFLUSH);
    check(va, 0);
    *pte_in(roots[1], va, 1) = frame[1] | PTE_USER;
    invpcid(3, 0, 0);
    check(va, 1);
    write_cr3(roots[2] | 3 | CR3_NOFLUSH);
    check(va, 0);
    *pte_in(roots[2], va, 1) = frame[2] | PTE_USER;
    CASE("clearing CR4.PCIDE flushes everything");
    write_cr3(roots[0]);
    *pte_in(roots[0], va, 1) = frame[1] | PTE_USER;
    write_cr4(read_cr4() & ~CR4_PCIDE);
    check(va, 1);
    *pte_in(roots[0], va, 1) = frame[0] | PTE_USER;
    write_cr3(roots[0]);
    CASE("INVPCID: bad operands");
    struct {
        uint64_t pcid, va;
    } d = {0x1000, 0}, far = {0, 0x800000000000};
    TRY_IN("invpcid %0, %1", "m"(d), "r"(1ull));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("invpcid %0, %1", "m"(far), "r"(0ull));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("invpcid %0, %1", "m"(far), "r"(4ull));
    EXPECT_FAULT(VEC_GP, 0);
}

static void pcids(uint64_t va)
{
    CASE("CR4.PCIDE needs a PCID of 0");
    write_cr3(roots[0] | 0x18); /* PWT, PCD: not a PCID yet, but bits 0-11 not 0 */
    TRY_IN("mov %0, %%cr4", "r"(read_cr4() | CR4_PCIDE));
    EXPECT_FAULT(VEC_GP, 0);
    write_cr3(roots[0]);
    TRY_IN("mov %0, %%cr3", "r"(roots[0] | CR3_NOFLUSH)); /* reserved without PCIDE */
    EXPECT_FAULT(VEC_GP, 0);
    write_cr4(read_cr4() | CR4_PCIDE);
    CASE("PCIDs: each sees its own");
    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < 3; i++) {
            write_cr3(roots[i] | (i + 1) | (turn ? CR3_NOFLUSH : 0));
            CHECK_EQ(read_cr3(), roots[i] | (i + 1));
            check(va, i);
        }
    }
    CASE("no-flush: a stale entry may stay, INVPCID of the other PCID must remove it");
    write_cr3(roots[0] | 1 | CR3_NOFLUSH);
    *pte_in(roots[1], va, 1) = frame[0] | PTE_USER;
    invpcid(1, 2, 0);
    write_cr3(roots[1] | 2 | CR3_NOFLUSH);
    check(va, 0);
    write_cr3(roots[0] | 1 | CR3_NOFLUSH);
    *pte_in(roots[1], va, 1) = frame[1] | PTE_USER;
    invpcid(0, 2, va);
    write_cr3(roots[1] | 2 | CR3_NOFLUSH);
    check(va, 1);
    CASE("a load without no-flush removes the new PCID's entries");
    write_cr3(roots[0] | 1 | CR3_NOFLUSH);
    *pte_in(roots[1], va, 1) = frame[2] | PTE_USER;
    write_cr3(roots[1] | 2);
    check(va, 2);
    *pte_in(roots[1], va, 1) = frame[1] | PTE_USER;
    write_cr3(roots[1] | 2);
    check(va, 1);
    pcids_all(va);
}

static void globals(void)
{
    uint64_t va = SPARE_HIGH + 0x7000;
    CASE("global pages: may survive CR3, must not survive INVLPG, CR4.PGE, INVPCID type 2");
    write_cr4(read_cr4() | CR4_PGE);
    for (unsigned i = 0; i < 4; i++) {
        map(va, frame[1], PTE_KERNEL | PTE_G);
        CHECK_EQ(peek64(va), 1);
        *pte(va, 1) = frame[2] | PTE_KERNEL | PTE_G;
        write_cr3(read_cr3());
        uint64_t now = peek64(va);
        CHECK(now == 1 || now == 2);
        if (i == 0)
            invlpg(va);
        else if (i == 1)
            write_cr4(read_cr4() & ~CR4_PGE), write_cr4(read_cr4() | CR4_PGE);
        else if (i == 2)
            invpcid(2, 0, 0);
        else
            invpcid(0, 0, 0), invlpg(va);
        CHECK_EQ(peek64(va), 2);
    }
    CASE("without CR4.PGE the G bit means nothing");
    write_cr4(read_cr4() & ~CR4_PGE);
    map(va, frame[1], PTE_KERNEL | PTE_G);
    CHECK_EQ(peek64(va), 1);
    *pte(va, 1) = frame[2] | PTE_KERNEL | PTE_G;
    write_cr3(read_cr3());
    CHECK_EQ(peek64(va), 2);
}

/* Sixty address spaces in turn: more than any cache of them holds. */
static void crowd(uint64_t va)
{
    static uint64_t many[60];
    CASE("sixty roots");
    for (unsigned i = 0; i < 60; i++) {
        many[i] = root_fresh();
        *pte_in(many[i], va, 1) = page_alloc() | PTE_USER;
        *(uint64_t *)va_of(*pte_in(many[i], va, 1) & PTE_ADDR) = 1000 + i;
    }
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned i = 0; i < 60; i++) {
            write_cr3(many[i]);
            CHECK_EQ(load_user(va), 1000 + i);
        }
    }
    write_cr3(roots[0]);
}

void guest_main(void)
{
    write_cr0(read_cr0() | CR0_WP);
    for (unsigned i = 0; i < 3; i++) {
        frame[i] = page_alloc();
        *(uint64_t *)va_of(frame[i]) = i;
        roots[i] = root_fresh();
    }
    CASE("three roots, below 8 TB");
    separate(SPARE_LOW + 0x3000);
    CASE("three roots, above 8 TB");
    separate(SPARE_FAR + 0x3000);
    pcids(SPARE_LOW + 0x3000);
    pcids(SPARE_FAR + 0x3000);
    globals();
    crowd(SPARE_FAR + 0x3000);
}
