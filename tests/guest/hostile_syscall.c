/* User code makes system calls to the host, in every form: each must come to the guest's kernel,
 * none may do anything else. */
#include "lib/homes.h"
#include "lib/hostile.h"
#include "lib/paging.h"

USER_CODE(do_syscall, "syscall; ud2");
USER_CODE(do_int80, "int $0x80; ud2");
USER_CODE(do_sysenter, ".byte 0x0f, 0x34; ud2");
USER_CODE(do_vsyscall, "call *%rsi; ud2");
/* 32-bit: int 0x80; ud2, and sysenter, and syscall */
USER_CODE(int80_32, ".byte 0xcd, 0x80, 0x0f, 0x0b");
USER_CODE(sysenter_32, ".byte 0x0f, 0x34, 0x0f, 0x0b");
USER_CODE(syscall_32, ".byte 0x0f, 0x05, 0x0f, 0x0b");

static void arguments(const void *rip, uint64_t nr, unsigned set)
{
    static const uint64_t sets[3][6] = {
        {0, 0, 0, 0, 0, 0},
        {USER_BASE, 0x10000, 7, 0x32, ~0ull, 0},
        {0, 0x7ffffffff000, 0x100000, USER_PAGE, 8, 1},
    };
    user_prepare(rip);
    user.rax = nr;
    user.rdi = sets[set][0];
    user.rsi = sets[set][1];
    user.rdx = sets[set][2];
    user.r10 = sets[set][3];
    user.r8 = sets[set][4];
    user.r9 = sets[set][5];
    user.rbx = sets[set][0];
    user.rcx = sets[set][1];
    user.rbp = sets[set][5];
}

static void one_syscall(uint64_t nr, unsigned set)
{
    arguments(do_syscall, nr, set);
    user_resume();
    if (trap.vector != VEC_SYSCALL || trap.rip != (uint64_t)do_syscall + 2 || trap.rax != nr) {
        print("    system call ");
        print_hex(nr);
        print("\n");
        EXPECT_SYSCALL(do_syscall + 2);
    }
}

static void one_int80(uint64_t nr, unsigned set)
{
    arguments(do_int80, nr, set);
    user_resume();
    if (trap.vector != 0x80 || trap.rip != (uint64_t)do_int80 + 2 || trap.rax != nr)
        EXPECT_USER_TRAP(0x80, do_int80 + 2);
    arguments(int80_32, nr, set);
    user.cs = USER_CS32;
    user.rsp = USER_STACK - 8;
    user_resume();
    if (trap.vector != 0x80 || trap.rip != (uint64_t)int80_32 + 2 ||
        (uint32_t)trap.rax != (uint32_t)nr)
        EXPECT_USER_TRAP(0x80, int80_32 + 2);
}

void guest_main(void)
{
    hostile_start();
    CASE("every number by syscall");
    for (uint64_t nr = 0; nr < 700; nr++) {
        if (nr != 335 && nr != 336) /* uretprobe, uprobe: docs/limits.md */
            one_syscall(nr, nr % 3);
    }
    CASE("the dangerous ones with every set of arguments");
    static const uint16_t dangerous[] = {9,   10,  11,  12,  15,  25,  56,  57,  58,
                                         59,  60,  62,  101, 131, 157, 158, 160, 231,
                                         234, 298, 310, 311, 317, 322, 435};
    for (unsigned i = 0; i < ARRAY_LEN(dangerous); i++) {
        for (unsigned set = 0; set < 3; set++)
            one_syscall(dangerous[i], set);
    }
    hostile_alive();
    CASE("x32 and odd numbers");
    for (uint64_t nr = 0; nr < 600; nr += 3)
        one_syscall(0x40000000 | nr, nr % 3);
    static const uint64_t odd[] = {~0ull,       0xffffffff,  0x80000000, 0x8000000000000000,
                                   0x100000000, 0x10000000f, 1000000};
    for (unsigned i = 0; i < ARRAY_LEN(odd); i++)
        one_syscall(odd[i], 1);
    hostile_alive();
    CASE("int 0x80 from 64-bit and 32-bit code");
    set_gate(0x80, GATE_INTERRUPT, 3, 0);
    for (uint64_t nr = 0; nr < 460; nr++)
        one_int80(nr, nr % 3);
    one_int80(~0ull, 1);
    hostile_alive();
    CASE("sysenter, and syscall in 32-bit code: some event, nothing else");
    for (uint64_t nr = 0; nr < 450; nr += 9) {
        arguments(do_sysenter, nr, nr % 3);
        hostile_run(0);
        arguments(sysenter_32, nr, nr % 3);
        user.cs = USER_CS32;
        hostile_run(0);
        arguments(syscall_32, nr, nr % 3);
        user.cs = USER_CS32;
        hostile_run(0);
    }
    hostile_alive();
    CASE("the host's vsyscall page is not the guest's: #PF");
    static const uint64_t pointers[] = {0, USER_PAGE, 0xffffffffff600000, FIRST_STUB};
    for (unsigned i = 0; i < 12; i++) {
        uint64_t at = 0xffffffffff600000 + 1024 * (i % 3);
        user_call(do_vsyscall, pointers[i / 3], at, 0);
        EXPECT_USER_PF(PF_U | PF_I, at, at);
        CHECK_EQ(trap.rsp, USER_STACK - 16);
    }
    hostile_alive();
}
