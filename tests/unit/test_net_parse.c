/* src/net: the arguments of --net and -p, MAC addresses, the rate limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/net.h"
#include "net/rate.h"

#define S 1000000000ull

/* ---- --net ---- */

static void test_net(void **state)
{
    (void)state;
    static const uint8_t mac[6] = {0x52, 0x33, 0xab, 0xCD, 0, 0x01};
    struct net_config c;
    struct net_error err;
    assert_int_equal(net_parse("user", &c, &err), 0);
    assert_int_equal(c.kind, NET_USER);
    assert_int_equal(c.bps, 0);
    assert_int_equal(net_parse("tap=t0", &c, &err), 0);
    assert_int_equal(c.kind, NET_TAP);
    assert_string_equal(c.name, "t0");
    assert_int_equal(net_parse("tap=abcdefghijklmno", &c, &err), 0);
    assert_int_equal(net_parse("switch=a.b-c_1,bps=10M,mac=52:33:ab:CD:00:01", &c, &err), 0);
    assert_int_equal(c.kind, NET_SWITCH);
    assert_string_equal(c.name, "a.b-c_1");
    assert_int_equal(c.bps, 10u << 20);
    assert_memory_equal(c.mac, mac, 6);
    assert_int_equal(net_parse("user,bps=1500", &c, &err), 0);
    assert_int_equal(c.bps, 1500);
    assert_memory_equal(c.mac, ((uint8_t[6]){0}), 6);
    assert_int_equal(net_parse("user,bps=1048576G", &c, &err), 0);
    assert_false(c.no_host_loopback);
    assert_int_equal(net_parse("user,no-host-loopback,bps=1500", &c, &err), 0);
    assert_true(c.no_host_loopback);
    assert_int_equal(c.bps, 1500);
}

static void test_net_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *arg, *says;
    } bad[] = {
        {"", "no such network"},
        {"usr", "no such network"},
        {",", "no such network"},
        {"user=x", "no name"},
        {"user=", "no name"},
        {"user,", "no such option"},
        {"user,,", "no such option"},
        {"user,mtu=3", "no such option: mtu"},
        {"tap", "needs a name"},
        {"tap=", "needs a name"},
        {"tap=,mac=52:33:00:00:00:01", "needs a name"},
        {"tap=abcdefghijklmnop", "15 characters"},
        {"switch=abcdefghijklmnopqrstuvwxyzabcdef", "31 characters"},
        {"tap=../x", "letters and digits"},
        {"tap=.", "letters and digits"},
        {"switch=a/b", "letters and digits"},
        {"switch=a b", "letters and digits"},
        {"switch=-a", "letters and digits"},
        {"switch=a=b", "letters and digits"},
        {"user,mac=", "six bytes"},
        {"user,mac=52:33:00:00:00", "six bytes"},
        {"user,mac=52:33:00:00:00:0g", "six bytes"},
        {"user,mac=52-33-00-00-00-01", "six bytes"},
        {"user,mac=52:33:00:00:00:001", "six bytes"},
        {"user,mac=01:00:5e:00:00:01", "group"},
        {"user,mac=00:00:00:00:00:00", "zero"},
        {"user,mac=52:33:00:00:00:01,mac=52:33:00:00:00:02", "twice"},
        {"user,bps=", "bytes a second"},
        {"user,bps=0", "bytes a second"},
        {"user,bps=-1", "bytes a second"},
        {"user,bps=1.5M", "bytes a second"},
        {"user,bps=M", "bytes a second"},
        {"user,bps=10T", "bytes a second"},
        {"user,bps=99999999999999999999", "bytes a second"},
        {"user,bps=1048577G", "bytes a second"},
        {"user,bps=1,bps=2", "twice"},
        {"user,bps", "bytes a second"},
        {"user,no-host-loopback=", "no value"},
        {"user,no-host-loopback=1", "no value; leave =1 away"},
        {"user,no-host-loopback,no-host-loopback", "no-host-loopback is there twice"},
        {"user,no-host-loop", "there are mac=, bps= and no-host-loopback"},
        {"tap=t0,no-host-loopback", "for user only"},
        {"switch=lan,no-host-loopback", "for user only"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct net_config c;
        struct net_error err = {{0}};
        if (net_parse(bad[i].arg, &c, &err) != -1 || !strstr(err.text, bad[i].says) ||
            strchr(err.text, '\n') || strncmp(err.text, "--net ", 6) != 0) {
            fail_msg("--net %s: '%s' does not say '%s'", bad[i].arg, err.text, bad[i].says);
        }
    }
}

/* ---- -p ---- */

static struct net_forward forward(const char *arg)
{
    struct net_forward f;
    struct net_error err = {{0}};
    if (net_parse_forward(arg, &f, &err)) {
        fail_msg("-p %s: %s", arg, err.text);
    }
    return f;
}

static void check(const char *arg, const char *addr, bool udp, unsigned host, unsigned guest,
                  unsigned count)
{
    struct net_forward f = forward(arg);
    assert_string_equal(f.host_addr, addr);
    assert_int_equal(f.udp, udp);
    assert_int_equal(f.host_port, host);
    assert_int_equal(f.guest_port, guest);
    assert_int_equal(f.count, count);
}

static void test_forward(void **state)
{
    (void)state;
    check("2222:22", "", false, 2222, 22, 1);
    check("53:53/udp", "", true, 53, 53, 1);
    check("127.0.0.1:8080:80/tcp", "127.0.0.1", false, 8080, 80, 1);
    check("[::1]:8080:80", "::1", false, 8080, 80, 1);
    check("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535:65535",
          "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", false, 65535, 65535, 1);
    check("8000-8010:80-90", "", false, 8000, 80, 11);
    check("10.0.0.1:8000-8010:80-90/udp", "10.0.0.1", true, 8000, 80, 11);
    check("5-5:6", "", false, 5, 6, 1);
    check("1-65535:1-65535", "", false, 1, 1, 65535);
}

static void test_forward_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *arg, *says;
    } bad[] = {
        {"", "HOST:GUEST"},
        {"80", "HOST:GUEST"},
        {":", "a port is"},
        {"80:", "a port is"},
        {":80", "a port is"},
        {"0:80", "1 to 65535"},
        {"80:65536", "1 to 65535"},
        {"80:0", "1 to 65535"},
        {"a:80", "'a'"},
        {"+1:80", "a port is"},
        {"80:80/sctp", "udp or tcp"},
        {"80:80/", "udp or tcp"},
        {"80:80/udp/tcp", "udp or tcp"},
        {"localhost:80:80", "the address is a number"},
        {"256.0.0.1:80:80", "the address is a number"},
        {"::1:80:80", "the address is a number"},
        {"[::1:80:80", "[ADDR]:HOST:GUEST"},
        {"[::1]80:80", "[ADDR]:HOST:GUEST"},
        {"[127.0.0.1]:80:80", "the address is a number"},
        {"[]:80:80", "the address is a number"},
        {"1.2.3.4:5:6:7", "too many colons"},
        {"[1111111111111111111111111111111111111111111111111111111]:1:2", "is a number"},
        {"20-10:20-10", "lower to the higher"},
        {"10-:10", "lower to the higher"},
        {"10-70000:1-2", "lower to the higher"},
        {"10-20:10-19", "11 ports of the host for 10"},
        {"10-20:10", "11 ports of the host for 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct net_forward f;
        struct net_error err = {{0}};
        if (net_parse_forward(bad[i].arg, &f, &err) != -1 || !strstr(err.text, bad[i].says) ||
            strchr(err.text, '\n') || strncmp(err.text, "-p ", 3) != 0) {
            fail_msg("-p %s: '%s' does not say '%s'", bad[i].arg, err.text, bad[i].says);
        }
    }
}

static int add(struct net_config *c, const char *arg, struct net_error *err)
{
    struct net_forward f = forward(arg);
    return net_add_forward(c, &f, err);
}

static void test_add_forward(void **state)
{
    (void)state;
    struct net_config c = {.kind = NET_USER};
    struct net_error err = {{0}};
    assert_int_equal(add(&c, "80:80", &err), 0);
    assert_int_equal(add(&c, "80:81/udp", &err), 0);
    assert_int_equal(add(&c, "127.0.0.1:90-99:90-99", &err), 0);
    assert_int_equal(add(&c, "127.0.0.2:90-99:90-99", &err), 0);
    assert_int_equal(c.forwards, 4);
    assert_int_equal(add(&c, "80:82", &err), -1);
    assert_non_null(strstr(err.text, "port 80"));
    assert_int_equal(add(&c, "79-81:1-3", &err), -1);
    assert_int_equal(add(&c, "99:1", &err), -1);
    assert_non_null(strstr(err.text, "port 99"));
    assert_int_equal(add(&c, "127.0.0.1:95:1", &err), -1);
    assert_int_equal(add(&c, "100:1", &err), 0);
    for (unsigned i = c.forwards; i < NET_FORWARDS_MAX; i++) {
        struct net_forward f = {.host_port = (uint16_t)(1000 + i), .guest_port = 1, .count = 1};
        assert_int_equal(net_add_forward(&c, &f, &err), 0);
    }
    assert_int_equal(add(&c, "2000:1", &err), -1);
    assert_non_null(strstr(err.text, "32"));
    c = (struct net_config){.kind = NET_TAP};
    assert_int_equal(add(&c, "80:80", &err), -1);
    assert_non_null(strstr(err.text, "--net user only"));
}

/* ---- MAC ---- */

static void test_mac(void **state)
{
    (void)state;
    struct net_config a = {.vm_name = "a"}, b = {.vm_name = "b"};
    uint8_t first[6], again[6], other[6], second_card[6];
    net_make_mac(&a, first);
    net_make_mac(&a, again);
    net_make_mac(&b, other);
    a.index = 1;
    net_make_mac(&a, second_card);
    assert_memory_equal(first, again, 6);
    assert_memory_not_equal(first, other, 6);
    assert_memory_not_equal(first, second_card, 6);
    assert_int_equal(first[0] & 3, 2); /* one station's, locally administered */
    memcpy(a.mac, other, 6);
    net_make_mac(&a, again);
    assert_memory_equal(again, other, 6);
}

/* ---- rate ---- */

/* Send `size` bytes as often as allowed for `seconds`; how many bytes that was. */
static uint64_t send_for(struct rate *r, uint64_t *now, unsigned seconds, uint64_t size)
{
    uint64_t end = *now + seconds * S, sent = 0;
    while (*now < end) {
        uint64_t again = rate_wait(r, *now);
        if (again == 0) {
            rate_spend(r, size);
            sent += size;
            continue;
        }
        assert_true(again > *now);
        *now = again;
    }
    return sent;
}

static void test_rate(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1000, 65536, 1000000, 10u << 20, 1ull << 30, 1ull << 36};
    static const uint64_t sizes[] = {60, 1514, 65550};
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        for (size_t j = 0; j < ARRAY_LEN(sizes); j++) {
            if (rates[i] / sizes[j] > 3000000) {
                continue; /* that many frames take a while */
            }
            uint64_t now = 5 * S;
            struct rate r;
            rate_init(&r, rates[i], now);
            uint64_t seconds = 10 + 20 * sizes[j] / rates[i];
            uint64_t end = now + seconds * S,
                     sent = send_for(&r, &now, (unsigned)seconds, sizes[j]);
            uint64_t due =
                (unsigned __int128)rates[i] * (now > end ? now - 5 * S : seconds * S) / S;
            /* the burst, and the last frame's debt */
            assert_true(sent <= due + r.burst + sizes[j]);
            assert_true(sent + sizes[j] + r.burst / 32 >= due);
        }
    }
}

static void test_rate_pause(void **state)
{
    (void)state;
    struct rate r;
    uint64_t now = S;
    rate_init(&r, 0, now);
    rate_spend(&r, 1ull << 40);
    assert_int_equal(rate_wait(&r, now), 0); /* no limit */
    rate_init(&r, 100000, now);
    assert_int_equal(rate_wait(&r, now), 0);
    rate_spend(&r, 110000);
    uint64_t again = rate_wait(&r, now);
    assert_true(again >= now + S && again < now + S + S / 100); /* 100000 of debt */
    assert_int_equal(rate_wait(&r, again), 0);
    now += 1000000 * S; /* a long pause is worth a burst, no more */
    assert_int_equal(rate_wait(&r, now), 0);
    assert_int_equal(r.tokens, 10000);
    assert_int_equal(rate_wait(&r, now - S), 0); /* time that goes back does no harm */
    assert_int_equal(r.tokens, 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_net),         cmocka_unit_test(test_net_mistakes),
        cmocka_unit_test(test_forward),     cmocka_unit_test(test_forward_mistakes),
        cmocka_unit_test(test_add_forward), cmocka_unit_test(test_mac),
        cmocka_unit_test(test_rate),        cmocka_unit_test(test_rate_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
