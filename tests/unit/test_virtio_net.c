/* src/dev/virtio/net.c between a driver and a cable, both made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev/virtio/net.h"
#include "fake_driver.h"
#include "fake_host.h"

#define RING 0x100000ull
#define DATA 0x200000ull
#define SLOT 5u
#define HDR VIRTIO_NET_HDR_LEN
#define RX (&drv[0])
#define TX (&drv[1])
#define F_ALL (VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_OFFLOADS)
#define F_MERGE (F_ALL | VIRTIO_NET_F_MRG_RXBUF)
#define NEEDS_CSUM VIRTIO_NET_HDR_NEEDS_CSUM

static struct vm *vm;
static struct virtio_regs regs;
static struct virtio_net net;
static struct fake_queue drv[2];
static uint32_t head, len;

/** The other end. */
static struct {
    uint8_t sent[70000]; /* the last frame, header and all */
    size_t sent_len;
    unsigned sends, room;    /* room: frames it still takes */
    const uint8_t *give[64]; /* frames to be received, in order */
    int64_t give_len[64];    /* -1: unplugged */
    unsigned gives, given;
    bool endless; /* the first of them again and again */
    uint64_t features;
    unsigned features_set, waits, what;
    uint64_t until_ns;
} far;

static enum virtio_net_sent far_send(void *ctx, const struct io_vec *vec, unsigned n)
{
    assert_ptr_equal(ctx, &far);
    if (far.room == 0) {
        return VIRTIO_NET_BUSY;
    }
    far.room--;
    far.sends++;
    far.sent_len = 0;
    assert_int_equal(vec[0].len, HDR);
    for (unsigned i = 0; i < n; i++) {
        assert_true(far.sent_len + vec[i].len <= sizeof(far.sent));
        memcpy(far.sent + far.sent_len, vec[i].base, vec[i].len);
        far.sent_len += vec[i].len;
    }
    return VIRTIO_NET_TAKEN;
}

static int64_t far_receive(void *ctx, uint8_t *buf)
{
    (void)ctx;
    if (far.given == far.gives) {
        return 0;
    }
    unsigned i = far.endless ? 0 : far.given++;
    if (far.give_len[i] > 0) {
        memcpy(buf, far.give[i], (size_t)far.give_len[i]);
    }
    return far.give_len[i];
}

static void far_features(void *ctx, uint64_t features)
{
    (void)ctx;
    far.features = features;
    far.features_set++;
}

static void far_wait(void *ctx, unsigned what, uint64_t until_ns)
{
    (void)ctx;
    far.what = what;
    far.until_ns = until_ns;
    far.waits++;
}

static const struct virtio_net_cable cable = {
    .send = far_send, .receive = far_receive, .set_features = far_features, .wait = far_wait};

static int setup(void **state)
{
    (void)state;
    vm = fake_vm_create(1);
    regs = (struct virtio_regs){0};
    memset(&net, 0, sizeof(net));
    memset(&far, 0, sizeof(far));
    far.room = ~0u;
    fake_queue_init(RX, &vm->ram, RING, 64);
    fake_queue_init(TX, &vm->ram, RING + 0x10000, 64);
    struct virtio_net_setup how = {.mac = {0x52, 0x33, 1, 2, 3, 4},
                                   .offloads = VIRTIO_NET_OFFLOADS,
                                   .cable = &cable,
                                   .ctx = &far};
    virtio_net_init(&net, &regs, &vm->ram, SLOT, &how);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_vm_destroy(vm);
    return 0;
}

static void start(uint64_t features)
{
    fake_driver_start(&net.device, features, drv, 2);
}

static uint8_t *at(uint64_t where)
{
    return vm->ram.base + where;
}

static uint64_t errors(void)
{
    return net.device.stat.errors;
}

/* ---- configuration ---- */

static void test_configuration(void **state)
{
    (void)state;
    assert_int_equal(regs.id, 1);
    assert_int_equal(regs.queue_count, 2);
    assert_int_equal(regs.config_len, 12);
    assert_memory_equal(regs.config, ((uint8_t[8]){0x52, 0x33, 1, 2, 3, 4, 1, 0}), 8);
    assert_true(regs.device_features & VIRTIO_NET_F_MRG_RXBUF);
    assert_true(regs.device_features & VIRTIO_NET_F_HOST_TSO6);
    assert_false(regs.device_features & VIRTIO_NET_F_MTU);
    struct virtio_net_setup how = {.mtu = 65520, .cable = &cable, .ctx = &far};
    virtio_net_init(&net, &regs, &vm->ram, SLOT, &how);
    assert_true(regs.device_features & VIRTIO_NET_F_MTU);
    assert_false(regs.device_features & VIRTIO_NET_OFFLOADS);
    assert_memory_equal(regs.config + 10, ((uint8_t[2]){0xf0, 0xff}), 2);
}

static void test_features(void **state)
{
    (void)state;
    start(F_ALL);
    assert_int_equal(far.features, VIRTIO_NET_RECEIVE_OFFLOADS);
    fake_driver_reset(&net.device);
    assert_int_equal(far.features, 0);
    assert_int_equal(far.what, 0);
    start(VIRTIO_F_VERSION_1 | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4);
    assert_int_equal(far.features, VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4);
    fake_driver_reset(&net.device);
    start(VIRTIO_F_VERSION_1 | VIRTIO_NET_F_GUEST_TSO4); /* without the checksum it means nothing */
    assert_int_equal(far.features, 0);
    assert_int_equal(far.what, VIRTIO_NET_WAIT_RECEIVE);
}

/* ---- transmit ---- */

/* A frame of n bytes behind *hdr at DATA, in one buffer. */
static void offer_frame(const struct virtio_net_hdr *hdr, uint32_t n)
{
    memcpy(at(DATA), hdr, sizeof(*hdr));
    for (uint32_t i = 0; i < n; i++) {
        *at(DATA + HDR + i) = (uint8_t)(i * 7);
    }
    fake_queue_add(TX, DATA, HDR + n, 0, 0);
    virtio_device_kick(&net.device, 1);
}

static void test_transmit(void **state)
{
    (void)state;
    struct virtio_net_hdr hdr = {.num_buffers = 99, .hdr_len = 5, .csum_start = 7};
    start(F_ALL);
    offer_frame(&hdr, 100);
    assert_int_equal(far.sends, 1);
    assert_int_equal(far.sent_len, HDR + 100);
    assert_memory_equal(far.sent, ((uint8_t[12]){0}), 12); /* what means nothing is cleared */
    assert_memory_equal(far.sent + HDR, at(DATA + HDR), 100);
    assert_true(fake_queue_take(TX, &head, &len));
    assert_int_equal(len, 0);
    assert_int_equal(fake.device_interrupts, 1);
    assert_int_equal(net.device.stat.out_ops, 1);
    assert_int_equal(net.device.stat.out_bytes, 100);
    assert_int_equal(errors(), 0);
}

/* The header and the frame in pieces that do not care where one ends. */
static void test_transmit_pieces(void **state)
{
    (void)state;
    static const uint32_t pieces[] = {5, 9, 1, 20, 4000, 3};
    start(F_ALL);
    uint64_t where = DATA;
    for (uint16_t i = 0; i < ARRAY_LEN(pieces); i++) {
        bool last = i + 1 == ARRAY_LEN(pieces);
        memset(at(where), i < 2 ? 0 : i, pieces[i]); /* the header lies in the first two */
        fake_queue_set(TX, i, where, pieces[i], last ? 0 : FAKE_NEXT, (uint16_t)(i + 1));
        where += pieces[i] + 64;
    }
    fake_queue_offer(TX, 0);
    virtio_device_kick(&net.device, 1);
    assert_int_equal(far.sends, 1);
    assert_int_equal(far.sent_len, 5 + 9 + 1 + 20 + 4000 + 3);
    assert_int_equal(far.sent[14], 2);
    assert_int_equal(far.sent[15], 3);
    assert_int_equal(far.sent[far.sent_len - 1], 5);
}

static void test_transmit_offload(void **state)
{
    (void)state;
    const struct virtio_net_hdr hdr = {.flags = NEEDS_CSUM | 0x7e,
                                       .gso_type = VIRTIO_NET_GSO_TCPV4,
                                       .hdr_len = 54,
                                       .gso_size = 1460,
                                       .csum_start = 34,
                                       .csum_offset = 16};
    struct virtio_net_hdr got;
    start(F_ALL);
    offer_frame(&hdr, 60000);
    assert_int_equal(far.sends, 1);
    memcpy(&got, far.sent, sizeof(got));
    assert_int_equal(got.flags, NEEDS_CSUM);
    assert_int_equal(got.gso_type, VIRTIO_NET_GSO_TCPV4);
    assert_int_equal(got.gso_size, 1460);
    assert_int_equal(got.csum_start, 34);
    assert_int_equal(got.num_buffers, 0);
}

static void test_transmit_refused(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain,
        csum = {.flags = NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
    static const struct virtio_net_hdr tso4 = {.flags = NEEDS_CSUM,
                                               .gso_type = VIRTIO_NET_GSO_TCPV4,
                                               .hdr_len = 54,
                                               .gso_size = 1460,
                                               .csum_start = 34,
                                               .csum_offset = 16};
    struct virtio_net_hdr h;
    unsigned bad = 0;
#define BAD(hdr, n, ...)                                                                           \
    do {                                                                                           \
        h = hdr;                                                                                   \
        __VA_ARGS__;                                                                               \
        offer_frame(&h, n);                                                                        \
        bad++;                                                                                     \
    } while (0)
    start(F_ALL & ~(VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_HOST_ECN));
    BAD(plain, 13);
    BAD(plain, VIRTIO_NET_FRAME_MAX + 1);
    BAD(csum, 51);
    BAD(csum, 100, h.csum_start = 13);
    BAD(csum, 100, h.csum_start = 65535);
    BAD(csum, 100, h.csum_offset = 65535);
    BAD(tso4, 1000, h.flags = 0);
    BAD(tso4, 1000, h.gso_size = 0);
    BAD(tso4, 1000, h.hdr_len = 1001);
    BAD(tso4, 1000, h.gso_type = VIRTIO_NET_GSO_TCPV6);
    BAD(tso4, 1000, h.gso_type |= VIRTIO_NET_GSO_ECN);
    BAD(tso4, 1000, h.gso_type = VIRTIO_NET_GSO_ECN);
    BAD(tso4, 1000, h.gso_type = 3); /* UDP: not offered */
    BAD(tso4, 1000, h.gso_type = 5);
    fake_driver_reset(&net.device);
    fake_queue_init(TX, &vm->ram, RING + 0x10000, 64);
    start(VIRTIO_F_VERSION_1);
    BAD(csum, 100);
    BAD(tso4, 1000);
#undef BAD
    fake_queue_add(TX, DATA, 11, 0, 0);   /* not even a header */
    fake_queue_add(TX, 0, 0, DATA, 2000); /* nothing to send */
    virtio_device_kick(&net.device, 1);
    assert_int_equal(far.sends, 0);
    assert_int_equal(errors(), bad + 2);
    offer_frame(&plain, 14); /* it goes on all the same */
    offer_frame(&plain, VIRTIO_NET_FRAME_MAX);
    assert_int_equal(far.sends, 2);
    assert_int_equal(errors(), bad + 2);
    assert_false(regs.broken);
}

static void test_transmit_blocked(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    start(F_ALL);
    far.room = 1;
    memcpy(at(DATA), &plain, HDR);
    for (unsigned i = 0; i < 3; i++) {
        fake_queue_add(TX, DATA, HDR + 60 + i, 0, 0);
    }
    virtio_device_kick(&net.device, 1);
    assert_int_equal(far.sends, 1);
    assert_int_equal(far.what, VIRTIO_NET_WAIT_SEND | VIRTIO_NET_WAIT_RECEIVE);
    assert_true(fake_queue_take(TX, &head, &len));
    assert_false(fake_queue_take(TX, &head, &len));
    far.room = 1;
    virtio_net_run(&net);
    assert_int_equal(far.sends, 2);
    assert_int_equal(far.sent_len, HDR + 61);
    far.room = 100;
    virtio_net_run(&net);
    assert_int_equal(far.sends, 3);
    assert_int_equal(far.sent_len, HDR + 62);
    assert_int_equal(far.what, VIRTIO_NET_WAIT_RECEIVE);
    assert_true(fake_queue_take(TX, &head, &len));
    assert_true(fake_queue_take(TX, &head, &len));
    assert_int_equal(net.device.stat.out_ops, 3);
}

/* ---- receive ---- */

static uint8_t incoming[70000];

/* A frame of n bytes from the cable, with *hdr in front. */
static void give(const struct virtio_net_hdr *hdr, size_t n)
{
    memcpy(incoming, hdr, HDR);
    for (size_t i = 0; i < n; i++) {
        incoming[HDR + i] = (uint8_t)(i * 13 + 1);
    }
    far.give[far.gives] = incoming;
    far.give_len[far.gives++] = (int64_t)(HDR + n);
}

static void test_receive(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    start(F_ALL);
    fake_queue_add(RX, 0, 0, DATA, 2000);
    give(&plain, 60);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
    assert_int_equal(len, HDR + 60);
    assert_memory_equal(at(DATA), ((uint8_t[12]){[10] = 1}), 12);
    assert_memory_equal(at(DATA) + HDR, incoming + HDR, 60);
    assert_int_equal(fake.device_interrupts, 1);
    assert_int_equal(net.device.stat.in_ops, 1);
    assert_int_equal(net.device.stat.in_bytes, 60);
    give(&plain, 1988);
    fake_queue_add(RX, 0, 0, DATA, 2000);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
    assert_int_equal(len, 2000);
}

/* Without merging, a frame that does not fit is lost, its buffer is used for the next. */
static void test_receive_too_large(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    start(F_ALL);
    fake_queue_add(RX, 0, 0, DATA, 1999);
    fake_queue_add(RX, 0, 0, DATA + 0x1000, 1999);
    give(&plain, 1988);
    virtio_net_run(&net);
    assert_false(fake_queue_take(RX, &head, &len));
    assert_int_equal(errors(), 1);
    far.gives = far.given = 0;
    give(&plain, 1987);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
    assert_int_equal(head, 0);
    assert_int_equal(len, 1999);
    assert_int_equal(errors(), 1);
    fake_driver_reset(&net.device);
    start(F_MERGE);
    fake_queue_init(RX, &vm->ram, RING, 64);
    fake_driver_reset(&net.device);
    start(F_MERGE);
    fake_queue_add(RX, 0, 0, DATA, 11); /* no room for a header */
    give(&plain, 60);
    virtio_net_run(&net);
    assert_int_equal(errors(), 2);
    assert_false(fake_queue_take(RX, &head, &len));
}

static void test_receive_merged(void **state)
{
    (void)state;
    static const struct virtio_net_hdr tso = {.flags = NEEDS_CSUM,
                                              .gso_type = VIRTIO_NET_GSO_TCPV4,
                                              .hdr_len = 54,
                                              .gso_size = 1460,
                                              .csum_start = 34,
                                              .csum_offset = 16};
    start(F_MERGE);
    for (unsigned i = 0; i < 50; i++) {
        fake_queue_add(RX, 0, 0, DATA + i * 0x1000, 1500);
    }
    give(&tso, 65000);
    virtio_net_run(&net);
    size_t got = 0;
    unsigned buffers = 0;
    while (fake_queue_take(RX, &head, &len)) {
        assert_int_equal(head, buffers);
        size_t from = buffers ? 0 : HDR;
        assert_memory_equal(at(DATA + buffers * 0x1000) + from, incoming + got + from, len - from);
        got += len;
        buffers++;
    }
    assert_int_equal(got, HDR + 65000);
    assert_int_equal(buffers, 44);
    struct virtio_net_hdr hdr;
    memcpy(&hdr, at(DATA), HDR);
    assert_int_equal(hdr.num_buffers, 44);
    assert_int_equal(hdr.gso_size, 1460);
    assert_int_equal(fake.device_interrupts, 1);
    assert_int_equal(net.device.stat.in_ops, 1);
}

static void test_receive_starved(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    start(F_MERGE);
    give(&plain, 3000);
    give(&plain, 3000);
    fake_queue_add(RX, 0, 0, DATA, 1500);
    virtio_net_run(&net);
    assert_int_equal(far.given, 1);
    assert_int_equal(far.what, 0); /* nothing more is asked of the cable */
    assert_false(fake_queue_take(RX, &head, &len));
    fake_queue_add(RX, 0, 0, DATA + 0x1000, 1500);
    virtio_device_kick(&net.device, 0);
    assert_false(fake_queue_take(RX, &head, &len)); /* 12 bytes short */
    fake_queue_add(RX, 0, 0, DATA + 0x2000, 1500);
    virtio_device_kick(&net.device, 1);
    assert_true(fake_queue_take(RX, &head, &len));
    assert_int_equal(len, 1500);
    assert_true(fake_queue_take(RX, &head, &len));
    assert_true(fake_queue_take(RX, &head, &len));
    assert_int_equal(len, 12);
    assert_memory_equal(at(DATA + 0x1000), incoming + 1500, 1500);
    for (unsigned i = 0; i < 3; i++) {
        fake_queue_add(RX, 0, 0, DATA + i * 0x1000, 1500);
    }
    fake_advance(1000000);
    virtio_device_kick(&net.device, 0);
    assert_int_equal(far.given, 2);
    assert_true(fake_queue_take(RX, &head, &len));
    assert_int_equal(far.what, VIRTIO_NET_WAIT_RECEIVE);
    assert_int_equal(errors(), 0);
}

/* The driver is told to kick while a frame waits, and not while none does. */
static void test_receive_kicks(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    start(F_MERGE | VIRTIO_F_EVENT_IDX);
    for (unsigned i = 0; i < 4; i++) {
        fake_queue_add(RX, 0, 0, DATA + i * 0x1000, 100);
    }
    give(&plain, 200);
    virtio_net_run(&net);
    uint16_t event = *fake_queue_avail_event(RX);
    assert_int_equal(event, 0); /* long past: no kicks */
    give(&plain, 200);
    virtio_net_run(&net);
    assert_int_equal(*fake_queue_avail_event(RX), 4); /* with the fifth buffer */
}

/* More than all buffers that the ring has room for: it would wait for ever. */
static void test_receive_never_fits(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    start(F_MERGE);
    for (unsigned i = 0; i < 64; i++) {
        fake_queue_add(RX, 0, 0, DATA + i * 0x100, 100);
    }
    give(&plain, 64 * 100 - HDR + 1);
    give(&plain, 64 * 100 - HDR);
    virtio_net_run(&net);
    assert_int_equal(errors(), 1);
    unsigned buffers = 0;
    while (fake_queue_take(RX, &head, &len)) {
        buffers++;
    }
    assert_int_equal(buffers, 64);
}

/* The other end is not trusted either. */
static void test_receive_refused(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain,
        csum = {.flags = NEEDS_CSUM, .csum_start = 34, .csum_offset = 16},
        valid = {.flags = VIRTIO_NET_HDR_DATA_VALID};
    struct virtio_net_hdr bad = csum;
    bad.csum_offset = 100;
    start(F_MERGE);
    for (unsigned i = 0; i < 8; i++) {
        fake_queue_add(RX, 0, 0, DATA + i * 0x1000, 1500);
    }
    give(&bad, 100);
    virtio_net_run(&net);
    assert_int_equal(errors(), 1);
    far.give_len[far.gives++] = HDR + 13;
    far.give[far.gives - 1] = incoming;
    virtio_net_run(&net);
    assert_int_equal(errors(), 2);
    give(&valid, 100);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
    assert_int_equal(*at(DATA), VIRTIO_NET_HDR_DATA_VALID);
    fake_driver_reset(&net.device);
    fake_queue_init(RX, &vm->ram, RING, 64);
    start(VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF);
    fake_queue_add(RX, 0, 0, DATA, 1500);
    give(&valid, 100);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
    assert_int_equal(*at(DATA), 0);
    fake_queue_add(RX, 0, 0, DATA, 1500);
    give(&csum, 100);
    virtio_net_run(&net);
    assert_int_equal(errors(), 3);
    give(&plain, 100);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
}

static void test_stale_frames(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    for (unsigned i = 0; i < 10; i++) {
        give(&plain, 100);
    }
    fake_queue_add(RX, 0, 0, DATA, 1500);
    start(F_MERGE);
    assert_int_equal(far.given, 10);
    assert_false(fake_queue_take(RX, &head, &len));
    give(&plain, 100);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
}

static void test_reset_drops_waiting_frame(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    start(F_MERGE);
    give(&plain, 100);
    virtio_net_run(&net); /* no buffer */
    fake_driver_reset(&net.device);
    virtio_net_run(&net); /* not running: nothing happens */
    assert_int_equal(far.what, 0);
    fake_queue_add(RX, 0, 0, DATA, 1500);
    start(F_MERGE);
    assert_false(fake_queue_take(RX, &head, &len));
}

static void test_unplugged(void **state)
{
    (void)state;
    start(F_MERGE);
    fake_queue_add(RX, 0, 0, DATA, 1500);
    far.give_len[far.gives++] = -1;
    virtio_net_run(&net);
    assert_int_equal(regs.config[6], 0); /* the link is down */
    assert_int_equal(regs.interrupts & VIRTIO_INTERRUPT_CONFIG, VIRTIO_INTERRUPT_CONFIG);
    assert_int_equal(far.what, 0);
    fake_driver_reset(&net.device);
    start(F_MERGE);
    assert_int_equal(regs.config[6], 0);
    assert_int_equal(far.what, 0);
    assert_int_equal(far.given, 1);
}

/* A link that goes and comes back; frames are the cable's affair. */
static void test_link(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    virtio_net_set_link(&net, false); /* before there is a driver */
    assert_int_equal(regs.config[6], 0);
    start(F_MERGE);
    assert_int_equal(regs.config[6], 0);
    uint32_t generation = regs.config_generation;
    virtio_net_set_link(&net, true);
    assert_int_equal(regs.config[6], 1);
    assert_int_not_equal(regs.config_generation, generation);
    assert_true(regs.interrupts & VIRTIO_INTERRUPT_CONFIG);
    virtio_net_set_link(&net, false);
    fake_queue_add(RX, 0, 0, DATA, 1500);
    give(&plain, 100);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
    assert_int_equal(far.what, VIRTIO_NET_WAIT_RECEIVE);
}

/* ---- both ---- */

/* A cable that never runs dry, or a driver that never stops, must leave the thread time for the
 * rest. */
static void test_endless(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain, bad = {.gso_type = 77};
    start(F_MERGE);
    far.endless = true;
    give(&bad, 100);
    virtio_net_run(&net);
    assert_int_equal(virtio_device_again(&net.device), 1);
    far.gives = 0;
    far.endless = false;
    static uint16_t ring[64];
    memcpy(at(DATA), &plain, HDR);
    for (uint16_t i = 0; i < 64; i++) {
        fake_queue_set(TX, i, DATA, HDR + 60, 0, 0);
        ring[i] = i;
    }
    memcpy(TX->avail + 2, ring, sizeof(ring));
    for (unsigned i = 0; i < 64; i++) {
        TX->avail[1] = (uint16_t)(TX->avail[1] + 64);
        virtio_device_kick(&net.device, 1);
        assert_int_equal(far.sends, 64 * (i + 1));
    }
}

#define GATHER_NS 100000u

/* One frame of n bytes; the driver kicks if it was asked to. Returns whether it did. */
static bool offer_as_asked(uint32_t n)
{
    uint16_t before = TX->avail[1];
    memset(at(DATA), 0, HDR);
    fake_queue_add(TX, DATA, HDR + n, 0, 0);
    uint16_t asked = *fake_queue_avail_event(TX); /* virtio 1.2 §2.7.10 */
    bool kick = (uint16_t)(TX->avail[1] - asked - 1) < (uint16_t)(TX->avail[1] - before);
    if (kick) {
        virtio_device_kick(&net.device, 1);
    }
    return kick;
}

/* Let time pass, as far as until_ns says and no further. */
static void pass(uint64_t ns)
{
    for (uint64_t end = fake.time_ns + ns; fake.time_ns < end;) {
        uint64_t next = far.until_ns && far.until_ns < end ? far.until_ns : end;
        assert_true(next >= fake.time_ns);
        fake_advance(next - fake.time_ns);
        if (fake.time_ns == far.until_ns) {
            virtio_net_run(&net);
            assert_true(far.until_ns == 0 || far.until_ns > fake.time_ns);
        }
    }
}

/* Small frames in a row cost few kicks, none is late by more than GATHER_NS, and the last is not
 * forgotten. */
static void test_transmit_gathers(void **state)
{
    (void)state;
    unsigned kicks = 0;
    start(F_ALL | VIRTIO_F_EVENT_IDX);
    for (unsigned i = 0; i < 300; i++) {
        kicks += offer_as_asked(64);
        pass(GATHER_NS / 3);
        assert_true(far.sends + 3 > i);
        while (fake_queue_take(TX, &head, &len)) {
        }
    }
    assert_true(kicks <= 3);
    pass(3 * GATHER_NS);
    assert_int_equal(far.sends, 300);
    assert_int_equal(far.until_ns, 0); /* at rest, */
    assert_true(offer_as_asked(64));   /* and it listens */
    assert_int_equal(far.sends, 301);
}

/* Requests that wait for answers, and large frames, are sent at once. */
static void test_transmit_at_once(void **state)
{
    (void)state;
    start(F_ALL | VIRTIO_F_EVENT_IDX);
    for (unsigned i = 0; i < 50; i++) {
        assert_true(offer_as_asked(64));
        assert_int_equal(far.sends, i + 1);
        pass(GATHER_NS + 1);
        assert_true(fake_queue_take(TX, &head, &len));
    }
    for (unsigned i = 0; i < 50; i++) {
        assert_true(offer_as_asked(60000));
        assert_int_equal(far.sends, 51 + i);
        pass(GATHER_NS / 10);
        assert_true(fake_queue_take(TX, &head, &len));
    }
}

/* No room while frames are gathered: it is waited for, not looked for again and again. */
static void test_transmit_gathers_blocked(void **state)
{
    (void)state;
    start(F_ALL | VIRTIO_F_EVENT_IDX);
    assert_true(offer_as_asked(64));
    assert_true(offer_as_asked(64));
    assert_false(offer_as_asked(64));
    far.room = 0;
    pass(10 * GATHER_NS);
    assert_int_equal(far.sends, 2);
    assert_int_equal(far.what, VIRTIO_NET_WAIT_SEND | VIRTIO_NET_WAIT_RECEIVE);
    assert_int_equal(far.until_ns, 0);
    far.room = ~0u;
    virtio_net_run(&net);
    assert_int_equal(far.sends, 3);
    fake_driver_reset(&net.device);
    assert_int_equal(far.until_ns, 0);
}

/* The same for what comes: the cable is not asked to tell of each. */
static void test_receive_gathers(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    unsigned told = 0, got = 0;
    start(F_MERGE | VIRTIO_F_EVENT_IDX);
    for (unsigned i = 0; i < 60; i++) {
        fake_queue_add(RX, 0, 0, DATA + i * 0x1000, 1500);
    }
    for (unsigned i = 0; i < 30; i++) {
        give(&plain, 100);
        if (far.what & VIRTIO_NET_WAIT_RECEIVE) {
            told++;
            virtio_net_run(&net);
        }
        pass(GATHER_NS / 3);
    }
    assert_true(told <= 3);
    pass(3 * GATHER_NS);
    while (fake_queue_take(RX, &head, &len)) {
        got++;
    }
    assert_int_equal(got, 30);
    assert_int_equal(far.what, VIRTIO_NET_WAIT_RECEIVE);
    assert_int_equal(far.until_ns, 0);
}

static void test_broken_queue(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    start(F_MERGE);
    give(&plain, 100);
    RX->avail[1] = 1000; /* more than there can be */
    virtio_net_run(&net);
    assert_true(regs.broken);
    assert_int_equal(far.what & VIRTIO_NET_WAIT_RECEIVE, 0);
    virtio_net_run(&net);
    fake_driver_reset(&net.device);
    fake_queue_init(RX, &vm->ram, RING, 64);
    fake_queue_add(RX, 0, 0, DATA, 1500);
    start(F_MERGE);
    assert_false(regs.broken);
    give(&plain, 100);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
}

static void test_one_queue(void **state)
{
    (void)state;
    static const struct virtio_net_hdr plain;
    fake_driver_start(&net.device, F_MERGE, drv, 1); /* a driver that only receives */
    fake_queue_add(RX, 0, 0, DATA, 1500);
    give(&plain, 100);
    virtio_net_run(&net);
    assert_true(fake_queue_take(RX, &head, &len));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_configuration),
        TEST(test_features),
        TEST(test_transmit),
        TEST(test_transmit_pieces),
        TEST(test_transmit_offload),
        TEST(test_transmit_refused),
        TEST(test_transmit_blocked),
        TEST(test_receive),
        TEST(test_receive_too_large),
        TEST(test_receive_merged),
        TEST(test_receive_starved),
        TEST(test_receive_kicks),
        TEST(test_receive_never_fits),
        TEST(test_receive_refused),
        TEST(test_stale_frames),
        TEST(test_reset_drops_waiting_frame),
        TEST(test_unplugged),
        TEST(test_endless),
        TEST(test_broken_queue),
        TEST(test_one_queue),
        TEST(test_link),
        TEST(test_transmit_gathers),
        TEST(test_transmit_at_once),
        TEST(test_receive_gathers),
        TEST(test_transmit_gathers_blocked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
