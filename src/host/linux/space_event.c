/* What happened in a space: from the kernel's signal frame to the architecture's event, and the
 * registers' way back.
 *
 * The frame and everything in sh may be forged by guest user code at any time: each value is read
 * once and then judged, and whatever is believed is something the guest's code could have brought
 * about honestly. FACTS §11 lists how each exception arrives.
 * SDM 3 §6.15 "Exception and Interrupt Reference".
 *
 * State: the event's frame, in struct space. Runs in the vCPU task.
 */
#include "host/linux/space_priv.h"

#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <string.h>

#define SI_SECCOMP 1        /* SYS_SECCOMP */
#define SI_FROM_KERNEL 0x80 /* SI_KERNEL */
#define SYS_URETPROBE 335
#define TRAP_SINGLE_STEP 2 /* TRAP_TRACE */
#define DR6_BS (1u << 14)
#define SEL_CODE64 0x33
#define SEL_CODE32 0x23
#define SEL_DATA 0x2b
#define SEL_TLS0 0x63
#define SEL_CPU_NODE 0x7b /* the host's; any code can load it */
#define VSYSCALL 0xffffffffff600000ull
#define FLAGS_GUEST (RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)
#define FP_LEGACY 512
#define FP_HEADER_END 576
#define FP_SW 464 /* struct _fpx_sw_bytes: magic, extended size, xfeatures, xstate size */
#define FP_MAGIC 0x46505853u
#define FP_LEN_MAX 12288

static uint64_t once(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static struct space_frame *frame_of(struct space *s)
{
    return (struct space_frame *)(s->alt + s->frame_off);
}

/** Find the frame and the XSAVE image of a reported event. False: nonsense. */
static bool frame_take(struct space *s)
{
    uint64_t alt = s->base + SPACE_ALT, size = s->host->alt_size;
    uint64_t off = once(&s->sh->frame) - alt;
    if (off > size - sizeof(struct space_frame) || off % 8) {
        return false;
    }
    s->frame_off = (uint32_t)off;
    uint64_t fp = once(&frame_of(s)->fpstate) - alt;
    if (fp > size - FP_HEADER_END || fp % 64) {
        return false;
    }
    uint32_t len;
    memcpy(&len, s->alt + fp + FP_SW + 16, sizeof(len));
    if (len < FP_HEADER_END || len > FP_LEN_MAX || len > size - fp) {
        return false;
    }
    s->fp_off = (uint32_t)fp;
    s->fp_len = len;
    return true;
}

bool space_birth_note(struct space *s)
{
    struct space_birth *b = &s->host->birth;
    uint32_t magic;
    if (!frame_take(s)) {
        return false;
    }
    memcpy(&magic, s->alt + s->fp_off + FP_SW, sizeof(magic));
    if (magic != FP_MAGIC) {
        return false;
    }
    b->frame_off = s->frame_off;
    b->fp_off = s->fp_off;
    b->fp_len = s->fp_len;
    memcpy(b->fp_sw, s->alt + s->fp_off + FP_SW, sizeof(b->fp_sw));
    return true;
}

void space_frame_renew(struct space *s)
{
    const struct space_birth *b = &s->host->birth;
    static const uint16_t fcw = 0x37f;
    static const uint32_t mxcsr = 0x1f80;
    memset(s->alt, 0, s->host->alt_size);
    s->frame_off = b->frame_off;
    s->fp_off = b->fp_off;
    s->fp_len = b->fp_len;
    frame_of(s)->fpstate = s->base + SPACE_ALT + b->fp_off;
    memcpy(s->alt + b->fp_off, &fcw, sizeof(fcw));
    memcpy(s->alt + b->fp_off + 24, &mxcsr, sizeof(mxcsr));
    memcpy(s->alt + b->fp_off + FP_SW, b->fp_sw, sizeof(b->fp_sw));
    s->sh->ds = s->sh->es = s->sh->fs = s->sh->gs = 0;
    s->sh->fs_base = s->sh->gs_base = 0;
}

uint8_t *host_space_xsave(struct space *s, size_t *len)
{
    *len = s->fp_len;
    return s->alt + s->fp_off;
}

static void regs_read(struct space *s, struct space_regs *r)
{
    const struct space_frame *f = frame_of(s);
    const uint64_t *const from[GPR_COUNT] = {
        [RAX] = &f->rax, [RCX] = &f->rcx, [RDX] = &f->rdx, [RBX] = &f->rbx,
        [RSP] = &f->rsp, [RBP] = &f->rbp, [RSI] = &f->rsi, [RDI] = &f->rdi,
        [R8] = &f->r8,   [R9] = &f->r9,   [R10] = &f->r10, [R11] = &f->r11,
        [R12] = &f->r12, [R13] = &f->r13, [R14] = &f->r14, [R15] = &f->r15,
    };
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        r->gpr[i] = once(from[i]);
    }
    r->rip = once(&f->rip);
    r->rflags = (once(&f->rflags) & FLAGS_GUEST) | RFLAGS_FIXED | RFLAGS_IF;
    r->fs_base = once(&s->sh->fs_base);
    r->gs_base = once(&s->sh->gs_base);
    r->cs = __atomic_load_n(&f->cs, __ATOMIC_RELAXED);
    r->ss = __atomic_load_n(&f->ss, __ATOMIC_RELAXED);
    r->ds = __atomic_load_n(&s->sh->ds, __ATOMIC_RELAXED);
    r->es = __atomic_load_n(&s->sh->es, __ATOMIC_RELAXED);
    r->fs = __atomic_load_n(&s->sh->fs, __ATOMIC_RELAXED);
    r->gs = __atomic_load_n(&s->sh->gs, __ATOMIC_RELAXED);
}

/** Whether the host can load sel into a data segment register without a fault. */
static bool selector_loads(const struct space *s, uint16_t sel)
{
    uint16_t rpl3 = sel | 3;
    switch (rpl3) {
    case 3:
    case SEL_CODE32:
    case SEL_CODE64:
    case SEL_DATA:
    case SEL_CPU_NODE: return true;
    }
    unsigned idx = (unsigned)(rpl3 - SEL_TLS0) / 8;
    return rpl3 >= SEL_TLS0 && idx < 3 && s->tls_valid & 1u << idx;
}

int space_regs_write(struct space *s, const struct space_regs *r)
{
    bool code64 = r->cs == SEL_CODE64 && gva_canonical(r->rip);
    bool code32 = r->cs == SEL_CODE32 && r->rip <= UINT32_MAX;
    if (!(code64 || code32) || r->ss != SEL_DATA || !gva_canonical(r->fs_base) ||
        !gva_canonical(r->gs_base) || !selector_loads(s, r->ds) || !selector_loads(s, r->es) ||
        !selector_loads(s, r->fs) || !selector_loads(s, r->gs)) {
        return -EINVAL;
    }
    struct space_frame *f = frame_of(s);
    uint64_t *const to[GPR_COUNT] = {
        [RAX] = &f->rax, [RCX] = &f->rcx, [RDX] = &f->rdx, [RBX] = &f->rbx,
        [RSP] = &f->rsp, [RBP] = &f->rbp, [RSI] = &f->rsi, [RDI] = &f->rdi,
        [R8] = &f->r8,   [R9] = &f->r9,   [R10] = &f->r10, [R11] = &f->r11,
        [R12] = &f->r12, [R13] = &f->r13, [R14] = &f->r14, [R15] = &f->r15,
    };
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        *to[i] = r->gpr[i];
    }
    f->rip = r->rip;
    f->rflags = (r->rflags & (FLAGS_GUEST | RFLAGS_RF)) | RFLAGS_FIXED | RFLAGS_IF;
    f->cs = r->cs;
    f->ss = r->ss;
    s->sh->fs_base = r->fs_base;
    s->sh->gs_base = r->gs_base;
    s->sh->ds = r->ds;
    s->sh->es = r->es;
    s->sh->fs = r->fs;
    s->sh->gs = r->gs;
    s->ctl->frame = s->base + SPACE_ALT + s->frame_off;
    return 0;
}

static void event_page_fault(struct space_exit *out, uint64_t error, uint64_t cr2)
{
    out->event = SPACE_PAGE_FAULT;
    out->vector = VEC_PF;
    out->error = (uint32_t)(error & (PF_P | PF_W | PF_I)) | PF_U;
    out->cr2 = cr2;
}

static void event_exception(struct space_exit *out, uint8_t vector, uint64_t error)
{
    out->event = SPACE_EXCEPTION;
    out->vector = vector;
    out->error = (uint32_t)(error & 0xffff);
}

/** A 32-bit fast call: the host's kernel took the return address for its own, and registers from
 * the stack (they are the guest kernel's to fetch). SYSENTER had EBP as the stack pointer, SYSCALL
 * left it in what is now RCX. */
static void event_syscall32(const struct space *s, struct space_regs *r, struct space_exit *out)
{
    out->event = SPACE_SYSCALL32;
    r->gpr[RBP] = s->host->intel ? r->gpr[RSP] : r->gpr[RCX];
    r->rip = 0;
}

static bool event_sigsys(const struct space *s, const struct space_frame *f, struct space_regs *r,
                         struct space_exit *out)
{
    uint64_t at = once(&f->call_addr);
    int32_t nr = __atomic_load_n(&f->call_nr, __ATOMIC_RELAXED);
    uint32_t arch = __atomic_load_n(&f->call_arch, __ATOMIC_RELAXED);
    if (arch == AUDIT_ARCH_X86_64 && at >= VSYSCALL && at < VSYSCALL + PAGE_SIZE) {
        r->rip = at; /* the host's kernel has already returned to the caller */
        r->gpr[RSP] -= 8;
        event_page_fault(out, PF_I, at);
        return true;
    }
    r->rip = at;
    if ((int32_t)r->gpr[RAX] != nr) { /* it looked like a call to be restarted */
        r->gpr[RAX] = arch == AUDIT_ARCH_X86_64 ? (uint64_t)(int64_t)nr : (uint32_t)nr;
    }
    if (arch == AUDIT_ARCH_X86_64) {
        out->event = SPACE_SYSCALL;
        r->gpr[RCX] = r->rip;
        r->gpr[R11] = r->rflags;
    } else if (r->cs == SEL_CODE32 && at > UINT32_MAX) {
        event_syscall32(s, r, out);
    } else {
        out->event = SPACE_INT80;
    }
    return true;
}

/** The one system call that Linux (from 6.14 on) does not show to filters: uretprobe answers with
 * SIGILL. (Its sister uprobe, 336, answers -ENXIO without any signal: docs.) */
static void event_uretprobe(struct space_regs *r, struct space_exit *out)
{
    out->event = SPACE_SYSCALL;
    r->gpr[RAX] = SYS_URETPROBE;
    r->gpr[RCX] = r->rip;
    r->gpr[R11] = r->rflags;
}

static bool event_fault(const struct space *s, const struct space_frame *f, struct space_exit *out)
{
    uint64_t trap = once(&f->trapno), error = once(&f->err), cr2 = once(&f->cr2), rip = once(&f->rip);
    switch (trap) {
    case VEC_PF:
        if (rip >= VSYSCALL && rip < VSYSCALL + PAGE_SIZE) { /* the host found the call's arguments wanting */
            error = PF_I;
            cr2 = rip;
        }
        event_page_fault(out, error, cr2);
        if (!gva_canonical(cr2)) { /* the host translates 57 bits, the guest's processor 48 */
            event_exception(out, VEC_GP, 0);
        }
        return true;
    case VEC_GP:
        event_exception(out, VEC_GP, error);
        if (s->host->cpuid_faults && error == 0 &&
            __atomic_load_n(&s->sh->cpuid, __ATOMIC_RELAXED)) {
            out->event = SPACE_CPUID;
        }
        return true;
    case VEC_DE:
    case VEC_DB:
    case VEC_BP:
    case VEC_OF:
    case VEC_BR:
    case VEC_MF:
    case VEC_XM: event_exception(out, (uint8_t)trap, 0); return true;
    case VEC_TS:
    case VEC_NP:
    case VEC_SS: event_exception(out, (uint8_t)trap, error); return true;
    case VEC_AC: event_exception(out, VEC_AC, 0); return true;
    }
    return false;
}

bool space_event_read(struct space *s, struct space_regs *r, struct space_exit *out)
{
    uint32_t signo = __atomic_load_n(&s->sh->signo, __ATOMIC_RELAXED);
    *out = (struct space_exit){.event = SPACE_KICKED};
    if (!frame_take(s)) {
        return false;
    }
    const struct space_frame *f = frame_of(s);
    int32_t code = __atomic_load_n(&f->si_code, __ATOMIC_RELAXED);
    regs_read(s, r);
    if (signo == SIGUSR1 || code <= 0) {
        return true; /* a signal from another process changes nothing */
    }
    if (signo == SIGSYS) {
        return code == SI_SECCOMP && event_sigsys(s, f, r, out);
    }
    if (signo == SIGILL) { /* without a trap number of its own */
        event_exception(out, VEC_UD, 0);
        if (code == SI_FROM_KERNEL) {
            event_uretprobe(r, out);
        }
        return true;
    }
    if (!event_fault(s, f, out)) {
        return false;
    }
    if (out->event == SPACE_EXCEPTION && out->vector == VEC_DB && code == TRAP_SINGLE_STEP) {
        out->error = DR6_BS;
    }
    return true;
}
