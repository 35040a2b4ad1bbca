/* What `-v` takes, and what it says to mistakes. */
#include "base/log.h"
#include "share/share.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct share_config c;
static struct share_error err;

static void test_whole_and_relative_names(void **state)
{
    (void)state;
    assert_int_equal(share_parse("/usr:/mnt", 0, &c, &err), 0);
    assert_string_equal(c.source, "/usr");
    assert_string_equal(c.target, "/mnt");
    assert_string_equal(c.tag, "ring3-0");
    assert_false(c.read_only);
    char here[4096];
    assert_non_null(getcwd(here, sizeof(here)));
    assert_int_equal(share_parse(".:/mnt:ro", 7, &c, &err), 0);
    assert_string_equal(c.source, here);
    assert_string_equal(c.tag, "ring3-7");
    assert_true(c.read_only);
    assert_int_equal(share_parse("/usr:/mnt:rw", 0, &c, &err), 0);
    assert_false(c.read_only);
}

static void test_colons_in_names(void **state)
{
    char dir[] = "/tmp/ring3-share:XXXXXX";
    char arg[128];
    (void)state;
    assert_non_null(mkdtemp(dir));
    fmt_line(arg, sizeof(arg), "/tmp/ring3-share::%s:/a::b", strrchr(dir, ':') + 1);
    assert_int_equal(share_parse(arg, 0, &c, &err), 0);
    assert_string_equal(c.source, dir);
    assert_string_equal(c.target, "/a:b");
    rmdir(dir);
}

static void refused(const char *arg, const char *says)
{
    memset(&err, 0, sizeof(err));
    assert_int_equal(share_parse(arg, 0, &c, &err), -1);
    if (!strstr(err.text, says)) {
        fail_msg("%s: \"%s\" does not say \"%s\"", arg, err.text, says);
    }
    assert_null(strchr(err.text, '\n'));
}

static void test_mistakes(void **state)
{
    (void)state;
    refused("", "SRC:DST");
    refused("/usr", "SRC:DST");
    refused(":/mnt", "SRC:DST");
    refused("/usr:mnt", "absolute path in the guest");
    refused("/usr:/mnt:r", ":ro");
    refused("/usr:/mnt:ro:", ":ro");
    refused("/nowhere/at/all:/mnt", "No such file");
    refused("/proc/self/maps:/mnt", "not a directory");
    char longest[10000];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    refused(longest, "longer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_and_relative_names),
        cmocka_unit_test(test_colons_in_names),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
