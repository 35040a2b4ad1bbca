/* The guest's 4-level page walk.
 *
 * SDM 3 "Paging" §4.5 "4-Level Paging", §4.6 "Access Rights", §4.7 "Page-Fault Exceptions",
 * §4.8 "Accessed and Dirty Flags". State: none; every walk reads the guest's tables anew, because
 * other vCPUs may be changing them. Accessed and dirty bits are set by compare-and-exchange on
 * exactly the entry that was used; when the entry has changed meanwhile the walk starts over.
 *
 * A table outside RAM cannot be read: bus reads there give all ones, and an entry of all ones has
 * reserved bits set, so the walk ends in a #PF with RSVD whatever MAXPHYADDR is.
 *
 * 32-bit and PAE paging without long mode do not exist here (vcpu_write_cr refuses them).
 */
#include "mmu/mmu.h"
#include "vcpu/raise.h"
#include "vm/vm.h"

#define LEVELS 4
#define DEFAULT_MAXPHYADDR 46
#define LARGE_ADDR_2M 0x000fffffffe00000ull
#define LARGE_ADDR_1G 0x000fffffc0000000ull
#define LARGE_PAT (1ull << 12)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/** The entries used by one walk, indexed by level (3 = PML4 ... 0 = PT). */
struct trail {
    uint64_t *slot[LEVELS];
    uint64_t seen[LEVELS];
    unsigned leaf; /* level of the leaf entry */
    gpa_t leaf_gpa;
};

enum walk_result { WALK_OK, WALK_FAULT, WALK_RACE };

/** #PF with `cause` (P and RSVD bits) completed by what the access was. */
__attribute__((cold, noinline)) static enum walk_result
fault(const struct vcpu *v, uint64_t gva, unsigned access, uint32_t cause,
      struct vcpu_exception *ex)
{
    uint32_t error = cause;
    if (access & MMU_WRITE)
        error |= PF_W;
    if (access & MMU_USER)
        error |= PF_U;
    if ((access & MMU_EXEC) && ((v->efer & EFER_NX) || (v->cr4 & CR4_SMEP)))
        error |= PF_I;
    *ex = (struct vcpu_exception){.vector = VEC_PF, .has_error = true, .error = error, .cr2 = gva};
    return WALK_FAULT;
}

/** Bits that must be 0 in every present entry: the address beyond MAXPHYADDR, XD without NXE. */
static inline uint64_t reserved_bits(const struct vcpu *v)
{
    unsigned width = v->maxphyaddr ? v->maxphyaddr : DEFAULT_MAXPHYADDR;
    uint64_t address = PTE_ADDR & (~0ull << width);
    return v->efer & EFER_NX ? address : address | PTE_NX;
}

/** Bits that must be 0 in this entry because of its level and PS bit. */
static inline uint64_t reserved_by_level(unsigned level, uint64_t entry)
{
    if (level == 0 || !(entry & PTE_PS))
        return 0;
    if (level == 3)
        return PTE_PS;
    return PTE_ADDR & ~LARGE_PAT & ~(level == 1 ? LARGE_ADDR_2M : LARGE_ADDR_1G);
}

/** Whether the rights accumulated over the levels (U and W in `rights`, XD in `nx`) allow it. */
static inline bool allowed(const struct vcpu *v, unsigned access, uint64_t rights, uint64_t nx)
{
    if ((access & MMU_EXEC) && (nx & PTE_NX))
        return false;
    if (access & MMU_USER)
        return (rights & PTE_U) && (!(access & MMU_WRITE) || (rights & PTE_W));
    if (rights & PTE_U) {
        if (access & MMU_EXEC) {
            if (v->cr4 & CR4_SMEP)
                return false;
        } else if (unlikely(v->cr4 & CR4_SMAP)) {
            if ((access & MMU_IMPLICIT) || !(v->rflags & RFLAGS_AC))
                return false;
        }
    }
    return !(access & MMU_WRITE) || (rights & PTE_W) || !(v->cr0 & CR0_WP);
}

/** Set A along the trail and, for a write, D in the leaf. False: an entry has changed. */
static bool update_accessed(struct trail *t, bool write)
{
    for (unsigned level = LEVELS; level-- > t->leaf;) {
        uint64_t want = level == t->leaf && write ? PTE_A | PTE_D : PTE_A;
        uint64_t seen = t->seen[level];
        if ((seen & want) == want)
            continue;
        /* Pairs with the guest's own (locked or plain) accesses to the entry from other vCPUs. */
        if (!__atomic_compare_exchange_n(t->slot[level], &seen, seen | want, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return false;
        t->seen[level] |= want;
    }
    return true;
}

static inline void describe(struct mmu_xlat *out, const struct vcpu *v, const struct trail *t,
                            uint64_t gva, uint64_t rights, uint64_t nx)
{
    uint64_t pte = t->seen[t->leaf];
    uint64_t size = PAGE_SIZE << (9 * t->leaf);
    out->gpa = gpa((pte & PTE_ADDR & ~(size - 1)) | (gva & (size - 1)));
    out->page_size = size;
    out->pte_gpa = t->leaf_gpa;
    out->pte = pte;
    out->user = rights & PTE_U;
    out->writable = rights & PTE_W;
    out->exec = !(nx & PTE_NX);
    out->global = (pte & PTE_G) && (v->cr4 & CR4_PGE);
    out->dirty = pte & PTE_D;
}

static inline enum walk_result walk_once(struct vcpu *v, uint64_t gva, unsigned access,
                                         struct mmu_xlat *out, struct vcpu_exception *ex)
{
    struct trail t;
    uint64_t rights = ~0ull, nx = 0, want = PTE_A, all = ~0ull;
    uint64_t reserved = reserved_bits(v);
    uint64_t table = v->cr3 & PTE_ADDR;

    for (unsigned level = LEVELS - 1;; level--) {
        gpa_t at = gpa(table | (bits(gva, 12 + 9 * level, 9) << 3));
        uint64_t *slot = (uint64_t *)(void *)ram_span(&v->vm->ram, at, 8);
        if (unlikely(!slot))
            return fault(v, gva, access, PF_P | PF_RSVD, ex);
        uint64_t entry = __atomic_load_n(slot, __ATOMIC_RELAXED);
        if (!(entry & PTE_P))
            return fault(v, gva, access, 0, ex);
        if (unlikely(entry & (reserved | reserved_by_level(level, entry))))
            return fault(v, gva, access, PF_P | PF_RSVD, ex);
        t.slot[level] = slot;
        t.seen[level] = entry;
        rights &= entry;
        nx |= entry;
        all &= entry;
        if (level == 0 || (entry & PTE_PS)) {
            t.leaf = level;
            t.leaf_gpa = at;
            break;
        }
        table = entry & PTE_ADDR;
    }
    if (!allowed(v, access, rights, nx))
        return fault(v, gva, access, PF_P, ex);
    if (access & MMU_WRITE)
        want = (t.seen[t.leaf] & PTE_D) ? PTE_A : PTE_A | PTE_D;
    if (unlikely((all & want) != want) && !(access & MMU_NO_AD)) {
        if (!update_accessed(&t, access & MMU_WRITE))
            return WALK_RACE;
    }
    describe(out, v, &t, gva, rights, nx);
    return WALK_OK;
}

bool mmu_walk(struct vcpu *v, uint64_t gva, unsigned access, struct mmu_xlat *out,
              struct vcpu_exception *ex)
{
    if (unlikely(!(v->cr0 & CR0_PG))) {
        /* Without paging there is no long mode: linear addresses have 32 bits. */
        *out = (struct mmu_xlat){.gpa = gpa(gva & 0xffffffff),
                                 .page_size = PAGE_SIZE,
                                 .user = true,
                                 .writable = true,
                                 .exec = true,
                                 .dirty = true};
        return true;
    }
    if (unlikely(!gva_canonical(gva)))
        return raise_gp(ex, 0);
    for (;;) {
        enum walk_result r = walk_once(v, gva, access, out, ex);
        if (likely(r != WALK_RACE))
            return r == WALK_OK;
    }
}
