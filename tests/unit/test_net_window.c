/* src/net/window.c: windows are lowered, checksums stay sound, all else stays as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/window.h"

#define SYN 2u
#define ACK 16u

static struct window_limit limit;
static uint8_t frame[300];

static int setup(void **state)
{
    (void)state;
    memset(&limit, 0, sizeof(limit));
    limit.bytes = 65536;
    return 0;
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t plain_sum(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* What a frame is made of. */
struct shape {
    bool v6;
    unsigned flags, port, window, payload;
    uint8_t options[20];
    unsigned options_len;
    unsigned ip_options; /* IPv4, bytes */
};

static uint8_t *tcp_of(const struct shape *s)
{
    return frame + 14 + (s->v6 ? 40 : 20 + s->ip_options);
}

static uint32_t tcp_sum(const struct shape *s, size_t tcp_len)
{
    uint8_t len[2] = {0, (uint8_t)tcp_len};
    uint32_t sum = plain_sum(frame + 14 + (s->v6 ? 8 : 12), s->v6 ? 32 : 8, 6);
    return plain_sum(tcp_of(s), tcp_len, plain_sum(len, 2, sum));
}

/* Returns its length. */
static size_t make(const struct shape *s)
{
    uint8_t *ip = frame + 14, *tcp = tcp_of(s);
    size_t tcp_len = 20 + s->options_len + s->payload;
    memset(frame, 0, sizeof(frame));
    put16(frame + 12, s->v6 ? 0x86dd : 0x0800);
    if (s->v6) {
        ip[0] = 0x60;
        ip[6] = 6;
        memset(ip + 8, 0x11, 32);
    } else {
        ip[0] = (uint8_t)(0x40 | (20 + s->ip_options) / 4);
        ip[6] = 0x40;
        ip[9] = 6;
        memcpy(ip + 12, (uint8_t[8]){10, 0, 2, 15, 10, 0, 2, 2}, 8);
    }
    put16(tcp, s->port);
    put16(tcp + 2, 80);
    tcp[12] = (uint8_t)((20 + s->options_len) / 4 << 4);
    tcp[13] = (uint8_t)s->flags;
    put16(tcp + 14, s->window);
    memcpy(tcp + 20, s->options, s->options_len);
    memset(tcp + 20 + s->options_len, 0xa5, s->payload);
    put16(tcp + 16, ~tcp_sum(s, tcp_len) & 0xffff);
    return (size_t)(tcp - frame) + tcp_len;
}

/* Whether it is lowered; then only to `most`, and the checksum is right. */
static void expect(const struct shape *s, bool lowered, unsigned most)
{
    uint8_t before[sizeof(frame)];
    size_t len = make(s);
    uint8_t *tcp = tcp_of(s);
    memcpy(before, frame, sizeof(frame));
    assert_int_equal(window_limit(&limit, frame, len < WINDOW_HEAD ? len : WINDOW_HEAD), lowered);
    if (lowered) {
        assert_int_equal(get16(tcp + 14), most);
        assert_int_equal(tcp_sum(s, len - (size_t)(tcp - frame)), 0xffff);
        memcpy(tcp + 14, before + (tcp - frame) + 14, 4);
    }
    assert_memory_equal(frame, before, sizeof(frame));
}

#define OPTIONS_7 .options = {2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 0, 0}, .options_len = 12

static void test_scaled(void **state)
{
    (void)state;
    for (int v6 = 0; v6 < 2; v6++) {
        expect(&(struct shape){.v6 = v6, .flags = SYN, .port = 1000, .window = 64240, OPTIONS_7},
               false, 0);
        struct shape s = {.v6 = v6, .flags = ACK, .port = 1000, .window = 65535};
        expect(&s, true, 512);
        for (unsigned window = 500; window < 700; window++) {
            s.window = window;
            s.payload = window % 100;
            expect(&s, window > 512, 512);
        }
    }
}

static void test_unscaled(void **state)
{
    (void)state;
    limit.bytes = 20000;
    expect(&(struct shape){.flags = SYN, .port = 1000, .window = 64240}, false, 0);
    expect(&(struct shape){.flags = ACK, .port = 1000, .window = 20000}, false, 0);
    expect(&(struct shape){.flags = ACK, .port = 1000, .window = 20001}, true, 20000);
    expect(&(struct shape){.flags = ACK, .port = 1000, .window = 60000, .ip_options = 40}, true,
           20000);
    /* a scale larger than there may be is the largest; a window is never closed */
    expect(&(struct shape){.flags = SYN | ACK, .port = 7, .options = {3, 3, 99}, .options_len = 4},
           false, 0);
    expect(&(struct shape){.flags = ACK, .port = 7, .window = 9}, true, 1);
}

static void test_left_alone(void **state)
{
    (void)state;
    struct shape s = {.flags = ACK, .port = 1000, .window = 65535};
    expect(&s, false, 0); /* not seen to begin */
    expect(&(struct shape){.flags = SYN, .port = 1000, .window = 64240, OPTIONS_7}, false, 0);
    s.port = 1001;
    expect(&s, false, 0);
    s.port = 1000;
    expect(&s, true, 512);
    limit.bytes = 0;
    expect(&s, false, 0);
    limit.bytes = 65536;
    static const struct {
        unsigned at;
        uint8_t value;
    } spoilt[] = {{12, 9},    {23, 17},   {20, 1},    {21, 1},
                  {14, 0x44}, {14, 0x4f}, {46, 0x40}, {46, 0xf0}};
    for (size_t i = 0; i < ARRAY_LEN(spoilt); i++) {
        size_t len = make(&s);
        frame[spoilt[i].at] = spoilt[i].value;
        assert_false(window_limit(&limit, frame, len));
    }
    for (size_t len = 0; len < make(&s); len++) {
        assert_false(window_limit(&limit, frame, len));
    }
}

static void test_options(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[20];
        unsigned len, scale;
    } options[] = {
        {{3, 3, 2, 0}, 4, 2},
        {{1, 1, 1, 3, 3, 4, 0, 0}, 8, 4},
        {{8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 5, 1, 1, 1}, 16, 5},
        {{0, 3, 3, 5}, 4, 0},               /* behind the end */
        {{2, 0, 3, 3, 5, 0, 0, 0}, 8, 0},   /* an option of no length */
        {{2, 200, 3, 3, 5, 0, 0, 0}, 8, 0}, /* one that is longer than all */
        {{1, 1, 1, 3}, 4, 0},               /* cut off */
        {{1, 1, 3, 3}, 4, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        struct shape s = {.flags = SYN, .port = 50, .window = 1, .options_len = options[i].len};
        memcpy(s.options, options[i].bytes, sizeof(s.options));
        expect(&s, false, 0);
        unsigned most = 65536u >> options[i].scale;
        if (most < 65536) {
            expect(&(struct shape){.flags = ACK, .port = 50, .window = 65535}, true, most);
        } else {
            expect(&(struct shape){.flags = ACK, .port = 50, .window = 65535}, false, 0);
        }
    }
}

/* More connections than it remembers: each is lowered right, or not at all. */
static void test_many(void **state)
{
    (void)state;
    unsigned lowered = 0;
    for (unsigned port = 1; port < 2000; port++) {
        expect(&(struct shape){.flags = SYN, .port = port, .window = 1, OPTIONS_7}, false, 0);
    }
    for (unsigned port = 1; port < 2000; port++) {
        struct shape s = {.flags = ACK, .port = port, .window = 65535};
        size_t len = make(&s);
        if (window_limit(&limit, frame, len)) {
            assert_int_equal(get16(tcp_of(&s) + 14), 512);
            lowered++;
        }
    }
    assert_true(lowered > WINDOW_CONNECTIONS / 2 && lowered <= WINDOW_CONNECTIONS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_scaled, setup),
        cmocka_unit_test_setup(test_unscaled, setup),
        cmocka_unit_test_setup(test_left_alone, setup),
        cmocka_unit_test_setup(test_options, setup),
        cmocka_unit_test_setup(test_many, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
