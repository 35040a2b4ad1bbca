/* src/net/switch.c, mac_table.c: where frames go, and in what shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/offload.h"
#include "net/switch.h"

#define S 1000000000ull
#define HDR VIRTIO_NET_HDR_LEN
#define NEEDS_CSUM VIRTIO_NET_HDR_NEEDS_CSUM

static struct net_switch sw;
static uint64_t now = S;

/** What came out. */
static struct {
    unsigned frames[SWITCH_PORTS_MAX];
    bool full[SWITCH_PORTS_MAX];
    uint8_t last[70000];
    size_t last_len;
    unsigned total;
} out;

static bool take(void *ctx, unsigned port, const struct io_vec *vec, unsigned n)
{
    assert_ptr_equal(ctx, &out);
    if (out.full[port]) {
        return false;
    }
    out.frames[port]++;
    out.total++;
    out.last_len = 0;
    for (unsigned i = 0; i < n; i++) {
        memcpy(out.last + out.last_len, vec[i].base, vec[i].len);
        out.last_len += vec[i].len;
    }
    return true;
}

static void mac_of(uint8_t mac[6], unsigned n)
{
    memcpy(mac, (uint8_t[6]){0x52, 0x33, 0, 0, (uint8_t)(n >> 8), (uint8_t)n}, 6);
}

static unsigned plug(unsigned n)
{
    uint8_t mac[6];
    unsigned port = 99;
    mac_of(mac, n);
    assert_int_equal(switch_plug(&sw, mac, "vm", &port), SWITCH_WELCOME);
    return port;
}

static int setup(void **state)
{
    (void)state;
    memset(&sw, 0, sizeof(sw));
    memset(&out, 0, sizeof(out));
    sw.out = take;
    sw.ctx = &out;
    return 0;
}

#define BROADCAST 0xffffu /* as a number for mac_of's addresses */

static uint8_t bytes[70000];

/* A frame from station `src` to `dst` (numbers for mac_of, BROADCAST), n bytes, in at port. Returns
 * the cost. */
static unsigned send_with(unsigned port, unsigned src, unsigned dst, size_t n,
                          const struct virtio_net_hdr *hdr)
{
    memcpy(bytes, hdr, HDR);
    mac_of(bytes + HDR, dst);
    mac_of(bytes + HDR + 6, src);
    if (dst == BROADCAST) {
        memset(bytes + HDR, 0xff, 6);
    }
    for (size_t i = 12; i < n; i++) {
        bytes[HDR + i] = (uint8_t)(i * 3);
    }
    memset(out.frames, 0, sizeof(out.frames));
    out.total = 0;
    return switch_frame(&sw, port, bytes, HDR + n, now);
}

static unsigned send(unsigned port, unsigned src, unsigned dst)
{
    static const struct virtio_net_hdr plain;
    return send_with(port, src, dst, 100, &plain);
}

/* ---- where ---- */

static void test_learning(void **state)
{
    (void)state;
    unsigned a = plug(1), b = plug(2), c = plug(3);
    assert_int_equal(send(a, 1, 2), 2); /* its card's address is known from the start */
    assert_int_equal(out.frames[b], 1);
    assert_int_equal(out.total, 1);
    assert_int_equal(out.last_len, HDR + 100);
    assert_memory_equal(out.last + HDR, bytes + HDR, 100);
    send(a, 1, BROADCAST);
    assert_int_equal(out.frames[b] + out.frames[c], 2);
    assert_int_equal(out.total, 2);
    send(a, 1, 77); /* nobody knows */
    assert_int_equal(out.total, 2);
    send(b, 77, BROADCAST); /* a station behind b */
    send(a, 1, 77);
    assert_int_equal(out.frames[b], 1);
    assert_int_equal(out.total, 1);
    send(b, 2, 77); /* both behind b: not ours */
    assert_int_equal(out.total, 0);
    send(c, 77, BROADCAST); /* it has moved */
    send(a, 1, 77);
    assert_int_equal(out.frames[c], 1);
    assert_int_equal(out.total, 1);
    assert_int_equal(sw.port[a].count.sent_frames, 5);
    assert_int_equal(sw.port[a].count.sent_bytes, 500);
    assert_int_equal(sw.port[c].count.received_frames, 4); /* three floods, and the last */
}

static void test_ageing(void **state)
{
    (void)state;
    unsigned a = plug(1), b = plug(2);
    plug(3);
    send(b, 77, BROADCAST);
    now += MAC_AGE_NS;
    send(a, 1, 77);
    assert_int_equal(out.total, 1);
    now += 1;
    send(a, 1, 77);
    assert_int_equal(out.total, 2);
    send(a, 1, 2); /* pinned: never forgotten */
    assert_int_equal(out.total, 1);
    send(b, 77, BROADCAST); /* heard of again */
    send(a, 1, 77);
    assert_int_equal(out.total, 1);
}

static void test_forgery(void **state)
{
    (void)state;
    unsigned a = plug(1), b = plug(2), c = plug(3);
    assert_int_equal(send(c, 1, 2), 1); /* c says it is a */
    assert_int_equal(out.total, 0);
    assert_int_equal(sw.port[c].count.bad, 1);
    send(b, 2, 1);
    assert_int_equal(out.frames[a], 1);
    /* a group's address is nobody's */
    send(a, 1, BROADCAST);
    bytes[HDR + 6] |= 1;
    out.total = 0;
    switch_frame(&sw, a, bytes, HDR + 100, now);
    assert_int_equal(out.total, 0);
    assert_int_equal(sw.port[a].count.bad, 1);
    /* for the next bridge only */
    send(a, 1, 2);
    memcpy(bytes + HDR, (uint8_t[6]){0x01, 0x80, 0xc2, 0, 0, 0x0e}, 6);
    out.total = 0;
    switch_frame(&sw, a, bytes, HDR + 100, now);
    assert_int_equal(out.total, 0);
    bytes[HDR + 5] = 0x10;
    switch_frame(&sw, a, bytes, HDR + 100, now);
    assert_int_equal(out.total, 2);
}

/* A port that claims to be everybody pushes out its own stations, no others. */
static void test_many_stations(void **state)
{
    (void)state;
    unsigned a = plug(1), b = plug(2), c = plug(3);
    send(b, 500, BROADCAST);
    for (unsigned i = 0; i < 5000; i++) {
        now++;
        send(c, 1000 + i, BROADCAST);
    }
    send(a, 1, 500);
    assert_int_equal(out.frames[b], 1);
    assert_int_equal(out.total, 1);
    send(a, 1, 5999); /* the last of them is known, */
    assert_int_equal(out.total, 1);
    send(a, 1, 5999 - (MAC_PER_PORT - 2)); /* as many as fit, */
    assert_int_equal(out.total, 1);
    send(a, 1, 5999 - (MAC_PER_PORT - 1)); /* and the one before is not */
    assert_int_equal(out.total, 2);
}

static void test_table_against_model(void **state)
{
    (void)state;
    static struct mac_table t;
    static int model[256];
    memset(&t, 0, sizeof(t));
    memset(model, -1, sizeof(model));
    srand(7);
    for (unsigned step = 0; step < 100000; step++) {
        unsigned port = (unsigned)rand() % 8, n = (unsigned)rand() % 200;
        uint8_t mac[6];
        mac_of(mac, n);
        if (rand() % 500 == 0) {
            mac_table_forget(&t, port);
            for (unsigned i = 0; i < 256; i++) {
                model[i] = model[i] == (int)port ? -1 : model[i];
            }
        } else if (n >= port * 25 && n < port * 25 + 25) { /* few enough for a port to remember */
            assert_true(mac_table_learn(&t, port, mac, step));
            model[n] = (int)port;
        } else if (rand() % 4 == 0 && model[n] >= 0) { /* moves */
            unsigned held = 0;
            for (unsigned i = 0; i < 256; i++) {
                held += model[i] == (int)port;
            }
            if (held < MAC_PER_PORT - 1) {
                assert_true(mac_table_learn(&t, port, mac, step));
                model[n] = (int)port;
            }
        }
        assert_int_equal(mac_table_find(&t, mac, step), model[n]);
    }
}

static void test_plugging(void **state)
{
    (void)state;
    uint8_t mac[6];
    unsigned port;
    for (unsigned i = 0; i < SWITCH_PORTS_MAX; i++) {
        assert_int_equal(plug(i), i);
    }
    mac_of(mac, 200);
    assert_int_equal(switch_plug(&sw, mac, "vm", &port), SWITCH_FULL);
    switch_unplug(&sw, 5);
    mac_of(mac, 6);
    assert_int_equal(switch_plug(&sw, mac, "vm", &port), SWITCH_MAC_TAKEN);
    mac[0] |= 1;
    assert_int_equal(switch_plug(&sw, mac, "vm", &port), SWITCH_BAD_HELLO);
    assert_int_equal(plug(5), 5);
    send(0, 0, 5);
    assert_int_equal(out.frames[5], 1);
    /* a card takes over an address that was only heard of */
    switch_unplug(&sw, 5);
    send(6, 300, BROADCAST);
    assert_int_equal(plug(300), 5);
    send(0, 0, 300);
    assert_int_equal(out.frames[5], 1);
    assert_int_equal(out.total, 1);
    send(6, 300, BROADCAST);
    assert_int_equal(out.total, 0);
    /* what is unplugged gets nothing */
    switch_unplug(&sw, 5);
    send(0, 0, BROADCAST);
    assert_int_equal(out.total, SWITCH_PORTS_MAX - 2);
    assert_int_equal(out.frames[5], 0);
}

static void test_full_port(void **state)
{
    (void)state;
    unsigned a = plug(1), b = plug(2), c = plug(3);
    out.full[b] = true;
    send(a, 1, BROADCAST);
    assert_int_equal(out.frames[c], 1);
    assert_int_equal(sw.port[b].count.dropped, 1);
    assert_int_equal(sw.port[b].count.received_frames, 0);
}

static void test_nonsense(void **state)
{
    (void)state;
    static const struct virtio_net_hdr bad = {.flags = NEEDS_CSUM, .csum_start = 200};
    unsigned a = plug(1);
    plug(2);
    for (size_t len = 0; len < HDR + 14; len++) {
        assert_int_equal(switch_frame(&sw, a, bytes, len, now), 1);
    }
    send_with(a, 1, 2, 100, &bad);
    send_with(a, 1, 2, VIRTIO_NET_FRAME_MAX + 1, &(struct virtio_net_hdr){0});
    assert_int_equal(out.total, 0);
    assert_int_equal(sw.port[a].count.bad, HDR + 14 + 2);
    assert_int_equal(sw.port[a].count.sent_frames, 0);
}

/* ---- in what shape ---- */

static void test_checksum_left_or_made(void **state)
{
    (void)state;
    static const struct virtio_net_hdr csum = {
        .flags = NEEDS_CSUM | 4, .csum_start = 34, .csum_offset = 16, .hdr_len = 3};
    unsigned a = plug(1), b = plug(2), c = plug(3);
    struct virtio_net_hdr hdr;
    sw.port[b].features = VIRTIO_NET_F_GUEST_CSUM;
    send_with(a, 1, 2, 99, &csum);
    memcpy(&hdr, out.last, HDR);
    assert_int_equal(hdr.flags, NEEDS_CSUM);
    assert_int_equal(hdr.csum_start, 34);
    assert_int_equal(hdr.hdr_len, 0);
    assert_memory_equal(out.last + HDR, bytes + HDR, 99);
    send_with(a, 1, 3, 99, &csum);
    assert_int_equal(out.frames[c], 1);
    memcpy(&hdr, out.last, HDR);
    assert_int_equal(hdr.flags, 0);
    assert_int_equal(hdr.csum_start, 0);
    assert_int_equal(out.last_len, HDR + 99);
    struct virtio_net_hdr plain = csum;
    uint16_t sum = offload_checksum(bytes + HDR, 99, &plain);
    assert_memory_equal(out.last + HDR + 50, &sum, 2);
    assert_memory_equal(out.last + HDR, bytes + HDR, 50);
    assert_memory_equal(out.last + HDR + 52, bytes + HDR + 52, 47);
    /* a flood: each gets what it can take */
    send_with(b, 2, BROADCAST, 99, &csum);
    assert_int_equal(out.total, 2);
}

/* A TCP frame as large as they get, from a to whoever. */
static void make_tcp(unsigned dst, size_t n, struct virtio_net_hdr *hdr)
{
    uint8_t *ip = bytes + HDR + 14;
    *hdr = (struct virtio_net_hdr){.flags = NEEDS_CSUM,
                                   .gso_type = VIRTIO_NET_GSO_TCPV4,
                                   .hdr_len = 54,
                                   .gso_size = 1000,
                                   .csum_start = 34,
                                   .csum_offset = 16};
    memset(bytes, 0, HDR + n);
    memcpy(bytes, hdr, HDR);
    mac_of(bytes + HDR, dst);
    mac_of(bytes + HDR + 6, 1);
    memcpy(bytes + HDR + 12, (uint8_t[2]){8, 0}, 2);
    ip[0] = 0x45;
    ip[9] = 6;
    ip[20 + 12] = 0x50;
}

static void test_segmented_or_not(void **state)
{
    (void)state;
    struct virtio_net_hdr hdr;
    unsigned a = plug(1), b = plug(2), c = plug(3), d = plug(4);
    sw.port[b].features = VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4;
    sw.port[c].features = VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO6;
    for (unsigned dst = 2; dst <= 4; dst++) {
        make_tcp(dst, 5054, &hdr);
        out.total = 0;
        memset(out.frames, 0, sizeof(out.frames));
        unsigned cost = switch_frame(&sw, a, bytes, HDR + 5054, now);
        assert_int_equal(cost, dst == 2 ? 2 : 7);
        assert_int_equal(out.frames[dst - 1], dst == 2 ? 1 : 5);
        assert_int_equal(out.total, out.frames[dst - 1]);
        memcpy(&hdr, out.last, HDR);
        assert_int_equal(hdr.gso_type, dst == 2 ? VIRTIO_NET_GSO_TCPV4 : VIRTIO_NET_GSO_NONE);
        assert_int_equal(hdr.flags, dst == 4 ? 0 : NEEDS_CSUM);
        assert_int_equal(out.last_len, HDR + (dst == 2 ? 5054 : 1054));
    }
    assert_int_equal(sw.port[d].count.received_bytes, 5 * 1054);
    /* with ECN, only for who understands that too */
    make_tcp(2, 5054, &hdr);
    bytes[1] |= VIRTIO_NET_GSO_ECN;
    out.total = 0;
    switch_frame(&sw, a, bytes, HDR + 5054, now);
    assert_int_equal(out.total, 5);
    sw.port[b].features |= VIRTIO_NET_F_GUEST_ECN;
    out.total = 0;
    switch_frame(&sw, a, bytes, HDR + 5054, now);
    assert_int_equal(out.total, 1);
    /* what is no TCP cannot be cut: nobody gets a frame that they cannot take */
    make_tcp(4, 5054, &hdr);
    bytes[HDR + 14 + 9] = 17;
    out.total = 0;
    switch_frame(&sw, a, bytes, HDR + 5054, now);
    assert_int_equal(out.total, 0);
    assert_int_equal(sw.port[d].count.dropped, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_learning, setup),
        cmocka_unit_test_setup(test_ageing, setup),
        cmocka_unit_test_setup(test_forgery, setup),
        cmocka_unit_test_setup(test_many_stations, setup),
        cmocka_unit_test_setup(test_table_against_model, setup),
        cmocka_unit_test_setup(test_plugging, setup),
        cmocka_unit_test_setup(test_full_port, setup),
        cmocka_unit_test_setup(test_nonsense, setup),
        cmocka_unit_test_setup(test_checksum_left_or_made, setup),
        cmocka_unit_test_setup(test_segmented_or_not, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
