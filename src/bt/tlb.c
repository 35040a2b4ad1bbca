/* What the guest's TLB-affecting instructions do to everything derived from its page tables: the window, the spaces, the software TLB and
 * the code cache's virtual pages. SDM 3 §4.10 "Caching Translation Information".
 */
#include "base/string.h"
#include "bt/cache.h"
#include "bt/uspace.h"
#include "bt/window.h"
#include "vm/trace.h"

void bt_soft_flush(struct bt_cpu *b)
{
    memset(b->soft, 0, sizeof(b->soft));
}

void bt_tlb_flush_all(struct bt_cpu *b)
{
    b->stats.tlb_flush_all++;
    bt_soft_flush(b);
    b->stats.verify_changed += shadow_verify(&b->window->shadow, b->v->cr3, true);
    cache_verify_vpages(b->cache, true);
    uspace_flush(b, -1, true);
}

/* The root or its non-global entries changed: global ones stay. */
static void flush_local(struct bt_cpu *b)
{
    bt_soft_flush(b);
    b->stats.verify_changed += shadow_verify(&b->window->shadow, b->v->cr3, false);
    cache_verify_vpages(b->cache, false);
}

void bt_tlb_effect(struct bt_cpu *b, enum vcpu_tlb_effect effect, uint64_t old_cr3)
{
    bool new_root = (old_cr3 ^ b->v->cr3) & CR3_ADDR_MASK;
    TRACE(b->v->vm, "tlb effect=%u cr3=%#llx", (unsigned)effect, (unsigned long long)b->v->cr3);
    switch (effect) {
    case VCPU_TLB_NONE:
        return;
    case VCPU_TLB_FLUSH_ALL:
        if (new_root) {
            uspace_switch(b);
        }
        bt_tlb_flush_all(b);
        return;
    case VCPU_TLB_FLUSH_PCID:
        b->stats.tlb_flush_pcid++;
        if (new_root) {
            uspace_switch(b);
        }
        flush_local(b);
        uspace_flush(b, -1, false);
        return;
    case VCPU_TLB_SWITCH:
        b->stats.tlb_switch++;
        if (new_root) {
            uspace_switch(b);
            flush_local(b);
        }
        return;
    }
}

/* Kill translations from gva's page, and from its 2 MB (the entry may have been a large one), whose mapping has changed. */
static void verify_code_near(struct bt_cpu *b, uint64_t gva)
{
    struct cache *c = b->cache;
    for (uint32_t i = 0; i < c->vpage_count; i++) {
        uint64_t page = c->vpage[i].gva;
        struct mmu_xlat x;
        struct vcpu_exception ex;
        if (page >> 21 != gva >> 21) {
            continue;
        }
        bool ok = mmu_walk(b->v, page, MMU_EXEC | MMU_NO_AD, &x, &ex);
        int64_t off = ok ? ram_offset(&b->v->vm->ram, x.gpa, 1) : -1;
        if (off < 0 || (uint64_t)off >> PAGE_SHIFT != c->vpage[i].ppn) {
            cache_kill_vpage(c, page);
            i = UINT32_MAX; /* the list is another now: from the start */
        }
    }
}

void bt_tlb_invlpg(struct bt_cpu *b, uint64_t gva)
{
    b->stats.invlpg++;
    TRACE(b->v->vm, "tlb invlpg gva=%#llx", (unsigned long long)gva);
    bt_soft_flush(b); /* all: gva may lie in a large page, of which other parts are cached */
    b->stats.verify_changed += shadow_verify_page(&b->window->shadow, b->v->cr3, gva);
    if (gva >> 63 || b->cache->low_vpages) {
        verify_code_near(b, gva);
    }
    if (!(gva >> 63)) {
        uspace_invlpg(b, gva);
    }
}

void bt_tlb_invpcid(struct bt_cpu *b, unsigned type, unsigned pcid, uint64_t gva)
{
    bool current = pcid == ((b->v->cr4 & CR4_PCIDE) ? (b->v->cr3 & CR3_PCID_MASK) : 0);
    switch (type) {
    case 0:
        if (current) {
            bt_tlb_invlpg(b, gva);
        } else {
            uspace_flush(b, (int)pcid, false);
        }
        break;
    case 1:
        if (current) {
            flush_local(b);
        }
        uspace_flush(b, (int)pcid, false);
        break;
    case 2:
        bt_tlb_flush_all(b);
        break;
    default:
        flush_local(b);
        uspace_flush(b, -1, true);
        break;
    }
}
