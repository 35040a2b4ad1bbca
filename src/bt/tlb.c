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

void bt_tlb_invlpg(struct bt_cpu *b, uint64_t gva)
{
    b->stats.invlpg++;
    TRACE(b->v->vm, "tlb invlpg gva=%#llx", (unsigned long long)gva);
    struct bt_soft_entry *e = &b->soft[(gva >> PAGE_SHIFT) % BT_SOFT_TLB];
    e->tag = 0;
    b->stats.verify_changed += shadow_verify_page(&b->window->shadow, b->v->cr3, gva);
    struct mmu_xlat x;
    struct vcpu_exception ex;
    if (gva >> 63) {
        for (uint32_t i = 0; i < b->cache->vpage_count; i++) {
            if (b->cache->vpage[i].gva == align_down(gva, PAGE_SIZE)) {
                bool ok = mmu_walk(b->v, gva, MMU_EXEC | MMU_NO_AD, &x, &ex);
                int64_t off = ok ? ram_offset(&b->v->vm->ram, x.gpa, 1) : -1;
                if (off < 0 || (uint64_t)off >> PAGE_SHIFT != b->cache->vpage[i].ppn) {
                    cache_kill_vpage(b->cache, align_down(gva, PAGE_SIZE));
                    break;
                }
            }
        }
    } else {
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
