/* src/block: entry points, vectors, raw images, locks, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/throttle.h"
#include "fake_disk.h"

static char dir[64], path[128];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/ring3-block-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/disk", dir);
    return setenv("XDG_RUNTIME_DIR", dir, 1);
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static void make(off_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static struct block *open_raw(const struct block_options *o)
{
    struct block_error err;
    struct block *b;
    if (raw_open(path, o, &b, &err)) {
        fail_msg("%s", err.text);
    }
    return b;
}

static void refused(const struct block_options *o, const char *why)
{
    struct block_error err = {.text = ""};
    struct block *b;
    assert_int_equal(raw_open(path, o, &b, &err), -1);
    if (!strstr(err.text, why) || strchr(err.text, '\n')) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    }
}

static const struct block_options plain, read_only = {.read_only = true};

/* ---- vectors ---- */

static void test_vectors(void **state)
{
    (void)state;
    uint8_t a[100], buf[100];
    struct io_vec vec[3] = {{a, 10}, {a + 10, 0}, {a + 10, 90}}, part[3];
    for (unsigned i = 0; i < sizeof(a); i++) {
        a[i] = (uint8_t)i;
    }
    assert_int_equal(vec_length(vec, 3), 100);
    assert_int_equal(vec_slice(vec, 3, 5, 10, part), 2);
    assert_ptr_equal(part[0].base, a + 5);
    assert_int_equal(part[0].len, 5);
    assert_ptr_equal(part[1].base, a + 10);
    assert_int_equal(part[1].len, 5);
    assert_int_equal(vec_slice(vec, 3, 10, 90, part), 1);
    vec_gather(vec, 3, 7, buf, 20);
    assert_memory_equal(buf, a + 7, 20);
    memset(buf, 0xaa, 20);
    vec_scatter(vec, 3, 95, buf, 5);
    assert_int_equal(a[94], 94);
    assert_int_equal(a[95], 0xaa);
}

/* ---- entry points ---- */

static void test_zeroes_by_writing(void **state)
{
    (void)state;
    struct fake_medium m;
    struct block_ops ops;
    fake_medium_init(&m, "A", 0x400000);
    memset(m.cache, 1, m.size);
    struct block *b = fake_disk_open(&m);
    ops = *b->ops;
    ops.write_zeroes = NULL;
    ops.discard = NULL;
    b->ops = &ops;
    uint64_t off = 512 * 3, len = 0x230000 + 512;
    assert_int_equal(block_write_zeroes(b, off, len, true), 0);
    for (uint64_t i = 0; i < m.size; i++) {
        if (m.cache[i] != !(i >= off && i < off + len)) {
            fail_msg("byte %llu", (unsigned long long)i);
        }
    }
    assert_int_equal(block_discard(b, 0, 4096), 0);
    assert_int_equal(block_zero_run(b, 0, 4096), 0);
    assert_int_equal(block_ready_ns(b), 0);
    m.fail_writes = true;
    assert_int_equal(block_write_zeroes(b, off, len, true), -EIO);
    b->read_only = true;
    assert_int_equal(block_write_zeroes(b, off, len, true), -EROFS);
    assert_int_equal(block_discard(b, off, len), -EROFS);
    assert_int_equal(block_flush(b), 0);
    block_close(b);
    fake_medium_fini(&m);
}

/* ---- raw ---- */

static void test_raw(void **state)
{
    (void)state;
    static uint8_t out[0x30000], in[0x30000];
    struct io_vec vec[3] = {{out, 1000}, {out + 1000, 24}, {out + 1024, sizeof(out) - 1024}};
    make(0x100000);
    struct block *b = open_raw(&plain);
    assert_int_equal(b->size, 0x100000);
    assert_string_equal(b->ops->format, "raw");
    for (unsigned i = 0; i < sizeof(out); i++) {
        out[i] = (uint8_t)(i * 7 + i / 256);
    }
    assert_int_equal(block_zero_run(b, 0, b->size), b->size);
    assert_int_equal(block_write(b, 512 * 9, vec, 3), 0);
    assert_int_equal(block_flush(b), 0);
    assert_int_equal(block_read_buf(b, 512 * 9, in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_true(block_zero_run(b, 0x80000, 0x80000) == 0x80000);
    assert_true(block_zero_run(b, 0x8000, 0x80000) == 0);
    block_close(b);
    b = open_raw(&read_only);
    assert_int_equal(block_read_buf(b, 512 * 9, in, 512), 0);
    assert_memory_equal(in, out, 512);
    assert_int_equal(block_write_buf(b, 0, in, 512), -EROFS);
    block_close(b);
}

static long blocks_used(void)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (long)st.st_blocks;
}

static void test_raw_holes(void **state)
{
    (void)state;
    static uint8_t buf[0x40000];
    make(0x100000);
    struct block *b = open_raw(&plain);
    memset(buf, 5, sizeof(buf));
    assert_int_equal(block_write_buf(b, 0, buf, sizeof(buf)), 0);
    assert_int_equal(block_write_zeroes(b, 512, 0x1000, false), 0);
    assert_int_equal(block_write_zeroes(b, 0x10000, 0x10000, true), 0);
    assert_int_equal(block_flush(b), 0);
    long before = blocks_used();
    assert_int_equal(block_discard(b, 0x20000, 0x20000), 0);
    assert_int_equal(block_flush(b), 0);
    assert_true(blocks_used() < before);
    assert_int_equal(block_read_buf(b, 0, buf, sizeof(buf)), 0);
    for (unsigned i = 0; i < 0x20000; i++) {
        bool zero = (i >= 512 && i < 0x1200) || i >= 0x10000;
        assert_int_equal(buf[i], zero ? 0 : 5);
    }
    block_close(b);
}

/** ,ro is a remedy only for what may be read. Root may do all: then it is somebody else who tries. */
static void refused_by_mode(mode_t mode, bool may_read)
{
    const bool root = geteuid() == 0;
    struct block_error err = {.text = ""};
    struct block *b;
    make(4096);
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(chmod(path, mode), 0);
    assert_int_equal(root ? seteuid(65534) : 0, 0);
    assert_int_equal(raw_open(path, &plain, &b, &err), -1);
    assert_int_equal(root ? seteuid(0) : 0, 0);
    assert_non_null(strstr(err.text, "Permission denied"));
    assert_int_equal(strstr(err.text, "add ,ro") != NULL, may_read);
    unlink(path);
}

static void test_raw_refused(void **state)
{
    (void)state;
    refused(&plain, "no such file");
    make(0);
    refused(&plain, "is empty");
    make(1000);
    refused(&plain, "truncate -s 1024");
    unlink(path);
    refused_by_mode(0444, true);
    refused_by_mode(0, false);
    assert_int_equal(mkdir(path, 0700), 0);
    refused(&plain, "is a folder");
    refused(&read_only, "is a folder");
    rmdir(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(&read_only, "neither file nor block device");
    unlink(path);
    if (geteuid() != 0) { /* root may all */
        make(4096);
        chmod(path, 0400);
        refused(&plain, ",ro");
    }
}

/* The file becomes shorter while it is open. */
static void test_raw_short(void **state)
{
    (void)state;
    uint8_t buf[8192];
    make(0x10000);
    struct block *b = open_raw(&plain);
    assert_int_equal(truncate(path, 4096), 0);
    assert_int_equal(block_read_buf(b, 0, buf, sizeof(buf)), -EIO);
    assert_int_equal(block_read_buf(b, 0, buf, 4096), 0);
    block_close(b);
}

/* ---- locks ---- */

/* A process that holds the image. Ends when killed. */
static pid_t holder(const struct block_options *o)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        open_raw(o);
        (void)!write(ready[1], &byte, 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void end(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static unsigned notes(void)
{
    char name[160];
    unsigned n = 0;
    snprintf(name, sizeof(name), "%s/ring3/.locks", dir);
    DIR *d = opendir(name);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        n += e->d_name[0] != '.';
    }
    closedir(d);
    return n;
}

static void test_locks(void **state)
{
    (void)state;
    const struct block_options web = {.vm_name = "web"},
                               reader = {.vm_name = "reader", .read_only = true};
    char text[64];
    make(0x10000);
    pid_t child = holder(&web);
    snprintf(text, sizeof(text), "in use by the VM web (process %d)", (int)child);
    refused(&plain, text);
    refused(&read_only, text);
    end(child);
    struct block *b = open_raw(&plain); /* gone with the process */
    assert_int_equal(notes(), 1);       /* and so is its note, found untrue */
    refused(&plain, "used twice");
    block_close(b);
    assert_int_equal(notes(), 0);

    child = holder(&reader);
    b = open_raw(&read_only);
    block_close(b);
    refused(&plain, "in use by the VM reader");
    end(child);
    child = holder(&plain);
    refused(&plain, "in use by ring3 (process");
    end(child);
    block_close(open_raw(&plain));
}

/* A program that knows nothing of notes. */
static void test_locks_strangers(void **state)
{
    (void)state;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    make(0x10000);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    refused(&plain, "in use by another program");
    close(fd);
    /* a note of ours that nobody holds any more says nothing */
    pid_t child = holder(&(struct block_options){.vm_name = "old"});
    end(child);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    refused(&plain, "in use by another program");
    assert_int_equal(notes(), 0);
    close(fd);
}

/* ---- limits ---- */

static void test_rates(void **state)
{
    (void)state;
    struct rate r = {.per_s = 100};
    uint64_t now = 5000000000ull, n = 0;
    /* after a rest: a tenth of a second's worth at once, and the one that crosses the line */
    for (; rate_ready_ns(&r) <= now; n++) {
        rate_charge(&r, now, 1);
    }
    assert_int_equal(n, 11);
    assert_int_equal(rate_ready_ns(&r), now + 10000000);
    /* ten seconds as fast as allowed */
    uint64_t end_ns = now + 10000000000ull;
    for (n = 0; now < end_ns; n++) {
        now = max_u64(now, rate_ready_ns(&r));
        rate_charge(&r, now, 1);
    }
    assert_in_range(n, 999, 1001);
    /* one large request delays what follows by its share */
    struct rate bytes = {.per_s = 1000000};
    rate_charge(&bytes, now, 2000000);
    assert_int_equal(rate_ready_ns(&bytes), now + 1900000000);
    struct rate none = {0};
    rate_charge(&none, now, UINT64_MAX);
    assert_int_equal(rate_ready_ns(&none), 0);
    /* nothing is lost by rounding: 3 a second for 1000 s */
    struct rate three = {.per_s = 3};
    now = 0;
    for (unsigned i = 0; i < 3000; i++) {
        now = max_u64(now, rate_ready_ns(&three));
        rate_charge(&three, now, 1);
    }
    assert_int_equal(three.line_ns, 1000000000000ull);
}

static void test_throttle(void **state)
{
    (void)state;
    struct fake_medium m;
    struct block_error err;
    struct block *b;
    uint8_t buf[4096] = {1};
    fake_medium_init(&m, "A", 0x100000);
    assert_int_equal(throttle_open(fake_disk_open(&m), 0, 4096, &b, &err), 0);
    assert_int_equal(b->size, m.size);
    assert_string_equal(b->name, "A");
    assert_int_equal(block_ready_ns(b), 0);
    assert_int_equal(block_write_buf(b, 0, buf, sizeof(buf)), 0);
    uint64_t ready = block_ready_ns(b);
    assert_int_equal(block_flush(b), 0);
    assert_int_equal(block_discard(b, 8192, 4096), 0);
    assert_int_equal(block_ready_ns(b), ready); /* no bytes moved */
    assert_int_equal(block_read_buf(b, 0, buf, sizeof(buf)), 0);
    assert_int_equal(block_ready_ns(b), ready + 1000000000);
    assert_int_equal(block_write_zeroes(b, 0, 4096, true), 0);
    assert_int_equal(block_ready_ns(b), ready + 2000000000);
    assert_int_equal(buf[0], 1);
    assert_int_equal(m.discards, 1);
    assert_int_equal(m.flushes, 1);
    block_close(b);
    assert_false(m.open);
    fake_medium_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_zeroes_by_writing),
        cmocka_unit_test_setup_teardown(test_raw, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_holes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_short, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locks_strangers, setup, teardown),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_throttle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
