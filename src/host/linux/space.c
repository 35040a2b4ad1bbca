/* Spaces on Linux: setting up, creating and destroying them, and the queue of mapping operations.
 *
 * The queue stands where the gate reads it: in the space's ops pages, which only the task can
 * write. Whenever the thread is not in the gate, that is whenever the task is here, it may be
 * written; the gate is closed (space_run.c opens it for one batch).
 *
 * Destroying is emptying where the thread can be parked: then certainly nothing is touched any
 * more, the rest happens while the task goes on, and the process waits in a pool for its next user.
 *
 * State: hosts[], one a vCPU of this task. Runs in the vCPU task.
 */
#include "host/linux/space_priv.h"

#include "vm/vm.h"

#include <asm/ldt.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define POOL_MAX 8
#define USER_END 0x7ffffffff000ull
#define HWCAP2_FSGSBASE (1u << 1)
#define ARCH_SET_CPUID 0x1012
#define TLS_FIRST 12
#define QUEUE_ROOM (SPACE_OWN_MAX + 2) /* kept free, for one more and to empty the space first */
#define PROT_FLAGS_MAP (MAP_SHARED | MAP_FIXED | MAP_POPULATE)

static struct space_host *hosts[VM_MAX_CPUS]; /* of this task: one vCPU each */

/** The word host_kick sets (host/linux/task.h; the tests have their own). */
volatile int *host_kick_flag(const struct vcpu *v);

/* ---- setting up ---- */

/** The lowest address an ordinary process may map. */
static uint64_t lowest_gva(void)
{
    char text[24] = "";
    int fd = open("/proc/sys/vm/mmap_min_addr", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!read(fd, text, sizeof(text) - 1);
        close(fd);
    }
    uint64_t lowest = strtoull(text, NULL, 10);
    return align_up(lowest ? lowest : 65536, PAGE_SIZE);
}

/** Make CPUID fault in this task and in those forked from it. The task does as its spaces do,
 * because a switch between a task where it faults and one where it does not writes an MSR, which
 * costs a nested host 8 us. */
static bool cpuid_fault(bool on)
{
    return syscall(SYS_arch_prctl, ARCH_SET_CPUID, on ? 0 : 1) == 0;
}

/** A kick must not end this task. Whoever has a handler keeps it. */
static void no_op(int sig)
{
    (void)sig;
}

static void kick_signal_init(void)
{
    struct sigaction sa;
    if (sigaction(SIGUSR2, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL) {
        memset(&sa, 0, sizeof(sa));
        sa.sa_handler = no_op;
        sigaction(SIGUSR2, &sa, NULL);
    }
}

/** *why says what does not work, with -ENOTSUP. */
static int host_init(struct space_host *h, struct vcpu *v, const char **why)
{
    h->vcpu = v;
    h->kicked = host_kick_flag(v);
    h->base = space_home_base(0);
    h->ram_fd = v->vm->ram.fd;
    h->ram_size = v->vm->ram.size;
    h->lowest_gva = lowest_gva();
    h->slots_fd = h->load_fd = -1;
    /* Two frames, the event's and a kick's, and some room. */
    uint64_t frame = max_u64(getauxval(AT_MINSIGSTKSZ), 4096);
    h->alt_size = (uint32_t)align_up(2 * frame + 4096, PAGE_SIZE);
    if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)) {
        *why = "the FSGSBASE instructions do not work here";
        return -ENOTSUP;
    }
    if (h->alt_size > SPACE_ALT_SIZE) {
        *why = "the host's signal frames are larger than there is room for";
        return -ENOTSUP;
    }
    h->intel = __builtin_cpu_is("intel");
    h->cpuid_faults = cpuid_fault(true);
    kick_signal_init();
    space_handoff_init(h);
    return 0;
}

/** Run a fresh space from rip, which its second instruction at the latest leaves. 0 or -errno. */
static int probe_from(struct space_host *h, struct vcpu *v, uint64_t rip, struct space_exit *out)
{
    static volatile int never;
    struct space_regs regs = {.rip = rip, .rflags = RFLAGS_FIXED, .cs = 0x33, .ss = 0x2b};
    struct space *s;
    int err = host_space_create(v, 0, &s);
    if (err) {
        return err;
    }
    volatile int *kicked = h->kicked;
    h->kicked = &never;
    err = host_space_run(s, &regs, out);
    h->kicked = kicked;
    host_space_destroy(s);
    return err;
}

/** Make and run a first space: this proves that all of it works. 0 or -errno, *why as above. */
static int probe(struct space_host *h, struct vcpu *v, const char **why)
{
    struct space_exit out;
    uint64_t int80 = stub_at(h->base, stub_probe), ud2 = int80 + 2;
    int err = probe_from(h, v, int80, &out);
    h->int80_works = !err && out.event == SPACE_INT80;
    bool works = h->int80_works || (!err && out.event == SPACE_EXCEPTION && out.vector == VEC_GP);
    if (!err && out.event == SPACE_DEAD) {
        /* A sandbox around ring3 may kill whoever makes a 32-bit system call. Guests go without. */
        err = probe_from(h, v, ud2, &out);
        works = !err && out.event == SPACE_EXCEPTION && out.vector == VEC_UD;
    }
    if (!err && !works) {
        *why = out.event == SPACE_DEAD
                   ? "a process that returns from a signal to user code does not survive it here"
                   : "an exception in user code does not arrive as what it is";
    }
    return err ? err : works ? 0 : -ENOTSUP;
}

/** Why no space can be had, where the error alone says nothing; or NULL. */
static const char *why_not(int err, const char *why)
{
    switch (err) {
    case -ENOTSUP: return why;
    case -ECHILD:
        return "the process that user code's are forked from ends at once: something (a seccomp "
               "profile?) refuses it a system call";
    case -ESRCH:
    case -EIO:
        return "a process for user code ends at once: something (a seccomp profile?) refuses it a "
               "system call";
    default: return NULL;
    }
}

/** Does not return where this host cannot do it and the error alone would not say what. */
int host_space_setup(struct vcpu *v)
{
    struct space_host *h = calloc(1, sizeof(*h));
    if (!h) {
        return -ENOMEM;
    }
    const char *why = NULL;
    int err = host_init(h, v, &why);
    if (!err) {
        err = space_zygote_start(h);
        hosts[v->index] = h;
        if (!err) {
            err = probe(h, v, &why);
        }
        if (!err) {
            return 0;
        }
        space_zygote_stop(h);
    }
    if (h->load_fd >= 0) {
        close(h->load_fd);
    }
    if (h->cpuid_faults) {
        (void)cpuid_fault(false);
    }
    hosts[v->index] = NULL;
    free(h);
    why = why_not(err, why);
    if (why) {
        char line[240];
        fmt_line(line, sizeof(line), "the bt engine cannot start: %s; 'ring3 doctor' says more",
                 why);
        host_panic(line);
    }
    return err;
}

void host_space_stats(const struct vcpu *v, struct host_space_stats *out)
{
    const struct space_host *h = hosts[v->index];
    *out = h ? h->stats : (struct host_space_stats){0};
}

/* ---- creating and destroying ---- */

/** Stop the thread for certain, doing what is queued. 0 or -ESRCH. */
static int stop(struct space *s)
{
    if (s->state == SPACE_GONE) {
        return -ESRCH;
    }
    if (s->state == SPACE_PARKED && !s->op_count) {
        return 0;
    }
    space_gate_start(s, SPACE_CMD_GATE);
    return space_gate_finish(s);
}

/** Take a process with that home (or with another one, if `other`) out of the pool, as it is.
 * NULL: none. */
static struct space *pool_remove(struct space_host *h, unsigned home, bool other)
{
    for (struct space **at = &h->pool; *at; at = &(*at)->next) {
        struct space *s = *at;
        if ((s->home != home) == other) {
            *at = s->next;
            h->pool_count--;
            return s;
        }
    }
    return NULL;
}

/** A process with that home from the pool, or NULL. */
static struct space *pool_take(struct space_host *h, unsigned home)
{
    struct space *s;
    while ((s = pool_remove(h, home, false))) {
        int err = s->emptying ? space_gate_finish(s) : 0;
        s->emptying = false;
        if (!err) {
            space_frame_renew(s);
            memset(s->desk, 0, 3 * sizeof(struct user_desc));
            s->tls_valid = 0;
            s->streak = 0;
            return s;
        }
        s->state = SPACE_FREE;
    }
    return NULL;
}

/** A free slot, if need be that of a process in the pool, or NULL. */
static struct space *slot_take(struct space_host *h, unsigned home)
{
    for (unsigned i = 0; i < h->slot_count; i++) {
        if (h->space[i].state == SPACE_FREE) {
            return &h->space[i];
        }
    }
    struct space *s = pool_remove(h, home, true);
    if (s) {
        space_kill(s);
    }
    return s;
}

int host_space_create(struct vcpu *v, unsigned home, struct space **out)
{
    struct space_host *h = hosts[v->index];
    struct space_range own[SPACE_OWN_MAX];
    *out = NULL;
    if (!h || host_space_home(home, own) < 0) {
        return h ? -EINVAL : -ENXIO;
    }
    struct space *s = pool_take(h, home);
    if (s) {
        *out = s;
        return 0;
    }
    s = slot_take(h, home);
    if (!s) {
        return -EAGAIN;
    }
    int err = space_zygote_fork(s, home);
    if (err) {
        s->state = SPACE_FREE;
        return err;
    }
    *out = s;
    return 0;
}

/** Have a parked thread drop everything guest-like, without waiting for it, and keep it. */
static void pool_put(struct space *s)
{
    struct space_host *h = s->host;
    space_queue_empty(s);
    for (unsigned i = 0; i < 3; i++) {
        if (s->tls_valid & 1u << i) {
            (void)!host_space_set_tls(s, i, 0);
        }
    }
    s->emptying = true;
    space_gate_start(s, SPACE_CMD_GATE);
    s->next = h->pool;
    h->pool = s;
    h->pool_count++;
}

/** Whether the pool has room for a process with that home; those with others make place. */
static bool pool_room(struct space_host *h, unsigned home)
{
    struct space *old = h->pool_count < POOL_MAX ? NULL : pool_remove(h, home, true);
    if (old) {
        space_kill(old);
        old->state = SPACE_FREE;
    }
    return h->pool_count < POOL_MAX;
}

void host_space_destroy(struct space *s)
{
    if (s->state == SPACE_STOPPED || s->state == SPACE_PARKED) {
        s->op_count = 0; /* nobody will see its effect */
        s->op_pages = 0;
        if (pool_room(s->host, s->home) && stop(s) == 0) {
            pool_put(s);
            return;
        }
    }
    space_kill(s);
    s->state = SPACE_FREE;
}

/* ---- the queue ---- */

void space_queue_put(struct space *s, const struct space_op *op)
{
    BUG_ON(s->op_count >= SPACE_OPS_MAX);
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): every space in use has its list */
    s->ops[s->op_count++] = *op;
}

void space_queue_empty(struct space *s)
{
    uint64_t from = 0;
    for (struct space_range part; space_home_skip(s, &from, USER_END, &part);) {
        space_queue_put(s, &(struct space_op){.nr = SYS_munmap, .addr = part.gva, .len = part.len});
    }
}

/** Queue op, in one with the last if it continues that. 0 or -ESRCH. */
static int queue(struct space *s, const struct space_op *op)
{
    if (s->state == SPACE_GONE) {
        return -ESRCH;
    }
    struct space_op *last = s->op_count ? &s->ops[s->op_count - 1] : NULL;
    if (last && op->nr != SPACE_OP_TLS && last->nr == op->nr &&
        last->addr + last->len == op->addr && last->prot == op->prot &&
        (op->nr != SYS_mmap || last->off + last->len == op->off)) {
        last->len += op->len;
    } else {
        int err = s->op_count + QUEUE_ROOM > SPACE_OPS_MAX ? host_space_park(s) : 0;
        if (err) {
            return err;
        }
        space_queue_put(s, op);
    }
    s->op_pages += op->nr == SYS_mmap ? op->len / PAGE_SIZE : 1;
    return 0;
}

/** Whether guest pages can be at [gva, +len). 0, -EINVAL or -EADDRINUSE. */
static int range_check(const struct space *s, uint64_t gva, uint64_t len)
{
    if ((gva | len) & PAGE_MASK || !len || len > USER_END || gva > USER_END - len ||
        gva < s->host->lowest_gva) {
        return -EINVAL;
    }
    return space_home_touched(s, gva, len) ? -EADDRINUSE : 0;
}

static uint32_t host_prot(unsigned prot)
{
    return PROT_READ | (prot & HOST_W ? PROT_WRITE : 0) | (prot & HOST_X ? PROT_EXEC : 0);
}

int host_space_map(struct space *s, uint64_t gva, uint64_t ram_off, uint64_t len, unsigned prot)
{
    int err = range_check(s, gva, len);
    if (err) {
        return err;
    }
    if (ram_off & PAGE_MASK || len > s->host->ram_size || ram_off > s->host->ram_size - len) {
        return -EINVAL;
    }
    return queue(s, &(struct space_op){.nr = SYS_mmap,
                                       .addr = gva,
                                       .len = len,
                                       .off = ram_off,
                                       .prot = host_prot(prot),
                                       .flags = PROT_FLAGS_MAP});
}

int host_space_protect(struct space *s, uint64_t gva, uint64_t len, unsigned prot)
{
    int err = range_check(s, gva, len);
    return err ? err
               : queue(s,
                       &(struct space_op){
                           .nr = SYS_mprotect, .addr = gva, .len = len, .prot = host_prot(prot)});
}

int host_space_unmap(struct space *s, uint64_t gva, uint64_t len)
{
    int err = range_check(s, gva, len);
    if (err != -EADDRINUSE) {
        return err ? err : queue(s, &(struct space_op){.nr = SYS_munmap, .addr = gva, .len = len});
    }
    err = 0;
    uint64_t from = gva;
    for (struct space_range part; !err && space_home_skip(s, &from, gva + len, &part);) {
        err = queue(s, &(struct space_op){.nr = SYS_munmap, .addr = part.gva, .len = part.len});
    }
    return err;
}

int host_space_empty(struct space *s)
{
    if (s->state == SPACE_GONE) {
        return -ESRCH;
    }
    uint32_t count = s->op_count;
    s->op_count = 0; /* whatever was to be mapped goes, too */
    s->op_pages = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (s->ops[i].nr == SPACE_OP_TLS) {
            s->ops[s->op_count++] = s->ops[i];
        }
    }
    int err = s->op_count + QUEUE_ROOM > SPACE_OPS_MAX ? host_space_park(s) : 0;
    if (!err) {
        space_queue_empty(s);
    }
    return err;
}

/** The host's form of a raw segment descriptor. False: one it would refuse. SDM 3 §3.4.5 "Segment
 * Descriptors". */
static bool tls_descriptor(struct user_desc *d, unsigned idx, uint64_t raw)
{
    unsigned access = (unsigned)bits(raw, 40, 8), flags = (unsigned)bits(raw, 52, 4);
    memset(d, 0, sizeof(*d));
    d->entry_number = TLS_FIRST + idx;
    if (!raw) {
        d->read_exec_only = 1;
        d->seg_not_present = 1;
        return true;
    }
    d->base_addr = (unsigned)(bits(raw, 16, 24) | bits(raw, 56, 8) << 24);
    d->limit = (unsigned)(bits(raw, 0, 16) | bits(raw, 48, 4) << 16) & 0xfffffu;
    d->contents = access >> 2 & 3;
    d->read_exec_only = !(access >> 1 & 1);
    d->seg_not_present = !(access >> 7);
    d->useable = flags & 1;
    d->seg_32bit = flags >> 2 & 1;
    d->limit_in_pages = flags >> 3 & 1;
    bool user_data = (access & 0x78) == 0x70 && !(flags >> 1 & 1); /* S, DPL 3, data; not L */
    return user_data && d->seg_32bit && d->contents <= 1;
}

int host_space_set_tls(struct space *s, unsigned idx, uint64_t descriptor)
{
    struct space_op op = {.nr = SPACE_OP_TLS};
    struct user_desc d;
    if (idx > 2 || !tls_descriptor(&d, idx, descriptor)) {
        return -EINVAL;
    }
    if (!s->host->int80_works || !s->desk_gva) {
        return descriptor ? -ENOTSUP : 0;
    }
    op.addr = s->desk_gva + idx * sizeof(d);
    int err = queue(s, &op);
    if (!err) {
        memcpy(s->desk + idx * sizeof(d), &d, sizeof(d)); /* also for what was queued before */
        s->tls_valid =
            (uint8_t)((s->tls_valid & ~(1u << idx)) | (uint32_t)(d.seg_not_present == 0) << idx);
    }
    return err;
}

int host_space_sync(struct space *s)
{
    if (s->state == SPACE_PARKED) {
        return 0; /* it runs no guest code before the queue is carried out */
    }
    return stop(s);
}

int host_space_park(struct space *s)
{
    return stop(s);
}

void host_space_learn_cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf, const uint32_t out[4])
{
    struct space_host *h = hosts[v->index];
    if (h && h->cpuids < SPACE_CPUID_MAX) {
        h->cpuid[h->cpuids++] = (struct space_cpuid){leaf, subleaf, out[0], out[1], out[2], out[3]};
        h->cpuid_version++;
    }
}

void host_space_forget_cpuid(struct vcpu *v)
{
    struct space_host *h = hosts[v->index];
    if (h) {
        h->cpuids = 0;
        h->cpuid_version++;
    }
}
