/* Disks over files in a folder of the test's own, for the tests of src/block. */
#ifndef TESTS_BLOCK_FILES_H
#define TESTS_BLOCK_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "block/spread.h"
#include "fake_disk.h"
#include "qcow2_image.h"

#define MAX_LEN 0x40000u /* bytes of a request */
#define LEG 0x80000u
#define SECTORS 4003u /* of qcow2 images: ends within a cluster */

static char dir[64];
static unsigned reports;

/* Names are relative to a folder of the test's own. */
static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/ring3-locate-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    reports = 0;
    return setenv("XDG_RUNTIME_DIR", dir, 1);
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    assert_int_equal(chdir("/"), 0);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static int new_file(const char *name, uint64_t size)
{
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static void make(const char *name, uint64_t size)
{
    close(new_file(name, size));
}

/* What most disks here are made of. */
static void make_plain_files(void)
{
    make("a", LEG);
    make("b", LEG);
    make("c", LEG);
    make("one", BLOCK_SECTOR);
    make("two", BLOCK_SECTOR);
    make("odd", 0x60200);
}

static void make_qcow2(const char *name, unsigned bits, const char *backing)
{
    int fd = new_file(name, 0);
    image_make_file(fd, SECTORS * BLOCK_SECTOR, bits, backing);
    close(fd);
}

static void count_report(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
    reports++;
}

static struct block *open_disk(const char *spec, struct block_options o)
{
    struct block_error err;
    struct block *b;
    o.report = count_report;
    o.allow_backing = strstr(spec, ".qcow2");
    if (block_open(spec, &o, &b, &err)) {
        fail_msg("%s", err.text);
    }
    return b;
}

static const struct block_options plain, read_only = {.read_only = true};

static bool is_file(int fd, const char *name)
{
    struct stat a, b;
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(stat(name, &b), 0);
    return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static void put(struct block *b, uint64_t off, uint8_t value, uint64_t len)
{
    static uint8_t buf[MAX_LEN];
    memset(buf, value, len);
    assert_int_equal(block_write_buf(b, off, buf, len), 0);
}

#endif
