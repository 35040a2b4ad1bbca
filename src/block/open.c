/* block_open: from what people write (spec.h) to a disk. State: none but struct opening, for the
 * time of one call. */
#include "block/impl.h"
#include "block/mirror.h"
#include "block/qcow2.h"
#include "block/spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEGS_MAX 64u
#define LEAVES_MAX 128u
#define DEPTH_MAX 4u

struct leaf {
    uint64_t device, inode; /* of a file */
    char *uri;              /* of something else; owned */
};

struct opening {
    const struct block_options *o;
    struct block_error *err;
    unsigned depth;
    bool for_mirror; /* what is being opened is a leg of a mirror */
    unsigned leaf_count;
    struct leaf leaf[LEAVES_MAX];
};

static bool is_nbd(const char *path)
{
    return spec_starts(path, "nbd://") || spec_starts(path, "nbd+unix://") ||
           spec_starts(path, "nbds://") || spec_starts(path, "nbds+unix://");
}

/* Each leaf once: the same file twice, under whatever names, would be written from two sides. */
static int note_leaf(struct opening *op, const char *path)
{
    struct leaf leaf = {0};
    struct stat st;
    if (op->leaf_count == LEAVES_MAX) {
        return block_fail(op->err, "more than %u files in one disk", LEAVES_MAX);
    }
    if (is_nbd(path)) {
        leaf.uri = strdup(path);
    } else if (stat(path, &st) == 0) {
        bool device = S_ISBLK(st.st_mode);
        leaf = (struct leaf){.device = device ? st.st_rdev : st.st_dev,
                             .inode = device ? 0 : st.st_ino};
    } else {
        return 0; /* opening it will say more */
    }
    for (unsigned i = 0; i < op->leaf_count; i++) {
        const struct leaf *l = &op->leaf[i];
        if (leaf.uri ? l->uri && strcmp(l->uri, leaf.uri) == 0
                     : !l->uri && l->device == leaf.device && l->inode == leaf.inode) {
            free(leaf.uri);
            return block_fail(op->err, "%s is named twice: each leg needs an image of its own",
                              path);
        }
    }
    op->leaf[op->leaf_count++] = leaf;
    return 0;
}

static int open_nbd(struct opening *op, const char *uri, struct block **out)
{
    if (op->depth == 0 && op->o->format && strcmp(op->o->format, "raw") != 0) {
        return block_fail(op->err,
                          "%s: format=%s is for files: the server says what an NBD disk is", uri,
                          op->o->format);
    }
    return nbd_open(uri, op->o, out, op->err);
}

/* A raw image that nobody called raw must not begin like another format: it may be one. */
static int open_raw(struct opening *op, const char *path, struct block **out)
{
    uint8_t start[BLOCK_SECTOR];
    struct block *b;
    if (raw_open(path, op->o, &b, op->err)) {
        return -1;
    }
    int rc = op->o->format ? 0 : block_read_buf(b, 0, start, sizeof(start));
    if (rc) {
        (void)block_fail(op->err, "%s: %s", path, strerror(-rc));
    } else if (!op->o->format && qcow2_probe(start, sizeof(start))) {
        rc = block_fail(
            op->err,
            "%s begins like a qcow2 image: say format=qcow2, or format=raw to use it as it is",
            path);
    } else if (op->depth == 0 && op->o->allow_backing) {
        rc = block_fail(op->err, "%s is a raw image: backing is for qcow2", path);
    }
    if (rc) {
        block_close(b);
        return -1;
    }
    *out = b;
    return 0;
}

static int open_file(struct opening *op, const char *path, struct block **out)
{
    const char *format = op->o->format               ? op->o->format
                         : spec_ends(path, ".qcow2") ? "qcow2"
                                                     : "raw";
    int rc = strcmp(format, "qcow2") == 0 ? qcow2_open(path, op->o, out, op->err)
                                          : open_raw(op, path, out);
    if (rc && op->depth == 0 && access(path, F_OK) && errno == ENOENT) {
        return spec_unknown_kind(path)
                   ? block_fail_gone(op->err, "%s: no such file, and " SPEC_KINDS_TEXT, path)
                   : block_fail_gone(op->err, "%s: no such file (ring3 image create makes one)",
                                     path);
    }
    return rc;
}

/* A leg of a mirror that is written by itself is not what the other legs hold any more, and nobody
 * would know. */
static int check_no_leg(struct opening *op, struct block *b, const char *path)
{
    if (op->for_mirror || op->o->allow_leg || op->o->read_only || op->o->format ||
        !mirror_has_mark(b)) {
        return 0;
    }
    return block_fail(op->err,
                      "%s is a leg of a mirror: open it as mirror:%s, or only to read (ro); "
                      "format=raw or qcow2 ignores the mark",
                      path, path);
}

static int open_leaf(struct opening *op, const char *s, const char *end, struct block **out)
{
    char *path = spec_word_copy(s, end);
    struct block *b = NULL;
    int rc = -1;
    if (!path) {
        return block_fail(op->err, "no memory");
    }
    if (path[0] == '\0') {
        (void)block_fail(op->err, "a leg without a name: there is a comma too many");
    } else if (op->depth > 0 && spec_kind(path) != SPEC_LEAF) {
        (void)block_fail(
            op->err, "a leg made of several stands in brackets: [%s] (a file of that name: ./%s)",
            path, path);
    } else if (!is_nbd(path) && strstr(path, "://") &&
               path[strspn(path, "abcdefghijklmnopqrstuvwxyz+")] == ':') {
        (void)block_fail(op->err,
                         "%s: of addresses only nbd:// and nbd+unix:// are known: nbdkit and "
                         "qemu-nbd serve others so",
                         path);
    } else {
        rc = note_leaf(op, path);
        rc = rc ? rc : is_nbd(path) ? open_nbd(op, path, &b) : open_file(op, path, &b);
    }
    if (rc == 0 && b && check_no_leg(op, b, path)) {
        block_close(b);
        rc = -1;
    }
    if (rc == 0 && b) {
        b->report = op->o->report;
        b->report_ctx = op->o->report_ctx;
        *out = b;
    }
    free(path);
    return rc;
}

static int open_disk(struct opening *op, const char *spec, const char *end, struct block **out);

/* The legs of a composite as they are opened. */
struct legs {
    struct block *leg[LEGS_MAX];
    struct block_error *lost; /* for each that is NULL; allocated */
    unsigned count;
};

static int open_legs(struct opening *op, const char *s, const char *end, bool mirror,
                     struct legs *legs)
{
    for (;; s++) {
        const char *stop = spec_word_end(s, end);
        if (!stop) {
            return block_fail(op->err, "%.*s: brackets do not match", (int)(end - s), s);
        }
        if (legs->count == LEGS_MAX) {
            return block_fail(op->err, "more than %u legs", LEGS_MAX);
        }
        *op->err = (struct block_error){.gone = false};
        int rc = *s == '[' ? open_disk(op, s + 1, stop - 1, &legs->leg[legs->count])
                           : open_leaf(op, s, stop, &legs->leg[legs->count]);
        if (rc && (!mirror || !op->err->gone)) {
            return -1;
        }
        if (rc) {
            legs->leg[legs->count] = NULL;
            legs->lost[legs->count] = *op->err;
        }
        legs->count++;
        s = stop;
        if (s == end) {
            return 0;
        }
    }
}

/* Put the legs together; they are gone then, also on failure. */
static int compose(struct opening *op, enum spec_kind kind, uint64_t chunk, struct legs *legs,
                   struct block **out)
{
    switch (kind) {
    case SPEC_CONCAT: return concat_open(legs->leg, legs->count, out, op->err);
    case SPEC_STRIPE: return stripe_open(legs->leg, legs->count, chunk, out, op->err);
    default: return mirror_assemble(legs->leg, legs->lost, legs->count, op->o, out, op->err);
    }
}

static int open_composite(struct opening *op, const char *spec, const char *end, struct block **out)
{
    enum spec_kind kind = spec_kind(spec);
    uint64_t chunk = 0;
    const char *s = spec_legs(spec, &chunk, op->err);
    struct legs legs = {.lost = calloc(LEGS_MAX, sizeof(struct block_error))};
    int rc = s && legs.lost ? 0 : -1;
    if (s && !legs.lost) {
        (void)block_fail(op->err, "no memory");
    }
    bool outer = op->for_mirror;
    op->for_mirror = kind == SPEC_MIRROR;
    op->depth++;
    rc = rc ? rc : open_legs(op, s, end, kind == SPEC_MIRROR, &legs);
    op->depth--;
    op->for_mirror = outer;
    if (rc == 0) {
        rc = compose(op, kind, chunk, &legs, out);
    } else {
        for (unsigned i = 0; i < legs.count; i++) {
            if (legs.leg[i]) {
                block_close(legs.leg[i]);
            }
        }
    }
    free(legs.lost);
    if (rc == 0) {
        struct block *b = *out;
        snprintf(b->name, sizeof(b->name), "%.*s", (int)(end - spec), spec);
        b->report = op->o->report;
        b->report_ctx = op->o->report_ctx;
    }
    return rc;
}

static int open_disk(struct opening *op, const char *spec, const char *end, struct block **out)
{
    if (op->depth == DEPTH_MAX) {
        return block_fail(op->err, "%.*s: disks in disks, more than %u deep", (int)(end - spec),
                          spec, DEPTH_MAX);
    }
    if (spec_kind(spec) == SPEC_LEAF && spec_word_end(*spec == '[' ? spec + 1 : spec, end) != end) {
        return block_fail(op->err, "%.*s: a comma in a name is doubled", (int)(end - spec), spec);
    }
    return spec_kind(spec) == SPEC_LEAF ? open_leaf(op, spec, end, out)
                                        : open_composite(op, spec, end, out);
}

int block_open(const char *spec, const struct block_options *o, struct block **out,
               struct block_error *err)
{
    struct opening op = {.o = o, .err = err};
    struct block *b = NULL;
    *err = (struct block_error){.gone = false};
    int rc = open_disk(&op, spec, spec + strlen(spec), &b);
    for (unsigned i = 0; i < op.leaf_count; i++) {
        free(op.leaf[i].uri);
    }
    if (rc == 0 && (o->iops || o->bps)) {
        rc = throttle_open(b, o->iops, o->bps, &b, err);
    }
    if (rc == 0) {
        *out = b;
    }
    return rc;
}
