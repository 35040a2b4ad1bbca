/* src/block: a flush in two halves (block_flush_files, block_flush_end) is a flush. */
#include "block_files.h"

struct flushed {
    const char *spec;
    const char *files[6]; /* in order */
};

static const struct flushed flushed[] = {
    {"a", {"a"}},
    {"concat:a,one,b", {"a", "one", "b"}},
    {"stripe:4K:a,b,c", {"a", "b", "c"}},
    {"stripe:64K:[concat:a,one],[concat:b,two]", {"a", "one", "b", "two"}},
};

static unsigned count_files(const struct flushed *f)
{
    unsigned n = 0;
    while (f->files[n]) {
        n++;
    }
    return n;
}

/* The disk, and all below it, believes no flush any more. */
static void expect_failed(struct block *b)
{
    int fd[8];
    struct spread *s = (struct spread *)b;
    bool legs = strcmp(b->ops->format, "concat") == 0 || strcmp(b->ops->format, "stripe") == 0;
    assert_int_equal(block_flush(b), -EDQUOT);
    assert_int_equal(block_flush_files(b, fd, 8), 0);
    assert_int_equal(block_flush(b), -EDQUOT);
    for (unsigned i = 0; legs && i < s->count; i++) {
        expect_failed(s->leg[i]);
    }
}

static void test_flush(void **state)
{
    (void)state;
    make_plain_files();
    for (unsigned i = 0; i < 2 * ARRAY_LEN(flushed); i++) {
        const struct flushed *f = &flushed[i / 2];
        const unsigned n = count_files(f);
        int fd[8];
        struct block_run run[BLOCK_RUNS_MAX];
        struct block *b = open_disk(f->spec, (struct block_options){.iops = i % 2});
        for (unsigned max = 0; max < 8; max++) {
            memset(fd, 0x5a, sizeof(fd));
            assert_int_equal(block_flush_files(b, fd, max), max < n ? 0 : n);
            for (unsigned j = 0; j < n && max >= n; j++) {
                assert_true(is_file(fd[j], f->files[j]));
            }
            for (unsigned j = max; j < 8; j++) {
                assert_int_equal(fd[j], 0x5a5a5a5a);
            }
        }
        put(b, 0, 1, 512);
        assert_int_equal(block_flush_end(b, 0), 0);
        assert_int_equal(block_flush_files(b, fd, 8), n);
        assert_int_equal(block_flush(b), 0);
        assert_int_equal(block_flush_files(b, fd, 8), n);
        assert_int_equal(block_flush_end(b, -EDQUOT), -EDQUOT);
        assert_int_equal(block_flush_end(b, 0), -EDQUOT);
        expect_failed(b);
        assert_true(block_locate(b, 0, 4096, run, BLOCK_RUNS_MAX) > 0); /* reading goes on */
        block_close(b);
    }
}

/* A leg that failed by itself, before a flush or during one. */
static void test_flush_leg(void **state)
{
    static const char *const names[3] = {"a", "b", "c"};
    int fd[4];
    (void)state;
    make_plain_files();
    for (unsigned i = 0; i < 3; i++) {
        struct block_error err;
        struct block *leg[3], *b;
        for (unsigned j = 0; j < 3; j++) {
            leg[j] = open_disk(names[j], plain);
        }
        assert_int_equal(stripe_open(leg, 3, 4096, &b, &err), 0);
        assert_int_equal(throttle_open(b, 1000, 0, &b, &err), 0);
        assert_int_equal(block_flush_files(b, fd, 4), 3);
        assert_int_equal(block_flush_end(leg[i], -EDQUOT), -EDQUOT);
        assert_int_equal(block_flush_end(b, 0), -EDQUOT);
        assert_int_equal(block_flush_files(b, fd, 4), 0);
        assert_int_equal(block_flush(b), -EDQUOT);
        block_close(b);
    }
}

static void test_flush_untold(void **state)
{
    static const char *const specs[] = {"q.qcow2", "concat:a,q.qcow2", "mirror:a,b",
                                        "concat:a,[mirror:b,c]"};
    int fd[8];
    struct block_run run[BLOCK_RUNS_MAX];
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(specs); i++) {
        make_plain_files();
        make_qcow2("q.qcow2", 12, NULL);
        struct block *b = open_disk(specs[i], plain);
        put(b, 0, 1, 512);
        assert_int_equal(block_flush_files(b, fd, 8), 0);
        assert_int_equal(block_flush(b), 0);
        block_close(b);
    }
    for (unsigned i = 0; i < ARRAY_LEN(flushed); i++) {
        struct block *b = open_disk(flushed[i].spec, read_only);
        assert_int_equal(block_flush_files(b, fd, 8), 0);
        assert_true(block_locate(b, 0, 4096, run, BLOCK_RUNS_MAX) > 0);
        block_close(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flush_leg, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flush_untold, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
