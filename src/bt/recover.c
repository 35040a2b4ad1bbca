/* From a code-cache position and the registers found there back to the guest's state (DynamoRIO calls this translating a fault). */
#include "bt/cache.h"

static const struct note *find_note(const struct cache *c, const struct block *blk, uint64_t cpc)
{
    uint32_t off = (uint32_t)(cpc - blk->cpc);
    const struct note *n = &c->note[blk->notes];
    uint32_t lo = 0, hi = blk->note_count;
    while (hi - lo > 1) { /* last note with cpc_off <= off */
        uint32_t mid = lo + (hi - lo) / 2;
        if (n[mid].cpc_off <= off) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return &n[lo];
}

/* At the jump of a direct exit, or in its stub, the guest is already at the exit's target. NULL: not there. */
static const struct link *exit_at(const struct cache *c, const struct block *blk, uint64_t cpc)
{
    for (uint32_t i = blk->first_link; i < blk->first_link + blk->link_count; i++) {
        const struct link *l = &c->link[i];
        bool at_jump = cpc + 1 == l->site && *(const uint8_t *)(uintptr_t)cpc == 0xe9;
        if (at_jump || (cpc >= l->stub && cpc < l->stub + 16)) {
            return l;
        }
    }
    return NULL;
}

uint64_t cache_guest_pc(const struct cache *c, uint64_t cpc)
{
    uint32_t i = cache_find(c, cpc);
    if (!i || c->block[i].landing) {
        return 0;
    }
    return c->block[i].gpc + find_note(c, &c->block[i], cpc)->gpc_off;
}

static void apply_fix(struct bt_cpu *b, const struct block *blk, const struct note *n, uint64_t rcx)
{
    switch (n->fix) {
    case FIX_RSP_ADD:
        b->gpr[RSP] += (uint64_t)(int64_t)n->arg;
        break;
    case FIX_STRING:
        b->gpr[RDI] -= (n->arg & 1) ? BT_R : 0;
        b->gpr[RSI] -= (n->arg & 2) ? BT_R : 0;
        break;
    case FIX_LANDING_PC:
        b->v->rip = rcx;
        break;
    case FIX_LANDING_DIFF:
        b->v->rip = blk->gpc + rcx;
        break;
    default:
        break;
    }
}

bool cache_recover(struct cache *c, uint64_t cpc)
{
    struct bt_cpu *b = c->b;
    uint32_t i = cache_find(c, cpc);
    if (!i) {
        return false;
    }
    const struct block *blk = &c->block[i];
    const struct link *l = exit_at(c, blk, cpc);
    b->v->irq_shadow = false;
    if (l) { /* nothing is spilled at an exit; a call's push is done */
        b->v->rip = l->target_gpc;
        return false;
    }
    const struct note *n = find_note(c, blk, cpc);
    uint64_t rcx = b->gpr[RCX];
    uint64_t in_reg = n->fix == FIX_RSP_IN_REG ? b->gpr[n->arg] : 0;
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        if (n->spilled & (1u << r)) {
            b->gpr[r] = b->spill[r];
        }
    }
    b->v->rip = blk->gpc + n->gpc_off;
    b->v->irq_shadow = n->shadow;
    if (n->fix == FIX_RSP_IN_REG) {
        b->gpr[RSP] = in_reg + BT_R;
    } else {
        apply_fix(b, blk, n, rcx);
    }
    return n->fix != FIX_LANDING_PC && n->fix != FIX_LANDING_DIFF;
}
