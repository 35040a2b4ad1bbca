/* Implementation of uspace.h. */
#include "bt/uspace.h"
#include "base/string.h"
#include "bt/cache.h"
#include "bt/window.h"
#include "vm/trace.h"

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

/* Drop a space of which nothing is wrong. */
static void retire(struct bt_cpu *b, struct uspace *u)
{
    if (b->spaces->fpu_in == u) {
        bt_fpu_fetch(b);
    }
    uspace_drop(b, u);
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
    b->stats.spaces_evicted++;
    retire(b, victim);
    return victim;
}

/* Whether the guest has a page, though maybe swapped out, in a range that lies within 2 MB. */
static bool range_used(struct bt_cpu *b, uint64_t root, const struct space_range *r)
{
    uint64_t table = root;
    for (unsigned shift = 39;; shift -= 9) {
        const uint8_t *at = ram_span(&b->v->vm->ram, gpa(table), PAGE_SIZE);
        if (!at) {
            return false;
        }
        const uint64_t *entry = (const uint64_t *)(const void *)at + ((r->gva >> shift) & 511);
        uint64_t e = __atomic_load_n(entry, __ATOMIC_RELAXED);
        if (shift == PAGE_SHIFT) {
            for (uint64_t i = 1; i < r->len >> PAGE_SHIFT; i++) {
                e |= __atomic_load_n(&entry[i], __ATOMIC_RELAXED);
            }
            return e != 0;
        }
        if (!(e & PTE_P) || (e & PTE_PS)) {
            return e != 0;
        }
        table = e & PTE_ADDR;
    }
}

static bool home_free(struct bt_cpu *b, uint64_t root, const struct space_range *own, int ranges)
{
    for (int i = 0; i < ranges; i++) {
        if (range_used(b, root, &own[i])) {
            return false;
        }
    }
    return true;
}

static bool home_stands(struct bt_cpu *b, const struct uspace *u)
{
    struct space_range own[SPACE_OWN_MAX];
    return home_free(b, u->root, own, host_space_home(u->home, own));
}

/* The best home in which the guest has no page; if all are taken, the best. */
static unsigned home_for(struct bt_cpu *b, uint64_t root)
{
    struct space_range own[SPACE_OWN_MAX];
    int ranges;
    for (unsigned home = 0; (ranges = host_space_home(home, own)) >= 0; home++) {
        if (home_free(b, root, own, ranges)) {
            return home;
        }
    }
    return 0;
}

bool uspace_rehome(struct bt_cpu *b, struct uspace *u)
{
    if (home_for(b, u->root) == u->home) {
        return false;
    }
    b->stats.spaces_rehomed++;
    TRACE(b->v->vm, "rehome root=%#llx home=%u", (unsigned long long)u->root, u->home);
    retire(b, u);
    return true;
}

static struct uspace *create(struct bt_cpu *b, uint64_t root)
{
    struct uspace *u = slot_for(b);
    struct space *space;
    unsigned home = home_for(b, root);
    int rc = host_space_create(b->v, home, &space);
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
    u->home = home;
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
        if (u->used && !home_stands(b, u)) { /* another process's root now, maybe */
            (void)uspace_rehome(b, u);
        }
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
