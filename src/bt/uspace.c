/* Implementation of uspace.h. */
#include "bt/uspace.h"
#include "base/string.h"
#include "bt/cache.h"
#include "bt/window.h"
#include "vm/vm.h"

static int space_map(void *ctx, uint64_t gva, uint64_t ram_off, uint64_t len, unsigned prot)
{
    struct uspace *u = ctx;
    return host_space_map(u->space, gva, ram_off, len, prot);
}

/* To take rights from a space that hostile code has got killed is no failure: nothing is mapped there any more. */
static int unless_dead(int rc)
{
    return rc == -3 /* ESRCH */ ? 0 : rc;
}

static int space_protect(void *ctx, uint64_t gva, uint64_t len, unsigned prot)
{
    struct uspace *u = ctx;
    return unless_dead(host_space_protect(u->space, gva, len, prot));
}

static int space_unmap(void *ctx, uint64_t gva, uint64_t len)
{
    struct uspace *u = ctx;
    return unless_dead(host_space_unmap(u->space, gva, len));
}

static const struct shadow_ops space_ops = {.map = space_map, .protect = space_protect, .unmap = space_unmap};

int uspace_init(struct bt_cpu *b)
{
    b->spaces = host_private_map(0, align_up(sizeof(struct uspaces), PAGE_SIZE), HOST_R | HOST_W);
    return b->spaces ? 0 : -12;
}

void uspace_drop(struct bt_cpu *b, struct uspace *u)
{
    host_space_destroy(u->space);
    shadow_forget(&u->shadow);
    u->used = false;
    if (b->spaces->current == u) {
        b->spaces->current = NULL;
    }
    if (b->spaces->fpu_in == u) {
        b->spaces->fpu_in = NULL;
    }
}

/* Queued drops must be certain before the guest goes on; while parked they may wait for the next run. */
static void settle(struct bt_cpu *b, struct uspace *u, unsigned dropped)
{
    b->stats.verify_changed += dropped;
    if (!dropped || u->parked) {
        return;
    }
    b->stats.parks++;
    if (host_space_park(u->space) != 0) {
        uspace_drop(b, u);
        return;
    }
    u->parked = true;
}

static void verify(struct bt_cpu *b, struct uspace *u)
{
    u->stale = false;
    settle(b, u, shadow_verify(&u->shadow, u->root, true));
}

static struct uspace *slot_for(struct bt_cpu *b)
{
    struct uspace *victim = NULL;
    for (unsigned i = 0; i < USPACE_MAX; i++) {
        struct uspace *u = &b->spaces->slot[i];
        if (!u->used) {
            return u;
        }
        if (!victim || u->last_used < victim->last_used) {
            victim = u;
        }
    }
    if (b->spaces->fpu_in == victim) {
        bt_fpu_fetch(b);
    }
    b->stats.spaces_evicted++;
    uspace_drop(b, victim);
    return victim;
}

static struct uspace *create(struct bt_cpu *b, uint64_t root)
{
    struct uspace *u = slot_for(b);
    struct space *space;
    int rc = host_space_create(b->v, &space);
    if (rc) {
        vm_fail(b->v->vm, "no process for guest user code (error %d; is ulimit -u large enough?)",
                -rc);
        return NULL;
    }
    shadow_init(&u->shadow, &space_ops, u, b->v, &b->window->pool, b->cache->page);
    u->shadow.page_flag_w4k = PAGE_SPACE_W;
    u->shadow.exec = true;
    u->space = space;
    u->root = root;
    u->used = true;
    u->stale = false;
    u->parked = true; /* it has never run */
    u->b = b;
    memset(u->tls, 0, sizeof(u->tls));
    b->stats.spaces_created++;
    return u;
}

static struct uspace *find(struct bt_cpu *b, uint64_t root)
{
    for (unsigned i = 0; i < USPACE_MAX; i++) {
        struct uspace *u = &b->spaces->slot[i];
        if (u->used && u->root == root) {
            return u;
        }
    }
    return NULL;
}

struct uspace *uspace_current(struct bt_cpu *b)
{
    uint64_t root = b->v->cr3 & CR3_ADDR_MASK;
    struct uspace *u = b->spaces->current;
    if (!u || u->root != root) {
        u = find(b, root);
        if (!u && !(u = create(b, root))) {
            return NULL;
        }
        b->spaces->current = u;
    }
    if (u->stale) {
        verify(b, u);
        if (!u->used && !(u = create(b, root))) {
            return NULL;
        }
        b->spaces->current = u;
    }
    u->pcid = (uint16_t)(b->v->cr3 & CR3_PCID_MASK);
    u->last_used = ++b->spaces->clock;
    return u;
}

void uspace_switch(struct bt_cpu *b)
{
    struct uspace *u = b->spaces->current;
    if (!u || u->root == (b->v->cr3 & CR3_ADDR_MASK)) {
        return;
    }
    b->spaces->current = NULL;
    if (!u->parked) {
        b->stats.parks++;
        if (host_space_park(u->space) != 0) {
            uspace_drop(b, u);
            return;
        }
        u->parked = true;
    }
}

void uspace_flush(struct bt_cpu *b, int pcid, bool all)
{
    uint64_t root = b->v->cr3 & CR3_ADDR_MASK;
    for (unsigned i = 0; i < USPACE_MAX; i++) {
        struct uspace *u = &b->spaces->slot[i];
        if (!u->used) {
            continue;
        }
        bool mine = all || (pcid < 0 ? u->root == root : u->pcid == pcid);
        if (!mine) {
            continue;
        }
        if (u->parked) {
            u->stale = true; /* parked: nothing can use it before uspace_current verifies */
        } else {
            verify(b, u);
        }
    }
}

void uspace_invlpg(struct bt_cpu *b, uint64_t gva)
{
    uint64_t root = b->v->cr3 & CR3_ADDR_MASK;
    struct uspace *u = b->spaces->current;
    if (!u || u->root != root) {
        u = find(b, root);
    }
    if (u && !u->stale) {
        settle(b, u, shadow_verify_page(&u->shadow, root, gva));
    }
}

void uspace_protect_ppn(struct bt_cpu *b, uint64_t ppn)
{
    for (unsigned i = 0; i < USPACE_MAX; i++) {
        struct uspace *u = &b->spaces->slot[i];
        if (u->used) {
            /* which space has it is not recorded: withdraw everywhere, as a drop of the whole space's write access would */
            b->cache->page[ppn] |= PAGE_SPACE_W; /* the one before has cleared it: for itself only */
            shadow_protect_ppn(&u->shadow, ppn);
            settle(b, u, 1);
        }
    }
    b->cache->page[ppn] &= (uint8_t)~PAGE_SPACE_W;
}
