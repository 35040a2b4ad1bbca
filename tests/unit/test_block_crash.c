/* Data safety: what was written before a flush that returned is there after any crash, and the legs
 * of a mirror agree.
 *
 * The disk holds a few sectors that are written over and over, each time with a number that grows.
 * After a crash a sector's number must be at least the one it had at the last flush, and at most
 * the last one begun. Two ways to crash: the plug is pulled on disks in memory, which lose any part
 * of what was not flushed; a process that writes to files is killed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/mirror_impl.h"
#include "fake_disk.h"

#define SLOTS 64u
#define RUN_MAX 16u /* slots written at once */

/* What is known from outside the crash about each slot. */
struct truth {
    uint64_t begun[SLOTS], flushed[SLOTS], now;
};

struct slot {
    uint64_t slot, number;
    uint8_t rest[BLOCK_SECTOR - 16];
};

/* Slots lie in four places far from each other. */
static uint64_t slot_off(const struct block *b, unsigned slot)
{
    return (slot / RUN_MAX) * align_down(b->size / 4, 4096) + slot % RUN_MAX * BLOCK_SECTOR;
}

static int write_slots(struct block *b, struct truth *t, unsigned first, unsigned count)
{
    struct slot buf[RUN_MAX];
    t->now++;
    for (unsigned i = 0; i < count; i++) {
        buf[i] = (struct slot){.slot = first + i, .number = t->now};
        memset(buf[i].rest, (int)(t->now & 0xff), sizeof(buf[i].rest));
        __atomic_store_n(&t->begun[first + i], t->now, __ATOMIC_SEQ_CST);
    }
    return block_write_buf(b, slot_off(b, first), buf, (uint64_t)count * BLOCK_SECTOR);
}

static int flush_slots(struct block *b, struct truth *t)
{
    uint64_t begun[SLOTS];
    memcpy(begun, t->begun, sizeof(begun));
    int err = block_flush(b);
    for (unsigned i = 0; i < SLOTS && !err; i++) {
        __atomic_store_n(&t->flushed[i], begun[i], __ATOMIC_SEQ_CST);
    }
    return err;
}

/* One request. A write that fails leaves anything: its slots are written again before they count.
 */
static void step(struct block *b, struct truth *t, uint64_t *seed)
{
    unsigned first = (unsigned)(fake_random(seed) % SLOTS),
             what = (unsigned)(fake_random(seed) % 8);
    unsigned count = 1 + (unsigned)(fake_random(seed) % (RUN_MAX - first % RUN_MAX));
    if (what == 0) {
        assert_int_equal(flush_slots(b, t), 0);
    } else {
        assert_int_equal(write_slots(b, t, first, count), 0);
    }
}

/* What is there now is what a flush from here on makes last. */
static void check(struct block *b, struct truth *t)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot s;
        assert_int_equal(block_read_buf(b, slot_off(b, i), &s, sizeof(s)), 0);
        if (s.number < t->flushed[i] || s.number > t->begun[i] || (s.number && s.slot != i)) {
            fail_msg("slot %u has number %llu: flushed %llu, begun %llu", i,
                     (unsigned long long)s.number, (unsigned long long)t->flushed[i],
                     (unsigned long long)t->begun[i]);
        }
        for (unsigned n = 0; n < sizeof(s.rest); n++) {
            assert_int_equal(s.rest[n], s.number & 0xff);
        }
        t->begun[i] = s.number;
    }
}

/* Shown when a test fails. */
static void report(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
    if (getenv("VERBOSE")) {
        print_message("%s\n", line);
    }
}

/* ---- the plug ---- */

#define DATA 0x400000u
#define LEGS 3u

struct world {
    struct fake_medium leg[LEGS];
    struct fake_plug plug;
    struct truth truth;
    uint64_t seed;
    unsigned count, failing; /* legs; failing: or stale */
    uint32_t good;           /* legs at the last start */
};

static struct block *open_world(struct world *w, unsigned first)
{
    struct block *legs[LEGS], *b;
    struct block_error err;
    const struct block_options o = {.report = report};
    for (unsigned i = 0; i < w->count; i++) {
        legs[i] = fake_disk_open(&w->leg[(first + i) % w->count]);
    }
    if (mirror_open(legs, w->count, &o, &b, &err)) {
        fail_msg("%s", err.text);
    }
    ((struct mirror *)b)->quiet_ns = 0;
    return b;
}

/* Work until the plug is pulled; now and then a leg begins to fail, never the last. */
static void work(void *ctx)
{
    struct world *w = ctx;
    struct block *b = open_world(w, (unsigned)(fake_random(&w->seed) % w->count));
    for (;;) {
        struct fake_medium *m = &w->leg[fake_random(&w->seed) % w->count];
        if (fake_random(&w->seed) % 50 == 0 && w->failing + 1 < w->count) {
            w->failing++;
            *(fake_random(&w->seed) & 1 ? &m->fail_writes : &m->fail_flushes) = true;
        }
        step(b, &w->truth, &w->seed);
    }
}

/* All good legs hold the same in the places that are written. */
static void check_legs(const struct world *w, const struct block *b)
{
    const struct mirror *m = (const struct mirror *)b;
    struct fake_medium *first = NULL;
    for (unsigned i = 0; i < m->mark.count; i++) {
        if (!bit(m->mark.good, i)) {
            continue;
        }
        for (unsigned n = 0; n < w->count; n++) {
            const struct fake_medium *f = &w->leg[n];
            if (strcmp(f->name, m->leg[i].b->name)) {
                continue;
            }
            first = first ? first : (struct fake_medium *)(uintptr_t)f;
            for (unsigned s = 0; s < SLOTS; s++) {
                assert_memory_equal(f->cache + slot_off(b, s), first->cache + slot_off(b, s),
                                    BLOCK_SECTOR);
            }
        }
    }
}

/* Copy the good legs over the others. */
static void rebuild(struct world *w, uint32_t good)
{
    struct block_error err;
    for (unsigned i = 0; i < w->count; i++) {
        if (!bit(good, i)) {
            struct block *x = fake_disk_open(&w->leg[__builtin_ctz(good)]),
                         *y = fake_disk_open(&w->leg[i]);
            if (mirror_rebuild(x, y, NULL, NULL, &err)) {
                fail_msg("%s", err.text);
            }
            block_close(x);
            block_close(y);
        }
    }
}

/* Which media are good legs of b. */
static uint32_t good_media(const struct world *w, const struct block *b)
{
    const struct mirror *m = (const struct mirror *)b;
    uint32_t good = 0;
    for (unsigned i = 0; i < m->mark.count; i++) {
        for (unsigned n = 0; n < w->count && bit(m->mark.good, i); n++) {
            good |= strcmp(w->leg[n].name, m->leg[i].b->name) ? 0 : 1u << n;
        }
    }
    return good;
}

static void crash_once(struct world *w)
{
    struct block *b;
    bool keep_all = fake_random(&w->seed) % 4 == 0;
    for (unsigned i = 0; i < w->count; i++) {
        w->leg[i].plug = &w->plug;
    }
    w->plug.seed = fake_random(&w->seed);
    w->failing = w->count - (unsigned)__builtin_popcount(w->good);
    bool whole = fake_plug_run(&w->plug, 1 + (unsigned)(fake_random(&w->seed) % 400), work, w);
    assert_false(whole);
    for (unsigned i = 0; i < w->count; i++) {
        fake_medium_crash(&w->leg[i], &w->seed, keep_all);
        w->leg[i].fail_writes = w->leg[i].fail_flushes = false;
    }
    b = open_world(w, (unsigned)(fake_random(&w->seed) % w->count));
    check(b, &w->truth);
    check_legs(w, b);
    w->good = good_media(w, b);
    if (fake_random(&w->seed) & 1) {
        block_close(b);
        rebuild(w, w->good);
        b = open_world(w, 0);
        w->good = good_media(w, b);
        assert_int_equal(w->good, (1u << w->count) - 1);
        check(b, &w->truth);
        check_legs(w, b);
    }
    assert_int_equal(flush_slots(b, &w->truth), 0);
    block_close(b);
}

static void plug_test(unsigned legs, unsigned rounds, uint64_t seed)
{
    static const char *const names[LEGS] = {"A", "B", "C"};
    struct world *w = calloc(1, sizeof(*w));
    w->count = legs;
    w->good = (1u << legs) - 1;
    w->seed = seed;
    for (unsigned i = 0; i < legs; i++) {
        fake_medium_init(&w->leg[i], names[i], DATA + MIRROR_META_SIZE);
    }
    struct block *b = open_world(w, 0);
    struct mirror *m = (struct mirror *)b;
    m->mark.shift = MIRROR_SHIFT_MIN; /* more regions */
    assert_int_equal(mirror_mark(m), 0);
    block_close(b);
    for (unsigned i = 0; i < rounds; i++) {
        crash_once(w);
    }
    for (unsigned i = 0; i < legs; i++) {
        fake_medium_fini(&w->leg[i]);
    }
    free(w);
}

static void test_power(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        plug_test(2, 40, seed);
        plug_test(3, 40, seed);
    }
}

/* ---- kill -9 ---- */

#define FILE_SIZE 0x2000000ll
#define KILLS 150u

static struct block *open_files(const char *dir, bool mirror)
{
    struct block *legs[2] = {NULL}, *b;
    struct block_error err = {.text = ""};
    const struct block_options o = {.vm_name = "crash", .report = report};
    char path[256];
    for (unsigned i = 0; i < 1u + mirror; i++) {
        snprintf(path, sizeof(path), "%s/%u", dir, i);
        if (raw_open(path, &o, &legs[i], &err)) {
            fail_msg("%s", err.text);
        }
    }
    if (!mirror) {
        return legs[0];
    }
    if (mirror_open(legs, 2, &o, &b, &err)) {
        fail_msg("%s", err.text);
    }
    ((struct mirror *)b)->quiet_ns = 1000000;
    return b;
}

/* The process that is killed. */
_Noreturn static void writer(const char *dir, bool mirror, struct truth *t, uint64_t seed)
{
    struct block *b = open_files(dir, mirror);
    for (;;) {
        step(b, t, &seed);
    }
}

static void kill_test(bool mirror)
{
    char dir[] = "/dev/shm/ring3-crash-XXXXXX" /* no waiting for a disk */, path[64];
    uint64_t seed = 7;
    assert_non_null(mkdtemp(dir));
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%u", dir, i);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(ftruncate(fileno(f), FILE_SIZE), 0);
        fclose(f);
    }
    struct truth *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t != MAP_FAILED);
    unsigned long long writes = 0;
    for (unsigned i = 0; i < KILLS; i++) {
        pid_t child = fork();
        if (child == 0) {
            writer(dir, mirror, t, seed + i);
        }
        usleep((useconds_t)(fake_random(&seed) % 20000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        struct block *b = open_files(dir, mirror);
        check(b, t);
        block_close(b);
        writes = t->now;
    }
    print_message("%u kills, %llu writes\n", KILLS, writes);
    munmap(t, sizeof(*t));
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%u", dir, i);
        unlink(path);
    }
    rmdir(dir);
}

static void test_kill_raw(void **state)
{
    (void)state;
    kill_test(false);
}

static void test_kill_mirror(void **state)
{
    (void)state;
    kill_test(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power),
        cmocka_unit_test(test_kill_raw),
        cmocka_unit_test(test_kill_mirror),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
