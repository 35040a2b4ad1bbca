/* Network disks against nbdkit and qemu-nbd over unix sockets: data, errors, servers that go and
 * come back. Skipped without them. The helper is the one in the build folder.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "block/block.h"
#include "block/nbd_proto.h"
#include "disk_model.h"

#define SKIPPED 77
#define POLICY "nbdkit -f -U s --filter=blocksize-policy memory 8M blocksize-error-policy=error"
#define QEMU_NBD                                                                                   \
    "qemu-img create -q -f qcow2 image 8M && exec qemu-nbd -k $PWD/s -t -f qcow2 "                 \
    "--discard=unmap --detect-zeroes=unmap image"
#define SECTORS 16384u /* 8 MB */

static char folder[] = "/tmp/ring3-nbd-XXXXXX";
static char uri[128];
static unsigned reports;
static char last_report[256];

static void on_report(void *ctx, const char *line)
{
    (void)ctx;
    reports++;
    snprintf(last_report, sizeof(last_report), "%s", line);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool listens(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
    close(fd);
    return yes;
}

/** Start a server on the socket s in the scratch folder; waits until it listens. command:
 * run by the shell, in the folder. */
static pid_t serve(const char *command)
{
    char socket_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    snprintf(socket_path, sizeof(socket_path), "%s/s", folder);
    unlink(socket_path);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char line[600];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(line, sizeof(line), "exec %s", command);
        if (chdir(folder) == 0) {
            execl("/bin/sh", "sh", "-c", line, NULL);
        }
        _exit(127);
    }
    for (unsigned i = 0; !listens(socket_path); i++) {
        assert_true(i < 500 && waitpid(pid, NULL, WNOHANG) == 0);
        usleep(10000);
    }
    return pid;
}

static void stop(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static struct block *open_disk(bool read_only)
{
    struct block_error err;
    struct block *b;
    const struct block_options o = {.read_only = read_only, .report = on_report};
    reports = 0;
    if (nbd_open(uri, &o, &b, &err)) {
        printf("%s\n", err.text);
        fail();
    }
    return b;
}

static const char *open_error(bool read_only)
{
    static struct block_error err;
    struct block *b;
    const struct block_options o = {.read_only = read_only};
    assert_int_equal(nbd_open(uri, &o, &b, &err), -1);
    assert_null(strchr(err.text, '\n'));
    return err.text;
}

static struct disk_model *new_model(uint64_t seed)
{
    struct disk_model *m = malloc(model_size(SECTORS));
    assert_non_null(m);
    model_init(m, SECTORS, 0, seed);
    return m;
}

static void test_data(void **state)
{
    static const char *const servers[] = {
        "exec nbdkit -f -U s memory 8M",
        "exec nbdkit -f -U s --filter=nozero memory 8M",
        "exec " POLICY " blocksize-minimum=512 blocksize-preferred=4096 blocksize-maximum=32768",
        QEMU_NBD,
        "exec nbdkit -f -U s --filter=noextents memory 8M",
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(servers); i++) {
        char command[512];
        snprintf(command, sizeof(command), "sh -c '%s'", servers[i]);
        pid_t pid = serve(command);
        struct disk_model *m = new_model(i);
        struct block *b = open_disk(false);
        struct block_run run[BLOCK_RUNS_MAX];
        assert_int_equal(b->size, SECTORS * BLOCK_SECTOR);
        assert_int_equal(block_locate(b, 0, 4096, run, BLOCK_RUNS_MAX), 0); /* it lies elsewhere */
        for (unsigned step = 0; step < 300; step++) {
            assert_int_equal(model_step(m, b), 0);
        }
        assert_int_equal(model_verify(m, b, false), 0);
        assert_int_equal(block_write_zeroes(b, 0, b->size, true), 0);
        if (i != 1 && i != 4) {
            assert_true(block_zero_run(b, 0, b->size) > 0);
        }
        block_close(b);
        assert_int_equal(reports, 0);
        b = open_disk(true);
        assert_int_equal(block_write_zeroes(b, 0, 512, true), -EROFS);
        block_close(b);
        free(m);
        stop(pid);
    }
}

/** The server answers with errors for a while. */
static void test_server_errors(void **state)
{
    (void)state;
    uint8_t buf[4096] = {1};
    char path[128];
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    pid_t pid = serve(
        "nbdkit -f -U s --filter=error memory 8M error=ENOSPC error-rate=100% error-file=bad");
    struct block *b = open_disk(false);
    snprintf(path, sizeof(path), "%s/bad", folder);
    assert_int_equal(block_write(b, 0, &vec, 1), 0);
    fclose(fopen(path, "w"));
    assert_int_equal(block_write(b, 0, &vec, 1), -ENOSPC);
    assert_int_equal(block_read(b, 0, &vec, 1), -ENOSPC);
    unlink(path);
    assert_int_equal(block_read(b, 0, &vec, 1), 0);
    assert_int_equal(buf[0], 1);
    block_close(b);
    stop(pid);
}

/** A server that dies and comes back with nothing of what was not flushed: nobody notices. */
static void test_server_returns(void **state)
{
    (void)state;
    pid_t pid = serve("nbdkit -f -U s memory 8M");
    struct disk_model *m = new_model(9);
    struct block *b = open_disk(false);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 40; i++) {
            assert_int_equal(
                model_write(m, b, model_random(m, SECTORS - 200), 1 + model_random(m, 150)), 0);
        }
        pid_t old = pid;
        kill(old,
             round & 1
                 ? SIGTERM
                 : SIGKILL); /* SIGTERM: it answers that it shuts down, and waits for us to go */
        pid = serve("nbdkit -f -U s memory 8M");
        assert_int_equal(model_verify(m, b, false), 0); /* memory: all of it was written again */
        assert_int_equal(waitpid(old, NULL, 0), old);
        assert_int_equal(reports, round + 1);
        assert_non_null(strstr(last_report, "is back"));
    }
    block_close(b);
    free(m);
    stop(pid);
}

/** Written more than the helper keeps: it flushed by itself, so a server that loses only what was
 * not flushed loses nothing. */
static void test_long_without_flush(void **state)
{
    (void)state;
    static uint8_t buf[1u << 20];
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    pid_t pid = serve("sh -c 'truncate -s 64M file; exec nbdkit -f -U s --filter=cache file file "
                      "cache=writeback'");
    struct block *b = open_disk(false);
    for (unsigned i = 0; i < 64; i++) {
        memset(buf, (int)i + 1, sizeof(buf));
        assert_int_equal(block_write(b, (uint64_t)i << 20, &vec, 1), 0);
    }
    stop(pid);
    pid = serve("nbdkit -f -U s --filter=cache file file cache=writeback");
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(block_read(b, (uint64_t)i << 20, &vec, 1), 0);
        assert_int_equal(buf[4711], i + 1);
    }
    block_close(b);
    stop(pid);
}

/** A server that stays away: errors after a bounded time, quick ones from then on; and when it is
 * back all goes on. */
static void test_server_gone(void **state)
{
    (void)state;
    uint8_t buf[512] = {7};
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    pid_t pid = serve("nbdkit -f -U s memory 8M");
    struct block *b = open_disk(false);
    assert_int_equal(block_write(b, 512, &vec, 1), 0);
    stop(pid);
    double begin = seconds();
    assert_int_equal(block_write(b, 1024, &vec, 1), -EIO);
    assert_true(seconds() - begin > 3 && seconds() - begin < 10);
    assert_non_null(strstr(last_report, "server is gone"));
    begin = seconds();
    assert_int_equal(block_flush(b), -EIO);
    assert_int_equal(block_read(b, 0, &vec, 1), -EIO);
    assert_true(seconds() - begin < 3);
    pid = serve("nbdkit -f -U s memory 8M");
    assert_int_equal(block_flush(b), 0);
    assert_non_null(strstr(last_report, "is back"));
    buf[0] = 0;
    assert_int_equal(block_read(b, 512, &vec, 1), 0);
    assert_int_equal(buf[0], 7); /* what no flush had kept */
    stop(pid);
    pid = serve("nbdkit -f -U s memory 4M"); /* another disk at the same address */
    assert_int_equal(block_read(b, 512, &vec, 1), -EIO);
    block_close(b);
    stop(pid);
}

static void test_refusals(void **state)
{
    (void)state;
    pid_t pid = serve("nbdkit -f -U s -r memory 8M");
    assert_non_null(strstr(open_error(false), "add ,ro"));
    block_close(open_disk(true));
    stop(pid);
    assert_non_null(strstr(open_error(false), "no connection"));
    pid = serve("nbdkit -f -U s --filter=truncate memory 8M truncate=1000");
    assert_non_null(strstr(open_error(false), "not a multiple of 512"));
    stop(pid);
    pid = serve("nbdkit -f -U s --filter=blocksize-policy memory 8M blocksize-minimum=4096 "
                "blocksize-preferred=4096 "
                "blocksize-maximum=1M blocksize-error-policy=error");
    assert_non_null(strstr(open_error(false), "4096 bytes at least"));
    stop(pid);
    pid = serve(
        "nbdkit -f -U s sh - <<'END'\ncase $1 in get_size) echo 1M;; pread) dd if=/dev/zero bs=$3 "
        "count=1 2>/dev/null;; "
        "can_write) exit 0;; pwrite) cat >/dev/null;; can_flush) exit 3;; *) exit 2;; esac\nEND");
    struct block *b = open_disk(false);
    assert_int_equal(reports, 1);
    assert_non_null(strstr(last_report, "cannot flush"));
    block_close(b);
    stop(pid);
}

/** Our children that are helpers; 0: none. */
static pid_t find_helper(void)
{
    DIR *proc = opendir("/proc");
    pid_t found = 0;
    for (struct dirent *e = readdir(proc); e; e = readdir(proc)) {
        char path[64], line[256] = "", name[64];
        int parent;
        snprintf(path, sizeof(path), "/proc/%.20s/stat", e->d_name);
        FILE *f = fopen(path, "r");
        if (f && fgets(line, sizeof(line), f) &&
            sscanf(line, "%*d (%63[^)]) %*c %d", name, &parent) == 2) {
            found = strcmp(name, "ring3-nbd") == 0 && parent == getpid() ? atoi(e->d_name) : found;
        }
        if (f) {
            fclose(f);
        }
    }
    closedir(proc);
    return found;
}

static void test_helper_dies(void **state)
{
    (void)state;
    uint8_t buf[512];
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    pid_t pid = serve("nbdkit -f -U s memory 8M");
    struct block *b = open_disk(false);
    pid_t helper = find_helper();
    assert_true(helper > 0);
    kill(helper, SIGKILL);
    assert_int_equal(block_read(b, 0, &vec, 1), -EIO);
    assert_int_equal(block_write(b, 0, &vec, 1), -EIO);
    assert_int_equal(block_flush(b), -EIO);
    assert_int_equal(reports, 1);
    block_close(b);
    b = open_disk(false); /* and it is gone when the disk is closed */
    assert_true(find_helper() > 0);
    block_close(b);
    assert_int_equal(find_helper(), 0);
    stop(pid);
}

/** Whoever opened the disk is killed: the helper goes too. */
static void test_parent_dies(void **state)
{
    (void)state;
    int ends[2];
    pid_t helper = 0, server = serve("nbdkit -f -U s memory 8M");
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)open_disk(false);
        helper = find_helper();
        (void)!write(ends[1], &helper, sizeof(helper));
        for (;;) {
            pause();
        }
    }
    assert_int_equal(read(ends[0], &helper, sizeof(helper)), sizeof(helper));
    assert_true(helper > 0 && kill(helper, 0) == 0);
    stop(pid);
    char path[64], state_letter = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)helper);
    for (unsigned i = 0; i < 300; i++, usleep(10000)) {
        FILE *f = fopen(path, "r");
        if (!f) {
            state_letter = 'X';
            break;
        }
        (void)!fscanf(f, "%*d (%*[^)]) %c", &state_letter);
        fclose(f);
        if (state_letter == 'Z') {
            break; /* nobody reaps it here */
        }
    }
    assert_true(state_letter == 'X' || state_letter == 'Z');
    close(ends[0]);
    close(ends[1]);
    stop(server);
}

/** The server is stopped: it takes connections and requests, and answers none. */
static void test_server_silent(void **state)
{
    (void)state;
    uint8_t buf[512] = {3};
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    pid_t pid = serve("nbdkit -f -U s memory 8M");
    struct block *b = open_disk(false);
    assert_int_equal(block_write(b, 0, &vec, 1), 0);
    assert_int_equal(block_flush(b), 0);
    assert_int_equal(block_read(b, 0, &vec, 1), 0);
    kill(pid, SIGSTOP);
    double begin = seconds();
    block_close(b); /* all is flushed: there is nothing to ask for */
    assert_true(seconds() - begin < 2);
    assert_int_equal(reports, 0);
    stop(pid);
}

static pid_t start_helper(int *fd)
{
    char path[PATH_MAX];
    int pair[2];
    snprintf(path, sizeof(path), "%s/ring3-nbd", getenv("RING3_LIBEXEC"));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(pair[1], NBD_FD);
        fcntl(NBD_FD, F_SETFD, 0);
        execl(path, "ring3-nbd", NULL);
        _exit(127);
    }
    close(pair[1]);
    *fd = pair[0];
    return pid;
}

static void say(int fd, enum nbd_op op, uint64_t off, const void *data, size_t len)
{
    const struct nbd_request r = {.op = op, .off = off, .len = len};
    assert_int_equal(send(fd, &r, sizeof(r), 0), sizeof(r));
    assert_int_equal(data ? send(fd, data, len, 0) : (ssize_t)len, len);
}

/** ring3 goes, in the midst of a request that a silent server does not answer: so does the helper,
 * at once, and what the server had answered is there. how: of shutdown(2); -1: it closes. */
static void leave_midst(enum nbd_op op, int how)
{
    static uint8_t buf[65536];
    struct nbd_opened opened;
    struct nbd_reply reply;
    int fd, status;
    pid_t server = serve("nbdkit -f -U s memory 8M"), helper = start_helper(&fd);
    say(fd, NBD_OPEN, 0, uri, strlen(uri));
    assert_int_equal(recv(fd, &opened, sizeof(opened), MSG_WAITALL), sizeof(opened));
    memset(buf, 5, sizeof(buf));
    say(fd, NBD_WRITE, 0, buf, sizeof(buf));
    assert_int_equal(recv(fd, &reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
    assert_int_equal(reply.error, 0);
    kill(server, SIGSTOP);
    say(fd, op, sizeof(buf), op == NBD_WRITE ? buf : NULL, op == NBD_FLUSH ? 0 : sizeof(buf));
    usleep(100000);
    assert_int_equal(waitpid(helper, &status, WNOHANG), 0);
    double begin = seconds();
    assert_int_equal(how >= 0 ? shutdown(fd, how) : close(fd), 0);
    while (waitpid(helper, &status, WNOHANG) == 0) {
        assert_true(seconds() - begin < 2);
        usleep(1000);
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    kill(server, SIGCONT);
    struct block *b = open_disk(true);
    memset(buf, 0, sizeof(buf));
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    assert_int_equal(block_read(b, 0, &vec, 1), 0);
    assert_true(buf[0] == 5 && memcmp(buf, buf + 1, sizeof(buf) - 1) == 0);
    block_close(b);
    if (how >= 0) {
        close(fd);
    }
    stop(server);
}

static void test_ring3_leaves(void **state)
{
    (void)state;
    leave_midst(NBD_WRITE, -1);
    leave_midst(NBD_READ, SHUT_RDWR);
    leave_midst(NBD_FLUSH, SHUT_WR);
    leave_midst(NBD_ZERO, -1);
}

static int begin(void **state)
{
    char exe[PATH_MAX] = "";
    (void)state;
    if (!getenv("RING3_LIBEXEC") && readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0) {
        setenv("RING3_LIBEXEC", dirname(dirname(dirname(exe))), 1); /* BUILD/tests/unit/test_nbd */
    }
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s/s", folder);
    return 0;
}

static int end(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),           cmocka_unit_test(test_server_errors),
        cmocka_unit_test(test_server_returns), cmocka_unit_test(test_long_without_flush),
        cmocka_unit_test(test_server_gone),    cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_helper_dies),    cmocka_unit_test(test_parent_dies),
        cmocka_unit_test(test_server_silent),  cmocka_unit_test(test_ring3_leaves),
    };
    if (system("nbdkit --version >/dev/null 2>&1 && qemu-nbd --version >/dev/null 2>&1")) {
        printf("nbdkit and qemu-nbd are not installed\n");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, begin, end);
}
