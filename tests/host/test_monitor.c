/* The monitor and the vCPU task, with an engine that is a C function instead of a guest.
 *
 * Each scenario runs a monitor in a child process whose standard streams are pipes; the test sees
 * what a caller of ring3 would: output, error output, how it ended.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <elf.h>
#undef PF_W /* also an error-code bit of x86 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host/host.h"
#include "host/linux/arena.h"
#include "host/linux/monitor.h"
#include "host/linux/task.h"

#define TOKEN "abcdefghijklmnop"
#define OUTPUT_MAX (1u << 20)

/* ---- an engine ---- */

static bool fake_probe(char *why, size_t size)
{
    fmt_line(why, size, "a test");
    return true;
}

static int fake_init(struct vcpu *v)
{
    (void)v;
    return 0;
}

static void fake_fini(struct vcpu *v)
{
    (void)v;
}

static void fake_stat(struct vcpu *v, void (*emit)(void *ctx, const char *name, uint64_t value),
                      void *ctx)
{
    (void)v;
    emit(ctx, "fake.answer", 42);
    emit(ctx, "fake.large", UINT64_MAX);
}

static struct engine fake_engine(enum engine_exit (*run)(struct vcpu *v))
{
    return (struct engine){.name = "fake",
                           .probe = fake_probe,
                           .vcpu_init = fake_init,
                           .run = run,
                           .stat = fake_stat,
                           .vcpu_fini = fake_fini};
}

/* ---- a scenario ---- */

struct outcome {
    struct monitor_result result;
    char stat[256];
    uint64_t ms;
};

struct scenario {
    enum engine_exit (*run)(struct vcpu *v);
    enum console_mode mode;
    const void *input;
    size_t input_len;
    int kill_with; /* after this much time, if not 0 */
    int kill_after_ms;
    /* results */
    struct outcome *outcome; /* shared with the child */
    int wait_status;
    uint8_t *out, *err;
    size_t out_len, err_len;
};

/* A kernel that is never run: an ELF file of one loaded page. Returns its path. */
static const char *write_kernel(void)
{
    static char path[64];
    struct {
        Elf64_Ehdr e;
        Elf64_Phdr p;
    } h = {
        .e = {.e_type = ET_EXEC,
              .e_machine = EM_X86_64,
              .e_version = 1,
              .e_entry = 0x100000,
              .e_phoff = sizeof(Elf64_Ehdr),
              .e_ehsize = sizeof(Elf64_Ehdr),
              .e_phentsize = sizeof(Elf64_Phdr),
              .e_phnum = 1},
        .p = {.p_type = PT_LOAD,
              .p_flags = 7,
              .p_offset = 0,
              .p_vaddr = 0x100000,
              .p_paddr = 0x100000,
              .p_filesz = sizeof(h),
              .p_memsz = 4096,
              .p_align = 4096},
    };
    memcpy(h.e.e_ident, "\177ELF\2\1\1", 7);
    snprintf(path, sizeof(path), "/tmp/ring3-test-kernel.%d", getpid());
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&h, sizeof(h), 1, f), 1);
    fclose(f);
    return path;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* In the child: the monitor. */
static void monitor_child(struct scenario *s, const char *kernel)
{
    struct engine engine = fake_engine(s->run);
    struct monitor_config cfg = {
        .machine =
            {.kernel = kernel, .cmdline = "", .ram_size = 16 << 20, .cpus = 1, .engine = &engine},
        .console = s->mode,
        .token = s->mode == CONSOLE_PLAIN ? NULL : TOKEN,
        .stat = true,
    };
    struct monitor *m;
    struct boot_error err;
    if (monitor_open(&m, &cfg, &err)) {
        fprintf(stderr, "%s\n", err.text);
        _exit(99);
    }
    uint64_t start = now_ms();
    monitor_run(m, &s->outcome->result);
    s->outcome->ms = now_ms() - start;
    snprintf(s->outcome->stat, sizeof(s->outcome->stat), "%s", monitor_stat(m));
    monitor_close(m);
    _exit(0);
}

/* Feed and drain the child's streams until it has closed them. */
static void converse(struct scenario *s, pid_t child, int in, int out, int err)
{
    struct pollfd fds[3] = {{.fd = in, .events = POLLOUT},
                            {.fd = out, .events = POLLIN},
                            {.fd = err, .events = POLLIN}};
    size_t sent = 0;
    uint64_t start = now_ms();
    bool killed = s->kill_with == 0;
    while (fds[1].fd >= 0 || fds[2].fd >= 0) {
        if (sent == s->input_len && fds[0].fd >= 0) {
            close(in);
            fds[0].fd = -1;
        }
        int timeout = killed ? 20000 : 10;
        int n = poll(fds, 3, timeout);
        if (!killed && now_ms() - start >= (uint64_t)s->kill_after_ms) {
            kill(child, s->kill_with);
            killed = true;
        }
        assert_false(n == 0 && timeout > 10);
        if (fds[0].revents) {
            ssize_t w = write(in, (const uint8_t *)s->input + sent, s->input_len - sent);
            sent = w > 0 ? sent + (size_t)w : s->input_len;
        }
        for (int i = 1; i < 3; i++) {
            uint8_t *buf = i == 1 ? s->out : s->err;
            size_t *len = i == 1 ? &s->out_len : &s->err_len;
            if (fds[i].fd >= 0 && fds[i].revents) {
                ssize_t r = read(fds[i].fd, buf + *len, OUTPUT_MAX - *len);
                if (r <= 0) {
                    fds[i].fd = -1;
                } else {
                    *len += (size_t)r;
                }
            }
        }
    }
}

static void play(struct scenario *s)
{
    int in[2], out[2], err[2];
    const char *kernel = write_kernel();
    s->outcome =
        mmap(NULL, sizeof(*s->outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    s->out = calloc(1, OUTPUT_MAX + 1);
    s->err = calloc(1, OUTPUT_MAX + 1);
    assert_int_equal(pipe(in) | pipe(out) | pipe(err), 0);
    signal(SIGPIPE, SIG_IGN);
    pid_t child = fork();
    if (child == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        for (int i = 0; i < 2; i++) {
            close(in[i]);
            close(out[i]);
            close(err[i]);
        }
        monitor_child(s, kernel);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    converse(s, child, in[1], out[0], err[0]);
    close(out[0]);
    close(err[0]);
    assert_int_equal(waitpid(child, &s->wait_status, 0), child);
    unlink(kernel);
}

static void done(struct scenario *s)
{
    free(s->out);
    free(s->err);
    munmap(s->outcome, sizeof(*s->outcome));
}

/* ---- guests ---- */

static void say(struct vcpu *v, const char *text)
{
    host_console_write(v->vm, text, strlen(text));
}

static enum engine_exit much_output(struct vcpu *v)
{
    char line[32];
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(line, sizeof(line), "line %u\n", i);
        say(v, line);
    }
    say(v, "no newline at the end");
    vm_end(v->vm, VM_POWEROFF, 0);
    return ENGINE_KICKED;
}

static void test_output(void **state)
{
    (void)state;
    struct scenario s = {.run = much_output};
    play(&s);
    assert_int_equal(s.wait_status, 0);
    assert_int_equal(s.outcome->result.end, MONITOR_POWEROFF);
    size_t at = 0;
    for (unsigned i = 0; i < 20000; i++) {
        char line[32];
        int n = snprintf(line, sizeof(line), "line %u\n", i);
        assert_memory_equal(s.out + at, line, (size_t)n);
        at += (size_t)n;
    }
    assert_string_equal((char *)s.out + at, "no newline at the end");
    assert_int_equal(s.err_len, 0);
    assert_string_equal(s.outcome->stat, "fake.answer 42\nfake.large 18446744073709551615\n");
    done(&s);
}

static enum engine_exit marks(struct vcpu *v)
{
    static const uint8_t bytes[] = "boot noise\n\020"
                                   "1out \020\020 put\0202err\0200panic\n\020"
                                   "1tail\020x" TOKEN "2a\n";
    host_console_write(v->vm, bytes, sizeof(bytes) - 1);
    host_console_flush(v->vm);
    host_wait(v); /* until the monitor ends the machine */
    return ENGINE_HALTED;
}

static void test_streams(void **state)
{
    (void)state;
    struct scenario s = {.run = marks, .mode = CONSOLE_PIPES};
    play(&s);
    assert_int_equal(s.outcome->result.end, MONITOR_STATUS);
    assert_int_equal(s.outcome->result.code, 0x2a);
    assert_string_equal((char *)s.out, "out \020 puttail");
    assert_string_equal((char *)s.err, "boot noise\nerrpanic\n");
    done(&s);
}

static enum engine_exit almost_marks(struct vcpu *v)
{
    say(v, "a\020b \020x \020xabcdefghijklmnoX07 \020\020x end");
    vm_end(v->vm, VM_EXIT_CODE, 3);
    return ENGINE_KICKED;
}

/* Without pipes, only the machine's own token is a mark; the rest is output. */
static void test_command_mode_is_transparent(void **state)
{
    (void)state;
    struct scenario s = {.run = almost_marks, .mode = CONSOLE_COMMAND};
    play(&s);
    assert_int_equal(s.outcome->result.end, MONITOR_STATUS);
    assert_int_equal(s.outcome->result.code, 3);
    assert_string_equal((char *)s.out, "a\020b \020x \020xabcdefghijklmnoX07 \020\020x end");
    done(&s);
}

/* Takes input as the default guest's init does, and gives it back as output; ends at the end of
 * input. */
static enum engine_exit echo_input(struct vcpu *v)
{
    struct bus *ports = &v->vm->ports;
    bus_write(ports, SERIAL_PORT + 2, 1, 0x07); /* FIFO on */
    bus_write(ports, SERIAL_PORT + 4, 1, 0x0b); /* DTR, RTS, OUT2 */
    say(v, "\0201\020w");
    bool escaped = false;
    for (unsigned got = 0;;) {
        serial_poll(&v->vm->serial);
        if (!(bus_read(ports, SERIAL_PORT + 5, 1) & 1)) {
            host_console_flush(v->vm);
            host_wait(v);
            host_kick_clear(v);
            if (vm_ended(v->vm) != VM_RUNNING) {
                return ENGINE_KICKED;
            }
            continue;
        }
        uint8_t b = (uint8_t)bus_read(ports, SERIAL_PORT, 1);
        if (!escaped && b == CHANNEL_ESC) {
            escaped = true;
            continue;
        }
        if (escaped && b == CHANNEL_EOF) {
            say(v, "\020x" TOKEN "00\n");
        } else {
            uint8_t out[2] = {b, b}; /* an escape byte is sent twice */
            host_console_write(v->vm, out, b == CHANNEL_ESC ? 2 : 1);
            if (++got % CHANNEL_WINDOW == 0) {
                say(v, "\020w");
            }
        }
        escaped = false;
    }
}

static void test_input(void **state)
{
    (void)state;
    uint8_t input[50000];
    for (size_t i = 0; i < sizeof(input); i++) {
        input[i] = (uint8_t)(i % 251 < 200 ? i * 7 : CHANNEL_ESC);
    }
    struct scenario s = {
        .run = echo_input, .mode = CONSOLE_PIPES, .input = input, .input_len = sizeof(input)};
    play(&s);
    assert_int_equal(s.outcome->result.end, MONITOR_STATUS);
    assert_int_equal(s.outcome->result.code, 0);
    assert_int_equal(s.out_len, sizeof(input));
    assert_memory_equal(s.out, input, sizeof(input));
    done(&s);
}

static enum engine_exit fails(struct vcpu *v)
{
    say(v, "last words");
    vm_fail(v->vm, "the test's reason %d", 7);
    return ENGINE_FAILED;
}

static enum engine_exit hits_bug(struct vcpu *v)
{
    BUG_ON(v->index == 0);
    return ENGINE_FAILED;
}

static enum engine_exit crashes(struct vcpu *v)
{
    *(volatile int *)(uintptr_t)(v->index + 8) = 1;
    return ENGINE_FAILED;
}

static void test_bad_ends(void **state)
{
    (void)state;
    struct scenario s = {.run = fails};
    play(&s);
    assert_int_equal(s.outcome->result.end, MONITOR_GUEST_FAILED);
    assert_string_equal(s.outcome->result.reason, "the test's reason 7");
    assert_string_equal((char *)s.out, "last words");
    done(&s);

    s = (struct scenario){.run = hits_bug};
    play(&s);
    assert_int_equal(s.outcome->result.end, MONITOR_BROKEN);
    assert_non_null(strstr(s.outcome->result.reason, "v->index == 0"));
    done(&s);

    s = (struct scenario){.run = crashes};
    play(&s);
    assert_int_equal(s.outcome->result.end, MONITOR_BROKEN);
    assert_non_null(strstr(s.outcome->result.reason, "signal 11"));
    done(&s);
}

static enum engine_exit timers(struct vcpu *v)
{
    /* later than what was asked for first; earlier; none */
    for (int round = 0; round < 20; round++) {
        uint64_t start = host_time_ns();
        host_timer_set(v, start + 2000000);
        host_timer_set(v, start + (round % 2 ? 5000000 : 1000000));
        uint64_t due = start + (round % 2 ? 5000000 : 1000000);
        while (host_time_ns() < due) {
            host_wait(v);
            host_kick_clear(v);
        }
        if (host_time_ns() > due + 100000000) {
            vm_fail(v->vm, "timer late in round %d", round);
            return ENGINE_FAILED;
        }
    }
    host_timer_set(v, host_time_ns() + 1000000);
    host_timer_set(v, 0);
    host_timer_set(v, host_time_ns() + 1); /* already past */
    host_wait(v);
    if (!host_kick_clear(v)) {
        vm_fail(v->vm, "woken without a kick");
    }
    /* A kick of oneself makes the next wait return, once. */
    host_kick(v->index);
    host_kick(v->index);
    host_wait(v);
    if (!host_kick_clear(v) || host_kick_clear(v)) {
        vm_fail(v->vm, "a kick is not there exactly once");
    }
    vm_end(v->vm, VM_POWEROFF, 0);
    return ENGINE_KICKED;
}

static void test_timer(void **state)
{
    (void)state;
    struct scenario s = {.run = timers};
    play(&s);
    assert_string_equal(s.outcome->result.reason, "");
    assert_int_equal(s.outcome->result.end, MONITOR_POWEROFF);
    assert_in_range(s.outcome->ms, 60, 1000);
    done(&s);
}

static enum engine_exit spins(struct vcpu *v)
{
    for (;;) {
        __asm__ volatile("" : : "r"(v));
    }
    return ENGINE_FAILED;
}

static enum engine_exit waits(struct vcpu *v)
{
    (void)v;
    return ENGINE_HALTED;
}

static void test_signals(void **state)
{
    (void)state;
    struct scenario s = {.run = waits, .kill_with = SIGTERM, .kill_after_ms = 100};
    play(&s);
    assert_int_equal(s.outcome->result.end, MONITOR_SIGNAL);
    assert_int_equal(s.outcome->result.code, SIGTERM);
    assert_in_range(s.outcome->ms, 20, 400);
    done(&s);

    /* An engine that never looks up is killed after its grace. */
    s = (struct scenario){.run = spins, .kill_with = SIGHUP, .kill_after_ms = 100};
    play(&s);
    assert_int_equal(s.outcome->result.end, MONITOR_SIGNAL);
    assert_int_equal(s.outcome->result.code, SIGHUP);
    assert_in_range(s.outcome->ms, 400, 5000);
    done(&s);
}

/* The task holds the monitor's standard error: play() returns only when it is gone too. */
static void test_kill_leaves_nothing(void **state)
{
    (void)state;
    struct scenario s = {.run = spins, .kill_with = SIGKILL, .kill_after_ms = 50};
    uint64_t start = now_ms();
    play(&s);
    assert_true(WIFSIGNALED(s.wait_status));
    assert_in_range(now_ms() - start, 40, 2000);
    done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_command_mode_is_transparent),
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_bad_ends),
        cmocka_unit_test(test_timer),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_kill_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
