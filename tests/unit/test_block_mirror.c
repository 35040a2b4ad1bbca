/* src/block/mirror*: legs that fail, marks, crashes, rebuilding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "block/mirror_impl.h"
#include "fake_disk.h"

#define DATA 0x200000u /* bytes a mirror of these legs holds */
#define LEG (DATA + MIRROR_META_SIZE)
#define LEGS 3u

static struct fake_medium medium[LEGS];
static char reports[4096];

static void report(void *ctx, const char *line)
{
    (void)ctx;
    size_t n = strlen(reports);
    snprintf(reports + n, sizeof(reports) - n, "%s\n", line);
}

static int setup(void **state)
{
    static const char *const names[LEGS] = {"A", "B", "C"};
    (void)state;
    for (unsigned i = 0; i < LEGS; i++) {
        fake_medium_init(&medium[i], names[i], LEG);
    }
    reports[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LEGS; i++) {
        fake_medium_fini(&medium[i]);
    }
    return 0;
}

/* Open the legs named in `which` ("AB", lower case: not there). NULL: refused, why in err. */
static struct block *open_legs(const char *which, struct block_error *err, bool read_only)
{
    struct block *legs[8] = {NULL}, *b = NULL;
    struct block_error lost[8];
    const struct block_options o = {.report = report, .read_only = read_only};
    unsigned n = 0;
    for (; which[n]; n++) {
        if (which[n] >= 'a') {
            snprintf(lost[n].text, sizeof(lost[n].text), "%c: no such file", which[n] - 0x20);
        } else {
            medium[which[n] - 'A'].read_only = read_only;
            legs[n] = fake_disk_open(&medium[which[n] - 'A']);
        }
    }
    int rc = mirror_assemble(legs, lost, n, &o, &b, err);
    for (unsigned i = 0; i < LEGS && rc; i++) {
        assert_false(medium[i].open);
    }
    return rc ? NULL : b;
}

static struct block *must_open(const char *which)
{
    struct block_error err;
    struct block *b = open_legs(which, &err, false);
    if (!b) {
        fail_msg("%s: %s", which, err.text);
    }
    assert_int_equal(b->size, DATA);
    return b;
}

static void refused(const char *which, const char *why)
{
    struct block_error err = {.text = ""};
    struct block *b = open_legs(which, &err, false);
    assert_null(b);
    if (!strstr(err.text, why)) {
        fail_msg("%s: \"%s\" does not say \"%s\"", which, err.text, why);
    }
}

static void reported(const char *what)
{
    if (!strstr(reports, what)) {
        fail_msg("\"%s\" does not say \"%s\"", reports, what);
    }
    reports[0] = '\0';
}

static int put(struct block *b, uint64_t off, uint8_t value)
{
    uint8_t buf[4096];
    memset(buf, value, sizeof(buf));
    return block_write_buf(b, off, buf, sizeof(buf));
}

static int get(struct block *b, uint64_t off)
{
    uint8_t buf[4096];
    int err = block_read_buf(b, off, buf, sizeof(buf));
    for (unsigned i = 1; i < sizeof(buf) && !err; i++) {
        assert_int_equal(buf[i], buf[0]);
    }
    return err ? err : buf[0];
}

/* ---- making one ---- */

static void test_create(void **state)
{
    (void)state;
    refused("A", "two legs");
    refused("Ab", "B: no such file");
    struct block *b = must_open("AB");
    assert_int_equal(put(b, 0, 1), 0);
    assert_int_equal(put(b, DATA - 4096, 2), 0);
    assert_int_equal(block_flush(b), 0);
    block_close(b);
    assert_memory_equal(medium[0].stable, medium[1].stable, DATA);
    assert_int_equal(medium[1].stable[DATA - 1], 2);
    b = must_open("BA");
    assert_int_equal(get(b, 0), 1);
    assert_int_equal(get(b, DATA - 4096), 2);
    block_close(b);
    assert_string_equal(reports, "");
}

static void test_create_refused(void **state)
{
    (void)state;
    medium[1].cache[5000] = 1;
    refused("AB", "hold different data");
    medium[0].cache[5000] = 1;
    medium[0].cache[LEG - 1] = 1;
    refused("AB", "last 64 KB");
    medium[0].cache[LEG - 1] = 0;
    medium[1].size = MIRROR_META_SIZE;
    refused("AB", "longer than 64 KB");
    medium[1].size = LEG;
    block_close(must_open("AB")); /* the same data on both is fine */
    refused("ABC", "C has no mark");
}

static void wipe(struct fake_medium *m)
{
    memset(m->cache, 0, m->size);
    memset(m->stable, 0, m->size);
}

static void copy(struct fake_medium *to, const struct fake_medium *from)
{
    memcpy(to->cache, from->cache, LEG);
    memcpy(to->stable, from->stable, LEG);
}

static void test_strangers(void **state)
{
    (void)state;
    block_close(must_open("AB"));
    copy(&medium[2], &medium[0]);
    refused("AC", "same leg");
    wipe(&medium[2]);
    wipe(&medium[1]);
    block_close(must_open("BC"));
    refused("AB", "different mirrors");
}

static void open_and_close(void *ctx)
{
    block_close(must_open(ctx));
}

/* A crash between the marks of a mirror that is being made. */
static void test_create_interrupted(void **state)
{
    (void)state;
    char which[] = "AB";
    bool whole = false;
    for (unsigned left = 1; !whole; left++) {
        struct fake_plug plug = {.seed = left};
        uint64_t seed = left;
        wipe(&medium[0]);
        wipe(&medium[1]);
        medium[0].plug = medium[1].plug = &plug;
        whole = fake_plug_run(&plug, left, open_and_close, which);
        fake_medium_crash(&medium[0], &seed, left & 1);
        fake_medium_crash(&medium[1], &seed, left & 1);
        struct block *b = must_open("AB");
        assert_int_equal(((struct mirror *)b)->mark.good, 3);
        block_close(b);
    }
    assert_string_equal(reports, "");
}

/* ---- losing a leg ---- */

/* The mirror goes on with A alone; B is out when it comes back. */
static void check_b_is_out(struct block *b)
{
    reported("B failed");
    assert_int_equal(put(b, 8192, 3), 0);
    assert_int_equal(block_flush(b), 0);
    assert_int_equal(get(b, 0), 2);
    block_close(b);
    medium[1].fail_writes = medium[1].fail_flushes = false;
    assert_string_equal(reports, "");

    b = must_open("BA"); /* the first named is the stale one */
    reported("B is stale");
    assert_int_equal(get(b, 0), 2);
    assert_int_equal(get(b, 8192), 3);
    block_close(b);
    block_close(must_open("bA"));
    reported("B: no such file");
    refused("Ba", "A: no such file"); /* B does not know that it is stale */
}

static void test_lost_write(void **state)
{
    (void)state;
    struct block *b = must_open("AB");
    assert_int_equal(put(b, 0, 1), 0);
    medium[1].fail_writes = true;
    assert_int_equal(put(b, 0, 2), 0);
    check_b_is_out(b);
}

static void test_lost_flush(void **state)
{
    (void)state;
    struct block *b = must_open("AB");
    assert_int_equal(put(b, 0, 2), 0);
    medium[1].fail_flushes = true;
    assert_int_equal(block_flush(b), 0);
    check_b_is_out(b);
}

static void test_lost_zeroes(void **state)
{
    (void)state;
    struct block *b = must_open("AB");
    assert_int_equal(put(b, 0, 2), 0);
    medium[1].fail_writes = true;
    assert_int_equal(block_write_zeroes(b, 8192, 4096, true), 0);
    assert_int_equal(get(b, 8192), 0);
    check_b_is_out(b);
}

/* Errors of all legs are the guest's; none is dropped. */
static void test_all_fail(void **state)
{
    (void)state;
    struct block *b = must_open("AB");
    assert_int_equal(put(b, 0, 1), 0);
    medium[0].fail_writes = medium[1].fail_writes = true;
    assert_int_equal(put(b, 0, 2), -EIO);
    medium[0].fail_writes = medium[1].fail_writes = false;
    medium[0].fail_flushes = medium[1].fail_flushes = true;
    assert_int_equal(block_flush(b), -EIO);
    medium[0].fail_flushes = medium[1].fail_flushes = false;
    medium[0].fail_reads = medium[1].fail_reads = true;
    assert_int_equal(get(b, 0), -EIO);
    medium[0].fail_reads = medium[1].fail_reads = false;
    assert_int_equal(put(b, 0, 3), 0);
    assert_int_equal(block_flush(b), 0);
    block_close(b);
    assert_int_equal(get(b = must_open("AB"), 0), 3);
    block_close(b);
    assert_string_equal(reports, "");
    assert_memory_equal(medium[0].cache, medium[1].cache, DATA);
}

/* A write that failed on all legs may have left them different: the start afterwards makes them the
 * same. */
static void test_all_fail_differ(void **state)
{
    (void)state;
    struct block *b = must_open("AB");
    assert_int_equal(put(b, 0, 1), 0);
    medium[0].fail_writes = medium[1].fail_writes = true;
    assert_int_equal(put(b, 0, 2), -EIO);
    medium[0].fail_writes = medium[1].fail_writes = false;
    memset(medium[1].cache, 2, 512); /* what a real disk may have done */
    assert_int_equal(block_flush(b), 0);
    block_close(b);
    block_close(must_open("AB"));
    assert_memory_equal(medium[0].cache, medium[1].cache, DATA);
}

/* While the loss of a leg cannot be written down, nothing is acknowledged. */
static void test_mark_due(void **state)
{
    (void)state;
    struct block *b = must_open("AB");
    assert_int_equal(put(b, 0, 1), 0);
    medium[1].fail_writes = true;
    medium[0].fail_flushes = true;
    assert_int_equal(put(b, 0, 2), -EIO);
    assert_int_equal(put(b, 0, 2), -EIO);
    assert_int_equal(block_flush(b), -EIO);
    medium[0].fail_flushes = false;
    assert_int_equal(put(b, 0, 2), 0);
    check_b_is_out(b);
}

static void test_read_repair(void **state)
{
    (void)state;
    struct block *b = must_open("AB");
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(put(b, i * 4096, (uint8_t)(i + 1)), 0);
    }
    medium[0].bad_from = 3 * 4096 + 512;
    medium[0].bad_to = 3 * 4096 + 1024;
    medium[1].bad_from = 5 * 4096; /* in the same request, another place on the other leg */
    medium[1].bad_to = 6 * 4096;
    uint8_t buf[16 * 4096];
    assert_int_equal(block_read_buf(b, 0, buf, sizeof(buf)), 0);
    for (unsigned i = 0; i < sizeof(buf); i++) {
        assert_int_equal(buf[i], i / 4096 + 1);
    }
    reported("A could not read at 12288: repaired");
    assert_int_equal(medium[0].bad_to, 0);
    medium[0].fail_reads = true; /* B's bad place was not met */
    assert_int_equal(get(b, 5 * 4096), -EIO);
    medium[0].fail_reads = false;
    assert_int_equal(((struct mirror *)b)->mark.good, 3);
    medium[0].fail_reads = medium[0].fail_writes = true;
    assert_int_equal(get(b, 0), 1);
    reported("A failed (repair of a read error");
    assert_int_equal(((struct mirror *)b)->mark.good, 2);
    block_close(b);
}

/* ---- which legs are good ---- */

static void test_missing(void **state)
{
    (void)state;
    block_close(must_open("AB"));
    refused("Ab", "name only the others");
    struct block *b = must_open("A");
    reported("without some of its legs");
    assert_int_equal(put(b, 0, 7), 0);
    block_close(b);
    block_close(must_open("AB"));
    reported("B is stale");
    block_close(must_open("Ab"));
    block_close(must_open("B")); /* who says so gets it */
    refused("AB", "each used without the other");
    refused("BA", "each used without the other");
}

/* A leg restored from a copy is called good by all, and is not. */
static void test_old_copy(void **state)
{
    (void)state;
    struct block *b = must_open("AB");
    copy(&medium[2], &medium[1]);
    block_close(b);
    b = must_open("AB");
    assert_int_equal(put(b, 0, 7), 0);
    block_close(b);
    reports[0] = '\0';
    b = must_open("CA");
    reported("C is stale");
    assert_int_equal(get(b, 0), 7);
    block_close(b);
}

static void test_read_only(void **state)
{
    (void)state;
    struct block_error err;
    assert_null(open_legs("AB", &err, true));
    assert_non_null(strstr(err.text, "open it for writing once"));
    medium[0].read_only = medium[1].read_only = false;
    struct block *b = must_open("AB");
    assert_int_equal(put(b, 0, 7), 0);
    block_close(b);
    unsigned writes = medium[0].writes + medium[1].writes;
    b = open_legs("AB", &err, true);
    assert_non_null(b);
    assert_int_equal(get(b, 0), 7);
    assert_int_equal(put(b, 0, 8), -EROFS);
    medium[0].fail_reads = true;
    assert_int_equal(get(b, 0), 7);
    block_close(b);
    assert_int_equal(writes, medium[0].writes + medium[1].writes);
}

/* Marks that somebody else made: whatever they say, nothing reaches past a leg's end (fake disks
 * and block.c stop the test if it does). */
static void test_hostile(void **state)
{
    (void)state;
    uint64_t seed = 1;
    unsigned opened = 0;
    fake_medium_fini(&medium[2]);
    fake_medium_init(&medium[2], "C", LEG + 0x20000); /* its mark can speak of more data */
    block_close(must_open("ABC"));
    for (unsigned round = 0; round < 1000; round++) {
        for (unsigned i = 0; i < 3; i++) {
            struct block *b = fake_disk_open(&medium[i]), *leg = b;
            struct mark m;
            unsigned slot;
            assert_int_equal(mark_read(leg, &m, &slot), 1);
            uint64_t *const wide[] = {&m.size, &m.events, &m.session, &m.id[0], &m.id[1]};
            uint32_t *const narrow[] = {&m.count, &m.good, &m.shift};
            if (fake_random(&seed) & 1) {
                *wide[fake_random(&seed) % 5] >>= fake_random(&seed) % 64;
            }
            if (fake_random(&seed) & 1) {
                *narrow[fake_random(&seed) % 3] += (uint32_t)(fake_random(&seed) % 7) - 3;
            }
            m.size += fake_random(&seed) % 8 ? 0 : 0x20000;
            uint8_t *bitmap = medium[i].cache + mark_offset(leg) + MIRROR_BITMAP_OFFSET;
            bitmap[fake_random(&seed) % MIRROR_BITMAP_SIZE] ^= (uint8_t)fake_random(&seed);
            m.size &= ~4095ull;
            assert_int_equal(mark_write(leg, &m, (uint32_t)(fake_random(&seed) % 3), slot), 0);
            block_close(b);
        }
        struct block_error err;
        struct block *b = open_legs(round & 1 ? "ABC" : "CA", &err, false);
        if (b) {
            uint64_t last = b->size - 4096;
            opened++;
            assert_int_equal(put(b, last, 1), 0);
            assert_int_equal(get(b, last), 1);
            block_close(b);
        }
        reports[0] = '\0';
        for (unsigned i = 0; i < 3; i++) {
            wipe(&medium[i]);
        }
        block_close(must_open("ABC"));
    }
    assert_true(opened > 100);
}

/* ---- requests of all shapes ---- */

static void test_large(void **state)
{
    (void)state;
    static uint8_t out[DATA], in[DATA];
    uint64_t seed = 1;
    struct io_vec vec[64];
    struct block *b = must_open("ABC");
    for (unsigned round = 0; round < 20; round++) {
        uint64_t off = round ? fake_random(&seed) % (DATA / 512) * 512 : 0, at = 0;
        uint64_t len = round ? fake_random(&seed) % ((DATA - off) / 512 + 1) * 512 : DATA;
        unsigned n = 0;
        for (uint64_t i = 0; i < len; i++) {
            out[off + i] = (uint8_t)(fake_random(&seed) >> 20);
        }
        for (; n < 63 && at < len; n++) {
            uint64_t piece = fake_random(&seed) % (len - at + 1);
            vec[n] = (struct io_vec){.base = out + off + at, .len = piece};
            at += piece;
        }
        vec[n++] = (struct io_vec){.base = out + off + at, .len = len - at};
        assert_int_equal(block_write(b, off, vec, n), 0);
        assert_int_equal(block_read_buf(b, off, in, len), 0);
        assert_memory_equal(in, out + off, len);
    }
    uint64_t off = 4096 * 3;
    assert_int_equal(block_write_zeroes(b, off, 8192, false), 0);
    memset(out + off, 0, 8192);
    assert_int_equal(block_discard(b, 0, 4096), 0);
    assert_int_equal(block_read_buf(b, 0, in, DATA), 0);
    assert_memory_equal(in + 4096, out + 4096, DATA - 4096);
    block_close(b);
    assert_memory_equal(medium[0].stable, medium[2].stable, DATA);
    assert_memory_equal(medium[1].stable, medium[2].stable, DATA);
}

/* ---- the bitmap ---- */

static void test_bitmap(void **state)
{
    (void)state;
    struct block *b = must_open("AB");
    struct mirror *m = (struct mirror *)b;
    const uint8_t *bitmap = medium[1].stable + DATA + MIRROR_BITMAP_OFFSET;
    assert_int_equal(put(b, 0, 1), 0);
    assert_int_equal(bitmap[0], 1); /* on stable storage before the data is */
    unsigned flushes = medium[1].flushes;
    assert_int_equal(put(b, 4096, 1), 0);
    assert_int_equal(medium[1].flushes, flushes);
    m->quiet_ns = 0;
    assert_int_equal(block_flush(b), 0);
    assert_int_equal(block_flush(b), 0); /* nothing written in between: clear */
    assert_int_equal(block_flush(b), 0);
    assert_int_equal(bitmap[0], 0);
    assert_int_equal(put(b, 4096, 1), 0);
    assert_int_equal(bitmap[0], 1);
    block_close(b);
    assert_int_equal(bitmap[0], 0);
}

/* ---- rebuilding ---- */

static int rebuild_legs(unsigned good, unsigned stale, struct block_error *err)
{
    struct block *x = fake_disk_open(&medium[good]), *y = fake_disk_open(&medium[stale]);
    int rc = mirror_rebuild(x, y, NULL, NULL, err);
    block_close(x);
    block_close(y);
    return rc;
}

static void must_rebuild(unsigned good, unsigned stale)
{
    struct block_error err;
    if (rebuild_legs(good, stale, &err)) {
        fail_msg("%s", err.text);
    }
}

static void rebuild_refused(unsigned good, unsigned stale, const char *why)
{
    struct block_error err;
    assert_int_equal(rebuild_legs(good, stale, &err), -1);
    if (!strstr(err.text, why)) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    }
}

static void lose_b(void)
{
    struct block *b = must_open("AB");
    assert_int_equal(put(b, 0, 1), 0);
    medium[1].fail_writes = true;
    assert_int_equal(put(b, 0, 2), 0);
    block_close(b);
    medium[1].fail_writes = false;
    reports[0] = '\0';
}

static void both_good(const char *which, int value)
{
    struct block *b = must_open(which);
    assert_int_equal(((struct mirror *)b)->mark.good, 3);
    assert_int_equal(get(b, 0), value);
    block_close(b);
    assert_string_equal(reports, "");
    assert_memory_equal(medium[which[0] - 'A'].stable, medium[which[1] - 'A'].stable, DATA);
}

static void test_rebuild(void **state)
{
    (void)state;
    lose_b();
    rebuild_refused(1, 0, "B is the stale one");
    must_rebuild(0, 1);
    both_good("AB", 2);
    must_rebuild(1, 0); /* both are good: either order is */
    both_good("AB", 2);
}

/* A new disk in the place of a lost one, which then is a stranger. */
static void test_replace(void **state)
{
    (void)state;
    lose_b();
    must_rebuild(0, 2);
    both_good("AC", 2);
    block_close(must_open("ABC"));
    reported("B is stale");
    must_rebuild(2, 0);
    /* Lost while no machine ran: nobody knows yet. */
    wipe(&medium[1]);
    must_rebuild(0, 1);
    both_good("AB", 2);
    block_close(must_open("ACB"));
    reported("C is stale");
}

static void test_rebuild_new(void **state)
{
    (void)state;
    memset(medium[0].cache, 5, DATA);
    memset(medium[0].stable, 5, DATA);
    memset(medium[1].cache, 6, LEG);
    rebuild_refused(1, 0, "no room for the mark");
    medium[1].size = LEG - 4096;
    rebuild_refused(0, 1, "too small");
    medium[1].size = LEG;
    must_rebuild(0, 1);
    both_good("BA", 5);
    wipe(&medium[2]);
    rebuild_refused(2, 1, "right order");
}

static bool stop_half(void *ctx, uint64_t done, uint64_t all)
{
    (void)ctx;
    return done < all / 2;
}

static void test_rebuild_stopped(void **state)
{
    (void)state;
    struct block_error err;
    lose_b();
    struct block *x = fake_disk_open(&medium[0]), *y = fake_disk_open(&medium[1]);
    assert_int_equal(mirror_rebuild(x, y, stop_half, NULL, &err), -1);
    block_close(x);
    block_close(y);
    block_close(must_open("AB"));
    reported("B is stale");
    refused("B", "rebuild was not finished");
    rebuild_refused(1, 0, "does not hold all");
    must_rebuild(0, 1);
    both_good("AB", 2);
}

static void prepare_rebuild(bool mirror)
{
    for (unsigned i = 0; i < 2; i++) {
        wipe(&medium[i]);
        memset(medium[i].cache, mirror ? 0 : (int)i + 2, DATA);
        memset(medium[i].stable, mirror ? 0 : (int)i + 2, DATA);
    }
    if (mirror) {
        lose_b();
    }
}

static void rebuild_b(void *ctx)
{
    (void)ctx;
    must_rebuild(0, 1);
}

/* The plug is pulled at each point of a rebuild: A stays good throughout, and the rebuild can be
 * done again. */
static void test_rebuild_crash(void **state)
{
    (void)state;
    bool whole[2] = {false, false};
    for (unsigned left = 2; !whole[0] || !whole[1]; left++) {
        struct fake_plug plug = {.seed = left};
        struct block_error err;
        uint64_t seed = left;
        medium[0].plug = medium[1].plug = NULL;
        prepare_rebuild(left & 1);
        medium[0].plug = medium[1].plug = &plug;
        whole[left & 1] = fake_plug_run(&plug, left / 2, rebuild_b, NULL);
        fake_medium_crash(&medium[0], &seed, false);
        fake_medium_crash(&medium[1], &seed, false);
        if (rebuild_legs(0, 1, &err)) { /* when B was marked already, and A was not */
            must_rebuild(1, 0);
        }
        both_good("AB", 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create, setup, teardown),
        cmocka_unit_test_setup_teardown(test_create_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_create_interrupted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_zeroes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_fail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_fail_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mark_due, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_repair, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bitmap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rebuild, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rebuild_new, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rebuild_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rebuild_crash, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
