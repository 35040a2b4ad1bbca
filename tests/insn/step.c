/* A kick at an exact place: after so many host instructions of translated code.
 *
 * The jump by which bt_enter goes to translated code is replaced by INT3. From there on the trap
 * flag brings every instruction to our handler, which counts, and at the right one calls the
 * engine's own signal handler as if the kick's signal had just come. PUSHFQ must not see the trap
 * flag: it is run without, up to an INT3 behind it.
 */
#include "insn/step.h"

#include "bt/bt.h"
#include "host/linux/task.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define JUMP_LEN 7u /* jmp [disp32] */
#define INT3 0xcc
#define BREAKS 4

static uint8_t *jump;  /* bt_enter's */
static long left = -1; /* instructions to go; -1: not armed */
static uint8_t *last;  /* instruction of the last step */
static unsigned same;  /* how often in a row */
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

/* Before the instruction at rip of translated code. */
static void at_boundary(siginfo_t *si, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *rip = (uint8_t *)g[REG_RIP];
    if (left-- == 0) {
        g[REG_EFL] &= ~(greg_t)RFLAGS_TF;
        fired = true;
        fired_at = (uint64_t)g[REG_RIP];
        kick_action.sa_sigaction(TASK_KICK_SIGNAL, si, uc);
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

/* FS is the guest's in here: nothing may use thread-local storage. */
static void on_trap(int sig, siginfo_t *si, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *before = (uint8_t *)g[REG_RIP] - 1;
    bool single_step = g[REG_TRAPNO] == VEC_DB;
    if (!single_step && before == jump) {
        g[REG_RIP] = (greg_t)BT_CPU->enter_cpc;
    } else if (!single_step && clear_break(before)) {
        g[REG_RIP] = (greg_t)(uintptr_t)before;
    } else if (!single_step) {
        trap_action.sa_sigaction(sig, si, uc);
        return;
    }
    uint64_t rip = (uint64_t)g[REG_RIP];
    if (rip >= BT_CODE_ADDR && rip < BT_SCRATCH_ADDR && !fired) {
        at_boundary(si, uc);
    } else {
        g[REG_EFL] &= ~(greg_t)RFLAGS_TF;
    }
}

void step_init(void)
{
    uintptr_t at = (uintptr_t)bt_enter_end - JUMP_LEN, page = align_down(at, PAGE_SIZE);
    jump = (uint8_t *)at;
    mprotect((void *)page, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
    sigaction(TASK_KICK_SIGNAL, NULL, &kick_action);
    struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&sa.sa_mask);
    sigaction(SIGTRAP, &sa, &trap_action);
}

void step_arm(long after)
{
    fired = false;
    left = after;
    *jump = INT3;
}

bool step_disarm(uint64_t *where)
{
    *jump = 0xff;
    left = -1;
    for (unsigned i = 0; i < BREAKS; i++) {
        if (trap_at[i].at) {
            clear_break(trap_at[i].at);
        }
    }
    *where = fired_at;
    return fired;
}
