/* src/dev/virtio/virtq.c: split rings, good and spoilt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "dev/virtio/virtq.h"
#include "fake_driver.h"

#define RAM_SIZE (1u << 20)
#define RING 0x10000ull
#define TABLE 0x20000ull
#define DATA 0x40000ull

static struct ram ram;
static struct fake_queue drv;
static struct virtq vq;
static struct virtq_chain chain;

static void begin_at(uint16_t size, uint64_t features)
{
    fake_queue_init(&drv, &ram, RING, size);
    struct virtio_queue_regs regs = fake_queue_regs(&drv);
    assert_true(virtq_init(&vq, &ram, &regs, features));
}

static int setup(void **state)
{
    (void)state;
    ram = (struct ram){.base = aligned_alloc(PAGE_SIZE, RAM_SIZE), .size = RAM_SIZE, .fd = -1};
    memset(ram.base, 0, RAM_SIZE);
    begin_at(8, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(ram.base);
    return 0;
}

static bool accepts(struct virtio_queue_regs regs)
{
    struct virtq q;
    bool ok = virtq_init(&q, &ram, &regs, VIRTIO_F_EVENT_IDX);
    assert_int_equal(q.size, ok ? regs.size : 0);
    return ok;
}

static void test_init_checks_everything(void **state)
{
    (void)state;
    struct virtio_queue_regs good = fake_queue_regs(&drv), r;
    assert_true(accepts(good));
    r = good, r.enabled = false;
    assert_false(accepts(r));
    static const uint16_t sizes[] = {0, 3, 7, 257, 512, 0x8000, 0xffff};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        r = good, r.size = sizes[i];
        assert_false(accepts(r));
    }
    r = good, r.size = 256;
    assert_true(accepts(r));
    r = good, r.desc += 8;
    assert_false(accepts(r));
    r = good, r.driver += 1;
    assert_false(accepts(r));
    r = good, r.device += 2;
    assert_false(accepts(r));
    /* The last byte of each part is RAM, or it is not: 8 entries take 128, 22 and 70 bytes. */
    r = good, r.desc = RAM_SIZE - 128;
    assert_true(accepts(r));
    r.desc += 16;
    assert_false(accepts(r));
    r = good, r.driver = RAM_SIZE - 22;
    assert_true(accepts(r));
    r.driver += 2;
    assert_false(accepts(r));
    r = good, r.device = RAM_SIZE - 72;
    assert_true(accepts(r));
    r.device += 4;
    assert_false(accepts(r));
    r = good, r.desc = ~15ull;
    assert_false(accepts(r));
    r = good, r.device = RAM_HOLE_START;
    assert_false(accepts(r));
}

static void test_a_dead_queue_does_nothing(void **state)
{
    (void)state;
    struct virtio_queue_regs off = {0};
    assert_false(virtq_init(&vq, &ram, &off, 0));
    assert_int_equal(virtq_pop(&vq, &chain), 0);
    assert_false(virtq_has_work(&vq));
    virtq_push(&vq, 0, 0);
    assert_false(virtq_publish(&vq));
    assert_false(virtq_enable_kicks(&vq));
    virtq_disable_kicks(&vq);
}

static void test_a_chain(void **state)
{
    (void)state;
    assert_int_equal(virtq_pop(&vq, &chain), 0);
    assert_false(virtq_has_work(&vq));
    fake_queue_set(&drv, 5, DATA, 16, FAKE_NEXT, 2);
    fake_queue_set(&drv, 2, DATA + 100, 7, FAKE_NEXT, 7);
    fake_queue_set(&drv, 7, DATA + 0x1000, 0x2000, FAKE_NEXT | FAKE_IN, 0);
    fake_queue_set(&drv, 0, DATA + 0x4000, 1, FAKE_IN, 3);
    fake_queue_offer(&drv, 5);
    assert_true(virtq_has_work(&vq));
    assert_int_equal(virtq_pop(&vq, &chain), 1);
    assert_int_equal(chain.head, 5);
    assert_int_equal(chain.out_count, 2);
    assert_int_equal(chain.in_count, 2);
    assert_int_equal(chain.out_len, 23);
    assert_int_equal(chain.in_len, 0x2001);
    assert_ptr_equal(chain.seg[0].base, ram.base + DATA);
    assert_ptr_equal(chain.seg[1].base, ram.base + DATA + 100);
    assert_int_equal(chain.seg[1].len, 7);
    assert_ptr_equal(chain.seg[2].base, ram.base + DATA + 0x1000);
    assert_ptr_equal(chain.seg[3].base, ram.base + DATA + 0x4000);
    assert_int_equal(virtq_pop(&vq, &chain), 0);

    virtq_unpop(&vq);
    assert_int_equal(virtq_pop(&vq, &chain), 1);
    assert_int_equal(chain.head, 5);

    virtq_push(&vq, chain.head, 77);
    uint32_t head, len;
    assert_false(fake_queue_take(&drv, &head, &len));
    assert_true(virtq_publish(&vq));
    assert_true(fake_queue_take(&drv, &head, &len));
    assert_int_equal(head, 5);
    assert_int_equal(len, 77);
    assert_false(virtq_publish(&vq)); /* nothing new */
}

static void test_indices_wrap_around(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 70000; i++) {
        uint32_t head, len;
        uint16_t added = fake_queue_add(&drv, DATA, 1 + i % 5, DATA + 64, 1);
        assert_int_equal(virtq_pop(&vq, &chain), 1);
        assert_int_equal(chain.head, added);
        assert_int_equal(chain.out_len, 1 + i % 5);
        virtq_push(&vq, chain.head, i);
        assert_true(virtq_publish(&vq));
        assert_true(fake_queue_take(&drv, &head, &len));
        assert_int_equal(head, added);
        assert_int_equal(len, i);
    }
    assert_int_equal(virtq_pop(&vq, &chain), 0);
}

static void test_empty_segments_are_left_out(void **state)
{
    (void)state;
    fake_queue_set(&drv, 0, ~0ull, 0, FAKE_NEXT, 1);
    fake_queue_set(&drv, 1, DATA, 4, FAKE_NEXT, 2);
    fake_queue_set(&drv, 2, DATA, 0, FAKE_IN, 0);
    fake_queue_offer(&drv, 0);
    assert_int_equal(virtq_pop(&vq, &chain), 1);
    assert_int_equal(chain.out_count, 1);
    assert_int_equal(chain.in_count, 0);
}

/* Offer descriptor 0 and see the queue break, for good. */
static void expect_broken(void)
{
    fake_queue_offer(&drv, 0);
    assert_int_equal(virtq_pop(&vq, &chain), -1);
    assert_true(vq.broken);
    begin_at(8, vq.indirect ? VIRTIO_F_INDIRECT_DESC : 0);
}

static void test_spoilt_chains_break_the_queue(void **state)
{
    (void)state;
    fake_queue_set(&drv, 0, DATA, 4, FAKE_NEXT, 8); /* no such descriptor */
    expect_broken();
    fake_queue_set(&drv, 0, DATA, 4, FAKE_NEXT, 0xffff);
    expect_broken();
    fake_queue_set(&drv, 0, DATA, 4, FAKE_NEXT, 0); /* in circles */
    expect_broken();
    fake_queue_set(&drv, 0, DATA, 0, FAKE_NEXT, 0); /* in circles without a byte */
    expect_broken();
    fake_queue_set(&drv, 0, DATA, 4, FAKE_IN | FAKE_NEXT, 1); /* out after in */
    fake_queue_set(&drv, 1, DATA, 4, 0, 0);
    expect_broken();
    fake_queue_set(&drv, 0, RAM_SIZE - 1, 2, 0, 0); /* half in RAM */
    expect_broken();
    fake_queue_set(&drv, 0, ~0ull, 2, 0, 0);
    expect_broken();
    fake_queue_set(&drv, 0, DATA, 0xffffffff, 0, 0);
    expect_broken();
    fake_queue_set(&drv, 0, RAM_HOLE_START - 1, 2, 0, 0);
    expect_broken();
    fake_queue_set(&drv, 0, TABLE, 16, FAKE_INDIRECT, 0); /* not negotiated */
    expect_broken();
}

static void test_spoilt_rings_break_the_queue(void **state)
{
    (void)state;
    fake_queue_offer(&drv, 8); /* no such head */
    assert_int_equal(virtq_pop(&vq, &chain), -1);
    assert_int_equal(virtq_pop(&vq, &chain), -1);
    assert_false(virtq_has_work(&vq));
    virtq_push(&vq, 1, 1);
    assert_false(virtq_publish(&vq));
    begin_at(8, 0);
    drv.avail[1] = 9; /* more than the ring holds */
    assert_int_equal(virtq_pop(&vq, &chain), -1);
    begin_at(8, 0);
    drv.avail[1] = 8;
    fake_queue_set(&drv, 0, DATA, 1, 0, 0);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(virtq_pop(&vq, &chain), 1);
    }
    assert_int_equal(virtq_pop(&vq, &chain), 0);
}

static struct fake_desc *indirect(uint32_t count, uint64_t at)
{
    struct fake_desc *table = (struct fake_desc *)(void *)(ram.base + at);
    for (uint32_t i = 0; i < count; i++) {
        table[i] = (struct fake_desc){.gpa = DATA + i,
                                      .len = 1,
                                      .flags = i + 1 < count ? FAKE_NEXT : 0,
                                      .next = (uint16_t)(i + 1)};
    }
    return table;
}

static void test_indirect(void **state)
{
    (void)state;
    begin_at(8, VIRTIO_F_INDIRECT_DESC);
    struct fake_desc *table = indirect(3, TABLE);
    table[2].flags = FAKE_IN;
    fake_queue_set(&drv, 0, DATA + 0x100, 4, FAKE_NEXT, 1); /* some of the queue's own before it */
    /* the flag IN is ignored there */
    fake_queue_set(&drv, 1, TABLE, 48, FAKE_INDIRECT | FAKE_IN, 99);
    fake_queue_offer(&drv, 0);
    assert_int_equal(virtq_pop(&vq, &chain), 1);
    assert_int_equal(chain.out_count, 3);
    assert_int_equal(chain.in_count, 1);
    assert_int_equal(chain.out_len, 6);

    indirect(VIRTQ_SEGMENTS_MAX, TABLE);
    fake_queue_set(&drv, 0, TABLE, VIRTQ_SEGMENTS_MAX * 16, FAKE_INDIRECT, 0);
    fake_queue_offer(&drv, 0);
    assert_int_equal(virtq_pop(&vq, &chain), 1);
    assert_int_equal(chain.out_count, VIRTQ_SEGMENTS_MAX);

    indirect(VIRTQ_SEGMENTS_MAX + 1, TABLE);
    fake_queue_set(&drv, 0, TABLE, (VIRTQ_SEGMENTS_MAX + 1) * 16, FAKE_INDIRECT, 0);
    expect_broken();
}

static void test_spoilt_indirect_tables(void **state)
{
    (void)state;
    begin_at(8, VIRTIO_F_INDIRECT_DESC);
    struct fake_desc *table = indirect(2, TABLE);
    static const uint32_t lengths[] = {0, 8, 15, 17, 0xfffffff0};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        fake_queue_set(&drv, 0, TABLE, lengths[i], FAKE_INDIRECT, 0);
        expect_broken();
    }
    fake_queue_set(&drv, 0, TABLE, 16, FAKE_INDIRECT, 0); /* its first leads out of it */
    expect_broken();
    fake_queue_set(&drv, 0, TABLE, 32, FAKE_INDIRECT | FAKE_NEXT, 1);
    expect_broken();
    fake_queue_set(&drv, 0, RAM_SIZE - 16, 32, FAKE_INDIRECT, 0);
    expect_broken();
    indirect(1, TABLE + 0x100);
    table[1] = (struct fake_desc){.gpa = TABLE + 0x100, .len = 16, .flags = FAKE_INDIRECT}; /* nested */
    fake_queue_set(&drv, 0, TABLE, 32, FAKE_INDIRECT, 0);
    expect_broken();
    indirect(2, TABLE)[1] =
        (struct fake_desc){.gpa = DATA, .len = 1, .flags = FAKE_NEXT, .next = 0};
    fake_queue_set(&drv, 0, TABLE, 32, FAKE_INDIRECT, 0);
    expect_broken();
    /* An odd address is no mistake. */
    memmove(ram.base + TABLE + 0x1001, indirect(2, TABLE), 32);
    fake_queue_set(&drv, 0, TABLE + 0x1001, 32, FAKE_INDIRECT, 0);
    fake_queue_offer(&drv, 0);
    assert_int_equal(virtq_pop(&vq, &chain), 1);
    assert_int_equal(chain.out_len, 2);
}

static bool cycle(void)
{
    fake_queue_add(&drv, DATA, 1, 0, 0);
    assert_int_equal(virtq_pop(&vq, &chain), 1);
    virtq_push(&vq, chain.head, 0);
    return virtq_publish(&vq);
}

static void test_interrupts_by_flag(void **state)
{
    (void)state;
    assert_true(cycle());
    drv.avail[0] = 1;
    assert_false(cycle());
    drv.avail[0] = 0;
    assert_true(cycle());
}

static void test_interrupts_by_event(void **state)
{
    (void)state;
    begin_at(8, VIRTIO_F_EVENT_IDX);
    drv.avail[0] = 1; /* means nothing now */
    assert_true(cycle());
    assert_false(cycle());
    *fake_queue_used_event(&drv) = 2;
    assert_true(cycle());
    *fake_queue_used_event(&drv) = 5;
    assert_false(cycle());
    assert_false(cycle());
    assert_true(cycle());
    /* Several at once that go past it. */
    *fake_queue_used_event(&drv) = 7;
    for (unsigned i = 0; i < 4; i++) {
        fake_queue_add(&drv, DATA, 1, 0, 0);
        assert_int_equal(virtq_pop(&vq, &chain), 1);
        virtq_push(&vq, chain.head, 0);
    }
    assert_true(virtq_publish(&vq));
    /* Each event once, also across the wrap. */
    unsigned interrupts = 0;
    for (unsigned i = 0; i < 3 * 65536; i++) {
        if (cycle()) {
            interrupts++;
        }
    }
    assert_int_equal(interrupts, 3);
}

static void test_kicks(void **state)
{
    (void)state;
    virtq_disable_kicks(&vq);
    assert_int_equal(drv.used[0], 1);
    assert_false(virtq_enable_kicks(&vq));
    assert_int_equal(drv.used[0], 0);
    fake_queue_add(&drv, DATA, 1, 0, 0);
    assert_true(virtq_enable_kicks(&vq)); /* it came too early for a kick */

    begin_at(8, VIRTIO_F_EVENT_IDX);
    cycle();
    cycle();
    assert_false(virtq_enable_kicks(&vq));
    assert_int_equal(*fake_queue_avail_event(&drv), 2);
    virtq_disable_kicks(&vq);
    assert_int_equal(drv.used[0], 0);
}

/* ---- a guest on another CPU ---- */

#define RACE_POPS 200000u

static bool race_over;

/* Turns descriptors and indices from good to bad and back, as fast as it can. */
static void *spoil(void *arg)
{
    static const uint64_t places[] = {DATA, DATA + 0x1000, RAM_SIZE - 8, ~0ull, RAM_HOLE_START};
    static const uint32_t lengths[] = {1, 0x1000, 16, 0xfffffff0, 0};
    (void)arg;
    for (unsigned i = 0; !__atomic_load_n(&race_over, __ATOMIC_RELAXED); i++) {
        volatile struct fake_desc *d =
            i & 1 ? &drv.desc[i / 2 % 8]
                  : (struct fake_desc *)(void *)(ram.base + TABLE) + i / 2 % 4;
        d->gpa = i & 64 ? TABLE : places[i / 3 % ARRAY_LEN(places)];
        d->len = i & 64 ? 64 : lengths[i / 7 % ARRAY_LEN(lengths)];
        d->flags = (uint16_t)(i / 5 % 8);
        d->next = (uint16_t)(i / 11 % 9);
    }
    return NULL;
}

static bool inside(const struct io_vec *v)
{
    return v->len != 0 && v->len <= RAM_SIZE && v->base >= ram.base &&
           v->base + v->len <= ram.base + RAM_SIZE;
}

/* Whatever a descriptor is while it is read: what comes out of it is in RAM. */
static void test_a_racing_guest(void **state)
{
    (void)state;
    pthread_t thread;
    unsigned good = 0, bad = 0;
    begin_at(8, VIRTIO_F_INDIRECT_DESC);
    race_over = false;
    assert_int_equal(pthread_create(&thread, NULL, spoil, NULL), 0);
    for (unsigned i = 0; i < RACE_POPS || ((good < 100 || bad < 100) && i < 1000 * RACE_POPS);
         i++) {
        vq.broken = false;
        vq.next_avail = 0;
        drv.avail[1] = 1;
        drv.avail[2] = (uint16_t)(i % 8);
        if (virtq_pop(&vq, &chain) != 1) {
            bad++;
            continue;
        }
        good++;
        uint64_t len = 0;
        for (unsigned n = 0; n < chain.out_count + chain.in_count; n++) {
            assert_true(inside(&chain.seg[n]));
            len += chain.seg[n].len;
        }
        assert_int_equal(len, chain.out_len + chain.in_len);
    }
    __atomic_store_n(&race_over, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    assert_true(good >= 100 && bad >= 100); /* the two did run at the same time */
}

/* ---- a chain's bytes ---- */

static void pop_pieces(void)
{
    fake_queue_set(&drv, 0, DATA, 3, FAKE_NEXT, 1);
    fake_queue_set(&drv, 1, DATA + 0x100, 5, FAKE_NEXT, 2);
    fake_queue_set(&drv, 2, DATA + 0x200, 2, FAKE_NEXT | FAKE_IN, 3);
    fake_queue_set(&drv, 3, DATA + 0x300, 4, FAKE_IN, 0);
    memcpy(ram.base + DATA, "abc", 3);
    memcpy(ram.base + DATA + 0x100, "defgh", 5);
    memset(ram.base + DATA + 0x200, '.', 0x200);
    fake_queue_offer(&drv, 0);
    assert_int_equal(virtq_pop(&vq, &chain), 1);
}

static void test_copies(void **state)
{
    (void)state;
    char text[16] = "";
    pop_pieces();
    assert_true(virtq_copy_out(&chain, 0, text, 8));
    assert_memory_equal(text, "abcdefgh", 8);
    assert_true(virtq_copy_out(&chain, 2, text, 2));
    assert_memory_equal(text, "cd", 2);
    assert_true(virtq_copy_out(&chain, 8, text, 0));
    assert_false(virtq_copy_out(&chain, 1, text, 8));
    assert_false(virtq_copy_out(&chain, 9, text, 1));
    assert_false(virtq_copy_out(&chain, ~0ull, text, 2));
    assert_true(virtq_copy_in(&chain, 1, "1234", 4));
    assert_memory_equal(ram.base + DATA + 0x200, ".1.", 3);
    assert_memory_equal(ram.base + DATA + 0x300, "234.", 4);
    assert_false(virtq_copy_in(&chain, 3, "1234", 4));
}

static void test_slices(void **state)
{
    (void)state;
    struct io_vec vec[VIRTQ_SEGMENTS_MAX];
    pop_pieces();
    assert_int_equal(virtq_slice(&chain, false, 0, 8, vec), 2);
    assert_int_equal(vec[1].len, 5);
    assert_int_equal(virtq_slice(&chain, false, 3, 4, vec), 1);
    assert_ptr_equal(vec[0].base, ram.base + DATA + 0x100);
    assert_int_equal(vec[0].len, 4);
    assert_int_equal(virtq_slice(&chain, true, 1, 5, vec), 2);
    assert_ptr_equal(vec[0].base, ram.base + DATA + 0x201);
    assert_int_equal(vec[0].len, 1);
    assert_int_equal(vec[1].len, 4);
    assert_int_equal(virtq_slice(&chain, true, 1, 6, vec), 0);
    assert_int_equal(virtq_slice(&chain, true, 7, 0, vec), 0);
    assert_int_equal(virtq_slice(&chain, true, 2, ~0ull, vec), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_init_checks_everything),
        TEST(test_a_dead_queue_does_nothing),
        TEST(test_a_chain),
        TEST(test_indices_wrap_around),
        TEST(test_empty_segments_are_left_out),
        TEST(test_spoilt_chains_break_the_queue),
        TEST(test_spoilt_rings_break_the_queue),
        TEST(test_indirect),
        TEST(test_spoilt_indirect_tables),
        TEST(test_interrupts_by_flag),
        TEST(test_interrupts_by_event),
        TEST(test_kicks),
        TEST(test_a_racing_guest),
        TEST(test_copies),
        TEST(test_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
