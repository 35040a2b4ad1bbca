/* Every way a user program can trap, and what its signal handler sees: signal, si_code, the trap
 * number and error code that the kernel saved, where it happened and the faulting address. Prints
 * one line each, the same under any monitor: addresses are shown relative to the code or to the
 * page that was touched.
 *
 * Where exception frames, error codes or CR2 are wrong, or a trap comes at the wrong instruction,
 * lines differ.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096
#define NON_CANONICAL 0x8000000000000000ull

static sigjmp_buf back;
static uint8_t *readonly, *hole, *no_exec, *past_end;
static const uint8_t *volatile start_of_case;

struct seen {
    int signal, code;
    uint64_t trap, error, cr2, rip, addr;
};
static volatile struct seen seen;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    /* A handler runs with the interrupted code's AC flag: C code needs it clear. */
    __asm__ volatile("pushfq\n andl $~0x40000, (%%rsp)\n popfq" ::: "cc", "memory");
    const greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    seen = (struct seen){sig,
                         info->si_code,
                         (uint64_t)r[REG_TRAPNO],
                         (uint64_t)r[REG_ERR],
                         (uint64_t)r[REG_CR2],
                         (uint64_t)r[REG_RIP],
                         (uint64_t)info->si_addr};
    siglongjmp(back, 1);
}

static void print_address(const char *name, uint64_t a)
{
    const struct {
        const char *name;
        const uint8_t *at;
    } places[] = {{"readonly", readonly},
                  {"hole", hole},
                  {"no_exec", no_exec},
                  {"after no_exec", no_exec + PAGE},
                  {"past_end", past_end}};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint64_t offset = a - (uint64_t)places[i].at;
        if (offset < PAGE) {
            printf(" %s %s+%#lx", name, places[i].name, offset);
            return;
        }
    }
    uint64_t offset = a - (uint64_t)start_of_case;
    if (offset < 256) {
        printf(" %s code+%lu", name, offset);
    } else {
        printf(" %s %#lx", name, a);
    }
}

static void report(const char *what)
{
    printf("%-22s signal %d code %d trap %lu", what, seen.signal, seen.code, seen.trap);
    printf(" error %#lx", seen.error);
    print_address("ip", seen.rip);
    if (seen.trap == 14) {
        print_address("cr2", seen.cr2);
    }
    print_address("addr", seen.addr);
    printf("\n");
}

/* A case is code with a label at its start; it has the operands p (a pointer) and v (a value). */
#define CASE(what, code, pointer, value)                                                           \
    do {                                                                                           \
        __label__ begin;                                                                           \
        start_of_case = &&begin;                                                                   \
        seen = (struct seen){0};                                                                   \
        if (sigsetjmp(back, 1) == 0) {                                                             \
        begin:                                                                                     \
            __asm__ volatile("leaq 0f(%%rip), %%rax\n movq %%rax, %2\n 0: nop\n" code              \
                             :                                                                     \
                             : "D"(pointer), "S"(value), "m"(start_of_case)                        \
                             : "rax", "rbx", "rcx", "rdx", "r8", "r11", "memory", "cc");           \
            printf("%-22s no trap\n", what);                                                       \
            break;                                                                                 \
        }                                                                                          \
        report(what);                                                                              \
    } while (0)

static void set_up(void)
{
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&stack, NULL);
    struct sigaction sa = {.sa_sigaction = on_signal,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        sigaction(signals[i], &sa, NULL);
    }
    /* Pages apart in one range, so that nothing else comes to lie between them. */
    uint8_t *range = mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    readonly = range + PAGE;
    hole = range + 2 * PAGE;
    no_exec = range + 4 * PAGE;
    past_end = range + 6 * PAGE;
    mprotect(no_exec, PAGE, PROT_READ | PROT_WRITE);
    memset(no_exec, 0x90, PAGE);
    int fd = (int)syscall(SYS_memfd_create, "short", 0);
    mmap(past_end, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    munmap(hole, PAGE);
    munmap(no_exec + PAGE, PAGE);
}

static void memory(void)
{
    CASE("read hole", "movb 5(%%rdi), %%al", hole, 0);
    CASE("write hole", "movb $1, 6(%%rdi)", hole, 0);
    CASE("write read-only", "movb $1, 7(%%rdi)", readonly, 0);
    CASE("rmw read-only", "lock addl $1, 8(%%rdi)", readonly, 0);
    CASE("read touched", "movb 7(%%rdi), %%al\n movb $1, 7(%%rdi)", readonly, 0);
    CASE("read past file", "movb (%%rdi), %%al", past_end, 0);
    CASE("across into hole", "movq 4092(%%rdi), %%rax", readonly, 0);
    CASE("execute hole", "jmp *%%rdi", hole, 0);
    CASE("execute data", "addq $64, %%rdi\n jmp *%%rdi", no_exec, 0);
    CASE("execute null", "xorl %%eax, %%eax\n jmp *%%rax", 0, 0);
    CASE("read kernel", "movb (%%rdi), %%al", 0xffffffff81000000, 0);
    CASE("write kernel", "movb $1, (%%rdi)", 0xffff888000000000, 0);
    CASE("execute kernel", "jmp *%%rdi", 0xffffffff81000000, 0);
    CASE("read 0x7ffffffff000", "movb (%%rdi), %%al", 0x7ffffffff000, 0);
    CASE("read non-canonical", "movb (%%rdi), %%al", NON_CANONICAL, 0);
    CASE("jump non-canonical", "jmp *%%rdi", NON_CANONICAL, 0);
    CASE("stack non-canonical", "movq %%rsp, %%rbx\n movq %%rdi, %%rsp\n pushq %%rax",
         NON_CANONICAL, 0);
    CASE("rep movsb into hole",
         "leaq 3000(%%rdi), %%rsi\n addq $3900, %%rdi\n movl $8192, %%ecx\n rep movsb", no_exec, 0);
    CASE("rep movsb from hole", "leaq 4000(%%rdi), %%rsi\n movl $8192, %%ecx\n rep movsb", no_exec,
         0);
    CASE("rep stosq into hole", "movl $600, %%ecx\n rep stosq", no_exec, 0);
    CASE("movaps misaligned", "movaps 4(%%rdi), %%xmm0", readonly, 0);
    CASE("alignment check", "pushfq\n orl $0x40000, (%%rsp)\n popfq\n movl 1(%%rdi), %%eax",
         readonly, 0);
}

static void instructions(void)
{
    CASE("divide by zero", "xorl %%ecx, %%ecx\n xorl %%edx, %%edx\n divl %%ecx", 0, 0);
    CASE("divide overflow", "movl $4, %%edx\n movl $2, %%ecx\n divl %%ecx", 0, 0);
    CASE("int3", "int3", 0, 0);
    CASE("int $3", ".byte 0xcd, 3", 0, 0);
    CASE("icebp", ".byte 0xf1", 0, 0);
    CASE("int $0x55", "int $0x55", 0, 0);
    CASE("int $14", "int $14", 0, 0);
    CASE("int $4", "int $4", 0, 0);
    CASE("ud2", "ud2", 0, 0);
    CASE("undefined 0f 0a", ".byte 0x0f, 0x0a", 0, 0);
    CASE("undefined 06", ".byte 0x06", 0, 0);
    CASE("lock nop", ".byte 0xf0, 0x90", 0, 0);
    CASE("hlt", "hlt", 0, 0);
    CASE("cli", "cli", 0, 0);
    CASE("in", "inb $0x80, %%al", 0, 0);
    CASE("out", "movl $0x80, %%edx\n outb %%al, %%dx", 0, 0);
    CASE("rdmsr", "movl $0x10, %%ecx\n rdmsr", 0, 0);
    CASE("wrmsr", "movl $0x10, %%ecx\n wrmsr", 0, 0);
    CASE("mov cr3", "movq %%cr3, %%rax", 0, 0);
    CASE("mov to cr0", "movq %%rax, %%cr0", 0, 0);
    CASE("mov dr7", "movq %%dr7, %%rax", 0, 0);
    CASE("clts", "clts", 0, 0);
    CASE("invlpg", "invlpg (%%rdi)", 0, 0);
    CASE("lgdt", "lgdt (%%rdi)", readonly, 0);
    CASE("ltr", "xorl %%eax, %%eax\n ltr %%ax", 0, 0);
    CASE("swapgs", "swapgs", 0, 0);
    CASE("sysretq", "sysretq", 0, 0);
    CASE("iretq from zeros", "pushq $0\n pushq $0\n pushq $0\n pushq $0\n pushq $0\n iretq", 0, 0);
    CASE("xsetbv", "xorl %%ecx, %%ecx\n xsetbv", 0, 0);
    CASE("wbinvd", "wbinvd", 0, 0);
    CASE("mov to ds bad", "movl $0x1234, %%eax\n movl %%eax, %%ds", 0, 0);
    CASE("mov to ds kernel", "movl $0x10, %%eax\n movl %%eax, %%ds", 0, 0);
    CASE("mov to ss null", "xorl %%eax, %%eax\n movl %%eax, %%ss", 0, 0);
    CASE("popf leaves IF, IOPL",
         "pushfq\n movq (%%rsp), %%rbx\n andl $~0x200, (%%rsp)\n orl $0x3000, (%%rsp)\n popfq\n"
         "pushfq\n popq %%rax\n cmpq %%rax, %%rbx\n je 1f\n ud2\n 1:",
         0, 0);
    CASE("far jump bad", "pushq $0x7b\n pushq $0\n lretq", 0, 0);
    CASE("single-step by popf", "pushfq\n orl $0x100, (%%rsp)\n popfq\n nop\n nop", 0, 0);
    CASE("rdpmc", "xorl %%ecx, %%ecx\n rdpmc", 0, 0);
    CASE("monitor", "monitor", 0, 0);
}

static void floating(void)
{
    CASE("sse divide",
         "movl $0x1d80, -8(%%rsp)\n ldmxcsr -8(%%rsp)\n xorps %%xmm1, %%xmm1\n pcmpeqd %%xmm0, "
         "%%xmm0\n"
         "psrld $31, %%xmm0\n cvtdq2ps %%xmm0, %%xmm0\n divps %%xmm1, %%xmm0",
         0, 0);
    CASE(
        "sse invalid",
        "movl $0x1f00, -8(%%rsp)\n ldmxcsr -8(%%rsp)\n xorps %%xmm1, %%xmm1\n divps %%xmm1, %%xmm1",
        0, 0);
    CASE("mxcsr reserved", "movl $0x80000000, -8(%%rsp)\n ldmxcsr -8(%%rsp)", 0, 0);
    CASE("x87 divide", "movw $0x37b, -8(%%rsp)\n fldcw -8(%%rsp)\n fld1\n fldz\n fdivrp\n fwait", 0,
         0);
    __asm__ volatile("fninit");
    CASE("x87 stack", "movw $0x37e, -8(%%rsp)\n fldcw -8(%%rsp)\n fstp %%st(0)\n fwait", 0, 0);
    __asm__ volatile("fninit\n movl $0x1f80, -8(%%rsp)\n ldmxcsr -8(%%rsp)" ::: "memory");
}

/* System calls, by every door there is. */
static void doors(void)
{
    long a;
    __asm__ volatile("int $0x80" : "=a"(a) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    printf("int 0x80 getpid %s\n", a == getpid() ? "right" : "wrong");
    uint64_t r11, flags;
    __asm__ volatile("stc\n pushfq\n popq %1\n syscall\n movq %%r11, %0"
                     : "=&r"(r11), "=&r"(flags)
                     : "a"(SYS_getpid)
                     : "rcx", "r11", "memory");
    printf("syscall: r11 %s\n", r11 == flags ? "holds the flags" : "wrong");
    printf("syscall 100000: %ld\n", ({
               long r;
               __asm__ volatile("syscall" : "=a"(r) : "a"(100000L) : "rcx", "r11", "memory");
               r;
           }));
    printf("syscall -1: %ld\n", ({
               long r;
               __asm__ volatile("syscall" : "=a"(r) : "a"(-1L) : "rcx", "r11", "memory");
               r;
           }));
    printf("syscall x32: %ld\n", ({
               long r;
               __asm__ volatile("syscall" : "=a"(r) : "a"(0x40000027L) : "rcx", "r11", "memory");
               r;
           }));
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    set_up();
    memory();
    instructions();
    floating();
    doors();
    return 0;
}
