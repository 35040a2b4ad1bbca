/* The guest's page tables as its processor would walk them, and access to guest-virtual memory from the monitor.
 *
 * SDM 3 §4.5 "4-Level Paging", §4.6 "Access Rights", §4.7 "Page-Fault Exceptions", §4.8 "Accessed and Dirty Flags".
 * The walk reads the guest's own tables in RAM; it never trusts what it read before.
 */
#ifndef MMU_MMU_H
#define MMU_MMU_H

#include "mmu/ram.h"
#include "vcpu/vcpu.h"

/* How memory is accessed: a mask. Neither WRITE nor EXEC: a read. */
#define MMU_READ 0u
#define MMU_WRITE 1u
#define MMU_EXEC 2u
#define MMU_USER 4u      /* a user-mode access (CPL 3); otherwise supervisor */
#define MMU_NO_AD 8u     /* do not set accessed/dirty bits (debugging reads, verification) */
#define MMU_IMPLICIT 16u /* a supervisor access the processor makes by itself (descriptor tables,
                          * TSS, event frames): RFLAGS.AC does not suspend SMAP for it */

/** A translation found by the walk. */
struct mmu_xlat {
    gpa_t gpa;             /* of the byte asked for */
    uint64_t page_size;    /* 4 KB, 2 MB, 1 GB */
    gpa_t pte_gpa;         /* of the leaf entry */
    uint64_t pte;          /* the leaf entry after A/D were set */
    bool user, writable, exec, global; /* rights accumulated over all levels (writable: PTE W bits only, not CR0.WP) */
    bool dirty;            /* leaf D bit after the walk */
};

/** Translate gva for the access. True: *out is filled, A (and D on a write) set in the guest's tables. False: *ex is the #PF with
 *  the architectural error code and cr2 (#GP(0) for a non-canonical address). With paging off the identity translation. */
bool mmu_walk(struct vcpu *v, uint64_t gva, unsigned access, struct mmu_xlat *out, struct vcpu_exception *ex) MUST_CHECK;

/** Copy guest-virtual memory, page by page, as `access` says (MMU_WRITE implied by mmu_write). All pages are translated before the
 *  first byte is stored, so a fault leaves memory unchanged. len <= 4096. MMIO is not reached: such an address reads as 0xff and
 *  ignores writes. mmu_write tells mmu_ram_written. */
bool mmu_read(struct vcpu *v, uint64_t gva, void *buf, size_t len, unsigned access, struct vcpu_exception *ex) MUST_CHECK;
bool mmu_write(struct vcpu *v, uint64_t gva, const void *buf, size_t len, unsigned access, struct vcpu_exception *ex) MUST_CHECK;

/** Tell the engine that the monitor or a device changed RAM [a, a+len): translated code made from it must go. Any task. */
void mmu_ram_written(struct vm *vm, gpa_t a, uint64_t len);

#endif
