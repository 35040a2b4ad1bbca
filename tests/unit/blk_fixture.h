/* A block device in a fake machine, the disk behind it, and its driver: what the tests of
 * src/dev/virtio/blk.c start from. */
#ifndef TESTS_BLK_FIXTURE_H
#define TESTS_BLK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev/virtio/blk.h"
#include "fake_driver.h"
#include "fake_host.h"

#define RING 0x100000ull
#define HEAD 0x200000ull /* headers */
#define STATUS 0x208000ull
#define DATA 0x210000ull
#define SLOT 5u
#define DISK (256u * 512)
#define QUEUES 2u
#define QUEUE_SIZE 128u

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
enum { OK = 0, IOERR = 1, UNSUPP = 2, UNTOUCHED = 0xee };
#define F_FLUSH (1ull << 9)
#define F_USUAL (VIRTIO_F_VERSION_1 | F_FLUSH)

static struct vm *vm;
static struct virtio_regs regs;
static struct fake_queue drv[QUEUES];
static struct virtio_blk blk;
static struct virtio_blk_crew the_crew; /* none, unless the test has one */

/** The disk. */
static struct {
    uint8_t bytes[DISK];
    unsigned reads, writes, flushes, discards, zeroes, unmaps;
    uint64_t off, len; /* of the last discard or zeroes */
    unsigned told;     /* used index of queue 0 at the last flush, discard or zeroes */
    int error;
    uint64_t takes_ns; /* for each read */
    uint64_t ready_ns, costs_ns; /* the rate limit, and what each read adds to it */
    unsigned failures; /* reported */
    struct {
        const char *what;
        uint64_t off, len, more;
    } failure; /* the last */
} disk;

static int disk_read(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n)
{
    (void)ctx;
    disk.reads++;
    disk.ready_ns += disk.costs_ns;
    fake_advance(disk.takes_ns);
    for (unsigned i = 0; i < n && !disk.error; i++) {
        assert_true(off + vec[i].len <= DISK);
        memcpy(vec[i].base, disk.bytes + off, vec[i].len);
        off += vec[i].len;
    }
    return disk.error;
}

static int disk_write(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n)
{
    (void)ctx;
    disk.writes++;
    for (unsigned i = 0; i < n && !disk.error; i++) {
        assert_true(off + vec[i].len <= DISK);
        memcpy(disk.bytes + off, vec[i].base, vec[i].len);
        off += vec[i].len;
    }
    return disk.error;
}

static int disk_flush(void *ctx)
{
    (void)ctx;
    disk.flushes++;
    disk.told = drv[0].used[1];
    return disk.error;
}

static int disk_discard(void *ctx, uint64_t off, uint64_t len)
{
    (void)ctx;
    disk.discards++;
    disk.told = drv[0].used[1];
    disk.off = off;
    disk.len = len;
    return disk.error;
}

static int disk_write_zeroes(void *ctx, uint64_t off, uint64_t len, bool unmap)
{
    (void)ctx;
    disk.zeroes++;
    disk.told = drv[0].used[1];
    disk.unmaps += unmap;
    disk.off = off;
    disk.len = len;
    return disk.error;
}

static uint64_t disk_ready(void *ctx)
{
    (void)ctx;
    return disk.ready_ns;
}

static void disk_failed(void *ctx, const char *what, uint64_t off, uint64_t len, int err,
                        uint64_t more)
{
    (void)ctx;
    assert_int_equal(err, -5);
    disk.failures++;
    disk.failure.what = what;
    disk.failure.off = off;
    disk.failure.len = len;
    disk.failure.more = more;
}

/** The thread's timer. */
static struct {
    uint64_t when_ns;
    void (*fn)(void *arg);
    void *arg;
} timer;

static void timer_set(void *ctx, uint64_t when_ns, void (*fn)(void *arg), void *arg)
{
    (void)ctx;
    timer.when_ns = when_ns;
    timer.fn = fn;
    timer.arg = arg;
}

static struct virtio_blk_disk the_disk(uint64_t size)
{
    return (struct virtio_blk_disk){
        .size = size,
        .optimal = 65536,
        .id = "serial-12345",
        .read = disk_read,
        .write = disk_write,
        .flush = disk_flush,
        .discard = disk_discard,
        .write_zeroes = disk_write_zeroes,
        .ready_ns = disk_ready,
        .failed = disk_failed,
    };
}

/* A driver with empty rings. */
static void restart(unsigned queues, uint64_t features)
{
    for (unsigned q = 0; q < QUEUES; q++) {
        fake_queue_init(&drv[q], &vm->ram, RING + q * 0x10000, QUEUE_SIZE);
    }
    fake_driver_start(&blk.device, features, drv, queues);
    assert_true(blk.device.running);
}

static void start(const struct virtio_blk_disk *d, unsigned queues, uint64_t features)
{
    memset(&regs, 0, sizeof(regs));
    memset(&blk, 0, sizeof(blk));
    virtio_blk_init(&blk, &regs, &vm->ram, SLOT, queues, d);
    virtio_blk_set_timer(&blk, &(struct virtio_blk_timer){.set = timer_set});
    virtio_blk_set_crew(&blk, &the_crew);
    restart(queues, features);
}

static int setup(void **state)
{
    (void)state;
    vm = fake_vm_create(1);
    memset(&disk, 0, sizeof(disk));
    memset(&timer, 0, sizeof(timer));
    for (unsigned i = 0; i < DISK; i++) {
        disk.bytes[i] = (uint8_t)(i / 512 + i);
    }
    const struct virtio_blk_disk d = the_disk(DISK);
    start(&d, 1, F_USUAL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_vm_destroy(vm);
    return 0;
}

static uint8_t *at(uint64_t where)
{
    return vm->ram.base + where;
}

struct request_header {
    uint32_t type, reserved;
    uint64_t sector;
};

/* Put a request into queue q as its n-th, with data of that length (out unless the device fills
 * it). */
static void offer(unsigned q, unsigned n, uint32_t type, uint64_t sector, uint32_t len, bool in)
{
    struct fake_queue *f = &drv[q];
    const struct request_header h = {.type = type, .sector = sector};
    uint16_t first = (uint16_t)(n * 3);
    memcpy(at(HEAD + n * 16), &h, sizeof(h));
    *at(STATUS + n) = UNTOUCHED;
    fake_queue_set(f, first, HEAD + n * 16, 16, FAKE_NEXT, (uint16_t)(len ? first + 1 : first + 2));
    if (len != 0) {
        fake_queue_set(f, (uint16_t)(first + 1), DATA + n * 0x10000, len,
                       (uint16_t)(FAKE_NEXT | (in ? FAKE_IN : 0)), (uint16_t)(first + 2));
    }
    fake_queue_set(f, (uint16_t)(first + 2), STATUS + n, 1, FAKE_IN, 0);
    fake_queue_offer(f, first);
}

/* One request with data at DATA; its status. */
static unsigned request(uint32_t type, uint64_t sector, uint32_t len)
{
    uint32_t head, written;
    bool in = type == IN || type == GET_ID;
    offer(0, 0, type, sector, len, in);
    virtio_device_kick(&blk.device, 0);
    assert_true(fake_queue_take(&drv[0], &head, &written));
    assert_int_equal(head, 0);
    assert_int_equal(written, in ? len + 1 : 1);
    assert_false(fake_queue_take(&drv[0], &head, &written));
    return *at(STATUS);
}

/* How many the device gave back. */
static unsigned taken(unsigned q)
{
    uint32_t head, written;
    unsigned n = 0;
    while (fake_queue_take(&drv[q], &head, &written)) {
        n++;
    }
    return n;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
