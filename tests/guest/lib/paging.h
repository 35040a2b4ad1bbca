/* The guest's own page tables. Level 1 is a 4 KB entry, 2 a 2 MB entry, 3 a 1 GB entry, 4 a PML4
 * entry. */
#ifndef GUEST_PAGING_H
#define GUEST_PAGING_H

#include "lib/guest.h"

#define KB4 0x1000ull
#define MB2 0x200000ull
#define GB1 0x40000000ull

#define PTE_KERNEL (PTE_P | PTE_W)
#define PTE_USER (PTE_P | PTE_W | PTE_U)

/* Places that nothing else uses: `HIGH` in the kernel half, `LOW` below 8 TB, `FAR` above 8 TB. All
 * 1 GB aligned. */
#define SPARE_HIGH 0xffffc90000000000ull
#define SPARE_HIGH2 0xffffea0000000000ull
#define SPARE_LOW 0x0000010000000000ull
#define SPARE_FAR 0x00007f0000000000ull

void paging_start(void);

/** A zeroed page of RAM; its physical address. Never given back. */
uint64_t page_alloc(void);
/** `count` adjoining pages, aligned to `align`. Not zeroed beyond what RAM was. */
uint64_t pages_alloc(unsigned count, uint64_t align);
/** Where the kernel sees physical memory. */
void *va_of(uint64_t pa);
/** Physical address of a kernel variable or of direct-map memory, by walking the current tables. */
uint64_t pa_of(const void *va);

/** The entry for va at `level` under `root`, tables above it made as needed (P W U, A as the
 * processor sets it). */
volatile uint64_t *pte_in(uint64_t root, uint64_t va, unsigned level);
/** ... under the current CR3. */
volatile uint64_t *pte(uint64_t va, unsigned level);
/** Set the 4 KB entry and INVLPG. */
void map(uint64_t va, uint64_t pa, uint64_t flags);
void map_level(uint64_t va, uint64_t pa, uint64_t flags, unsigned level);
void unmap(uint64_t va);
/** A new root with this one's kernel half and user half (tables below shared), and one with an
 * empty user half but user code. */
uint64_t root_clone(void);
uint64_t root_fresh(void);

static inline uint64_t root(void)
{
    return read_cr3() & CR3_ADDR_MASK;
}

#endif
