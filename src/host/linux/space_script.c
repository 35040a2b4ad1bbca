/* The scripts of system calls by which the zygote, and then each of its children, becomes what it
 * has to be (space_stub.S carries them out).
 *
 * A child's last call installs the filter with the child's own random token. No guest page is
 * mapped until its birth, so nothing untrusted can have read the filter program, which is wiped
 * after it.
 *
 * The zygote lives in home 0. A child for another home first puts the stub's page and its ctl there
 * and goes on in these, then drops the old ones.
 *
 * State: none. Runs in the vCPU task.
 */
#include "host/linux/space_priv.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define USER_END 0x7ffffffff000ull
#define KICK_SIGNAL SIGUSR1 /* space_stub.S */
#define SA_RESTORER 0x04000000
#define MAP_HOW (MAP_SHARED | MAP_FIXED)

/* Offsets in ops: after the script, what its calls point to. */
#define SCRIPT_ACTION 0x600
#define SCRIPT_STACK 0x700
#define SCRIPT_PROGRAM 0x800
#define SCRIPT_FILTER 0x810
#define SCRIPT_END (SCRIPT_FILTER + SPACE_FILTER_MAX * sizeof(struct sock_filter))
#define SCRIPT_MAX (SCRIPT_ACTION / SCRIPT_SIZE)

const int space_signals[SPACE_SIGNALS] = {SIGSEGV, SIGBUS, SIGILL,     SIGFPE,
                                          SIGTRAP, SIGSYS, KICK_SIGNAL};

/** A script being written. */
struct writer {
    struct space_script *at;
    unsigned count;
};

static void put(struct writer *w, const struct space_script *entry)
{
    BUG_ON(w->count >= SCRIPT_MAX);
    w->at[w->count++] = *entry;
}
#define PUT(w, ...) put(w, &(const struct space_script){__VA_ARGS__})

struct space_sigaction space_sigaction(uint64_t base)
{
    return (struct space_sigaction){.handler = stub_at(base, stub_handler),
                                    .flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTORER,
                                    .restorer = stub_at(base, stub_handler)};
}

void space_script_zygote(struct space_host *h)
{
    uint64_t code_end = h->base + SPACE_CODE_SIZE, page = h->base + SPACE_ZYGOTE,
             page_end = page + PAGE_SIZE;
    const struct space_script script[] = {
        {SYS_munmap, {0, h->base}, 0},
        {SYS_munmap, {code_end, page - code_end}, 0},
        {SYS_munmap, {page_end, USER_END - page_end}, 0},
        {SCRIPT_NR_GO, {stub_at(h->base, stub_serve)}, 0},
    };
    memcpy((uint8_t *)h->zygote + ZP_SCRIPT, script, sizeof(script));
    h->zygote->slots_fd = (uint32_t)h->slots_fd;
}

/** From the zygote's home to that of s. */
static void move(struct writer *w, struct space *s)
{
    const struct space_host *h = s->host;
    uint8_t *ops = (uint8_t *)s->ops;
    uint64_t there = s->base + SPACE_OPS;
    struct space_sigaction action = space_sigaction(s->base);
    memcpy(ops + SCRIPT_ACTION, &action, sizeof(action));
    stack_t stack = {.ss_sp = space_pointer(s->base + SPACE_ALT), .ss_size = h->alt_size};
    memcpy(ops + SCRIPT_STACK, &stack, sizeof(stack));

    /* mremap(2): an old length of 0 makes a second mapping of the same pages */
    PUT(w, SYS_mremap, {h->base, 0, SPACE_CODE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, s->base},
        (int64_t)s->base);
    PUT(w, SYS_mmap,
        {s->base + SPACE_CTL, SPACE_CTL_SIZE, PROT_READ, MAP_HOW, (uint64_t)h->slots_fd,
         s->slot_off + SLOT_CTL},
        SCRIPT_OK);
    PUT(w, SCRIPT_NR_GO,
        {stub_at(s->base, stub_script), there + (w->count + 1) * (uint64_t)SCRIPT_SIZE}, 0);
    PUT(w, SYS_munmap, {h->base, SPACE_RESERVED}, 0);
    PUT(w, SYS_sigaltstack, {there + SCRIPT_STACK, 0}, 0);
    for (unsigned i = 0; i < SPACE_SIGNALS; i++) {
        PUT(w, SYS_rt_sigaction,
            {(uint64_t)space_signals[i], there + SCRIPT_ACTION, 0, sizeof(action.mask)}, 0);
    }
}

void space_script_child(struct space *s)
{
    const struct space_host *h = s->host;
    uint8_t *ops = (uint8_t *)s->ops;
    uint64_t there = s->base + SPACE_OPS, fd = (uint64_t)h->slots_fd;
    struct space_filter_facts facts = {
        .base = s->base, .token = s->token, .gate_fd = (uint32_t)s->gate_fd};
    struct sock_fprog program = {
        .len = (unsigned short)space_filter_build((void *)(ops + SCRIPT_FILTER), &facts),
        .filter = space_pointer(there + SCRIPT_FILTER)};
    memcpy(ops + SCRIPT_PROGRAM, &program, sizeof(program));

    struct writer w = {(void *)ops, 0};
    if (s->base != h->base) {
        move(&w, s);
    } else {
        PUT(&w, SYS_munmap, {h->base + SPACE_ZYGOTE, PAGE_SIZE}, 0);
    }
    PUT(&w, SYS_mmap,
        {s->base + SPACE_SH, SPACE_SH_SIZE + h->alt_size, PROT_READ | PROT_WRITE, MAP_HOW, fd,
         s->slot_off + SLOT_SH},
        SCRIPT_OK);
    if (s->desk_gva) {
        PUT(&w, SYS_mmap,
            {s->desk_gva, SPACE_DESK_SIZE, PROT_READ, MAP_HOW, fd, s->slot_off + SLOT_DESK},
            SCRIPT_OK);
    }
    PUT(&w, SYS_seccomp,
        {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, there + SCRIPT_PROGRAM}, 0);
    PUT(&w, SCRIPT_NR_GO, {stub_at(s->base, stub_birth)}, 0);
}

void space_script_wipe(struct space *s)
{
    memset(s->ops, 0, SCRIPT_END);
}
