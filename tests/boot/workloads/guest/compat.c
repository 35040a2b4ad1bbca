/* 32-bit code under a 64-bit kernel: both ways into the kernel, traps, single-step, thread-local
 * storage, threads, fork, and a visit to 64-bit code by a far call. Built by the guest's own
 * compiler (gcc -m32), static and dynamic.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile int steps;

static void on_trap(int sig, siginfo_t *info, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    if (sig == SIGTRAP && info->si_code == TRAP_TRACE) {
        steps++;
        return;
    }
    printf("signal %d code %d trap %d error %#x\n", sig, info->si_code, (int)r[REG_TRAPNO],
           (unsigned)r[REG_ERR]);
    siglongjmp(back, 1);
}

#define TRAP(what, code)                                                                           \
    printf("%s: ", what);                                                                          \
    if (sigsetjmp(back, 1) == 0) {                                                                 \
        __asm__ volatile(code : : : "eax", "ebx", "ecx", "edx", "memory", "cc");                   \
        printf("no trap\n");                                                                       \
    }

static void traps(void)
{
    struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (int i = 0; i < 5; i++) {
        sigaction(signals[i], &sa, NULL);
    }
    TRAP("null read", "movl 0, %%eax");
    TRAP("null write", "movl %%eax, 4");
    TRAP("top of 4 GB", "movl 0xfffffff0, %%eax");
    TRAP("divide", "xorl %%ecx, %%ecx\n divl %%ecx");
    TRAP("int3", "int3");
    TRAP("into", "movb $127, %%al\n addb $1, %%al\n into");
    TRAP("bound", "pushl $5\n pushl $1\n movl $9, %%eax\n bound %%eax, (%%esp)");
    TRAP("daa", "movb $0x79, %%al\n addb $0x35, %%al\n daa");
    TRAP("pusha popa", "pusha\n popa");
    TRAP("les", "movl $0, %%eax\n pushl $0x2b\n pushl $1\n les (%%esp), %%eax\n addl $8, %%esp");
    TRAP("push es, pop ds", "pushl %%es\n popl %%es\n pushl %%ds\n popl %%ds");
    TRAP("hlt", "hlt");
    TRAP("ud2", "ud2");
    TRAP("int 0x55", "int $0x55");
    TRAP("x87", "fninit\n fldpi\n fistpl -8(%%esp)");
    __asm__ volatile("pushf\n orl $0x100, (%%esp)\n popf\n nop\n nop\n movl $20, %%eax\n int "
                     "$0x80\n nop\n pushf\n"
                     "andl $~0x100, (%%esp)\n popf\n"
                     :
                     :
                     : "eax", "memory", "cc");
    printf("%d steps\n", steps);
}

static __thread int mine = 5;

static void *thread(void *arg)
{
    mine += *(int *)arg;
    return (void *)mine;
}

/* 64-bit code reached by a far call: it adds two numbers of more than 32 bits. */
static void visit_long_mode(void)
{
    static const uint8_t code[] = {
        0x48, 0xb8, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, /* movabs $0xffffffffff, %rax */
        0x48, 0xff, 0xc0,                                  /* inc %rax */
        0x48, 0xc1, 0xe8, 0x20,                            /* shr $32, %rax */
        0xcb,                                              /* lret (32-bit) */
    };
    uint8_t *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(p, code, sizeof(code));
    struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) target = {(uint32_t)p, 0x33};
    uint32_t result;
    __asm__ volatile("lcall *%1" : "=a"(result) : "m"(target) : "memory", "cc");
    printf("long mode said %#x\n", result);
}

/* Data and code from 1 MB on, in a child too; what is at the top cannot be had. */
static void low_memory(void)
{
    uint8_t *p = (uint8_t *)0x100000;
    if (mmap(p, 0x40000, PROT_READ | PROT_WRITE | PROT_EXEC,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != p) {
        printf("no memory at 1 MB\n");
        return;
    }
    for (uint32_t off = 0; off < 0x40000; off += 4096) {
        uint32_t value = off + 1;
        p[off] = 0xb8; /* mov $value, %eax; ret */
        memcpy(p + off + 1, &value, sizeof(value));
        p[off + 5] = 0xc3;
    }
    fflush(stdout);
    pid_t child = fork();
    int wrong = 0, status = 0;
    for (uint32_t off = 0; off < 0x40000; off += 4096) {
        wrong += ((uint32_t(*)(void))(p + off))() != off + 1;
    }
    if (child == 0) {
        _exit(wrong);
    }
    waitpid(child, &status, 0);
    printf("at 1 MB: %d pages wrong, %d in the child\n", wrong, status);
    for (uint32_t at = 0xffffe000; at; at += 4096) {
        void *got = mmap((void *)at, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        printf("mmap at %#x %s\n", at, got == MAP_FAILED ? "refused" : "done");
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    int pid;
    __asm__ volatile("int $0x80" : "=a"(pid) : "a"(20));
    printf("pointers of %d bytes; int 0x80 %s; vDSO %s\n", (int)sizeof(void *),
           pid == getpid() ? "right" : "wrong", syscall(SYS_getpid) == pid ? "right" : "wrong");
    traps();
    pthread_t t[4];
    int given[4] = {10, 20, 30, 40};
    void *got;
    for (int i = 0; i < 4; i++) {
        pthread_create(&t[i], NULL, thread, &given[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &got);
        printf("thread %d\n", (int)got);
    }
    fflush(stdout);
    if (fork() == 0) {
        printf("child: %lld\n", 0x123456789abcdefll / getpid() > 0 ? 1ll : 0ll);
        fflush(stdout);
        _exit(7);
    }
    int status;
    wait(&status);
    printf("exit %#x; own %d\n", status, mine);
    visit_long_mode();
    low_memory();
    double x = 2;
    for (int i = 0; i < 30; i++) {
        x = x / 3 + 1 / x;
    }
    printf("%.15g\n", x);
    return 0;
}
