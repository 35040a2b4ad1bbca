/* The argument of -d: what to open, and options. The grammar is spec.h's. No state. */
#include "block/impl.h"
#include "block/spec.h"

#include <stdlib.h>
#include <string.h>

enum option { OPT_RO, OPT_BACKING, OPT_FORMAT, OPT_SERIAL, OPT_IOPS, OPT_BPS, OPT_NONE };
static const char *const option_names[OPT_NONE] = {
    "ro", "backing", "format=", "serial=", "iops=", "bps="};
#define OPTIONS_TEXT "ro, format=raw|qcow2, serial=TEXT, iops=N, bps=N, backing"

/* Which option the word is; *value: what follows the name. */
static enum option option_of(const char *word, const char **value)
{
    for (unsigned i = 0; i < OPT_NONE; i++) {
        const char *name = option_names[i];
        if (spec_ends(name, "=") ? spec_starts(word, name) : strcmp(word, name) == 0) {
            *value = word + strlen(name);
            return (enum option)i;
        }
    }
    return OPT_NONE;
}

/* Something like NAME=: letters and an equals sign. */
static bool looks_like_option(const char *word)
{
    size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyz_-");
    return n > 0 && word[n] == '=';
}

static int set_serial(struct block_options *o, const char *value, struct block_error *err)
{
    size_t n = strlen(value);
    for (const char *c = value; *c; c++) {
        if (*c <= ' ' || *c > '~') {
            return block_fail(err, "serial=%s: letters, digits and signs only, no blanks", value);
        }
    }
    if (n == 0 || n >= sizeof(o->serial)) {
        return block_fail(err, "serial=%s: a serial number has 1 to %u characters", value,
                          (unsigned)sizeof(o->serial) - 1);
    }
    memcpy(o->serial, value, n + 1);
    return 0;
}

static int set_format(struct block_options *o, const char *value, struct block_error *err)
{
    o->format = strcmp(value, "raw") == 0 ? "raw" : strcmp(value, "qcow2") == 0 ? "qcow2" : NULL;
    return o->format ? 0 : block_fail(err, "format=%s: there are raw and qcow2", value);
}

static int set_rate(uint64_t *rate, const char *name, const char *value, uint64_t base,
                    struct block_error *err)
{
    *rate = spec_number(value, base);
    return *rate ? 0 : block_fail(err, "%s%s: a number from 1 on, also with K, M, G", name, value);
}

static int set_option(struct block_options *o, const char *word, unsigned *seen,
                      struct block_error *err)
{
    const char *value;
    enum option which = option_of(word, &value);
    if (which == OPT_NONE) {
        return block_fail(err,
                          "\"%s\" is no option of a disk: there are " OPTIONS_TEXT
                          " (a comma in a name is doubled)",
                          word);
    }
    if (bit(*seen, which)) {
        return block_fail(err, "%s is given twice", word);
    }
    *seen |= 1u << which;
    switch (which) {
    case OPT_RO: o->read_only = true; return 0;
    case OPT_BACKING: o->allow_backing = true; return 0;
    case OPT_FORMAT: return set_format(o, value, err);
    case OPT_SERIAL: return set_serial(o, value, err);
    case OPT_IOPS: return set_rate(&o->iops, "iops=", value, 1000, err);
    case OPT_BPS: return set_rate(&o->bps, "bps=", value, 1024, err);
    default: return 0;
    }
}

/* One word after the first. Legs end where the first option is: *options is set then. */
static int parse_word(const char *s, const char *end, bool composite, const char **options,
                      struct block_options *o, unsigned *seen, struct block_error *err)
{
    const char *value;
    char *word = spec_word_copy(s, end);
    int rc = 0;
    if (!word) {
        return block_fail(err, "no memory");
    }
    if (!*options &&
        (!composite || option_of(word, &value) != OPT_NONE || looks_like_option(word))) {
        *options = s;
    }
    if (*options && composite && option_of(word, &value) == OPT_NONE && !looks_like_option(word)) {
        rc = block_fail(err, "%s comes after an option: legs come first, options last", word);
    } else if (*options) {
        rc = set_option(o, word, seen, err);
    }
    free(word);
    return rc;
}

/* raid5:A,B is meant as a disk of several: the word s is no option, nor is it like one. */
static bool is_leg_of_unknown(const char *arg, const char *s, const char *end)
{
    const char *value;
    char *word = spec_unknown_kind(arg) ? spec_word_copy(s, end) : NULL;
    bool is_leg = word && option_of(word, &value) == OPT_NONE && !looks_like_option(word);
    free(word);
    return is_leg;
}

int block_parse(const char *arg, char **spec, struct block_options *o, struct block_error *err)
{
    bool composite = spec_kind(arg) != SPEC_LEAF;
    uint64_t chunk;
    const char *first = composite ? spec_legs(arg, &chunk, err) : arg, *options = NULL;
    unsigned seen = 0;
    if (!first) {
        return -1;
    }
    const char *all = arg + strlen(arg);
    /* Only legs have brackets: here it belongs to a file's name. */
    bool plain_bracket = !composite && *first == '[';
    const char *end = spec_word_end(plain_bracket ? first + 1 : first, all);
    while (end && *end == ',') {
        const char *s = end + 1;
        end = spec_word_end(s, all);
        if (end && is_leg_of_unknown(arg, s, end)) {
            return block_fail(err, "%s: " SPEC_KINDS_TEXT " (a file of that name: ./%s)", arg, arg);
        }
        if (end && parse_word(s, end, composite, &options, o, &seen, err)) {
            return -1;
        }
    }
    if (!end) {
        return block_fail(
            err, "%s: a leg in brackets ends with ] and then a comma: mirror:[concat:A,B],C", arg);
    }
    size_t len = options ? (size_t)(options - 1 - arg) : strlen(arg);
    if (len == 0 || first == arg + len) {
        return block_fail(err, "\"%s\" names no file", arg);
    }
    *spec = strndup(arg, len);
    return *spec ? 0 : block_fail(err, "no memory");
}
