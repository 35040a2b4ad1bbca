/* qcow2 and power loss: random requests against a model, on a file that loses what no barrier has
 * kept, sector by sector, in any order. What was flushed must be there, the tables must be sound
 * (leaks are allowed), and internal snapshots untouched.
 *
 * RING3_TEST_SEED=N: other requests; RING3_TEST_ROUNDS=N: more of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qcow2_image.h"

struct scene {
    const char *name;
    unsigned cluster_bits;
    uint64_t sectors, backed;
    bool snapshot;
};

static const struct scene scenes[] = {
    {"512-byte clusters", 9, 3000, 0, false},
    {"512-byte clusters, backing, snapshot", 9, 3001, 2000, true},
    {"4 KB clusters", 12, 8000, 0, false},
    {"4 KB clusters, backing", 12, 8001, 5001, false},
    {"64 KB clusters, snapshot", 16, 8000, 0, true},
    {"64 KB clusters, backing, snapshot", 16, 8005, 4000, true},
    {"2 MB clusters", 21, 12000, 0, false},
};

struct bench {
    const struct scene *scene;
    struct fake_file disk;
    struct disk_model *model, *kept; /* kept: what the snapshot holds */
    struct qcow2 *q;
};

static uint64_t from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t draw(void *ctx)
{
    return model_random(ctx, 1u << 30);
}

static void open_disk(struct bench *t)
{
    t->q = image_open(&t->disk, t->scene->backed, false);
}

static void begin(struct bench *t, const struct scene *scene, uint64_t seed)
{
    *t = (struct bench){.scene = scene};
    fake_file_init(&t->disk);
    image_make(&t->disk, scene->sectors * BLOCK_SECTOR, scene->cluster_bits);
    t->model = malloc(model_size(scene->sectors));
    model_init(t->model, scene->sectors, scene->backed, seed);
    if (scene->snapshot) {
        open_disk(t);
        for (unsigned i = 0; i < 60; i++) {
            assert_int_equal(model_step(t->model, &t->q->base), 0);
        }
        assert_int_equal(model_flush(t->model, &t->q->base), 0);
        block_close(&t->q->base);
        image_snapshot(&t->disk);
        image_check(&t->disk, false);
        t->kept = malloc(model_size(scene->sectors));
        memcpy(t->kept, t->model, model_size(scene->sectors));
    }
    open_disk(t);
}

static void end(struct bench *t)
{
    block_close(&t->q->base);
    image_check(&t->disk, true);
    free(t->model);
    free(t->kept);
    fake_file_fini(&t->disk);
}

/** What the snapshot holds, once what it discarded is settled. */
static void check_kept(struct bench *t)
{
    if (t->kept) {
        struct qcow2 *q = image_open_snapshot(&t->disk, t->scene->backed);
        assert_int_equal(model_verify(t->kept, &q->base, true), 0);
        block_close(&q->base);
    }
}

static void crash(struct bench *t)
{
    static const unsigned keeps[] = {0, 20, 128, 230, 256};
    qcow2_free(t->q);
    fake_file_crash(&t->disk, keeps[model_random(t->model, ARRAY_LEN(keeps))], draw, t->model);
    image_check(&t->disk, true);
    if (model_random(t->model, 8) == 0) {
        image_repair(&t->disk, true);
        image_check(&t->disk, false);
    }
    open_disk(t);
    assert_int_equal(model_verify(t->model, &t->q->base, true), 0);
}

static void run_scene(const struct scene *scene, uint64_t seed, uint64_t rounds)
{
    struct bench t;
    begin(&t, scene, seed);
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t steps = model_random(t.model, 40);
        for (uint64_t i = 0; i < steps; i++) {
            int rc = model_step(t.model, &t.q->base);
            if (rc) {
                printf("%s: seed %llu round %llu: error %d\n", scene->name,
                       (unsigned long long)seed, (unsigned long long)round, rc);
            }
            assert_int_equal(rc, 0);
        }
        assert_int_equal(model_verify(t.model, &t.q->base, false), 0);
        crash(&t);
        if (round % 16 == 0) {
            check_kept(&t);
        }
    }
    check_kept(&t);
    end(&t);
}

static void test_power_loss(void **state)
{
    (void)state;
    const uint64_t seed = from_env("RING3_TEST_SEED", 1),
                   rounds = from_env("RING3_TEST_ROUNDS", 150);
    for (unsigned i = 0; i < ARRAY_LEN(scenes); i++) {
        printf("%s: seed %llu, %llu crashes\n", scenes[i].name, (unsigned long long)seed,
               (unsigned long long)rounds);
        run_scene(&scenes[i], seed + i, scenes[i].cluster_bits == 21 ? rounds / 10 : rounds);
    }
}

/** Long runs without a crash: many clusters, the refcount table grows, caches fill; clean after
 * closing. */
static void test_no_crash(void **state)
{
    (void)state;
    const uint64_t seed = from_env("RING3_TEST_SEED", 1);
    for (unsigned i = 0; i < ARRAY_LEN(scenes); i++) {
        struct bench t;
        begin(&t, &scenes[i], seed + 100 + i);
        for (unsigned step = 0; step < 3000; step++) {
            assert_int_equal(model_step(t.model, &t.q->base), 0);
            if (step % 500 == 499) {
                assert_int_equal(model_verify(t.model, &t.q->base, false), 0);
                block_close(&t.q->base);
                image_check(&t.disk, false);
                open_disk(&t);
            }
        }
        assert_int_equal(model_verify(t.model, &t.q->base, false), 0);
        check_kept(&t);
        end(&t);
    }
}

/** Writes and barriers of the file fail now and then; nothing that was flushed is lost, and a
 * failed barrier is never forgotten. */
static void test_failures(void **state)
{
    (void)state;
    const uint64_t rounds = from_env("RING3_TEST_ROUNDS", 150);
    for (unsigned i = 0; i < 6; i++) {
        struct bench t;
        begin(&t, &scenes[i], 77 + i);
        for (uint64_t round = 0; round < rounds; round++) {
            bool sync = model_random(t.model, 4) == 0, failed = false;
            t.disk.fail_write = sync ? 0 : t.disk.writes + 1 + model_random(t.model, 60);
            t.disk.fail_sync = sync ? t.disk.syncs + 1 + model_random(t.model, 5) : 0;
            for (unsigned step = 0; step < 40; step++) {
                int rc = model_step(t.model, &t.q->base);
                failed |= rc != 0;
                assert_true(rc == 0 || rc == -5);
            }
            if (t.disk.fail_sync && t.disk.syncs >= t.disk.fail_sync) {
                assert_int_equal(model_flush(t.model, &t.q->base), -5);
            } else if (!failed) {
                assert_int_equal(model_verify(t.model, &t.q->base, false), 0);
            }
            t.disk.fail_write = t.disk.fail_sync = 0;
            crash(&t);
        }
        check_kept(&t);
        end(&t);
    }
}

/** The host's file system is full: writes fail, then there is room again and they go on. */
static void test_no_space(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        struct bench t;
        unsigned failures = 0;
        begin(&t, &scenes[i], 99 + i);
        for (unsigned round = 0; round < 20; round++) {
            t.disk.room = t.disk.size + model_random(t.model, 200000);
            for (unsigned step = 0; step < 30; step++) {
                int rc = model_step(t.model, &t.q->base);
                assert_true(rc == 0 || rc == -28);
                failures += rc != 0;
            }
            t.disk.room = 0;
            assert_int_equal(block_flush(&t.q->base), 0);
            assert_int_equal(model_verify(t.model, &t.q->base, true), 0);
            image_check(&t.disk, true);
        }
        assert_true(failures > 0);
        check_kept(&t);
        end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_crash),
        cmocka_unit_test(test_power_loss),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_no_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
