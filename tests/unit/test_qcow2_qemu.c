/* qcow2 against QEMU's tools (package qemu-utils), on real files: what they make is read alike,
 * what we write they find sound and read alike. Without them the test is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/qcow2_impl.h"
#include "disk_model.h"

#define SKIPPED 77

static char folder[] = "/tmp/ring3-qcow2-XXXXXX";

/** Run a shell command in the scratch folder; its exit status. */
static int sh(const char *fmt, ...) PRINTF_LIKE(1, 2);
static int sh(const char *fmt, ...)
{
    char command[1024], all[1200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    snprintf(all, sizeof(all), "cd %s && { %s; } >out 2>&1", folder, command);
    int status = system(all);
    int rc = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (rc) {
        snprintf(all, sizeof(all), "echo '%s:'; head -c 2000 %s/out", command, folder);
        (void)!system(all);
    }
    return rc;
}

static char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static struct block *open_image(const char *name, bool read_only)
{
    struct block_error err;
    struct block *b;
    const struct block_options o = {.read_only = read_only, .allow_backing = true};
    if (qcow2_open(path_of(name), &o, &b, &err)) {
        printf("%s\n", err.text);
        fail();
    }
    return b;
}

/** What is in the model, as a raw file. Discarded sectors are zero. */
static void write_raw(struct disk_model *m, const char *name)
{
    FILE *f = fopen(path_of(name), "wb");
    uint8_t sector[BLOCK_SECTOR];
    assert_non_null(f);
    for (uint64_t i = 0; i < m->sectors; i++) {
        model_fill(sector, m->sector[i].now == MODEL_ANY ? 0 : m->sector[i].now);
        assert_int_equal(fwrite(sector, sizeof(sector), 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
}

/** Stamps in some places of the model, as if written. */
static void scatter(struct disk_model *m, unsigned runs)
{
    for (unsigned r = 0; r < runs; r++) {
        uint64_t first = model_random(m, m->sectors),
                 count = min_u64(1 + model_random(m, 300), m->sectors - first);
        for (uint64_t i = 0; i < count; i++) {
            m->sector[first + i].now = m->sector[first + i].flushed = ++m->next_stamp;
        }
    }
}

static struct disk_model *new_model(uint64_t sectors, uint64_t seed)
{
    struct disk_model *m = malloc(model_size(sectors));
    assert_non_null(m);
    model_init(m, sectors, 0, seed);
    return m;
}

static const char *const read_cases[] = {
    "-o cluster_size=512",
    "-o cluster_size=4k",
    "-o cluster_size=64k",
    "-o cluster_size=2M",
    "-o compat=0.10",
    "-o compat=0.10,cluster_size=4k",
    "-c",
    "-c -o cluster_size=512",
    "-c -o cluster_size=4k,compat=0.10",
    "-c -o cluster_size=2M",
    "-c -o compression_type=zstd",
    "-c -o compression_type=zstd,cluster_size=512",
    "-c -o compression_type=zstd,cluster_size=2M",
    "-o preallocation=metadata",
    "-o preallocation=falloc,cluster_size=4k",
    "-o preallocation=full",
    "-o refcount_bits=1",
    "-o refcount_bits=2,cluster_size=4k",
    "-o refcount_bits=4,cluster_size=512",
    "-o refcount_bits=8",
    "-o refcount_bits=32,cluster_size=512",
    "-o refcount_bits=64,cluster_size=512",
    "-o lazy_refcounts=on",
};

/** Images that qemu-img wrote; then random requests of ours on them, and qemu-img looks at the
 * outcome. */
static void test_images_of_qemu(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(read_cases); i++) {
        struct disk_model *m = new_model(9000 + i, 40 + i);
        scatter(m, 60);
        write_raw(m, "raw");
        assert_int_equal(sh("rm -f image; qemu-img convert -O qcow2 %s raw image", read_cases[i]),
                         0);
        struct block *b = open_image("image", true);
        assert_int_equal(b->size, m->sectors * BLOCK_SECTOR);
        if (model_verify(m, b, false)) {
            printf("%s\n", read_cases[i]);
            fail();
        }
        block_close(b);
        b = open_image("image", false);
        for (unsigned step = 0; step < 150; step++) {
            assert_int_equal(model_step(m, b), 0);
        }
        assert_int_equal(model_verify(m, b, false), 0);
        block_close(b);
        b = open_image("image", true);
        assert_int_equal(model_verify(m, b, true), 0); /* settles what was discarded */
        block_close(b);
        write_raw(m, "raw");
        if (sh("qemu-img check image") ||
            sh("qemu-img convert -O raw image back && cmp raw back")) {
            printf("%s\n", read_cases[i]);
            fail();
        }
        free(m);
    }
}

/** Internal snapshots of QEMU's: ours writes to the disk, the snapshot stays as it was. */
static void test_snapshots(void **state)
{
    static const char *const options[] = {"cluster_size=512", "cluster_size=64k",
                                          "compat=0.10,cluster_size=4k", "refcount_bits=2"};
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        struct disk_model *m = new_model(5000, 80 + i);
        scatter(m, 40);
        write_raw(m, "first");
        assert_int_equal(sh("rm -f image; qemu-img convert %s -O qcow2 -o %s first image && "
                            "qemu-img snapshot -c one image",
                            i == 1 ? "-c" : "", options[i]),
                         0);
        struct block *b = open_image("image", false);
        for (unsigned step = 0; step < 150; step++) {
            assert_int_equal(model_step(m, b), 0);
        }
        block_close(b);
        b = open_image("image", true);
        assert_int_equal(model_verify(m, b, true), 0);
        block_close(b);
        write_raw(m, "second");
        assert_int_equal(sh("qemu-img check image"), 0);
        assert_int_equal(sh("qemu-img convert -O raw image back && cmp second back"), 0);
        assert_int_equal(sh("qemu-img convert -l one -O raw image back && cmp first back"), 0);
        free(m);
    }
}

/** Backing files: qcow2 over qcow2 over raw; ours writes on top, QEMU reads the whole. */
static void test_backing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct disk_model *m = new_model(6000, 60 + i);
        scatter(m, 20);
        write_raw(m, "base");
        const char *compat = i & 1 ? "compat=0.10" : "compat=1.1";
        assert_int_equal(
            sh("rm -f middle image; qemu-img create -q -f qcow2 -F raw -b base -o %s middle",
               compat),
            0);
        assert_int_equal(sh("qemu-io -c 'write -P 0 1M 64k' -c 'discard 1200k 256k' middle"), 0);
        assert_int_equal(
            sh("qemu-img create -q -f qcow2 -F qcow2 -b middle -o %s,cluster_size=%s image %u",
               compat, i & 2 ? "4k" : "64k", (6000 + i * 10) * BLOCK_SECTOR),
            0);
        struct disk_model *whole = new_model(6000 + i * 10, 70 + i);
        assert_int_equal(sh("qemu-img convert -O raw image raw"), 0);
        struct block *b = open_image("image", false);
        for (uint64_t s = 0; s < whole->sectors; s++) {
            whole->sector[s].flushed = MODEL_ANY;
        }
        assert_int_equal(model_verify(whole, b, true), 0); /* learns what is there */
        write_raw(whole, "ours");
        assert_int_equal(sh("cmp raw ours"), 0);
        whole->next_stamp = m->next_stamp;
        for (unsigned step = 0; step < 100; step++) {
            assert_int_equal(model_step(whole, b), 0);
        }
        assert_int_equal(model_verify(whole, b, false), 0);
        block_close(b);
        b = open_image("image", true);
        assert_int_equal(model_verify(whole, b, true), 0);
        block_close(b);
        write_raw(whole, "raw");
        assert_int_equal(
            sh("qemu-img check image && qemu-img convert -O raw image back && cmp raw back"), 0);
        free(m);
        free(whole);
    }
}

/** Images of ours: made, written, packed; QEMU finds them sound and reads them alike. */
static void test_images_of_ours(void **state)
{
    (void)state;
    for (unsigned bits = 9; bits <= 21; bits++) {
        struct block_error err;
        struct disk_model *m = new_model(20000, bits);
        const struct qcow2_create what = {.size = m->sectors * BLOCK_SECTOR, .cluster_bits = bits};
        assert_int_equal(sh("rm -f image"), 0);
        int fd = open(path_of("image"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_int_equal(qcow2_create(fd, "image", &what, &err), 0);
        close(fd);
        assert_int_equal(sh("qemu-img check image"), 0);
        scatter(m, 50);
        struct block *b = open_image("image", false);
        uint8_t *buf = malloc(1u << bits);
        for (uint64_t off = 0; off < b->size; off += 1u << bits) {
            for (uint64_t at = 0; at < 1u << bits; at += BLOCK_SECTOR) {
                model_fill(buf + at,
                           off + at < b->size ? m->sector[(off + at) / BLOCK_SECTOR].now : 0);
                memset(buf + at + 64, 7, 400); /* something to pack */
            }
            assert_int_equal(qcow2_write_compressed(b, off, buf), 0);
        }
        free(buf);
        block_close(b);
        assert_int_equal(sh("qemu-img check image && qemu-img convert -O raw image raw"), 0);
        struct disk_model *over = new_model(m->sectors, bits + 100);
        b = open_image("image", false);
        for (uint64_t i = 0; i < over->sectors; i++) {
            over->sector[i].now = MODEL_ANY;
        }
        for (unsigned step = 0; step < 100; step++) {
            assert_int_equal(model_step(over, b), 0);
        }
        assert_int_equal(model_verify(over, b, false), 0);
        block_close(b);
        assert_int_equal(sh("qemu-img check image && qemu-img convert -O raw image raw"), 0);
        struct block_options o = {.read_only = true};
        struct block *raw;
        assert_int_equal(raw_open(path_of("raw"), &o, &raw, &err), 0);
        assert_int_equal(model_verify(over, raw, false), 0);
        block_close(raw);
        free(m);
        free(over);
    }
}

/** QEMU's bitmaps: their clusters count as used; a write of ours says that they are out of date. */
static void test_bitmaps(void **state)
{
    (void)state;
    uint8_t buf[512] = {1};
    struct block_error err;
    struct qcow2_check_result result;
    assert_int_equal(sh("rm -f image; qemu-img create -q -f qcow2 image 1G && "
                        "qemu-img bitmap --add -g 64k image one && "
                        "qemu-io -c 'write 0 10M' -c 'write 900M 1M' image"),
                     0);
    assert_int_equal(qcow2_check(path_of("image"), false, NULL, &result, &err), 0);
    assert_int_equal(result.corruptions + result.leaks, 0);
    struct block *b = open_image("image", false);
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    assert_int_equal(block_write(b, 500u << 20, &vec, 1), 0);
    block_close(b);
    assert_int_equal(qcow2_check(path_of("image"), true, NULL, &result, &err), 0);
    assert_int_equal(result.corruptions + result.leaks, 0);
    assert_int_equal(sh("qemu-img info image | grep -q 'bitmaps:' && exit 1; "
                        "qemu-img check image || test $? -eq 3"),
                     0); /* 3: leaks only */
}

/** An image that QEMU with lazy refcounts left dirty: killed before it has written the counts. */
static void test_dirty(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        static const char *const sizes[] = {"512", "4k", "64k", "4k"};
        assert_int_equal(sh("rm -f image; qemu-img create -q -f qcow2 -o "
                            "lazy_refcounts=on,cluster_size=%s image 40M",
                            sizes[i]),
                         0);
        assert_int_equal(sh("qemu-io -c 'write -P 9 0 1M' image >/dev/null; "
                            "qemu-io -c 'write -P 1 1M 6M' -c 'write -P 2 20M 300k' -c 'flush' -c "
                            "'sigraise 9' image || true"),
                         0);
        struct qcow2_info info;
        struct block_error err;
        int fd = open(path_of("image"), O_RDONLY | O_CLOEXEC);
        assert_int_equal(qcow2_info(fd, "image", &info, &err), 0);
        close(fd);
        assert_true(info.dirty);
        assert_int_equal(sh("cp image copy; qemu-img convert -O raw copy raw"), 0);
        struct block *b = open_image("image", false);
        block_close(b);
        assert_int_equal(
            sh("qemu-img check image && qemu-img convert -O raw image back && cmp raw back"), 0);
    }
}

static int begin(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images_of_qemu), cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_backing),        cmocka_unit_test(test_images_of_ours),
        cmocka_unit_test(test_bitmaps),        cmocka_unit_test(test_dirty),
    };
    if (system("qemu-img --version >/dev/null 2>&1 && qemu-io --version >/dev/null 2>&1")) {
        printf("qemu-img and qemu-io are not installed\n");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, begin, end);
}
