/* src/block: what people write after -d, and opening it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "block/guest_disk.h"
#include "block/impl.h"
#include "block/qcow2.h"
#include "block/spec.h"

static char dir[64], old_dir[256];
static char last_report[512];

static void report(void *ctx, const char *line)
{
    (void)ctx;
    snprintf(last_report, sizeof(last_report), "%s", line);
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/ring3-open-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_non_null(getcwd(old_dir, sizeof(old_dir)));
    assert_int_equal(chdir(dir), 0);
    return setenv("XDG_RUNTIME_DIR", dir, 1);
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    assert_int_equal(chdir(old_dir), 0);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static void make(const char *name, off_t size)
{
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

/* ---- parsing ---- */

static void parses(const char *arg, const char *want, struct block_options *o)
{
    struct block_error err;
    char *spec;
    *o = (struct block_options){.vm_name = "kept"};
    if (block_parse(arg, &spec, o, &err)) {
        fail_msg("%s: %s", arg, err.text);
    }
    assert_string_equal(spec, want);
    assert_string_equal(o->vm_name, "kept");
    free(spec);
}

static void wrong(const char *arg, const char *why)
{
    struct block_error err = {.text = ""};
    struct block_options o = {.read_only = false};
    char *spec;
    assert_int_equal(block_parse(arg, &spec, &o, &err), -1);
    if (!strstr(err.text, why) || strchr(err.text, '\n')) {
        fail_msg("%s: \"%s\" does not say \"%s\"", arg, err.text, why);
    }
}

static void test_parse(void **state)
{
    (void)state;
    struct block_options o;
    parses("disk.img", "disk.img", &o);
    assert_false(o.read_only || o.allow_backing || o.format || o.serial[0] || o.iops || o.bps);
    parses("a b,,c.img,ro", "a b,,c.img", &o);
    assert_true(o.read_only);
    parses("x,format=qcow2,serial=A-1,iops=2K,bps=3M,backing", "x", &o);
    assert_string_equal(o.format, "qcow2");
    assert_string_equal(o.serial, "A-1");
    assert_int_equal(o.iops, 2000);
    assert_int_equal(o.bps, 3 << 20);
    assert_true(o.allow_backing);
    parses("x,serial=12345678901234567890", "x", &o);
    assert_int_equal(strlen(o.serial), 20);
    parses("[odd],ro", "[odd]", &o);
    parses("nbd://host:10809/export,ro", "nbd://host:10809/export", &o);
    parses("mirror:nbd://h/x,a.qcow2,ro,bps=1g", "mirror:nbd://h/x,a.qcow2", &o);
    assert_true(o.read_only && o.bps == 1 << 30);
    parses("stripe:64K:[mirror:a,b],[mirror:c,d],serial=s", "stripe:64K:[mirror:a,b],[mirror:c,d]",
           &o);
    parses("concat:a,,b,c", "concat:a,,b,c", &o);
    parses("mirror:./ro,b", "mirror:./ro,b", &o);
    parses("odd:name,ro", "odd:name", &o);
}

static void test_parse_wrong(void **state)
{
    (void)state;
    wrong("raid5:a,b", "there are concat:, stripe:SIZE: and mirror:");
    wrong("raid5:a,ro=b", "is no option");
    wrong("./raid5:a,b", "\"b\" is no option");
    wrong("", "names no file");
    wrong(",ro", "names no file");
    wrong("x,", "is no option of a disk");
    wrong("x,y.img", "\"y.img\" is no option of a disk");
    wrong("x,cache=none", "is no option");
    wrong("x,ro,ro", "given twice");
    wrong("x,format=vmdk", "raw and qcow2");
    wrong("x,serial=", "1 to 20");
    wrong("x,serial=123456789012345678901", "1 to 20");
    wrong("x,serial=a b", "no blanks");
    wrong("x,iops=0", "a number from 1 on");
    wrong("x,iops=-5", "a number from 1 on");
    wrong("x,bps=10X", "a number from 1 on");
    wrong("x,bps=99999999999T", "a number from 1 on");
    wrong("x,bps=5 ", "a number from 1 on");
    wrong("mirror:", "names no file");
    wrong("mirror:a,ro,b", "b comes after an option");
    wrong("mirror:a,b,cache=none", "is no option");
    wrong("mirror:[concat:a,b,c", "brackets");
    wrong("mirror:[concat:a,b]c,d", "brackets");
    wrong("stripe:a,b", "how large a stripe is");
    wrong("stripe:64K", "how large a stripe is");
    wrong("stripe:x:a,b", "how large a stripe is");
}

static void test_numbers(void **state)
{
    (void)state;
    assert_int_equal(spec_number("1", 1024), 1);
    assert_int_equal(spec_number("64k", 1024), 65536);
    assert_int_equal(spec_number("2T", 1000), 2000000000000ull);
    assert_int_equal(spec_number("", 1024), 0);
    assert_int_equal(spec_number("K", 1024), 0);
    assert_int_equal(spec_number("1KB", 1024), 0);
    assert_int_equal(spec_number("0x10", 1024), 0);
    assert_int_equal(spec_number("9223372036854775808", 1024), 0);
    assert_int_equal(spec_number("18446744073709551616", 1024), 0);
}

/* ---- opening ---- */

static struct block *opens(const char *spec, const struct block_options *o)
{
    struct block_error err;
    struct block *b;
    if (block_open(spec, o, &b, &err)) {
        fail_msg("%s: %s", spec, err.text);
    }
    return b;
}

static void refused(const char *spec, const struct block_options *o, const char *why)
{
    struct block_error err = {.text = ""};
    struct block *b;
    assert_int_equal(block_open(spec, o, &b, &err), -1);
    if (!strstr(err.text, why) || strchr(err.text, '\n')) {
        fail_msg("%s: \"%s\" does not say \"%s\"", spec, err.text, why);
    }
}

static const struct block_options plain = {.report = report};

static void test_open(void **state)
{
    (void)state;
    uint8_t buf[4096];
    make("a", 0x100000);
    make("b,c", 0x100000);
    make("d", 0x100000);
    struct block *b = opens("b,,c", &plain);
    assert_string_equal(b->name, "b,c");
    block_close(b);
    b = opens("concat:a,b,,c,d", &plain);
    assert_int_equal(b->size, 0x300000);
    assert_string_equal(b->name, "concat:a,b,,c,d");
    block_close(b);
    b = opens("stripe:4K:a,d", &plain);
    assert_int_equal(b->size, 0x200000);
    memset(buf, 1, sizeof(buf));
    assert_int_equal(block_write_buf(b, 0, buf, sizeof(buf)), 0);
    assert_int_equal(block_write_buf(b, 8192, buf, sizeof(buf)), 0);
    block_close(b);
    const struct block_options limited = {.bps = 1 << 20, .read_only = true, .report = report};
    b = opens("a", &limited);
    assert_string_equal(b->ops->format, "throttle");
    assert_true(b->read_only && b->report == report);
    assert_int_equal(block_read_buf(b, 4096, buf, sizeof(buf)), 0);
    assert_int_equal(buf[0], 1);
    block_close(b);
}

static void test_nested(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < 4; i++) {
        make(names[i], 0x100000);
    }
    struct block *b = opens("stripe:4K:[mirror:a,b],[mirror:c,d]", &plain);
    assert_int_equal(b->size, 2 * (0x100000 - 0x10000));
    uint8_t buf[16384];
    memset(buf, 9, sizeof(buf));
    assert_int_equal(block_write_buf(b, 0, buf, sizeof(buf)), 0);
    block_close(b);
    b = opens("mirror:a,b", &plain);
    assert_int_equal(block_read_buf(b, 4096, buf, 4096), 0);
    assert_int_equal(buf[0], 9);
    block_close(b);
    assert_string_equal(last_report, "");
    refused("a", &plain, "is a leg of a mirror");
    refused("concat:a,b", &plain, "is a leg of a mirror");
    block_close(opens("a", &(struct block_options){.read_only = true}));
    block_close(opens("a", &(struct block_options){.format = "raw"}));
    block_close(opens("a", &(struct block_options){.allow_leg = true}));
    /* a leg that is gone, while nobody knew: refused; known: reported */
    unlink("b");
    refused("stripe:4K:[mirror:a,b],[mirror:c,d]", &plain,
            "b: no such file; to go on without this leg");
    block_close(opens("stripe:4K:[mirror:a],[mirror:c,d]", &plain));
    assert_non_null(strstr(last_report, "without some of its legs"));
    block_close(opens("stripe:4K:[mirror:a,b],[mirror:c,d]", &plain));
    assert_non_null(strstr(last_report, "b: no such file"));
}

static void test_open_refused(void **state)
{
    (void)state;
    make("a", 0x100000);
    make("b", 0x100000 - 512);
    assert_int_equal(link("a", "a2"), 0);
    assert_int_equal(symlink("a", "a3"), 0);
    refused("none", &plain, "ring3 image create makes one");
    refused("raid5:none", &plain, "there are concat:, stripe:SIZE: and mirror:");
    refused("concat:a,none", &plain, "none: no such file");
    refused("stripe:4K:a,none", &plain, "none: no such file");
    refused("mirror:a,none", &plain, "none: no such file");
    refused("stripe:4K:a,b", &plain, "must be of one size");
    refused("concat:a,a", &plain, "named twice");
    refused("mirror:a,a2", &plain, "named twice");
    refused("mirror:a,[concat:b,a3]", &plain, "named twice");
    refused("mirror:a,,b", &plain, "a,b: no such file");
    refused("mirror:a,", &plain, "a comma too many");
    refused("mirror:a,concat:b", &plain, "stands in brackets: [concat:b]");
    refused("concat:[concat:[concat:[concat:[concat:a,b],b],b],b],b", &plain, "4 deep");
    refused("mirror:[a,b],b", &plain, "a comma in a name is doubled");
    refused("http://example.org/a", &plain, "nbdkit");
    refused("nbd://h/x", &(struct block_options){.format = "qcow2"}, "the server says");
    refused("a", &(struct block_options){.allow_backing = true}, "backing is for qcow2");
    refused(".", &plain, "is a folder");
}

static void test_format(void **state)
{
    (void)state;
    make("a", 0x100000);
    int fd = open("a", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "QFI\xfb", 4), 4);
    close(fd);
    refused("a", &plain, "say format=qcow2, or format=raw");
    refused("mirror:a,b", &plain, "say format=qcow2, or format=raw");
    block_close(opens("a", &(struct block_options){.format = "raw"}));
    assert_int_equal(rename("a", "a.qcow2"), 0);
    refused("a.qcow2", &plain, "a.qcow2"); /* taken for qcow2, which it is not */
    refused("mirror:a.qcow2,b", &plain, "a.qcow2");
    block_close(opens("a.qcow2", &(struct block_options){.format = "raw"}));
}

/* Legs of different formats; the second start finds the marks. */
static void test_mixed(void **state)
{
    (void)state;
    const struct qcow2_create what = {.size = 0x100000, .cluster_bits = 16};
    struct block_error err;
    uint8_t buf[8192];
    make("a", 0x100000);
    make("b.qcow2", 0);
    int fd = open("b.qcow2", O_RDWR | O_CLOEXEC);
    assert_int_equal(qcow2_create(fd, "b.qcow2", &what, &err), 0);
    close(fd);
    struct block *b = opens("mirror:b.qcow2,a", &plain);
    memset(buf, 3, sizeof(buf));
    assert_int_equal(block_write_buf(b, 0x20000, buf, sizeof(buf)), 0);
    assert_int_equal(block_write_zeroes(b, 0x21000, 4096, true), 0);
    block_close(b);
    for (unsigned i = 0; i < 2; i++) {
        b = opens(i ? "mirror:a,b.qcow2" : "mirror:b.qcow2", &plain);
        assert_int_equal(block_read_buf(b, 0x20000, buf, sizeof(buf)), 0);
        assert_true(buf[0] == 3 && buf[4095] == 3 && buf[4096] == 0 && buf[8191] == 0);
        block_close(b);
    }
    assert_non_null(strstr(last_report, "a is stale")); /* since b.qcow2 was used alone */
    last_report[0] = '\0';
    refused("b.qcow2", &plain, "is a leg of a mirror");
}

/* As the virtio device sees it. */
static void test_guest_disk(void **state)
{
    (void)state;
    struct virtio_blk_disk d;
    uint8_t buf[4096] = {1, 2, 3};
    const struct io_vec vec = {buf, sizeof(buf)};
    make("a", 0x100000);
    struct block *b = opens("a", &plain);
    guest_disk(b, "01234567890123456789", &d);
    assert_int_equal(d.size, 0x100000);
    assert_memory_equal(d.id, "01234567890123456789", 20);
    assert_int_equal(d.write(d.ctx, 0, &vec, 1), 0);
    assert_int_equal(d.flush(d.ctx), 0);
    buf[0] = 0;
    assert_int_equal(d.read(d.ctx, 0, &vec, 1), 0);
    assert_int_equal(buf[0], 1);
    assert_int_equal(d.discard(d.ctx, 0, 4096), 0);
    assert_int_equal(d.write_zeroes(d.ctx, 0, 4096, true), 0);
    assert_int_equal(d.ready_ns(d.ctx), 0);
    d.failed(d.ctx, "write", 4096, 512, -28, 3);
    assert_string_equal(last_report,
                        "disk a: a write of 512 bytes at 4096 failed: No space left on device; the "
                        "guest gets an I/O error (3 more failed before)");
    block_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_wrong),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test_setup_teardown(test_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nested, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mixed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_format, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guest_disk, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
