/* Pages scattered over the whole user address space: written, read back, executed, forked, given
 * back. What a monitor keeps for itself in the user half, or how far it can reach, shows here.
 * Usage: far_pages [SEED]
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGES 600
#define PAGE 4096ull
#define TOP 0x7ffffffff000ull
#define LOWEST 0x10000ull

static uint64_t at[PAGES];
static uint64_t seed = 1;
static volatile uint64_t current; /* the page being used */

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    const greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    printf("FAIL: page %#lx: signal %d code %d addr %p ip %#llx trap %lld error %#llx cr2 %#llx\n",
           current, sig, info->si_code, info->si_addr, r[REG_RIP], r[REG_TRAPNO], r[REG_ERR],
           r[REG_CR2]);
    _exit(1);
}

/* lea (%rdi,%rdi,2), %rax; ret */
static const uint8_t triple[] = {0x48, 0x8d, 0x04, 0x7f, 0xc3};

static int check_all(const char *when)
{
    int bad = 0;
    for (int i = 0; i < PAGES; i++) {
        if (!at[i]) {
            continue;
        }
        current = at[i];
        uint64_t got = ((uint64_t(*)(uint64_t))at[i])((uint64_t)i);
        const uint64_t *mark = (const uint64_t *)(at[i] + PAGE - 8);
        if (got != 3ull * (uint64_t)i || *mark != at[i] + (uint64_t)i) {
            printf("FAIL: %s: page at %#lx\n", when, at[i]);
            bad = 1;
        }
    }
    return bad;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
    int mapped = 0;
    for (int i = 0; i < PAGES; i++) {
        uint64_t a = (next_random() & 0x7fffffffffffull) >> (next_random() % 31) & ~(PAGE - 1);
        a = i == 0 ? TOP - PAGE : i == 1 ? LOWEST : a < LOWEST ? a + LOWEST : a;
        current = a;
        void *p = mmap((void *)a, PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (p == MAP_FAILED) {
            if (errno != EEXIST && errno != ENOMEM && errno != EPERM) {
                printf("FAIL: mmap %#lx: %s\n", a, strerror(errno));
            }
            continue;
        }
        at[i] = a;
        memcpy(p, triple, sizeof(triple));
        *(uint64_t *)(a + PAGE - 8) = a + (uint64_t)i;
        if (mprotect(p, PAGE, PROT_READ | PROT_EXEC) != 0) {
            printf("FAIL: mprotect %#lx\n", a);
        }
        mapped++;
    }
    int bad = mapped < PAGES * 9 / 10;
    bad |= check_all("first");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        _exit(check_all("in the child"));
    }
    int status;
    waitpid(child, &status, 0);
    bad |= status;
    for (int i = 0; i < PAGES; i += 2) {
        if (at[i]) {
            munmap((void *)at[i], PAGE);
            at[i] = 0;
        }
    }
    bad |= check_all("after half was unmapped");
    printf("%s\n", bad ? "bad" : "good");
    return bad != 0;
}
