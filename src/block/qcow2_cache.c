/* Pages of L2 tables and refcount blocks: see qcow2_impl.h.
 *
 * A page belongs to one table of one kind. Clean pages go, oldest first, when there are more than
 * the limit; dirty ones stay until a commit has written them, which is due (qcache_is_full) before
 * they fill the cache. One step between two looks at qcache_is_full dirties few pages but for a
 * growing refcount table; the limit is therefore soft.
 */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdlib.h>

#define CACHE_BYTES (4u << 20)

static void list_init(struct qcow2_page *head)
{
    head->next = head->prev = head;
}

static void list_remove(struct qcow2_page *p)
{
    p->prev->next = p->next;
    p->next->prev = p->prev;
}

static void list_append(struct qcow2_page *head, struct qcow2_page *p)
{
    p->prev = head->prev;
    p->next = head;
    head->prev->next = p;
    head->prev = p;
}

static struct qcow2_page **bucket_of(const struct qcow2_cache *c, uint64_t off)
{
    uint64_t hash = (off / c->page_size) * 0x9e3779b97f4a7c15ull;
    return &c->bucket[(hash >> 32) & (c->buckets - 1)];
}

int qcache_init(struct qcow2_cache *c, uint32_t page_size)
{
    *c = (struct qcow2_cache){.page_size = page_size, .limit = CACHE_BYTES / page_size};
    list_init(&c->clean);
    list_init(&c->dirty);
    c->buckets = c->limit;
    c->bucket = calloc(c->buckets, sizeof(struct qcow2_page *));
    return c->bucket ? 0 : -ENOMEM;
}

static void forget(struct qcow2_cache *c, struct qcow2_page *p)
{
    struct qcow2_page **at = bucket_of(c, p->off);
    while (*at != p) {
        at = &(*at)->chain;
    }
    *at = p->chain;
    list_remove(p);
    c->dirty_pages -= p->dirty;
    c->pages--;
    free(p);
}

void qcache_fini(struct qcow2_cache *c)
{
    while (c->bucket && c->clean.next != &c->clean) {
        forget(c, c->clean.next);
    }
    while (c->bucket && c->dirty.next != &c->dirty) {
        forget(c, c->dirty.next);
    }
    free(c->bucket);
    c->bucket = NULL;
}

static struct qcow2_page *look_up(const struct qcow2_cache *c, uint64_t off)
{
    struct qcow2_page *p = *bucket_of(c, off);
    while (p && p->off != off) {
        p = p->chain;
    }
    return p;
}

int qcache_get(struct qcow2 *q, enum page_kind kind, uint64_t off, struct qcow2_page **out)
{
    struct qcow2_cache *c = &q->cache;
    off = align_down(off, c->page_size);
    struct qcow2_page *p = look_up(c, off);
    if (p && p->kind != kind) {
        return qcow2_corrupt(q, "an L2 table and a refcount block are both at byte %llu",
                             (unsigned long long)off);
    }
    if (p) {
        if (!p->dirty) {
            list_remove(p);
            list_append(&c->clean, p);
        }
        *out = p;
        return 0;
    }
    if (c->pages >= c->limit && c->clean.next != &c->clean) {
        forget(c, c->clean.next);
    }
    p = malloc(sizeof(*p) + c->page_size);
    if (!p) {
        return -ENOMEM;
    }
    *p = (struct qcow2_page){.off = off, .kind = (uint8_t)kind, .bytes = (uint8_t *)(p + 1)};
    int rc = qcow2_io_read(&q->file.io, off, p->bytes, c->page_size);
    if (rc) {
        free(p);
        return rc;
    }
    struct qcow2_page **bucket = bucket_of(c, off);
    p->chain = *bucket;
    *bucket = p;
    list_append(&c->clean, p);
    c->pages++;
    *out = p;
    return 0;
}

void qcache_mark_dirty(struct qcow2_cache *c, struct qcow2_page *p)
{
    if (!p->dirty) {
        p->dirty = true;
        c->dirty_pages++;
        list_remove(p);
        list_append(&c->dirty, p);
    }
}

void qcache_mark_clean(struct qcow2_cache *c, struct qcow2_page *p)
{
    if (p->dirty) {
        p->dirty = false;
        c->dirty_pages--;
        list_remove(p);
        list_append(&c->clean, p);
    }
}

void qcache_drop(struct qcow2 *q, uint64_t cluster)
{
    uint64_t off = offset_of(q, cluster), end = off + q->cluster;
    for (; off < end; off += q->cache.page_size) {
        struct qcow2_page *p = look_up(&q->cache, off);
        if (p) {
            forget(&q->cache, p);
        }
    }
}

bool qcache_is_full(const struct qcow2_cache *c)
{
    return c->dirty_pages > c->limit / 2;
}
