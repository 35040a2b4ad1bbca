/* Spaces over time: kicks, being made and used again, dying. */
#include "host/space_fixture.h"

#include <sys/wait.h>

GUEST_CODE(int3_code, "int3");

/* ---- kicks ---- */

GUEST_CODE(loop_code, "1: incq (%rdi); jmp 1b");
GUEST_CODE(busy_code, "1: incq (%rdi); syscall; jmp 1b");

static void kick_timer(timer_t timer, uint64_t ns)
{
    struct itimerspec at = {.it_value = {.tv_nsec = (long)(ns ? ns : 1)}};
    timer_settime(timer, 0, &at, NULL);
}

/** Kicks at random times, into an endless loop and into one that is always on its way in or out.
 * None is lost, none ends the space, none comes back twice. */
static void test_kicks(void **state)
{
    (void)state;
    struct space *s = space_ready();
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    timer_t timer;
    unsigned kicks = 0, other = 0;
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    for (unsigned i = 0; i < 10000; i++) {
        struct space_regs r = regs_ready();
        struct space_exit x;
        bool busy = i & 1;
        code_put(busy ? busy_code : loop_code, busy ? busy_code_end : loop_code_end);
        if (i % 3 == 0) { /* a batch on the way */
            assert_int_equal(host_space_map(s, 0x20000000, DATA_OFF, 16 * PAGE_SIZE, HOST_R), 0);
        }
        test_kicked = 0;
        kick_timer(timer, test_random() % 60000);
        do {
            assert_int_equal(host_space_run(s, &r, &x), 0);
            other += x.event == SPACE_SYSCALL;
        } while (x.event == SPACE_SYSCALL && busy);
        assert_int_equal(x.event, SPACE_KICKED);
        kicks++;
    }
    timer_delete(timer);
    test_kicked = 0;
    struct space_regs r = regs_ready();
    CODE_PUT(int3_code);
    assert_int_equal(run(s, &r).vector, VEC_BP);
    printf("%u kicks, %u calls meanwhile\n", kicks, other);
    host_space_destroy(s);
}

/* ---- life and death ---- */

/** From the pool or not, a space is empty and has nothing of its last user. */
static void test_create_destroy(void **state)
{
    (void)state;
    struct space *many[32];
    uint64_t start = test_ns();
    CODE_PUT(loop_code);
    for (unsigned i = 0; i < 10000; i++) {
        struct space_regs r = regs_ready();
        struct space *s = space_ready();
        code_put(int3_code, int3_code_end);
        assert_int_equal(run(s, &r).vector, VEC_BP);
        host_space_destroy(s);
    }
    uint64_t pooled = test_ns();
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < ARRAY_LEN(many); i++) {
            struct space_regs r = regs_ready();
            assert_int_equal(host_space_create(&test_vcpu, test_home, &many[i]), 0);
            assert_int_equal(run(many[i], &r).vector, VEC_PF);
        }
        for (unsigned i = 0; i < ARRAY_LEN(many); i++) {
            host_space_destroy(many[i]);
        }
    }
    printf("create, run, destroy: %.1f us pooled, %.1f us in batches of 32\n",
           (double)(pooled - start) / 1e3 / 10000, (double)(test_ns() - pooled) / 1e3 / 320);
}

static void test_fresh_state(void **state)
{
    (void)state;
    static const uint8_t zero[256];
    struct space *s = space_ready();
    struct space_regs r = regs_ready();
    size_t len;
    CODE_PUT(int3_code);
    assert_int_equal(run(s, &r).vector, VEC_BP);
    memset(host_space_xsave(s, &len) + 160, 0x5a, 256);
    assert_int_equal(run(s, &r).vector, VEC_GP); /* the hlt after it */
    host_space_destroy(s);
    struct space *again;
    assert_int_equal(host_space_create(&test_vcpu, test_home, &again), 0);
    assert_ptr_equal(again, s);
    const uint8_t *image = host_space_xsave(again, &len);
    assert_memory_equal(image + 160, zero, sizeof(zero));
    assert_int_equal(host_space_map(again, CODE_GVA, 0, PAGE_SIZE, HOST_R | HOST_X), 0);
    r = regs_ready();
    assert_int_equal(run(again, &r).vector, VEC_BP);
    image = host_space_xsave(again, &len);
    assert_memory_equal(image + 160, zero, sizeof(zero));
    host_space_destroy(again);
}

/** The pool gives a process to a user of the same home only, and what is in the pool for one home
 * does not keep those of another from it, nor from the last slot. */
static void test_pool_of_homes(void **state)
{
    (void)state;
    unsigned other = test_home ? 0 : 1;
    struct space *s, *of_other[16];
    for (unsigned i = 0; i < ARRAY_LEN(of_other); i++) {
        assert_int_equal(host_space_create(&test_vcpu, other, &of_other[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(of_other); i++) {
        host_space_destroy(of_other[i]);
    }
    s = space_ready();
    assert_int_equal(s->home, test_home);
    struct space_host *h = s->host;
    pid_t pid = s->pid;
    host_space_destroy(s);
    s = space_ready();
    assert_int_equal(s->pid, pid);
    CODE_PUT(int3_code);
    struct space_regs r = regs_ready();
    assert_int_equal(run(s, &r).vector, VEC_BP);
    host_space_destroy(s);

    struct space **all = calloc(h->slot_count, sizeof(*all));
    assert_non_null(all);
    for (unsigned i = 0; i < h->slot_count; i++) {
        assert_int_equal(host_space_create(&test_vcpu, test_home, &all[i]), 0);
    }
    assert_int_equal(host_space_create(&test_vcpu, test_home, &s), -EAGAIN);
    assert_int_equal(h->pool_count, 0);
    for (unsigned i = 0; i < h->slot_count; i++) {
        host_space_destroy(all[i]);
    }
    free(all);
}

/** The space's process dies from outside: reported, and the next one works. */
static void test_killed_from_outside(void **state)
{
    (void)state;
    struct space *s = space_ready();
    struct space_regs r = regs_ready();
    CODE_PUT(int3_code);
    assert_int_equal(run(s, &r).vector, VEC_BP);
    kill(s->pid, SIGKILL);
    uint64_t start = test_ns();
    assert_int_equal(run(s, &r).event, SPACE_DEAD);
    assert_true(test_ns() - start < 1000000000);
    assert_int_equal(host_space_sync(s), -ESRCH);
    assert_int_equal(host_space_map(s, CODE_GVA, 0, PAGE_SIZE, HOST_R), -ESRCH);
    host_space_destroy(s);
    s = space_ready();
    r = regs_ready();
    assert_int_equal(run(s, &r).vector, VEC_BP);
    host_space_destroy(s);
}

/** What a task reports: its spaces' processes, and last its zygote's. */
struct report {
    pid_t pid[12];
};
#define REPORT_SPACES 11

static void make_and_report(void *arg)
{
    struct report found = {{0}};
    for (unsigned i = 0; i < REPORT_SPACES; i++) {
        struct space *s;
        found.pid[i] = host_space_create(&test_vcpu, i % 8, &s) == 0 ? s->pid : 0;
    }
    found.pid[REPORT_SPACES] = test_host->zygote_pid;
    (void)!write(*(const int *)arg, &found, sizeof(found));
}

/** A vCPU task that is killed takes its zygote and spaces with it. Until then all are in one
 * process group, so that one signal reaches them. */
static void test_nothing_stays(void **state)
{
    (void)state;
    int pipe_fds[2];
    struct report found = {{0}};
    bool one_group = true;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t task = fixture_task(make_and_report, &pipe_fds[1]);
    close(pipe_fds[1]);
    ssize_t n;
    while ((n = read(pipe_fds[0], &found, sizeof(found))) < 0 && errno == EINTR) {
    }
    close(pipe_fds[0]);
    for (unsigned i = 0; i < ARRAY_LEN(found.pid); i++) {
        one_group = one_group && found.pid[i] > 0 && getpgid(found.pid[i]) == getpgid(task);
    }
    kill(task, SIGKILL);
    assert_int_equal(waitpid(task, NULL, 0), task);
    assert_int_equal(n, sizeof(found));
    assert_true(one_group);
    assert_true(fixture_all_end(found.pid, ARRAY_LEN(found.pid)));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kicks),
        cmocka_unit_test(test_create_destroy),
        cmocka_unit_test(test_fresh_state),
        cmocka_unit_test(test_pool_of_homes),
        cmocka_unit_test(test_killed_from_outside),
        cmocka_unit_test(test_nothing_stays),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    alarm(300);
    int failed = 0;
    RUN_IN_HOMES(tests, failed);
    return failed;
}
