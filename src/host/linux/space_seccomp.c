/* The system call filters of a space, one on top of the other; of their verdicts the kernel takes
 * the stricter one (seccomp(2): kill, trap, error, ..., allow).
 *
 * The space's own: nothing but the stub's own calls, each at its one place. It sees the address
 * after the system call instruction. A call from outside the stub is an event (SIGSYS); a call from
 * inside that is not exactly the one which stands there kills the process. Gate calls must carry
 * the space's token in halves of arguments that the kernel ignores; it reaches registers only
 * through the gate (space_stub.S). Checked on Linux 6.18: mmap ignores the high halves of fd and,
 * with MAP_SHARED, of flags; mprotect and munmap have no 4th and 5th argument; lseek ignores the
 * high half of whence.
 *
 * The zygote's, which its children inherit: what zygote, birth and stub need, with the arguments
 * that they use. It holds a vCPU task that was taken over by its guest, and that writes the scripts
 * and the space's own filter as it likes (space_script.c); what it refuses is an error, so that the
 * events of the other filter stay what they are. A fork needs the zygote's secret: else a child
 * could make processes that outlive the task.
 *
 * State: none.
 */
#include "host/linux/space_priv.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

struct builder {
    struct sock_filter *at;
    unsigned len;
    uint32_t refusal; /* of a call whose arguments are not as demanded */
};

#define FIELD(name) ((uint32_t)offsetof(struct seccomp_data, name))
#define ARG_LOW(i) ((uint32_t)(offsetof(struct seccomp_data, args) + 8 * (i)))
#define ARG_HIGH(i) (ARG_LOW(i) + 4)

static void emit(struct builder *b, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
    BUG_ON(b->len >= SPACE_FILTER_MAX);
    b->at[b->len++] = (struct sock_filter){.code = code, .jt = jt, .jf = jf, .k = k};
}

static void load(struct builder *b, uint32_t off)
{
    emit(b, BPF_LD | BPF_W | BPF_ABS, 0, 0, off);
}

static void verdict(struct builder *b, uint32_t action)
{
    emit(b, BPF_RET | BPF_K, 0, 0, action);
}

/** The word at off must be value, else the call is refused. */
static void demand(struct builder *b, uint32_t off, uint32_t value)
{
    load(b, off);
    emit(b, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, value);
    verdict(b, b->refusal);
}

/** The word at off must be one of two. */
static void demand_either(struct builder *b, uint32_t off, uint32_t value, uint32_t other)
{
    load(b, off);
    emit(b, BPF_JMP | BPF_JEQ | BPF_K, 2, 0, value);
    emit(b, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, other);
    verdict(b, b->refusal);
}

/** The word at off must have no bits but these. */
static void demand_bits(struct builder *b, uint32_t off, uint32_t allowed)
{
    load(b, off);
    emit(b, BPF_JMP | BPF_JSET | BPF_K, 0, 1, ~allowed);
    verdict(b, b->refusal);
}

/** All of an argument. */
static void demand_whole(struct builder *b, unsigned arg, uint64_t value)
{
    demand(b, ARG_LOW(arg), (uint32_t)value);
    demand(b, ARG_HIGH(arg), (uint32_t)(value >> 32));
}

/** Open a section for where the accumulator is value; returns where to close it. */
static unsigned section_open(struct builder *b, uint32_t value)
{
    emit(b, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, value);
    return b->len;
}

/** What follows is for other values; the section must not fall into it. */
static void section_end(struct builder *b, unsigned start)
{
    BUG_ON(b->len - start > UINT8_MAX);
    b->at[start - 1].jf = (uint8_t)(b->len - start);
}

/** Allow what has come through the section. */
static void section_close(struct builder *b, unsigned start)
{
    verdict(b, SECCOMP_RET_ALLOW);
    section_end(b, start);
}

/* ---- the space's own ---- */

/** A section for the call at address ip, whose low half is in the accumulator. */
static unsigned site_open(struct builder *b, uint64_t ip)
{
    return section_open(b, (uint32_t)ip);
}

/** Calls from outside the stub are events. Leaves the low half of the address in the accumulator.
 */
static void outside_is_event(struct builder *b, uint64_t base)
{
    load(b, FIELD(instruction_pointer) + 4);
    emit(b, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, (uint32_t)(base >> 32));
    verdict(b, SECCOMP_RET_TRAP);
    load(b, FIELD(instruction_pointer));
    emit(b, BPF_JMP | BPF_JGE | BPF_K, 0, 1, (uint32_t)stub_at(base, stub_low));
    emit(b, BPF_JMP | BPF_JGT | BPF_K, 0, 1, (uint32_t)stub_at(base, stub_high));
    verdict(b, SECCOMP_RET_TRAP);
}

static void handoff_sites(struct builder *b, uint64_t base)
{
    unsigned site = site_open(b, stub_at(base, stub_ip_yield));
    demand(b, FIELD(nr), SYS_sched_yield);
    section_close(b, site);

    site = site_open(b, stub_at(base, stub_ip_wait));
    demand(b, FIELD(nr), SYS_futex);
    demand_whole(b, 0, base + SPACE_CTL + CTL_SEQ);
    demand(b, ARG_LOW(1), FUTEX_WAIT);
    section_close(b, site);

    static const uint8_t *const wakes[] = {stub_ip_wake, stub_ip_wake_again};
    for (unsigned i = 0; i < ARRAY_LEN(wakes); i++) {
        site = site_open(b, stub_at(base, wakes[i]));
        demand(b, FIELD(nr), SYS_futex);
        demand_whole(b, 0, base + SPACE_SH + SH_BELL);
        demand(b, ARG_LOW(1), FUTEX_WAKE);
        section_close(b, site);
    }

    site = site_open(b, stub_at(base, stub_ip_exit));
    demand(b, FIELD(nr), SYS_exit_group);
    section_close(b, site);
}

static void gate_sites(struct builder *b, const struct space_filter_facts *f)
{
    uint32_t low = (uint32_t)f->token, high = (uint32_t)(f->token >> 32);

    unsigned site = site_open(b, stub_at(f->base, stub_ip_get));
    demand(b, FIELD(nr), SYS_lseek);
    demand(b, ARG_LOW(0), f->gate_fd);
    demand_whole(b, 1, 0);
    demand(b, ARG_LOW(2), 1); /* SEEK_CUR */
    section_close(b, site);

    site = site_open(b, stub_at(f->base, stub_ip_op));
    demand(b, ARG_HIGH(3), low);
    demand(b, ARG_HIGH(4), high);
    section_close(b, site);

    site = site_open(b, stub_at(f->base, stub_ip_done));
    demand(b, FIELD(nr), SYS_lseek);
    demand(b, ARG_LOW(0), f->gate_fd);
    demand(b, ARG_HIGH(1), high);
    demand(b, ARG_HIGH(2), low);
    demand(b, ARG_LOW(2), 0); /* SEEK_SET */
    section_close(b, site);
}

/** Calls of the i386 ABI: from the stub only set_thread_area, with the token in its unused
 * arguments. */
static void i386_sites(struct builder *b, const struct space_filter_facts *f)
{
    outside_is_event(b, f->base);
    unsigned site = site_open(b, stub_at(f->base, stub_ip_tls));
    demand(b, FIELD(nr), SPACE_OP_TLS);
    demand(b, ARG_LOW(1), (uint32_t)f->token);
    demand(b, ARG_LOW(2), (uint32_t)(f->token >> 32));
    section_close(b, site);
    verdict(b, SECCOMP_RET_KILL_PROCESS);
}

unsigned space_filter_build(struct sock_filter *prog, const struct space_filter_facts *facts)
{
    struct builder b = {.at = prog, .refusal = SECCOMP_RET_KILL_PROCESS};
    load(&b, FIELD(arch));
    unsigned native = section_open(&b, AUDIT_ARCH_X86_64);
    outside_is_event(&b, facts->base);
    handoff_sites(&b, facts->base);
    gate_sites(&b, facts);
    verdict(&b, SECCOMP_RET_KILL_PROCESS);
    section_end(&b, native);
    i386_sites(&b, facts);
    return b.len;
}

/* ---- the zygote's ---- */

/** The calls of a running space, each time it has something to do: first, therefore. */
static void running_calls(struct builder *b, const struct space_zygote_facts *f)
{
    section_close(b, section_open(b, SYS_sched_yield));

    unsigned call = section_open(b, SYS_futex);
    demand_either(b, ARG_LOW(1), FUTEX_WAIT, FUTEX_WAKE);
    section_close(b, call);

    section_close(b, section_open(b, SYS_lseek));

    call = section_open(b, SYS_mmap);
    demand_either(b, ARG_LOW(3), MAP_SHARED | MAP_FIXED | MAP_POPULATE, MAP_SHARED | MAP_FIXED);
    demand_bits(b, ARG_LOW(2), PROT_READ | PROT_WRITE | PROT_EXEC);
    demand_either(b, ARG_LOW(4), f->ram_fd, f->slots_fd);
    section_close(b, call);

    call = section_open(b, SYS_mprotect);
    demand_bits(b, ARG_LOW(2), PROT_READ | PROT_WRITE | PROT_EXEC);
    section_close(b, call);

    section_close(b, section_open(b, SYS_munmap));
}

/** The calls of the zygote's loop, and of a child up to its birth. */
static void birth_calls(struct builder *b, const struct space_zygote_facts *f)
{
    unsigned call = section_open(b, SYS_clone);
    demand_whole(b, 0, SPACE_CHILD_FLAGS);
    demand_whole(b, 2, f->secret[0]); /* arguments that other flags would give a meaning */
    demand_whole(b, 3, f->secret[1]);
    section_close(b, call);

    call = section_open(b, SYS_prctl);
    demand(b, ARG_LOW(0), PR_SET_PDEATHSIG);
    demand_whole(b, 1, SIGKILL);
    section_close(b, call);

    call = section_open(b, SYS_mremap);
    demand_whole(b, 0, f->base);
    demand_whole(b, 1, 0);
    demand_whole(b, 2, SPACE_CODE_SIZE);
    demand(b, ARG_LOW(3), MREMAP_MAYMOVE | MREMAP_FIXED);
    section_close(b, call);

    call = section_open(b, SYS_seccomp);
    demand(b, ARG_LOW(0), SECCOMP_SET_MODE_FILTER);
    demand(b, ARG_LOW(1), SECCOMP_FILTER_FLAG_SPEC_ALLOW);
    section_close(b, call);

    static const uint32_t plain[] = {SYS_getppid, SYS_rt_sigaction, SYS_sigaltstack,
                                     SYS_exit_group};
    for (unsigned i = 0; i < ARRAY_LEN(plain); i++) {
        section_close(b, section_open(b, plain[i]));
    }
}

unsigned space_filter_build_zygote(struct sock_filter *prog, const struct space_zygote_facts *facts)
{
    struct builder b = {.at = prog, .refusal = SECCOMP_RET_ERRNO | EPERM};
    load(&b, FIELD(arch));
    unsigned native = section_open(&b, AUDIT_ARCH_X86_64);
    load(&b, FIELD(nr));
    running_calls(&b, facts);
    birth_calls(&b, facts);
    verdict(&b, b.refusal);
    section_end(&b, native);
    load(&b, FIELD(nr));
    section_close(&b, section_open(&b, SPACE_OP_TLS));
    verdict(&b, b.refusal);
    return b.len;
}
