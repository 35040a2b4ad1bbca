/* Machines' directories: names, claims, states, what a crash leaves; logs. */
#include "control/json_text.h"
#include "control/vm_dir.h"
#include "control/vm_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char runtime[] = "/tmp/ring3-test-XXXXXX";
static struct vm_base base;
static struct vm_error err;

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(runtime));
    setenv("XDG_RUNTIME_DIR", runtime, 1);
    return vm_base_open(&base, true, &err);
}

static int tear_down(void **state)
{
    char command[64];
    (void)state;
    vm_base_close(&base);
    snprintf(command, sizeof(command), "rm -rf %s", runtime);
    return system(command);
}

static int claim(struct vm_dir *d, const char *name, bool fleeting)
{
    struct json_object *config = json_object_new_object();
    struct vm_dir_config cfg = {
        .name = name, .config = config, .log = true, .group = true, .fleeting = fleeting};
    json_object_object_add(config, "memory", json_object_new_int(7));
    int rc = vm_dir_claim(d, &base, &cfg, &err);
    json_object_put(config);
    return rc;
}

/* Whether anything is left in the base directory, hidden or not. */
static bool anything_left(void)
{
    char command[64];
    snprintf(command, sizeof(command), "test -n \"$(ls -A %s/ring3)\"", runtime);
    return system(command) == 0;
}

static void test_names(void **state)
{
    static const char *const good[] = {"a", "9", "web-1", "A.b_c-d",
                                       "123456789012345678901234567890123456789012345678"};
    static const char *const bad[] = {"",
                                      ".a",
                                      "-a",
                                      "_a",
                                      "a/b",
                                      "a b",
                                      "..",
                                      "a\n",
                                      "\xc3\xa4",
                                      "a:b",
                                      "1234567890123456789012345678901234567890123456789"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(vm_name_valid(good[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(vm_name_valid(bad[i]));
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void test_made_up_names_differ(void **state)
{
    static char names[4096][VM_NAME_MAX + 1];
    char numbered[VM_NAME_MAX + 1];
    (void)state;
    for (uint32_t i = 0; i < 4096; i++) {
        vm_name_make(names[i], i);
        assert_true(vm_name_valid(names[i]));
    }
    qsort(names, 4096, sizeof(names[0]), by_text);
    for (size_t i = 1; i < 4096; i++) {
        assert_string_not_equal(names[i - 1], names[i]);
    }
    vm_name_make(numbered, 0xffffffff);
    assert_true(vm_name_valid(numbered));
}

static void test_life(void **state)
{
    struct vm_dir d;
    struct vm_entry e;
    (void)state;
    assert_int_equal(claim(&d, "web", false), 0);
    assert_string_equal(d.name, "web");
    assert_int_equal(vm_look(&base, "web", &e), 0);
    assert_int_equal(e.state, VM_STARTING);
    assert_int_equal(e.pid, getpid());
    assert_true(vm_alive(&e));
    assert_false(vm_dir_was_up(&d));
    vm_dir_set_state(&d, VM_PAUSED, 0);
    assert_true(vm_dir_was_up(&d));
    assert_int_equal(vm_look(&base, "web", &e), 0);
    assert_int_equal(e.state, VM_PAUSED);
    assert_int_equal(vm_remove(&base, "web"), -EBUSY);

    struct json_object *config = vm_read_config(&base, "web"), *memory;
    assert_true(json_object_object_get_ex(config, "memory", &memory));
    assert_int_equal(json_object_get_int(memory), 7);
    json_object_put(config);

    /* Said while the monitor still holds the lock: it is about to leave. */
    vm_dir_set_state(&d, VM_EXITED, 137);
    assert_int_equal(vm_look(&base, "web", &e), 0);
    assert_true(vm_alive(&e));
    vm_dir_release(&d, false);
    assert_int_equal(vm_look(&base, "web", &e), 0);
    assert_int_equal(e.state, VM_EXITED);
    assert_int_equal(e.code, 137);
    assert_int_equal(e.pid, 0);
    assert_int_equal(vm_remove(&base, "web"), 0);
    assert_int_equal(vm_look(&base, "web", &e), -ENOENT);
    assert_int_equal(vm_remove(&base, "web"), -ENOENT);
    assert_false(anything_left());
}

static void test_a_name_is_taken_once(void **state)
{
    struct vm_dir first, second;
    (void)state;
    assert_int_equal(claim(&first, "one", false), 0);
    assert_int_equal(claim(&second, "one", false), -1);
    assert_non_null(strstr(err.text, "already"));
    vm_dir_set_state(&first, VM_EXITED, 0);
    vm_dir_release(&first, false);
    assert_int_equal(claim(&second, "one", false), -1);
    assert_non_null(strstr(err.text, "ring3 rm one"));
    assert_int_equal(vm_remove(&base, "one"), 0);
    assert_int_equal(claim(&second, "one", false), 0);
    vm_dir_release(&second, true);
    assert_false(anything_left());
}

/* Twenty processes want one name; one gets it. */
static void test_race_for_a_name(void **state)
{
    int won = 0, status;
    pid_t child[20];
    int gate[2];
    (void)state;
    assert_int_equal(pipe(gate), 0);
    for (size_t i = 0; i < ARRAY_LEN(child); i++) {
        child[i] = fork();
        if (child[i] == 0) {
            struct vm_dir d;
            char c;
            close(gate[1]);
            (void)!read(gate[0], &c, 1); /* all at once */
            int got = claim(&d, "race", false) == 0;
            usleep(300000);
            _exit(got);
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (size_t i = 0; i < ARRAY_LEN(child); i++) {
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        won += WEXITSTATUS(status);
    }
    assert_int_equal(won, 1);
    assert_int_equal(vm_remove(&base, "race"), 0);
    assert_false(anything_left());
}

static void crash(const char *name, bool fleeting)
{
    pid_t child = fork();
    if (child == 0) {
        struct vm_dir d;
        if (claim(&d, name, fleeting) == 0) {
            vm_dir_set_state(&d, VM_UP, 0);
        }
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void test_crash_leaves_dead(void **state)
{
    struct vm_entry e, *list;
    size_t count;
    (void)state;
    crash("gone", false);
    assert_int_equal(vm_look(&base, "gone", &e), 0);
    assert_int_equal(e.state, VM_DEAD);
    crash("quick", true); /* nobody will miss it */
    assert_int_equal(vm_look(&base, "quick", &e), -ENOENT);
    assert_int_equal(vm_list(&base, &list, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].name, "gone");
    free(list);
    assert_int_equal(vm_remove(&base, "gone"), 0);
    assert_false(anything_left());
}

static void test_list_is_sorted(void **state)
{
    static const char *const names[] = {"c", "a", "b"};
    struct vm_dir d[3];
    struct vm_entry *list;
    size_t count;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(claim(&d[i], names[i], false), 0);
    }
    assert_int_equal(mkdirat(base.fd, ".hidden", 0700), 0);
    assert_int_equal(vm_list(&base, &list, &count), 0);
    assert_int_equal(count, 3);
    assert_string_equal(list[0].name, "a");
    assert_string_equal(list[2].name, "c");
    free(list);
    for (size_t i = 0; i < 3; i++) {
        vm_dir_release(&d[i], true);
    }
    assert_int_equal(unlinkat(base.fd, ".hidden", AT_REMOVEDIR), 0);
    assert_false(anything_left());
}

static void test_foreign_things_are_no_machines(void **state)
{
    struct vm_entry e, *list;
    size_t count;
    (void)state;
    int fd = openat(base.fd, "file", O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(symlinkat("/etc", base.fd, "link"), 0);
    assert_int_equal(mkdirat(base.fd, "empty", 0700), 0);
    assert_int_equal(vm_list(&base, &list, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].name, "empty");
    assert_int_equal(list[0].state, VM_DEAD);
    free(list);
    assert_true(vm_look(&base, "link", &e) < 0);
    assert_true(vm_look(&base, "../x", &e) < 0);
    assert_int_equal(vm_remove(&base, "empty"), 0);
    assert_int_equal(unlinkat(base.fd, "file", 0), 0);
    assert_int_equal(unlinkat(base.fd, "link", 0), 0);
}

static void test_log_is_bounded(void **state)
{
    struct vm_dir d;
    struct vm_log log;
    struct stat st;
    char line[64];
    size_t written = 0, n = 0;
    (void)state;
    assert_int_equal(claim(&d, "log", false), 0);
    vm_log_init(&log, d.log_fd, d.old_log_fd);
    for (; written < 5u * VM_LOG_MAX / 2; n++) {
        int len = snprintf(line, sizeof(line), "line %zu\n", n);
        vm_log_write(&log, line, (size_t)len);
        written += (size_t)len;
    }
    assert_int_equal(fstat(d.old_log_fd, &st), 0);
    assert_int_equal(st.st_size, VM_LOG_MAX);
    assert_int_equal(fstat(d.log_fd, &st), 0);
    assert_int_equal((size_t)st.st_size, written - 2 * VM_LOG_MAX);
    /* the last line is the last, and nothing is missing where the files meet */
    char *both = malloc(written);
    assert_int_equal(pread(d.old_log_fd, both, VM_LOG_MAX, 0), VM_LOG_MAX);
    assert_int_equal(pread(d.log_fd, both + VM_LOG_MAX, (size_t)st.st_size, 0), st.st_size);
    size_t len = VM_LOG_MAX + (size_t)st.st_size;
    both[len - 1] = '\0';
    char *first = strchr(both, '\n') + 1;
    unsigned long number = strtoul(first + 5, NULL, 10);
    for (char *at = first; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        assert_int_equal(strtoul(at + 5, NULL, 10), number++);
    }
    assert_int_equal(number, n);
    free(both);
    /* a second writer goes on where the first stopped */
    vm_log_init(&log, d.log_fd, d.old_log_fd);
    assert_int_equal((off_t)log.size, st.st_size);
    vm_dir_release(&d, true);
}

/* ---- text ---- */

static void expect_json(const char *text, const char *json)
{
    struct json_object *o = json_text(text);
    assert_non_null(o);
    assert_string_equal(json_object_get_string(o), json);
    json_object_put(o);
}

static void test_text_that_is_no_text(void **state)
{
    (void)state;
    expect_json("", "");
    expect_json("plain", "plain");
    expect_json("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf",
                "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf");
    expect_json("a\xff", "a\xef\xbf\xbd");
    expect_json("\xc3", "\xef\xbf\xbd");
    expect_json("\xe2\x82.", "\xef\xbf\xbd\xef\xbf\xbd.");
    expect_json("\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd");                 /* overlong */
    expect_json("\xe0\x9f\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* the same */
    expect_json("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
    expect_json("\xf4\x90\x80\x80",
                "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* above U+10FFFF */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_made_up_names_differ),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_a_name_is_taken_once),
        cmocka_unit_test(test_race_for_a_name),
        cmocka_unit_test(test_crash_leaves_dead),
        cmocka_unit_test(test_list_is_sorted),
        cmocka_unit_test(test_foreign_things_are_no_machines),
        cmocka_unit_test(test_log_is_bounded),
        cmocka_unit_test(test_text_that_is_no_text),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
