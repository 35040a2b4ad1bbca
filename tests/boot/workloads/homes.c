/* Memory where the rewriting engine keeps pages of its own (src/host/linux/space_home.c), and at
 * 0x100000: data, code, private and shared, over forks, one such place after the other and most of
 * them at once.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ull
#define MB2 0x200000ull

struct place {
    uint64_t at, size;
};

static const struct place places[] = {
    {0x100000, 0x40000},    {0x69c31a800000, MB2}, {0x5d176ec00000, MB2},
    {0xffffe000, 2 * PAGE}, {0x4a6b35e00000, MB2}, {0x27e44d200000, MB2},
};
#define PLACES (sizeof(places) / sizeof(places[0]))

static int bad;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    (void)context;
    printf("FAIL: signal %d at %p\n", sig, info->si_addr);
    _exit(1);
}

/* A function that returns its page's number and salt, and the page's address at the end. */
static void fill(const struct place *p, uint32_t salt)
{
    for (uint64_t off = 0; off < p->size; off += PAGE) {
        uint8_t *page = (uint8_t *)(p->at + off);
        uint32_t value = salt + (uint32_t)(off / PAGE);
        page[0] = 0xb8; /* mov $value, %eax; ret */
        memcpy(page + 1, &value, sizeof(value));
        page[5] = 0xc3;
        *(uint64_t *)(void *)(page + PAGE - 8) = p->at + off;
    }
}

static void check(const struct place *p, uint32_t salt, const char *when)
{
    for (uint64_t off = 0; off < p->size; off += PAGE) {
        uint32_t got = ((uint32_t(*)(void))(p->at + off))();
        uint64_t mark = *(uint64_t *)(p->at + off + PAGE - 8);
        if (got != salt + off / PAGE || mark != p->at + off) {
            printf("FAIL: %s: page at %#lx\n", when, p->at + off);
            bad = 1;
            return;
        }
    }
}

static void map(const struct place *p, int how)
{
    void *got = mmap((void *)p->at, p->size, PROT_READ | PROT_WRITE | PROT_EXEC,
                     how | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != (void *)p->at) {
        printf("FAIL: mmap at %#lx: %s\n", p->at, strerror(errno));
        bad = 1;
    }
}

/* Run in a child: p as it is, then changed. */
static void in_child(const struct place *p, uint32_t salt, int depth)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        check(p, salt, "in the child");
        if (depth) {
            in_child(p, salt, depth - 1);
        }
        fill(p, salt + 1000);
        check(p, salt + 1000, "in the child, changed");
        fflush(stdout);
        _exit(bad);
    }
    int status = 1;
    waitpid(child, &status, 0);
    bad |= status != 0;
}

static void one(const struct place *p, uint32_t salt)
{
    map(p, MAP_PRIVATE);
    for (uint64_t off = 0; off < p->size; off += 8) {
        if (*(uint64_t *)(p->at + off)) {
            printf("FAIL: not fresh at %#lx\n", p->at + off);
            bad = 1;
            break;
        }
    }
    fill(p, salt);
    check(p, salt, "private");
    in_child(p, salt, 1);
    check(p, salt, "after the child");
    munmap((void *)p->at, p->size);
    map(p, MAP_SHARED);
    fill(p, salt);
    in_child(p, salt, 0);
    check(p, salt + 1000, "shared");
    munmap((void *)p->at, p->size);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    const int signals[] = {SIGSEGV, SIGBUS, SIGILL};
    for (int i = 0; i < 3; i++) {
        sigaction(signals[i], &sa, NULL);
    }
    for (unsigned i = 0; i < PLACES; i++) {
        one(&places[i], 10 * i);
    }
    for (unsigned i = 0; i < PLACES - 1; i++) { /* all but the last at once */
        map(&places[i], MAP_PRIVATE);
        fill(&places[i], 10 * i);
    }
    for (unsigned i = 0; i < PLACES - 1; i++) {
        in_child(&places[i], 10 * i, 1);
        check(&places[i], 10 * i, "together");
    }
    munmap((void *)places[1].at, places[1].size);
    one(&places[PLACES - 1], 7);
    for (unsigned i = 2; i < PLACES - 1; i++) {
        check(&places[i], 10 * i, "at last");
    }
    printf("%s\n", bad ? "bad" : "good");
    return bad;
}
