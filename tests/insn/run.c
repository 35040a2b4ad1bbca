/* Running batches of cases in children, and what to do with a case that fails: minimise it and
 * print it. */
#include "insn/layout.h"

#include "host/linux/arena.h"
#include "host/linux/task.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SHARED_ADDR 0x7000000000ull /* in no one's way, below the engine's window */
#define STALL_MS 3000
#define FAILURES_MAX 8
#define WHY_SIZE 4096

uint64_t run_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t run_env(const char *name, uint64_t dflt)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : dflt;
}

struct batch *run_batch_alloc(void)
{
    static uint64_t next = SHARED_ADDR;
    void *at = mmap((void *)next, sizeof(struct batch), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    next += align_up(sizeof(struct batch), PAGE_SIZE);
    return at == MAP_FAILED ? NULL : at;
}

void run_init(int argc, char **argv)
{
    (void)argc;
    char why[256];
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(TASK_KICK_SIGNAL, SIG_IGN); /* until the engine takes it */
    if (!host_bt_probe(why, sizeof(why))) {
        printf("%s\n", why);
        exit(77);
    }
    image_init();
    int rc = engine_create();
    if (rc) {
        fprintf(stderr, "%s: cannot make a machine: %s\n", argv[0], strerror(-rc));
        exit(1);
    }
}

/* ---- children ---- */

/* Send kicks to pid at random times until killed. */
NORETURN static void kicker(pid_t pid)
{
    uint64_t x = (uint64_t)getpid() * 0x9e3779b97f4a7c15ull;
    for (;;) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        for (volatile unsigned spin = 0; spin < (x & 0x1fff); spin++) {
        }
        if (kill(pid, TASK_KICK_SIGNAL)) {
            _exit(0);
        }
    }
}

/* Wait for pid; kill it when it makes no progress. True: it was killed so. */
static bool wait_child(struct batch *b, pid_t pid, int *status)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool stalled = false;
    for (unsigned seen = ~0u; poll(&p, 1, STALL_MS) <= 0;) {
        unsigned now = __atomic_load_n(&b->next, __ATOMIC_RELAXED);
        if (now == seen) {
            kill(pid, SIGKILL);
            stalled = true;
            break;
        }
        seen = now;
    }
    close(fd);
    waitpid(pid, status, 0);
    return stalled;
}

/* One side's results; a case that ends the child is recorded, the rest goes on in a new one. */
static void run_side(struct batch *b, NORETURN void (*child)(struct batch *), struct result *res,
                     bool rain)
{
    memset(res, 0, b->count * sizeof(*res));
    b->next = 0;
    while (b->next < b->count) {
        unsigned from = b->next;
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) {
            child(b);
        }
        pid_t cloud = rain ? fork() : -1;
        if (cloud == 0) {
            kicker(pid);
        }
        bool stalled = wait_child(b, pid, &status);
        if (cloud > 0) {
            kill(cloud, SIGKILL);
            waitpid(cloud, NULL, 0);
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && b->next > from) {
            continue; /* all done, or this machine's end */
        }
        if (b->next >= b->count) {
            break;
        }
        struct result *r = &res[b->next++];
        r->status = stalled ? RESULT_TIMEOUT : RESULT_DIED;
        snprintf(r->why, sizeof(r->why), "the process %s (%s %d) %.100s",
                 stalled ? "hangs" : "died", WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), ARENA->panic);
    }
}

void run_batch(struct batch *b, enum kick kick)
{
    for (unsigned i = 0; i < b->count; i++) {
        case_assemble(&b->c[i], i);
    }
    ARENA->panic[0] = '\0';
    run_side(b, native_child, b->native, false);
    b->kick = kick;
    run_side(b, engine_child, b->engine, kick == KICK_RAIN);
}

/* ---- failures ---- */

static bool fails(struct batch *one, const struct insn_case *c, enum kick kick, char *why)
{
    for (unsigned tries = kick == KICK_RAIN ? 200 : 1; tries; tries--) {
        one->count = 1;
        one->c[0] = *c;
        run_batch(one, kick);
        if (case_compare(one, 0, why, WHY_SIZE) == DIFFERENT) {
            return true;
        }
    }
    return false;
}

static struct insn_case without(const struct insn_case *c, unsigned k)
{
    struct insn_case d = *c;
    d.count--;
    memmove(&d.ins[k], &d.ins[k + 1], (d.count - k) * sizeof(d.ins[0]));
    for (unsigned i = 0; i < d.count; i++) {
        d.ins[i].target -= d.ins[i].target > k;
    }
    for (unsigned i = 0; i < d.poke_count; i++) {
        d.poke[i].target -= d.poke[i].target > (int)k;
    }
    return d;
}

/* Drop instructions as long as the case still fails. */
static void minimise(struct insn_case *c, enum kick kick, char *why)
{
    struct batch *one = run_batch_alloc();
    char *text = malloc(WHY_SIZE);
    for (bool again = one && text; again;) {
        again = false;
        for (unsigned k = c->count; k-- > 0;) {
            struct insn_case d = without(c, k);
            if (fails(one, &d, kick, text)) {
                *c = d;
                memcpy(why, text, WHY_SIZE);
                again = true;
            }
        }
    }
    case_assemble(c, 0);
    free(text);
    munmap(one, sizeof(*one));
}

static void disassemble(const struct insn_case *c)
{
    char command[256], line[256];
    int fd = memfd_create("code", 0);
    if (fd < 0 || write(fd, c->bytes, c->len) != c->len) {
        return;
    }
    snprintf(command, sizeof(command),
             "objdump -D -b binary -m i386:x86-64 -M intel --adjust-vma=%#llx /proc/%d/fd/%d "
             "2>/dev/null",
             (unsigned long long)c->gpc, (int)getpid(), fd);
    FILE *f = popen(command, "r");
    while (f && fgets(line, sizeof(line), f)) {
        if (line[0] == ' ' || (line[0] == 'f' && line[1] == 'f')) {
            printf("  %s", line);
        }
    }
    if (f) {
        pclose(f);
    }
    close(fd);
}

/* In the form fixed.c wants it. */
static void print_case(const struct insn_case *c)
{
    disassemble(c);
    printf("    {.code = %u, .start = %#x, .rflags = %#llx, .gs = %#llx, .fs = %#llx, .fpu = %u,\n "
           "    .gpr = {",
           c->code, c->start, (unsigned long long)c->rflags, (unsigned long long)c->gs,
           (unsigned long long)c->fs, c->fpu);
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        printf("%s%#llx",
               i == 0  ? ""
               : i % 6 ? ", "
                       : ",\n             ",
               (unsigned long long)c->gpr[i]);
    }
    printf("},\n     .len = %u, .bytes = {", c->len);
    for (unsigned i = 0; i < c->len; i++) {
        printf("%s0x%02x", i ? ", " : "", c->bytes[i]);
    }
    printf("}");
    for (unsigned i = 0; i < c->poke_count; i++) {
        printf("%s{%#llx, %#llx, -1}", i ? ", " : ",\n     .poke = {",
               (unsigned long long)c->poke[i].gva, (unsigned long long)c->poke[i].value);
    }
    printf(c->poke_count ? "}, .poke_count = %u},\n" : "},\n", c->poke_count);
}

static void report(const struct batch *b, unsigned i, enum kick kick, char *why)
{
    struct insn_case c = b->c[i];
    if (c.name) {
        printf("FAILED: %s\n%s", c.name, why);
        print_case(&c);
        return;
    }
    printf("FAILED: SEED=%#llx COUNT=1\n", (unsigned long long)c.seed);
    struct batch *one = run_batch_alloc();
    char *text = malloc(WHY_SIZE);
    if (fails(one, &c, kick, text)) {
        memcpy(why, text, WHY_SIZE);
        minimise(&c, kick, why);
    } else {
        printf("  (only as number %u of its batch)\n", i);
    }
    printf("%s", why);
    print_case(&c);
    free(text);
    munmap(one, sizeof(*one));
}

/* Whether case i differs in a batch of its own, too. */
static bool differs_alone(const struct batch *b, unsigned i, enum kick kick)
{
    static char why[WHY_SIZE];
    struct batch *one = run_batch_alloc();
    if (!one) {
        return true;
    }
    bool yes = fails(one, &b->c[i], kick, why);
    munmap(one, sizeof(*one));
    return yes;
}

void run_judge(struct batch *b, enum kick kick, struct tally *t)
{
    static char why[WHY_SIZE];
    bool spoilt = false;
    for (unsigned i = 0; i < b->count; i++) {
        enum verdict verdict = case_compare(b, i, why, sizeof(why));
        if (verdict == DIFFERENT && spoilt && !differs_alone(b, i, kick)) {
            verdict = SKIPPED_NATIVE;
        }
        spoilt |= case_spoils(b, i);
        switch (verdict) {
        case SKIPPED_NATIVE: t->native_skipped++; break;
        case SKIPPED_UNSUPPORTED: t->unsupported++; break;
        case SKIPPED_FORBIDDEN: t->forbidden++; break;
        case DIFFERENT:
            if (t->failed++ < FAILURES_MAX) {
                report(b, i, kick, why);
            }
            break;
        default:
            t->run++;
            t->traps[b->native[i].vector & 31]++;
            break;
        }
    }
}

void run_tally(const struct tally *t)
{
    printf("%u sequences equal, %u not; skipped: %u not run natively, %u beyond comparing, %u with "
           "operands the engine refuses\n",
           t->run, t->failed, t->native_skipped, t->forbidden, t->unsupported);
    printf("ended in:");
    for (unsigned i = 0; i < 32; i++) {
        if (t->traps[i]) {
            printf(" #%u %u", i, t->traps[i]);
        }
    }
    printf("\n");
}

int run_random(uint64_t seed, uint64_t count, uint64_t ms, enum kick kick)
{
    struct tally t = {0};
    struct batch *b = run_batch_alloc();
    uint64_t end = run_ms() + ms, done = 0;
    printf("SEED=%#llx\n", (unsigned long long)seed);
    while (b && (!count || done < count) && run_ms() < end && t.failed < FAILURES_MAX) {
        b->count = (unsigned)(count ? min_u64(count - done, BATCH_MAX) : BATCH_MAX);
        for (unsigned i = 0; i < b->count; i++) {
            case_generate(&b->c[i], seed + done + i);
        }
        run_batch(b, kick);
        run_judge(b, kick, &t);
        done += b->count;
    }
    run_tally(&t);
    bool idle = t.run == 0 || t.native_skipped > (t.run + 20) / 5;
    return t.failed || idle ? 1 : 0;
}
