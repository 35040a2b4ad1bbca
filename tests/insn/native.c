/* The native side: a child process that jumps into each sequence with the case's registers and
 * catches the signal that ends it.
 *
 * While a sequence runs nothing of the process is sacred but its code: RSP, FS and GS are the
 * case's. The handler runs on its own stack, puts the FS base back before anything else, and makes
 * the signal return to native_leave.
 */
#include "insn/layout.h"

#include "host/host.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define TICK_US 20000

/** What native_enter loads: offsets are known to the assembly. */
struct frame {
    uint64_t gpr[GPR_COUNT];
    uint64_t rflags, rip, gs, fs; /* 128 136 144 152 */
    uint64_t host_rsp, host_fs;   /* 160 168 */
    uint64_t mask;                /* 176: components loaded */
};

extern struct frame native_frame; /* below 2 GB: the program is not position-independent */
struct frame native_frame;
extern uint8_t native_xsave[16384];
uint8_t native_xsave[16384] __attribute__((aligned(64)));

void native_enter(void);
extern const char native_leave[];

__asm__(".intel_syntax noprefix\n"
        "native_enter:\n"
        "push rbx; push rbp; push r12; push r13; push r14; push r15\n"
        "mov [native_frame + 160], rsp\n"
        "mov eax, [native_frame + 176]; mov edx, [native_frame + 180]\n"
        "xrstor64 [native_xsave]\n"
        "mov rax, [native_frame + 144]; wrgsbase rax\n"
        "mov rax, [native_frame + 152]; wrfsbase rax\n"
        "push qword ptr [native_frame + 128]; popfq\n"
        "mov rax, [native_frame]; mov rcx, [native_frame + 8]; mov rdx, [native_frame + 16]; mov "
        "rbx, [native_frame + 24]\n"
        "mov rsp, [native_frame + 32]; mov rbp, [native_frame + 40]; mov rsi, [native_frame + 48]; "
        "mov rdi, [native_frame + 56]\n"
        "mov r8, [native_frame + 64]; mov r9, [native_frame + 72]; mov r10, [native_frame + 80]; "
        "mov r11, [native_frame + 88]\n"
        "mov r12, [native_frame + 96]; mov r13, [native_frame + 104]; mov r14, [native_frame + "
        "112]; mov r15, [native_frame + 120]\n"
        "jmp qword ptr [native_frame + 136]\n"
        "native_leave:\n"
        "fninit; push 0x1f80; ldmxcsr [rsp]; pop rax\n"
        "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx\n"
        "ret\n"
        ".att_syntax\n");

static struct batch *batch;
static volatile bool running;
static unsigned ticks;

static const int reg_index[GPR_COUNT] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                         REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                         REG_R12, REG_R13, REG_R14, REG_R15};

static void record(struct result *r, const ucontext_t *uc)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    const struct insn_case *c = &batch->c[batch->next];
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        r->gpr[i] = layout_from_native(c, (uint64_t)g[reg_index[i]]);
    }
    r->rip = layout_from_native(c, (uint64_t)g[REG_RIP]);
    r->rflags = (uint64_t)g[REG_EFL];
    r->vector = (uint32_t)g[REG_TRAPNO];
    r->error = (uint32_t)g[REG_ERR];
    r->cr2 = layout_from_native(c, (uint64_t)g[REG_CR2]);
    image_flatten(r->image, (const uint8_t *)uc->uc_mcontext.fpregs);
}

static void on_signal(int sig, siginfo_t *si, void *context)
{
    ucontext_t *uc = context;
    uint64_t fs;
    (void)si;
    __asm__ volatile("rdfsbase %0\n\twrfsbase %1" : "=&r"(fs) : "r"(native_frame.host_fs));
    bool stuck = sig == SIGVTALRM && running && ++ticks > 3;
    if ((sig == SIGVTALRM && !stuck) || !running) {
        if (sig != SIGVTALRM) {
            signal(sig, SIG_DFL); /* our own fault */
        }
        __asm__ volatile("wrfsbase %0" : : "r"(fs));
        return;
    }
    struct result *r = &batch->native[batch->next];
    record(r, uc);
    r->status = stuck ? RESULT_TIMEOUT : RESULT_TRAP;
    running = false;
    greg_t *g = uc->uc_mcontext.gregs;
    g[REG_RIP] = (greg_t)(uintptr_t)native_leave;
    g[REG_RSP] = (greg_t)native_frame.host_rsp;
    g[REG_EFL] &= ~(greg_t)(RFLAGS_DF | RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC);
}

static void set_up_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGVTALRM};
    static uint8_t stack[131072];
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
    sigaltstack(&ss, NULL);
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&sa.sa_mask);
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        sigaction(signals[i], &sa, NULL);
    }
    struct itimerval it = {.it_interval = {.tv_usec = TICK_US}, .it_value = {.tv_usec = TICK_US}};
    setitimer(ITIMER_VIRTUAL, &it, NULL);
}

/* What this process has mapped for itself. */
static void list_own_memory(struct batch *b)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512];
    b->forbidden_count = 0;
    while (f && fgets(line, sizeof(line), f) && b->forbidden_count < FORBIDDEN_MAX) {
        char *end;
        struct forbidden *r = &b->forbidden[b->forbidden_count++];
        r->from = strtoull(line, &end, 16);
        r->to = strtoull(end + 1, NULL, 16);
    }
    if (f) {
        fclose(f);
    }
}

static void run_case(struct batch *b, unsigned i, uint8_t *ram)
{
    const struct insn_case *c = &b->c[i];
    layout_reset(ram, c, i, true);
    image_make(native_xsave, sizeof(native_xsave), c->fpu);
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        native_frame.gpr[r] = layout_to_native(c, c->gpr[r]);
    }
    native_frame.rflags = c->rflags | RFLAGS_FIXED | RFLAGS_IF;
    native_frame.rip = layout_to_native(c, c->gpc);
    native_frame.gs = layout_to_native(c, c->gs);
    native_frame.fs = layout_to_native(c, c->fs);
    native_frame.mask = host_xcr0() & 0xe7;
    ticks = 0;
    running = true;
    native_enter();
    struct result *res = &b->native[i];
    uint64_t off = res->rip - layout_slot_gva(c->code, i);
    if (off + sizeof(res->at) <= SLOT_CODE) {
        memcpy(res->at, ram + layout_slot(i) + off, sizeof(res->at));
    }
    layout_collect(ram, c, i, true, res->page);
}

NORETURN void native_child(struct batch *b)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    batch = b;
    int fd = memfd_create("native", MFD_CLOEXEC);
    void *ram = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, RAM_BYTES) == 0) {
        ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    list_own_memory(b);
    if (ram == MAP_FAILED || layout_map_native(fd)) {
        _exit(2);
    }
    __asm__ volatile("rdfsbase %0" : "=r"(native_frame.host_fs));
    set_up_signals();
    for (; b->next < b->count; b->next++) {
        run_case(b, b->next, ram);
    }
    _exit(0);
}
