/* src/block: what lies in files of the host is read there (block_locate, block_read_runs) as
 * block_read would.
 */
#include "block_files.h"

#define VECS 7u
#define STEPS 400u /* for each kind of disk */

/* ---- both ways ---- */

static uint64_t seed = 1;

/* buf in odd pieces. */
static unsigned cut(uint8_t *buf, uint64_t len, struct io_vec vec[VECS])
{
    uint64_t at = 0;
    unsigned n = 0;
    for (; n < VECS - 1 && at < len; n++) {
        vec[n] = (struct io_vec){buf + at, fake_random(&seed) % (len - at + 1)};
        at += vec[n].len;
    }
    vec[n++] = (struct io_vec){buf + at, len - at};
    return n;
}

/* The runs are as long as was asked for. True: one goes beyond its file's end. */
static bool check_runs(const struct block_run *run, unsigned n, uint64_t len)
{
    bool beyond = false;
    for (unsigned i = 0; i < n; i++) {
        struct stat st;
        assert_true(run[i].len > 0 && run[i].len <= len);
        len -= run[i].len;
        if (run[i].fd >= 0) {
            assert_int_equal(fstat(run[i].fd, &st), 0);
            beyond |= run[i].at + run[i].len > (uint64_t)st.st_size;
        }
    }
    assert_int_equal(len, 0);
    return beyond;
}

/* Read a range by block_read, and where it is told to lie: waiting and not. How many runs. */
static unsigned both_ways(struct block *b, uint64_t off, uint64_t len)
{
    static uint8_t there[MAX_LEN], told[MAX_LEN];
    struct block_run run[BLOCK_RUNS_MAX + 1];
    struct io_vec vec[VECS];
    memset(run, 0x5a, sizeof(run));
    const struct block_run canary = run[BLOCK_RUNS_MAX];
    unsigned n = block_locate(b, off, len, run, BLOCK_RUNS_MAX);
    assert_true(n <= BLOCK_RUNS_MAX);
    assert_memory_equal(&run[BLOCK_RUNS_MAX], &canary, sizeof(canary));
    unsigned pieces = cut(there, len, vec);
    int rc = block_read(b, off, vec, pieces);
    if (n == 0) {
        return 0;
    }
    const bool beyond = check_runs(run, n, len);
    for (unsigned wait = 0; wait < 2; wait++) {
        memset(told, 0xee, len);
        pieces = cut(told, len, vec);
        int told_rc = block_read_runs(run, n, vec, pieces, wait);
        if (told_rc == -EAGAIN && !wait) {
            continue;
        }
        assert_int_equal(told_rc, beyond ? -EIO : rc);
        if (!told_rc) {
            assert_memory_equal(told, there, len);
        }
    }
    return n;
}

/* For the model: as a device reads. */
static int read_located(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n)
{
    struct block_run run[BLOCK_RUNS_MAX];
    unsigned count = block_locate(b, off, vec_length(vec, n), run, BLOCK_RUNS_MAX);
    int rc = count ? block_read_runs(run, count, vec, n, true) : -EIO;
    return rc ? block_read(b, off, vec, n) : 0;
}

/* ---- random requests to each kind ---- */

struct kind {
    const char *spec;
    unsigned bits;       /* of q.qcow2 and r.qcow2 */
    const char *backing; /* of q.qcow2; NULL: none */
    unsigned backed;     /* its sectors */
    bool packed;         /* q.qcow2 has compressed clusters */
    unsigned told;       /* percent of the reads that are told, at least */
};

static const struct kind kinds[] = {
    {"a", .told = 100},
    {"concat:a,one,odd,b", .told = 100},
    {"stripe:4K:a,b,c", .told = 40},
    {"stripe:64K:[concat:a,one],[concat:b,two]", .told = 100},
    {"concat:[stripe:4K:a,b],q.qcow2,c", .bits = 12, .told = 40},
    {"mirror:a,b", .told = 100},
    {"mirror:q.qcow2,r.qcow2", .bits = 16, .told = 90},
    {"q.qcow2", .bits = 9, .told = 20},
    {"q.qcow2", .bits = 12, .told = 40},
    {"q.qcow2", .bits = 16, .told = 90},
    {"q.qcow2", .bits = 21, .told = 100},
    {"q.qcow2", .bits = 12, .packed = true, .told = 30},
    {"q.qcow2", .bits = 16, .packed = true, .told = 30},
    {"q.qcow2", .bits = 12, .backing = "base", .backed = 1501, .told = 40},
    {"q.qcow2", .bits = 16, .backing = "base", .backed = SECTORS + 99, .told = 80},
    {"q.qcow2", .bits = 12, .backing = "base.qcow2", .backed = SECTORS, .told = 30},
    {"concat:q.qcow2,a", .bits = 16, .backing = "base.qcow2", .backed = SECTORS, .told = 80},
};

/* A backing file with the model's stamps. */
static void make_backing(const char *name, uint64_t sectors)
{
    if (strstr(name, ".qcow2")) {
        make_qcow2(name, 13, NULL);
    } else {
        make(name, sectors * BLOCK_SECTOR);
    }
    struct block *b = open_disk(name, plain);
    model_write_backing(b, sectors);
    block_close(b);
}

static void pack(struct disk_model *m)
{
    struct block *b = open_disk("q.qcow2", plain);
    image_pack((struct qcow2 *)b, m);
    block_close(b);
}

static void make_files(const struct kind *k)
{
    make_plain_files();
    if (k->backing) {
        make_backing(k->backing, k->backed);
    }
    if (k->bits) {
        make_qcow2("q.qcow2", k->bits, k->backing);
        make_qcow2("r.qcow2", k->bits, NULL);
    }
}

static void exercise(const struct kind *k, uint64_t with_seed)
{
    unsigned told = 0, reads = 0;
    struct disk_model *m = malloc(model_size(2 * SECTORS));
    make_files(k);
    model_init(m, 2 * SECTORS, min_u64(k->backed, SECTORS), with_seed);
    if (k->packed) {
        pack(m);
    }
    struct block *b = open_disk(k->spec, plain);
    m->sectors = b->size / BLOCK_SECTOR;
    m->read = read_located;
    for (unsigned i = 0; i < STEPS; i++) {
        assert_int_equal(model_step(m, b), 0);
        for (unsigned j = 0; j < 3; j++, reads++) {
            uint64_t first = model_random(m, m->sectors), most = j ? 40 : MAX_LEN / BLOCK_SECTOR;
            uint64_t count = 1 + model_random(m, min_u64(most, m->sectors - first));
            told += both_ways(b, first * BLOCK_SECTOR, count * BLOCK_SECTOR) > 0;
        }
        assert_int_equal(i % 40 ? 0 : model_verify(m, b, false), 0);
    }
    assert_int_equal(model_verify(m, b, false), 0);
    block_close(b);
    free(m);
    if (told * 100 < k->told * reads) {
        fail_msg("%s: of %u reads only %u were told", k->spec, reads, told);
    }
    assert_int_equal(reports, 0);
}

static void test_random(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        exercise(&kinds[i], i + 1);
    }
}

/* ---- what is told ---- */

static void expect_run(const struct block_run *run, const char *name, uint64_t at, uint64_t len)
{
    assert_true(name ? is_file(run->fd, name) && run->at == at : run->fd == -1);
    assert_int_equal(run->len, len);
}

static void test_spread(void **state)
{
    struct block_run run[BLOCK_RUNS_MAX];
    (void)state;
    make_files(&kinds[0]);
    struct block *b = open_disk("concat:a,one,odd", plain);
    assert_int_equal(block_locate(b, LEG - 1024, 4096, run, BLOCK_RUNS_MAX), 3);
    expect_run(&run[0], "a", LEG - 1024, 1024);
    expect_run(&run[1], "one", 0, 512);
    expect_run(&run[2], "odd", 0, 4096 - 1536);
    block_close(b);

    b = open_disk("stripe:4K:a,b,c", plain);
    assert_int_equal(both_ways(b, 8192 + 512, 16 * 4096 - 512), BLOCK_RUNS_MAX);
    assert_int_equal(both_ways(b, 8192 + 512, 16 * 4096), 0);
    assert_int_equal(block_locate(b, 8192 + 512, 4096, run, BLOCK_RUNS_MAX), 2);
    expect_run(&run[0], "c", 512, 4096 - 512);
    expect_run(&run[1], "a", 4096, 512);
    block_close(b);
}

/* Its legs by turns; what one cannot give the other does. */
static void test_mirror(void **state)
{
    uint8_t buf[4096];
    struct block_run run[BLOCK_RUNS_MAX];
    int fd;
    (void)state;
    make("a", 4 * LEG + 0x10000);
    make("b", 4 * LEG + 0x10000);
    struct block *b = open_disk("mirror:a,b", plain);
    put(b, 8192, 7, 4096);
    assert_int_equal(block_locate(b, 8192, 4096, run, BLOCK_RUNS_MAX), 1);
    expect_run(run, "a", 8192, 4096);
    assert_int_equal(block_locate(b, 2 * LEG, 4096, run, BLOCK_RUNS_MAX), 1);
    expect_run(run, "b", 2 * LEG, 4096);
    assert_int_equal(block_flush_files(b, &fd, 1), 0);
    assert_int_equal(truncate("a", 8192), 0);
    const struct io_vec vec = {buf, sizeof(buf)};
    assert_int_equal(block_locate(b, 8192, 4096, run, BLOCK_RUNS_MAX), 1);
    assert_int_equal(block_read_runs(run, 1, &vec, 1, true), -EIO);
    assert_int_equal(read_located(b, 8192, &vec, 1), 0);
    assert_true(buf[0] == 7 && buf[4095] == 7);
    block_close(b);
}

static void test_qcow2(void **state)
{
    struct block_run run[BLOCK_RUNS_MAX];
    const uint64_t size = SECTORS * BLOCK_SECTOR;
    (void)state;
    make_qcow2("q.qcow2", 12, NULL);
    struct block *b = open_disk("q.qcow2", plain);
    assert_int_equal(block_locate(b, 0, size, run, BLOCK_RUNS_MAX), 8); /* 64 clusters each */
    assert_int_equal(both_ways(b, size - 512, 512), 1);
    for (unsigned i = 40; i-- > 0;) { /* the last comes first in the file */
        put(b, i * 4096, (uint8_t)(i + 1), 4096);
    }
    assert_int_equal(both_ways(b, 512, 16 * 4096 - 512), BLOCK_RUNS_MAX);
    assert_int_equal(both_ways(b, 512, 16 * 4096), 0);
    put(b, 64 * 4096, 3, 8 * 4096); /* in a row */
    assert_int_equal(block_locate(b, 63 * 4096, 10 * 4096, run, BLOCK_RUNS_MAX), 3);
    expect_run(&run[0], NULL, 0, 4096);
    expect_run(&run[1], "q.qcow2", run[1].at, 8 * 4096);
    expect_run(&run[2], NULL, 0, 4096);
    assert_int_equal(block_write_zeroes(b, 66 * 4096, 4096, false), 0);
    assert_int_equal(both_ways(b, 64 * 4096 + 512, 8 * 4096 - 1024), 3);
    assert_int_equal(both_ways(b, 66 * 4096, 4096), 1);
    put(b, size - 512, 9, 512); /* in half a cluster */
    assert_int_equal(both_ways(b, size - 512, 512), 1);
    block_close(b);

    struct disk_model *m = malloc(model_size(SECTORS));
    model_init(m, SECTORS, 0, 1);
    make_qcow2("q.qcow2", 12, NULL);
    pack(m);
    b = open_disk("q.qcow2", read_only);
    assert_int_equal(both_ways(b, 0, 512), 0);
    assert_int_equal(both_ways(b, 4096, 8192), 1);
    assert_int_equal(both_ways(b, 4096, 8192 + 512), 0);
    block_close(b);
    free(m);
}

static void test_backing(void **state)
{
    struct block_run run[BLOCK_RUNS_MAX];
    (void)state;
    make_backing("base", 1501);
    make_qcow2("mid.qcow2", 16, "base");
    make_qcow2("q.qcow2", 12, "mid.qcow2");
    struct block *b = open_disk("q.qcow2", plain);
    const uint64_t end = 1501 * 512;
    assert_int_equal(block_locate(b, 512, 8192, run, BLOCK_RUNS_MAX), 1);
    expect_run(run, "base", 512, 8192);
    /* a cluster, half of it there */
    assert_int_equal(block_locate(b, end - 512, 1024, run, BLOCK_RUNS_MAX), 2);
    expect_run(&run[0], "base", end - 512, 512);
    expect_run(&run[1], NULL, 0, 512);
    assert_int_equal(block_locate(b, end + 0x20000, 4096, run, BLOCK_RUNS_MAX), 1);
    expect_run(run, NULL, 0, 4096);
    put(b, 4096, 1, 4096);
    assert_int_equal(block_locate(b, 0, 12288, run, BLOCK_RUNS_MAX), 3);
    expect_run(&run[0], "base", 0, 4096);
    expect_run(&run[1], "q.qcow2", run[1].at, 4096);
    expect_run(&run[2], "base", 8192, 4096);
    assert_int_equal(both_ways(b, 0, 12288), 3);
    block_close(b);

    make_qcow2("q.qcow2", 12, "base");
    b = open_disk("q.qcow2", plain);
    for (unsigned i = 187; i-- > 172;) { /* up to the cluster with the end in it */
        put(b, i * 4096, (uint8_t)i, 4096);
    }
    assert_int_equal(both_ways(b, 173 * 4096, 15 * 4096), BLOCK_RUNS_MAX);
    assert_int_equal(both_ways(b, 172 * 4096, 15 * 4096), BLOCK_RUNS_MAX - 1);
    assert_int_equal(both_ways(b, 172 * 4096, 16 * 4096), 0);
    block_close(b);
}

/* Kinds that tell nothing, and those above them. */
static void test_untold(void **state)
{
    struct block_error err;
    struct block_run run[BLOCK_RUNS_MAX];
    struct fake_medium m;
    struct fake_file f;
    struct block *legs[2], *b;
    int fd[2];
    (void)state;
    make("a", LEG);
    fake_medium_init(&m, "A", LEG);
    legs[0] = open_disk("a", plain);
    legs[1] = fake_disk_open(&m);
    assert_int_equal(concat_open(legs, 2, &b, &err), 0);
    assert_int_equal(both_ways(b, 0, LEG / 2), 1);
    assert_int_equal(both_ways(b, LEG, 512), 0);
    assert_int_equal(both_ways(b, LEG - 512, 1024), 0);
    assert_int_equal(block_flush_files(b, fd, 2), 0);
    block_close(b);
    fake_medium_fini(&m);

    /* An image that is in no file, over one that is no file. */
    fake_file_init(&f);
    image_make(&f, SECTORS * BLOCK_SECTOR, 12);
    b = &image_open(&f, 20, false)->base;
    put(b, 0, 1, 4096);
    assert_int_equal(both_ways(b, 0, 4096), 0);
    assert_int_equal(both_ways(b, 4096, 4096), 0);
    assert_int_equal(both_ways(b, 8192, 4096), 0); /* half of it */
    assert_int_equal(block_locate(b, 10240, 4096, run, BLOCK_RUNS_MAX), 1);
    expect_run(run, NULL, 0, 4096);
    block_close(b);
    fake_file_fini(&f);
}

/* ---- what is wrong ---- */

static void test_short_files(void **state)
{
    struct block_run run[BLOCK_RUNS_MAX];
    static uint8_t buf[8192];
    const struct io_vec vec = {buf, sizeof(buf)};
    (void)state;
    make("a", LEG);
    struct block *b = open_disk("a", plain);
    assert_int_equal(block_locate(b, 0, 0, run, BLOCK_RUNS_MAX), 0);
    put(b, 0, 1, 8192);
    assert_int_equal(truncate("a", 4096), 0);
    assert_int_equal(both_ways(b, 0, 4096), 1);
    assert_int_equal(block_locate(b, 0, 8192, run, BLOCK_RUNS_MAX), 1);
    assert_int_equal(block_read_runs(run, 1, &vec, 1, true), -EIO);
    int rc = block_read_runs(run, 1, &vec, 1, false);
    assert_true(rc == -EIO || rc == -EAGAIN);
    assert_int_equal(both_ways(b, LEG - 512, 512), 1);
    block_close(b);

    /* What an image's file lacks reads as zeros, but not there. */
    make_qcow2("q.qcow2", 12, NULL);
    b = open_disk("q.qcow2", plain);
    put(b, 0, 5, 8192);
    assert_int_equal(block_locate(b, 0, 8192, run, BLOCK_RUNS_MAX), 1);
    assert_int_equal(truncate("q.qcow2", (off_t)run[0].at + 4096 + 512), 0);
    assert_int_equal(both_ways(b, 0, 4096 + 512), 1);
    assert_int_equal(block_read_runs(run, 1, &vec, 1, true), -EIO);
    assert_int_equal(read_located(b, 0, &vec, 1), 0);
    assert_true(buf[4096 + 511] == 5 && buf[4096 + 512] == 0 && buf[8191] == 0);
    assert_int_equal(both_ways(b, 0, 8192), 1);
    block_close(b);
}

/* An entry that cannot be: told once, and its neighbours can still be read. */
static void test_corrupt(void **state)
{
    static const uint64_t bad[] = {0x200, ENTRY_COPIED, ENTRY_COMPRESSED};
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t entry[8];
        make_qcow2("q.qcow2", 12, NULL);
        struct block *b = open_disk("q.qcow2", plain);
        put(b, 0, 5, 3 * 4096);
        assert_int_equal(block_flush(b), 0);
        off_t table = (off_t)(((struct qcow2 *)b)->l1[0] & ENTRY_OFFSET);
        block_close(b);
        int fd = open("q.qcow2", O_RDWR | O_CLOEXEC);
        store_be64(entry, bad[i]);
        assert_int_equal(pwrite(fd, entry, 8, table + 8), 8);
        close(fd);
        b = open_disk("q.qcow2", i % 2 ? plain : read_only);
        reports = 0;
        assert_int_equal(both_ways(b, 0, 4096), 1);
        assert_int_equal(reports, 0);
        for (uint64_t off = 0; off <= 4096; off += 4096) {
            static uint8_t buf[8192];
            assert_int_equal(both_ways(b, off, 8192), 0);
            assert_int_equal(block_read_buf(b, off, buf, 8192), -EIO);
        }
        assert_int_equal(both_ways(b, 8192, 4096), 1);
        assert_int_equal(reports, 1);
        block_close(b);
    }
}

/* Whether it would have to wait, a directory or a pipe may not know. */
static void read_fails(int fd, int err)
{
    uint8_t buf[1024];
    const struct io_vec vec = {buf, sizeof(buf)};
    const struct block_run run[2] = {{fd, 0, 512}, {-1, 0, 512}};
    for (unsigned wait = 0; wait < 2; wait++) {
        int rc = block_read_runs(run, 2, &vec, 1, wait);
        assert_true(rc == err || (rc == -EAGAIN && !wait && err != -EBADF));
    }
}

static void test_errors(void **state)
{
    int ends[2];
    (void)state;
    int fd = new_file("a", LEG);
    close(fd);
    read_fails(fd, -EBADF);
    fd = open("a", O_WRONLY | O_CLOEXEC);
    read_fails(fd, -EBADF);
    close(fd);
    fd = open(".", O_RDONLY | O_CLOEXEC);
    read_fails(fd, -EISDIR);
    close(fd);
    assert_int_equal(pipe(ends), 0);
    read_fails(ends[0], -ESPIPE);
    close(ends[0]);
    close(ends[1]);
}

/* Have the host forget the file; whether it says that the byte is not there. */
static bool is_cold(int fd, uint64_t at)
{
    uint8_t byte;
    const struct iovec one = {&byte, 1};
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0); /* it reads nothing ahead */
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    return preadv2(fd, &one, 1, (off_t)at, RWF_NOWAIT) < 0 && errno == EAGAIN;
}

/* What is not in the host's memory is not waited for; then waiting gets it. */
static void test_cold(void **state)
{
    unsigned cold = 0;
    (void)state;
    make("a", LEG);
    struct block *b = open_disk("a", plain);
    put(b, 0, 1, MAX_LEN);
    put(b, MAX_LEN, 2, MAX_LEN);
    assert_int_equal(block_flush(b), 0);
    for (uint64_t off = 0; off < LEG; off += 0x10000) {
        static uint8_t buf[0x10000];
        const struct io_vec vec[2] = {{buf, 1000}, {buf + 1000, sizeof(buf) - 1000}};
        struct block_run run[BLOCK_RUNS_MAX];
        assert_int_equal(block_locate(b, off, sizeof(buf), run, BLOCK_RUNS_MAX), 1);
        if (is_cold(run->fd, off)) {
            assert_int_equal(block_read_runs(run, 1, vec, 2, false), -EAGAIN);
            cold++;
        }
        assert_int_equal(block_read_runs(run, 1, vec, 2, true), 0);
        for (unsigned i = 0; i < sizeof(buf); i++) {
            assert_int_equal(buf[i], off / MAX_LEN + 1);
        }
        int rc = block_read_runs(run, 1, vec, 2, false);
        assert_true(rc == 0 || rc == -EAGAIN);
    }
    printf("%u of 8 reads would have had to wait\n", cold);
    block_close(b);
}

/* ---- limits ---- */

static void test_throttle(void **state)
{
    struct block_run run[BLOCK_RUNS_MAX];
    struct block_error err;
    struct fake_medium m;
    struct block *b;
    int fd[2];
    (void)state;
    make("a", LEG);
    b = open_disk("a", (struct block_options){.bps = 4096});
    put(b, 0, 3, 8192);
    uint64_t ready = block_ready_ns(b);
    assert_int_equal(block_locate(b, 512, 4096, run, BLOCK_RUNS_MAX), 1);
    expect_run(run, "a", 512, 4096);
    assert_int_equal(block_ready_ns(b), ready += 1000000000); /* once */
    assert_int_equal(block_flush_files(b, fd, 1), 1);
    assert_true(is_file(fd[0], "a"));
    assert_int_equal(block_flush_end(b, 0), 0);
    assert_int_equal(block_ready_ns(b), ready); /* no bytes moved */
    block_close(b);

    make("b", LEG);
    b = open_disk("concat:a,b", (struct block_options){.iops = 1});
    put(b, 0, 3, 512);
    ready = block_ready_ns(b);
    assert_int_equal(block_locate(b, LEG - 512, 1024, run, BLOCK_RUNS_MAX), 2);
    assert_int_equal(block_ready_ns(b), ready += 1000000000);
    assert_int_equal(block_flush_files(b, fd, 2), 2);
    assert_int_equal(block_flush_end(b, 0), 0);
    assert_int_equal(block_ready_ns(b), ready += 1000000000);
    block_close(b);

    fake_medium_init(&m, "A", LEG);
    assert_int_equal(throttle_open(fake_disk_open(&m), 1, 4096, &b, &err), 0);
    put(b, 0, 3, 4096);
    ready = block_ready_ns(b);
    /* the read that follows counts */
    assert_int_equal(block_locate(b, 0, 4096, run, BLOCK_RUNS_MAX), 0);
    assert_int_equal(block_flush_files(b, fd, 2), 0);
    assert_int_equal(block_ready_ns(b), ready);
    block_close(b);
    fake_medium_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mirror, setup, teardown),
        cmocka_unit_test_setup_teardown(test_qcow2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_untold, setup, teardown),
        cmocka_unit_test_setup_teardown(test_short_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cold, setup, teardown),
        cmocka_unit_test_setup_teardown(test_throttle, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
