/* src/dev/virtio/blk.c: what the driver asks for, rightly and wrongly, and what the disk is asked
 * for then. */
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
#define BIG (16ull << 30) /* what a disk with nothing in it says of its size */

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
enum { OK = 0, IOERR = 1, UNSUPP = 2, UNTOUCHED = 0xee };
#define F_FLUSH (1ull << 9)
#define F_USUAL (VIRTIO_F_VERSION_1 | F_FLUSH)

static struct vm *vm;
static struct virtio_regs regs;
static struct fake_queue drv[2];
static struct virtio_blk blk;

/** The disk. */
static struct {
    uint8_t bytes[DISK];
    unsigned reads, writes, flushes, discards, zeroes, unmaps;
    uint64_t off, len; /* of the last discard or zeroes */
    int error;
    uint64_t takes_ns; /* for each read */
    uint64_t ready_ns;
    unsigned failures; /* reported */
    uint64_t more;
} disk;

static int disk_read(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n)
{
    (void)ctx;
    disk.reads++;
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
    return disk.error;
}

static int disk_discard(void *ctx, uint64_t off, uint64_t len)
{
    (void)ctx;
    disk.discards++;
    disk.off = off;
    disk.len = len;
    return disk.error;
}

static int disk_write_zeroes(void *ctx, uint64_t off, uint64_t len, bool unmap)
{
    (void)ctx;
    disk.zeroes++;
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
    (void)off;
    (void)len;
    assert_non_null(what);
    assert_int_equal(err, -5);
    disk.failures++;
    disk.more = more;
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

static void start(const struct virtio_blk_disk *d, unsigned queues, uint64_t features)
{
    regs = (struct virtio_regs){0};
    virtio_blk_init(&blk, &regs, &vm->ram, SLOT, queues, d);
    virtio_blk_set_timer(&blk, &(struct virtio_blk_timer){.set = timer_set});
    fake_driver_start(&blk.device, features, drv, queues);
    assert_true(blk.device.running);
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
    for (unsigned q = 0; q < 2; q++) {
        fake_queue_init(&drv[q], &vm->ram, RING + q * 0x10000, 64);
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

/* ---- what it says of itself ---- */

static uint64_t config(unsigned where, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, regs.config + where, size);
    return v;
}

static void test_config(void **state)
{
    (void)state;
    const uint64_t f = blk.device.offered;
    assert_int_equal(regs.id, 2);
    assert_int_equal(f & 0xffffff, 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 13 | 1 << 14);
    assert_int_equal(config(0, 8), DISK / 512);
    assert_int_equal(config(12, 4), 254); /* seg_max */
    assert_int_equal(config(20, 4), 512); /* blk_size */
    assert_int_equal(config(24, 1), 3);   /* pages of 4 KB */
    assert_int_equal(config(28, 4), 128); /* opt_io_size */
    assert_int_equal(config(34, 2), 1);   /* num_queues */
    assert_true(config(36, 4) && config(40, 4) && config(44, 4) == 8);
    assert_true(config(48, 4) && config(52, 4) && config(56, 1) == 1);
    struct virtio_blk_disk d = the_disk(DISK);
    d.read_only = true;
    start(&d, 2, VIRTIO_F_VERSION_1 | 1 << 5 | 1 << 12);
    assert_int_equal(blk.device.offered & 0xffffff,
                     1 << 2 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 12);
    assert_int_equal(config(34, 2), 2);
}

/* ---- requests ---- */

static void test_read_write(void **state)
{
    (void)state;
    assert_int_equal(request(IN, 3, 4096), OK);
    assert_memory_equal(at(DATA), disk.bytes + 3 * 512, 4096);
    memset(at(DATA), 0x77, 1024);
    assert_int_equal(request(OUT, 254, 1024), OK);
    assert_int_equal(disk.bytes[254 * 512 - 1], (uint8_t)(253 + 511));
    assert_int_equal(disk.bytes[DISK - 1], 0x77);
    assert_int_equal(disk.flushes, 0);
    assert_int_equal(request(FLUSH, 0, 0), OK);
    assert_int_equal(disk.flushes, 1);
    assert_int_equal(request(IN, 0, 0), OK);
    assert_int_equal(blk.device.stat.in_ops, 1);
    assert_int_equal(blk.device.stat.in_bytes, 4096);
    assert_int_equal(blk.device.stat.out_ops, 1);
    assert_int_equal(blk.device.stat.out_bytes, 1024);
    assert_int_equal(blk.device.stat.errors, 0);
}

/* Header, data and status cut in any way (§2.7.4.3: the framing says nothing). */
static void test_framing(void **state)
{
    (void)state;
    uint32_t head, written;
    const struct request_header r = {.type = IN, .sector = 1}, w = {.type = OUT, .sector = 8};
    struct fake_queue *f = &drv[0];
    memcpy(at(HEAD), &r, 16);
    fake_queue_set(f, 0, HEAD, 3, FAKE_NEXT, 1);
    fake_queue_set(f, 1, HEAD + 3, 13, FAKE_NEXT, 2);
    fake_queue_set(f, 2, DATA, 100, FAKE_NEXT | FAKE_IN, 3);
    fake_queue_set(f, 3, DATA + 100, 412 + 1, FAKE_IN, 0); /* with the status */
    fake_queue_offer(f, 0);
    memcpy(at(HEAD + 0x100), &w, 16);
    memset(at(HEAD + 0x110), 0x55, 512);
    fake_queue_set(f, 4, HEAD + 0x100, 16 + 512, FAKE_NEXT, 5); /* header and data in one */
    fake_queue_set(f, 5, STATUS, 1, FAKE_IN, 0);
    fake_queue_offer(f, 4);
    *at(DATA + 512) = *at(STATUS) = UNTOUCHED;
    virtio_device_kick(&blk.device, 0);
    assert_true(fake_queue_take(f, &head, &written));
    assert_int_equal(written, 513);
    assert_memory_equal(at(DATA), disk.bytes + 512, 512);
    assert_int_equal(*at(DATA + 512), OK);
    assert_true(fake_queue_take(f, &head, &written));
    assert_int_equal(*at(STATUS), OK);
    assert_int_equal(disk.bytes[8 * 512], 0x55);
    assert_int_equal(disk.bytes[9 * 512 - 1], 0x55);
}

static void test_refused(void **state)
{
    (void)state;
    assert_int_equal(request(IN, 256, 512), IOERR);
    assert_int_equal(request(IN, 255, 1024), IOERR);
    assert_int_equal(request(IN, UINT64_MAX, 512), IOERR);
    assert_int_equal(request(IN, UINT64_MAX / 512 + 1, 512), IOERR); /* wraps around to 0 */
    assert_int_equal(request(IN, 0, 511), IOERR);
    assert_int_equal(request(OUT, 256, 512), IOERR);
    assert_int_equal(request(OUT, UINT64_MAX, 512), IOERR);
    assert_int_equal(request(OUT, 0, 513), IOERR);
    assert_int_equal(request(OUT, 257, 0), IOERR);
    assert_int_equal(request(2, 0, 512), UNSUPP);
    assert_int_equal(request(0x80000001, 0, 512), UNSUPP);
    assert_int_equal(disk.reads + disk.writes, 0);
    assert_int_equal(blk.device.stat.errors, 9);
    assert_int_equal(disk.failures, 0); /* the driver's fault, not the disk's */
    assert_false(regs.broken);
}

static void test_read_only(void **state)
{
    (void)state;
    struct virtio_blk_disk d = the_disk(DISK);
    d.read_only = true;
    memset(&drv[0], 0, sizeof(drv[0]));
    fake_queue_init(&drv[0], &vm->ram, RING, 64);
    start(&d, 1, F_USUAL);
    assert_int_equal(request(OUT, 0, 512), IOERR);
    memset(at(DATA), 0, 16);
    assert_int_equal(request(DISCARD, 0, 16), IOERR);
    assert_int_equal(request(ZEROES, 0, 16), IOERR);
    assert_int_equal(request(IN, 0, 512), OK);
    assert_int_equal(disk.writes + disk.discards + disk.zeroes, 0);
}

static void test_id(void **state)
{
    (void)state;
    memset(at(DATA), 0xff, 32);
    assert_int_equal(request(GET_ID, 0, 20), OK);
    assert_memory_equal(at(DATA), "serial-12345\0\0\0\0\0\0\0\0\xff", 21);
    assert_int_equal(request(GET_ID, 0, 4), OK);
}

/* A driver without FLUSH may take what is done for stable (§5.2.6.2). */
static void test_write_through(void **state)
{
    (void)state;
    const struct virtio_blk_disk d = the_disk(DISK);
    fake_queue_init(&drv[0], &vm->ram, RING, 64);
    start(&d, 1, VIRTIO_F_VERSION_1);
    assert_int_equal(request(OUT, 0, 512), OK);
    assert_int_equal(disk.flushes, 1);
    assert_int_equal(request(IN, 0, 512), OK);
    assert_int_equal(disk.flushes, 1);
    const uint64_t range[2] = {0, 1};
    memcpy(at(DATA), range, 16);
    assert_int_equal(request(ZEROES, 0, 16), OK);
    assert_int_equal(disk.flushes, 2);
}

/* ---- ranges ---- */

static void put_range(unsigned i, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    memcpy(at(DATA + i * 16), &sector, 8);
    memcpy(at(DATA + i * 16 + 8), &sectors, 4);
    memcpy(at(DATA + i * 16 + 12), &flags, 4);
}

static void test_ranges(void **state)
{
    (void)state;
    put_range(0, 2, 4, 0);
    put_range(1, 250, 6, 0);
    assert_int_equal(request(DISCARD, 0, 32), OK);
    assert_int_equal(disk.discards, 2);
    assert_true(disk.off == 250 * 512 && disk.len == 6 * 512);
    put_range(0, 8, 8, 1);
    assert_int_equal(request(DISCARD, 0, 16), UNSUPP); /* unmap is for zeros */
    assert_int_equal(request(ZEROES, 0, 16), OK);
    assert_int_equal(disk.unmaps, 1);
    assert_true(disk.off == 8 * 512 && disk.len == 8 * 512);
    put_range(0, 8, 8, 2);
    assert_int_equal(request(ZEROES, 0, 16), UNSUPP);
    put_range(0, 250, 7, 0);
    assert_int_equal(request(DISCARD, 0, 16), IOERR);
    put_range(0, UINT64_MAX, 7, 0);
    assert_int_equal(request(DISCARD, 0, 16), IOERR);
    assert_int_equal(request(ZEROES, 0, 0), IOERR);
    assert_int_equal(request(ZEROES, 0, 15), IOERR);
    assert_int_equal(request(ZEROES, 0, 17 * 16), IOERR);
    assert_int_equal(disk.discards, 2);
    assert_int_equal(disk.zeroes, 1);
    assert_int_equal(disk.failures, 0);
}

static void test_range_limits(void **state)
{
    (void)state;
    const struct virtio_blk_disk d = the_disk(BIG);
    fake_queue_init(&drv[0], &vm->ram, RING, 64);
    start(&d, 1, F_USUAL);
    put_range(0, 0, (uint32_t)config(36, 4), 0);
    assert_int_equal(request(DISCARD, 0, 16), OK);
    put_range(0, 0, (uint32_t)config(36, 4) + 1, 0);
    assert_int_equal(request(DISCARD, 0, 16), IOERR);
    put_range(0, 0, (uint32_t)config(48, 4), 0);
    assert_int_equal(request(ZEROES, 0, 16), OK);
    put_range(0, 0, (uint32_t)config(48, 4) + 1, 0);
    assert_int_equal(request(ZEROES, 0, 16), IOERR);
}

/* ---- failures ---- */

static void test_failures(void **state)
{
    (void)state;
    disk.error = -5;
    put_range(0, 2, 4, 0);
    assert_int_equal(request(IN, 0, 512), IOERR);
    assert_int_equal(disk.failures, 1); /* the first is reported at once */
    assert_int_equal(request(OUT, 0, 512), IOERR);
    put_range(0, 2, 4, 0);
    assert_int_equal(request(FLUSH, 0, 0), IOERR);
    assert_int_equal(request(DISCARD, 0, 16), IOERR);
    assert_int_equal(request(ZEROES, 0, 16), IOERR);
    assert_int_equal(disk.failures, 1);
    fake_driver_reset(&blk.device); /* a driver cannot make it say more */
    fake_queue_init(&drv[0], &vm->ram, RING, 64);
    fake_driver_start(&blk.device, F_USUAL, drv, 1);
    assert_int_equal(request(IN, 0, 512), IOERR);
    assert_int_equal(disk.failures, 1);
    fake_advance(10000000000ull);
    assert_int_equal(request(IN, 0, 512), IOERR);
    assert_int_equal(disk.failures, 2);
    assert_int_equal(disk.more, 5);
    disk.error = 0;
    assert_int_equal(request(IN, 0, 512), OK); /* and the machine goes on */
    assert_int_equal(blk.device.stat.errors, 7);
    assert_int_equal(blk.device.stat.in_ops, 1);
}

static void breaks(uint32_t out_len, uint32_t in_len)
{
    uint32_t head, written;
    const struct virtio_blk_disk d = the_disk(DISK);
    fake_queue_init(&drv[0], &vm->ram, RING, 64);
    start(&d, 1, F_USUAL);
    fake_queue_add(&drv[0], HEAD, out_len, DATA, in_len);
    virtio_device_kick(&blk.device, 0);
    assert_true(regs.broken);
    assert_false(fake_queue_take(&drv[0], &head, &written));
}

static void test_no_request(void **state)
{
    (void)state;
    breaks(15, 1);
    breaks(16, 0);
    breaks(0, 513);
}

/* ---- how queues are worked on ---- */

static unsigned taken(unsigned q)
{
    uint32_t head, written;
    unsigned n = 0;
    while (fake_queue_take(&drv[q], &head, &written)) {
        n++;
    }
    return n;
}

static void test_batch(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        offer(0, i, IN, i, 512, true);
    }
    virtio_device_kick(&blk.device, 0);
    assert_int_equal(taken(0), 8);
    assert_int_equal(blk.device.stat.interrupts, 1);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(*at(STATUS + i), OK);
        assert_memory_equal(at(DATA + i * 0x10000), disk.bytes + i * 512, 512);
    }
}

/* A slow disk: each request is given back when it is done, and after a while the thread gets to do
 * other things. */
static void test_slice(void **state)
{
    (void)state;
    disk.takes_ns = 8000000;
    for (unsigned i = 0; i < 8; i++) {
        offer(0, i, IN, i, 512, true);
    }
    virtio_device_kick(&blk.device, 0);
    assert_int_equal(taken(0), 3);
    assert_int_equal(virtio_device_again(&blk.device), 1);
    virtio_device_kick(&blk.device, 0);
    assert_int_equal(taken(0), 3);
    assert_int_equal(virtio_device_again(&blk.device), 1);
    virtio_device_kick(&blk.device, 0);
    assert_int_equal(taken(0), 2);
    assert_int_equal(virtio_device_again(&blk.device), 0);
    assert_int_equal(disk.reads, 8);
}

static void test_rate_limit(void **state)
{
    (void)state;
    const struct virtio_blk_disk d = the_disk(DISK);
    for (unsigned q = 0; q < 2; q++) {
        fake_queue_init(&drv[q], &vm->ram, RING + q * 0x10000, 64);
    }
    start(&d, 2, F_USUAL | 1 << 12);
    disk.ready_ns = fake.time_ns + 500;
    offer(0, 0, IN, 0, 512, true);
    offer(1, 1, IN, 1, 512, true);
    virtio_device_kick(&blk.device, 0);
    virtio_device_kick(&blk.device, 1);
    assert_int_equal(taken(0) + taken(1), 0);
    assert_int_equal(timer.when_ns, disk.ready_ns);
    fake_advance(500);
    timer.fn(timer.arg); /* all queues */
    assert_int_equal(taken(0), 1);
    assert_int_equal(taken(1), 1);
    assert_int_equal(disk.reads, 2);
    disk.ready_ns = fake.time_ns + 500;
    offer(0, 0, IN, 0, 512, true);
    virtio_device_kick(&blk.device, 0);
    fake_driver_reset(&blk.device);
    assert_int_equal(timer.when_ns, 0);
    assert_int_equal(disk.reads, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_config, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_framing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_through, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_range_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate_limit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
