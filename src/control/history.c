/* A ring of console output: see history.h. */
#include "control/history.h"

#include "base/string.h"

void history_add(struct history *h, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    while (len) {
        size_t at = h->total % HISTORY_SIZE;
        size_t n = min_u64(len, HISTORY_SIZE - at);
        memcpy(h->bytes + at, from, n);
        h->total += n;
        from += n;
        len -= n;
    }
}

uint64_t history_tail(const struct history *h, unsigned lines, size_t bytes)
{
    uint64_t most = min_u64(min_u64(bytes, HISTORY_SIZE), h->total);
    unsigned ends = 0;
    for (uint64_t back = 1; back <= most; back++) {
        uint8_t b = h->bytes[(h->total - back) % HISTORY_SIZE];
        if (b == '\n' && back > 1 && ++ends == lines) {
            return h->total - back + 1;
        }
    }
    return lines ? h->total - most : h->total;
}

size_t history_span(const struct history *h, uint64_t *cursor, const uint8_t **bytes,
                    uint64_t *lost)
{
    uint64_t kept = min_u64(h->total, HISTORY_SIZE);
    *lost = 0;
    if (h->total - *cursor > kept) {
        *lost = h->total - kept - *cursor;
        *cursor += *lost;
    }
    size_t at = *cursor % HISTORY_SIZE;
    *bytes = h->bytes + at;
    return min_u64(h->total - *cursor, HISTORY_SIZE - at);
}
