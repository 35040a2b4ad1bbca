/* What a machine's processes see of the host: as root and as an ordinary user. Where the host allows no namespaces (a container), the tests that need them
 * are skipped, and the rest must still go on without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/linux/jail.h"
#include "host/linux/namespaces.h"

#define SKIPPED 77
#define SOME_USER 12345

/* Run fn in a child, as root (if we are) or as somebody else. Its result is 0, SKIPPED, or the line of what was wrong. */
static void in_child(int (*fn)(void), bool as_user)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        if (as_user && geteuid() == 0 && (setgroups(0, NULL) || setresgid(SOME_USER, SOME_USER, SOME_USER) || setresuid(SOME_USER, SOME_USER, SOME_USER))) {
            _exit(SKIPPED);
        }
        prctl(PR_SET_DUMPABLE, 1); /* as a program that was started by this user */
        _exit(fn());
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define CHECK(cond)               \
    do {                          \
        if (!(cond)) {            \
            return __LINE__ % 77; \
        }                         \
    } while (0)

static int files(void)
{
    char byte;
    int before = open("/etc/passwd", O_RDONLY);
    CHECK(before >= 0);
    if (!(namespaces_enter() & CLONE_NEWNS)) {
        return SKIPPED;
    }
    CHECK(open("/etc/passwd", O_RDONLY) < 0 && errno == ENOENT);
    CHECK(open("/proc/self/status", O_RDONLY) < 0 && errno == ENOENT);
    CHECK(open("../../../../etc/passwd", O_RDONLY) < 0 && errno == ENOENT);
    CHECK(open("/new", O_WRONLY | O_CREAT, 0600) < 0 && errno == EROFS);
    CHECK(mkdir("/dev/new", 0700) < 0 && errno == EROFS);
    CHECK(open("/dev/null", O_RDWR) >= 0 && open("/proc/loadavg", O_RDONLY) >= 0);
    CHECK(open("/proc/sys/vm/mmap_min_addr", O_RDONLY) >= 0);
    CHECK(read(before, &byte, 1) == 1); /* what was open stays */
    return 0;
}

static int network(void)
{
    if (!(namespaces_enter() & CLONE_NEWNET)) {
        return SKIPPED;
    }
    struct if_nameindex *list = if_nameindex();
    CHECK(list);
    for (unsigned i = 0; list[i].if_index; i++) {
        /* tunnels' templates may be there, but nothing that leads anywhere */
        CHECK(strncmp(list[i].if_name, "eth", 3) != 0 && strncmp(list[i].if_name, "en", 2) != 0);
    }
    if_freenameindex(list);
    return 0;
}

/* The child is process 1: it sees nobody, not even its parent. */
static int processes(void)
{
    bool own;
    int status = -1;
    uid_t user = geteuid();
    pid_t outside = getpid();
    (void)namespaces_enter();
    CHECK(geteuid() == user); /* also in a user namespace */
    pid_t child = namespaces_fork(&own);
    if (child == 0) {
        _exit(getpid() != 1 || getppid() != 0 || kill(outside, 0) == 0 || errno != ESRCH);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return !own ? SKIPPED : status == 0 ? 0 : __LINE__ % 77;
}

/* What a process 1 leaves behind dies with it. */
static int remains(void)
{
    bool own;
    int life[2], status;
    char byte;
    CHECK(pipe2(life, O_CLOEXEC) == 0);
    (void)namespaces_enter();
    pid_t child = namespaces_fork(&own);
    if (child == 0) {
        close(life[0]);
        if (fork() == 0) {
            setsid();
            alarm(10); /* should nothing else end it */
            pause();
        }
        _exit(0);
    }
    close(life[1]);
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (!own) {
        return SKIPPED;
    }
    CHECK(read(life[0], &byte, 1) == 0);
    return 0;
}

/* root keeps what it needs to signal tasks that have become nobody; no more. */
static int capabilities(void)
{
    const uint64_t cap_kill = 1u << 5;
    if (geteuid() != 0) {
        return SKIPPED;
    }
    pid_t other = fork();
    if (other == 0) {
        (void)!setresuid(SOME_USER, SOME_USER, SOME_USER);
        pause();
        _exit(0);
    }
    CHECK(jail_keep_capabilities(cap_kill) == 0);
    CHECK(setresuid(SOME_USER, SOME_USER, SOME_USER) < 0 && errno == EPERM);
    CHECK(chroot("/") < 0 && errno == EPERM);
    CHECK(kill(other, SIGKILL) == 0 && waitpid(other, NULL, 0) == other);
    return 0;
}

static void test_files_as_root(void **state)
{
    (void)state;
    in_child(files, false);
}

static void test_files_as_user(void **state)
{
    (void)state;
    in_child(files, true);
}

static void test_network(void **state)
{
    (void)state;
    in_child(network, false);
    in_child(network, true);
}

static void test_processes_as_root(void **state)
{
    (void)state;
    in_child(processes, false);
}

static void test_processes_as_user(void **state)
{
    (void)state;
    in_child(processes, true);
}

static void test_remains(void **state)
{
    (void)state;
    in_child(remains, false);
    in_child(remains, true);
}

static void test_capabilities(void **state)
{
    (void)state;
    in_child(capabilities, false);
}

/* Trying changes nothing here. */
static void test_try(void **state)
{
    (void)state;
    char text[64];
    unsigned flags = namespaces_try();
    assert_int_equal(flags & ~(unsigned)(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS), 0);
    assert_int_equal(access("/etc/passwd", R_OK), 0);
    namespaces_describe(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUSER, text, sizeof(text));
    assert_string_equal(text, "user,pid,net");
    namespaces_describe(0, text, sizeof(text));
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_as_root),   cmocka_unit_test(test_files_as_user), cmocka_unit_test(test_network),      cmocka_unit_test(test_processes_as_root),
        cmocka_unit_test(test_processes_as_user), cmocka_unit_test(test_remains),     cmocka_unit_test(test_capabilities), cmocka_unit_test(test_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
