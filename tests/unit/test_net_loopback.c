/* src/net/loopback.c and passt_dns.c: what --net user,no-host-loopback rests on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

#include "net/loopback.h"
#include "net/passt.h"

/* A frame to that address, IPv4 or IPv6, of the whole headers or len bytes. */
static bool goes_to(const char *to, size_t len)
{
    uint8_t frame[LOOPBACK_HEAD];
    memset(frame, 0x11, sizeof(frame));
    bool v6 = strchr(to, ':') != NULL;
    frame[12] = v6 ? 0x86 : 0x08;
    frame[13] = v6 ? 0xdd : 0x00;
    assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, to, frame + (v6 ? 38 : 30)), 1);
    return net_to_loopback(frame, len);
}

static void test_loopback(void **state)
{
    (void)state;
    static const char *const local[] = {
        "127.0.0.1",     "127.0.0.53", "127.255.255.255",  "0.0.0.0",     "0.1.2.3",
        "::1",           "::",         "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:127.9.9.9",
        "::ffff:0.0.0.0"};
    static const char *const others[] = {
        "10.0.2.2", "126.255.255.255", "128.0.0.1",   "1.1.1.1", "224.0.0.1", "255.255.255.255",
        "fe80::1",  "ff02::1",         "2001:db8::1", "1::1",    "::1:0:0:1", "::ffff:10.0.2.2"};
    for (size_t i = 0; i < ARRAY_LEN(local); i++) {
        if (!goes_to(local[i], LOOPBACK_HEAD)) {
            fail_msg("%s is the host's loopback", local[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (goes_to(others[i], LOOPBACK_HEAD)) {
            fail_msg("%s is not the host's loopback", others[i]);
        }
    }
}

static void test_other_frames(void **state)
{
    (void)state;
    uint8_t arp[42] = {[12] = 0x08, [13] = 0x06}; /* all zero where IPv4 has its address */
    assert_false(net_to_loopback(arp, sizeof(arp)));
    assert_false(goes_to("127.0.0.1", 33)); /* no whole address, no packet */
    assert_true(goes_to("127.0.0.1", 34));
    assert_false(goes_to("::1", 53));
    assert_false(net_to_loopback(arp, 0));
}

/* ---- name servers ---- */

static char dir[] = "/tmp/ring3-test-XXXXXX";

static const char *file(const char *name, const char *text)
{
    static char path[2][64];
    char *p = path[name[0] == 'b'];
    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    FILE *f = text ? fopen(p, "w") : NULL;
    if (f) {
        fputs(text, f);
        fclose(f);
    } else {
        unlink(p);
    }
    return p;
}

static unsigned find(const char *resolv, const char *behind, char (*to)[INET6_ADDRSTRLEN])
{
    return passt_find_dns(file("resolv", resolv), file("behind", behind), to);
}

static void test_dns(void **state)
{
    (void)state;
    char to[PASST_DNS_MAX][INET6_ADDRSTRLEN];
    const char *stub = "# a stub\nnameserver 127.0.0.53\noptions edns0\n";
    assert_int_equal(find("nameserver 192.0.2.1\n", "nameserver 192.0.2.9\n", to), 0);
    assert_int_equal(find("nameserver 192.0.2.1\nnameserver 127.0.0.1\n", NULL, to), 0);
    assert_int_equal(find(NULL, "nameserver 192.0.2.9\n", to), 0);
    assert_int_equal(find(stub, NULL, to), 0);
    assert_int_equal(find(stub, stub, to), 0);
    assert_int_equal(find(stub, "search x\nnameserver 192.0.2.9\nnameserver 2001:db8::9\n", to), 2);
    assert_string_equal(to[0], "192.0.2.9");
    assert_string_equal(to[1], "2001:db8::9");
    assert_int_equal(find("nameserver ::1\n",
                          "nameserver 1.0.0.1\nnameserver 1.0.0.2\n"
                          "nameserver 1.0.0.3\nnameserver 1.0.0.4\n",
                          to),
                     3);
    /* what is no address, or one of an interface's, is not handed on */
    assert_int_equal(find(stub,
                          "nameserver fe80::1%eth0\nnameserver --help\nnameserver\n"
                          "nameserver 192.0.2.9\n",
                          to),
                     1);
    assert_string_equal(to[0], "192.0.2.9");
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    file("resolv", NULL);
    file("behind", NULL);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_other_frames),
        cmocka_unit_test(test_dns),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
