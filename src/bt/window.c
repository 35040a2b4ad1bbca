/* The window's host side: shadow.h's mappings carried out with host_window_*, and code-page protection across the window and all spaces. */
#include "bt/window.h"
#include "bt/cache.h"
#include "bt/uspace.h"
#include "host/host.h"
#include "vm/vm.h"

#define POOL_BYTES (64ull << 20) /* address space; pages are touched as records are made */

static int window_map(void *ctx, uint64_t gva, uint64_t ram_off, uint64_t len, unsigned prot)
{
    struct bt_cpu *b = ctx;
    b->stats.window_fills++;
    b->stats.window_pages += len >> PAGE_SHIFT;
    return host_window_map(b->v, bt_hva(gva), ram_off, len, prot);
}

static int window_unmap(void *ctx, uint64_t gva, uint64_t len)
{
    struct bt_cpu *b = ctx;
    if (host_window_unmap(b->v, bt_hva(gva), len) == 0) {
        return 0;
    }
    /* no mapping can be split any more (vm.max_map_count): start afresh */
    return host_window_unmap(b->v, BT_WINDOW_START, BT_WINDOW_END - BT_WINDOW_START);
}

/* A page that is not mapped, or that the host cannot split a mapping for, is simply unmapped: it is only a TLB. */
static int window_protect(void *ctx, uint64_t gva, uint64_t len, unsigned prot)
{
    struct bt_cpu *b = ctx;
    if (host_window_protect(b->v, bt_hva(gva), len, prot) == 0) {
        return 0;
    }
    int rc = window_unmap(ctx, gva, len);
    return rc ? rc : 1;
}

static const struct shadow_ops window_ops = {.map = window_map, .protect = window_protect, .unmap = window_unmap};

int window_init(struct bt_cpu *b)
{
    struct window *w = host_private_map(0, sizeof(*w) + POOL_BYTES, HOST_R | HOST_W);
    if (!w) {
        return -12; /* ENOMEM */
    }
    w->pool.next = (uint8_t *)(w + 1);
    w->pool.end = w->pool.next + POOL_BYTES;
    shadow_init(&w->shadow, &window_ops, b, b->v, &w->pool, b->cache->page);
    w->shadow.page_flag_w4k = PAGE_WINDOW_W4K;
    b->window = w;
    return 0;
}

void window_mark_code(struct bt_cpu *b, uint64_t ppn)
{
    uint8_t *flags = &b->cache->page[ppn];
    if (*flags & PAGE_CODE) {
        return;
    }
    *flags |= PAGE_CODE;
    shadow_protect_ppn(&b->window->shadow, ppn);
    *flags &= (uint8_t)~PAGE_WINDOW_W4K;
    if (*flags & PAGE_SPACE_W) {
        uspace_protect_ppn(b, ppn);
    }
    bt_soft_flush(b);
}

void window_unmark_code(struct bt_cpu *b, uint64_t ppn)
{
    b->cache->page[ppn] &= (uint8_t)~PAGE_CODE;
}
