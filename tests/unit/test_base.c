/* src/base: formatting against the C library, and what bug() says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "fake_host.h"

/* Format with both and compare text and length, whole and cut at several sizes. */
static void compare(const char *fmt, ...)
{
    static const size_t sizes[] = {1, 2, 3, 8, 17, 300};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char ours[300], libc[300];
        memset(ours, 0x55, sizeof(ours));
        va_list ap;
        va_start(ap, fmt);
        int len = fmt_vline(ours, sizes[i], fmt, ap);
        va_end(ap);
        va_start(ap, fmt);
        int whole = vsnprintf(libc, sizes[i], fmt, ap);
        va_end(ap);
        assert_string_equal(ours, libc);
        int want = whole < (int)sizes[i] ? whole : (int)sizes[i] - 1;
        assert_int_equal(len, want);
        for (size_t at = sizes[i]; at < sizeof(ours); at++) {
            assert_int_equal(ours[at], 0x55); /* nothing beyond the buffer */
        }
    }
}

static void test_fixed_cases(void **state)
{
    (void)state;
    compare("plain");
    compare("");
    compare("%%|%c|%s|%p", 'x', "string", (void *)(uintptr_t)0xdeadbeef);
    compare("%d %i %u %x %X", -5, 0, 42u, 0xbeefu, 0xBEEFu);
    compare("%d %d", INT32_MIN, INT32_MAX);
    compare("%ld %ld %lu %lx", INT64_MIN, INT64_MAX, UINT64_MAX, UINT64_MAX);
    compare("%lld %llu %llx", -1ll, 1ull << 63, 0x123456789abcdefull);
    compare("[%5d][%-5d][%05d][%5s][%-5s][%3c][%-3c]", 42, 42, 42, "ab", "ab", 'c', 'c');
    compare("[%05d][%2d][%016llx][%-8x]", -42, -12345, 0xabcull, 0x12u);
    compare("[%.3s][%.*s][%8.2s][%.0s]", "abcdef", 2, "xyz", "long", "gone");
    compare("[%-05d][%0-5d]", 7, 7);
    compare("[%#x][%#X][%#llx][%#010x][%#12x][%-#8x]", 1u, 0xabu, 0ull, 0x12u, 0x34u, 5u);
    compare("%zu", (size_t)123456);
    compare("%d%d%d%d%d%d%d%d%d", 1, 2, 3, 4, 5, 6, 7, 8, 9);
}

static void test_null_string_and_unknown(void **state)
{
    (void)state;
    char buf[32];
    const char *volatile none = NULL;
    fmt_line(buf, sizeof(buf), "%s", none);
    assert_string_equal(buf, "(null)");
    const char *volatile odd = "100%";
    va_list empty;
    memset(&empty, 0, sizeof(empty));
    assert_int_equal(fmt_vline(buf, sizeof(buf), odd, empty), 4);
    assert_string_equal(buf, "100%");
    odd = "%q";
    fmt_vline(buf, sizeof(buf), odd, empty);
    assert_string_equal(buf, "%q");
    assert_int_equal(fmt_vline(NULL, 0, odd, empty), 0);
}

/* Every conversion, flag and width with values of every magnitude. */
static void test_random_numbers(void **state)
{
    (void)state;
    static const char *const formats[] = {"%d", "%u", "%x", "%X"};
    static const char *const longs[] = {"", "l", "ll"};
    static const char *const flags[] = {"", "0", "-", "#", "#0"};
    srand(1);
    for (unsigned n = 0; n < 20000; n++) {
        uint64_t value = (uint64_t)rand() << 33 ^ (uint64_t)rand() << 11 ^ (uint64_t)rand();
        value >>= rand() % 64;
        if (rand() % 2) {
            value = 0 - value;
        }
        unsigned l = (unsigned)rand() % 3;
        const char *conversion = formats[rand() % 4];
        char fmt[32], width[8] = "";
        if (rand() % 2) {
            snprintf(width, sizeof(width), "%d", rand() % 24 + 1);
        }
        unsigned flag = (unsigned)rand() % (conversion[1] == 'x' || conversion[1] == 'X' ? 5 : 3);
        snprintf(fmt, sizeof(fmt), "<%%%s%s%s%s>", flags[flag], width, longs[l], conversion + 1);
        if (l == 0) {
            compare(fmt, (unsigned)value);
        } else if (l == 1) {
            compare(fmt, (unsigned long)value);
        } else {
            compare(fmt, (unsigned long long)value);
        }
    }
}

static void test_log_cuts_at_255(void **state)
{
    (void)state;
    char text[400];
    memset(text, 'a', sizeof(text));
    text[399] = '\0';
    log_msg(LOG_INFO, "%s", text);
    assert_int_equal(strlen(fake.last_log), 255);
    log_msg(LOG_WARN, "value %llx", 0x12ull);
    assert_string_equal(fake.last_log, "value 12");
}

static void test_bug_says_where(void **state)
{
    (void)state;
    jmp_buf back;
    fake.panic = &back;
    if (setjmp(back) == 0) {
        bug("src/some/file.c", 17, "a < b");
    }
    fake.panic = NULL;
    assert_string_equal(fake.last_panic, "bug: src/some/file.c:17: a < b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed_cases),
        cmocka_unit_test(test_null_string_and_unknown),
        cmocka_unit_test(test_random_numbers),
        cmocka_unit_test(test_log_cuts_at_255),
        cmocka_unit_test(test_bug_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
