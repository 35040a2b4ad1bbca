/* Implementation of cache.h: bookkeeping of blocks. Recovery of guest state is in recover.c. */
#include "bt/cache.h"
#include "bt/emit.h"
#include "bt/window.h"
#include "host/host.h"
#include "mmu/mmu.h"
#include "vm/vm.h"

#define ROOM_CODE 131072u
#define ROOM_NOTES 8192u
#define ROOM_LINKS 1024u

static void *meta(uint64_t bytes)
{
    return host_private_map(0, align_up(bytes, PAGE_SIZE), HOST_R | HOST_W);
}

int cache_init(struct bt_cpu *b)
{
    struct cache *c = meta(sizeof(*c));
    if (!c) {
        return -12;
    }
    c->b = b;
    b->cache = c;
    c->page_count = b->v->vm->ram.size >> PAGE_SHIFT;
    c->code = host_private_map(BT_CODE_ADDR, BT_CODE_SIZE + PAGE_SIZE, HOST_R | HOST_W | HOST_X);
    c->rettab = host_private_map(BT_RETTAB_ADDR, BT_RETTAB_COUNT * 8, HOST_R | HOST_W);
    c->block = meta(CACHE_MAX_BLOCKS * sizeof(struct block));
    c->note = meta(CACHE_MAX_NOTES * sizeof(struct note));
    c->link = meta(CACHE_MAX_LINKS * sizeof(struct link));
    c->callout = meta(CACHE_MAX_CALLOUTS * sizeof(struct callout));
    c->hash = meta(CACHE_HASH_SIZE * sizeof(uint32_t));
    c->page = meta(c->page_count);
    c->page_blocks = meta(c->page_count * sizeof(uint32_t));
    c->vpage = meta(CACHE_MAX_VPAGES * sizeof(struct vpage));
    c->soft_site = meta(CACHE_SOFT_SITES * sizeof(uint64_t));
    if (!c->code || !c->rettab || !c->block || !c->note || !c->link || !c->callout || !c->hash || !c->page ||
        !c->page_blocks || !c->vpage || !c->soft_site) {
        return -12;
    }
    c->code_end = c->code + BT_CODE_SIZE;
    cache_flush(c);
    c->generation = 1;
    b->stats.flushes_full = 0;
    return 0;
}

void cache_flush(struct cache *c)
{
    for (uint64_t i = 0; i < c->page_count; i++) {
        if (c->page[i] & PAGE_CODE) {
            window_unmark_code(c->b, i);
            c->page_blocks[i] = 0;
        }
    }
    memset(c->hash, 0, CACHE_HASH_SIZE * sizeof(uint32_t));
    for (unsigned i = 0; i < BT_RETTAB_COUNT; i++) {
        c->rettab[i] = (uint64_t)(uintptr_t)bt_exit_indirect;
    }
    c->code_next = c->code;
    c->block_count = c->note_count = c->link_count = 1;
    c->callout_count = 1;
    c->vpage_count = c->low_vpages = 0;
    c->generation++;
    c->b->stats.flushes_full++;
}

bool cache_has_room(const struct cache *c)
{
    return (size_t)(c->code_end - c->code_next) > ROOM_CODE && c->block_count + 2 < CACHE_MAX_BLOCKS &&
           c->note_count + ROOM_NOTES < CACHE_MAX_NOTES && c->link_count + ROOM_LINKS < CACHE_MAX_LINKS &&
           c->callout_count + ROOM_LINKS < CACHE_MAX_CALLOUTS && c->vpage_count + 4 < CACHE_MAX_VPAGES;
}

static unsigned hash_of(uint64_t gpc)
{
    return (unsigned)((gpc * 0x9e3779b97f4a7c15ull) >> 48) % CACHE_HASH_SIZE;
}

uint32_t cache_lookup(const struct cache *c, uint64_t gpc)
{
    uint32_t i = c->hash[hash_of(gpc)];
    while (i && c->block[i].gpc != gpc) {
        i = c->block[i].hash_next;
    }
    return i;
}

/* Page list heads and links hold block index << 1 | which of the block's two pages. */
static void page_insert(struct cache *c, uint32_t block, unsigned which)
{
    struct block *b = &c->block[block];
    b->page_next[which] = c->page_blocks[b->page[which]];
    c->page_blocks[b->page[which]] = block << 1 | which;
}

static void page_remove(struct cache *c, uint32_t block, unsigned which)
{
    uint32_t *p = &c->page_blocks[c->block[block].page[which]];
    while (*p != (block << 1 | which)) {
        BUG_ON(*p == 0);
        p = &c->block[*p >> 1].page_next[*p & 1];
    }
    *p = c->block[block].page_next[which];
}

void cache_insert(struct cache *c, uint32_t block)
{
    struct block *b = &c->block[block];
    unsigned h = hash_of(b->gpc);
    b->hash_next = c->hash[h];
    c->hash[h] = block;
    page_insert(c, block, 0);
    if (b->page[1] != b->page[0]) {
        page_insert(c, block, 1);
    }
}

static void set_rel32(uint32_t site, uint32_t target)
{
    uint32_t rel = target - (site + 4);
    memcpy((void *)(uintptr_t)site, &rel, 4);
}

void cache_link(struct cache *c, uint32_t link, uint32_t block)
{
    struct link *l = &c->link[link];
    if (l->to) {
        return;
    }
    l->to = block;
    l->next_in = c->block[block].in_links;
    c->block[block].in_links = link;
    set_rel32(l->site, c->block[block].cpc);
}

/* Take a dying block's own exits off their targets' lists. */
static void unlink_exits(struct cache *c, struct block *b)
{
    for (uint32_t i = b->first_link; i < b->first_link + b->link_count; i++) {
        struct link *l = &c->link[i];
        if (!l->to) {
            continue;
        }
        uint32_t *p = &c->block[l->to].in_links;
        while (*p != i) {
            p = &c->link[*p].next_in;
        }
        *p = l->next_in;
        l->to = 0;
        set_rel32(l->site, l->stub);
    }
}

void cache_kill(struct cache *c, uint32_t block)
{
    struct block *b = &c->block[block];
    if (b->dead) {
        return;
    }
    b->dead = 1;
    c->b->stats.blocks_killed++;
    for (uint32_t i = b->in_links; i; i = c->link[i].next_in) {
        c->link[i].to = 0;
        set_rel32(c->link[i].site, c->link[i].stub);
    }
    b->in_links = 0;
    unlink_exits(c, b);
    if (b->landing_block) {
        uint64_t *slot = &c->rettab[b->gpc & (BT_RETTAB_COUNT - 1)];
        if (*slot == c->block[b->landing_block].cpc) {
            *slot = (uint64_t)(uintptr_t)bt_exit_indirect;
        }
    }
    uint32_t *p = &c->hash[hash_of(b->gpc)];
    while (*p != block) {
        p = &c->block[*p].hash_next;
    }
    *p = b->hash_next;
    page_remove(c, block, 0);
    if (b->page[1] != b->page[0]) {
        page_remove(c, block, 1);
    }
}

/* Whether block b has bytes in [off, off+len) of its page number `which`. */
static bool overlaps(const struct block *b, unsigned which, uint32_t off, uint32_t len)
{
    uint32_t start = (uint32_t)(b->gpc & PAGE_MASK), end = start + b->guest_len;
    if (which == 1) {
        start = 0;
        end = end > PAGE_SIZE ? end - (uint32_t)PAGE_SIZE : 0;
    }
    return off < end && start < off + len;
}

void cache_kill_range(struct cache *c, uint32_t ppn, uint32_t off, uint32_t len)
{
    uint32_t i = c->page_blocks[ppn];
    while (i) {
        uint32_t next = c->block[i >> 1].page_next[i & 1];
        if (overlaps(&c->block[i >> 1], i & 1, off, len)) {
            cache_kill(c, i >> 1);
        }
        i = next;
    }
    if (len == PAGE_SIZE) {
        window_unmark_code(c->b, ppn);
    }
}

void cache_kill_vpage(struct cache *c, uint64_t gva)
{
    for (uint32_t v = 0; v < c->vpage_count; v++) {
        if (c->vpage[v].gva != gva) {
            continue;
        }
        uint32_t i = c->page_blocks[c->vpage[v].ppn];
        while (i) {
            struct block *b = &c->block[i >> 1];
            uint32_t next = b->page_next[i & 1];
            uint64_t last = b->gpc + (b->guest_len ? b->guest_len - 1u : 0);
            if (align_down(b->gpc, PAGE_SIZE) == gva || align_down(last, PAGE_SIZE) == gva) {
                cache_kill(c, i >> 1);
            }
            i = next;
        }
        c->low_vpages -= !(gva >> 63);
        c->vpage[v] = c->vpage[--c->vpage_count];
        v--;
    }
}

void cache_add_vpage(struct cache *c, uint64_t gva, uint32_t ppn, bool global)
{
    for (uint32_t v = c->vpage_count; v-- > 0;) {
        if (c->vpage[v].gva == gva && c->vpage[v].ppn == ppn) {
            return;
        }
    }
    c->low_vpages += !(gva >> 63);
    c->vpage[c->vpage_count++] = (struct vpage){.gva = gva, .ppn = ppn, .global = global};
}

void cache_verify_vpages(struct cache *c, bool include_global)
{
    for (uint32_t v = 0; v < c->vpage_count; v++) {
        struct vpage *p = &c->vpage[v];
        if (p->global && !include_global) {
            continue;
        }
        struct mmu_xlat x;
        struct vcpu_exception ex;
        bool ok = mmu_walk(c->b->v, p->gva, MMU_EXEC | MMU_NO_AD, &x, &ex);
        int64_t off = ok ? ram_offset(&c->b->v->vm->ram, x.gpa, 1) : -1;
        if (off >= 0 && (uint64_t)off >> PAGE_SHIFT == p->ppn) {
            continue;
        }
        cache_kill_vpage(c, p->gva);
        v--;
    }
}

uint32_t cache_find(const struct cache *c, uint64_t cpc)
{
    uint32_t lo = 1, hi = c->block_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (c->block[mid].cpc + (uint64_t)c->block[mid].code_len <= cpc) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < c->block_count && c->block[lo].cpc <= cpc ? lo : 0;
}

static void landing_note(struct cache *c, struct block *l, const struct emit *e, uint8_t fix)
{
    const uint16_t spilled = (1u << RAX) | (1u << RCX);
    c->note[c->note_count++] = (struct note){.cpc_off = (uint16_t)(emit_pos(e) - l->cpc), .spilled = spilled, .fix = fix};
    l->note_count++;
}

void cache_add_landing(struct cache *c, uint32_t block)
{
    struct block *b = &c->block[block];
    if (!b->landing_block) {
        uint32_t index = c->block_count++;
        struct emit e = {c->code_next};
        struct block *l = &c->block[index];
        *l = (struct block){.gpc = b->gpc, .cpc = emit_pos(&e), .notes = c->note_count, .dead = 1, .landing = 1,
                            .landing_block = block};
        landing_note(c, l, &e, FIX_LANDING_PC);
        bool near = (uint64_t)(int64_t)(int32_t)b->gpc == b->gpc && (int32_t)b->gpc != INT32_MIN;
        if (near) { /* lea rcx, [rcx - gpc] */
            emit_lea(&e, RCX, RCX, GPR_NONE, 1, -(int32_t)b->gpc);
        } else {
            emit_mov_imm(&e, RAX, -b->gpc);
            emit_lea(&e, RCX, RCX, RAX, 1, 0);
        }
        landing_note(c, l, &e, FIX_LANDING_DIFF);
        emit_u8(&e, 0xe3); /* jrcxz over the miss */
        emit_u8(&e, 0);
        uint8_t *skip = e.p;
        if (near) {
            emit_lea(&e, RCX, RCX, GPR_NONE, 1, (int32_t)b->gpc);
        } else {
            emit_mov_imm(&e, RAX, b->gpc);
            emit_lea(&e, RCX, RCX, RAX, 1, 0);
        }
        landing_note(c, l, &e, FIX_LANDING_PC);
        emit_jmp(&e, bt_field(bt_exit_indirect));
        skip[-1] = (uint8_t)(e.p - skip);
        landing_note(c, l, &e, FIX_NONE);
        emit_load_abs(&e, RCX, bt_field(&c->b->spill[RCX]));
        emit_load_abs(&e, RAX, bt_field(&c->b->spill[RAX]));
        emit_jmp(&e, b->cpc);
        l->code_len = emit_pos(&e) - l->cpc;
        c->code_next = e.p;
        b->landing_block = index;
    }
    c->rettab[b->gpc & (BT_RETTAB_COUNT - 1)] = c->block[b->landing_block].cpc;
}

static uint32_t soft_slot(const struct cache *c, uint64_t gpc)
{
    uint32_t i = (uint32_t)(gpc * 0x9e3779b97f4a7c15ull >> 40) % CACHE_SOFT_SITES;
    while (c->soft_site[i] && c->soft_site[i] != gpc) {
        i = (i + 1) % CACHE_SOFT_SITES;
    }
    return i;
}

bool cache_is_soft(const struct cache *c, uint64_t gpc)
{
    return c->soft_count && c->soft_site[soft_slot(c, gpc)] == gpc;
}

void cache_add_soft(struct cache *c, uint64_t gpc)
{
    if (c->soft_count > CACHE_SOFT_SITES / 2) {
        memset(c->soft_site, 0, CACHE_SOFT_SITES * sizeof(uint64_t));
        c->soft_count = 0;
    }
    uint32_t i = soft_slot(c, gpc);
    c->soft_count += c->soft_site[i] == 0;
    c->soft_site[i] = gpc;
}
