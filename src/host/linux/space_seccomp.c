/* The system call filter of a space: nothing but the stub's own calls, each at its one place.
 *
 * The filter sees the address after the system call instruction. A call from outside the stub is an
 * event (SIGSYS); a call from inside that is not exactly the one which stands there kills the
 * process. Gate calls must carry the space's token in halves of arguments that the kernel ignores;
 * it reaches registers only through the gate (space_stub.S). Checked on Linux 6.18: mmap ignores
 * the high halves of fd and, with MAP_SHARED, of flags; mprotect and munmap have no 4th and 5th
 * argument; lseek ignores the high half of whence.
 *
 * State: none.
 */
#include "host/linux/space_priv.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/syscall.h>

struct builder {
    struct sock_filter *at;
    unsigned len;
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

/** The word at off must be value, else the process is killed. */
static void demand(struct builder *b, uint32_t off, uint32_t value)
{
    load(b, off);
    emit(b, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, value);
    verdict(b, SECCOMP_RET_KILL_PROCESS);
}

static void demand_address(struct builder *b, unsigned arg, uint64_t value)
{
    demand(b, ARG_LOW(arg), (uint32_t)value);
    demand(b, ARG_HIGH(arg), (uint32_t)(value >> 32));
}

/** Open a section for the call at address ip, which is in the accumulator; returns where to close
 * it. */
static unsigned site_open(struct builder *b, uint64_t ip)
{
    emit(b, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, (uint32_t)ip);
    return b->len;
}

static void site_close(struct builder *b, unsigned start)
{
    verdict(b, SECCOMP_RET_ALLOW);
    b->at[start - 1].jf = (uint8_t)(b->len - start);
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
    site_close(b, site);

    site = site_open(b, stub_at(base, stub_ip_wait));
    demand(b, FIELD(nr), SYS_futex);
    demand_address(b, 0, base + SPACE_CTL + CTL_SEQ);
    demand(b, ARG_LOW(1), FUTEX_WAIT);
    site_close(b, site);

    static const uint8_t *const wakes[] = {stub_ip_wake, stub_ip_wake_again};
    for (unsigned i = 0; i < ARRAY_LEN(wakes); i++) {
        site = site_open(b, stub_at(base, wakes[i]));
        demand(b, FIELD(nr), SYS_futex);
        demand_address(b, 0, base + SPACE_SH + SH_BELL);
        demand(b, ARG_LOW(1), FUTEX_WAKE);
        site_close(b, site);
    }

    site = site_open(b, stub_at(base, stub_ip_exit));
    demand(b, FIELD(nr), SYS_exit_group);
    site_close(b, site);
}

static void gate_sites(struct builder *b, const struct space_filter_facts *f)
{
    uint32_t low = (uint32_t)f->token, high = (uint32_t)(f->token >> 32);

    unsigned site = site_open(b, stub_at(f->base, stub_ip_get));
    demand(b, FIELD(nr), SYS_lseek);
    demand(b, ARG_LOW(0), f->gate_fd);
    demand_address(b, 1, 0);
    demand(b, ARG_LOW(2), 1); /* SEEK_CUR */
    site_close(b, site);

    site = site_open(b, stub_at(f->base, stub_ip_op));
    demand(b, ARG_HIGH(3), low);
    demand(b, ARG_HIGH(4), high);
    site_close(b, site);

    site = site_open(b, stub_at(f->base, stub_ip_done));
    demand(b, FIELD(nr), SYS_lseek);
    demand(b, ARG_LOW(0), f->gate_fd);
    demand(b, ARG_HIGH(1), high);
    demand(b, ARG_HIGH(2), low);
    demand(b, ARG_LOW(2), 0); /* SEEK_SET */
    site_close(b, site);
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
    site_close(b, site);
    verdict(b, SECCOMP_RET_KILL_PROCESS);
}

unsigned space_filter_build(struct sock_filter *prog, const struct space_filter_facts *facts)
{
    struct builder b = {.at = prog};
    load(&b, FIELD(arch));
    emit(&b, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, AUDIT_ARCH_X86_64);
    unsigned native = b.len;
    outside_is_event(&b, facts->base);
    handoff_sites(&b, facts->base);
    gate_sites(&b, facts);
    verdict(&b, SECCOMP_RET_KILL_PROCESS);
    b.at[native - 1].jf = (uint8_t)(b.len - native);
    i386_sites(&b, facts);
    return b.len;
}
