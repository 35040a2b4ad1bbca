/* Spaces whose guest code attacks them: it may end its own space, and nothing else.
 *
 * Each attack ends in one of two ways: an event that guest code may cause anyway, or a dead space.
 * After each, the process has the mappings that were ordered and no others, memory it was not given
 * is untouched, and what was unmapped is never written again.
 */
#include "host/space_fixture.h"

#include <fcntl.h>
#include <sys/wait.h>

#define CANARY_OFF (RAM_SIZE / 2) /* never mapped */
#define CANARY_LEN (1ull << 20)
#define TEST_NS 4000000000ull /* for tests that try until time is up */
#define ROUNDS 80             /* for those that count */
#define CALL_LEN 2            /* of a system call instruction */

static unsigned events_seen[SPACE_DEAD + 1];

static void canary_set(void)
{
    memset(test_vm.ram.base + CANARY_OFF, 0xc5, CANARY_LEN);
}

static void canary_check(void)
{
    static uint8_t good[PAGE_SIZE];
    memset(good, 0xc5, sizeof(good));
    for (uint64_t off = 0; off < CANARY_LEN; off += PAGE_SIZE) {
        assert_memory_equal(test_vm.ram.base + CANARY_OFF + off, good, PAGE_SIZE);
    }
}

/** Whether the process maps, outside the stub's pages, only [CODE_GVA, 1 page) and the data pages
 * from RAM's right places. Not possible for other users' (undumpable) processes: true then. */
static bool mappings_right(const struct space *s)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)s->pid);
    FILE *f = fopen(path, "r");
    bool right = true;
    while (f && fgets(line, sizeof(line), f)) {
        unsigned long from, to, off;
        char prot[5];
        if (sscanf(line, "%lx-%lx %4s %lx", &from, &to, prot, &off) != 4) {
            continue;
        }
        bool stub = (from >= s->base && to <= s->base + SPACE_RESERVED) ||
                    (s->desk_gva && from == s->desk_gva && to == from + SPACE_DESK_SIZE &&
                     !strcmp(prot, "r--s"));
        bool code =
            from == CODE_GVA && to == CODE_GVA + PAGE_SIZE && off == 0 && !strcmp(prot, "r-xs");
        bool data = from == DATA_GVA && to == STACK_TOP && off == DATA_OFF && !strcmp(prot, "rw-s");
        bool vsyscall = from == 0xffffffffff600000;
        if (!stub && !code && !data && !vsyscall) {
            fprintf(stderr, "mapping that nobody ordered: %s", line);
            right = false;
        }
    }
    if (f) {
        fclose(f);
    }
    return right;
}

/** After an attack: the space is dead or as it was ordered, and can still be used. */
static struct space *aftermath(struct space *s, struct space_exit x)
{
    events_seen[x.event]++;
    if (x.event != SPACE_DEAD) {
        assert_true(mappings_right(s));
        if (test_random() % 8) {
            return s;
        }
    }
    host_space_destroy(s);
    return space_ready();
}

/* ---- system calls ---- */

GUEST_CODE(call64, "syscall");
GUEST_CODE(call32, "int $0x80");

/** Every number, in every ABI, with arguments that would do harm: all of them are events. */
static void test_direct_calls(void **state)
{
    (void)state;
    struct space *s = space_ready();
    for (unsigned abi = 0; abi < 3; abi++) {
        code_put(abi == 2 ? call32 : call64, abi == 2 ? call32_end : call64_end);
        for (uint64_t nr = 0; nr < 480; nr++) {
            struct space_regs r = regs_ready();
            r.gpr[RAX] = nr | (abi == 1 ? 0x40000000u : 0);
            r.gpr[RDI] = r.gpr[RBX] = (nr & 1) ? 0 : DATA_GVA;
            r.gpr[RSI] = r.gpr[RCX] = PAGE_SIZE;
            r.gpr[RDX] = 7;
            r.gpr[R10] = 0x32;
            uint64_t rax = r.gpr[RAX];
            struct space_exit x = run(s, &r);
            if (nr == 336 && abi == 0 && r.gpr[RAX] == (uint64_t)-ENXIO) {
                continue; /* uprobe: shown to no filter, and of no effect */
            }
            if (x.event != (abi == 2 ? SPACE_INT80 : SPACE_SYSCALL)) {
                fail_msg("abi %u call %lu: event %d vector %d rip %lx", abi, (unsigned long)nr,
                         (int)x.event, x.vector, (unsigned long)r.rip);
            }
            assert_int_equal(r.gpr[RAX], rax);
        }
    }
    assert_true(mappings_right(s));
    host_space_destroy(s);
}

/* ---- jumping into the stub ---- */

/** Registers that make trouble: pointers into everything, selectors of the stub's calls, tokens'
 * shapes. */
static uint64_t nasty(const struct space *s)
{
    static const uint64_t values[] = {0,  1,   8,   9,   10,    11,         12,       15,
                                      24, 202, 231, 243, ~0ull, 1ull << 63, PAGE_SIZE};
    uint64_t base = s->base;
    switch (test_random() % 8) {
    case 0: return values[test_random() % ARRAY_LEN(values)];
    case 1: return base + SPACE_ALT + (test_random() % s->host->alt_size & ~7ull);
    case 2: return base + SPACE_SH + test_random() % 80;
    case 3: return base + SPACE_CTL + test_random() % 80;
    case 4: return DATA_GVA + (test_random() % (DATA_PAGES * PAGE_SIZE) & ~7ull);
    case 5: return base + test_random() % SPACE_CODE_SIZE;
    case 6: return base + SPACE_ALT + s->frame_off;
    default: return test_random();
    }
}

static struct space_regs nasty_regs(const struct space *s, uint64_t rip)
{
    static const uint64_t flags[] = {0,         RFLAGS_TF, RFLAGS_DF,
                                     RFLAGS_AC, RFLAGS_NT, RFLAGS_NT | RFLAGS_AC | RFLAGS_DF};
    struct space_regs r = regs_ready();
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        r.gpr[i] = nasty(s);
    }
    r.rflags |= flags[test_random() % ARRAY_LEN(flags)] | (test_random() & RFLAGS_ARITH);
    r.fs_base = DATA_GVA;
    r.gs_base = s->base + SPACE_SH;
    if (test_random() % 8 == 0) {
        r.ds = r.es = 0x2b;
    }
    r.rip = rip;
    return r;
}

static void kick_later(timer_t timer, uint64_t ns)
{
    struct itimerspec at = {.it_value = {.tv_nsec = (long)ns}};
    timer_settime(timer, 0, &at, NULL);
}

/** Every byte of the stub's page as an entry, with registers and flags that make trouble. A space
 * that waits there for a command is kicked (so it lives), or never hears of it. */
static void test_jump_everywhere(void **state)
{
    (void)state;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    timer_t timer;
    struct space *s = space_ready();
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    canary_set();
    CODE_PUT(call64);
    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t at = 0; at < stub_at(0, stub_high) + 16; at++) {
            struct space_regs r = nasty_regs(s, s->base + at);
            struct space_exit x;
            if (test_random() % 4 == 0) { /* with a batch on the way, so the gate was just used */
                (void)!host_space_map(s, DATA_GVA, DATA_OFF, DATA_PAGES * PAGE_SIZE,
                                      HOST_R | HOST_W);
            }
            test_kicked = 0;
            kick_later(timer, 200000 + test_random() % 100000);
            assert_int_equal(host_space_run(s, &r, &x), 0);
            kick_later(timer, 0);
            s = aftermath(s, x);
        }
    }
    timer_delete(timer);
    canary_check();
    host_space_destroy(s);
}

/* ---- pretending to be stopped ---- */

/* The words of struct space_sh and space_ctl as assembly sees them, with r15 at sh. */
#define FORGE_EVENT "incl 4(%r15); lock incl (%r15)\n"
#define CTL_SEQ_WORD "-0xb000(%r15)"
_Static_assert(SPACE_SH - SPACE_CTL == 0xb000 && SH_EVENTS == 4 && SH_BELL == 0,
               "as written above");

/** Write a page for ever; after `rbx` rounds, claim an event. */
GUEST_CODE(forge_event, "1: incq (%rdi); dec %rbx; jnz 1b\n" FORGE_EVENT "2: incq (%rdi); jmp 2b");
/** The same, and claim that each command was carried out. */
GUEST_CODE(forge_done, "1: incq (%rdi); dec %rbx; jnz 1b\n" FORGE_EVENT
                       "2: incq (%rdi); mov " CTL_SEQ_WORD ", %eax; mov %eax, 8(%r15)\n"
                       "movl $0, 12(%r15); lock incl (%r15); jmp 2b");
/** The same, and claim a failed operation. */
GUEST_CODE(forge_error, "1: incq (%rdi); dec %rbx; jnz 1b\n" FORGE_EVENT
                        "2: incq (%rdi); movl $-12, 12(%r15); mov " CTL_SEQ_WORD ", %eax\n"
                        "mov %eax, 8(%r15); lock incl (%r15); jmp 2b");
/** Claim an event; when a command comes, go to rsi. */
GUEST_CODE(forge_jump, "mov " CTL_SEQ_WORD ", %eax\n" FORGE_EVENT
                       "1: incq (%rdi); cmp " CTL_SEQ_WORD ", %eax; je 1b; jmp *%rsi");

/** Let the forger run up to its false event, then take its page away: afterwards the page must stay
 * as it is. Returns what became of it. */
static int forger_loses_page(struct space *s, const uint8_t *code, const uint8_t *end,
                             struct space_regs *r)
{
    volatile uint64_t *page = data_page(0);
    code_put(code, end);
    r->gpr[RDI] = DATA_GVA;
    r->gpr[RBX] = 2000;
    r->gpr[R15] = s->base + SPACE_SH;
    r->rip = CODE_GVA;
    struct space_exit x = run_once(s, r);
    if (x.event == SPACE_DEAD) {
        return -ESRCH;
    }
    int err = host_space_unmap(s, DATA_GVA, DATA_PAGES * PAGE_SIZE);
    if (!err) {
        err = host_space_sync(s);
    }
    uint64_t value = *page;
    usleep(2000);
    assert_int_equal(*page, value);
    assert_true(err == 0 || err == -ESRCH);
    return err;
}

static void test_forged_stop(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct space *s = space_ready();
        struct space_regs r = regs_ready();
        uint64_t start = test_ns();
        assert_int_equal(forger_loses_page(s, forge_event, forge_event_end, &r), -ESRCH);
        printf("forger killed after %.1f ms\n", (double)(test_ns() - start) / 1e6);
        host_space_destroy(s);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct space *s = space_ready();
        struct space_regs r = regs_ready();
        bool done = i & 1;
        assert_int_equal(forger_loses_page(s, done ? forge_done : forge_error,
                                           done ? forge_done_end : forge_error_end, &r),
                         -ESRCH);
        host_space_destroy(s);
    }
}

GUEST_CODE(honest_write, "incq (%rdi)");

/** With the gate open, enter the stub at offset at with registers that make trouble. Whether the
 * task's operations were done. */
static bool forged_entry(uint64_t at)
{
    struct space *s = space_ready();
    struct space_regs r = regs_ready();
    CODE_PUT(call64);
    struct space_exit x = run(s, &r); /* so there is a frame */
    r = nasty_regs(s, CODE_GVA);
    r.rflags &= ~(uint64_t)RFLAGS_TF;
    r.gpr[RSI] = s->base + at;
    bool done = forger_loses_page(s, forge_jump, forge_jump_end, &r) == 0;
    if (done) {
        /* Parked, though perhaps with a stack of its own: it must take the registers it is given.
         */
        CODE_PUT(honest_write);
        r = regs_ready();
        r.gpr[RBX] = 39;
        x = run_once(s, &r);
        assert_int_equal(x.event, SPACE_PAGE_FAULT);
        assert_int_equal(x.cr2, DATA_GVA);
        assert_int_equal(r.gpr[RBX], 39);
    }
    host_space_destroy(s);
    return done;
}

/** Whoever enters an open gate carries out the task's operations and nothing else, or dies. */
static void test_forged_gate(void **state)
{
    (void)state;
    unsigned obedient = 0, tries = 0;
    uint64_t low = stub_at(0, stub_low), size = stub_at(0, stub_high) - low;
    canary_set();
    for (uint64_t start = test_ns(); test_ns() - start < TEST_NS; tries++) {
        uint64_t at = tries % 3 ? low + test_random() % size : stub_at(0, stub_gate);
        obedient += forged_entry(at);
    }
    canary_check();
    printf("at the open gate: %u of %u obedient\n", obedient, tries);
    assert_true(obedient > 0 && obedient < tries);
}

/** As above with TF on: set by popf before the jump, so that the first instruction inside traps. */
GUEST_CODE(forge_trap, "mov " CTL_SEQ_WORD ", %eax\n" FORGE_EVENT
                       "1: incq (%rdi); cmp " CTL_SEQ_WORD ", %eax; je 1b; pushq $0x302; popf\n"
                       "jmp *%rsi");
static void test_trapped_gate(void **state)
{
    (void)state;
    const uint8_t *const places[] = {stub_ip_get, stub_ip_op, stub_ip_done};
    for (unsigned i = 0; i < 8 * ARRAY_LEN(places); i++) {
        struct space *s = space_ready();
        struct space_regs r = regs_ready();
        CODE_PUT(call64);
        (void)run(s, &r);
        r = regs_ready();
        r.gpr[RSI] = stub_at(s->base, places[i % ARRAY_LEN(places)]) - (i & 1 ? CALL_LEN : 0);
        assert_int_equal(forger_loses_page(s, forge_trap, forge_trap_end, &r), -ESRCH);
        host_space_destroy(s);
    }
}

/* ---- guessing ---- */

/** The gate's calls with a wrong token end the process at the first attempt. */
static void test_wrong_token(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        struct space *s = space_ready();
        struct space_regs r = regs_ready();
        uint64_t guess = test_random();
        CODE_PUT(call64);
        (void)run(s, &r);
        r = regs_ready();
        bool done = i & 1;
        r.gpr[RAX] = done ? 8 : i & 2 ? 9 : 11;
        r.gpr[RDI] = done ? (uint64_t)s->gate_fd : 0x30000000;
        r.gpr[RSI] = done ? guess & 0x7fffffff00000000 : PAGE_SIZE;
        r.gpr[RDX] = done ? guess << 32 : 3;
        r.gpr[R10] = (guess << 32) | MAP_SHARED | MAP_FIXED;
        r.gpr[R8] = (guess & 0x7fffffff00000000) | (uint64_t)test_vm.ram.fd;
        r.rip = stub_at(s->base, done ? stub_ip_done : stub_ip_op) - CALL_LEN;
        assert_int_equal(run(s, &r).event, SPACE_DEAD);
        host_space_destroy(s);
    }
}

/* ---- leaving something for the next user ---- */

/** Take part in parking with a stack of one's own, and with selectors and frames prepared: the next
 * user of the process starts with the registers it is given all the same. */
static void test_inheritance(void **state)
{
    (void)state;
    unsigned same = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct space *s = space_ready(), *next;
        struct space_regs r = regs_ready();
        CODE_PUT(forge_jump);
        r.gpr[RSP] = i & 1 ? DATA_GVA + 0x4000 : s->base + SPACE_ALT + 0x1000;
        r.gpr[RSI] = stub_at(s->base, stub_ip_wake); /* the wait for a command */
        r.gpr[R12] = 1;
        r.gpr[R15] = s->base + SPACE_SH;
        r.gs_base = 0x1234000;
        struct space_exit x = run_once(s, &r);
        assert_true(x.event != SPACE_DEAD);
        pid_t pid = s->pid;
        host_space_destroy(s);
        assert_int_equal(host_space_create(&test_vcpu, test_home, &next), 0);
        same += next->pid == pid;
        r = regs_ready();
        for (unsigned g = 0; g < GPR_COUNT; g++) {
            r.gpr[g] = test_random();
        }
        struct space_regs was = r;
        x = run(next, &r);
        assert_int_equal(x.event, SPACE_PAGE_FAULT);
        assert_int_equal(x.cr2, CODE_GVA);
        assert_memory_equal(&r, &was, sizeof(r));
        host_space_destroy(next);
    }
    printf("process used again %u of %u times\n", same, ROUNDS);
    assert_true(same > ROUNDS / 2);
}

/* ---- garbage in shared memory ---- */

/** Fill sh and the signal stack with garbage, then claim an event: whatever the task believes, it
 * survives. */
GUEST_CODE(garbage, "mov " CTL_SEQ_WORD ", %r8d; mov %rsi, %rdi; mov $4600, %ecx\n"
                    "1: imul $0x5851f42d, %rax, %rax; add $0x14057b7f, %rax; mov %rax, (%rdi)\n"
                    "add $8, %rdi; dec %ecx; jnz 1b\n"
                    "mov %rbx, 32(%r15); mov %edx, 24(%r15)\n" FORGE_EVENT "2: cmp " CTL_SEQ_WORD
                    ", %r8d; je 2b; ud2");
static void test_garbage(void **state)
{
    (void)state;
    static const uint64_t signals[] = {4, 5, 7, 8, 10, 11, 31, 99};
    canary_set();
    for (unsigned i = 0; i < 500; i++) {
        struct space *s = space_ready();
        struct space_regs r = regs_ready();
        CODE_PUT(garbage);
        r.gpr[RAX] = test_random();
        r.gpr[R15] = s->base + SPACE_SH;
        r.gpr[RSI] = s->base + SPACE_SH + (i & 1 ? 64 : SPACE_SH_SIZE);
        r.gpr[RBX] = i & 2 ? nasty(s) : s->base + SPACE_ALT + (test_random() % 24000 & ~7ull);
        r.gpr[RDX] = signals[test_random() % ARRAY_LEN(signals)];
        struct space_exit x = run_once(s, &r);
        events_seen[x.event]++;
        size_t len;
        if (x.event != SPACE_DEAD) {
            const uint8_t *image = host_space_xsave(s, &len);
            assert_true(image >= s->alt && image + len <= s->alt + s->host->alt_size);
            int err = host_space_run(s, &r, &x);
            assert_true(err == 0 || err == -EINVAL);
        }
        host_space_destroy(s);
    }
    canary_check();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct_calls), cmocka_unit_test(test_jump_everywhere),
        cmocka_unit_test(test_forged_stop),  cmocka_unit_test(test_forged_gate),
        cmocka_unit_test(test_trapped_gate), cmocka_unit_test(test_wrong_token),
        cmocka_unit_test(test_inheritance),  cmocka_unit_test(test_garbage),
    };
    const char *seed = getenv("SEED");
    test_seed = seed ? strtoull(seed, NULL, 0) : test_ns() | 1;
    printf("seed %llu\n", (unsigned long long)test_seed);
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    alarm(400);
    int failed = 0;
    RUN_IN_HOMES(tests, failed);
    printf("events:");
    for (unsigned i = 0; i < ARRAY_LEN(events_seen); i++) {
        printf(" %u", events_seen[i]);
    }
    printf(" (calls, int80, call32, page faults, exceptions, cpuid, kicked, dead)\n");
    return failed;
}
