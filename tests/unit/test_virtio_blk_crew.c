/* src/dev/virtio/blk.c with a crew: what it leaves to it and what not, what it does meanwhile, and
 * what comes of it when jobs end in any order, or badly, or not before the driver resets. */
#include "blk_crew_fixture.h"

#define GUEST_END (DATA + 42 * 0x10000ull) /* of what the driver uses, from RING on */

/* All is as in the beginning: a read alone, and as many as there may be. */
static void works(void)
{
    crew.answer = VIRTIO_BLK_LATER;
    crew.reads = crew.flushes = 0;
    disk.reads = disk.flushes = 0;
    assert_int_equal(crew.count, 0);
    assert_int_equal(request(IN, 2, SECTOR), OK);
    assert_int_equal(disk.reads, 1);
    offer_reads(0, VIRTIO_BLK_REQUESTS - 1);
    offer_flush(VIRTIO_BLK_REQUESTS - 1);
    kick(0);
    assert_int_equal(crew.reads, VIRTIO_BLK_REQUESTS - 1);
    assert_int_equal(crew.flushes, 1);
    assert_int_equal(taken(0), 0);
    while (crew.count > 0) {
        finish(0, 0);
    }
    for (unsigned n = 0; n < VIRTIO_BLK_REQUESTS - 1; n++) {
        gives_back_read(0, n);
    }
    gives_back(0, VIRTIO_BLK_REQUESTS - 1, 1, OK);
    assert_int_equal(disk.reads + disk.flushes, 1);
}

/* ---- reads ---- */

static void test_alone(void **state)
{
    (void)state;
    assert_int_equal(request(IN, 3, SECTOR), OK); /* nothing else to do */
    assert_int_equal(disk.reads, 1);
    assert_int_equal(crew.reads, 0);
    offer_reads(0, 2);
    kick(0);
    assert_int_equal(crew.reads, 2); /* for the second the first is something else */
    offer_read(0, 2);
    kick(0);
    assert_int_equal(crew.reads, 3);
    assert_int_equal(taken(0), 0);
    finish(0, 0);
    finish(0, 0);
    finish(0, 0);
    gives_back_read(0, 0);
    gives_back_read(0, 1);
    gives_back_read(0, 2);
    assert_int_equal(request(IN, 3, SECTOR), OK);
    assert_int_equal(disk.reads, 2);
    offer_flush(0);
    offer_read(0, 1);
    kick(0);
    assert_int_equal(crew.reads, 4); /* there is a flush under way */
}

/* What the crew has at once is not under way. */
static void test_at_once(void **state)
{
    (void)state;
    crew.answer = 0;
    offer_reads(0, 2);
    kick(0);
    assert_int_equal(crew.reads, 1);
    assert_int_equal(disk.reads, 2);
    gives_back_read(0, 0);
    gives_back_read(0, 1);
    crew.answer = BAD;
    offer_reads(0, 2);
    kick(0);
    assert_int_equal(crew.reads, 2);
    gives_back(0, 0, SECTOR + 1, IOERR);
    gives_back_read(0, 1);
    assert_int_equal(blk.device.stat.errors, 1);
    assert_int_equal(disk.failures, 1);
    works();
}

/* Each with its own data, length and status, and what is fast does not wait. */
static void test_any_order(void **state)
{
    (void)state;
    offer(0, 0, IN, 10, 512, true);
    offer(0, 1, OUT, 100, 1024, false);
    offer(0, 2, IN, 20, 4096, true);
    offer(0, 3, GET_ID, 0, 20, true);
    offer(0, 4, IN, 30, 1536, true);
    offer(0, 5, IN, 256, 512, true); /* beyond the end: the crew never sees it */
    memset(at(DATA + 0x10000), 0x77, 1024);
    kick(0);
    gives_back(0, 1, 1, OK);
    gives_back(0, 3, 21, OK);
    gives_back(0, 5, 513, IOERR);
    assert_memory_equal(at(DATA + 0x30000), "serial-12345", 12);
    assert_int_equal(disk.bytes[102 * SECTOR - 1], 0x77);
    assert_int_equal(crew.count, 3);
    assert_int_equal(taken(0), 0);
    assert_int_equal(*at(STATUS + 4), UNTOUCHED);
    regs.interrupts = 0;
    finish(2, 0);
    assert_int_equal(regs.interrupts, 1);
    gives_back(0, 4, 1537, OK);
    assert_memory_equal(at(DATA + 0x40000), disk.bytes + 30 * SECTOR, 1536);
    finish(0, 0);
    gives_back(0, 0, 513, OK);
    assert_memory_equal(at(DATA), disk.bytes + 10 * SECTOR, 512);
    assert_int_equal(*at(STATUS + 2), UNTOUCHED);
    finish(0, 0);
    gives_back(0, 2, 4097, OK);
    assert_memory_equal(at(DATA + 0x20000), disk.bytes + 20 * SECTOR, 4096);
    works();
}

/* Data in pieces, the status in the last of them; and the driver has changed its descriptors since
 * the device saw them. */
static void test_pieces(void **state)
{
    (void)state;
    const struct request_header h = {.type = IN, .sector = 7};
    struct fake_queue *f = &drv[0];
    memcpy(at(HEAD), &h, sizeof(h));
    fake_queue_set(f, 0, HEAD, 16, FAKE_NEXT, 1);
    fake_queue_set(f, 1, DATA, 100, FAKE_NEXT | FAKE_IN, 2);
    fake_queue_set(f, 2, DATA + 0x1000, 413, FAKE_IN, 0);
    fake_queue_offer(f, 0);
    offer_read(0, 9);
    kick(0);
    assert_int_equal(crew.job[0].n, 2);
    memset(f->desc, 0xff, 3 * sizeof(*f->desc));
    *at(STATUS) = *at(DATA + 0x1000 + 412) = UNTOUCHED;
    finish(0, 0);
    gives_back(0, 0, 513, UNTOUCHED); /* the status is elsewhere */
    assert_int_equal(*at(DATA + 0x1000 + 412), OK);
    assert_memory_equal(at(DATA), disk.bytes + 7 * SECTOR, 100);
    assert_memory_equal(at(DATA + 0x1000), disk.bytes + 7 * SECTOR + 100, 412);
}

static void test_counters(void **state)
{
    (void)state;
    const struct virtio_stat *stat = &blk.device.stat;
    offer(0, 0, IN, 0, 4096, true);
    offer(0, 1, IN, 8, 512, true);
    offer(0, 2, OUT, 8, 1024, false);
    offer_flush(3);
    kick(0);
    assert_int_equal(stat->in_ops, 0); /* not yet */
    assert_int_equal(stat->in_bytes, 0);
    assert_int_equal(stat->out_ops, 1);
    assert_int_equal(stat->out_bytes, 1024);
    end(1, 0);
    assert_int_equal(stat->in_ops, 1);
    assert_int_equal(stat->in_bytes, 512);
    end(0, 0);
    end(0, 0);
    assert_int_equal(stat->in_ops, 2);
    assert_int_equal(stat->in_bytes, 4608);
    assert_int_equal(stat->errors, 0);
    regs.interrupts = 0;
    uint64_t before = stat->interrupts;
    virtio_blk_look(&blk);
    assert_int_equal(taken(0), 4);
    assert_int_equal(stat->interrupts, before + 1); /* for all of them */
}

static void test_failures(void **state)
{
    (void)state;
    offer_reads(0, 2);
    offer_flush(2);
    kick(0);
    finish(1, BAD);
    gives_back(0, 1, SECTOR + 1, IOERR);
    assert_int_equal(disk.failures, 1);
    assert_string_equal(disk.failure.what, "read");
    assert_int_equal(disk.failure.off, SECTOR);
    assert_int_equal(disk.failure.len, SECTOR);
    finish(0, 0);
    gives_back_read(0, 0); /* the other is none the worse */
    fake_advance(10000000000ull);
    finish(0, BAD);
    gives_back(0, 2, 1, IOERR);
    assert_int_equal(disk.failures, 2);
    assert_string_equal(disk.failure.what, "flush");
    assert_int_equal(disk.failure.off + disk.failure.len, 0);
    assert_int_equal(blk.device.stat.errors, 2);
    assert_int_equal(blk.device.stat.in_ops, 1);
    works();
}

/* ---- flushes ---- */

/* Three flushes, of which the first is under way. */
static void three_flushes(void)
{
    offer_flush(0);
    offer_flush(1);
    offer_flush(2);
    kick(0);
    assert_int_equal(crew.flushes, 1);
    assert_int_equal(taken(0), 0);
}

static void test_flushes(void **state)
{
    (void)state;
    three_flushes();
    finish(0, 0);
    gives_back(0, 0, 1, OK);
    assert_int_equal(taken(0), 0);
    assert_int_equal(crew.flushes, 2); /* for two */
    offer_flush(3);
    offer_read(0, 4);
    kick(0);
    assert_int_equal(crew.flushes, 2);
    finish(1, 0); /* the read */
    gives_back_read(0, 4);
    assert_int_equal(crew.flushes, 2);
    finish(0, 0);
    assert_int_equal(taken(0), 2);
    assert_true(*at(STATUS + 1) == OK && *at(STATUS + 2) == OK);
    assert_int_equal(*at(STATUS + 3), UNTOUCHED);
    assert_int_equal(crew.flushes, 3);
    finish(0, 0);
    gives_back(0, 3, 1, OK);
    assert_int_equal(crew.flushes, 3);
    assert_int_equal(crew.count, 0);
    offer_reads(5, 7); /* where flushes were before */
    offer_flush(7);
    kick(0);
    finish(2, 0);
    gives_back(0, 7, 1, OK);
    assert_int_equal(taken(0), 0);
    finish(0, 0);
    finish(0, 0);
    assert_int_equal(taken(0), 2);
    assert_int_equal(disk.flushes, 0);
    assert_int_equal(blk.device.stat.errors, 0);
    works();
}

/* The first ends so, the second, which stands for two, so. */
static void flushes_end(int first, int second)
{
    three_flushes();
    finish(0, first);
    gives_back(0, 0, 1, first ? IOERR : OK);
    assert_int_equal(*at(STATUS + 1), UNTOUCHED);
    finish(0, second);
    assert_int_equal(taken(0), 2);
    assert_int_equal(*at(STATUS + 1), second ? IOERR : OK);
    assert_int_equal(*at(STATUS + 2), second ? IOERR : OK);
    assert_int_equal(*at(STATUS), first ? IOERR : OK);
    crew.flushes = 0;
}

static void test_flush_results(void **state)
{
    (void)state;
    flushes_end(BAD, 0);
    assert_int_equal(blk.device.stat.errors, 1);
    flushes_end(0, BAD);
    assert_int_equal(blk.device.stat.errors, 2); /* one of the disk's */
    flushes_end(BAD, BAD);
    flushes_end(0, 0);
    assert_int_equal(blk.device.stat.errors, 4);
    works();
}

/* A crew that has nothing to flush says so at once: to the first, and to those that waited. */
static void test_flush_at_once(void **state)
{
    (void)state;
    crew.answer = 0;
    assert_int_equal(request(FLUSH, 0, 0), OK);
    crew.answer = BAD;
    assert_int_equal(request(FLUSH, 0, 0), IOERR);
    assert_int_equal(crew.flushes, 2);
    assert_int_equal(blk.device.stat.errors, 1);
    const int answer[] = {0, BAD};
    for (unsigned i = 0; i < 2; i++) {
        crew.flushes = 0;
        crew.answer = VIRTIO_BLK_LATER;
        three_flushes();
        crew.answer = answer[i];
        finish(0, i ? 0 : BAD);
        gives_back(0, 0, 1, i ? OK : IOERR);
        assert_int_equal(taken(0), 2);
        assert_int_equal(*at(STATUS + 1), i ? IOERR : OK);
        assert_int_equal(*at(STATUS + 2), i ? IOERR : OK);
        assert_int_equal(crew.flushes, 2);
    }
    works();
}

/* A driver without FLUSH takes what is done for stable (§5.2.6.2). */
static void test_write_through(void **state)
{
    (void)state;
    fake_driver_reset(&blk.device);
    restart(1, VIRTIO_F_VERSION_1);
    offer_reads(0, 2);
    kick(0);
    offer(0, 2, OUT, 0, SECTOR, false);
    offer_flush(3); /* it may not, but */
    kick(0);
    gives_back(0, 2, 1, OK);
    gives_back(0, 3, 1, OK);
    assert_int_equal(disk.flushes, 2);
    assert_int_equal(crew.flushes, 0);
    disk.error = BAD;
    offer(0, 2, OUT, 0, SECTOR, false);
    kick(0);
    gives_back(0, 2, 1, IOERR);
    disk.error = 0;
    finish(1, 0);
    finish(0, 0);
    gives_back_read(0, 1);
    gives_back_read(0, 0);
}

/* ---- more than there is room for ---- */

static void test_all_busy(void **state)
{
    (void)state;
    const unsigned all = VIRTIO_BLK_REQUESTS + 8;
    offer_reads(0, all);
    kick(0);
    assert_int_equal(crew.count, VIRTIO_BLK_REQUESTS);
    kick(0);
    assert_int_equal(crew.count, VIRTIO_BLK_REQUESTS);
    assert_int_equal(disk.reads, 0);
    assert_int_equal(virtio_device_again(&blk.device), 0); /* no use in trying */
    finish(5, 0);
    gives_back_read(0, 5);
    assert_int_equal(crew.reads, VIRTIO_BLK_REQUESTS + 1);
    assert_int_equal(crew.told, 1);
    end(17, 0);
    end(3, 0);
    assert_int_equal(crew.reads, VIRTIO_BLK_REQUESTS + 1);
    virtio_blk_look(&blk);
    gives_back_read(0, 18);
    gives_back_read(0, 3);
    assert_int_equal(crew.reads, VIRTIO_BLK_REQUESTS + 3);
    while (crew.count > 0) {
        finish(crew.count - 1, 0);
    }
    assert_int_equal(crew.reads, all);
    assert_int_equal(taken(0), all - 3);
    assert_int_equal(drv[0].used[0], 0); /* the driver is to kick again */
    for (unsigned n = 0; n < all; n++) {
        assert_int_equal(*at(STATUS + n), OK);
        assert_memory_equal(at(DATA + n * 0x10000), disk.bytes + n * SECTOR, SECTOR);
    }
    works();
}

/* Flushes that wait have each a request too. */
static void test_all_flush(void **state)
{
    (void)state;
    for (unsigned n = 0; n < VIRTIO_BLK_REQUESTS + 2; n++) {
        offer_flush(n);
    }
    kick(0);
    finish(0, 0);
    gives_back(0, 0, 1, OK);
    assert_int_equal(taken(0), 0);
    finish(0, BAD);
    assert_int_equal(taken(0), VIRTIO_BLK_REQUESTS - 1);
    assert_int_equal(*at(STATUS + VIRTIO_BLK_REQUESTS - 1), IOERR);
    assert_int_equal(*at(STATUS + VIRTIO_BLK_REQUESTS), UNTOUCHED);
    finish(0, 0);
    gives_back(0, VIRTIO_BLK_REQUESTS, 1, OK);
    finish(0, 0); /* it came when the one before was under way */
    gives_back(0, VIRTIO_BLK_REQUESTS + 1, 1, OK);
    assert_int_equal(crew.flushes, 4);
    works();
}

/* ---- several queues ---- */

static void start_queues(void)
{
    const struct virtio_blk_disk d = the_disk(DISK);
    start(&d, 2, F_USUAL | 1 << 12);
}

static void test_queues(void **state)
{
    (void)state;
    start_queues();
    offer_read(1, 0);
    offer_read(1, 1);
    kick(1);
    assert_int_equal(crew.reads, 2);
    finish(0, 0);
    finish(0, 0);
    assert_int_equal(taken(1), 2);
    offer_reads(0, 2);
    kick(0);
    offer_read(1, 2); /* alone there, but not in the device */
    kick(1);
    assert_int_equal(crew.reads, 5);
    regs.interrupts = 0;
    finish(2, 0);
    assert_int_equal(regs.interrupts, 2);
    gives_back_read(1, 2);
    assert_int_equal(taken(0), 0);
    end(1, 0);
    offer_read(1, 3);
    kick(1);
    regs.interrupts = 0;
    end(1, 0);
    virtio_blk_look(&blk);
    assert_int_equal(regs.interrupts, 3); /* both are told */
    gives_back_read(0, 1);
    gives_back_read(1, 3);
    finish(0, 0);
    gives_back_read(0, 0);
    offer(1, 4, FLUSH, 0, 0, false); /* one at a time, whichever queue it came by */
    offer_flush(5);
    kick(1);
    kick(0);
    finish(0, 0);
    gives_back(1, 4, 1, OK);
    finish(0, BAD);
    gives_back(0, 5, 1, IOERR);
}

static void test_queues_busy(void **state)
{
    (void)state;
    start_queues();
    offer_reads(0, VIRTIO_BLK_REQUESTS);
    offer_read(1, VIRTIO_BLK_REQUESTS);
    kick(0);
    kick(1);
    assert_int_equal(crew.count, VIRTIO_BLK_REQUESTS);
    finish(0, 0);
    assert_int_equal(crew.count, VIRTIO_BLK_REQUESTS);
    finish(VIRTIO_BLK_REQUESTS - 1, 0); /* that of the other queue */
    gives_back_read(1, VIRTIO_BLK_REQUESTS);
    gives_back_read(0, 0);
}

/* A queue that is never empty does not keep the other from its turn. */
static void test_queues_fair(void **state)
{
    (void)state;
    uint32_t head, len;
    start_queues();
    offer_reads(0, VIRTIO_BLK_REQUESTS + 8);
    offer_read(1, VIRTIO_BLK_REQUESTS + 8);
    kick(0);
    kick(1);
    for (unsigned i = 0; i < 3 * VIRTIO_BLK_REQUESTS; i++) {
        finish(0, 0);
        if (fake_queue_take(&drv[0], &head, &len)) {
            offer_read(0, head / 3);
        }
    }
    gives_back_read(1, VIRTIO_BLK_REQUESTS + 8);
}

/* ---- a rate limit ---- */

static void test_rate_limit(void **state)
{
    (void)state;
    offer_reads(0, 2);
    kick(0);
    disk.ready_ns = fake.time_ns + 500;
    offer_reads(2, 4);
    kick(0);
    assert_int_equal(crew.count, 2);
    assert_int_equal(timer.when_ns, disk.ready_ns);
    finish(1, 0); /* what was begun ends, and nothing else begins */
    gives_back_read(0, 1);
    assert_int_equal(crew.count, 1);
    fake_advance(500);
    timer.fn(timer.arg);
    assert_int_equal(crew.count, 3);
    disk.ready_ns = fake.time_ns + 500;
    timer.when_ns = 0;
    finish(0, 0);
    assert_int_equal(timer.when_ns, disk.ready_ns);
    fake_driver_reset(&blk.device);
    assert_int_equal(timer.when_ns, 0);
    assert_int_equal(crew.count, 0);
    disk.ready_ns = 0;
    restart(1, F_USUAL);
    works();
}

/* ---- the end of it ---- */

/* Whatever comes to the device now, the guest's RAM stays as it is. */
static void leaves_guest_alone(void)
{
    uint8_t *ram = at(RING);
    size_t len = GUEST_END - RING;
    uint8_t *before = malloc(len);
    assert_non_null(before);
    memset(ram, 0x5a, len);
    memset(before, 0x5a, len);
    crew_drain(NULL);
    virtio_blk_look(&blk);
    kick(0);
    assert_memory_equal(ram, before, len);
    free(before);
}

static void test_reset(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        crew.drained = round ? BAD : 0;
        crew.drains = crew.flushes = 0;
        offer_reads(3, 7);
        three_flushes();
        end(1, 0); /* not told: it is lost, as the driver wants it */
        fake_driver_reset(&blk.device);
        assert_int_equal(crew.drains, 1);
        assert_int_equal(crew.count, 0);
        assert_int_equal(crew.flushes, 2); /* those that waited had theirs */
        leaves_guest_alone();
        restart(1, F_USUAL);
        assert_int_equal(taken(0), 0);
        works();
        assert_int_equal(crew.drains, 2); /* leaves_guest_alone has looked */
    }
    assert_int_equal(blk.device.stat.errors, 3 + 2);
}

static void test_reset_all_busy(void **state)
{
    (void)state;
    offer_reads(0, VIRTIO_BLK_REQUESTS + 8);
    kick(0);
    fake_driver_reset(&blk.device);
    assert_int_equal(crew.reads, VIRTIO_BLK_REQUESTS); /* the rest is nobody's */
    leaves_guest_alone();
    restart(1, F_USUAL);
    works();
    virtio_device_stop(&blk.device); /* the machine goes away */
    assert_int_equal(crew.drains, 3);
    virtio_device_stop(&blk.device);
    assert_int_equal(crew.drains, 3);
}

/* The ring breaks while jobs are under way: they end, and nobody is told. */
static void breaks(void)
{
    assert_true(regs.broken);
    assert_int_equal(crew.count, 3);
    finish(1, 0);
    finish(0, BAD);
    offer_read(0, 9);
    kick(0);
    virtio_blk_look(&blk);
    assert_int_equal(taken(0), 0);
    assert_int_equal(crew.count, 2); /* a read; the flush that waited */
    fake_driver_reset(&blk.device);
    assert_int_equal(crew.count, 0);
    leaves_guest_alone();
    restart(1, F_USUAL);
    works();
}

static void test_broken(void **state)
{
    (void)state;
    offer_flush(0);
    offer_reads(1, 3);
    offer_flush(3);
    fake_queue_set(&drv[0], 100, HEAD, 15, 0, 0); /* no header */
    fake_queue_offer(&drv[0], 100);
    kick(0);
    breaks();
    offer_flush(0);
    offer_reads(1, 3);
    offer_flush(3);
    kick(0);
    drv[0].avail[1] = (uint16_t)(drv[0].avail[1] + QUEUE_SIZE + 1);
    kick(0);
    breaks();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CREW_TEST(test_alone),          CREW_TEST(test_at_once),
        CREW_TEST(test_any_order),      CREW_TEST(test_pieces),
        CREW_TEST(test_counters),       CREW_TEST(test_failures),
        CREW_TEST(test_flushes),        CREW_TEST(test_flush_results),
        CREW_TEST(test_flush_at_once),  CREW_TEST(test_write_through),
        CREW_TEST(test_all_busy),       CREW_TEST(test_all_flush),
        CREW_TEST(test_queues),         CREW_TEST(test_queues_busy),
        CREW_TEST(test_queues_fair),
        CREW_TEST(test_rate_limit),     CREW_TEST(test_reset),
        CREW_TEST(test_reset_all_busy), CREW_TEST(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
