/* The whole vector state across context switches, signals and system calls.
 * Two processes and two threads in each fill every register that the processor has (zmm, mask, ymm
 * or xmm) with their own pattern and look, over and over, that it is still there; between looks
 * they make system calls, fault, and are interrupted by a timer whose handler dirties the same
 * registers. MXCSR and the x87 control word are told apart, too.
 */
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct state {
    uint8_t zmm[32][64];
    uint64_t k[8];
    uint32_t mxcsr;
    uint16_t fcw;
} __attribute__((aligned(64)));

static int has_avx512, has_avx;

#define EACH8(x, a, b, c, d, e, f, g, h) x(a) x(b) x(c) x(d) x(e) x(f) x(g) x(h)
#define LOW16(x) EACH8(x, 0, 1, 2, 3, 4, 5, 6, 7) EACH8(x, 8, 9, 10, 11, 12, 13, 14, 15)
#define HIGH16(x) EACH8(x, 16, 17, 18, 19, 20, 21, 22, 23) EACH8(x, 24, 25, 26, 27, 28, 29, 30, 31)
#define IN(n, insn, reg) insn " " #n "*64(%0), %%" reg #n "\n"
#define OUT(n, insn, reg) insn " %%" reg #n ", " #n "*64(%1)\n"
#define ZIN(n) IN(n, "vmovdqu64", "zmm")
#define ZOUT(n) OUT(n, "vmovdqu64", "zmm")
#define YIN(n) IN(n, "vmovdqu", "ymm")
#define YOUT(n) OUT(n, "vmovdqu", "ymm")
#define XIN(n) IN(n, "movdqu", "xmm")
#define XOUT(n) OUT(n, "movdqu", "xmm")
#define KIN(n) "kmovq 2048+" #n "*8(%0), %%k" #n "\n"
#define KOUT(n) "kmovq %%k" #n ", 2048+" #n "*8(%1)\n"
#define CONTROL_IN "ldmxcsr 2112(%0)\n fldcw 2116(%0)\n"
#define CONTROL_OUT "stmxcsr 2112(%1)\n fnstcw 2116(%1)\n"

_Static_assert(sizeof(struct state) == 2176 && __builtin_offsetof(struct state, mxcsr) == 2112,
               "as the assembly has it");

enum middle { SPIN, SYSCALL, FAULT, MIDDLES };

/* What happens while the registers hold the pattern. */
#define MIDDLE                                                                                     \
    "cmpl $1, %2\n jb 2f\n ja 3f\n"                                                                \
    "movl $24, %%eax\n syscall\n jmp 4f\n" /* sched_yield */                                       \
    "2: movl $20000, %%ecx\n 1: loop 1b\n jmp 4f\n"                                                \
    "3: incb (%3)\n" /* a page not yet touched */                                                  \
    "4:\n"

#define CLOBBERS "rax", "rcx", "r11", "memory"

/* Load all registers from *in, do the middle, store them to *out. */
static void through(const struct state *in, struct state *out, enum middle middle, uint8_t *page)
{
    if (has_avx512) {
        __asm__ volatile(LOW16(ZIN) HIGH16(ZIN) EACH8(KIN, 0, 1, 2, 3, 4, 5, 6, 7)
                             CONTROL_IN MIDDLE LOW16(ZOUT) HIGH16(ZOUT)
                                 EACH8(KOUT, 0, 1, 2, 3, 4, 5, 6, 7) CONTROL_OUT "vzeroupper\n"
                         :
                         : "r"(in), "r"(out), "r"(middle), "r"(page)
                         : CLOBBERS);
    } else if (has_avx) {
        __asm__ volatile(LOW16(YIN) CONTROL_IN MIDDLE LOW16(YOUT) CONTROL_OUT "vzeroupper\n"
                         :
                         : "r"(in), "r"(out), "r"(middle), "r"(page)
                         : CLOBBERS);
    } else {
        __asm__ volatile(LOW16(XIN) CONTROL_IN MIDDLE LOW16(XOUT) CONTROL_OUT
                         :
                         : "r"(in), "r"(out), "r"(middle), "r"(page)
                         : CLOBBERS);
    }
    uint32_t usual = 0x1f80;
    __asm__ volatile("ldmxcsr %0\n fninit" : : "m"(usual));
}

static void pattern(struct state *s, uint64_t seed)
{
    memset(s, 0, sizeof(*s));
    size_t width = has_avx512 ? 64 : has_avx ? 32 : 16;
    for (int r = 0; r < (has_avx512 ? 32 : 16); r++) {
        for (size_t i = 0; i < width; i++) {
            s->zmm[r][i] = (uint8_t)(seed * 7 + (uint64_t)r * 31 + i * 3);
        }
    }
    for (int r = 0; has_avx512 && r < 8; r++) {
        s->k[r] = seed * 0x9e3779b97f4a7c15 + (uint64_t)r;
    }
    s->mxcsr = 0x1f80 | (uint32_t)(seed & 3) << 13; /* rounding */
    s->fcw = (uint16_t)(0x37f | (seed & 3) << 10);
}

static volatile uint64_t ticks;

static void on_tick(int sig)
{
    (void)sig;
    ticks++;
    if (has_avx512) {
        __asm__ volatile(LOW16(ZIN) HIGH16(ZIN) EACH8(KIN, 0, 1, 2, 3, 4, 5, 6, 7)
                         :
                         : "r"(&on_tick)
                         : "memory");
    } else {
        __asm__ volatile(LOW16(XIN) : : "r"(&on_tick) : "memory");
    }
    uint32_t other = 0x1f80 | 3 << 13;
    __asm__ volatile("ldmxcsr %0" : : "m"(other));
}

static uint64_t end_time;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void *work(void *arg)
{
    uint64_t seed = (uint64_t)arg * 1000, rounds = 0;
    struct state in, out;
    size_t pages = 64;
    uint8_t *room = NULL;
    while (now() < end_time) {
        if (rounds % pages == 0) {
            if (room) {
                munmap(room, pages * 4096);
            }
            room = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0);
        }
        pattern(&in, seed + rounds);
        memset(&out, 0, sizeof(out));
        enum middle middle = (enum middle)(rounds % MIDDLES);
        through(&in, &out, middle, room + rounds % pages * 4096);
        out.mxcsr &= ~0x3fu; /* sticky flags */
        if (memcmp(&in, &out, sizeof(in)) != 0) {
            for (size_t i = 0; i < sizeof(in); i++) {
                if (((uint8_t *)&in)[i] != ((uint8_t *)&out)[i]) {
                    printf("FAIL: worker %lu round %lu middle %d: byte %zu is %#x, not %#x\n",
                           seed / 1000, rounds, middle, i, ((uint8_t *)&out)[i],
                           ((uint8_t *)&in)[i]);
                    break;
                }
            }
            return (void *)1;
        }
        rounds++;
    }
    return rounds < 10 ? (void *)1 : NULL;
}

int main(void)
{
    has_avx = __builtin_cpu_supports("avx2");
    has_avx512 = __builtin_cpu_supports("avx512bw");
    end_time = now() + 2000000000;
    pid_t child = fork();
    struct sigaction sa = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, NULL);
    struct itimerval often = {{0, 3000}, {0, 3000}};
    setitimer(ITIMER_REAL, &often, NULL);
    pthread_t other;
    void *bad_other, *bad;
    pthread_create(&other, NULL, work, (void *)(child ? 1ul : 2ul));
    bad = work((void *)(child ? 3ul : 4ul));
    pthread_join(other, &bad_other);
    if (ticks < 20) {
        printf("FAIL: only %lu ticks\n", ticks);
        bad = (void *)1;
    }
    fflush(stdout);
    if (child == 0) {
        _exit(bad || bad_other);
    }
    int status;
    waitpid(child, &status, 0);
    printf("%s\n", bad || bad_other || status ? "bad" : "good");
    return bad || bad_other || status;
}
