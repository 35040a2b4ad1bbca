/* User code jumps into the engine's stub, reads and writes its pages, uses them as a stack, steps
 * through them with TF. Only its own process may suffer: after each attack the guest kernel has the
 * processor again, and other user code works. The stub: 0x100000..0x140000. */
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

#define STUB 0x100000ull
#define STUB_END 0x140000ull

static void any_registers(unsigned kind)
{
    uint64_t *first = &user.r15;
    for (unsigned i = 0; i < 15; i++)
        first[i] = kind == 0   ? 0
                   : kind == 1 ? USER_PAGE + 64 * i
                   : kind == 2 ? hostile_random()
                               : STUB + (hostile_random() & 0x3fff8);
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
    for (uint64_t at = STUB; at < STUB + 0x1000; at++) {
        attack(jump, at, (unsigned)(at & 3), 0);
        if ((at & 0xff) == 0)
            hostile_alive();
    }
    CASE("jumps to every 16 bytes of its other pages");
    for (uint64_t at = STUB + 0x1000; at < STUB_END; at += at < STUB + 0x3000 ? 16 : 4096 - 16)
        attack(call_it, at, (unsigned)(at >> 4 & 3), 0);
    hostile_alive();
    CASE("jumps with TF set");
    for (uint64_t at = STUB; at < STUB + 0x1000; at += 16)
        attack(jump_tf, at, (unsigned)(at >> 4 & 3), 0);
    hostile_alive();
    CASE("entered there by the kernel");
    for (uint64_t at = STUB; at < STUB + 0x1000; at += 37)
        attack((void *)at, at, (unsigned)(at & 3), at & 1 ? RFLAGS_TF : 0);
    hostile_alive();
    CASE("entered there in 32-bit mode");
    for (uint64_t at = STUB; at < STUB + 0x1000; at += 61) {
        user_prepare((void *)at);
        any_registers((unsigned)(at & 3));
        user.cs = USER_CS32;
        user.rsp = USER_STACK - 64;
        hostile_run(at);
    }
    hostile_alive();
}

static void memory(void)
{
    CASE("every page read and overwritten");
    static const uint64_t values[] = {0, ~0ull, 0x4141414141414141, STUB + 0x10, 1};
    for (uint64_t page = STUB; page < STUB_END; page += KB4) {
        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
            user_prepare(read_all);
            user.rdi = page;
            user.rcx = 512;
            hostile_run(page);
            user_prepare(write_all);
            user.rdi = page;
            user.rcx = 512;
            user.rdx = values[i];
            hostile_run(page);
        }
        hostile_alive();
    }
    CASE("single words forged before a system call");
    for (uint64_t at = STUB + 0xc000; at < STUB + 0xd000; at += 4) {
        user_prepare(store_then_call);
        user.rdi = at;
        user.rdx = hostile_random();
        hostile_run(at);
        if ((at & 0x1ff) == 0)
            hostile_alive();
    }
    hostile_alive();
}

static void stacks(void)
{
    CASE("its alternate stack as the user's stack: exceptions, calls, pushes there");
    for (uint64_t at = STUB + 0xc000; at < STUB + 0x30000; at += 0x538) {
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
    hostile_alive();
    CASE("the guest kernel maps user pages over the stub's place: refused to the process, not "
         "fatal");
    uint64_t frame = page_alloc();
    map(STUB, frame, PTE_USER);
    map(STUB + 0xc000, frame, PTE_USER);
    for (unsigned i = 0; i < 4; i++) {
        user_prepare(i & 1 ? write_all : read_all);
        user.rdi = STUB + (i & 2 ? 0xc000 : 0);
        user.rcx = 16;
        hostile_run(i);
    }
    unmap(STUB);
    unmap(STUB + 0xc000);
    hostile_alive();
}

void guest_main(void)
{
    hostile_start();
    jumps();
    memory();
    stacks();
}
