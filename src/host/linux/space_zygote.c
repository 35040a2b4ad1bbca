/* The zygote: a tiny process from which spaces are forked, and the making of both.
 *
 * Forked once from the vCPU task, it throws away everything but the stub's page and its own, and
 * then runs the stub's code (space_stub.S): it forks a child for each request. A child carries out
 * a script of system calls that the task wrote into its slot (space_script.c), then it stops in a
 * first event, its birth. No guest page is mapped until then.
 *
 * The task may be taken over by its guest later. Then the scripts are the guest's, and so is all
 * that a child does: it must be no way out of the task's jail. Hence, before the zygote's first
 * instruction that the task could have a say in:
 *  - the filter (space_seccomp.c), which zygote and children have for good
 *  - the stub's page, the same in all, is sealed: nobody can write it
 *  - the secret without which the filter allows no fork. It is in the zygote's registers only, not
 *    in its memory, and children drop it
 *
 * Zygote and children are children of the vCPU task (CLONE_PARENT) and die with it. Their exit
 * signal is the kick signal, so that a task that waits for one wakes up. They share one table of
 * files: the RAM, the slots, the gates. They stay in the task's process group and session: one
 * signal holds all, and the host's scheduler takes them for one (autogroups), which makes the
 * handoff cheaper. Each space has a token of its own: one that leaks ends with its process. It
 * costs a filter per space; the pool makes that rare.
 *
 * State: struct space_host's slots and zygote. Runs in the vCPU task, zygote_main in the new
 * process.
 */
#include "host/linux/space_priv.h"

#include "vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOTS_ADDR 0xc00000000ull
#define SLOTS_MAX 256
#define SLOTS_MIN 8
#define SPARE_FDS 32        /* left for the rest of the task */
#define EXIT_SIGNAL SIGUSR2 /* the task's kick */
#define KERNEL_SIGNALS 64
#define FP_PARTS 0xe7u         /* of XCR0: x87, SSE, AVX, AVX-512 */
#define BIRTH_NS 5000000000ull /* for a fork, on a busy host */
#define BIRTH_LOOK_NS 100000000ull

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static uint64_t now_ns(void)
{
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- slots ---- */

static void raise_file_limit(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &lim);
    }
}

/** A gate is any file with an offset of its own; returns how many there are now. */
static unsigned gates_create(struct space_host *h)
{
    unsigned n = 0;
    for (; n < SLOTS_MAX; n++) {
        h->space[n].gate_fd = memfd_create("gate", MFD_CLOEXEC);
        if (h->space[n].gate_fd < 0) {
            break;
        }
    }
    if (n == SLOTS_MAX) {
        return n;
    }
    for (unsigned spare = 0; spare < SPARE_FDS && n; spare++) {
        close(h->space[--n].gate_fd);
    }
    return n;
}

static int slots_create(struct space_host *h)
{
    raise_file_limit();
    h->space = calloc(SLOTS_MAX, sizeof(*h->space));
    if (!h->space) {
        return -ENOMEM;
    }
    h->slot_count = gates_create(h);
    if (h->slot_count < SLOTS_MIN) {
        return -EMFILE;
    }
    size_t size = (size_t)h->slot_count * SLOT_SIZE + PAGE_SIZE;
    h->slots_fd = memfd_create("spaces", MFD_CLOEXEC);
    if (h->slots_fd < 0 || ftruncate(h->slots_fd, (off_t)size) < 0) {
        return -errno;
    }
    /* below 512 GB: the upper addresses are the guest's window */
    h->slots = mmap((void *)SLOTS_ADDR, size, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_FIXED_NOREPLACE, h->slots_fd, 0);
    if (h->slots == MAP_FAILED) {
        h->slots = NULL;
        return -errno;
    }
    h->zygote = (void *)(h->slots + size - PAGE_SIZE);
    for (unsigned i = 0; i < h->slot_count; i++) {
        struct space *s = &h->space[i];
        uint8_t *slot = h->slots + (size_t)i * SLOT_SIZE;
        s->host = h;
        s->slot_off = (uint64_t)i * SLOT_SIZE;
        s->ctl = (void *)(slot + SLOT_CTL);
        s->ops = (void *)(slot + SLOT_CTL + (SPACE_OPS - SPACE_CTL));
        s->sh = (void *)(slot + SLOT_SH);
        s->alt = slot + SLOT_ALT;
        s->desk = slot + SLOT_DESK;
        s->pidfd = -1;
    }
    return 0;
}

static void slots_destroy(struct space_host *h)
{
    if (h->slots) {
        munmap(h->slots, (size_t)h->slot_count * SLOT_SIZE + PAGE_SIZE);
    }
    if (h->slots_fd >= 0) {
        close(h->slots_fd);
    }
    for (unsigned i = 0; i < h->slot_count; i++) {
        close(h->space[i].gate_fd);
    }
    free(h->space);
}

/* ---- the new process, until it is the zygote. Nothing here may return ---- */

static NORETURN void zygote_fail(void)
{
    for (;;) {
        syscall(SYS_exit_group, 1);
    }
}

static void must(long result)
{
    if (result < 0) {
        zygote_fail();
    }
}

/** glibc's area for restartable sequences goes with the rest of memory; the kernel would write to
 * it. */
static void rseq_leave(void)
{
    if (!__rseq_size) {
        return;
    }
    char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
    const unsigned long sizes[] = {32, __rseq_size, getauxval(27 /* AT_RSEQ_FEATURE_SIZE */), 64};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        if (syscall(SYS_rseq, area, sizes[i], RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0) {
            return;
        }
    }
    zygote_fail();
}

static int compare_int(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/** Close all files but those in keep, which is sorted here. */
static void close_others(int *keep, unsigned count)
{
    qsort(keep, count, sizeof(*keep), compare_int);
    unsigned from = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned fd = (unsigned)keep[i];
        if (fd > from) {
            must(syscall(SYS_close_range, from, fd - 1, 0));
        }
        from = fd + 1;
    }
    must(syscall(SYS_close_range, from, ~0u, 0));
}

static void signals_set(const struct space_host *h)
{
    uint64_t none = 0;
    for (int sig = 1; sig <= KERNEL_SIGNALS; sig++) {
        struct space_sigaction sa = {.handler = 0};
        syscall(SYS_rt_sigaction, sig, &sa, NULL, sizeof(sa.mask)); /* two cannot be set */
    }
    for (unsigned i = 0; i < SPACE_SIGNALS; i++) {
        struct space_sigaction sa = space_sigaction(h->base);
        must(syscall(SYS_rt_sigaction, space_signals[i], &sa, NULL, sizeof(sa.mask)));
    }
    stack_t stack = {.ss_sp = space_pointer(h->base + SPACE_ALT), .ss_size = h->alt_size};
    must(syscall(SYS_sigaltstack, &stack, NULL));
    must(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none)));
}

/** Install the filter. The secret is known to this process alone; secret: where it shall stand. */
static void filter_install(const struct space_host *h, uint64_t secret[2])
{
    struct sock_filter prog[SPACE_FILTER_MAX];
    if (syscall(SYS_getrandom, secret, 2 * sizeof(*secret), 0) != 2 * (long)sizeof(*secret)) {
        zygote_fail();
    }
    const struct space_zygote_facts facts = {.base = h->base,
                                             .secret = {secret[0], secret[1]},
                                             .ram_fd = (uint32_t)h->ram_fd,
                                             .slots_fd = (uint32_t)h->slots_fd};
    struct sock_fprog program = {.len = (unsigned short)space_filter_build_zygote(prog, &facts),
                                 .filter = prog};
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program));
}

/** Go on in the stub, as it wants its registers. Nothing else of the secret stays in any: children
 * have them all. Memory goes by the script. */
static NORETURN void stub_enter(uint64_t at, pid_t task, const uint64_t secret[2])
{
    static const uint32_t fresh[144] __attribute__((aligned(64))) = {[6] = 0x1f80}; /* MXCSR */
    __asm__ volatile("xrstor64 %[fresh]\n\t"
                     "mov (%[secret]), %%r14\n\t"
                     "mov 8(%[secret]), %%r15\n\t"
                     "mov %[task], %%r13d\n\t"
                     "xor %%eax, %%eax\n\t"
                     "xor %%edx, %%edx\n\t"
                     "xor %%ebx, %%ebx\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "xor %%esi, %%esi\n\t"
                     "xor %%r8d, %%r8d\n\t"
                     "xor %%r9d, %%r9d\n\t"
                     "xor %%r10d, %%r10d\n\t"
                     "xor %%r11d, %%r11d\n\t"
                     "xor %%r12d, %%r12d\n\t"
                     "xor %%edi, %%edi\n\t"
                     "jmp *%%rcx"
                     :
                     : [fresh] "m"(fresh), [secret] "D"(secret), [task] "S"(task), "c"(at),
                       "a"(FP_PARTS), "d"(0)
                     : "memory");
    __builtin_unreachable();
}

/** Become the zygote of h. */
static NORETURN void zygote_main(const struct space_host *h, int code_fd, pid_t task)
{
    static int keep[SLOTS_MAX + 3]; /* this process's own copy */
    unsigned kept = 0;
    struct rlimit no_core = {0, 0};
    uint64_t secret[2];
    must(prctl(PR_SET_PDEATHSIG, SIGKILL));
    if (getppid() != task) {
        zygote_fail();
    }
    signals_set(h);
    must(setrlimit(RLIMIT_CORE, &no_core));
    must(prctl(PR_SET_DUMPABLE, 0));
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    prctl(PR_SET_NAME, "ring3-space");
    const int map = MAP_SHARED | MAP_FIXED;
    void *code =
        mmap(space_pointer(h->base), SPACE_CODE_SIZE, PROT_READ | PROT_EXEC, map, code_fd, 0);
    void *page = mmap(space_pointer(h->base + SPACE_ZYGOTE), PAGE_SIZE, PROT_READ | PROT_WRITE, map,
                      h->slots_fd, (off_t)((size_t)h->slot_count * SLOT_SIZE));
    if (code == MAP_FAILED || page == MAP_FAILED) {
        zygote_fail();
    }
    keep[kept++] = h->slots_fd;
    keep[kept++] = h->ram_fd;
    for (unsigned i = 0; i < h->slot_count; i++) {
        keep[kept++] = h->space[i].gate_fd;
    }
    close_others(keep, kept);
    rseq_leave();
    filter_install(h, secret);
    stub_enter(stub_at(h->base, stub_zygote), task, secret);
}

/* ---- starting it ---- */

/** The stub's page, as a file that nobody can change. Its descriptor, or -errno. */
static int code_create(void)
{
    const int seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int fd = memfd_create("stub", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    int err = write(fd, stub_start, SPACE_CODE_SIZE) == SPACE_CODE_SIZE ? 0 : -EIO;
    if (!err && fcntl(fd, F_ADD_SEALS, seals) < 0) {
        err = -errno;
    }
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

int space_zygote_start(struct space_host *h)
{
    h->zygote_pidfd = -1;
    int err = slots_create(h);
    if (err) {
        return err;
    }
    int code_fd = code_create();
    if (code_fd < 0) {
        return code_fd;
    }
    space_script_zygote(h);
    pid_t task = getpid();
    long pid = syscall(SYS_clone, EXIT_SIGNAL, 0, 0, 0, 0);
    if (pid == 0) {
        zygote_main(h, code_fd, task);
    }
    err = pid < 0 ? -errno : 0;
    close(code_fd);
    if (err) {
        return err;
    }
    h->zygote_pid = (pid_t)pid;
    h->zygote_pidfd = (int)syscall(SYS_pidfd_open, h->zygote_pid, 0);
    return h->zygote_pidfd < 0 ? -errno : 0;
}

void space_zygote_stop(struct space_host *h)
{
    for (unsigned i = 0; i < h->slot_count; i++) {
        space_kill(&h->space[i]);
    }
    if (h->zygote_pid > 0) {
        kill(h->zygote_pid, SIGKILL);
        while (waitpid(h->zygote_pid, NULL, __WALL) < 0 && errno == EINTR) {
        }
        if (h->zygote_pidfd >= 0) {
            close(h->zygote_pidfd);
        }
    }
    slots_destroy(h);
}

/* ---- children ---- */

static uint64_t token_create(void)
{
    uint64_t token;
    if (getrandom(&token, sizeof(token), 0) != sizeof(token)) {
        return 0; /* refused by the caller */
    }
    /* A file offset, so positive; the low half is never a number of operations (space_gate_finish).
     */
    return (token & INT64_MAX) | 1ull << 62 | 1ull << 31;
}

/** Ask the zygote for a child of the slot at off; its pid, or -errno. */
static pid_t zygote_request(struct space_host *h, uint64_t off)
{
    struct space_zygote_page *z = h->zygote;
    uint64_t waited = 0; /* time in which this task was stopped is not counted */
    uint32_t before = z->done;
    z->slot_off = off;
    __atomic_store_n(&z->request, before + 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &z->request, FUTEX_WAKE, 1, NULL, NULL, 0);
    while (__atomic_load_n(&z->done, __ATOMIC_SEQ_CST) == before) {
        siginfo_t gone = {.si_pid = 0};
        struct timespec pause = {.tv_nsec = BIRTH_LOOK_NS};
        uint64_t since = now_ns();
        syscall(SYS_futex, &z->done, FUTEX_WAIT, before, &pause, NULL, 0);
        if (waitid(P_PID, (id_t)h->zygote_pid, &gone, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 ||
            gone.si_pid) {
            return -ECHILD;
        }
        waited += min_u64(now_ns() - since, BIRTH_LOOK_NS);
        if (waited > BIRTH_NS) {
            return -ECHILD;
        }
    }
    return z->pid;
}

int space_zygote_fork(struct space *s, unsigned home)
{
    space_home_set(s, home);
    s->token = token_create();
    if (!s->token) {
        return -EIO;
    }
    memset(s->ctl, 0, sizeof(*s->ctl));
    memset(s->sh, 0, sizeof(*s->sh));
    memset(s->alt, 0, s->host->alt_size);
    memset(s->desk, 0, SPACE_DESK_SIZE);
    s->ctl->gate_fd = (uint32_t)s->gate_fd;
    s->ctl->ram_fd = (uint32_t)s->host->ram_fd;
    s->ctl->look = s->host->cpuid_faults;
    s->events = s->kicks = s->op_count = s->tls_valid = 0;
    s->op_pages = 0;
    s->cpuid_seen = 0;
    s->armed = s->emptying = false;
    s->place_cpu = space_place_zygote(s->host);
    s->place = s->place_cpu < 0 ? PLACE_ANY : PLACE_SAME;
    s->ctl->yields = s->place == PLACE_SAME ? SPACE_YIELDS : 0;
    s->streak = 0;
    space_script_child(s);
    pid_t pid = zygote_request(s->host, s->slot_off);
    if (pid < 0) {
        space_script_wipe(s);
        return pid;
    }
    s->pid = pid;
    s->pidfd =
        (int)syscall(SYS_pidfd_open, pid, 0); /* ours to reap, so it cannot be another's number */
    s->state = SPACE_STOPPED;
    int err = s->pidfd < 0 ? -errno : space_wait_birth(s);
    space_script_wipe(s);
    if (err || !space_birth_note(s)) {
        space_kill(s);
        return err ? err : -EIO;
    }
    s->state = SPACE_PARKED; /* there is no guest code that it could run */
    s->host->stats.created++;
    return 0;
}
