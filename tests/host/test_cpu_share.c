/* Weights and caps: nice values, the control group of this host if one can be made, and what is
 * said when a task cannot enter it. What they do to machines: tests/boot/cpu_share*.sh. */
#include "host/linux/cpu_share.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void nice_values(void **state)
{
    (void)state;
    assert_int_equal(cpu_share_nice(100), 0);
    assert_int_equal(cpu_share_nice(200), -3);
    assert_int_equal(cpu_share_nice(300), -5);
    assert_int_equal(cpu_share_nice(50), 3);
    assert_int_equal(cpu_share_nice(1), 19);
    assert_int_equal(cpu_share_nice(10000), -20);
    for (unsigned w = 1; w < 10000; w++) {
        assert_true(cpu_share_nice(w) >= cpu_share_nice(w + 1));
    }
}

static void nothing_asked(void **state)
{
    (void)state;
    struct cpu_share s;
    char why[256];
    cpu_share_open(&s, "test", CPU_SHARE_DEFAULT, 0, false);
    assert_int_equal(s.group.enter_fd, -1);
    assert_false(cpu_share_falls_short(&s, why, sizeof(why)));
    assert_false(cpu_share_missed(&s, why, sizeof(why)));
    cpu_share_close(&s);
}

/* Whether a child that enters finds the group's name among its own. */
static bool child_is_inside(const struct cpu_share *s)
{
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        char text[4096];
        cpu_share_enter(s);
        int fd = open("/proc/self/cgroup", O_RDONLY);
        ssize_t n = read(fd, text, sizeof(text) - 1);
        text[n > 0 ? n : 0] = '\0';
        _exit(strstr(text, strrchr(s->group.path, '/')) == NULL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status == 0;
}

static void open_one(struct cpu_share *s)
{
    cpu_share_open(s, "test", 300, 20, false);
    if (s->group.enter_fd < 0) {
        cpu_share_close(s);
        skip();
    }
}

static void group(void **state)
{
    (void)state;
    struct cpu_share s;
    struct stat st;
    char why[256], path[CPU_GROUP_PATH];
    open_one(&s);
    snprintf(path, sizeof(path), "%s", s.group.path);
    assert_true(s.group.caps);
    assert_false(cpu_share_falls_short(&s, why, sizeof(why)));
    assert_true(child_is_inside(&s));
    assert_false(cpu_share_missed(&s, why, sizeof(why)));
    cpu_share_close(&s);
    assert_int_not_equal(stat(path, &st), 0);
}

/* A task's process, not ours, notices; we are told. */
static void group_that_cannot_be_entered(void **state)
{
    (void)state;
    struct cpu_share s;
    char why[256] = "";
    open_one(&s);
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(dup2(other, s.group.enter_fd) >= 0);
    close(other);
    assert_false(child_is_inside(&s));
    assert_true(cpu_share_missed(&s, why, sizeof(why)));
    assert_non_null(strstr(why, "control group"));
    assert_null(strchr(why, '\n'));
    cpu_share_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nice_values),
        cmocka_unit_test(nothing_asked),
        cmocka_unit_test(group),
        cmocka_unit_test(group_that_cannot_be_entered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
