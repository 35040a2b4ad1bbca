/* A debugger in small: single-steps a child through a fixed piece of code and prints where each
 * step landed and what the flags and a few registers were; plants a breakpoint; changes registers;
 * traces system calls; and uses the debug registers, for code and for data. Also code that steps
 * itself. Prints the same under any monitor.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

extern const char code_start[], code_stop[], code_break[], code_store[];
uint64_t stored, other[9];

__asm__(".text\n.globl code_start, code_stop, code_break, code_store\n"
        "code_start:\n"
        "  xorl %eax, %eax\n  incl %eax\n  nop\n"
        "  pushfq\n  popq %r12\n" /* must not show TF */
        "  movl $3, %ecx\n1: loop 1b\n"
        "  leaq other(%rip), %rdi\n  leaq code_start(%rip), %rsi\n  movl $5, %ecx\n  rep movsb\n"
        "  movl $39, %eax\n  syscall\n  movl %eax, %r8d\n" /* getpid */
        "  movl $20, %eax\n  int $0x80\n  cmpl %eax, %r8d\n  sete %r9b\n"
        "  xorl %eax, %eax\n  cpuid\n  rdtsc\n"
        "  pushfq\n  orl $1, (%rsp)\n  popfq\n  setc %r10b\n"
        "  movl %ss, %eax\n  movl %eax, %ss\n  nop\n  nop\n" /* no trap after a load of SS */
        "  call 2f\n  jmp 3f\n2: ret\n3:\n"
        "code_break:\n  movl $7, %edx\n"
        "code_store:\n  movq %rdx, stored(%rip)\n  nop\n  nop\n"
        "code_stop:\n  movl $60, %eax\n  movl %r15d, %edi\n  syscall\n");

static int wait_stop(pid_t child)
{
    int status;
    if (waitpid(child, &status, __WALL) != child) {
        return -1;
    }
    return status;
}

static pid_t start(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        __asm__ volatile("movl $33, %%r15d\n jmp code_start" : : : "r15", "memory");
    }
    wait_stop(child);
    return child;
}

static struct user_regs_struct registers(pid_t child)
{
    struct user_regs_struct r = {0};
    ptrace(PTRACE_GETREGS, child, 0, &r);
    return r;
}

static long offset(uint64_t rip)
{
    return (long)(rip - (uint64_t)code_start);
}

/* To the start of the code, by a breakpoint there. */
static void run_to(pid_t child, const char *where)
{
    long word = ptrace(PTRACE_PEEKTEXT, child, where, 0);
    ptrace(PTRACE_POKETEXT, child, where, (void *)((word & ~0xffl) | 0xcc));
    ptrace(PTRACE_CONT, child, 0, 0);
    int status = wait_stop(child);
    struct user_regs_struct r = registers(child);
    printf("breakpoint: status %#x at %ld of %ld\n", (unsigned)status, offset(r.rip),
           offset((uint64_t)where));
    ptrace(PTRACE_POKETEXT, child, where, (void *)word);
    r.rip = (uint64_t)where;
    ptrace(PTRACE_SETREGS, child, 0, &r);
}

static void single_step(void)
{
    pid_t child = start();
    run_to(child, code_start);
    int steps = 0, status = 0;
    for (; steps < 200; steps++) {
        ptrace(PTRACE_SINGLESTEP, child, 0, 0);
        status = wait_stop(child);
        if (!WIFSTOPPED(status)) {
            break;
        }
        struct user_regs_struct r = registers(child);
        siginfo_t info = {0};
        ptrace(PTRACE_GETSIGINFO, child, 0, &info);
        uint64_t dr6 =
            (uint64_t)ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg[6]), 0);
        printf("%ld:%d/%d%s%s ", offset(r.rip), WSTOPSIG(status), info.si_code,
               r.eflags & 0x100 ? "T" : "", dr6 & 0x4000 ? "" : "!");
        if (offset(r.rip) == code_stop - code_start) {
            printf("\nr12.TF %llu rdx %llu r9 %llu r10 %llu\n", r.r12 >> 8 & 1, r.rdx, r.r9 & 1,
                   r.r10 & 1);
            r.r15 = 44;
            ptrace(PTRACE_SETREGS, child, 0, &r);
        }
    }
    printf("\n%d steps, end %#x\n", steps, (unsigned)status);
}

static void system_calls(void)
{
    pid_t child = start();
    int status = 0;
    for (int n = 0; n < 20; n++) {
        ptrace(PTRACE_SYSCALL, child, 0, 0);
        status = wait_stop(child);
        if (!WIFSTOPPED(status)) {
            break;
        }
        struct user_regs_struct r = registers(child);
        if (offset(r.rip) > 0 && offset(r.rip) < 256) {
            printf("call %lld %s at %ld\n", r.orig_rax,
                   (long long)r.rax == -ENOSYS ? "enters" : "leaves", offset(r.rip));
        }
    }
    printf("end %#x\n", (unsigned)status);
}

/* The processor's own breakpoints. */
static void debug_registers(void)
{
    pid_t child = start();
    run_to(child, code_start);
    errno = 0;
    ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]), code_break);
    ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[1]), &stored);
    /* DR0: execute; DR1: write, 8 bytes */
    ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[7]),
           (void *)(0x5ul | 0x9ul << 20));
    printf("debug registers: %s\n", strerror(errno));
    int status = 0;
    for (int n = 0; n < 5; n++) {
        ptrace(PTRACE_CONT, child, 0, 0);
        status = wait_stop(child);
        if (!WIFSTOPPED(status)) {
            break;
        }
        uint64_t dr6 =
            (uint64_t)ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg[6]), 0);
        printf("stop: signal %d at %ld dr6 %#lx\n", WSTOPSIG(status), offset(registers(child).rip),
               dr6 & 0x400f);
        ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[6]), 0);
    }
    printf("end %#x\n", (unsigned)status);
}

static volatile int self_steps, self_left;

static void on_self_step(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    self_steps++;
    ucontext_t *u = context;
    if (info->si_code != TRAP_TRACE || --self_left == 0) {
        u->uc_mcontext.gregs[REG_EFL] &= ~0x100;
    }
}

static void self_step(void)
{
    struct sigaction sa = {.sa_sigaction = on_self_step, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &sa, NULL);
    self_left = 500;
    __asm__ volatile(
        "pushfq\n orq $0x100, (%%rsp)\n popfq\n movl $100, %%ecx\n 1: nop\n movl $39, %%eax\n movl "
        "%%ecx, %%ebx\n"
        "syscall\n movl %%ebx, %%ecx\n loop 1b\n pushfq\n andq $~0x100, (%%rsp)\n popfq"
        :
        :
        : "rax", "rbx", "rcx", "r11", "memory", "cc");
    printf("stepped itself %d times\n", self_steps);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "debug-registers") == 0) {
        debug_registers();
        return 0;
    }
    single_step();
    system_calls();
    self_step();
    return 0;
}
