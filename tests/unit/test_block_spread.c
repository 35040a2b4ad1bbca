/* src/block: concat and stripe, against a plain copy of what they should hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "fake_disk.h"

#define LEGS 3u
#define PIECE 0x40000u

static struct fake_medium medium[LEGS];
static uint8_t model[LEGS * PIECE * 2];

static void make(unsigned i, uint64_t size)
{
    static const char *const names[LEGS] = {"A", "B", "C"};
    fake_medium_init(&medium[i], names[i], size);
}

static void unmake(void)
{
    for (unsigned i = 0; i < LEGS; i++) {
        assert_false(medium[i].open);
        fake_medium_fini(&medium[i]);
    }
}

static void open_all(struct block *legs[LEGS])
{
    for (unsigned i = 0; i < LEGS; i++) {
        legs[i] = fake_disk_open(&medium[i]);
    }
}

/* What is at any byte, at random, a few thousand times; discarded sectors are not looked at. */
static void compare_all(const struct block *b, const uint8_t *real, const bool *wild)
{
    for (uint64_t s = 0; s < b->size / 512; s++) {
        if (!wild[s] && memcmp(real + s * 512, model + s * 512, 512)) {
            fail_msg("sector %llu differs", (unsigned long long)s);
        }
    }
}

static void exercise(struct block *b, uint64_t seed)
{
    static uint8_t buf[sizeof(model)];
    static bool wild[sizeof(model) / 512];
    struct io_vec vec[8];
    memset(model, 0, sizeof(model));
    memset(wild, 0, sizeof(wild));
    assert_true(b->size <= sizeof(model));
    for (unsigned round = 0; round < 400; round++) {
        uint64_t sectors = b->size / 512, first = fake_random(&seed) % sectors;
        uint64_t count =
            fake_random(&seed) % min_u64(sectors - first, round % 8 ? 80 : sectors) + 1;
        count = min_u64(count, sectors - first);
        uint64_t off = first * 512, len = count * 512, at = 0;
        unsigned n = 0;
        for (uint64_t i = 0; i < len; i++) {
            buf[i] = (uint8_t)(fake_random(&seed) >> 8);
        }
        for (; n < 7 && at < len; n++) {
            uint64_t piece = fake_random(&seed) % (len - at) + 1;
            vec[n] = (struct io_vec){buf + at, piece};
            at += piece;
        }
        vec[n++] = (struct io_vec){buf + at, len - at};
        switch (fake_random(&seed) % 8) {
        case 0:
            assert_int_equal(block_discard(b, off, len), 0);
            memset(wild + first, 1, count);
            break;
        case 1:
            assert_int_equal(block_write_zeroes(b, off, len, seed & 1), 0);
            memset(model + off, 0, len);
            memset(wild + first, 0, count);
            break;
        default:
            assert_int_equal(block_write(b, off, vec, n), 0);
            memcpy(model + off, buf, len);
            memset(wild + first, 0, count);
        }
        vec[n - 1].len = len - at;
        assert_int_equal(block_read(b, off, vec, n), 0);
        if (round % 16 == 0) {
            assert_int_equal(block_read_buf(b, 0, buf, b->size), 0);
            compare_all(b, buf, wild);
        }
    }
    assert_int_equal(block_flush(b), 0);
    for (unsigned i = 0; i < LEGS; i++) {
        assert_int_equal(medium[i].unflushed_count, 0);
        assert_true(medium[i].discards > 0 && medium[i].zeroes > 0);
    }
}

static void test_concat(void **state)
{
    (void)state;
    struct block *legs[LEGS], *b;
    struct block_error err;
    uint8_t byte[512];
    make(0, PIECE);
    make(1, 512);
    make(2, 2 * PIECE - 512 * 3);
    open_all(legs);
    assert_int_equal(concat_open(legs, LEGS, &b, &err), 0);
    assert_int_equal(b->size, 3 * PIECE - 512 * 2);
    exercise(b, 1);
    memset(byte, 0x77, sizeof(byte));
    assert_int_equal(block_write_buf(b, PIECE, byte, 512), 0);
    assert_int_equal(medium[1].cache[0], 0x77);
    assert_int_equal(block_write_buf(b, PIECE + 512, byte, 512), 0);
    assert_int_equal(medium[2].cache[0], 0x77);
    medium[1].fail_writes = medium[1].fail_flushes = true;
    assert_int_equal(block_write_buf(b, PIECE, byte, 512), -EIO);
    unsigned flushes = medium[2].flushes;
    assert_int_equal(block_flush(b), -EIO);
    assert_int_equal(medium[2].flushes, flushes + 1); /* the others all the same */
    block_close(b);
    unmake();
}

static void test_stripe(void **state)
{
    (void)state;
    struct block *legs[LEGS], *b;
    struct block_error err;
    uint8_t byte[512];
    for (unsigned i = 0; i < LEGS; i++) {
        make(i, PIECE + 512 * 3); /* the last three sectors fill no chunk */
    }
    open_all(legs);
    assert_int_equal(stripe_open(legs, LEGS, 8192, &b, &err), 0);
    assert_int_equal(b->size, 3 * PIECE);
    exercise(b, 2);
    memset(byte, 0x77, sizeof(byte));
    assert_int_equal(block_write_buf(b, 8192 * 4 + 512, byte, 512), 0);
    assert_int_equal(medium[1].cache[8192 + 512], 0x77);
    assert_int_equal(medium[0].cache[PIECE], 0);
    block_close(b);
    unmake();
}

static void stripe_refused(uint64_t chunk, const char *why)
{
    struct block *legs[LEGS], *b;
    struct block_error err = {.text = ""};
    open_all(legs);
    assert_int_equal(stripe_open(legs, LEGS, chunk, &b, &err), -1);
    if (!strstr(err.text, why)) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct block *legs[LEGS], *b;
    struct block_error err = {.text = ""};
    make(0, PIECE);
    make(1, PIECE);
    make(2, PIECE - 512);
    stripe_refused(8192, "must be of one size");
    medium[2].size = PIECE;
    stripe_refused(6000, "power of two");
    stripe_refused(2048, "power of two");
    stripe_refused(PIECE * 2, "too short");
    medium[1].read_only = true;
    stripe_refused(8192, "B is read-only");
    open_all(legs);
    assert_int_equal(concat_open(legs, LEGS, &b, &err), -1);
    assert_non_null(strstr(err.text, "B is read-only"));
    medium[1].read_only = false;
    legs[0] = fake_disk_open(&medium[0]);
    assert_int_equal(concat_open(legs, 1, &b, &err), -1);
    assert_non_null(strstr(err.text, "2 to 64"));
    unmake();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_concat),
        cmocka_unit_test(test_stripe),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
