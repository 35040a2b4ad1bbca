/* src/dev/virtio/blk.c: what the driver asks for, rightly and wrongly, and what the disk is asked
 * for then. */
#include "blk_fixture.h"

#define BIG (16ull << 30) /* what a disk with nothing in it says of its size */

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
    restart(1, F_USUAL);
    assert_int_equal(request(IN, 0, 512), IOERR);
    assert_int_equal(disk.failures, 1);
    fake_advance(10000000000ull);
    assert_int_equal(request(IN, 0, 512), IOERR);
    assert_int_equal(disk.failures, 2);
    assert_int_equal(disk.failure.more, 5);
    disk.error = 0;
    assert_int_equal(request(IN, 0, 512), OK); /* and the machine goes on */
    assert_int_equal(blk.device.stat.errors, 7);
    assert_int_equal(blk.device.stat.in_ops, 1);
}

static void breaks(uint32_t out_len, uint32_t in_len)
{
    uint32_t head, written;
    const struct virtio_blk_disk d = the_disk(DISK);
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

/* Before what takes long the driver is told of what is done. */
static void test_told_before(void **state)
{
    (void)state;
    offer(0, 1, IN, 0, 512, true);
    offer(0, 2, FLUSH, 0, 0, false);
    virtio_device_kick(&blk.device, 0);
    assert_int_equal(disk.told, 1);
    put_range(0, 0, 8, 0);
    offer(0, 1, IN, 0, 512, true);
    offer(0, 0, DISCARD, 0, 16, false);
    virtio_device_kick(&blk.device, 0);
    assert_int_equal(disk.told, 3);
    offer(0, 1, IN, 0, 512, true);
    offer(0, 0, ZEROES, 0, 16, false);
    virtio_device_kick(&blk.device, 0);
    assert_int_equal(disk.told, 5);
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

/* A read in each of two queues, both of which have to wait 500 ns. */
static void start_limited(void)
{
    const struct virtio_blk_disk d = the_disk(DISK);
    start(&d, 2, F_USUAL | 1 << 12);
    disk.ready_ns = fake.time_ns + 500;
    offer(0, 0, IN, 0, 512, true);
    offer(1, 1, IN, 1, 512, true);
    virtio_device_kick(&blk.device, 0);
    virtio_device_kick(&blk.device, 1);
}

static void test_rate_limit(void **state)
{
    (void)state;
    start_limited();
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

/* What the limit leaves room for goes to the queues by turns. */
static void test_rate_fair(void **state)
{
    (void)state;
    start_limited();
    disk.costs_ns = 500;
    for (unsigned i = 0; i < 4; i++) {
        fake_advance(500);
        timer.fn(timer.arg);
        if (taken(0)) {
            offer(0, 0, IN, 0, 512, true);
        }
    }
    assert_int_equal(taken(1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_config),
        TEST(test_read_write),
        TEST(test_framing),
        TEST(test_refused),
        TEST(test_read_only),
        TEST(test_id),
        TEST(test_write_through),
        TEST(test_ranges),
        TEST(test_range_limits),
        TEST(test_failures),
        TEST(test_no_request),
        TEST(test_batch),
        TEST(test_told_before),
        TEST(test_slice),
        TEST(test_rate_limit),
        TEST(test_rate_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
