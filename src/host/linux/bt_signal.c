/* The rewriting engine's footing in a Linux process: its fixed mappings, and the signals by which the host reports faults and kicks
 * in translated code.
 *
 * A handler does as little as possible: it copies the interrupted registers into bt_cpu and makes the signal return to bt_exit_signal, so
 * that bt_enter returns to the dispatcher with a raw exit. The dispatcher recovers the guest state and decides.
 * Where the signal finds us: in translated code (raw exit), in the entry sequence (broken off, or restarted for scratch code), or in our own C
 * code (a kick only leaves its mark; a fault is our bug, or a hostile guest kernel's doing: this task ends with one line).
 */
#include "bt/bt.h"
#include "host/host.h"
#include "host/linux/task.h"

#include <asm/prctl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define PRIVATE_START 0x100000000ull
#define PRIVATE_END 0x1000000000ull
#define HWCAP2_FSGSBASE 2u

static const int reg_index[GPR_COUNT] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                         REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static uint64_t read_fs_base(void)
{
    uint64_t base;
    __asm__ volatile("rdfsbase %0" : "=r"(base));
    return base;
}

static void write_fs_base(uint64_t base)
{
    __asm__ volatile("wrfsbase %0" : : "r"(base));
}

static bool within(uint64_t rip, const char *from, const char *to)
{
    return rip >= (uintptr_t)from && rip < (uintptr_t)to;
}

/* Return from the signal to `where` in bt_enter, on the host stack. The flags are the guest's: ours are without these. */
static void leave_to(const struct bt_cpu *b, ucontext_t *uc, const char *where)
{
    greg_t *g = uc->uc_mcontext.gregs;
    g[REG_RIP] = (greg_t)(uintptr_t)where;
    g[REG_RSP] = (greg_t)b->host_rsp;
    g[REG_EFL] &= ~(greg_t)(RFLAGS_DF | RFLAGS_TF | RFLAGS_AC);
}

/* Leave translated code: bt_enter returns with a raw exit. */
static void raw_exit(struct bt_cpu *b, ucontext_t *uc, uint32_t kind)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        b->gpr[r] = (uint64_t)g[reg_index[r]];
    }
    b->flags = (uint64_t)g[REG_EFL];
    b->fault = (struct bt_fault){.trapno = (uint32_t)g[REG_TRAPNO], .error = (uint32_t)g[REG_ERR], .hva = (uint64_t)g[REG_CR2],
                                 .cpc = (uint64_t)g[REG_RIP]};
    b->exit_arg = kind;
    leave_to(b, uc, bt_exit_signal);
}

static void kicked(struct bt_cpu *b, ucontext_t *uc)
{
    uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
    b->want.kick = 1;
    *host_kick_flag(b->v) = 1;
    if (rip >= BT_CODE_ADDR && rip < BT_SCRATCH_ADDR) {
        raw_exit(b, uc, BT_EXIT_KICK);
    } else if (within(rip, bt_enter_begin, bt_enter_end) && b->enter_cpc != BT_SCRATCH_ADDR) {
        leave_to(b, uc, bt_enter_kicked);
    }
}

static void on_signal(int sig, siginfo_t *si, void *context)
{
    struct bt_cpu *b = BT_CPU;
    ucontext_t *uc = context;
    uint64_t fs = read_fs_base();
    write_fs_base(b->host_fs);
    uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
    (void)si;
    if (sig == TASK_KICK_SIGNAL) {
        kicked(b, uc);
    } else if (rip >= BT_CODE_ADDR && rip < BT_SCRATCH_ADDR + PAGE_SIZE) {
        raw_exit(b, uc, BT_EXIT_FAULT);
    } else {
        char line[160];
        snprintf(line, sizeof(line), "internal error: signal %d at %#llx in the monitor's own code (address %#llx, guest rip %#llx)", sig,
                 (unsigned long long)rip, (unsigned long long)uc->uc_mcontext.gregs[REG_CR2], (unsigned long long)b->v->rip);
        host_panic(line);
    }
    write_fs_base(fs);
}

static int install(int sig)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&sa.sa_mask);
    return sigaction(sig, &sa, NULL) ? -errno : 0;
}

int host_bt_setup(struct vcpu *v)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, TASK_KICK_SIGNAL};
    struct bt_cpu *b = BT_CPU;
    (void)v;
    b->host_fs = read_fs_base();
    __asm__ volatile("wrgsbase %0" : : "r"(BT_R));
    size_t size = 65536 + 2 * (size_t)getauxval(AT_MINSIGSTKSZ);
    stack_t ss = {.ss_sp = host_private_map(0, align_up(size, PAGE_SIZE), HOST_R | HOST_W), .ss_size = size};
    if (!ss.ss_sp || sigaltstack(&ss, NULL)) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        int rc = install(signals[i]);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

int host_window_clear(struct vcpu *v)
{
    (void)v; /* what is there: the stack this process was born with, the vDSO */
    return munmap((void *)BT_WINDOW_START, BT_WINDOW_END - BT_WINDOW_START) ? -errno : 0;
}

bool host_bt_probe(char *why, size_t size)
{
    if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)) {
        snprintf(why, size, "bt needs the FSGSBASE instructions: a processor since Ivy Bridge and Linux 5.9 or newer, without nofsgsbase");
        return false;
    }
    snprintf(why, size, "bt: the guest kernel is rewritten, its user code runs directly; no virtualization hardware is needed");
    return true;
}

void *host_private_map(uint64_t hva, uint64_t len, unsigned prot)
{
    static uint64_t next = PRIVATE_START; /* this task's own cursor */
    int p = ((prot & HOST_R) ? PROT_READ : 0) | ((prot & HOST_W) ? PROT_WRITE : 0) | ((prot & HOST_X) ? PROT_EXEC : 0);
    len = align_up(len, PAGE_SIZE);
    if (!hva) {
        hva = next;
        next += len + PAGE_SIZE; /* a hole between any two */
        if (next > PRIVATE_END) {
            return NULL;
        }
    }
    void *want = (void *)(uintptr_t)hva;
    void *got = mmap(want, len, p, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    return got == want ? got : NULL;
}
