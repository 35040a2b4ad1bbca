/* Putting a mirror together: which legs belong to it, which are good, what a crash left to be
 * copied. mirror.h has the rules.
 *
 * Nothing is written before all marks were read and found to agree.
 */
#include "block/mirror_impl.h"

#include "block/impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct candidate {
    struct block *b;  /* NULL: not there */
    const char *lost; /* then why */
    bool marked;      /* mark and slot are set */
    struct mark mark;
    unsigned slot;
};

struct assembly {
    struct candidate leg[MIRROR_LEGS_MAX];
    unsigned count;
    struct mirror *m;
    const struct block_options *o;
    struct block_error *err;
};

static int no_read(struct assembly *a, const struct block *b, int rc)
{
    return block_fail(a->err, "mirror: %s cannot be read: %s", b->name, strerror(-rc));
}

/* Why the first missing leg is missing, or NULL: all are there. */
static const char *first_lost(const struct assembly *a)
{
    for (unsigned i = 0; i < a->count; i++) {
        if (!a->leg[i].b) {
            return a->leg[i].lost;
        }
    }
    return NULL;
}

/* ---- legs without marks ---- */

/* Room for the data and the mark, and nothing behind the data but zeros. */
static int check_end(struct assembly *a, struct block *b, uint64_t size)
{
    int rc = mirror_is_zero(b, size, b->size - size, a->m->buf);
    if (rc < 0) {
        return no_read(a, b, rc);
    }
    if (rc == 0 && mark_offset(b) > size) {
        return block_fail(
            a->err,
            "mirror: %s is longer than the other leg and has data there: legs hold the same",
            b->name);
    }
    if (rc == 0) {
        return block_fail(a->err,
                          "mirror: %s has data in its last 64 KB, where a mirror keeps its mark: "
                          "make each leg longer first (truncate -s +64K)",
                          b->name);
    }
    return 0;
}

/* Compare [off, +len) of two legs. 1: the same. */
static int same(struct assembly *a, struct block *x, struct block *y, uint64_t off, uint64_t len)
{
    uint8_t *half = a->m->buf + MIRROR_BUFFER / 2;
    int rc = block_read_buf(x, off, a->m->buf, len);
    if (rc) {
        return no_read(a, x, rc);
    }
    rc = block_read_buf(y, off, half, len);
    if (rc) {
        return no_read(a, y, rc);
    }
    return memcmp(a->m->buf, half, len) == 0;
}

static int check_same(struct assembly *a, struct block *x, struct block *y, uint64_t size)
{
    for (uint64_t off = 0, piece; off < size; off += piece) {
        piece = min_u64(block_zero_run(x, off, size - off), block_zero_run(y, off, size - off));
        piece = align_down(piece, BLOCK_SECTOR);
        if (piece == 0) {
            piece = min_u64(size - off, MIRROR_BUFFER / 2);
            int rc = same(a, x, y, off, piece);
            if (rc < 0) {
                return -1;
            }
            if (rc == 0) {
                return block_fail(
                    a->err,
                    "mirror: %s and %s hold different data and were no mirror before: copy the "
                    "right one over the other first: ring3 image rebuild RIGHT OTHER",
                    x->name, y->name);
            }
        }
    }
    return 0;
}

/* Make the legs a new mirror. */
static int create(struct assembly *a)
{
    struct mirror *m = a->m;
    uint64_t size = UINT64_MAX;
    if (first_lost(a)) {
        return block_fail_gone(a->err, "%s", first_lost(a));
    }
    if (a->count < 2) {
        return block_fail(a->err,
                          "mirror: %s is no leg of a mirror yet: a new mirror needs two legs",
                          a->leg[0].b->name);
    }
    if (a->o->read_only) {
        return block_fail(a->err,
                          "mirror: %s has no mark of a mirror yet: open it for writing once",
                          a->leg[0].b->name);
    }
    for (unsigned i = 0; i < a->count; i++) {
        size = min_u64(size, mark_offset(a->leg[i].b));
    }
    if (size == 0) {
        return block_fail(
            a->err, "mirror: each leg must be longer than 64 KB, which the mirror's mark needs");
    }
    for (unsigned i = 0; i < a->count; i++) {
        if (check_end(a, a->leg[i].b, size) ||
            (i > 0 && check_same(a, a->leg[0].b, a->leg[i].b, size))) {
            return -1;
        }
    }
    mark_create(&m->mark, a->count, size);
    for (unsigned i = 0; i < a->count; i++) {
        m->leg[i].b = a->leg[i].b;
        a->leg[i].b = NULL;
    }
    uint32_t all = m->mark.good;
    int rc = mirror_mark(m);
    if (rc || m->mark.good != all) {
        return block_fail(a->err, "mirror: a leg cannot be written: %s", strerror(rc ? -rc : EIO));
    }
    return 0;
}

/* ---- legs with marks ---- */

/* A crash while the mirror was being made, before it was ever used: it is made anew. */
static int forget_marks(struct assembly *a)
{
    for (unsigned i = 0; i < a->count; i++) {
        struct candidate *c = &a->leg[i];
        int rc = 0;
        if (c->marked && !a->o->read_only) {
            rc = block_write_zeroes(c->b, mark_offset(c->b), MIRROR_META_SIZE, false);
        }
        if (rc) {
            return block_fail(a->err, "mirror: %s cannot be written: %s", c->b->name,
                              strerror(-rc));
        }
    }
    return 0;
}

/* Read all marks. *newest: NULL when there is none. */
static int read_marks(struct assembly *a, const struct candidate **newest)
{
    *newest = NULL;
    for (unsigned i = 0; i < a->count; i++) {
        struct candidate *c = &a->leg[i];
        int rc = c->b ? mark_read(c->b, &c->mark, &c->slot) : 0;
        if (rc < 0) {
            return no_read(a, c->b, rc);
        }
        c->marked = rc > 0;
        if (c->marked && (!*newest || mark_newer(&c->mark, &(*newest)->mark))) {
            *newest = c;
        }
    }
    if (*newest && (*newest)->mark.session == 0) {
        *newest = NULL;
        return forget_marks(a);
    }
    return 0;
}

/* The member of `of` that c is, or -1. */
static int member(const struct mark *of, const struct candidate *c)
{
    for (unsigned i = 0; i < of->count; i++) {
        if (c->mark.id[c->mark.self] == of->id[i]) {
            return (int)i;
        }
    }
    return -1;
}

/* Whether x was written last by somebody who had done without c. */
static bool excludes(const struct candidate *x, const struct candidate *c)
{
    int at = member(&x->mark, c);
    return at < 0 || !bit(x->mark.good, (unsigned)at);
}

/* Whether c is a leg of newest's mirror, and knows nothing that newest should. */
static int check_pair(struct assembly *a, const struct candidate *newest, const struct candidate *c)
{
    const char *x = newest->b->name, *y = c->b->name;
    if (!c->marked) {
        return block_fail(
            a->err,
            "mirror: %s has no mark of a mirror, %s has: copy it first: ring3 image rebuild %s %s",
            y, x, x, y);
    }
    if (memcmp(newest->mark.uuid, c->mark.uuid, sizeof(c->mark.uuid)) != 0) {
        return block_fail(a->err, "mirror: %s and %s belong to different mirrors", x, y);
    }
    if (newest->mark.size != c->mark.size) {
        return block_fail(a->err, "mirror: %s and %s disagree on the mirror's size", x, y);
    }
    if (newest != c && excludes(newest, c) && excludes(c, newest) &&
        bit(c->mark.good, c->mark.self)) {
        return block_fail(a->err,
                          "mirror: %s and %s were each used without the other and differ: copy the "
                          "right one over the other: ring3 image rebuild RIGHT OTHER",
                          x, y);
    }
    return 0;
}

/* Whether c holds all data, says newest. A start counts sessions up by two: a leg that missed one
 * is an old copy of itself. */
static bool is_good(const struct candidate *newest, const struct candidate *c)
{
    return !excludes(newest, c) && bit(c->mark.good, c->mark.self) &&
           c->mark.session + 1 >= newest->mark.session;
}

/* Good legs become members, the others are only kept open. */
static int take_legs(struct assembly *a, const struct candidate *newest)
{
    struct mirror *m = a->m;
    unsigned strays = 0;
    m->mark = newest->mark;
    for (unsigned i = 0; i < a->count; i++) {
        struct candidate *c = &a->leg[i];
        if (!c->b) {
            continue;
        }
        int at = member(&newest->mark, c);
        bool good = is_good(newest, c);
        if (good && m->leg[at].b) {
            return block_fail(
                a->err,
                "mirror: %s and %s are the same leg, one a copy of the other: name one of them",
                m->leg[at].b->name, c->b->name);
        }
        if (good) {
            m->leg[at] = (struct mirror_leg){.b = c->b, .slot = c->slot};
        } else {
            m->stale[strays++] = c->b;
        }
        c->b = NULL;
    }
    return 0;
}

/* The legs to use. One that the newest mark calls good and that is not here has been left out by
 * whoever named only others; if it was named and could not be opened, nobody has decided that. */
static int choose_good(struct assembly *a, const char *lost)
{
    struct mirror *m = a->m;
    uint32_t good = 0;
    for (unsigned i = 0; i < m->mark.count; i++) {
        good |= m->leg[i].b ? 1u << i : 0;
    }
    if (good == 0) {
        const char *name = m->stale[0]->name;
        return block_fail(a->err,
                          "mirror: %s does not hold all the data, its rebuild was not finished: do "
                          "it again: ring3 image rebuild GOOD %s",
                          name, name);
    }
    if (good != m->mark.good && lost) {
        return block_fail(
            a->err, "%s; to go on without this leg of the mirror, name only the others", lost);
    }
    m->mark.good = good;
    return 0;
}

static void report_unused(const struct assembly *a, const char *lost)
{
    const struct mirror *m = a->m;
    const char *good = m->leg[__builtin_ctz(m->mark.good)].b->name;
    for (unsigned i = 0; i < MIRROR_LEGS_MAX && m->stale[i]; i++) {
        const char *name = m->stale[i]->name;
        block_report(&m->b,
                     "mirror: %s is stale and not used; repair it when the machine is off: ring3 "
                     "image rebuild %s %s",
                     name, good, name);
    }
    if (lost) {
        block_report(&m->b, "mirror: goes on without a leg that was lost before: %s", lost);
    } else if (!m->stale[0] && __builtin_popcount(m->mark.good) < (int)m->mark.count) {
        block_report(&m->b,
                     "mirror: runs without some of its legs, which must be rebuilt before they can "
                     "be used again: ring3 image rebuild %s LEG",
                     good);
    }
}

static int join(struct assembly *a, const struct candidate *newest)
{
    const char *lost = first_lost(a);
    for (unsigned i = 0; i < a->count; i++) {
        if (a->leg[i].b && check_pair(a, newest, &a->leg[i])) {
            return -1;
        }
    }
    if (take_legs(a, newest) || choose_good(a, lost)) {
        return -1;
    }
    report_unused(a, lost);
    return 0;
}

/* ---- open ---- */

/* From here on the legs have seen this start. Two steps: a crash in between leaves legs one step
 * apart, and only a leg that missed a whole start is further behind. */
static int begin_session(struct mirror *m)
{
    int err = 0;
    for (unsigned i = 0; i < 2 && !err; i++) {
        m->mark.session++;
        err = mirror_mark(m);
    }
    return err;
}

static int assemble(struct assembly *a)
{
    struct mirror *m = a->m;
    const struct candidate *newest;
    if (read_marks(a, &newest) || (newest ? join(a, newest) : create(a))) {
        return -1;
    }
    m->b.size = m->mark.size;
    for (unsigned i = 0; i < m->mark.count; i++) {
        m->b.optimal = m->leg[i].b && m->leg[i].b->optimal > m->b.optimal ? m->leg[i].b->optimal
                                                                          : m->b.optimal;
    }
    /* Legs left out are marked before the regions are cleared: the order in which a crash does no
     * harm. */
    int err = a->o->read_only ? mirror_choose_one(m) : begin_session(m);
    err = err || a->o->read_only ? err : mirror_resync(m);
    if (err) {
        return block_fail(a->err, "mirror: its legs cannot be put in order: %s", strerror(-err));
    }
    return 0;
}

static struct mirror *allocate(const struct block_options *o)
{
    struct mirror *m = calloc(1, sizeof(*m));
    if (!m) {
        return NULL;
    }
    block_init(&m->b, &mirror_ops, "mirror", 0);
    m->b.read_only = o->read_only;
    m->b.report = o->report;
    m->b.report_ctx = o->report_ctx;
    m->quiet_ns = MIRROR_QUIET_NS;
    m->buf = malloc(MIRROR_BUFFER);
    m->marked = calloc(1, MIRROR_BITMAP_SIZE);
    m->recent = calloc(1, MIRROR_BITMAP_SIZE);
    if (!m->buf || !m->marked || !m->recent) {
        mirror_free(m);
        return NULL;
    }
    return m;
}

int mirror_assemble(struct block **legs, const struct block_error *lost, unsigned count,
                    const struct block_options *o, struct block **out, struct block_error *err)
{
    struct assembly a = {.count = count, .o = o, .err = err};
    int rc = -1;
    if (count == 0 || count > MIRROR_LEGS_MAX) {
        (void)block_fail(err, "mirror: %u legs: there can be 1 to %u", count, MIRROR_LEGS_MAX);
    } else {
        a.m = allocate(o);
        rc = a.m ? 0 : block_fail(err, "mirror: no memory");
    }
    for (unsigned i = 0; i < count && rc == 0; i++) {
        a.leg[i].b = legs[i];
        a.leg[i].lost = legs[i] ? NULL : lost[i].text;
        legs[i] = NULL;
    }
    rc = rc ? rc : assemble(&a);
    if (rc == 0) {
        *out = &a.m->b;
        return 0;
    }
    for (unsigned i = 0; i < count; i++) {
        struct block *b = legs[i] ? legs[i] : i < MIRROR_LEGS_MAX ? a.leg[i].b : NULL;
        if (b) {
            block_close(b);
        }
    }
    if (a.m) {
        mirror_free(a.m);
    }
    return -1;
}

int mirror_open(struct block **legs, unsigned count, const struct block_options *o,
                struct block **out, struct block_error *err)
{
    return mirror_assemble(legs, NULL, count, o, out, err);
}
