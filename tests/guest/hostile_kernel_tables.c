/* A kernel with garbage in its page tables: entries that point at the tables themselves, outside
 * RAM, at each other, random ones. Accesses through them fault or reach some RAM; the machine goes
 * on. */
/* EXPECT: 0 123 126 */
#include "lib/hostile.h"
#include "lib/paging.h"

USER_CODE(user_touch, "mov (%rdi), %rax; mov %rax, (%rdi); syscall");

void guest_main(void)
{
    hostile_start();
    CASE("recursive: a PML4 entry that points at the PML4");
    volatile uint64_t *pml4 = va_of(root());
    pml4[300] = root() | PTE_KERNEL;
    write_cr3(read_cr3());
    uint64_t window =
        0xffff000000000000 | 300ull << 39 | 300ull << 30 | 300ull << 21 | 300ull << 12;
    CHECK_EQ(peek64(window + 300 * 8) & PTE_ADDR, root());
    poke64(window + 301 * 8, root() | PTE_KERNEL);
    CHECK_EQ(pml4[301] & PTE_ADDR, root());
    pml4[300] = pml4[301] = 0;
    write_cr3(read_cr3());
    CASE("a table that is its own page: writing the page changes the mapping");
    uint64_t table = page_alloc(), va = SPARE_HIGH2;
    *pte(va, 2) = table | PTE_KERNEL;
    ((volatile uint64_t *)va_of(table))[0] = table | PTE_KERNEL;
    write_cr3(read_cr3());
    CHECK_EQ(peek64(va) & PTE_ADDR, table);
    uint64_t frame = page_alloc();
    *(uint64_t *)va_of(frame) = 0x77;
    poke64(va + 8, frame | PTE_KERNEL);
    CHECK_EQ(peek64(va + KB4), 0x77);
    poke64(va, frame | PTE_KERNEL);
    invlpg(va);
    CHECK_EQ(peek64(va), 0x77);
    CASE("random entries at each level");
    for (unsigned round = 0; round < 200; round++) {
        unsigned level = 1 + round % 4;
        uint64_t at = level == 4 ? 0xffffe00000000000 : SPARE_HIGH + round * MB2,
                 entry = hostile_random();
        if (round & 16)
            entry &= 0x3fffff | PTE_NX;
        entry |= round & 8 ? PTE_P : 0;
        volatile uint64_t *slot = pte(at, level);
        uint64_t old = *slot;
        *slot = entry;
        write_cr3(read_cr3());
        TRY_IN("cmpb $0, (%0)", "r"(at));
        TRY_IN("cmpb $0, (%0)", "r"(at + 0x1234));
        *slot = old;
        write_cr3(read_cr3());
    }
    CASE("random entries under user code");
    for (unsigned round = 0; round < 200; round++) {
        unsigned level = 1 + round % 3;
        uint64_t at = (round & 1 ? SPARE_LOW : SPARE_FAR) + 4 * GB1,
                 entry = hostile_random() | PTE_U;
        volatile uint64_t *slot = pte(at, level);
        uint64_t old = *slot;
        if (round & 2) /* whole RAM, no kernel: read only */
            entry = (entry & 0xffe000 & ~PTE_W) | PTE_P | PTE_U;
        *slot = entry & ~PTE_W;
        write_cr3(read_cr3());
        user_prepare(user_touch);
        user.rdi = at + 8;
        hostile_run(round);
        CHECK(trap.vector == VEC_PF || trap.vector == VEC_GP || trap.vector == VEC_SYSCALL);
        *slot = old;
        write_cr3(read_cr3());
    }
    hostile_alive();
}
