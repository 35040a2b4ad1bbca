/* User code jumps into the engine's stub, reads and writes its pages, uses them as a stack, steps
 * through them with TF. Only its own process may suffer: after each attack the guest kernel has the
 * processor again, and user code in other address spaces works. (Who forges an event may get
 * another at the wrong time.) All of it in the stub's first home, and in the one to which it moves
 * when the guest has a page in the first (src/host/linux/space_home.c). */
#include "lib/homes.h"
#include "lib/hostile.h"
#include "lib/paging.h"

USER_CODE(jump, "jmp *%rax");
USER_CODE(call_it, "call *%rax");
USER_CODE(jump_tf, "pushfq; orl $0x100, (%rsp); popfq; jmp *%rax");
USER_CODE(write_all, "1: mov %rdx, (%rdi); add $8, %rdi; dec %rcx; jnz 1b; syscall");
USER_CODE(read_all, "1: mov (%rdi), %rdx; add $8, %rdi; dec %rcx; jnz 1b; syscall");
USER_CODE(fault_on_stack, "mov %rdi, %rsp; ud2");
USER_CODE(syscall_on_stack, "mov %rdi, %rsp; syscall");
USER_CODE(push_on_stack, "mov %rdi, %rsp; 1: push %rdx; dec %rcx; jnz 1b; syscall");
USER_CODE(store_then_call, "mov %rdx, (%rdi); syscall; ud2");

#define STUB_OFF (STUB_PAGE * KB4)
#define STUB_SIZE (STUB_PAGES * KB4)

static uint64_t stub;     /* the one that is attacked */
static uint64_t peaceful; /* CR3 of user code that attacks nothing */

static void alive(void)
{
    uint64_t cr3 = read_cr3();
    write_cr3(peaceful);
    hostile_alive();
    write_cr3(cr3);
}

static void any_registers(unsigned kind)
{
    uint64_t *first = &user.r15;
    for (unsigned i = 0; i < 15; i++)
        first[i] = kind == 0   ? 0
                   : kind == 1 ? USER_PAGE + 64 * i
                   : kind == 2 ? hostile_random()
                               : stub + (hostile_random() & 0x3fff8);
    if (kind == 1) { /* the arguments of an munmap of everything, with the number in RAX set by the
                        caller */
        user.rdi = USER_BASE;
        user.rsi = 0x1000000;
    }
}

static void attack(const void *rip, uint64_t target, unsigned kind, uint64_t flags)
{
    user_prepare(rip);
    any_registers(kind);
    user.rax = target;
    user.rflags |= flags;
    hostile_run(target);
}

static void jumps(void)
{
    CASE("jumps to every byte of the stub's code");
    for (uint64_t at = stub; at < stub + 0x1000; at++) {
        attack(jump, at, (unsigned)(at & 3), 0);
        if ((at & 0xff) == 0)
            alive();
    }
    CASE("jumps to every 16 bytes of its other pages");
    for (uint64_t off = 0x1000; off < STUB_SIZE; off += off < 0x3000 ? 16 : 4096 - 16)
        attack(call_it, stub + off, (unsigned)(off >> 4 & 3), 0);
    alive();
    CASE("jumps with TF set");
    for (uint64_t at = stub; at < stub + 0x1000; at += 16)
        attack(jump_tf, at, (unsigned)(at >> 4 & 3), 0);
    alive();
    CASE("entered there by the kernel");
    for (uint64_t at = stub; at < stub + 0x1000; at += 37)
        attack((void *)at, at, (unsigned)(at & 3), at & 1 ? RFLAGS_TF : 0);
    alive();
}

static void memory(void)
{
    CASE("every page read and overwritten");
    static const uint64_t values[] = {0, ~0ull, 0x4141414141414141, 0x10, 1};
    for (uint64_t page = stub; page < stub + STUB_SIZE; page += KB4) {
        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
            user_prepare(read_all);
            user.rdi = page;
            user.rcx = 512;
            hostile_run(page);
            user_prepare(write_all);
            user.rdi = page;
            user.rcx = 512;
            user.rdx = values[i] + (i == 3 ? stub : 0);
            hostile_run(page);
        }
        alive();
    }
    CASE("single words forged before a system call");
    for (uint64_t at = stub + 0xc000; at < stub + 0xd000; at += 4) {
        user_prepare(store_then_call);
        user.rdi = at;
        user.rdx = hostile_random();
        hostile_run(at);
        if ((at & 0x1ff) == 0)
            alive();
    }
    alive();
}

static void stacks(void)
{
    CASE("its alternate stack as the user's stack: exceptions, calls, pushes there");
    for (uint64_t at = stub + 0xc000; at < stub + 0x30000; at += 0x538) {
        user_prepare(fault_on_stack);
        user.rdi = at;
        hostile_run(at);
        user_prepare(syscall_on_stack);
        user.rdi = at;
        user.rax = at & 0x1ff;
        hostile_run(at);
        user_prepare(push_on_stack);
        user.rdi = at;
        user.rcx = 300;
        user.rdx = hostile_random();
        hostile_run(at);
    }
    alive();
}

static void desk(void)
{
    CASE("the page for descriptors below 4 GB");
    for (uint64_t at = DESK; at < DESK + 0x1000; at += 61) {
        attack(jump, at, (unsigned)(at & 3), 0);
        user_prepare(store_then_call);
        user.rdi = at;
        user.rdx = hostile_random();
        hostile_run(at);
        user_prepare((void *)at);
        user.cs = USER_CS32; /* the stub itself is out of 32-bit code's reach */
        user.rsp = USER_STACK - 64;
        hostile_run(at);
    }
    alive();
}

/** Whether user code can read there. */
static bool readable(uint64_t at)
{
    user_prepare(read_all);
    user.rdi = at;
    user.rcx = 1;
    user_resume();
    return trap.vector == VEC_SYSCALL;
}

static void all_homes(void)
{
    CASE("the guest kernel maps user pages over all of its homes: refused to the process, not "
         "fatal");
    static const uint64_t offs[] = {0, STUB_OFF + 0xc000};
    uint64_t frame = page_alloc();
    for (unsigned i = 0; i < 2 * HOMES; i++)
        map(home[i / 2] + offs[i & 1], frame, PTE_USER);
    map(DESK, frame, PTE_USER);
    for (unsigned i = 0; i < 4 * HOMES; i++) {
        user_prepare(i & 2 ? write_all : read_all);
        user.rdi = home[i / 4] + offs[i & 1];
        user.rcx = 16;
        hostile_run(i);
    }
    for (unsigned i = 0; i < 2 * HOMES; i++)
        unmap(home[i / 2] + offs[i & 1]);
    unmap(DESK);
    alive();
}

static void attack_all(void)
{
    jumps();
    memory();
    stacks();
    desk();
}

void guest_main(void)
{
    hostile_start();
    peaceful = read_cr3();
    CASE("the first home");
    write_cr3(root_clone());
    stub = home[0] + STUB_OFF;
    bool there = readable(stub); /* this engine has one */
    attack_all();
    CASE("the second home");
    write_cr3(peaceful);
    write_cr3(root_clone());
    map(home[0], page_alloc(), PTE_USER);
    CHECK(readable(home[0]));
    stub = home[1] + STUB_OFF;
    CHECK_EQ(readable(stub), there);
    attack_all();
    all_homes();
}
