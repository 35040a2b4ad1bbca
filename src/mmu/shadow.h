/* A software TLB over somebody's page tables: which guest-virtual pages are mapped where, and whether that is still what the guest's
 * tables say.
 *
 * Used twice: for the window (the kernel half, in the vCPU task's own mm) and for each space (user half). Entries are made on a miss
 * and kept over flushes: a flush compares each entry's source with the guest's tables and drops what differs (DESIGN §4.3).
 * One record covers one leaf page table (512 pages of 4 KB) or one large page.
 *
 * Invariant: a mapped page's guest entry had the value in rec->pte when it was mapped; a page is mapped writable only if that entry had D set
 * and its RAM page is not translated code.
 * Threads: the vCPU's own task.
 */
#ifndef MMU_SHADOW_H
#define MMU_SHADOW_H

#include "mmu/mmu.h"

#define SHADOW_HASH 1024

/* What a RAM page is to the engine: flags by page of the RAM object. */
#define PAGE_CODE 1u         /* translated code was made from it: nobody maps it writable */
#define PAGE_WINDOW_W4K 2u   /* may be mapped writable by a 4 KB window entry */
#define PAGE_SPACE_W 4u      /* may be mapped writable in a space, by a page of any size */

/** Where mappings go. prot: HOST_R|HOST_W|HOST_X. Each returns 0 or -errno; protect also 1: the range, or more, was unmapped instead, which a TLB
 *  may do at any time. */
struct shadow_ops {
    int (*map)(void *ctx, uint64_t gva, uint64_t ram_off, uint64_t len, unsigned prot);
    int (*protect)(void *ctx, uint64_t gva, uint64_t len, unsigned prot);
    int (*unmap)(void *ctx, uint64_t gva, uint64_t len);
};

struct shadow_rec {
    struct shadow_rec *next;      /* hash chain, or free list */
    uint64_t gva, span;           /* span: 2 MB (a leaf table or a 2 MB page) or 1 GB */
    uint64_t table;               /* guest-physical address of the leaf table, or of the large page's entry */
    uint64_t rights;              /* PTE_W | PTE_U | PTE_NX of the upper levels, combined */
    bool large, has_local;        /* has_local: some mapped entry is not global */
    uint64_t mapped[8], writable[8];
    uint64_t pte[512];            /* large: only pte[0] */
};

/** Where records come from: one pool a vCPU. */
struct shadow_pool {
    struct shadow_rec *free;
    uint8_t *next, *end;
};

struct shadow {
    const struct shadow_ops *ops;
    void *ctx;
    struct vcpu *v;
    struct shadow_pool *pool;
    uint8_t *page_flags;          /* PAGE_ flags by RAM page */
    uint8_t page_flag_w4k;        /* flag to set on pages mapped writable by 4 KB entries */
    bool exec;                    /* pass HOST_X on where the guest allows execution */
    bool wp;                      /* CR0.WP when the mappings were made */
    unsigned count;
    struct shadow_rec *hash[SHADOW_HASH];
};

enum shadow_result {
    SHADOW_MAPPED,
    SHADOW_FAULT,      /* *ex: to inject */
    SHADOW_NOT_RAM,    /* translated, but no RAM there: *x says where */
    SHADOW_CODE_WRITE, /* a write to a page with translated code: *x says where */
    SHADOW_USER_PAGE,  /* supervisor access to a user page: not mapped by the window */
    SHADOW_HOST_ERROR, /* the host refused the mapping */
};

void shadow_init(struct shadow *s, const struct shadow_ops *ops, void *ctx, struct vcpu *v, struct shadow_pool *pool,
                 uint8_t *page_flags);

/** gva missed for `access` (MMU_*): walk the guest's tables, map the page and likely neighbours. supervisor_only: refuse user pages. */
enum shadow_result shadow_fill(struct shadow *s, uint64_t gva, unsigned access, bool supervisor_only, struct mmu_xlat *x,
                               struct vcpu_exception *ex);
/** Compare with the tables under `root` (CR3 base) and drop what differs; without include_global, global entries are left. Returns the number of
 *  pages (or large pages) dropped. */
unsigned shadow_verify(struct shadow *s, uint64_t root, bool include_global);
/** The same for the one page at gva, whatever its G bit. */
unsigned shadow_verify_page(struct shadow *s, uint64_t root, uint64_t gva);
/** Withdraw write permission from every mapping of RAM page ppn. The caller clears page_flag_w4k when all shadows have done so. */
void shadow_protect_ppn(struct shadow *s, uint64_t ppn);
/** Forget all records (the mappings are gone or will be). */
void shadow_forget(struct shadow *s);

#endif
