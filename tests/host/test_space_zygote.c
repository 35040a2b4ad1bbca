/* A vCPU task that its guest has taken over: it writes the scripts, the spaces' own filter and the
 * zygote's page as it likes. What it can have the zygote's children do is what spaces need, and
 * nothing else; none of them outlives the task.
 *
 * The attack: a script that maps guest RAM as code and goes there. That code makes system calls as
 * it is ordered, in the child, before the space's own filter.
 */
#include "host/space_fixture.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define X32_BIT 0x40000000
#define NUMBERS 512
#define FREE_GVA 0x10000000ull

/* ---- the attack ---- */

enum order_abi { NATIVE, I386 };

/** One system call to be made. */
struct order {
    int64_t nr;
    uint64_t arg[6];
    uint64_t abi;
    int64_t result;
};

/** What stands in the data pages, for the code below. */
struct attack {
    uint32_t over; /* all orders were carried out */
    uint32_t pad;
    uint32_t count;
    char path[244];
    struct sock_fprog program;
    uint8_t pad2[PAGE_SIZE - 272];
    uint64_t gpr[PAGE_SIZE / 8]; /* as the script left them */
    uint8_t xsave[PAGE_SIZE];
    struct order order[NUMBERS];
};
_Static_assert(offsetof(struct attack, gpr) == 0x1000 && offsetof(struct attack, order) == 0x3000 &&
                   offsetof(struct attack, count) == 8 && sizeof(struct order) == 72,
               "as the code has it");
_Static_assert(sizeof(struct attack) <= DATA_PAGES * PAGE_SIZE, "fits");

GUEST_CODE(
    attack_code,
    "mov %rax, 0x601000; mov %rcx, 0x601008; mov %rdx, 0x601010; mov %rbx, 0x601018\n"
    "mov %rsp, 0x601020; mov %rbp, 0x601028; mov %rsi, 0x601030; mov %rdi, 0x601038\n"
    "mov %r8, 0x601040; mov %r9, 0x601048; mov %r10, 0x601050; mov %r11, 0x601058\n"
    "mov %r12, 0x601060; mov %r13, 0x601068; mov %r14, 0x601070; mov %r15, 0x601078\n"
    "mov $0xe7, %eax; xor %edx, %edx; xsave64 0x602000\n"
    "mov $0x603000, %r12d; xor %r13d, %r13d\n"
    "1: cmp %r13d, 0x600008; je 4f\n"
    "mov (%r12), %rax; cmpl $0, 56(%r12); jne 2f\n"
    "mov 8(%r12), %rdi; mov 16(%r12), %rsi; mov 24(%r12), %rdx\n"
    "mov 32(%r12), %r10; mov 40(%r12), %r8; mov 48(%r12), %r9\n"
    "syscall\n"
    "test %rax, %rax; jne 3f; mov (%r12), %rcx\n" /* what should not be: a fork's child ends */
    "cmp $435, %ecx; je 6f; sub $56, %ecx; cmp $2, %ecx; jbe 6f; jmp 3f\n"
    "2: mov 8(%r12), %ebx; mov 16(%r12), %ecx; mov 24(%r12), %edx\n"
    "mov 32(%r12), %esi; mov 40(%r12), %edi; mov 48(%r12), %ebp\n"
    "int $0x80; movslq %eax, %rax\n"
    "3: mov %rax, 64(%r12); add $72, %r12; inc %r13d; jmp 1b\n"
    "4: movl $1, 0x600000\n"
    "5: pause; jmp 5b\n"
    "6: ud2");

static struct attack *attack_page(void)
{
    return (struct attack *)(test_vm.ram.base + DATA_OFF);
}

static uint64_t attack_gva(size_t off)
{
    return DATA_GVA + off;
}

static struct attack *attack_new(void)
{
    CODE_PUT(attack_code);
    memset(attack_page(), 0, sizeof(struct attack));
    memset(attack_page()->xsave, 0x5a, 512);
    return attack_page();
}

/** Have the zygote fork a child with whatever is in its page. Its process id, or what stands for
 * it. */
static pid_t zygote_ask(void)
{
    struct space_zygote_page *z = test_host->zygote;
    uint32_t before = z->done;
    uint64_t start = test_ns();
    __atomic_store_n(&z->request, before + 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &z->request, FUTEX_WAKE, 1, NULL, NULL, 0);
    while (__atomic_load_n(&z->done, __ATOMIC_SEQ_CST) == before) {
        if (test_ns() - start > 5000000000u) {
            return -ETIME;
        }
        usleep(100);
    }
    return z->pid;
}

/** Write the hostile script to a free slot, and have it carried out. The child's process id. */
static pid_t attack_start(void)
{
    struct space *s = &test_host->space[test_host->slot_count - 1];
    uint64_t ram = (uint64_t)test_host->ram_fd;
    const struct space_script script[] = {
        {SYS_mmap,
         {CODE_GVA, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, ram, 0},
         -1},
        {SYS_mmap,
         {DATA_GVA, DATA_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ram,
          DATA_OFF},
         -1},
        {-1, {CODE_GVA}, 0},
    };
    memcpy(s->ops, script, sizeof(script));
    test_host->zygote->slot_off = s->slot_off;
    return zygote_ask();
}

/** Whether the attack comes to its end. */
static bool attack_ends(void)
{
    const struct attack *a = attack_page();
    uint64_t start = test_ns();
    while (!__atomic_load_n(&a->over, __ATOMIC_SEQ_CST)) {
        if (test_ns() - start > 5000000000u) {
            return false;
        }
        usleep(100);
    }
    return true;
}

static void attack_stop(pid_t child)
{
    kill(child, SIGKILL);
    while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR) {
    }
}

/** Carry out the orders. No process is left of it, whatever was allowed. */
static void attack_run(void)
{
    pid_t child = attack_start();
    assert_true(child > 0);
    bool ended = attack_ends();
    attack_stop(child);
    const struct attack *a = attack_page();
    for (unsigned i = 0; i < a->count; i++) {
        const struct order *o = &a->order[i];
        if ((o->nr == SYS_clone || o->nr == SYS_fork) && o->result > 0) {
            kill((pid_t)o->result, SIGKILL);
        }
    }
    assert_true(ended);
}

/* ---- every call ---- */

/** Those that do not say EPERM, called with nothing but zeros. */
static bool answers_zeros(unsigned nr, enum order_abi abi, unsigned bit)
{
    static const unsigned native[] = {SYS_sched_yield,  SYS_futex,      SYS_lseek,
                                      SYS_mprotect,     SYS_munmap,     SYS_getppid,
                                      SYS_rt_sigaction, SYS_sigaltstack};
    if (abi == I386) {
        return nr == SPACE_OP_TLS;
    }
    for (unsigned i = 0; i < ARRAY_LEN(native); i++) {
        if (native[i] == nr && !bit) {
            return true;
        }
    }
    return false;
}

/** Every number in every ABI. Not tried: what ends the process, and what the kernel shows to no
 * filter (uretprobe, uprobe). */
static void test_every_call(void **state)
{
    (void)state;
    static const struct {
        enum order_abi abi;
        unsigned bit;
    } kinds[] = {{NATIVE, 0}, {NATIVE, X32_BIT}, {I386, 0}};
    for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
        struct attack *a = attack_new();
        bool plain = kinds[k].abi == NATIVE && !kinds[k].bit;
        for (unsigned nr = 0; nr < NUMBERS; nr++) {
            if ((plain && nr == SYS_exit_group) || nr == 335 || nr == 336) {
                continue;
            }
            a->order[a->count++] = (struct order){.nr = nr | kinds[k].bit, .abi = kinds[k].abi};
        }
        attack_run();
        for (unsigned i = 0; i < a->count; i++) {
            const struct order *o = &a->order[i];
            unsigned nr = (unsigned)o->nr & ~X32_BIT;
            bool refused = o->result == -EPERM;
            if (refused == answers_zeros(nr, kinds[k].abi, kinds[k].bit)) {
                fail_msg("kind %u call %u: result %ld", k, nr, (long)o->result);
            }
        }
    }
}

/* ---- calls that would be of use ---- */

static void order(struct attack *a, int64_t want, const uint64_t call[7])
{
    struct order *o = &a->order[a->count++];
    o->nr = (int64_t)call[0];
    memcpy(o->arg, call + 1, sizeof(o->arg));
    o->result = want; /* the code writes what it was */
}
/** Order a native call by its number and arguments. */
#define ORDER(a, want, ...) order(a, want, (const uint64_t[7]){__VA_ARGS__})

static void order_processes(struct attack *a, uint64_t path)
{
    uint64_t self = (uint64_t)getpid();
    ORDER(a, -EPERM, SYS_openat, (uint64_t)AT_FDCWD, path, O_RDONLY);
    ORDER(a, -EPERM, SYS_socket, AF_UNIX, SOCK_STREAM);
    ORDER(a, -EPERM, SYS_execve, path);
    ORDER(a, -EPERM, SYS_memfd_create, path);
    ORDER(a, -EPERM, SYS_kill, self);
    ORDER(a, -EPERM, SYS_tgkill, self, self);
    ORDER(a, -EPERM, SYS_pidfd_open, self);
    ORDER(a, -EPERM, SYS_ptrace, PTRACE_TRACEME);
    ORDER(a, -EPERM, SYS_setsid);
    ORDER(a, -EPERM, SYS_setpgid);
    ORDER(a, -EPERM, SYS_prlimit64, 0, 7);
    ORDER(a, -EPERM, SYS_close, (uint64_t)test_host->ram_fd);
    ORDER(a, -EPERM, SYS_clone, SPACE_CHILD_FLAGS);
    ORDER(a, -EPERM, SYS_clone, SIGCHLD);
    ORDER(a, -EPERM, SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, DATA_GVA);
    ORDER(a, -EPERM, SYS_fork);
    ORDER(a, -EPERM, SYS_prctl, PR_SET_PDEATHSIG, 0);
    ORDER(a, -EPERM, SYS_prctl, PR_SET_DUMPABLE, 1);
    ORDER(a, 0, SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
    ORDER(a, getpid(), SYS_getppid);
}

static void order_memory(struct attack *a)
{
    const int rwx = PROT_READ | PROT_WRITE | PROT_EXEC;
    uint64_t ram = (uint64_t)test_host->ram_fd, base = test_host->base;
    uint64_t gate = (uint64_t)test_host->space[0].gate_fd;
    ORDER(a, -EPERM, SYS_mmap, FREE_GVA, PAGE_SIZE, rwx, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull);
    ORDER(a, -EPERM, SYS_mmap, FREE_GVA, PAGE_SIZE, PROT_READ,
          MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, ram);
    ORDER(a, -EPERM, SYS_mmap, FREE_GVA, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED, ram);
    ORDER(a, -EPERM, SYS_mmap, 0, PAGE_SIZE, PROT_READ, MAP_SHARED, ram);
    ORDER(a, -EPERM, SYS_mmap, FREE_GVA, PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, gate);
    ORDER(a, -EPERM, SYS_mprotect, DATA_GVA, PAGE_SIZE, PROT_READ | PROT_GROWSDOWN);
    ORDER(a, -EPERM, SYS_mremap, DATA_GVA, PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE);
    ORDER(a, (int64_t)FREE_GVA, SYS_mmap, FREE_GVA, PAGE_SIZE, rwx, MAP_SHARED | MAP_FIXED, ram,
          PAGE_SIZE);
    /* the stub's page is everybody's: where it is, and where it can be had once more */
    ORDER(a, -EACCES, SYS_mprotect, base, PAGE_SIZE, rwx);
    ORDER(a, (int64_t)FREE_GVA, SYS_mremap, base, 0, SPACE_CODE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
          FREE_GVA);
    ORDER(a, -EACCES, SYS_mprotect, FREE_GVA, PAGE_SIZE, rwx);
    ORDER(a, 0, SYS_munmap, FREE_GVA, PAGE_SIZE);
}

static void order_rest(struct attack *a, uint64_t program)
{
    ORDER(a, -EPERM, SYS_futex, DATA_GVA, FUTEX_LOCK_PI);
    ORDER(a, -EPERM, SYS_futex, DATA_GVA, FUTEX_CMP_REQUEUE, 1, 1, DATA_GVA + 8);
    ORDER(a, 0, SYS_futex, DATA_GVA, FUTEX_WAKE, 1);
    ORDER(a, -EPERM, SYS_seccomp, SECCOMP_SET_MODE_STRICT);
    ORDER(a, -EPERM, SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
          program);
    ORDER(a, -EPERM, SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program);
    ORDER(a, 0, SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, program);
    ORDER(a, -EPERM, SYS_rt_sigreturn); /* that filter allows everything, and changes nothing */
    ORDER(a, -EPERM, SYS_openat, (uint64_t)AT_FDCWD, attack_gva(offsetof(struct attack, path)));
}

static void test_useful_calls(void **state)
{
    (void)state;
    static const struct sock_filter allow_all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct attack *a = attack_new();
    strcpy(a->path, "/bin/true");
    memcpy(a->path + 16, &allow_all, sizeof(allow_all));
    a->program.len = 1;
    a->program.filter = space_pointer(attack_gva(offsetof(struct attack, path) + 16));
    order_processes(a, attack_gva(offsetof(struct attack, path)));
    order_memory(a);
    order_rest(a, attack_gva(offsetof(struct attack, program)));
    static struct attack asked;
    asked = *a;
    for (unsigned i = 0; i < a->count; i++) {
        a->order[i].result = 0;
    }
    attack_run();
    for (unsigned i = 0; i < a->count; i++) {
        const struct order *o = &a->order[i];
        if (o->result != asked.order[i].result) {
            fail_msg("order %u, call %ld (%lx, %lx, ...): result %ld, not %ld", i, (long)o->nr,
                     (long)o->arg[0], (long)o->arg[1], (long)o->result,
                     (long)asked.order[i].result);
        }
    }
}

/* ---- the secret ---- */

/** No register that a child gets has anything of it: they hold places of the script, the last
 * call's arguments, or nothing. With any two as the secret, no fork. */
static void test_secret(void **state)
{
    (void)state;
    static const uint8_t zero[256];
    struct attack *a = attack_new();
    attack_run();
    uint64_t gpr[16];
    memcpy(gpr, a->gpr, sizeof(gpr));
    assert_int_equal(gpr[R14], 0);
    assert_int_equal(gpr[R15], 0);
    assert_int_equal(gpr[RBX], 0);
    assert_int_equal(gpr[RBP], 0);
    assert_int_equal(gpr[R13], getpid());
    assert_memory_equal(a->xsave + 160, zero, 256); /* XMM */
    assert_memory_equal(a->xsave + 32, zero, 128);  /* x87 */
    assert_true(!(a->xsave[512] & 4) ||
                !memcmp(a->xsave + 576, zero, 256)); /* YMM's upper halves */
    assert_int_equal(a->xsave[512] & 0xe0, 0);       /* AVX-512 */
    a = attack_new();
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned j = 0; j < 16; j++) {
            ORDER(a, -EPERM, SYS_clone, SPACE_CHILD_FLAGS, 0, gpr[i], gpr[j]);
        }
    }
    attack_run();
    for (unsigned i = 0; i < a->count; i++) {
        assert_int_equal(a->order[i].result, -EPERM);
    }
}

/* ---- the zygote ---- */

GUEST_CODE(int3_code, "int3");

/** Whatever stands in its page, the zygote serves on. */
static void test_zygote_page(void **state)
{
    (void)state;
    struct space_zygote_page *z = test_host->zygote;
    const uint32_t fd = z->slots_fd;
    for (unsigned i = 0; i < 60; i++) {
        memset((uint8_t *)z + ZP_SCRIPT, (int)test_random(), PAGE_SIZE - ZP_SCRIPT);
        z->slots_fd = i % 3 == 0   ? fd
                      : i % 3 == 1 ? (uint32_t)test_host->ram_fd
                                   : (uint32_t)test_random();
        z->slot_off = i & 1 ? test_random() : test_random() % RAM_SIZE & ~PAGE_MASK;
        pid_t child = zygote_ask();
        assert_true(child > 0);
        usleep(1000);
        attack_stop(child);
    }
    z->slots_fd = fd;
    struct space *s;
    assert_int_equal(host_space_create(&test_vcpu, 0, &s), 0);
    host_space_destroy(s);
    s = space_ready();
    struct space_regs r = regs_ready();
    CODE_PUT(int3_code);
    assert_int_equal(run(s, &r).vector, VEC_BP);
    host_space_destroy(s);
}

static void attack_and_report(void *arg)
{
    pid_t children[8];
    struct attack *a = attack_new(); /* in RAM of this task's own */
    ORDER(a, -EPERM, SYS_prctl, PR_SET_PDEATHSIG, 0);
    ORDER(a, -EPERM, SYS_setsid);
    for (unsigned i = 0; i < ARRAY_LEN(children); i++) {
        children[i] = attack_start();
    }
    if (!attack_ends()) {
        _exit(1);
    }
    (void)!write(*(const int *)arg, children, sizeof(children));
}

/** Children whose script says nothing of it die with the task, too, and stay in its process group.
 */
static void test_none_outlives(void **state)
{
    (void)state;
    int pipe_fds[2];
    pid_t children[8];
    bool alive = true;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t task = fixture_task(attack_and_report, &pipe_fds[1]);
    close(pipe_fds[1]);
    ssize_t n;
    while ((n = read(pipe_fds[0], children, sizeof(children))) < 0 && errno == EINTR) {
    }
    close(pipe_fds[0]);
    for (unsigned i = 0; n == sizeof(children) && i < ARRAY_LEN(children); i++) {
        alive = alive && children[i] > 0 && getpgid(children[i]) == getpgid(task);
    }
    kill(task, SIGKILL);
    assert_int_equal(waitpid(task, NULL, 0), task);
    assert_int_equal(n, sizeof(children));
    assert_true(alive);
    assert_true(fixture_all_end(children, ARRAY_LEN(children)));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call),    cmocka_unit_test(test_useful_calls),
        cmocka_unit_test(test_secret),        cmocka_unit_test(test_zygote_page),
        cmocka_unit_test(test_none_outlives),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    alarm(120);
    return cmocka_run_group_tests(tests, fixture_setup, NULL);
}
