/* src/host/linux/crew: who does what, in what order, and what the owner hears of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host/linux/crew.h"

#define MANY 2000u
#define WAIT_MS 10000

struct job {
    struct crew_task task; /* first */
    struct run *run;
    unsigned number;
    uint64_t busy_us;  /* work takes that long */
    sem_t *begun, *go; /* NULL, or: work says that it begins, waits until it may end */
    unsigned again;    /* done submits it so many times more */
    pthread_t worker;
    unsigned works, dones;
    bool as_it_should; /* look_around's */
};

/* A crew, and what happened. */
struct run {
    struct crew *crew;
    pthread_t owner;
    unsigned done; /* the owner's */
    struct job *last;
    struct job job[MANY];
};

static struct run *new_run(unsigned threads)
{
    struct run *r = calloc(1, sizeof(*r));
    assert_int_equal(crew_create(&r->crew), 0);
    assert_int_equal(threads ? crew_start(r->crew, threads, "a-crew") : 0, 0);
    r->owner = pthread_self();
    return r;
}

static void end_run(struct run *r)
{
    crew_destroy(r->crew);
    free(r);
}

static void work(struct crew_task *t)
{
    struct job *j = (struct job *)t;
    if (j->begun) {
        sem_post(j->begun);
    }
    while (j->go && sem_wait(j->go) && errno == EINTR) {
    }
    if (j->busy_us) {
        const struct timespec nap = {.tv_nsec = (long)j->busy_us * 1000};
        nanosleep(&nap, NULL);
    }
    j->worker = pthread_self();
    j->works++;
}

static void submit(struct run *r, struct job *j);

static void done(struct crew_task *t)
{
    struct job *j = (struct job *)t;
    struct run *r = j->run;
    assert_true(pthread_equal(pthread_self(), r->owner));
    assert_false(pthread_equal(j->worker, r->owner));
    j->dones++;
    assert_int_equal(j->works, j->dones);
    r->done++;
    r->last = j;
    if (j->again) {
        j->again--;
        submit(r, j);
    }
}

static void submit(struct run *r, struct job *j)
{
    j->task.work = j->task.work ? j->task.work : work;
    j->task.done = j->task.done ? j->task.done : done;
    j->run = r;
    j->number = (unsigned)(j - r->job);
    crew_submit(r->crew, &j->task);
}

/* Whether the bell can be read, within so many ms. */
static bool rings(const struct run *r, int ms)
{
    struct pollfd p = {.fd = crew_bell(r->crew), .events = POLLIN};
    int n = poll(&p, 1, ms);
    assert_true(n >= 0 && (n == 0 || p.revents == POLLIN));
    return n == 1;
}

static void wait_for(struct run *r, unsigned count)
{
    while (r->done < count) {
        assert_true(rings(r, WAIT_MS));
        crew_collect(r->crew);
    }
    assert_int_equal(r->done, count);
}

static void expect_once_each(const struct run *r, unsigned count)
{
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(r->job[i].works, i < count);
        assert_int_equal(r->job[i].dones, i < count);
    }
}

static void nap(unsigned ms)
{
    const struct timespec t = {.tv_nsec = (long)ms * 1000000};
    nanosleep(&t, NULL);
}

static uint64_t used_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int waiting(sem_t *s)
{
    int n;
    sem_getvalue(s, &n);
    return n;
}

/* ---- order ---- */

static void order_done(struct crew_task *t)
{
    struct job *j = (struct job *)t;
    assert_int_equal(j->number, j->run->done);
    done(t);
}

/* One thread: they end in the order they came. */
static void test_one_thread(void **state)
{
    struct run *r = new_run(1);
    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        r->job[i].task.done = order_done;
        submit(r, &r->job[i]);
    }
    wait_for(r, MANY);
    expect_once_each(r, MANY);
    end_run(r);
}

/* Several: each takes the oldest; whoever is through first is done first. */
static void test_taken_in_order(void **state)
{
    enum { THREADS = 3, JOBS = 6 };
    struct run *r = new_run(THREADS);
    sem_t begun[JOBS], go[JOBS];
    (void)state;
    nap(20); /* all asleep: each has to be woken */
    for (unsigned i = 0; i < JOBS; i++) {
        sem_init(&begun[i], 0, 0);
        sem_init(&go[i], 0, 0);
        r->job[i].begun = &begun[i];
        r->job[i].go = &go[i];
        submit(r, &r->job[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        sem_wait(&begun[i]);
    }
    static const unsigned ends[JOBS] = {1, 0, 3, 2, 5, 4};
    for (unsigned i = 0; i < JOBS; i++) {
        assert_false(rings(r, 10));
        for (unsigned later = THREADS + i; later < JOBS; later++) {
            assert_int_equal(waiting(&begun[later]), 0);
        }
        sem_post(&go[ends[i]]);
        wait_for(r, i + 1);
        assert_ptr_equal(r->last, &r->job[ends[i]]);
        if (THREADS + i < JOBS) {
            sem_wait(&begun[THREADS + i]); /* the next one */
        }
    }
    expect_once_each(r, JOBS);
    end_run(r);
}

static void test_many(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= CREW_THREADS_MAX; threads += 5) {
        struct run *r = new_run(threads);
        for (unsigned i = 0; i < MANY; i++) {
            r->job[i].busy_us = i % 50 ? 0 : 200;
            submit(r, &r->job[i]);
            if (i % 64 == 0) {
                crew_collect(r->crew);
            }
        }
        wait_for(r, MANY);
        expect_once_each(r, MANY);
        assert_false(rings(r, 0));
        end_run(r);
    }
}

/* ---- the bell ---- */

static void test_bell(void **state)
{
    struct run *r = new_run(2);
    sem_t begun, go;
    (void)state;
    sem_init(&begun, 0, 0);
    sem_init(&go, 0, 0);
    assert_false(rings(r, 0));
    crew_collect(r->crew); /* nothing is there: returns at once */
    assert_int_equal(r->done, 0);
    for (unsigned i = 0; i < 2; i++) {
        r->job[i].begun = &begun;
        r->job[i].go = &go;
        submit(r, &r->job[i]);
        sem_wait(&begun);
    }
    assert_false(rings(r, 10));
    crew_collect(r->crew); /* nor is anything that is under way */
    assert_int_equal(r->done, 0);
    sem_post(&go);
    assert_true(rings(r, WAIT_MS));
    assert_true(rings(r, 0)); /* still */
    crew_collect(r->crew);
    assert_int_equal(r->done, 1);
    assert_false(rings(r, 10));
    sem_post(&go);
    assert_true(rings(r, WAIT_MS));

    /* Several by then: one look at it, and it is silent. */
    for (unsigned i = 2; i < 20; i++) {
        submit(r, &r->job[i]);
    }
    nap(20);
    assert_int_equal(r->done, 1);
    wait_for(r, 20);
    assert_false(rings(r, 10));
    end_run(r);
}

static void bell_done(struct crew_task *t)
{
    struct job *j = (struct job *)t;
    struct run *r = j->run;
    struct job *other = &r->job[1];
    done(t);
    assert_false(rings(r, 10));
    submit(r, other);
    assert_true(rings(r, WAIT_MS)); /* finished while this one is being done */
    assert_int_equal(other->dones, 0);
}

static void test_bell_during_done(void **state)
{
    struct run *r = new_run(1);
    (void)state;
    r->job[0].task.done = bell_done;
    submit(r, &r->job[0]);
    assert_true(rings(r, WAIT_MS));
    crew_collect(r->crew);
    assert_int_equal(r->done, 1);
    assert_true(rings(r, 0));
    crew_collect(r->crew);
    expect_once_each(r, 2);
    assert_false(rings(r, 0));
    end_run(r);
}

/* ---- submitting from done, and drains ---- */

static void test_again(void **state)
{
    struct run *r = new_run(4);
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        r->job[i].again = 100;
        submit(r, &r->job[i]);
    }
    wait_for(r, 10 * 101);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(r->job[i].dones, 101);
    }
    end_run(r);
}

static void test_drain(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 100; round++) {
        struct run *r = new_run(1 + round % 5);
        const unsigned count = round % 20;
        unsigned all = 0;
        crew_drain(r->crew); /* nothing */
        for (unsigned i = 0; i < count; i++) {
            r->job[i].busy_us = (i + round) % 4 ? 0 : 1000;
            r->job[i].again = i % 3;
            all += 1 + i % 3;
            submit(r, &r->job[i]);
        }
        if (round % 2) {
            crew_collect(r->crew);
        }
        crew_drain(r->crew);
        assert_int_equal(r->done, all);
        assert_false(rings(r, 0));
        crew_drain(r->crew);
        end_run(r); /* right after */
    }
}

/* Nobody burns time while he waits. */
static void test_idle(void **state)
{
    struct run *r = new_run(4);
    uint64_t before = used_ms();
    (void)state;
    r->job[0].busy_us = 200000;
    submit(r, &r->job[0]);
    crew_drain(r->crew);
    assert_true(used_ms() - before < 50);
    end_run(r);
}

/* ---- threads ---- */

static void look_around(struct crew_task *t)
{
    struct job *j = (struct job *)t;
    char name[16] = "";
    sigset_t blocked;
    sigemptyset(&blocked);
    prctl(PR_GET_NAME, name);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    j->as_it_should = strcmp(name, "a-crew") == 0 && sigismember(&blocked, SIGTERM) == 1 &&
                      sigismember(&blocked, SIGCHLD) == 1;
    work(t);
}

/* Signals are for others; the owner's mask stays as it was. */
static void test_thread(void **state)
{
    struct run *r = new_run(2);
    sigset_t blocked;
    (void)state;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &blocked), 0);
    assert_int_equal(sigismember(&blocked, SIGTERM), 0);
    for (unsigned i = 0; i < 10; i++) {
        r->job[i].task.work = look_around;
        submit(r, &r->job[i]);
    }
    crew_drain(r->crew);
    expect_once_each(r, 10);
    for (unsigned i = 0; i < 10; i++) {
        assert_true(r->job[i].as_it_should);
    }
    end_run(r);
}

static unsigned count_threads(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        n += e->d_name[0] != '.';
    }
    closedir(d);
    return n;
}

/* One that was joined is still listed for a moment. */
static void expect_threads(unsigned count)
{
    for (unsigned i = 0; i < WAIT_MS && count_threads() != count; i++) {
        usleep(1000);
    }
    assert_int_equal(count_threads(), count);
}

static void test_life(void **state)
{
    (void)state;
    const unsigned before = 1;
    expect_threads(before); /* those of the tests before are gone */
    end_run(new_run(0));    /* never started */
    for (unsigned i = 1; i <= CREW_THREADS_MAX; i++) {
        struct run *r = new_run(i);
        expect_threads(before + i);
        end_run(r); /* never used */
        expect_threads(before);
    }
}

/* In a process of its own, with memory for about so many stacks more: how many threads it gets, or
 * the error. All tasks are done whatever it is. */
static int start_with(unsigned stacks)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct run *r = new_run(0);
        unsigned long pages = 0;
        FILE *f = fopen("/proc/self/statm", "r");
        if (!f || fscanf(f, "%lu", &pages) != 1 || fclose(f)) {
            _exit(100);
        }
        const rlim_t most = pages * 4096 + stacks * 0x24000;
        if (setrlimit(RLIMIT_AS, &(struct rlimit){most, most})) {
            _exit(101);
        }
        int rc = crew_start(r->crew, CREW_THREADS_MAX, "a-crew");
        if (rc) {
            _exit(rc == -EAGAIN || rc == -ENOMEM ? 0 : 102);
        }
        unsigned threads = count_threads() - 1;
        for (unsigned i = 0; i < 100; i++) {
            submit(r, &r->job[i]);
        }
        crew_drain(r->crew);
        unsigned all = r->done;
        end_run(r);
        _exit(all == 100 ? (int)threads : 103);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Where the host gives no more, those there are do. The first of the tests: stacks of threads that
 * ended are kept for the next. */
static void test_fewer_threads(void **state)
{
    int fewer = 0;
    (void)state;
    assert_int_equal(start_with(0), 0);
    for (unsigned stacks = 1; stacks < 10; stacks++) {
        int n = start_with(stacks);
        assert_in_range(n, 0, CREW_THREADS_MAX);
        fewer += n > 0 && n < (int)CREW_THREADS_MAX;
    }
    assert_true(fewer > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fewer_threads),  cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_taken_in_order), cmocka_unit_test(test_many),
        cmocka_unit_test(test_bell),           cmocka_unit_test(test_bell_during_done),
        cmocka_unit_test(test_again),          cmocka_unit_test(test_drain),
        cmocka_unit_test(test_idle),           cmocka_unit_test(test_thread),
        cmocka_unit_test(test_life),
    };
    alarm(100); /* a task that is lost would be waited for without end */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
