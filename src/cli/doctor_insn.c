/* Runs one instruction of the table in a child process and says what happened.
 *
 * The child works in a shared arena (struct arena) that holds the result and the signal stack, so
 * the handler finds the arena through the frame's uc_stack and no variable is shared between the
 * parent, the child and the handler. The child either completes the instruction, is interrupted by
 * a signal, whose handler records it and exits, or is ended by an alarm; the parent classifies from
 * the arena and the wait status. An instruction that completes is run again under a clock, beside
 * a system call: one that takes longer than that was taken by somebody below.
 */
#include "cli/doctor.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/types.h"
#include "x86/arch.h"

#define ARCH_CPUID_SET 0x1012
#define CHILD_SECONDS 3
#define CODE_BYTES 128 /* no sequence of the table is longer */
#define TIMED_CALLS 32
#define TIMED_ROUNDS 4

enum stage { STAGE_START, STAGE_SETUP_FAILED, STAGE_SIGNAL, STAGE_COMPLETED };

struct arena {
    uint8_t stack[64 * 1024]; /* the handler's; first, so that uc_stack.ss_sp is the arena */
    enum stage stage;
    uintptr_t code;
    bool at_code; /* the signal hit the instruction itself */
    struct probe_result result;
};

/* Call `code` with the registers of *io and store what it leaves there. */
void probe_call(struct probe_io *io, const char *code) __attribute__((visibility("hidden")));
__asm__(".pushsection .text\n"
        ".hidden probe_call\n.globl probe_call\n.type probe_call, @function\n"
        "probe_call:\n"
        "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\n"
        "mov %rdi, %r12\nmov %rsi, %r13\n"
        "mov 0(%r12), %rax\nmov 8(%r12), %rbx\nmov 16(%r12), %rcx\nmov 24(%r12), %rdx\n"
        "mov 32(%r12), %rsi\nmov 40(%r12), %rdi\n"
        "call *%r13\n"
        "pushf\npopq 48(%r12)\n"
        "mov %rax, 0(%r12)\nmov %rbx, 8(%r12)\nmov %rcx, 16(%r12)\nmov %rdx, 24(%r12)\n"
        "mov %rsi, 32(%r12)\nmov %rdi, 40(%r12)\n"
        "pop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\n"
        "ret\n"
        ".size probe_call, . - probe_call\n"
        ".hidden probe_nothing\n.globl probe_nothing\n"
        "probe_nothing: ret\n"
        ".hidden probe_getppid\n.globl probe_getppid\n"
        "probe_getppid: mov $110, %eax\nsyscall\nret\n"
        ".popsection\n");
extern const char probe_nothing[] __attribute__((visibility("hidden")));
extern const char probe_getppid[] __attribute__((visibility("hidden")));

/* ---- in the child ---- */

static void on_signal(int signo, siginfo_t *info, void *frame)
{
    const ucontext_t *uc = frame;
    struct arena *a = uc->uc_stack.ss_sp;
    uintptr_t rip = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];

    (void)info;
    a->at_code = rip >= a->code && rip < a->code + CODE_BYTES;
    a->result.signo = signo;
    if (signo != SIGSYS) {
        a->result.vector = (unsigned)uc->uc_mcontext.gregs[REG_TRAPNO];
        a->result.error = (uint64_t)uc->uc_mcontext.gregs[REG_ERR];
    }
    a->stage = STAGE_SIGNAL;
    _exit(0);
}

/* Bound the child's life, whatever signal state it inherited, and let its death leave no core. */
static void start_child(void)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    signal(SIGALRM, SIG_DFL);
    alarm(CHILD_SECONDS);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static int catch_signals(struct arena *a)
{
    static const int caught[] = {SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGTRAP, SIGSYS};
    stack_t stack = {.ss_sp = a, .ss_size = sizeof(a->stack)};
    struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (sigaltstack(&stack, NULL) < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_LEN(caught); i++) {
        if (sigaction(caught[i], &act, NULL) < 0)
            return -errno;
    }
    return 0;
}

int doctor_seccomp_trap(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
    };
    struct sock_fprog prog = {.len = ARRAY_LEN(code), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
        return -errno;
    return 0;
}

/* A page below 4 GB with `jmp *%rsi`, the landing of far jumps, whose pointers hold 32-bit offsets.
 * 0 when not possible. */
static uint64_t landing_page(void)
{
    static const uint8_t jmp_rsi[] = {0xff, 0xe6};
    void *p = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
                   -1, 0);

    if (p == MAP_FAILED)
        return 0;
    memcpy(p, jmp_rsi, sizeof(jmp_rsi));
    if (mprotect(p, PAGE_SIZE, PROT_READ | PROT_EXEC) < 0)
        return 0;
    return (uintptr_t)p;
}

static void load(struct probe_io *io, const struct probe *in, uint64_t landing)
{
    io->rax = in->rax;
    io->rbx = 0;
    io->rcx = in->rcx;
    io->rdx = in->rdx;
    io->rsi = landing;
    io->rdi = (uintptr_t)io->mem;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The best of several rounds, per call. */
static uint64_t time_code(struct probe_io *io, const struct probe *in, const char *code,
                          uint64_t landing)
{
    uint64_t best = UINT64_MAX;

    for (int round = 0; round < TIMED_ROUNDS; round++) {
        uint64_t start = now_ns();

        for (int i = 0; i < TIMED_CALLS; i++) {
            load(io, in, landing);
            probe_call(io, code);
        }
        best = min_u64(best, (now_ns() - start) / TIMED_CALLS);
    }
    return best;
}

static int arrange(enum probe_setup setup)
{
    switch (setup) {
    case SETUP_SECCOMP:
        (void)doctor_seccomp_trap(); /* without it the call is seen to reach the host kernel */
        return 0;
    case SETUP_CPUID_FAULT: return (int)syscall(SYS_arch_prctl, ARCH_CPUID_SET, 0);
    case SETUP_TSC_FAULT: return prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0);
    case SETUP_NONE: break;
    }
    return 0;
}

NORETURN static void child(struct arena *a, const struct probe *in)
{
    struct probe_io timed = {0};
    uint64_t landing = landing_page();
    uint64_t base, full;

    start_child();
    a->code = (uintptr_t)in->code;
    if (catch_signals(a) < 0 || arrange(in->setup) < 0) {
        a->stage = STAGE_SETUP_FAILED;
        _exit(0);
    }
    load(&a->result.io, in, landing);
    probe_call(&a->result.io, in->code);
    base = time_code(&timed, in, probe_nothing, landing);
    full = time_code(&timed, in, in->code, landing);
    a->result.ns = full > base ? full - base : 0;
    if (in->sense == SENSE_READS)
        a->result.call_ns = time_code(&timed, in, probe_getppid, landing);
    a->stage = STAGE_COMPLETED;
    _exit(0);
}

/* ---- in the parent ---- */

bool doctor_cpuid_bit(struct probe_feature f)
{
    uint32_t a, b, c, d;

    if (f.leaf == 0)
        return true;
    if (!__get_cpuid_count(f.leaf, f.subleaf, &a, &b, &c, &d))
        return false;
    return bit(f.reg == 'a' ? a : f.reg == 'b' ? b : f.reg == 'c' ? c : d, f.bit);
}

/* What Linux returns where UMIP traps: fixed addresses, its usual selectors, a usual CR0. The
 * selectors are those of the real registers too, so the value alone proves nothing; but the trap
 * and the work in the kernel take longer than any system call. */
static bool is_umip_value(const struct probe *in, const struct probe_io *io)
{
    uint64_t base;

    switch (in->show) {
    case SHOW_TABLE:
        memcpy(&base, io->mem + 2, sizeof(base));
        return base == 0xfffffffffffe0000u || base == 0xffffffffffff0000u;
    case SHOW_SEL: return io->rax == 0 || io->rax == 0x40 || io->rax == 0x50;
    case SHOW_RAX: return (io->rax & 0xffffffff) == 0x80050033;
    default: return false;
    }
}

static enum probe_outcome classify_completed(const struct probe *in, const struct probe_result *r)
{
    const uint64_t wanted = RFLAGS_IF | RFLAGS_IOPL;

    if (in->setup == SETUP_SECCOMP)
        return PROBE_HOST_ENTRY;
    if (in->show == SHOW_ANSWER)
        return PROBE_HYPERVISOR;
    if (in->show == SHOW_IF_KEPT && (r->io.rax & wanted) != RFLAGS_IOPL)
        return PROBE_LOST;
    if (in->sense == SENSE_NONE)
        return PROBE_NATIVE;
    if (in->sense == SENSE_CHANGES)
        return PROBE_CHANGES;
    if (r->ns > r->call_ns && is_umip_value(in, &r->io))
        return PROBE_EMULATED;
    return PROBE_HOST_VALUE;
}

static enum probe_outcome classify(const struct probe *in, const struct arena *a, int status)
{
    const struct probe_result *r = &a->result;

    if (!WIFEXITED(status))
        return PROBE_DIED;
    switch (a->stage) {
    case STAGE_SETUP_FAILED: return PROBE_UNTRIED;
    case STAGE_COMPLETED: return classify_completed(in, r);
    case STAGE_SIGNAL:
        if (r->signo == SIGSYS)
            return PROBE_HOST_ENTRY;
        if (!a->at_code) /* SYSENTER that nobody stopped comes back in 32-bit mode, elsewhere */
            return in->setup == SETUP_SECCOMP ? PROBE_HOST_ENTRY : PROBE_DIED;
        return r->signo == SIGILL && r->vector == VEC_UD && !doctor_cpuid_bit(in->feature)
                   ? PROBE_ABSENT
                   : PROBE_TRAPS;
    case STAGE_START: break;
    }
    return PROBE_DIED;
}

int probe_measure(const struct probe *in, struct probe_result *out)
{
    struct arena *a =
        mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 0, err = 0;
    pid_t pid;

    if (a == MAP_FAILED)
        return -errno;
    pid = fork();
    if (pid == 0)
        child(a, in);
    if (pid < 0) {
        err = -errno;
        goto unmap;
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            err = -errno;
            goto unmap;
        }
    }
    a->result.outcome = classify(in, a, status);
    if (WIFSIGNALED(status))
        a->result.signo = WTERMSIG(status);
    *out = a->result;
unmap:
    munmap(a, sizeof(*a));
    return err;
}

int doctor_in_child(int (*test)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        start_child();
        _exit(test());
    }
    if (pid < 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool probe_counts(const struct probe *in, const struct probe_result *r)
{
    return in->sense != SENSE_NONE && r->outcome != PROBE_ABSENT && r->outcome != PROBE_UNTRIED &&
           r->outcome != PROBE_DIED;
}

bool probe_reaches_monitor(const struct probe_result *r)
{
    return r->outcome == PROBE_TRAPS || (r->outcome == PROBE_HOST_ENTRY && r->signo == SIGSYS);
}
