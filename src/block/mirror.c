/* Requests to a mirror. mirror.h and mirror_meta.h say what is promised.
 *
 * Writes go to all good legs, from a copy: the guest may change its memory between the first leg
 * and the second. Reads come from the good legs by turns; where one fails from another, and the
 * failed place is written anew. A leg that fails is dropped only when another one is left that did
 * not fail; errors of all legs at once are the guest's. Threads: the device's.
 */
#include "block/mirror_impl.h"

#include "block/impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S 1000000000ull
#define READ_PIECE 4096u /* what a read is cut into once a leg has failed it */
#define TURN_BYTES 0x100000u /* reads: a leg's turn */

static struct mirror *mirror_of(struct block *b)
{
    return (struct mirror *)b;
}

static bool is_good(const struct mirror *m, unsigned i)
{
    return bit(m->mark.good, i);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- losing legs ---- */

/* One round over the good legs. Returns those that failed, *err is the last error. */
static uint32_t write_marks(struct mirror *m, int *err)
{
    uint32_t failed = 0;
    for (unsigned i = 0; i < m->mark.count; i++) {
        unsigned slot = m->leg[i].slot ^ 1;
        if (!is_good(m, i)) {
            continue;
        }
        int rc = mark_write(m->leg[i].b, &m->mark, i, slot);
        if (rc) {
            failed |= 1u << i;
            *err = rc;
        } else {
            m->leg[i].slot = slot;
        }
    }
    return failed;
}

static void drop(struct mirror *m, uint32_t failed, const char *what, int err)
{
    m->mark.good &= ~failed;
    const struct block *left = m->leg[__builtin_ctz(m->mark.good)].b;
    for (unsigned i = 0; i < m->mark.count; i++) {
        if (bit(failed, i)) {
            const struct block *b = m->leg[i].b;
            block_report(&m->b,
                         "mirror: %s failed (%s: %s) and is not used any more; all data is on %s; "
                         "repair it when the machine is off: ring3 image rebuild %s %s",
                         b->name, what, strerror(-err), left->name, left->name, b->name);
        }
    }
}

int mirror_mark(struct mirror *m)
{
    m->mark_due = true;
    for (;;) {
        int err = 0;
        m->mark.events++;
        uint32_t failed = write_marks(m, &err);
        if (failed == 0) {
            m->mark_due = false;
            return 0;
        }
        if (failed == m->mark.good) {
            return err;
        }
        drop(m, failed, "mark", err);
    }
}

int mirror_settle(struct mirror *m, uint32_t failed, const char *what, int err)
{
    if (failed == 0) {
        return 0;
    }
    if (failed == m->mark.good) {
        return err;
    }
    drop(m, failed, what, err);
    return mirror_mark(m);
}

/* Before anything is acknowledged. */
static int mark_if_due(struct mirror *m)
{
    return m->mark_due ? mirror_mark(m) : 0;
}

/* ---- the bitmap ---- */

static int write_bitmap(struct mirror *m, bool flush)
{
    uint32_t failed = 0;
    int err = 0;
    for (unsigned i = 0; i < m->mark.count; i++) {
        if (is_good(m, i)) {
            int rc = mirror_bitmap_write(m->leg[i].b, m->marked);
            rc = rc || !flush ? rc : block_flush(m->leg[i].b);
            if (rc) {
                failed |= 1u << i;
                err = rc;
            }
        }
    }
    return mirror_settle(m, failed, "bitmap", err);
}

int mirror_mark_regions(struct mirror *m, uint64_t off, uint64_t len)
{
    uint64_t first = off >> m->mark.shift, last = (off + len - 1) >> m->mark.shift;
    bool news = false;
    for (uint64_t n = first; n <= last; n++) {
        uint8_t mask = (uint8_t)(1u << n % 8);
        news |= !(m->marked[n / 8] & mask);
        m->marked[n / 8] |= mask;
        m->recent[n / 8] |= mask;
    }
    if (!news && !m->bitmap_due) {
        return 0;
    }
    int err = write_bitmap(m, true);
    m->bitmap_due = err != 0;
    return err;
}

int mirror_clear_regions(struct mirror *m)
{
    memset(m->marked, 0, MIRROR_BITMAP_SIZE);
    memset(m->recent, 0, MIRROR_BITMAP_SIZE);
    return write_bitmap(m, true);
}

/* After a flush: all that was written is on all legs. Regions that were not written for a while
 * lose their bits. */
static int clear_quiet(struct mirror *m)
{
    uint64_t now = now_ns();
    bool news = false;
    if (m->unsettled || m->bitmap_due || now - m->rotated_ns < m->quiet_ns) {
        return 0;
    }
    for (unsigned i = 0; i < MIRROR_BITMAP_SIZE; i++) {
        news |= (m->marked[i] & ~m->recent[i]) != 0;
        m->marked[i] &= m->recent[i];
        m->recent[i] = 0;
    }
    m->rotated_ns = now;
    return news ? write_bitmap(m, false) : 0;
}

/* ---- writing ---- */

struct change {
    enum { CHANGE_WRITE, CHANGE_ZEROES, CHANGE_UNMAP } kind;
    const char *what;
};

static int change_leg(struct mirror *m, unsigned i, const struct change *c, uint64_t off,
                      uint64_t len)
{
    if (c->kind == CHANGE_WRITE) {
        return block_write_buf(m->leg[i].b, off, m->buf, len);
    }
    return block_write_zeroes(m->leg[i].b, off, len, c->kind == CHANGE_UNMAP);
}

static int change_all(struct mirror *m, const struct change *c, uint64_t off, uint64_t len)
{
    uint32_t failed = 0;
    int err = 0;
    for (unsigned i = 0; i < m->mark.count; i++) {
        if (is_good(m, i)) {
            int rc = change_leg(m, i, c, off, len);
            if (rc) {
                failed |= 1u << i;
                err = rc;
            }
        }
    }
    m->unsettled |= failed == m->mark.good;
    return mirror_settle(m, failed, c->what, err);
}

static int prepare_write(struct mirror *m, uint64_t off, uint64_t len)
{
    int err = mark_if_due(m);
    return err ? err : mirror_mark_regions(m, off, len);
}

static int mirror_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                        uint64_t len)
{
    static const struct change write = {CHANGE_WRITE, "write"};
    struct mirror *m = mirror_of(b);
    int err = prepare_write(m, off, len);
    for (uint64_t done = 0; done < len && !err; done += MIRROR_BUFFER) {
        uint64_t piece = min_u64(len - done, MIRROR_BUFFER);
        vec_gather(vec, n, done, m->buf, piece);
        err = change_all(m, &write, off + done, piece);
    }
    return err;
}

static int mirror_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
    static const struct change zeroes = {CHANGE_ZEROES, "write"}, holes = {CHANGE_UNMAP, "write"};
    struct mirror *m = mirror_of(b);
    int err = prepare_write(m, off, len);
    return err ? err : change_all(m, unmap ? &holes : &zeroes, off, len);
}

/* The bytes may be anything afterwards, something else on each leg too: so no region is marked, and
 * a leg that fails is not lost. */
static int mirror_discard(struct block *b, uint64_t off, uint64_t len)
{
    struct mirror *m = mirror_of(b);
    int err = mark_if_due(m);
    for (unsigned i = 0; i < m->mark.count && !err; i++) {
        if (is_good(m, i)) {
            (void)!block_discard(m->leg[i].b, off, len);
        }
    }
    return err;
}

int mirror_flush_legs(struct mirror *m)
{
    uint32_t failed = 0;
    int err = 0;
    for (unsigned i = 0; i < m->mark.count; i++) {
        if (is_good(m, i)) {
            int rc = block_flush(m->leg[i].b);
            if (rc) {
                failed |= 1u << i;
                err = rc;
            }
        }
    }
    return mirror_settle(m, failed, "flush", err);
}

static int mirror_flush(struct block *b)
{
    struct mirror *m = mirror_of(b);
    int err = mark_if_due(m);
    err = err ? err : mirror_flush_legs(m);
    return err ? err : clear_quiet(m);
}

/* ---- reading ---- */

/* Write anew what the legs in `failed` could not read; it is in m->buf. */
static void repair(struct mirror *m, uint32_t failed, uint64_t off, uint64_t len)
{
    static const struct change write = {CHANGE_WRITE, "repair of a read error"};
    if (m->b.read_only || prepare_write(m, off, len)) {
        return;
    }
    for (unsigned i = 0; i < m->mark.count; i++) {
        if (!bit(failed, i) || !is_good(m, i)) {
            continue;
        }
        int err = change_leg(m, i, &write, off, len);
        if (mirror_settle(m, err ? 1u << i : 0, write.what, err)) {
            return; /* mark_due: the next write or flush sees to it */
        }
        if (!err && !m->repaired) {
            block_report(&m->b,
                         "mirror: %s could not read at %llu: repaired from another leg (said once)",
                         m->leg[i].b->name, (unsigned long long)off);
            m->repaired = true;
        }
    }
}

/* From the first leg that can, into m->buf. */
static int read_any(struct mirror *m, uint64_t off, uint64_t len)
{
    uint32_t failed = 0;
    int err = -EIO;
    for (unsigned i = 0; i < m->mark.count; i++) {
        if (!is_good(m, i)) {
            continue;
        }
        err = block_read_buf(m->leg[i].b, off, m->buf, len);
        if (!err) {
            break;
        }
        failed |= 1u << i;
    }
    if (!err && failed) {
        repair(m, failed, off, len);
    }
    return err;
}

/* The leg that is asked first: they take turns, each with pieces of its own, so that the host does
 * not cache the same bytes twice. */
static struct block *reader(const struct mirror *m, uint64_t off)
{
    uint32_t good = m->mark.good;
    for (uint64_t turn = off / TURN_BYTES % (unsigned)__builtin_popcount(good); turn; turn--) {
        good &= good - 1;
    }
    return m->leg[__builtin_ctz(good)].b;
}

static int mirror_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n,
                       uint64_t len)
{
    struct mirror *m = mirror_of(b);
    int err = block_read(reader(m, off), off, vec, n);
    for (uint64_t done = 0; err && done < len; done += READ_PIECE) {
        uint64_t piece = min_u64(len - done, READ_PIECE);
        int rc = read_any(m, off + done, piece);
        if (rc) {
            return rc;
        }
        vec_scatter(vec, n, done, m->buf, piece);
    }
    return 0;
}

static unsigned mirror_locate(struct block *b, uint64_t off, uint64_t len, struct block_run *run,
                              unsigned max)
{
    return block_locate(reader(mirror_of(b), off), off, len, run, max);
}

static uint64_t mirror_zero_run(struct block *b, uint64_t off, uint64_t len)
{
    struct mirror *m = mirror_of(b);
    return block_zero_run(m->leg[__builtin_ctz(m->mark.good)].b, off, len);
}

/* ---- the end ---- */

void mirror_free(struct mirror *m)
{
    for (unsigned i = 0; i < MIRROR_LEGS_MAX; i++) {
        if (m->leg[i].b) {
            block_close(m->leg[i].b);
        }
        if (m->stale[i]) {
            block_close(m->stale[i]);
        }
    }
    free(m->buf);
    free(m->marked);
    free(m->recent);
    free(m);
}

static void mirror_close(struct block *b)
{
    struct mirror *m = mirror_of(b);
    if (!b->read_only && mark_if_due(m) == 0 && mirror_flush_legs(m) == 0 && !m->unsettled) {
        (void)!mirror_clear_regions(m);
    }
    mirror_free(m);
}

const struct block_ops mirror_ops = {
    .format = "mirror",
    .read = mirror_read,
    .write = mirror_write,
    .flush = mirror_flush,
    .discard = mirror_discard,
    .write_zeroes = mirror_write_zeroes,
    .zero_run = mirror_zero_run,
    .locate = mirror_locate,
    .close = mirror_close,
};
