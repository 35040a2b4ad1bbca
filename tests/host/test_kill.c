/* ring3 kill against monitors that end meanwhile, or do not listen: who is asked to go is given the
 * time for it, and is killed only if he does not use it. The monitor is a process of ours. */
#include "cli/cli.h"
#include "cli/vms.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEAVING_US 300000 /* how long a launcher is at work after its monitor */

/* main.c has it, which tests do without. */
const struct cli_verb *cli_find_verb(const char *name)
{
    (void)name;
    return NULL;
}

static const char full[] = "{\"ok\":false,\"error\":\"too many clients at a time\"}\n";

/* What the monitor does with whom it hears: says this (NULL: hangs up), and whether it goes then.
 */
struct manners {
    const char *answer;
    bool goes;
};

static void be_monitor(const struct vm_base *base, const struct manners *m, int ready)
{
    struct vm_dir d;
    struct vm_error err;
    struct json_object *config = json_object_new_object();
    struct vm_dir_config cfg = {.name = "box", .config = config};
    if (vm_dir_claim(&d, base, &cfg, &err)) {
        _exit(1);
    }
    vm_dir_set_state(&d, VM_UP, 0);
    (void)!write(ready, "", 1);
    for (int fd = -1; fd < 0;) {
        fd = accept(d.listen_fd, NULL, NULL);
        char line[256];
        usleep(1000);
        if (fd >= 0 && m->answer) {
            (void)!read(fd, line, sizeof(line));
            (void)!write(fd, m->answer, strlen(m->answer));
        }
        close(fd);
    }
    usleep(m->goes ? LEAVING_US : 60 * 1000000);
    vm_dir_set_state(&d, VM_EXITED, CLI_KILLED);
    vm_dir_release(&d, false);
    _exit(0);
}

/* Kill such a one; how it is afterwards. */
static struct vm_entry end(const struct manners *m)
{
    int ready[2], status;
    char byte;
    struct vms v = {.verb = "kill"};
    struct vm_entry e;
    struct vm_error err;
    assert_int_equal(vm_base_open(&v.base, true, &err), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t monitor = fork();
    if (monitor == 0) {
        be_monitor(&v.base, m, ready[1]);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(vm_look(&v.base, "box", &e), 0);
    assert_int_equal(kill_machine(&v, &e), 0);
    assert_int_equal(vm_look(&v.base, "box", &e), 0);
    assert_int_equal(waitpid(monitor, &status, 0), monitor);
    assert_int_equal(vm_remove(&v.base, "box"), 0);
    close(ready[0]);
    close(ready[1]);
    vm_base_close(&v.base);
    return e;
}

static void expect_exited(const struct manners *m)
{
    struct vm_entry e = end(m);
    assert_int_equal(e.state, VM_EXITED);
    assert_int_equal(e.code, CLI_KILLED);
}

static void test_one_that_is_ending(void **state)
{
    (void)state;
    expect_exited(&(struct manners){.goes = true});
    expect_exited(&(struct manners){
        .answer = "{\"ok\":false,\"error\":\"the machine is ending\"}\n", .goes = true});
    expect_exited(&(struct manners){.answer = full, .goes = true});
    expect_exited(&(struct manners){.answer = "{\"ok\":true}\n", .goes = true});
}

static void test_one_that_does_not_go(void **state)
{
    (void)state;
    struct vm_entry e = end(&(struct manners){.answer = full});
    assert_int_equal(e.state, VM_DEAD);
}

static int set_up(void **state)
{
    static char path[] = "/tmp/ring3-test-XXXXXX";
    *state = path;
    return mkdtemp(path) && setenv("XDG_RUNTIME_DIR", path, 1) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    char base[64];
    snprintf(base, sizeof(base), "%s/ring3", (const char *)*state);
    return rmdir(base) || rmdir(*state) ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_is_ending),
        cmocka_unit_test(test_one_that_does_not_go),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
