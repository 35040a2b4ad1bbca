/* See disk_model.h. */
#include "disk_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST 96u /* sectors a request, mostly */

size_t model_size(uint64_t sectors)
{
    return sizeof(struct disk_model) + sectors * sizeof(struct model_sector);
}

void model_init(struct disk_model *m, uint64_t sectors, uint64_t backed, uint64_t seed)
{
    memset(m, 0, model_size(sectors));
    m->sectors = sectors;
    m->random = seed * 2 + 1;
    for (uint64_t i = 0; i < backed; i++) {
        m->sector[i].now = m->sector[i].flushed = MODEL_BACKING + (uint32_t)i;
    }
}

uint64_t model_random(struct disk_model *m, uint64_t below)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (m->random >> 11) % below;
}

void model_fill(uint8_t *sector, uint32_t stamp)
{
    for (unsigned i = 0; i < BLOCK_SECTOR / 4; i++) {
        uint32_t word = stamp ? stamp + i * 0x9e3779b9u : 0;
        memcpy(sector + i * 4, &word, 4);
    }
}

static uint32_t stamp_of(const uint8_t *sector)
{
    uint8_t expected[BLOCK_SECTOR];
    uint32_t stamp;
    memcpy(&stamp, sector, 4);
    model_fill(expected, stamp);
    return memcmp(expected, sector, BLOCK_SECTOR) ? MODEL_ANY : stamp;
}

/** From now on the sector may hold this. */
static void note_pending(struct model_sector *s, uint32_t stamp)
{
    if (s->pending_count == MODEL_PENDING) {
        s->pending[0] = MODEL_ANY;
    } else {
        s->pending[s->pending_count++] = stamp;
    }
}

int model_write(struct disk_model *m, struct block *b, uint64_t first, uint64_t count)
{
    uint8_t *buf = malloc(count * BLOCK_SECTOR);
    struct io_vec vec[4] = {{0}};
    unsigned n = 0;
    if (!buf) {
        abort();
    }
    for (uint64_t i = 0; i < count; i++) {
        note_pending(&m->sector[first + i], m->next_stamp + 1 + (uint32_t)i);
        model_fill(buf + i * BLOCK_SECTOR, m->next_stamp + 1 + (uint32_t)i);
    }
    size_t at = 0, len = count * BLOCK_SECTOR;
    for (; n < 3 && at < len; n++) { /* in odd pieces */
        vec[n] = (struct io_vec){.base = buf + at, .len = 1 + model_random(m, len - at)};
        at += vec[n].len;
    }
    if (at < len) {
        vec[n++] = (struct io_vec){.base = buf + at, .len = len - at};
    }
    int rc = block_write(b, first * BLOCK_SECTOR, vec, n);
    for (uint64_t i = 0; i < count; i++) { /* a failed write may have done a part */
        m->sector[first + i].now = rc ? MODEL_ANY : m->next_stamp + 1 + (uint32_t)i;
    }
    m->next_stamp += (uint32_t)count;
    free(buf);
    return rc;
}

static int zero(struct disk_model *m, struct block *b, uint64_t first, uint64_t count, bool unmap)
{
    for (uint64_t i = 0; i < count; i++) {
        note_pending(&m->sector[first + i], 0);
    }
    int rc = block_write_zeroes(b, first * BLOCK_SECTOR, count * BLOCK_SECTOR, unmap);
    for (uint64_t i = 0; i < count; i++) {
        m->sector[first + i].now = rc ? MODEL_ANY : 0;
    }
    return rc;
}

static int discard(struct disk_model *m, struct block *b, uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        note_pending(&m->sector[first + i], MODEL_ANY);
    }
    int rc = block_discard(b, first * BLOCK_SECTOR, count * BLOCK_SECTOR);
    for (uint64_t i = 0; i < count; i++) {
        m->sector[first + i].now = MODEL_ANY;
    }
    return rc;
}

int model_flush(struct disk_model *m, struct block *b)
{
    int rc = block_flush(b);
    for (uint64_t i = 0; i < m->sectors && !rc; i++) {
        m->sector[i].flushed = m->sector[i].now;
        __asm__ volatile("" ::: "memory"); /* a child may die between the two */
        m->sector[i].pending_count = 0;
    }
    m->flushes += !rc;
    return rc;
}

/** Whether a sector read as `got` is right; the first that is not is printed. */
static unsigned judge(struct disk_model *m, uint64_t i, uint32_t got, bool crashed)
{
    struct model_sector *s = &m->sector[i];
    bool good = crashed ? s->flushed == got || s->flushed == MODEL_ANY
                        : s->now == got || s->now == MODEL_ANY;
    for (uint32_t p = 0; crashed && p < s->pending_count; p++) {
        good |= s->pending[p] == got || s->pending[p] == MODEL_ANY;
    }
    if (!good) {
        printf("sector %llu holds %u instead of %u (flushed %u, %u since)\n", (unsigned long long)i,
               got, s->now, s->flushed, s->pending_count);
    }
    if (crashed) {
        s->now = s->flushed = got;
        s->pending_count = 0;
    }
    return !good;
}

unsigned model_verify(struct disk_model *m, struct block *b, bool crashed)
{
    static uint8_t buf[64 * BLOCK_SECTOR];
    unsigned wrong = 0;
    for (uint64_t i = 0; i < m->sectors && !wrong; i += 64) {
        uint64_t count = min_u64(64, m->sectors - i);
        const struct io_vec vec = {.base = buf, .len = count * BLOCK_SECTOR};
        int rc = (m->read ? m->read : block_read)(b, i * BLOCK_SECTOR, &vec, 1);
        if (rc) {
            printf("sector %llu cannot be read: %d\n", (unsigned long long)i, rc);
            return 1;
        }
        for (uint64_t j = 0; j < count && !wrong; j++) {
            wrong += judge(m, i + j, stamp_of(buf + j * BLOCK_SECTOR), crashed);
        }
    }
    return wrong;
}

int model_step(struct disk_model *m, struct block *b)
{
    uint64_t count = 1 + model_random(m, model_random(m, 16) ? LONGEST : 2000);
    uint64_t first = model_random(m, m->sectors);
    count = min_u64(count, m->sectors - first);
    m->step++;
    switch (model_random(m, 16)) {
    case 0: return model_flush(m, b);
    case 1:
    case 2: return zero(m, b, first, count, model_random(m, 2));
    case 3:
    case 4: return discard(m, b, first, count);
    default: return model_write(m, b, first, count);
    }
}

/* ---- the backing disk ---- */

static int backing_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                        uint64_t len)
{
    uint8_t sector[BLOCK_SECTOR];
    uint64_t have = UINT64_MAX;
    (void)b;
    (void)len;
    for (unsigned i = 0; i < n; i++) {
        for (size_t at = 0; at < vec[i].len; at++, off++) {
            if (off / BLOCK_SECTOR != have) {
                have = off / BLOCK_SECTOR;
                model_fill(sector, MODEL_BACKING + (uint32_t)have);
            }
            vec[i].base[at] = sector[off % BLOCK_SECTOR];
        }
    }
    return 0;
}

static void backing_close(struct block *b)
{
    free(b);
}

static const struct block_ops backing_ops = {
    .format = "model", .read = backing_read, .close = backing_close};

struct block *model_backing(uint64_t sectors)
{
    struct block *b = calloc(1, sizeof(*b));
    if (!b) {
        abort();
    }
    b->ops = &backing_ops;
    b->size = sectors * BLOCK_SECTOR;
    b->read_only = true;
    return b;
}

void model_write_backing(struct block *b, uint64_t sectors)
{
    uint8_t sector[BLOCK_SECTOR];
    const struct io_vec vec = {.base = sector, .len = sizeof(sector)};
    for (uint64_t i = 0; i < sectors; i++) {
        model_fill(sector, MODEL_BACKING + (uint32_t)i);
        if (block_write(b, i * BLOCK_SECTOR, &vec, 1)) {
            abort();
        }
    }
}
