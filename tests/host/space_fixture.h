/* A vCPU with RAM and nothing else, for the tests of spaces: what host_space_* needs from the rest
 * of the program.
 *
 * Included once by each test program (it defines functions of host.h that the program would bring).
 * Guest code is written in assembly in the test, copied to RAM, and mapped where the test likes.
 */
#ifndef TESTS_HOST_SPACE_FIXTURE_H
#define TESTS_HOST_SPACE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "host/host.h"
#include "host/linux/space_priv.h"
#include "vm/vm.h"

#define RAM_SIZE (64ull << 20)
#define CODE_GVA 0x400000ull /* one page, R X, RAM 0 */
#define DATA_GVA 0x600000ull /* DATA_PAGES pages, R W, RAM DATA_OFF */
#define DATA_OFF 0x100000ull
#define DATA_PAGES 16
#define STACK_TOP (DATA_GVA + DATA_PAGES * PAGE_SIZE)

/** Guest code `name` with these assembly lines: its bytes are name to name_end. */
#define GUEST_CODE(name, lines)                                                                    \
    __asm__(".pushsection .rodata\n" #name ":\n" lines "\n" #name "_end:\n.popsection\n");         \
    extern const uint8_t name[], name##_end[]

static struct vm test_vm;
static struct vcpu test_vcpu;
static volatile int test_kicked;
static unsigned test_home; /* of the spaces made */
static struct space_host *test_host;

volatile int *host_kick_flag(const struct vcpu *v);
volatile int *host_kick_flag(const struct vcpu *v)
{
    (void)v;
    return &test_kicked;
}

void host_log(enum log_level level, const char *line)
{
    fprintf(stderr, "log %d: %s\n", (int)level, line);
}

NORETURN void host_panic(const char *line)
{
    fprintf(stderr, "panic: %s\n", line);
    abort();
}

static void on_kick_signal(int sig)
{
    (void)sig;
    test_kicked = 1;
}

static inline uint64_t test_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/** Reproducible random numbers. */
static uint64_t test_seed = 88172645463325252ull;
static inline uint64_t test_random(void)
{
    test_seed ^= test_seed << 13;
    test_seed ^= test_seed >> 7;
    return test_seed ^= test_seed << 17;
}

static inline int fixture_setup(void **state)
{
    (void)state;
    if (test_vcpu.vm) {
        return 0;
    }
    struct sigaction sa = {.sa_handler = on_kick_signal};
    sigaction(SIGUSR2, &sa, NULL);
    test_vm.ram.size = RAM_SIZE;
    test_vm.ram.fd = memfd_create("ram", MFD_CLOEXEC);
    if (test_vm.ram.fd < 0 || ftruncate(test_vm.ram.fd, (off_t)RAM_SIZE) < 0) {
        return -1;
    }
    test_vm.ram.base = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, test_vm.ram.fd, 0);
    test_vcpu.vm = &test_vm;
    test_vm.vcpu[0] = &test_vcpu;
    test_vm.cpu_count = 1;
    struct space *s;
    int err = host_space_setup(&test_vcpu);
    if (!err) {
        err = host_space_create(&test_vcpu, 0, &s);
    }
    if (err) {
        fprintf(stderr, "host_space_setup: %d\n", err);
        return err;
    }
    test_host = s->host;
    host_space_destroy(s);
    return 0;
}

/** Fork a task with a zygote of its own, which runs fn(arg) and then waits to be killed. It ends
 * with this process at the latest. */
static inline pid_t fixture_task(void (*fn)(void *), void *arg)
{
    pid_t parent = getpid(), task = fork();
    if (task == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* the place is taken, and host_space_setup wants it */
        munmap(test_host->slots, test_host->slot_count * (size_t)SLOT_SIZE + PAGE_SIZE);
        test_vcpu.vm = NULL;
        if (getppid() != parent || fixture_setup(NULL) != 0) {
            _exit(1);
        }
        fn(arg);
        for (;;) {
            pause();
        }
    }
    return task;
}

/** Wait for the end of processes, with the task that was their parent dead. Whether all ended; any
 * that did not are killed. */
static inline bool fixture_all_end(const pid_t *pids, unsigned count)
{
    uint64_t start = test_ns();
    bool all = true;
    for (unsigned i = 0; i < count; i++) {
        while (pids[i] > 0 && kill(pids[i], 0) == 0) {
            if (test_ns() - start > 3000000000u) {
                all = false;
                kill(pids[i], SIGKILL);
                break;
            }
            usleep(1000);
        }
    }
    return all;
}

static inline void code_put(const uint8_t *from, const uint8_t *end)
{
    memset(test_vm.ram.base, 0xf4, PAGE_SIZE);
    memcpy(test_vm.ram.base, from, (size_t)(end - from));
}
#define CODE_PUT(name) code_put(name, name##_end)

/** A space with code and data mapped. */
static inline struct space *space_ready(void)
{
    struct space *s;
    assert_int_equal(host_space_create(&test_vcpu, test_home, &s), 0);
    assert_int_equal(host_space_map(s, CODE_GVA, 0, PAGE_SIZE, HOST_R | HOST_X), 0);
    assert_int_equal(host_space_map(s, DATA_GVA, DATA_OFF, DATA_PAGES * PAGE_SIZE, HOST_R | HOST_W),
                     0);
    return s;
}

static inline struct space_regs regs_ready(void)
{
    struct space_regs r = {
        .rip = CODE_GVA, .rflags = RFLAGS_FIXED | RFLAGS_IF, .cs = 0x33, .ss = 0x2b};
    r.gpr[RSP] = STACK_TOP - 256;
    r.gpr[RDI] = DATA_GVA;
    return r;
}

/** Run to any event. */
static inline struct space_exit run_once(struct space *s, struct space_regs *r)
{
    struct space_exit out;
    test_kicked = 0;
    int err = host_space_run(s, r, &out);
    assert_int_equal(err, 0);
    return out;
}

/** Run to an event that is not a kick: the end of another space is one, too. */
static inline struct space_exit run(struct space *s, struct space_regs *r)
{
    struct space_exit out;
    do {
        out = run_once(s, r);
    } while (out.event == SPACE_KICKED);
    return out;
}

/** Run a group of tests in home 0, in one that is reached by a move, and in one without a desk;
 * adds the number of failures to `failed`. */
#define RUN_IN_HOMES(tests, failed)                                                                \
    do {                                                                                           \
        static const unsigned homes[] = {0, 1, 7};                                                 \
        for (unsigned i = 0; i < ARRAY_LEN(homes); i++) {                                          \
            test_home = homes[i];                                                                  \
            printf("home %u\n", test_home);                                                        \
            (failed) += cmocka_run_group_tests(tests, fixture_setup, NULL);                        \
        }                                                                                          \
    } while (0)

static inline uint64_t *data_page(unsigned page)
{
    return (uint64_t *)(test_vm.ram.base + DATA_OFF + page * PAGE_SIZE);
}

#endif
