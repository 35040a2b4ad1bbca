/* Implementation of shadow.h. See there for what is kept and why. */
#include "mmu/shadow.h"
#include "base/string.h"
#include "host/host.h"
#include "vm/trace.h"

#define SPAN_2M (1ull << 21)
#define SPAN_1G (1ull << 30)
#define FILL_RUN 32u /* pages mapped around a miss when they are contiguous */

void shadow_init(struct shadow *s, const struct shadow_ops *ops, void *ctx, struct vcpu *v, struct shadow_pool *pool,
                 uint8_t *page_flags)
{
    memset(s, 0, sizeof(*s));
    s->ops = ops;
    s->ctx = ctx;
    s->v = v;
    s->pool = pool;
    s->page_flags = page_flags;
}

static unsigned hash_of(uint64_t gva, uint64_t span)
{
    return (unsigned)((gva >> (span == SPAN_1G ? 30 : 21)) * 0x9e3779b1u >> 8) % SHADOW_HASH;
}

static struct shadow_rec *find_span(struct shadow *s, uint64_t gva, uint64_t span)
{
    uint64_t base = align_down(gva, span);
    struct shadow_rec *r = s->hash[hash_of(base, span)];
    while (r && !(r->gva == base && r->span == span)) {
        r = r->next;
    }
    return r;
}

static struct shadow_rec *find(struct shadow *s, uint64_t gva)
{
    struct shadow_rec *r = find_span(s, gva, SPAN_2M);
    return r ? r : find_span(s, gva, SPAN_1G);
}

static void free_rec(struct shadow *s, struct shadow_rec *rec)
{
    struct shadow_rec **p = &s->hash[hash_of(rec->gva, rec->span)];
    while (*p != rec) {
        p = &(*p)->next;
    }
    *p = rec->next;
    rec->next = s->pool->free;
    s->pool->free = rec;
    s->count--;
}

static struct shadow_rec *alloc_rec(struct shadow *s, uint64_t gva, uint64_t span)
{
    struct shadow_pool *pool = s->pool;
    struct shadow_rec *r = pool->free;
    if (r) {
        pool->free = r->next;
    } else {
        if ((size_t)(pool->end - pool->next) < sizeof(*r)) {
            return NULL;
        }
        r = (struct shadow_rec *)(void *)pool->next;
        pool->next += sizeof(*r);
    }
    r->gva = align_down(gva, span);
    r->span = span;
    memset(r->mapped, 0, sizeof(r->mapped));
    memset(r->writable, 0, sizeof(r->writable));
    r->has_local = false;
    unsigned h = hash_of(r->gva, span);
    r->next = s->hash[h];
    s->hash[h] = r;
    s->count++;
    return r;
}

static bool map_bit(const uint64_t map[8], unsigned i)
{
    return (map[i >> 6] >> (i & 63)) & 1;
}

static void set_bits(uint64_t map[8], unsigned from, unsigned n, bool on)
{
    for (unsigned i = from; i < from + n; i++) {
        if (on) {
            map[i >> 6] |= 1ull << (i & 63);
        } else {
            map[i >> 6] &= ~(1ull << (i & 63));
        }
    }
}

/* Unmap everything of a record and free it. */
static unsigned drop_rec(struct shadow *s, struct shadow_rec *r)
{
    unsigned n = 0;
    if (r->large) {
        n = 1;
        BUG_ON(s->ops->unmap(s->ctx, r->gva, r->span) != 0);
    } else {
        unsigned first = 512, last = 0;
        for (unsigned i = 0; i < 512; i++) {
            if (map_bit(r->mapped, i)) {
                first = i < first ? i : first;
                last = i;
                n++;
            }
        }
        if (n) {
            BUG_ON(s->ops->unmap(s->ctx, r->gva + first * PAGE_SIZE, (last - first + 1) * PAGE_SIZE) != 0);
        }
    }
    free_rec(s, r);
    return n;
}

void shadow_forget(struct shadow *s)
{
    for (unsigned h = 0; h < SHADOW_HASH; h++) {
        while (s->hash[h]) {
            free_rec(s, s->hash[h]);
        }
    }
}

/* The tables' present opinion of gva: the leaf table's address and combined rights, or the large entry. False: not mapped at an
 * upper level. */
static bool upper_walk(struct shadow *s, uint64_t root, uint64_t gva, uint64_t *table, uint64_t *rights, uint64_t *span)
{
    uint64_t base = root & PTE_ADDR;
    *rights = PTE_W | PTE_U;
    for (unsigned shift = 39; shift >= 21; shift -= 9) {
        uint64_t at = base + 8 * ((gva >> shift) & 511);
        const uint8_t *p = ram_span(&s->v->vm->ram, gpa(at), 8);
        if (!p) {
            return false;
        }
        uint64_t e = __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
        if (!(e & PTE_P)) {
            return false;
        }
        if (shift < 39 && (e & PTE_PS)) {
            *table = at;
            *span = 1ull << shift;
            return true;
        }
        *rights &= (e & (PTE_W | PTE_U)) | PTE_NX;
        *rights |= e & PTE_NX;
        base = e & PTE_ADDR;
    }
    *table = base;
    *span = SPAN_2M;
    return true;
}

static unsigned prot_of(const struct shadow *s, uint64_t pte, uint64_t rights)
{
    unsigned prot = HOST_R;
    bool writable = (pte & PTE_W) && (rights & PTE_W);
    if (!s->exec && !(s->v->cr0 & CR0_WP)) {
        writable = true; /* supervisor writes ignore W */
    }
    if (writable && (pte & PTE_D)) {
        prot |= HOST_W;
    }
    if (s->exec && !((pte | rights) & PTE_NX)) {
        prot |= HOST_X;
    }
    return prot;
}

/* Re-protect the code pages inside a large mapping just made writable. */
static int protect_code_in(struct shadow *s, uint64_t gva, uint64_t ram_off, uint64_t len, unsigned prot)
{
    uint64_t first = ram_off >> PAGE_SHIFT, n = len >> PAGE_SHIFT;
    for (uint64_t i = 0; i < n; i++) {
        if (!(s->page_flags[first + i] & PAGE_CODE)) {
            continue;
        }
        uint64_t run = 1;
        while (i + run < n && (s->page_flags[first + i + run] & PAGE_CODE)) {
            run++;
        }
        int rc = s->ops->protect(s->ctx, gva + i * PAGE_SIZE, run * PAGE_SIZE, prot & ~HOST_W);
        if (rc < 0) {
            return rc;
        }
        i += run;
    }
    return 0;
}

/* The large page is mapped already and writable: only this page of it was withheld, for code that is gone. */
static bool release_page(struct shadow *s, const struct shadow_rec *r, uint64_t gva, const struct mmu_xlat *x, unsigned prot)
{
    return !s->exec && r->large && r->table == x->pte_gpa.v && r->pte[0] == x->pte && r->writable[0] && (prot & HOST_W) &&
           s->ops->protect(s->ctx, align_down(gva, PAGE_SIZE), PAGE_SIZE, prot) == 0;
}

static enum shadow_result fill_large(struct shadow *s, uint64_t gva, const struct mmu_xlat *x, bool write)
{
    uint64_t span = x->page_size;
    struct shadow_rec *r = find_span(s, gva, span);
    uint64_t table, rights, now_span;
    if (!upper_walk(s, s->v->cr3, gva, &table, &rights, &now_span)) {
        rights = 0;
    }
    unsigned prot = prot_of(s, x->pte, rights);
    if (r && write && release_page(s, r, gva, x, prot)) {
        if (s->exec) {
            s->page_flags[(uint64_t)ram_offset(&s->v->vm->ram, x->gpa, 1) >> PAGE_SHIFT] |= s->page_flag_w4k;
        }
        return SHADOW_MAPPED;
    }
    if (r && (!r->large || r->table != x->pte_gpa.v)) {
        drop_rec(s, r);
        r = NULL;
    }
    struct shadow_rec *wider = span == SPAN_2M ? find_span(s, gva, SPAN_1G) : NULL;
    if (wider) {
        drop_rec(s, wider);
    }
    if (span == SPAN_1G && !r) { /* what 2 MB records cover of it goes: one mapping replaces them */
        for (uint64_t a = align_down(gva, span); s->count && a < align_down(gva, span) + span; a += SPAN_2M) {
            struct shadow_rec *small = find_span(s, a, SPAN_2M);
            if (small) {
                drop_rec(s, small);
            }
        }
    }
    if (!r && !(r = alloc_rec(s, gva, span))) {
        return SHADOW_HOST_ERROR;
    }
    r->large = true;
    r->table = x->pte_gpa.v;
    r->rights = rights;
    r->pte[0] = x->pte;
    r->has_local = !x->global;
    uint64_t base_gpa = align_down(x->gpa.v, span);
    const struct ram *ram = &s->v->vm->ram;
    uint64_t len = span;
    while (len > PAGE_SIZE && ram_offset(ram, gpa(base_gpa), len) < 0) {
        len >>= 1; /* a large page that reaches beyond RAM: map the part below */
    }
    if (align_down(gva, span) + len <= gva) { /* the byte asked for lies in the rest: map its own 2 MB or 4 KB */
        uint64_t part = SPAN_2M;
        while (part > PAGE_SIZE && ram_offset(ram, gpa(align_down(x->gpa.v, part)), part) < 0) {
            part >>= 1;
        }
        base_gpa = align_down(x->gpa.v, part);
        len = part;
    }
    int64_t off = ram_offset(ram, gpa(base_gpa), len);
    if (off < 0) {
        return SHADOW_NOT_RAM;
    }
    uint64_t at = align_down(gva, span) + (base_gpa - align_down(x->gpa.v, span));
    if (s->ops->map(s->ctx, at, (uint64_t)off, len, prot)) {
        free_rec(s, r);
        return SHADOW_HOST_ERROR;
    }
    r->mapped[0] = 1;
    r->writable[0] = (prot & HOST_W) ? 1 : 0;
    for (uint64_t i = 0; s->exec && (prot & HOST_W) && i < len >> PAGE_SHIFT; i++) { /* spaces are asked only about flagged pages */
        s->page_flags[((uint64_t)off >> PAGE_SHIFT) + i] |= s->page_flag_w4k;
    }
    if ((prot & HOST_W) && protect_code_in(s, at, (uint64_t)off, len, prot)) {
        return SHADOW_HOST_ERROR;
    }
    for (uint64_t i = 0; s->exec && (prot & HOST_W) && i < len >> PAGE_SHIFT; i++) {
        s->page_flags[((uint64_t)off >> PAGE_SHIFT) + i] |= s->page_flag_w4k;
    }
    return SHADOW_MAPPED;
}

/* Whether entry i can be mapped together with its neighbour: present, used before, next frame, same protection. */
static bool joins(const struct shadow *s, const struct shadow_rec *r, const uint64_t *leaf, unsigned i, uint64_t frame, unsigned prot,
                  bool supervisor_only)
{
    uint64_t pte = __atomic_load_n(&leaf[i], __ATOMIC_RELAXED);
    if (!(pte & PTE_P) || !(pte & PTE_A) || (pte & PTE_ADDR) != frame || map_bit(r->mapped, i)) {
        return false;
    }
    bool user = (pte & PTE_U) && (r->rights & PTE_U);
    if (user == supervisor_only) {
        return false;
    }
    int64_t off = ram_offset(&s->v->vm->ram, gpa(frame), PAGE_SIZE);
    if (off < 0 || (s->page_flags[off >> PAGE_SHIFT] & PAGE_CODE)) {
        return false;
    }
    return prot_of(s, pte, r->rights) == prot;
}

static enum shadow_result fill_small(struct shadow *s, uint64_t gva, const struct mmu_xlat *x, bool supervisor_only)
{
    uint64_t table = align_down(x->pte_gpa.v, PAGE_SIZE);
    uint64_t rights = (x->user ? PTE_U : 0);
    uint64_t now_table, now_rights, now_span;
    if (upper_walk(s, s->v->cr3, gva, &now_table, &now_rights, &now_span) && now_table == table) {
        rights = now_rights;
    }
    struct shadow_rec *r = find(s, gva);
    if (r && (r->large || r->table != table || r->rights != rights)) {
        drop_rec(s, r);
        r = NULL;
    }
    if (!r && !(r = alloc_rec(s, gva, SPAN_2M))) {
        return SHADOW_HOST_ERROR;
    }
    r->large = false;
    r->table = table;
    r->rights = rights;
    const uint8_t *leaf_bytes = ram_span(&s->v->vm->ram, gpa(table), PAGE_SIZE);
    int64_t off = ram_offset(&s->v->vm->ram, gpa(align_down(x->gpa.v, PAGE_SIZE)), PAGE_SIZE);
    if (!leaf_bytes || off < 0) {
        return SHADOW_NOT_RAM;
    }
    const uint64_t *leaf = (const uint64_t *)(const void *)leaf_bytes;
    unsigned i = (unsigned)(gva >> PAGE_SHIFT) & 511;
    unsigned prot = prot_of(s, x->pte, rights);
    unsigned from = i, to = i + 1;
    uint64_t frame = x->pte & PTE_ADDR;
    bool code = s->page_flags[off >> PAGE_SHIFT] & PAGE_CODE;
    if (code) {
        prot &= ~HOST_W;
    } else {
        while (to < 512 && to - i < FILL_RUN && joins(s, r, leaf, to, frame + (to - i) * PAGE_SIZE, prot, supervisor_only)) {
            to++;
        }
        while (from > 0 && i - from < FILL_RUN && joins(s, r, leaf, from - 1, frame - (i - from + 1) * PAGE_SIZE, prot, supervisor_only)) {
            from--;
        }
    }
    for (unsigned k = from; k < to; k++) {
        r->pte[k] = k == i ? x->pte : __atomic_load_n(&leaf[k], __ATOMIC_RELAXED);
        r->has_local |= !(r->pte[k] & PTE_G) || !(s->v->cr4 & CR4_PGE);
        if (prot & HOST_W) {
            s->page_flags[(off >> PAGE_SHIFT) + (int64_t)k - (int64_t)i] |= s->page_flag_w4k;
        }
    }
    uint64_t at = align_down(gva, PAGE_SIZE), before = (i - from) * PAGE_SIZE;
    if (s->ops->map(s->ctx, at - before, (uint64_t)off - before, (to - from) * PAGE_SIZE, prot)) {
        from = i; /* the host may lack the place for a neighbour only */
        to = i + 1;
        if (s->ops->map(s->ctx, at, (uint64_t)off, PAGE_SIZE, prot)) {
            return SHADOW_HOST_ERROR;
        }
    }
    set_bits(r->mapped, from, to - from, true);
    set_bits(r->writable, from, to - from, prot & HOST_W);
    return SHADOW_MAPPED;
}

static enum shadow_result fill(struct shadow *s, uint64_t gva, unsigned access, bool supervisor_only, struct mmu_xlat *x,
                               struct vcpu_exception *ex)
{
    if (!mmu_walk(s->v, gva, access, x, ex)) {
        return SHADOW_FAULT;
    }
    if (supervisor_only && x->user) {
        return SHADOW_USER_PAGE;
    }
    int64_t off = ram_offset(&s->v->vm->ram, x->gpa, 1);
    if (off < 0) {
        return SHADOW_NOT_RAM;
    }
    if ((access & MMU_WRITE) && (s->page_flags[off >> PAGE_SHIFT] & PAGE_CODE)) {
        return SHADOW_CODE_WRITE;
    }
    if (!(s->v->cr0 & CR0_PG)) {
        return SHADOW_NOT_RAM;
    }
    if (x->page_size > PAGE_SIZE) {
        return fill_large(s, gva, x, access & MMU_WRITE);
    }
    return fill_small(s, gva, x, supervisor_only);
}

enum shadow_result shadow_fill(struct shadow *s, uint64_t gva, unsigned access, bool supervisor_only, struct mmu_xlat *x,
                               struct vcpu_exception *ex)
{
    enum shadow_result r = fill(s, gva, access, supervisor_only, x, ex);
    if (!s->v->vm->trace) {
        return r;
    }
    const char *space = s->exec ? "user" : "kernel", *how = (access & MMU_WRITE) ? "write" : (access & MMU_EXEC) ? "fetch" : "read";
    if (r == SHADOW_FAULT) {
        trace_event(s->v->vm, "miss space=%s gva=%#llx %s inject=#%s error=%#x", space, (unsigned long long)gva, how,
                    ex->vector == VEC_PF ? "PF" : "GP", ex->error);
    } else {
        static const char *const outcome[] = {"mapped", "fault", "device", "code-write", "user-page", "host-error"};
        trace_event(s->v->vm, "miss space=%s gva=%#llx %s pfn=%#llx mfn=%#llx page=%#llx %s", space, (unsigned long long)gva, how,
                    (unsigned long long)x->gpa.v >> PAGE_SHIFT,
                    (unsigned long long)ram_offset(&s->v->vm->ram, x->gpa, 1) >> PAGE_SHIFT, (unsigned long long)x->page_size,
                    outcome[r]);
    }
    return r;
}

/* Whether a mapping made from `old` may stay now that the entry reads `now`. */
static bool still_good(uint64_t old, uint64_t now)
{
    uint64_t lost = old & ~now & (PTE_P | PTE_A | PTE_D | PTE_W | PTE_U);
    uint64_t moved = (old ^ now) & (PTE_ADDR | PTE_PS);
    return !lost && !moved && !(now & ~old & PTE_NX);
}

static unsigned verify_leaf(struct shadow *s, struct shadow_rec *r, bool include_global)
{
    const uint8_t *bytes = ram_span(&s->v->vm->ram, gpa(r->table), PAGE_SIZE);
    if (!bytes) {
        return drop_rec(s, r);
    }
    const uint64_t *leaf = (const uint64_t *)(const void *)bytes;
    unsigned dropped = 0, run = 0, left = 0;
    for (unsigned i = 0; i <= 512; i++) {
        bool drop = false;
        if (i < 512 && r->mapped[i >> 6] == 0 && !(i & 63) && !run) {
            i += 63;
            continue;
        }
        if (i < 512 && map_bit(r->mapped, i)) {
            uint64_t now = __atomic_load_n(&leaf[i], __ATOMIC_RELAXED);
            bool skip = !include_global && (r->pte[i] & PTE_G) && (s->v->cr4 & CR4_PGE);
            drop = !skip && !still_good(r->pte[i], now);
            if (!drop && !skip) {
                r->pte[i] = now;
            }
            left += !drop;
        }
        if (drop) {
            run++;
        } else if (run) {
            BUG_ON(s->ops->unmap(s->ctx, r->gva + (i - run) * PAGE_SIZE, run * PAGE_SIZE) != 0);
            set_bits(r->mapped, i - run, run, false);
            set_bits(r->writable, i - run, run, false);
            dropped += run;
            run = 0;
        }
    }
    if (!left) {
        free_rec(s, r);
    }
    return dropped;
}

static unsigned verify_rec(struct shadow *s, struct shadow_rec *r, uint64_t root, bool include_global)
{
    if (!include_global && !r->has_local) {
        return 0;
    }
    uint64_t table, rights, span;
    bool ok = upper_walk(s, root, r->gva, &table, &rights, &span);
    if (!ok || table != r->table || span != r->span || rights != r->rights) {
        return drop_rec(s, r);
    }
    if (!r->large) {
        return verify_leaf(s, r, include_global);
    }
    const uint8_t *p = ram_span(&s->v->vm->ram, gpa(table), 8);
    uint64_t now = p ? *(const uint64_t *)(const void *)p : 0;
    if (!(now & PTE_PS) || !still_good(r->pte[0], now)) {
        return drop_rec(s, r);
    }
    r->pte[0] = now;
    return 0;
}

unsigned shadow_verify(struct shadow *s, uint64_t root, bool include_global)
{
    unsigned dropped = 0;
    bool wp = s->v->cr0 & CR0_WP;
    bool drop_all = !s->exec && wp != s->wp; /* protections were computed under another CR0.WP */
    s->wp = wp;
    for (unsigned h = 0; h < SHADOW_HASH; h++) {
        struct shadow_rec *next;
        for (struct shadow_rec *r = s->hash[h]; r; r = next) {
            next = r->next;
            dropped += drop_all ? drop_rec(s, r) : verify_rec(s, r, root, include_global);
        }
    }
    return dropped;
}

unsigned shadow_verify_page(struct shadow *s, uint64_t root, uint64_t gva)
{
    struct shadow_rec *r = find(s, gva);
    return r ? verify_rec(s, r, root, true) : 0;
}

void shadow_protect_ppn(struct shadow *s, uint64_t ppn)
{
    const struct ram *ram = &s->v->vm->ram;
    bool small = s->page_flags[ppn] & s->page_flag_w4k;
    for (unsigned h = 0; h < SHADOW_HASH; h++) {
        for (struct shadow_rec *r = s->hash[h]; r; r = r->next) {
            if (r->large) {
                uint64_t base = align_down(r->pte[0] & PTE_ADDR, r->span);
                uint64_t at = ppn << PAGE_SHIFT; /* RAM offset to guest-physical */
                at = at >= RAM_HOLE_START ? at + (RAM_HOLE_END - RAM_HOLE_START) : at;
                if (r->writable[0] && at >= base && at - base < r->span) {
                    unsigned prot = prot_of(s, r->pte[0], r->rights) & ~HOST_W;
                    BUG_ON(s->ops->protect(s->ctx, r->gva + (at - base), PAGE_SIZE, prot) < 0);
                }
                continue;
            }
            for (unsigned i = 0; small && i < 512; i++) {
                if (map_bit(r->writable, i)) {
                    int64_t off = ram_offset(ram, gpa(r->pte[i] & PTE_ADDR), PAGE_SIZE);
                    if (off >= 0 && (uint64_t)off >> PAGE_SHIFT == ppn) {
                        set_bits(r->writable, i, 1, false);
                        unsigned prot = prot_of(s, r->pte[i], r->rights) & ~HOST_W;
                        BUG_ON(s->ops->protect(s->ctx, r->gva + i * PAGE_SIZE, PAGE_SIZE, prot) < 0);
                    }
                }
            }
        }
    }
}
