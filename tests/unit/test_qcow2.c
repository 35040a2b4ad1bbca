/* qcow2 images that are wrong: refused with a reason, or found out before they do harm; checks and
 * repairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "qcow2_image.h"

#define SECTORS 4096u
#define BITS 12u
#define CLUSTER (1u << BITS)

/** An image with data in its first 100 clusters. */
static void make_written(struct fake_file *d)
{
    static uint8_t buf[100 * CLUSTER];
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    fake_file_init(d);
    image_make(d, SECTORS * BLOCK_SECTOR, BITS);
    memset(buf, 0x5a, sizeof(buf));
    struct qcow2 *q = image_open(d, 0, false);
    assert_int_equal(block_write(&q->base, 0, &vec, 1), 0);
    block_close(&q->base);
    image_check(d, false);
}

/** A number in the header that makes the image unusable, and what the message must say. */
struct bad_header {
    unsigned off, bytes;
    uint64_t value;
    const char *words;
};

static const struct bad_header bad_headers[] = {
    {HEADER_MAGIC, 4, 0x51464900, "does not begin"},
    {HEADER_VERSION, 4, 1, "version 1"},
    {HEADER_VERSION, 4, 4, "version 4"},
    {HEADER_BACKING_OFFSET, 8, 1ull << 40, "name is misplaced"},
    {HEADER_CLUSTER_BITS, 4, 8, "cluster size"},
    {HEADER_CLUSTER_BITS, 4, 22, "cluster size"},
    {HEADER_SIZE, 8, 100, "512-byte sectors"},
    {HEADER_SIZE, 8, 1ull << 62, "512-byte sectors"},
    {HEADER_SIZE, 8, 1ull << 40, "too small"},
    {HEADER_CRYPT_METHOD, 4, 1, "AES encryption"},
    {HEADER_CRYPT_METHOD, 4, 2, "LUKS encryption"},
    {HEADER_L1_SIZE, 4, 0, "too small"},
    {HEADER_L1_SIZE, 4, 1u << 30, "larger than 32 MB"},
    {HEADER_L1_OFFSET, 8, 0, "L1 table"},
    {HEADER_L1_OFFSET, 8, 1000, "L1 table"},
    {HEADER_L1_OFFSET, 8, 1ull << 60, "L1 table"},
    {HEADER_L1_OFFSET, 8, CLUSTER, "over each other"},
    {HEADER_REFTABLE_OFFSET, 8, 0, "refcount table"},
    {HEADER_REFTABLE_OFFSET, 8, 2 * CLUSTER, "where none can be"},
    {HEADER_REFTABLE_CLUSTERS, 4, 0, "refcount table"},
    {HEADER_REFTABLE_CLUSTERS, 4, 1u << 20, "refcount table"},
    {HEADER_SNAPSHOTS, 4, 1u << 20, "65536 snapshots"},
    {HEADER_SNAPSHOTS, 4, 1, "snapshot table"},
    {HEADER_INCOMPATIBLE, 8, 2, "marked as damaged"},
    {HEADER_INCOMPATIBLE, 8, 4, "external data file"},
    {HEADER_INCOMPATIBLE, 8, 8, "contradict"},
    {HEADER_INCOMPATIBLE, 8, 16, "extended L2"},
    {HEADER_INCOMPATIBLE, 8, 1ull << 5, "incompatible feature bit 5"},
    {HEADER_INCOMPATIBLE, 8, 1ull << 63, "incompatible feature bit 63"},
    {HEADER_REFCOUNT_ORDER, 4, 7, "64 bits"},
    {HEADER_LENGTH, 4, 96, "header length"},
    {HEADER_LENGTH, 4, 1u << 31, "header length"},
    {HEADER_COMPRESSION, 1, 1, "contradict"},
};

static void store(uint8_t *p, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    }
}

static void test_bad_headers(void **state)
{
    (void)state;
    struct fake_file d;
    make_written(&d);
    for (unsigned i = 0; i < ARRAY_LEN(bad_headers); i++) {
        const struct bad_header *h = &bad_headers[i];
        uint8_t saved[8];
        struct qcow2 *q;
        memcpy(saved, d.now + h->off, 8);
        store(d.now + h->off, h->bytes, h->value);
        const char *error = image_try_open(&d, false, &q);
        if (!error || !strstr(error, h->words) || strchr(error, '\n')) {
            printf("case %u: %s\n", i, error ? error : "opened");
            fail();
        }
        memcpy(d.now + h->off, saved, 8);
    }
    image_check(&d, false);
    fake_file_fini(&d);
}

/** A backing file is opened only when that was asked for, and only a plain one. */
static void test_backing_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"base", "nbd://localhost", "json:{}", "file:/etc/passwd",
                                        "/nowhere/base"};
    struct fake_file d;
    make_written(&d);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        struct block_error err = {.text = ""};
        const struct qcow2_file file = fake_file_file(&d);
        struct qcow2 *q;
        store_be64(d.now + HEADER_BACKING_OFFSET, 200);
        store_be32(d.now + HEADER_BACKING_SIZE, (uint32_t)strlen(names[i]));
        memcpy(d.now + 200, names[i], strlen(names[i]));
        const char *error = image_try_open(&d, true, &q);
        assert_non_null(error);
        assert_non_null(strstr(error, "say ,backing"));
        assert_non_null(strstr(error, names[i]));
        const struct block_options o = {.read_only = true, .allow_backing = true};
        assert_int_equal(qcow2_open_image(&file, "/nowhere/image", &o, QCOW2_AS_DISK, &q, &err),
                         -1);
        assert_non_null(strstr(err.text, strchr(names[i], ':') ? "not a plain file"
                                                               : "/nowhere/base: no such file"));
    }
    fake_file_fini(&d);
}

/** The image names its features; files that break off anywhere are refused or read as far as they
 * go. */
static void test_cut_off(void **state)
{
    (void)state;
    struct fake_file d;
    make_written(&d);
    const uint64_t size = d.size;
    for (uint64_t len = 0; len < size; len = len < 5000 ? len + 7 : len + 1024) {
        struct qcow2 *q;
        d.size = len;
        const char *error = image_try_open(&d, true, &q);
        assert_true(!error || error[0]);
        if (!error) {
            uint8_t buf[4096];
            (void)!qcow2_read_bytes(q, 0, buf, sizeof(buf));
            block_close(&q->base);
        }
    }
    d.size = size;
    fake_file_fini(&d);
}

static void test_feature_names(void **state)
{
    (void)state;
    struct fake_file d;
    struct qcow2 *q;
    make_written(&d);
    store_be64(d.now + HEADER_INCOMPATIBLE, 1ull << 9);
    store_be32(d.now + 112, EXTENSION_FEATURE_NAMES);
    store_be32(d.now + 116, 96);
    d.now[120] = 1;
    d.now[121] = 9;
    memcpy(d.now + 122, "compatible thing", 16);
    d.now[168] = 0;
    d.now[169] = 9;
    memcpy(d.now + 170, "magic\nbeans", 11);
    const char *error = image_try_open(&d, true, &q);
    assert_non_null(error);
    assert_non_null(strstr(error, "\"magic?beans\" (incompatible feature bit 9)"));
    fake_file_fini(&d);
}

/** Where the L2 entry of guest cluster i lies in the file. */
static uint8_t *entry_at(struct fake_file *d, unsigned i)
{
    uint64_t l1 = load_be64(d->now + HEADER_L1_OFFSET);
    uint64_t table = load_be64(d->now + l1 + i / (CLUSTER / 8) * 8) & ENTRY_OFFSET;
    return d->now + table + i % (CLUSTER / 8) * 8;
}

/** Where the count of a cluster lies. */
static uint8_t *count_at(struct fake_file *d, uint64_t cluster)
{
    uint64_t reftable = load_be64(d->now + HEADER_REFTABLE_OFFSET);
    return d->now + load_be64(d->now + reftable + cluster / (CLUSTER / 2) * 8) +
           cluster % (CLUSTER / 2) * 2;
}

static uint64_t reports;

static void on_report(void *ctx, const char *line)
{
    (void)ctx;
    assert_null(strchr(line, '\n'));
    reports++;
}

/** Guest data that an entry puts over a table: a write fails, marks the image, and the table is as
 * it was. */
static void test_data_over_tables(void **state)
{
    (void)state;
    static uint8_t buf[CLUSTER];
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    for (unsigned where = 0; where < 5; where++) {
        struct fake_file d;
        make_written(&d);
        const uint64_t reftable = load_be64(d.now + HEADER_REFTABLE_OFFSET),
                       l1 = load_be64(d.now + HEADER_L1_OFFSET);
        const uint64_t places[] = {0, reftable, load_be64(d.now + reftable), l1,
                                   load_be64(d.now + l1) & ENTRY_OFFSET};
        store_be64(entry_at(&d, 7), places[where] | ENTRY_COPIED);
        struct qcow2 *q = image_open(&d, 0, false);
        q->base.report = on_report;
        reports = 0;
        const uint64_t writes = d.writes;
        assert_int_equal(block_write(&q->base, 7 * CLUSTER, &vec, 1), -EIO);
        assert_int_equal(reports, 1);
        assert_int_equal(d.writes, writes + 1); /* the header's mark */
        assert_int_equal(block_write(&q->base, 0, &vec, 1), -EIO);
        assert_int_equal(block_read(&q->base, 0, &vec, 1), 0);
        block_close(&q->base);
        const char *error = image_try_open(&d, false, &q);
        assert_non_null(error);
        assert_non_null(strstr(error, "marked as damaged"));
        assert_true(image_repair(&d, false).corruptions > 0);
        fake_file_fini(&d);
    }
}

/** A free count for a cluster that holds a table must not make it guest data. */
static void test_tables_counted_free(void **state)
{
    (void)state;
    static uint8_t buf[200 * CLUSTER];
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    for (uint64_t cluster = 0; cluster < 4; cluster++) {
        struct fake_file d;
        make_written(&d);
        store_be16(count_at(&d, cluster), 0);
        struct qcow2 *q = image_open(&d, 0, false);
        q->base.report = on_report;
        assert_int_equal(block_write(&q->base, 120 * CLUSTER, &vec, 1), -EIO);
        block_close(&q->base);
        struct qcow2_check_result r = image_repair(&d, true);
        assert_int_equal(r.corruptions, 1);
        assert_int_equal(r.corruptions_fixed, 1);
        image_check(&d, false);
        q = image_open(&d, 0, false);
        assert_int_equal(block_write(&q->base, 120 * CLUSTER, &vec, 1), 0);
        block_close(&q->base);
        image_check(&d, false);
        fake_file_fini(&d);
    }
}

/** Entries that cannot be: reading that cluster fails, others go on. */
static void test_bad_entries(void **state)
{
    (void)state;
    static const uint64_t bad[] = {0x1200, ENTRY_COPIED, ENTRY_COMPRESSED | 0x3fffffffffffffffull,
                                   ENTRY_COMPRESSED, 0x200 | ENTRY_ZERO};
    uint8_t buf[CLUSTER];
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct fake_file d;
        make_written(&d);
        store_be64(entry_at(&d, 3), bad[i]);
        struct qcow2 *q = image_open(&d, 0, true);
        q->base.report = on_report;
        assert_int_equal(block_read(&q->base, 3 * CLUSTER, &vec, 1), -EIO);
        assert_int_equal(block_read(&q->base, 4 * CLUSTER, &vec, 1), 0);
        assert_int_equal(buf[0], 0x5a);
        block_close(&q->base);
        struct qcow2_check_result r = image_repair(&d, true);
        assert_true(r.corruptions > r.corruptions_fixed);
        assert_int_equal(r.leaks_fixed, 0); /* the entry may have meant one of them */
        fake_file_fini(&d);
    }
}

/** Counts too high and too low, flags wrong, a lost block: repaired, and the data is as it was. */
static void test_repair(void **state)
{
    (void)state;
    for (unsigned what = 0; what < 5; what++) {
        struct fake_file d;
        make_written(&d);
        uint64_t reftable = load_be64(d.now + HEADER_REFTABLE_OFFSET);
        uint64_t data = cluster_of(&(struct qcow2){.h = {.cluster_bits = BITS}},
                                   load_be64(entry_at(&d, 9)) & ENTRY_OFFSET);
        switch (what) {
        case 0: store_be16(count_at(&d, data), 7); break;
        case 1: store_be16(count_at(&d, data), 0); break;
        case 2: store_be64(entry_at(&d, 9), load_be64(entry_at(&d, 9)) & ~ENTRY_COPIED); break;
        case 3: store_be64(d.now + reftable, 0); break;
        case 4: store_be64(d.now + reftable, 12345); break;
        }
        struct qcow2_check_result r = image_repair(&d, true);
        assert_true(r.corruptions + r.leaks > 0);
        assert_int_equal(r.corruptions, r.corruptions_fixed);
        assert_int_equal(r.leaks, r.leaks_fixed);
        image_repair(&d, true); /* a lost block is leaked once it has been replaced */
        image_check(&d, false);
        struct qcow2 *q = image_open(&d, 0, false);
        for (unsigned i = 0; i < 100; i++) {
            uint8_t byte;
            assert_int_equal(qcow2_read_bytes(q, (uint64_t)i * CLUSTER + 77, &byte, 1), 0);
            assert_int_equal(byte, 0x5a);
        }
        block_close(&q->base);
        fake_file_fini(&d);
    }
}

/** A dirty image whose counts were never written: repaired when it is opened for writing. */
static void test_dirty(void **state)
{
    (void)state;
    struct fake_file d;
    make_written(&d);
    uint64_t reftable = load_be64(d.now + HEADER_REFTABLE_OFFSET);
    memset(d.now + load_be64(d.now + reftable), 0, CLUSTER);
    store_be64(d.now + HEADER_INCOMPATIBLE, INCOMPATIBLE_DIRTY);
    struct qcow2 *q = image_open(&d, 0, true);
    block_close(&q->base);
    assert_int_equal(load_be64(d.now + HEADER_INCOMPATIBLE), INCOMPATIBLE_DIRTY);
    q = image_open(&d, 0, false);
    block_close(&q->base);
    assert_int_equal(load_be64(d.now + HEADER_INCOMPATIBLE), 0);
    image_check(&d, false);
    fake_file_fini(&d);
}

/** "may only write to an image with unknown auto-clear features if it clears the respective bits".
 */
static void test_autoclear(void **state)
{
    (void)state;
    uint8_t buf[512] = {1};
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    struct fake_file d;
    make_written(&d);
    store_be64(d.now + HEADER_AUTOCLEAR, 0xff00);
    struct qcow2 *q = image_open(&d, 0, false);
    assert_int_equal(load_be64(d.now + HEADER_AUTOCLEAR), 0xff00);
    assert_int_equal(block_write(&q->base, 0, &vec, 1), 0);
    assert_int_equal(load_be64(d.now + HEADER_AUTOCLEAR), 0);
    assert_int_equal(d.log_count, 1); /* the data; the header is on stable storage */
    block_close(&q->base);
    fake_file_fini(&d);
}

/** Zeros and discards give space back; what is known zero is known without reading. */
static void test_space(void **state)
{
    (void)state;
    struct fake_file d;
    make_written(&d);
    struct qcow2 *q = image_open(&d, 0, false);
    struct block *b = &q->base;
    assert_int_equal(block_zero_run(b, 0, b->size), 0);
    assert_int_equal(block_zero_run(b, 100 * CLUSTER, b->size - 100 * CLUSTER),
                     b->size - 100 * CLUSTER);
    assert_int_equal(block_write_zeroes(b, 10 * CLUSTER + 512, 5 * CLUSTER, true), 0);
    assert_int_equal(block_zero_run(b, 11 * CLUSTER, b->size - 11 * CLUSTER), 4 * CLUSTER);
    assert_int_equal(block_discard(b, 20 * CLUSTER - 512, 80 * CLUSTER + 512), 0);
    assert_int_equal(block_flush(b), 0);
    assert_int_equal(image_repair(&d, false).data, 20 - 4);
    uint64_t before = d.size;
    static uint8_t buf[60 * CLUSTER];
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    assert_int_equal(block_write(b, 200 * CLUSTER, &vec, 1), 0);
    assert_int_equal(block_flush(b), 0);
    assert_true(d.size <= before); /* from what was freed */
    assert_int_equal(block_write_zeroes(b, 200 * CLUSTER, 60 * CLUSTER, false), 0);
    assert_int_equal(block_zero_run(b, 200 * CLUSTER, 100 * CLUSTER), 100 * CLUSTER);
    assert_int_equal(
        block_write(b, 200 * CLUSTER + 512, &(struct io_vec){.base = buf, .len = 512}, 1),
        0); /* keeps its space */
    block_close(b);
    image_check(&d, false);
    fake_file_fini(&d);
}

/** The refcount table outgrows its place: 512-byte clusters, 64-bit counts. */
static void test_reftable_grows(void **state)
{
    (void)state;
    struct fake_file d;
    static uint8_t buf[1u << 20];
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    fake_file_init(&d);
    image_make(&d, 40u << 20, 9);
    struct qcow2 *q = image_open(&d, 0, false);
    const uint64_t clusters = q->h.reftable_clusters, off = q->h.reftable_offset;
    for (uint64_t at = 0; at < 24u << 20; at += sizeof(buf)) {
        memset(buf, (int)(at >> 20) + 1, sizeof(buf));
        assert_int_equal(block_write(&q->base, at, &vec, 1), 0);
    }
    block_close(&q->base);
    q = image_open(&d, 0, false);
    assert_true(q->h.reftable_clusters > clusters && q->h.reftable_offset != off);
    for (uint64_t at = 0; at < 24u << 20; at += sizeof(buf)) {
        assert_int_equal(block_read(&q->base, at, &vec, 1), 0);
        assert_int_equal(buf[12345], (at >> 20) + 1);
    }
    block_close(&q->base);
    image_check(&d, false);
    fake_file_fini(&d);
}

static void test_create(void **state)
{
    (void)state;
    static const struct {
        uint64_t size;
        unsigned bits;
        const char *backing;
        const char *words; /* of the error; NULL: it works */
    } cases[] = {
        {0, 16, NULL, NULL},
        {512, 9, NULL, NULL},
        {1ull << 40, 16, NULL, NULL},
        {128ull << 30, 9, NULL, NULL},
        {(128ull << 30) + 512, 9, NULL, "use larger ones"},
        {1000, 16, NULL, "multiple of 512"},
        {1ull << 20, 8, NULL, "512 bytes to 2 MB"},
        {1ull << 20, 22, NULL, "512 bytes to 2 MB"},
        {1ull << 20, 16, "some/where.raw", NULL},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct block_error err = {.text = ""};
        const struct qcow2_create what = {.size = cases[i].size,
                                          .cluster_bits = cases[i].bits,
                                          .backing = cases[i].backing,
                                          .backing_format = cases[i].backing ? "raw" : NULL};
        int fd = memfd_create("image", MFD_CLOEXEC);
        int rc = qcow2_create(fd, "image", &what, &err);
        struct qcow2_info info;
        assert_int_equal(rc, cases[i].words ? -1 : 0);
        if (cases[i].words) {
            assert_non_null(strstr(err.text, cases[i].words));
        } else {
            assert_int_equal(qcow2_info(fd, "image", &info, &err), 0);
            assert_int_equal(info.size, cases[i].size);
            assert_int_equal(info.cluster_bits, cases[i].bits);
            assert_string_equal(info.backing, cases[i].backing ? cases[i].backing : "");
        }
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_backing_refused),
        cmocka_unit_test(test_feature_names),
        cmocka_unit_test(test_data_over_tables),
        cmocka_unit_test(test_tables_counted_free),
        cmocka_unit_test(test_bad_entries),
        cmocka_unit_test(test_repair),
        cmocka_unit_test(test_dirty),
        cmocka_unit_test(test_autoclear),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_reftable_grows),
        cmocka_unit_test(test_create),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
