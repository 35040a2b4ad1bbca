/* qcow2 and kill -9: a child writes to an image file and dies at a random moment; the image opens
 * clean, and what was flushed is there. The model lies in memory that both share.
 * RING3_TEST_ROUNDS=N: more kills.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/qcow2_impl.h"
#include "disk_model.h"

#define SECTORS 20000u
#define KILLS 300u

static struct block *open_image(const char *path)
{
    struct block_error err;
    struct block *b;
    const struct block_options o = {.vm_name = "child"};
    if (qcow2_open(path, &o, &b, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return b;
}

static void child(struct disk_model *m, const char *path)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct block *b = open_image(path);
    for (;;) {
        if (model_step(m, b)) {
            _exit(1);
        }
    }
}

static void check(const char *path, bool fix)
{
    struct block_error err;
    struct qcow2_check_result result;
    assert_int_equal(qcow2_check(path, fix, NULL, &result, &err), 0);
    assert_int_equal(result.corruptions, 0);
}

static void one_kill(struct disk_model *m, const char *path)
{
    pid_t pid = fork();
    int status;
    assert_true(pid >= 0);
    if (pid == 0) {
        child(m, path);
    }
    usleep((useconds_t)(model_random(m, 4) ? model_random(m, 8000) : model_random(m, 40000)));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    check(path, model_random(m, 16) == 0);
    struct block *b = open_image(path);
    assert_int_equal(model_verify(m, b, true), 0);
    block_close(b);
}

static void test_kill(void **state)
{
    (void)state;
    static const unsigned cluster_bits[] = {9, 12, 16};
    const char *env = getenv("RING3_TEST_ROUNDS");
    const unsigned kills = env ? (unsigned)atoi(env) : KILLS;
    uint64_t flushes = 0;
    for (unsigned i = 0; i < ARRAY_LEN(cluster_bits); i++) {
        char path[] = "/tmp/ring3-qcow2-XXXXXX";
        struct block_error err;
        const struct qcow2_create what = {.size = SECTORS * BLOCK_SECTOR,
                                          .cluster_bits = cluster_bits[i]};
        struct disk_model *m = mmap(NULL, model_size(SECTORS), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(m, MAP_FAILED);
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(qcow2_create(fd, path, &what, &err), 0);
        close(fd);
        model_init(m, SECTORS, 0, 5 + i);
        for (unsigned k = 0; k < kills / ARRAY_LEN(cluster_bits); k++) {
            one_kill(m, path);
        }
        flushes += m->flushes;
        check(path, true);
        unlink(path);
        munmap(m, model_size(SECTORS));
    }
    printf("%u kills, %llu flushes\n", kills, (unsigned long long)flushes);
    assert_true(flushes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
