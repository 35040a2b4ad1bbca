/* Implementation of mirror_meta.h. No state. A mark is believed only when all of it makes sense. */
#include "block/mirror_meta.h"

#include "block/impl.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <zlib.h>

#define VERSION 1u

static const char magic[8] = {'r', 'i', 'n', 'g', '3', 'm', 'i', 'r'};

struct mark_on_disk {
    char magic[8];
    uint32_t version, crc;
    uint8_t uuid[16];
    uint64_t size, events;
    uint32_t count, self, good, shift;
    uint64_t id[MIRROR_LEGS_MAX];
    uint64_t session;
    uint8_t zeros[MARK_SIZE - 136];
};
_Static_assert(sizeof(struct mark_on_disk) == MARK_SIZE, "mirror_meta.h");

uint64_t mark_offset(const struct block *leg)
{
    uint64_t end = align_down(leg->size, MARK_SLOT);
    return end > MIRROR_META_SIZE ? end - MIRROR_META_SIZE : 0;
}

static uint32_t checksum(struct mark_on_disk d)
{
    d.crc = 0;
    return (uint32_t)crc32(0, (const Bytef *)&d, sizeof(d));
}

static void encode(const struct mark *m, unsigned self, struct mark_on_disk *d)
{
    memset(d, 0, sizeof(*d));
    memcpy(d->magic, magic, sizeof(magic));
    memcpy(d->uuid, m->uuid, sizeof(d->uuid));
    d->version = htole32(VERSION);
    d->size = htole64(m->size);
    d->events = htole64(m->events);
    d->count = htole32(m->count);
    d->self = htole32(self);
    d->good = htole32(m->good);
    d->shift = htole32(m->shift);
    d->session = htole64(m->session);
    for (unsigned i = 0; i < MIRROR_LEGS_MAX; i++) {
        d->id[i] = htole64(m->id[i]);
    }
    d->crc = htole32(checksum(*d));
}

static bool decode(const struct mark_on_disk *d, uint64_t room, struct mark *m)
{
    if (memcmp(d->magic, magic, sizeof(magic)) != 0 || le32toh(d->version) != VERSION ||
        le32toh(d->crc) != checksum(*d)) {
        return false;
    }
    memcpy(m->uuid, d->uuid, sizeof(m->uuid));
    m->size = le64toh(d->size);
    m->events = le64toh(d->events);
    m->count = le32toh(d->count);
    m->self = le32toh(d->self);
    m->good = le32toh(d->good);
    m->shift = le32toh(d->shift);
    m->session = le64toh(d->session);
    for (unsigned i = 0; i < MIRROR_LEGS_MAX; i++) {
        m->id[i] = le64toh(d->id[i]);
    }
    return m->count >= 1 && m->count <= MIRROR_LEGS_MAX && m->self < m->count &&
           m->good >> m->count == 0 && m->size > 0 && m->size <= room && m->size % MARK_SLOT == 0 &&
           m->shift >= MIRROR_SHIFT_MIN && m->shift < 63 &&
           (m->size - 1) >> m->shift < MIRROR_REGIONS_MAX && m->events < UINT64_MAX / 2 &&
           m->session < UINT64_MAX / 2;
}

bool mark_newer(const struct mark *x, const struct mark *y)
{
    return x->events != y->events ? x->events > y->events : x->session > y->session;
}

int mark_read(struct block *leg, struct mark *m, unsigned *slot)
{
    uint64_t at = mark_offset(leg);
    int found = 0;
    for (unsigned i = 0; i < 2 && at > 0; i++) {
        struct mark_on_disk d;
        struct mark one;
        int err = block_read_buf(leg, at + (uint64_t)i * MARK_SLOT, &d, sizeof(d));
        if (err) {
            return err;
        }
        if (decode(&d, at, &one) && (!found || mark_newer(&one, m))) {
            *m = one;
            *slot = i;
            found = 1;
        }
    }
    return found;
}

int mark_write(struct block *leg, const struct mark *m, unsigned self, unsigned slot)
{
    struct mark_on_disk d;
    encode(m, self, &d);
    int err = block_write_buf(leg, mark_offset(leg) + (uint64_t)slot * MARK_SLOT, &d, sizeof(d));
    return err ? err : block_flush(leg);
}

static void random_bytes(void *to, size_t len)
{
    uint8_t *at = to;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

uint64_t mark_new_id(void)
{
    uint64_t id;
    random_bytes(&id, sizeof(id));
    return id;
}

void mark_create(struct mark *m, unsigned count, uint64_t size)
{
    *m = (struct mark){.size = size, .events = 1, .count = count, .good = (1u << count) - 1};
    m->shift = MIRROR_SHIFT_USUAL;
    while ((size - 1) >> m->shift >= MIRROR_REGIONS_MAX) {
        m->shift++;
    }
    random_bytes(m->uuid, sizeof(m->uuid));
    for (unsigned i = 0; i < count; i++) {
        m->id[i] = mark_new_id();
    }
}

int mirror_bitmap_read(struct block *leg, uint8_t bitmap[MIRROR_BITMAP_SIZE])
{
    return block_read_buf(leg, mark_offset(leg) + MIRROR_BITMAP_OFFSET, bitmap, MIRROR_BITMAP_SIZE);
}

int mirror_bitmap_write(struct block *leg, uint8_t bitmap[MIRROR_BITMAP_SIZE])
{
    return block_write_buf(leg, mark_offset(leg) + MIRROR_BITMAP_OFFSET, bitmap,
                           MIRROR_BITMAP_SIZE);
}

int mirror_is_zero(struct block *b, uint64_t off, uint64_t len, uint8_t *buf)
{
    while (len > 0) {
        uint64_t piece = align_down(block_zero_run(b, off, len), BLOCK_SECTOR);
        if (piece == 0) {
            piece = min_u64(len, MIRROR_BUFFER);
            int err = block_read_buf(b, off, buf, piece);
            if (err) {
                return err;
            }
            if (buf[0] || memcmp(buf, buf + 1, piece - 1) != 0) {
                return 0;
            }
        }
        off += piece;
        len -= piece;
    }
    return 1;
}

bool mirror_has_mark(struct block *leg)
{
    struct mark m;
    unsigned slot;
    return mark_read(leg, &m, &slot) > 0;
}

int mirror_describe(struct block *leg, char *line, size_t size)
{
    struct mark m = {0};
    unsigned slot;
    line[0] = '\0';
    int found = mark_read(leg, &m, &slot);
    if (found <= 0) {
        return found;
    }
    int n = snprintf(line, size,
                     "leg %u of %u of mirror %02x%02x%02x%02x, %llu bytes, change %llu, good legs:",
                     m.self + 1, m.count, m.uuid[0], m.uuid[1], m.uuid[2], m.uuid[3],
                     (unsigned long long)m.size, (unsigned long long)m.events);
    for (unsigned i = 0; i < m.count && n > 0 && (size_t)n < size; i++) {
        if (bit(m.good, i)) {
            n += snprintf(line + n, size - (size_t)n, " %u", i + 1);
        }
    }
    return 0;
}
