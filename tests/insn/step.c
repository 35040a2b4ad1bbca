/* A kick at an exact place: after so many host instructions of translated code.
 *
 * The jump by which bt_enter goes to translated code is replaced by INT3. From there on the trap
 * flag brings every instruction to our handler, which counts, and at the right one calls the
 * engine's own signal handler as if the kick's signal had just come. PUSHFQ must not see the trap
 * flag: it is run without, up to an INT3 behind it.
 *
 * Places that count, too: the first instruction of bt_enter and the one all its exits pass, for all
 * the C code before and behind, where a kick only leaves its mark (translated code must not be
 * entered then); and the jump.
 */
#include "insn/step.h"

#include "bt/bt.h"
#include "host/linux/task.h"
#include "irq/lapic.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define JUMP_LEN 7u /* jmp [disp32] */
#define JMP 0xff
#define PUSH_RBX 0x53 /* the first instruction of bt_enter */
#define CLD 0xfc      /* and of bt_exit_signal */
#define INT3 0xcc
#define BREAKS 4

static uint8_t *entry; /* bt_enter */
static uint8_t *jump;  /* its last instruction */
static uint8_t *leave; /* bt_exit_signal */
static long left = -1; /* instructions to go; -1: not armed */
static uint8_t *last;  /* instruction of the last step */
static unsigned same;  /* how often in a row */
static uint8_t vector; /* an interrupt to come with the kick, 0 none */
static bool fired;
static uint64_t fired_at;
static struct sigaction kick_action, trap_action;
static struct {
    uint8_t *at; /* NULL: free */
    uint8_t byte;
} trap_at[BREAKS];

static void set_break(uint8_t *at)
{
    for (unsigned i = 0; i < BREAKS; i++) {
        if (!trap_at[i].at) {
            trap_at[i].at = at;
            trap_at[i].byte = *at;
            *at = INT3;
            return;
        }
    }
}

static bool clear_break(uint8_t *at)
{
    for (unsigned i = 0; i < BREAKS; i++) {
        if (trap_at[i].at == at) {
            *at = trap_at[i].byte;
            trap_at[i].at = NULL;
            return true;
        }
    }
    return false;
}

static bool in_blocks(uint64_t rip)
{
    return rip >= BT_CODE_ADDR && rip < BT_SCRATCH_ADDR;
}

/* Kick before the instruction at rip if its turn has come. */
static bool kick_now(siginfo_t *si, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    uint64_t rip = (uint64_t)g[REG_RIP];
    if (fired || left-- != 0) {
        return false;
    }
    g[REG_EFL] &= ~(greg_t)RFLAGS_TF;
    fired = true;
    fired_at = rip;
    if (vector) {
        lapic_raise(BT_CPU->v->lapic, vector, false);
    }
    kick_action.sa_sigaction(TASK_KICK_SIGNAL, si, uc);
    if ((uint64_t)g[REG_RIP] != rip && (g[REG_EFL] & (RFLAGS_DF | RFLAGS_TF | RFLAGS_AC))) {
        __builtin_trap(); /* C code would go on with the guest's flags */
    }
    return true;
}

/* Before the instruction at rip of translated code. */
static void at_boundary(siginfo_t *si, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *rip = (uint8_t *)g[REG_RIP];
    if (kick_now(si, uc)) {
        return;
    }
    struct insn in;
    same = rip == last ? same + 1 : 0;
    last = rip;
    bool rest_of_string =
        same > 3 && insn_decode(&in, rip, INSN_MAX_LEN) == INSN_OK; /* each element is a step */
    if (*rip == 0x9c || rest_of_string) {
        g[REG_EFL] &= ~(greg_t)RFLAGS_TF;
        set_break(rip + (rest_of_string ? in.len : 1));
    } else {
        g[REG_EFL] |= RFLAGS_TF;
    }
}

static void at_entry(siginfo_t *si, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    g[REG_RIP] = (greg_t)(uintptr_t)entry;
    if (!kick_now(si, uc) || (uint8_t *)g[REG_RIP] == entry) { /* push rbx */
        g[REG_RSP] -= 8;
        *(greg_t *)g[REG_RSP] = g[REG_RBX];
        g[REG_RIP] = (greg_t)(uintptr_t)(entry + 1);
    }
}

static void at_leave(siginfo_t *si, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    g[REG_RIP] = (greg_t)(uintptr_t)leave;
    (void)kick_now(si, uc);
    g[REG_EFL] &= ~(greg_t)RFLAGS_DF; /* cld */
    g[REG_RIP] = (greg_t)(uintptr_t)(leave + 1);
}

static void plant(bool breaks)
{
    *entry = breaks ? INT3 : PUSH_RBX;
    *jump = breaks ? INT3 : JMP;
    *leave = breaks ? INT3 : CLD;
}

static void at_jump(siginfo_t *si, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    g[REG_RIP] = (greg_t)(uintptr_t)jump;
    bool block = in_blocks(BT_CPU->enter_cpc);
    if (block && BT_CPU->want.kick) {
        __builtin_trap(); /* the kick is lost */
    }
    if (block && fired) { /* the rest at full speed */
        plant(false);
        return;
    }
    if (!kick_now(si, uc) || (uint8_t *)g[REG_RIP] == jump) {
        g[REG_RIP] = (greg_t)BT_CPU->enter_cpc;
    }
}

/* FS is the guest's in here: nothing may use thread-local storage. */
static void on_trap(int sig, siginfo_t *si, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *before = (uint8_t *)g[REG_RIP] - 1;
    bool single_step = g[REG_TRAPNO] == VEC_DB;
    if (!single_step && before == entry) {
        at_entry(si, uc);
    } else if (!single_step && before == jump) {
        at_jump(si, uc);
    } else if (!single_step && before == leave) {
        at_leave(si, uc);
    } else if (!single_step && clear_break(before)) {
        g[REG_RIP] = (greg_t)(uintptr_t)before;
    } else if (!single_step) {
        trap_action.sa_sigaction(sig, si, uc);
        return;
    }
    if (in_blocks((uint64_t)g[REG_RIP]) && !fired) {
        at_boundary(si, uc);
    } else {
        g[REG_EFL] &= ~(greg_t)RFLAGS_TF;
    }
}

void step_init(void)
{
    entry = (uint8_t *)(uintptr_t)bt_enter;
    leave = (uint8_t *)(uintptr_t)bt_exit_signal;
    jump = (uint8_t *)((uintptr_t)bt_enter_end - JUMP_LEN);
    uintptr_t page = align_down((uintptr_t)entry, PAGE_SIZE);
    mprotect((void *)page, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
    sigaction(TASK_KICK_SIGNAL, NULL, &kick_action);
    struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&sa.sa_mask);
    sigaction(SIGTRAP, &sa, &trap_action);
}

void step_arm(long after, uint8_t interrupt)
{
    fired = false;
    left = after;
    vector = interrupt;
    plant(true);
}

bool step_disarm(uint64_t *where)
{
    plant(false);
    left = -1;
    for (unsigned i = 0; i < BREAKS; i++) {
        if (trap_at[i].at) {
            clear_break(trap_at[i].at);
        }
    }
    *where = fired_at;
    return fired;
}
