/* The options of `ring3 run`, those with values and lists. */
#include "cli/cli.h"
#include "cli/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct run_options o;

/* Parse words that end with NULL. What it says goes nowhere. */
static int parse(char *first, ...)
{
    static char verb[] = "run";
    char *argv[64] = {verb};
    int argc = 1;
    va_list ap;
    va_start(ap, first);
    for (char *word = first; word; word = va_arg(ap, char *)) {
        argv[argc++] = word;
    }
    va_end(ap);
    fflush(stderr);
    int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    int rc = run_parse(argc, argv, &o);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(null);
    return rc;
}

#define W(text)                                                                                    \
    (char[])                                                                                       \
    {                                                                                              \
        text                                                                                       \
    }

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL), 0);
    assert_int_equal(o.weight, 100);
    assert_int_equal(o.cap, 0);
    assert_int_equal(o.ram_size, 256u << 20);
    assert_false(o.detach);
    assert_null(o.name);
    assert_int_equal(o.disk_count + o.net_count + o.port_count + o.share_count, 0);
}

static void test_lists_keep_their_order(void **state)
{
    (void)state;
    assert_int_equal(parse(W("-d"), W("a,ro"), W("--disk=b"), W("-d"), W("c"), W("--net"),
                           W("user"), W("--net=switch=lan"), W("-p"), W("80:8080"),
                           W("--port=1.2.3.4:5:6"), W("-v"), W("/a:/b:ro"), W("--volume"),
                           W(".:/c"), NULL),
                     0);
    assert_int_equal(o.disk_count, 3);
    assert_string_equal(o.disk[0], "a,ro");
    assert_string_equal(o.disk[1], "b");
    assert_string_equal(o.disk[2], "c");
    assert_int_equal(o.net_count, 2);
    assert_string_equal(o.net[1], "switch=lan");
    assert_int_equal(o.port_count, 2);
    assert_string_equal(o.port[1], "1.2.3.4:5:6");
    assert_int_equal(o.share_count, 2);
    assert_string_equal(o.share[1], ".:/c");
}

static void test_background(void **state)
{
    (void)state;
    assert_int_equal(parse(W("--detach"), W("--name"), W("web-1"), W("--rm"), W("--weight"),
                           W("10000"), W("--cap=6400"), W("--"), W("-d"), W("--detach"), NULL),
                     0);
    assert_true(o.detach && o.remove);
    assert_string_equal(o.name, "web-1");
    assert_int_equal(o.weight, 10000);
    assert_int_equal(o.cap, 6400);
    assert_int_equal(o.disk_count, 0); /* the guest's command has its own -d */
    assert_string_equal(o.command[0], "-d");
}

static void test_mistakes(void **state)
{
    (void)state;
    assert_int_equal(parse(W("--weight"), W("0"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--weight"), W("10001"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--weight"), W("-1"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--weight"), W("10x"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--weight"), W("18446744073709551617"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--cap"), W("0"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--cap"), W("6401"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--cap"), W("50%"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--cap"), W(""), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--name"), W("a/b"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--name"), W(""), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--name"), W(".."), NULL), CLI_USAGE);
    assert_int_equal(parse(W("-d"), W(""), NULL), CLI_USAGE);
    assert_int_equal(parse(W("-d"), W("--name"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("-d"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("-p"), W("80"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("-v"), W("--"), W("ls"), NULL), CLI_USAGE);
    assert_int_equal(parse(W("--net"), W(""), NULL), CLI_USAGE);
}

static void test_there_is_an_end(void **state)
{
    static char verb[] = "run", option[] = "-d", file[] = "x";
    char *argv[2 * RUN_DISKS_MAX + 4] = {verb};
    int argc = 1;
    (void)state;
    for (unsigned i = 0; i < RUN_DISKS_MAX; i++) {
        argv[argc++] = option;
        argv[argc++] = file;
    }
    assert_int_equal(run_parse(argc, argv, &o), 0);
    assert_int_equal(o.disk_count, RUN_DISKS_MAX);
    assert_int_equal(parse(W("-d"), W("1"), W("-d"), W("2"), W("-d"), W("3"), W("-d"), W("4"),
                           W("-d"), W("5"), W("-d"), W("6"), W("-d"), W("7"), W("-d"), W("8"),
                           W("-d"), W("9"), W("-d"), W("10"), W("-d"), W("11"), W("-d"), W("12"),
                           W("-d"), W("13"), W("-d"), W("14"), W("-d"), W("15"), W("-d"), W("16"),
                           W("-d"), W("17"), NULL),
                     CLI_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),        cmocka_unit_test(test_lists_keep_their_order),
        cmocka_unit_test(test_background),      cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_there_is_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
