/* Results of doctor_insn.c in words, for both reports. */
#include "cli/doctor.h"

#include <signal.h>
#include <string.h>

#include "base/types.h"
#include "x86/arch.h"

const char *probe_outcome_name(enum probe_outcome o)
{
    static const char *const names[PROBE_OUTCOMES] = {
        [PROBE_TRAPS] = "traps",
        [PROBE_ABSENT] = "absent",
        [PROBE_HOST_ENTRY] = "host-entry",
        [PROBE_EMULATED] = "kernel-emulated",
        [PROBE_HOST_VALUE] = "host-value",
        [PROBE_LOST] = "effect-lost",
        [PROBE_CHANGES] = "host-state",
        [PROBE_HYPERVISOR] = "hypervisor",
        [PROBE_NATIVE] = "native",
        [PROBE_UNTRIED] = "untried",
        [PROBE_DIED] = "died",
    };

    return names[o];
}

static const char *signal_name(int signo)
{
    switch (signo) {
    case SIGSEGV: return "SIGSEGV";
    case SIGILL: return "SIGILL";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGTRAP: return "SIGTRAP";
    case SIGSYS: return "SIGSYS";
    case SIGALRM: return "SIGALRM";
    case SIGKILL: return "SIGKILL";
    default: return "a signal";
    }
}

/* "#GP(0)", "#UD" */
static void vector_name(const struct probe_result *r, char *buf, size_t size)
{
    static const char *const names[] = {
        [VEC_DE] = "#DE", [VEC_DB] = "#DB", [VEC_BP] = "#BP", [VEC_OF] = "#OF", [VEC_BR] = "#BR",
        [VEC_UD] = "#UD", [VEC_NM] = "#NM", [VEC_TS] = "#TS", [VEC_NP] = "#NP", [VEC_SS] = "#SS",
        [VEC_GP] = "#GP", [VEC_PF] = "#PF", [VEC_MF] = "#MF", [VEC_AC] = "#AC", [VEC_XM] = "#XM",
        [VEC_VE] = "#VE", [VEC_CP] = "#CP",
    };

    if (r->vector >= ARRAY_LEN(names) || !names[r->vector])
        snprintf(buf, size, "vector %u", r->vector);
    else if (r->vector >= VEC_TS && r->vector <= VEC_PF)
        snprintf(buf, size, "%s(%#llx)", names[r->vector], (unsigned long long)r->error);
    else
        snprintf(buf, size, "%s", names[r->vector]);
}

void probe_describe(const struct probe_result *r, char *buf, size_t size)
{
    char vector[24];

    vector_name(r, vector, sizeof(vector));
    switch (r->outcome) {
    case PROBE_TRAPS: snprintf(buf, size, "traps: %s %s", signal_name(r->signo), vector); return;
    case PROBE_ABSENT: snprintf(buf, size, "absent: %s %s", signal_name(r->signo), vector); return;
    case PROBE_HOST_ENTRY:
        snprintf(buf, size, "%s",
                 r->signo == SIGSYS ? "to host kernel: seccomp SIGSYS" : "to host kernel, unseen");
        return;
    case PROBE_EMULATED: snprintf(buf, size, "host kernel answers (UMIP)"); return;
    case PROBE_HOST_VALUE:
        if (r->ns > 2 * r->call_ns && r->ns >= 500)
            snprintf(buf, size, "silent: host's value, %.1f us", (double)r->ns / 1000);
        else
            snprintf(buf, size, "silent: host's value");
        return;
    case PROBE_LOST: snprintf(buf, size, "silent: effect lost"); return;
    case PROBE_CHANGES: snprintf(buf, size, "silent: acts on host's state"); return;
    case PROBE_HYPERVISOR: snprintf(buf, size, "hypervisor beneath answers"); return;
    case PROBE_NATIVE: snprintf(buf, size, "runs natively"); return;
    case PROBE_UNTRIED: snprintf(buf, size, "not available here"); return;
    case PROBE_DIED:
    case PROBE_OUTCOMES: break;
    }
    snprintf(buf, size, "child ended by %s", signal_name(r->signo));
}

static void show_table(const struct probe_io *io, char *buf, size_t size)
{
    uint64_t base;
    uint16_t limit;

    memcpy(&limit, io->mem, sizeof(limit));
    memcpy(&base, io->mem + 2, sizeof(base));
    snprintf(buf, size, "base %#llx limit %#x", (unsigned long long)base, limit);
}

/* Whether r holds registers after the instruction. */
static bool completed(const struct probe_result *r)
{
    switch (r->outcome) {
    case PROBE_EMULATED:
    case PROBE_HOST_VALUE:
    case PROBE_LOST:
    case PROBE_CHANGES:
    case PROBE_HYPERVISOR:
    case PROBE_NATIVE: return true;
    case PROBE_HOST_ENTRY: return r->signo == 0;
    default: return false;
    }
}

void probe_value(const struct probe *in, const struct probe_result *r, char *buf, size_t size)
{
    const struct probe_io *io = &r->io;
    unsigned long long rax = io->rax;

    buf[0] = '\0';
    if (!completed(r))
        return;
    switch (in->show) {
    case SHOW_NONE: break;
    case SHOW_TABLE: show_table(io, buf, size); break;
    case SHOW_SEL: snprintf(buf, size, "%#llx", rax & 0xffff); break;
    case SHOW_RAX: snprintf(buf, size, "%#llx", rax); break;
    case SHOW_EAX: snprintf(buf, size, "eax %#llx", rax & 0xffffffff); break;
    case SHOW_EDX_EAX:
        snprintf(buf, size, "%#llx", (rax & 0xffffffff) | (unsigned long long)io->rdx << 32);
        break;
    case SHOW_ECX:
        snprintf(buf, size, "ecx %#llx", (unsigned long long)io->rcx & 0xffffffff);
        break;
    case SHOW_ZF: snprintf(buf, size, "ZF=%d", !!(io->flags & RFLAGS_ZF)); break;
    case SHOW_ZF_RAX:
        if (io->flags & RFLAGS_ZF)
            snprintf(buf, size, "ZF=1 %#llx", rax & 0xffffffff);
        else
            snprintf(buf, size, "ZF=0");
        break;
    case SHOW_FLAGS:
    case SHOW_IF_KEPT:
        snprintf(buf, size, "IF=%d IOPL=%d", !!(rax & RFLAGS_IF), (int)bits(rax, 12, 2));
        break;
    case SHOW_ANSWER: snprintf(buf, size, "rax %lld", (long long)rax); break;
    }
}
