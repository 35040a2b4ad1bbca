/* src/net/offload.c, echo.c against frames whose sums are known, and against a plain checksum
 * written here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/echo.h"
#include "net/offload.h"

/* ---- checking, byte by byte ---- */

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* Big-endian words, as the RFC has them. */
static uint32_t plain_sum(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* The pseudo header of an IPv4 or IPv6 packet at ip, l4_len bytes of protocol in it. */
static uint32_t pseudo(const uint8_t *ip, size_t l4_len, uint8_t protocol)
{
    bool v6 = ip[0] >> 4 == 6;
    uint32_t sum = plain_sum(ip + (v6 ? 8 : 12), v6 ? 32 : 8, protocol);
    return plain_sum((uint8_t[2]){(uint8_t)(l4_len >> 8), (uint8_t)l4_len}, 2, sum);
}

static void assert_sound_tcp(const uint8_t *frame, size_t len, size_t ip_at, size_t tcp_at)
{
    const uint8_t *ip = frame + ip_at;
    if (ip[0] >> 4 == 4) {
        assert_int_equal(plain_sum(ip, tcp_at - ip_at, 0), 0xffff);
        assert_int_equal(get16(ip + 2), len - ip_at);
    } else {
        assert_int_equal(get16(ip + 4), len - ip_at - 40);
    }
    assert_int_equal(plain_sum(frame + tcp_at, len - tcp_at, pseudo(ip, len - tcp_at, 6)), 0xffff);
}

/* ---- making ---- */

struct made {
    uint8_t bytes[65550];
    size_t len, ip, tcp, headers;
    struct virtio_net_hdr hdr;
};

struct shape {
    bool v6, ecn;
    unsigned tags, options; /* VLAN tags; bytes of TCP options */
    unsigned ip_options;    /* IPv4: bytes; IPv6: bytes of a destination options header */
    unsigned mss;
    size_t payload;
    uint8_t flags;
};

static void make_ip(struct made *m, const struct shape *s, size_t l4_len)
{
    uint8_t *ip = m->bytes + m->ip;
    if (s->v6) {
        ip[0] = 0x60;
        put16(ip + 4, (unsigned)(s->ip_options + l4_len));
        ip[6] = s->ip_options ? 60 : 6;
        ip[7] = 64;
        for (unsigned i = 0; i < 32; i++) {
            ip[8 + i] = (uint8_t)(0xfd + i * 7);
        }
        if (s->ip_options) {
            ip[40] = 6;
            ip[41] = (uint8_t)(s->ip_options / 8 - 1);
        }
        return;
    }
    ip[0] = (uint8_t)(0x40 | (20 + s->ip_options) / 4);
    put16(ip + 2, (unsigned)(20 + s->ip_options + l4_len));
    put16(ip + 4, 0xfffe); /* wraps around */
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = 6;
    memcpy(ip + 12, (uint8_t[8]){10, 0, 2, 15, 192, 0, 2, 1}, 8);
    memset(ip + 20, 1, s->ip_options);
    put16(ip + 10, ~plain_sum(ip, 20 + s->ip_options, 0) & 0xffff);
}

static void make(struct made *m, const struct shape *s)
{
    memset(m, 0, sizeof(*m));
    memcpy(m->bytes, (uint8_t[12]){0x52, 0x33, 0, 0, 0, 1, 0x52, 0x33, 0, 0, 0, 2}, 12);
    for (unsigned i = 0; i < s->tags; i++) {
        put16(m->bytes + 12 + 4 * i, i + 1 < s->tags ? 0x88a8 : 0x8100);
        put16(m->bytes + 14 + 4 * i, 100 + i);
    }
    m->ip = 14 + 4 * s->tags;
    put16(m->bytes + m->ip - 2, s->v6 ? 0x86dd : 0x0800);
    m->tcp = m->ip + (s->v6 ? 40 : 20) + s->ip_options;
    m->headers = m->tcp + 20 + s->options;
    m->len = m->headers + s->payload;
    assert_true(m->len <= sizeof(m->bytes));
    make_ip(m, s, m->len - m->tcp);
    uint8_t *tcp = m->bytes + m->tcp;
    memcpy(tcp, (uint8_t[12]){0x1f, 0x90, 0x30, 0x39, 0xff, 0xff, 0xff, 0x00, 1, 2, 3, 4}, 12);
    tcp[12] = (uint8_t)((20 + s->options) / 4 << 4);
    tcp[13] = s->flags;
    memset(tcp + 20, 1, s->options);
    for (size_t i = 0; i < s->payload; i++) {
        m->bytes[m->headers + i] = (uint8_t)(i * 31 + i / 251);
    }
    put16(tcp + 16, pseudo(m->bytes + m->ip, m->len - m->tcp, 6));
    m->hdr = (struct virtio_net_hdr){
        .flags = VIRTIO_NET_HDR_NEEDS_CSUM,
        .gso_type = (uint8_t)((s->v6 ? VIRTIO_NET_GSO_TCPV6 : VIRTIO_NET_GSO_TCPV4) |
                              (s->ecn ? VIRTIO_NET_GSO_ECN : 0)),
        .hdr_len = (uint16_t)m->headers,
        .gso_size = (uint16_t)s->mss,
        .csum_start = (uint16_t)m->tcp,
        .csum_offset = 16,
    };
}

/* ---- sums ---- */

static void test_sum(void **state)
{
    (void)state;
    /* A header whose sum is in many textbooks: b861 fills the gap. */
    static const uint8_t ip[20] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                                   0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
    uint16_t sum = (uint16_t)~offload_sum(ip, sizeof(ip), 0);
    assert_memory_equal(&sum, ((uint8_t[2]){0xb8, 0x61}), 2);
    uint8_t bytes[300];
    srand(1);
    for (unsigned i = 0; i < 2000; i++) {
        size_t at = (size_t)rand() % 8, len = (size_t)rand() % (sizeof(bytes) - 8);
        for (size_t k = 0; k < sizeof(bytes); k++) {
            bytes[k] = (uint8_t)(rand() % 4 ? rand() : 0xff);
        }
        uint16_t got = offload_sum(bytes + at, len, 0);
        assert_int_equal(get16((uint8_t *)&got), plain_sum(bytes + at, len, 0));
    }
}

static void test_checksum(void **state)
{
    (void)state;
    /* UDP, as a card gets it: with the sum of the pseudo header. */
    uint8_t udp[14 + 20 + 8 + 3] = {0};
    uint8_t *ip = udp + 14, *l4 = ip + 20;
    ip[0] = 0x45;
    memcpy(ip + 12, (uint8_t[8]){10, 0, 2, 15, 10, 0, 2, 3}, 8);
    memcpy(l4, (uint8_t[6]){0x30, 0x39, 0, 53, 0, 11}, 6);
    memcpy(l4 + 8, "abc", 3);
    put16(l4 + 6, pseudo(ip, 11, 17));
    const struct virtio_net_hdr hdr = {
        .flags = VIRTIO_NET_HDR_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};
    uint16_t sum = offload_checksum(udp, sizeof(udp), &hdr);
    memcpy(l4 + 6, &sum, 2);
    assert_int_equal(plain_sum(l4, 11, pseudo(ip, 11, 17)), 0xffff);
    /* A sum of 0 is sent as ffff: to UDP 0 says that there is none. */
    memset(l4, 0, 11);
    put16(l4 + 2, 0xffff);
    sum = offload_checksum(udp, sizeof(udp), &hdr);
    assert_int_equal(sum, 0xffff);
    /* Sums over nothing but the field itself, at the frame's very end. */
    const struct virtio_net_hdr last = {.csum_start = sizeof(udp) - 2, .csum_offset = 0};
    assert_int_equal(offload_checksum(udp, sizeof(udp), &last), 0xffff);
}

/* ---- segments ---- */

struct collected {
    const struct made *m;
    bool checksums;
    unsigned n;
    size_t payload;
};

static void collect(void *ctx, const struct io_vec vec[3])
{
    static uint8_t frame[70000];
    struct collected *c = ctx;
    const struct made *m = c->m;
    struct virtio_net_hdr hdr;
    assert_int_equal(vec[0].len, sizeof(hdr));
    memcpy(&hdr, vec[0].base, sizeof(hdr));
    assert_int_equal(hdr.gso_type, VIRTIO_NET_GSO_NONE);
    assert_int_equal(vec[1].len, m->headers);
    memcpy(frame, vec[1].base, vec[1].len);
    memcpy(frame + vec[1].len, vec[2].base, vec[2].len);
    size_t len = vec[1].len + vec[2].len;
    if (!c->checksums) { /* do what the receiver will */
        assert_int_equal(hdr.flags, VIRTIO_NET_HDR_NEEDS_CSUM);
        assert_int_equal(hdr.csum_start, m->tcp);
        uint16_t sum = offload_checksum(frame, len, &hdr);
        memcpy(frame + m->tcp + 16, &sum, 2);
    } else {
        assert_int_equal(hdr.flags, 0);
    }
    assert_sound_tcp(frame, len, m->ip, m->tcp);
    assert_memory_equal(frame, m->bytes, m->ip - 2);
    const uint8_t *tcp = frame + m->tcp, *whole = m->bytes + m->tcp;
    assert_int_equal(get32(tcp + 4), (uint32_t)(get32(whole + 4) + c->payload));
    assert_memory_equal(tcp + 8, whole + 8, 5);
    bool last = c->payload + vec[2].len == m->len - m->headers;
    assert_int_equal(tcp[13] & 0x09, last ? whole[13] & 0x09 : 0);
    assert_int_equal(tcp[13] & 0x80, c->n == 0 ? whole[13] & 0x80 : 0);
    assert_int_equal(tcp[13] & 0x76, whole[13] & 0x76);
    if (frame[m->ip] >> 4 == 4) {
        assert_int_equal(get16(frame + m->ip + 4), (0xfffe + c->n) & 0xffff);
    }
    assert_int_equal(vec[2].len, last ? m->len - m->headers - c->payload : m->hdr.gso_size);
    assert_memory_equal(frame + m->headers, m->bytes + m->headers + c->payload, vec[2].len);
    c->payload += vec[2].len;
    c->n++;
}

static void check(const struct shape *s)
{
    static struct made m;
    make(&m, s);
    struct virtio_net_hdr hdr = m.hdr;
    assert_true(virtio_net_check_header(&hdr, m.len, VIRTIO_NET_SEND_OFFLOADS));
    unsigned expected = s->payload ? (unsigned)((s->payload + s->mss - 1) / s->mss) : 1;
    for (int checksums = 0; checksums < 2; checksums++) {
        struct collected c = {.m = &m, .checksums = checksums != 0};
        assert_int_equal(offload_segment(m.bytes, m.len, &m.hdr, checksums != 0, collect, &c),
                         expected);
        assert_int_equal(c.n, expected);
        assert_int_equal(c.payload, s->payload);
    }
}

static void test_segment(void **state)
{
    (void)state;
    static const struct shape shapes[] = {
        {.mss = 1460, .payload = 10000, .flags = 0x10},
        {.mss = 1448, .payload = 14480, .flags = 0x18, .options = 12},
        {.mss = 1448, .payload = 14481, .flags = 0x19, .options = 12},
        {.mss = 1448, .payload = 65000, .flags = 0x99, .options = 40, .ecn = true},
        {.mss = 1428, .payload = 30001, .flags = 0xd8, .v6 = true, .options = 12},
        {.mss = 1000, .payload = 999, .flags = 0x19},
        {.mss = 1000, .payload = 1, .flags = 0x19, .v6 = true},
        {.mss = 1000, .payload = 0, .flags = 0x19},
        {.mss = OFFLOAD_MSS_MIN, .payload = 65400, .flags = 0x18},
        {.mss = 65535, .payload = 65400, .flags = 0x18},
        {.mss = 1460, .payload = 9999, .flags = 0x18, .ip_options = 40, .options = 40},
        {.mss = 1400, .payload = 9999, .flags = 0x18, .v6 = true, .ip_options = 24},
        {.mss = 1400, .payload = 9999, .flags = 0x18, .tags = 1},
        {.mss = 1400, .payload = 9999, .flags = 0x18, .tags = 2, .v6 = true},
        {.mss = 1401, .payload = 5607, .flags = 0x18},
    };
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        check(&shapes[i]);
    }
}

static void no_segment(void *ctx, const struct io_vec vec[3])
{
    (void)ctx;
    (void)vec;
    fail_msg("nothing here can be cut");
}

static void refused(const struct made *m)
{
    assert_int_equal(offload_segment(m->bytes, m->len, &m->hdr, true, no_segment, NULL), 0);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct shape v4 = {.mss = 1000, .payload = 3000, .flags = 0x18};
    static const struct shape v6 = {.mss = 1000, .payload = 3000, .flags = 0x18, .v6 = true};
    static const struct shape three_tags = {.mss = 1000, .payload = 3000, .tags = 3};
    static struct made m;
#define AFTER(shape, change)                                                                       \
    do {                                                                                           \
        make(&m, &(shape));                                                                        \
        change;                                                                                    \
        refused(&m);                                                                               \
    } while (0)
    AFTER(v4, m.hdr.gso_size = OFFLOAD_MSS_MIN - 1);
    AFTER(v4, m.hdr.csum_offset = 6);
    AFTER(v4, m.hdr.gso_type = VIRTIO_NET_GSO_TCPV6);
    AFTER(v6, m.hdr.gso_type = VIRTIO_NET_GSO_TCPV4);
    AFTER(v4, m.hdr.csum_start += 4);
    AFTER(v6, m.hdr.csum_start -= 1);
    AFTER(v4, m.bytes[m.ip] = 0x44);
    AFTER(v4, m.bytes[m.ip] = 0x65);
    AFTER(v4, m.bytes[m.ip + 9] = 17);
    AFTER(v4, m.bytes[12] = 0x86);
    AFTER(v4, m.bytes[m.tcp + 12] = 0x40);
    AFTER(v4, (m.bytes[m.tcp + 12] = 0xf0, m.len = m.tcp + 59));
    AFTER(v4, m.len = m.tcp + 19);
    AFTER(v4, m.len = 40);
    AFTER(v4, m.len = 14);
    AFTER(v6, m.len = 53);
    AFTER(v6, m.hdr.csum_start = 1000); /* headers of more than anybody has */
    AFTER(three_tags, (void)0);
#undef AFTER
}

/* ---- pings ---- */

static size_t make_ping(uint8_t *frame, size_t payload)
{
    uint8_t *ip = frame + 14, *icmp = ip + 20;
    memset(frame, 0, 14);
    memcpy(frame, (uint8_t[14]){0x52, 0x33, 0, 0, 0, 2, 0x52, 0x33, 0, 0, 0, 9, 8, 0}, 14);
    memcpy(ip, (uint8_t[20]){0x45, 0, 0, 0, 1, 2, 0x40, 0, 64, 1, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2},
           20);
    put16(ip + 2, (unsigned)(28 + payload));
    put16(ip + 10, ~plain_sum(ip, 20, 0) & 0xffff);
    memcpy(icmp, (uint8_t[8]){8, 0, 0, 0, 0x12, 0x34, 0, 1}, 8);
    for (size_t i = 0; i < payload; i++) {
        icmp[8 + i] = (uint8_t)i;
    }
    put16(icmp + 2, ~plain_sum(icmp, 8 + payload, 0) & 0xffff);
    return 14 + 28 + payload;
}

static void test_echo(void **state)
{
    (void)state;
    static uint8_t frame[2000], reply[NET_ECHO_MAX];
    uint32_t host, other;
    memcpy(&host, (uint8_t[4]){10, 0, 2, 2}, 4);
    memcpy(&other, (uint8_t[4]){10, 0, 2, 3}, 4);
    static const size_t sizes[] = {0, 1, 56, 1471, 1472};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t len = make_ping(frame, sizes[i]);
        assert_int_equal(net_echo(frame, len, host, reply), len);
        const uint8_t *icmp = reply + 34;
        assert_memory_equal(reply, frame + 6, 6);
        assert_memory_equal(reply + 6, frame, 6);
        assert_memory_equal(reply + 26, ((uint8_t[8]){10, 0, 2, 2, 10, 0, 2, 15}), 8);
        assert_int_equal(plain_sum(reply + 14, 20, 0), 0xffff);
        assert_int_equal(icmp[0], 0);
        assert_int_equal(plain_sum(icmp, len - 34, 0), 0xffff);
        assert_memory_equal(icmp + 4, frame + 38, len - 38);
        assert_int_equal(net_echo(frame, len, other, reply), 0);
        assert_int_equal(net_echo(frame, len - 1, host, reply), 0); /* less than it says */
        assert_int_equal(net_echo(reply, len, other, reply), 0);
    }
    size_t len = make_ping(frame, 3);
    frame[len++] = 0; /* Ethernet's padding */
    assert_int_equal(net_echo(frame, len, host, reply), len);
    assert_int_equal(net_echo(frame, make_ping(frame, 1473), host, reply), 0);
    static const size_t spoilt[] = {12, 14, 20, 21, 23, 33, 34, 35, 36, 40};
    for (size_t i = 0; i < ARRAY_LEN(spoilt); i++) {
        len = make_ping(frame, 56);
        frame[spoilt[i]] ^= 0x21;
        assert_int_equal(net_echo(frame, len, host, reply), 0);
    }
    for (size_t n = 0; n < 42; n++) {
        assert_int_equal(net_echo(frame, n, host, reply), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),     cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_segment), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_echo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
