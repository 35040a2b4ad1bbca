/* Old console output, shown again without the questions in it. */
#include "control/replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 512u

struct text {
    uint8_t bytes[MOST + REPLAY_HELD];
    size_t len;
};

/* In two pieces, of which the first has `cut` bytes. */
static struct text filter(const void *bytes, size_t len, size_t cut)
{
    struct replay r = {0};
    struct text out;
    assert_true(cut <= len && len <= MOST);
    out.len = replay_filter(&r, bytes, cut, out.bytes);
    assert_true(out.len <= cut + REPLAY_HELD);
    out.len += replay_filter(&r, (const uint8_t *)bytes + cut, len - cut, out.bytes + out.len);
    assert_true(out.len <= len);
    return out;
}

static void expect(const char *in, const char *out)
{
    size_t len = strlen(in);
    for (size_t cut = 0; cut <= len; cut++) {
        struct text t = filter(in, len, cut);
        if (t.len != strlen(out) || memcmp(t.bytes, out, t.len) != 0) {
            print_error("of '%s', cut at %zu: '%.*s'\n", in + 1, cut, (int)t.len, t.bytes);
            fail();
        }
    }
}

static void test_what_draws_stays(void **state)
{
    static const char *const kept[] = {
        "",
        "plain text\r\n\ttwo \b\a\n",
        "\033[1;31mred\033[0m \033[38;2;1;2;3mtoo\033[m",
        "\033[2J\033[H\033[10;20Hthere\033[K\033[?25l\033[?1049h\033[4 q\033[!p",
        "\033(B\033)0\0337\0338\033M\033=\033c",
        "\033[8;24;80t\033[22;0t\033[3S\033[5u\033[s\033[1\"q",
        "gr\xc3\xbc\xc3\x9f \xc4\x9b \xe2\x82\xac \xc2\xa9 \xc2x",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        expect(kept[i], kept[i]);
    }
    expect("\033[1\n;31mred", "\n\033[1;31mred"); /* a control in a sequence is obeyed first */
    expect("\xc2\x9b"
           "1mbold",
           "\xc2\x9b"
           "1mbold");
}

static void test_queries_go(void **state)
{
    static const char *const dropped[] = {
        "\033[6n",
        "\033[5n",
        "\033[?6n",
        "\033[?996n",
        "\033[c",
        "\033[0c",
        "\033[>c",
        "\033[=0c",
        "\005",
        "\033Z",
        "\xc2\x9a",
        "\xc2\x9b"
        "6n",
        "\033[18t",
        "\033[0014;2t",
        "\033[x",
        "\033[?2026$p",
        "\033[4$p",
        "\033[>q",
        "\033[>0q",
        "\033[?u",
        "\033[1$w",
        "\033[&u",
        "\033[?1;1;0S",
        "\033[1;1;1;1;5;5*y",
        "\033[#|",
        "\033['|",
        "\033[?4m",
        "\033[?1;2048h",
        "\033[006n",
        "\033[6;6;6;6n",
        "\033[?2;;n",
        /* strings, with each end */
        "\033]11;?\033\\",
        "\033]4;1;?\a",
        "\033]52;c;?\xc2\x9c",
        "\xc2\x9d"
        "10;?\a",
        "\033]0;a title\a",
        "\033P$qm\033\\",
        "\033P+q544e\033\\",
        "\033P0$qr\033\\",
        "\xc2\x90$qm\xc2\x9c",
        "\033_Gi=1,a=q;AAAA\033\\",
        "\033^x\033\\",
        "\033Xx\033\\",
        "\033]0;\xc3\xbc\xc2\xa9\a",
        /* what would make text a query */
        "\033%@",
        "\033[\033[6n",
        "\033]0;x\033[6n",
        "\033\033[6n",
        "\033]x\030",
        "\033[00000000000000000000000000000000000000000000000000000000000000000000000000000000006n",
    };
    char line[256];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(dropped); i++) {
        snprintf(line, sizeof(line), "ab%scd", dropped[i]);
        expect(line, "abcd");
    }
    expect("a\033[6\r\nn", "a\r\n");
    expect("a\033[6\302\251n", "a\302\251n");
    expect("a\033]0;no end\r\nnext", "a\r\nnext");
    expect("a\033\n[6n", "a\n[6n");
}

/* What comes out has no question in it, whatever went in: to filter it once more changes nothing.
 */
static void test_any_bytes(void **state)
{
    static const uint8_t favourites[] = "\033\033\033[[[]P_\\\a\n\005\xc2\xc2\x9b\x9d\x9c\x9aZ"
                                        "?>$+;0126ncqtpxhu%(B\030\177\xe2";
    (void)state;
    srand(7);
    for (unsigned round = 0; round < 30000; round++) {
        uint8_t bytes[MOST];
        size_t len = (size_t)(rand() % 160);
        for (size_t i = 0; i < len; i++) {
            bytes[i] = rand() % 16 ? favourites[(size_t)rand() % (sizeof(favourites) - 1)]
                                   : (uint8_t)rand();
        }
        struct text once = filter(bytes, len, (size_t)rand() % (len + 1));
        struct replay r = {0};
        struct text whole = filter(bytes, len, len);
        assert_int_equal(once.len, whole.len);
        assert_memory_equal(once.bytes, whole.bytes, once.len);
        struct text twice = {.len = replay_filter(&r, once.bytes, once.len, twice.bytes)};
        twice.len += replay_rest(&r, twice.bytes + twice.len);
        assert_int_equal(twice.len, once.len);
        assert_memory_equal(twice.bytes, once.bytes, once.len);
    }
}

static void test_rest(void **state)
{
    struct replay r = {0};
    uint8_t out[64 + REPLAY_HELD];
    (void)state;
    assert_int_equal(replay_filter(&r, "a\033[3", 4, out), 1);
    assert_int_equal(replay_rest(&r, out), 3);
    assert_memory_equal(out, "\033[3", 3);
    assert_int_equal(replay_filter(&r, "1m\033]0;", 6, out), 5);
    assert_int_equal(replay_rest(&r, out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_draws_stays),
        cmocka_unit_test(test_queries_go),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
