/* See fake_disk.h. */
#include "fake_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define UNFLUSHED_MAX 0x100000u

struct fake_disk {
    struct block b;
    struct fake_medium *m;
};

uint64_t fake_random(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* ---- the medium ---- */

static void *pages(uint64_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) {
        abort();
    }
    return p;
}

void fake_medium_init(struct fake_medium *m, const char *name, uint64_t size)
{
    *m = (struct fake_medium){.size = size, .stable = pages(size), .cache = pages(size)};
    m->unflushed = pages(UNFLUSHED_MAX * sizeof(uint64_t));
    snprintf(m->name, sizeof(m->name), "%s", name);
}

void fake_medium_fini(struct fake_medium *m)
{
    munmap(m->stable, m->size);
    munmap(m->cache, m->size);
    munmap(m->unflushed, UNFLUSHED_MAX * sizeof(uint64_t));
}

static void settle(struct fake_medium *m, uint64_t sector, bool keep)
{
    uint8_t *stable = m->stable + sector * BLOCK_SECTOR, *cache = m->cache + sector * BLOCK_SECTOR;
    memcpy(keep ? stable : cache, keep ? cache : stable, BLOCK_SECTOR);
}

void fake_medium_crash(struct fake_medium *m, uint64_t *seed, bool keep_all)
{
    for (unsigned i = 0; i < m->unflushed_count; i++) {
        settle(m, m->unflushed[i], keep_all || (fake_random(seed) & 1));
    }
    m->unflushed_count = 0;
    m->open = false;
}

bool fake_plug_run(struct fake_plug *plug, unsigned left, void (*fn)(void *ctx), void *ctx)
{
    plug->left = left;
    if (setjmp(plug->where)) {
        return false;
    }
    fn(ctx);
    plug->left = 0;
    return true;
}

/* Whether the plug is pulled now. */
static bool pulled(struct fake_medium *m)
{
    return m->plug && m->plug->left > 0 && --m->plug->left == 0;
}

/* ---- the disk ---- */

static struct fake_medium *medium(struct block *b)
{
    return ((struct fake_disk *)b)->m;
}

static int fake_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                     uint64_t len)
{
    struct fake_medium *m = medium(b);
    m->reads++;
    if (m->fail_reads || (off < m->bad_to && off + len > m->bad_from)) {
        return -EIO;
    }
    vec_scatter(vec, n, 0, m->cache + off, len);
    return 0;
}

/* Note the sectors of [off, +len) as written. */
static void wrote(struct fake_medium *m, uint64_t off, uint64_t len)
{
    for (uint64_t s = off / BLOCK_SECTOR; s < (off + len) / BLOCK_SECTOR; s++) {
        if (m->unflushed_count == UNFLUSHED_MAX) {
            abort();
        }
        m->unflushed[m->unflushed_count++] = s;
    }
    if (off <= m->bad_from && off + len >= m->bad_to) {
        m->bad_from = m->bad_to = 0;
    }
}

static int fake_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                      uint64_t len)
{
    struct fake_medium *m = medium(b);
    bool last = pulled(m);
    m->writes++;
    if (m->fail_writes && !last) {
        return -EIO;
    }
    uint64_t part =
        last ? fake_random(&m->plug->seed) % (len / BLOCK_SECTOR + 1) * BLOCK_SECTOR : len;
    vec_gather(vec, n, 0, m->cache + off, part);
    wrote(m, off, part);
    if (last) {
        longjmp(m->plug->where, 1);
    }
    return 0;
}

static int fake_flush(struct block *b)
{
    struct fake_medium *m = medium(b);
    if (pulled(m)) {
        longjmp(m->plug->where, 1);
    }
    m->flushes++;
    if (m->fail_flushes) {
        return -EIO;
    }
    for (unsigned i = 0; i < m->unflushed_count; i++) {
        settle(m, m->unflushed[i], true);
    }
    m->unflushed_count = 0;
    return 0;
}

static int fake_discard(struct block *b, uint64_t off, uint64_t len)
{
    struct fake_medium *m = medium(b);
    m->discards++;
    memset(m->cache + off, 0xdd, len);
    wrote(m, off, len);
    return 0;
}

static int fake_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
    struct fake_medium *m = medium(b);
    (void)unmap;
    m->zeroes++;
    return m->fail_writes ? -EIO : block_zero_by_writing(b, off, len);
}

static void fake_close(struct block *b)
{
    struct fake_medium *m = medium(b);
    m->open = false;
    free(b);
}

static const struct block_ops fake_ops = {
    .format = "fake",
    .read = fake_read,
    .write = fake_write,
    .flush = fake_flush,
    .discard = fake_discard,
    .write_zeroes = fake_write_zeroes,
    .close = fake_close,
};

struct block *fake_disk_open(struct fake_medium *m)
{
    struct fake_disk *d = calloc(1, sizeof(*d));
    if (!d || m->open) {
        abort();
    }
    block_init(&d->b, &fake_ops, m->name, m->size);
    d->b.read_only = m->read_only;
    d->m = m;
    m->open = true;
    return &d->b;
}
