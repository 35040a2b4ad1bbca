/* Implementation of spec.h. No state. */
#include "block/spec.h"

#include "block/impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

bool spec_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool spec_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

const char *spec_word_end(const char *s, const char *end)
{
    if (s < end && *s == '[') {
        unsigned depth = 0;
        do {
            depth += *s == '[';
            depth -= *s == ']';
            if (++s > end) {
                return NULL;
            }
        } while (depth > 0);
        return s == end || *s == ',' ? s : NULL;
    }
    while (s < end && (*s != ',' || (s + 1 < end && s[1] == ','))) {
        s += *s == ',' ? 2 : 1;
    }
    return s;
}

char *spec_word_copy(const char *s, const char *end)
{
    char *copy = malloc((size_t)(end - s) + 1), *to = copy;
    while (copy && s < end) {
        s += *s == ',' && s + 1 < end && s[1] == ',';
        *to++ = *s++;
    }
    if (copy) {
        *to = '\0';
    }
    return copy;
}

uint64_t spec_number(const char *text, uint64_t base)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    if (text[0] < '0' || text[0] > '9') {
        return 0;
    }
    unsigned long long n = strtoull(text, &end, 10);
    if (errno) {
        return 0;
    }
    char letter = (char)(*end & ~0x20); /* either case */
    const char *unit = letter ? strchr(units, letter) : NULL;
    for (const char *u = units; unit && u <= unit; u++) {
        if (__builtin_mul_overflow(n, base, &n)) {
            return 0;
        }
    }
    end += unit != NULL;
    return *end == '\0' && n <= INT64_MAX ? n : 0;
}

/* ---- kinds ---- */

enum spec_kind spec_kind(const char *spec)
{
    return spec_starts(spec, "concat:")   ? SPEC_CONCAT
           : spec_starts(spec, "stripe:") ? SPEC_STRIPE
           : spec_starts(spec, "mirror:") ? SPEC_MIRROR
                                          : SPEC_LEAF;
}

size_t spec_unknown_kind(const char *spec)
{
    size_t n = strspn(spec, "abcdefghijklmnopqrstuvwxyz0123456789");
    bool is_word = n > 0 && spec[n] == ':' && !spec_starts(spec + n, "://");
    return is_word && spec_kind(spec) == SPEC_LEAF ? n + 1 : 0;
}

const char *spec_legs(const char *spec, uint64_t *chunk, struct block_error *err)
{
    char size[24];
    const char *legs = strchr(spec, ':') + 1;
    if (spec_kind(spec) != SPEC_STRIPE) {
        return legs;
    }
    size_t n = strcspn(legs, ":,/");
    snprintf(size, sizeof(size), "%.*s", (int)min_u64(n, sizeof(size) - 1), legs);
    *chunk = n < sizeof(size) && legs[n] == ':' ? spec_number(size, 1024) : 0;
    if (*chunk == 0) {
        (void)block_fail(err, "%s: say how large a stripe is: stripe:64K:FILE,FILE", spec);
        return NULL;
    }
    return legs + n + 1;
}
