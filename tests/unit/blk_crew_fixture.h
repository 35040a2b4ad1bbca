/* blk_fixture.h with a crew that keeps its jobs until the test ends them, in any order and in any
 * way, and minds what blk.h says about them; and what such tests have their driver do. */
#ifndef TESTS_BLK_CREW_FIXTURE_H
#define TESTS_BLK_CREW_FIXTURE_H

#include "blk_fixture.h"

#define SECTOR VIRTIO_BLK_SECTOR
#define BAD (-5)

/** A job of the crew's. */
struct job {
    struct virtio_blk_job *job;
    bool flush;
    uint64_t off;
    const struct io_vec *vec;
    unsigned n;
    struct io_vec then[VIRTQ_SEGMENTS_MAX]; /* what vec held */
};

/** The crew. Nothing ends before the test says so. */
static struct {
    struct job job[VIRTIO_BLK_REQUESTS]; /* under way, the oldest first */
    unsigned count;
    unsigned reads, flushes, drains; /* calls */
    int answer;                      /* to them */
    unsigned told;                   /* used index of queue 0 when the last read began */
    int drained;                     /* how jobs end in drain */
} crew;

static void begin(const struct job *j)
{
    assert_true(j->job->index < VIRTIO_BLK_REQUESTS);
    assert_true(crew.count < VIRTIO_BLK_REQUESTS);
    for (unsigned i = 0; i < crew.count; i++) {
        assert_int_not_equal(crew.job[i].job->index, j->job->index);
        assert_false(crew.job[i].flush && j->flush);
    }
    crew.job[crew.count++] = *j;
}

/* The i-th of those under way ends. */
static void end(unsigned i, int err)
{
    struct job j = crew.job[i];
    assert_true(i < crew.count);
    crew.count--;
    memmove(&crew.job[i], &crew.job[i + 1], (crew.count - i) * sizeof(j));
    assert_true(j.flush || memcmp(j.vec, j.then, j.n * sizeof(*j.vec)) == 0);
    for (unsigned v = 0; v < j.n && !err; v++) {
        assert_true(j.off + j.vec[v].len <= DISK);
        memcpy(j.vec[v].base, disk.bytes + j.off, j.vec[v].len);
        j.off += j.vec[v].len;
    }
    j.job->done(j.job, err);
}

/* And the device is told. */
static void finish(unsigned i, int err)
{
    end(i, err);
    virtio_blk_look(&blk);
}

static int crew_read(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n,
                     struct virtio_blk_job *job)
{
    struct job j = {.job = job, .off = off, .vec = vec, .n = n};
    crew.reads++;
    crew.told = drv[0].used[1];
    if (crew.answer != VIRTIO_BLK_LATER) {
        return crew.answer ? crew.answer : disk_read(ctx, off, vec, n);
    }
    memcpy(j.then, vec, n * sizeof(*vec));
    begin(&j);
    return VIRTIO_BLK_LATER;
}

static int crew_flush(void *ctx, struct virtio_blk_job *job)
{
    const struct job j = {.job = job, .flush = true};
    (void)ctx;
    crew.flushes++;
    if (crew.answer == VIRTIO_BLK_LATER) {
        begin(&j);
    }
    return crew.answer;
}

static void crew_drain(void *ctx)
{
    (void)ctx;
    crew.drains++;
    while (crew.count > 0) {
        end(crew.count - 1, crew.drained);
    }
}

static int setup_crew(void **state)
{
    memset(&crew, 0, sizeof(crew));
    crew.answer = VIRTIO_BLK_LATER;
    the_crew =
        (struct virtio_blk_crew){.read = crew_read, .flush = crew_flush, .drain = crew_drain};
    return setup(state);
}

static void kick(unsigned q)
{
    virtio_device_kick(&blk.device, q);
}

/* The driver reads sector n, with queue q, as its n-th request. */
static void offer_read(unsigned q, unsigned n)
{
    memset(at(DATA + n * 0x10000), UNTOUCHED, SECTOR);
    offer(q, n, IN, n, SECTOR, true);
}

static void offer_reads(unsigned from, unsigned to)
{
    for (unsigned n = from; n < to; n++) {
        offer_read(0, n);
    }
}

static void offer_flush(unsigned n)
{
    offer(0, n, FLUSH, 0, 0, false);
}

/* The next that came back through queue q is the n-th, and ended so. */
static void gives_back(unsigned q, unsigned n, unsigned written, unsigned status)
{
    uint32_t head, len;
    assert_true(fake_queue_take(&drv[q], &head, &len));
    assert_int_equal(head, n * 3);
    assert_int_equal(len, written);
    assert_int_equal(*at(STATUS + n), status);
}

static void gives_back_read(unsigned q, unsigned n)
{
    gives_back(q, n, SECTOR + 1, OK);
    assert_memory_equal(at(DATA + n * 0x10000), disk.bytes + n * SECTOR, SECTOR);
}

#define CREW_TEST(f) cmocka_unit_test_setup_teardown(f, setup_crew, teardown)

#endif
