/* Measuring what process groups use, and the nice values that stand for weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host/linux/cpu_meter.h"
#include "host/linux/cpu_share.h"

#define MS 1000000ull

static uint64_t own_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000 * MS + (uint64_t)t.tv_nsec;
}

static void burn(uint64_t ns)
{
    uint64_t end = own_ns() + ns;
    while (own_ns() < end) {
    }
}

/* A task: leads a group, has a child that is over and one that is not, and burns 100 ms in each. */
static pid_t start_task(int *ready_fd)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t task = fork();
    if (task == 0) {
        setpgid(0, 0);
        pid_t over = fork();
        if (over == 0) {
            burn(100 * MS);
            _exit(0);
        }
        waitpid(over, NULL, 0);
        if (fork() == 0) {
            burn(100 * MS);
            (void)!write(ready[1], "x", 1);
            pause();
        }
        burn(100 * MS);
        (void)!write(ready[1], "x", 1);
        pause();
    }
    close(ready[1]);
    *ready_fd = ready[0];
    return task;
}

static void test_task_children_and_their_past(void **state)
{
    struct cpu_meter m;
    int ready;
    char both[2];
    (void)state;
    assert_int_equal(cpu_meter_open(&m), 0);
    pid_t task = start_task(&ready);
    for (size_t got = 0; got < 2;) {
        ssize_t n = read(ready, both + got, 2 - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
    uint32_t number = cpu_meter_ask(&m);
    assert_false(cpu_meter_answered(&m, number));
    cpu_meter_set_group(&m, 0, task);
    cpu_meter_measure(&m, getpid()); /* we are the monitor */
    assert_true(cpu_meter_answered(&m, number));
    uint64_t used = cpu_meter_used(&m);
    assert_in_range(used, 285 * MS, 340 * MS);

    /* what it used before a reboot stays counted */
    kill(-task, SIGKILL);
    waitpid(task, NULL, 0);
    cpu_meter_set_group(&m, 0, 0);
    cpu_meter_measure(&m, getpid());
    assert_int_equal(cpu_meter_used(&m), used);
    close(ready);
    cpu_meter_close(&m);
}

/* The monitor names a group that is not its child's: whose, is not to be learned so. */
static void test_foreign_groups_are_not_measured(void **state)
{
    struct cpu_meter m;
    int ready;
    char c;
    (void)state;
    assert_int_equal(cpu_meter_open(&m), 0);
    pid_t task = start_task(&ready);
    assert_int_equal(read(ready, &c, 1), 1);
    cpu_meter_set_group(&m, 0, task);
    cpu_meter_set_group(&m, 1, 1);
    cpu_meter_set_group(&m, 2, -1);
    cpu_meter_set_group(&m, 3, 0x7fffffff);
    cpu_meter_measure(&m, 1); /* the monitor is somebody else */
    assert_int_equal(cpu_meter_used(&m), 0);
    kill(-task, SIGKILL);
    waitpid(task, NULL, 0);
    close(ready);
    cpu_meter_close(&m);
}

static void test_nice_values(void **state)
{
    (void)state;
    assert_int_equal(cpu_share_nice(100), 0);
    assert_int_equal(cpu_share_nice(80), 1);
    assert_int_equal(cpu_share_nice(125), -1);
    assert_int_equal(cpu_share_nice(50), 3);
    assert_int_equal(cpu_share_nice(200), -3);
    assert_int_equal(cpu_share_nice(1), 19);
    assert_int_equal(cpu_share_nice(10000), -20);
    for (unsigned w = 2; w <= 10000; w++) {
        assert_true(cpu_share_nice(w) <= cpu_share_nice(w - 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_children_and_their_past),
        cmocka_unit_test(test_foreign_groups_are_not_measured),
        cmocka_unit_test(test_nice_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
