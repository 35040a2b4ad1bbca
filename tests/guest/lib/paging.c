/* See paging.h. */
#include "lib/paging.h"
#include "lib/user.h"

extern const uint64_t direct_map, image_end;
static uint64_t next_free;

uint64_t pages_alloc(unsigned count, uint64_t align)
{
    next_free = align_up(next_free, align);
    uint64_t pa = next_free;
    next_free += count * KB4;
    return pa;
}

uint64_t page_alloc(void)
{
    uint64_t pa = pages_alloc(1, KB4);
    memset(va_of(pa), 0, KB4);
    return pa;
}

void *va_of(uint64_t pa)
{
    return (void *)(direct_map + pa);
}

volatile uint64_t *pte_in(uint64_t root_pa, uint64_t va, unsigned level)
{
    uint64_t table = root_pa;
    for (unsigned at = 4;; at--) {
        volatile uint64_t *slot =
            (volatile uint64_t *)va_of(table) + bits(va, 12 + 9 * (at - 1), 9);
        if (at == level)
            return slot;
        if (!(*slot & PTE_P))
            *slot = page_alloc() | PTE_USER;
        else if (*slot & PTE_PS)
            check_failed(__FILE__, __LINE__, "a large page is in the way", *slot, 0);
        *slot |= PTE_USER;
        table = *slot & PTE_ADDR;
    }
}

volatile uint64_t *pte(uint64_t va, unsigned level)
{
    return pte_in(root(), va, level);
}

void map_level(uint64_t va, uint64_t pa, uint64_t flags, unsigned level)
{
    *pte(va, level) = pa | flags | (level > 1 ? PTE_PS : 0);
    invlpg(va);
}

void map(uint64_t va, uint64_t pa, uint64_t flags)
{
    map_level(va, pa, flags, 1);
}

void unmap(uint64_t va)
{
    *pte(va, 1) = 0;
    invlpg(va);
}

uint64_t pa_of(const void *va)
{
    uint64_t table = root(), gva = (uint64_t)va;
    for (unsigned level = 4; level; level--) {
        uint64_t entry = ((volatile uint64_t *)va_of(table))[bits(gva, 12 + 9 * (level - 1), 9)];
        uint64_t size = KB4 << (9 * (level - 1));
        if (!(entry & PTE_P))
            break;
        if (level == 1 || (entry & PTE_PS))
            return (entry & PTE_ADDR & ~(size - 1)) | (gva & (size - 1));
        table = entry & PTE_ADDR;
    }
    check_failed(__FILE__, __LINE__, "pa_of: not mapped", gva, 0);
    return 0;
}

uint64_t root_clone(void)
{
    uint64_t pa = page_alloc();
    memcpy(va_of(pa), va_of(root()), KB4);
    return pa;
}

uint64_t root_fresh(void)
{
    uint64_t pa = page_alloc();
    memcpy((uint64_t *)va_of(pa) + 256, (uint64_t *)va_of(root()) + 256, KB4 / 2);
    if (!direct_map) { /* a low kernel: it is in the user half, below 128 MB */
        uint64_t pdpt = *pte_in(root(), 0, 4) & PTE_ADDR,
                 pd = ((uint64_t *)va_of(pdpt))[0] & PTE_ADDR;
        memcpy((void *)(uintptr_t)pte_in(pa, 0, 2), va_of(pd), 64 * 8);
    }
    user_map(pa);
    return pa;
}

void paging_start(void)
{
    next_free = align_up(image_end, KB4);
    if (direct_map) {
        *(volatile uint64_t *)va_of(root()) = 0;
        write_cr3(read_cr3());
    }
}
