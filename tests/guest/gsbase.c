/* FS and GS bases: MSRs, SWAPGS, the FSGSBASE instructions, in the kernel and in user code, with
 * values the engine cannot use directly. SDM 2 "SWAPGS", "WRFSBASE/WRGSBASE", SDM 3 §3.4.4 "Segment
 * Loading Instructions in IA-32e Mode". */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_read_fs, "mov %fs:(%rdi), %rax; mov %gs:(%rsi), %rbx; syscall");
USER_CODE(user_bases,
          "rdfsbase %rax; rdgsbase %rbx; wrfsbase %rdi; wrgsbase %rsi; rdfsbase %rcx; syscall");
USER_CODE(user_rdfs, "rdfsbase %rax; syscall");
USER_CODE(user_swapgs, "swapgs");

static uint64_t data[64] __attribute__((aligned(64)));

static uint64_t gs_load(uint64_t offset)
{
    uint64_t value;
    asm volatile("mov %%gs:(%1), %0" : "=r"(value) : "r"(offset) : "memory");
    return value;
}

static uint64_t fs_load(uint64_t offset)
{
    uint64_t value;
    asm volatile("mov %%fs:(%1), %0" : "=r"(value) : "r"(offset) : "memory");
    return value;
}

static void kernel(void)
{
    for (unsigned i = 0; i < 64; i++)
        data[i] = 1000 + i;
    uint64_t at = (uint64_t)data;
    CASE("GS and FS base by MSR");
    wrmsr(MSR_GS_BASE, at);
    wrmsr(MSR_FS_BASE, at + 64);
    CHECK_EQ(gs_load(8), 1001);
    CHECK_EQ(fs_load(8), 1009);
    CHECK_EQ(rdmsr(MSR_GS_BASE), at);
    asm volatile("incq %%gs:16; movq $7, %%fs:24;" : : : "memory", "cc");
    CHECK_EQ(data[2], 1003);
    CHECK_EQ(data[11], 7);
    CASE("negative offset, index, 32-bit address size");
    CHECK_EQ(gs_load((uint64_t)8 - 8 + 24), 1003);
    wrmsr(MSR_GS_BASE, at + 256);
    CHECK_EQ(gs_load((uint64_t)-8), 1031);
    CASE("a base beyond 8 TB and a base of 0");
    map(SPARE_FAR, pa_of((void *)((uint64_t)data & ~4095ull)), PTE_USER);
    wrmsr(MSR_GS_BASE, SPARE_FAR + (at & 4095));
    CHECK_EQ(gs_load(32), 1004);
    wrmsr(MSR_GS_BASE, 0);
    CHECK_EQ(gs_load(at + 40), data[5]);
    CASE("bases that wrap around");
    wrmsr(MSR_GS_BASE, 0x100);
    CHECK_EQ(gs_load(at + 40 - 0x100), data[5]);
    wrmsr(MSR_GS_BASE, 0xffff800000000000);
    CHECK_EQ(gs_load(at + 40 - 0xffff800000000000), data[5]);
    CASE("swapgs");
    wrmsr(MSR_GS_BASE, at);
    wrmsr(MSR_KERNEL_GS_BASE, at + 128);
    asm volatile("swapgs" : : : "memory");
    CHECK_EQ(gs_load(0), data[16]);
    CHECK_EQ(rdmsr(MSR_KERNEL_GS_BASE), at);
    asm volatile("swapgs" : : : "memory");
    CHECK_EQ(gs_load(0), data[0]);
    CASE("#GP: non-canonical bases; #GP and #SS-free faults through FS and GS");
    TRY_IN("wrmsr", "c"(MSR_GS_BASE), "a"(0), "d"(0x8000));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("wrmsr", "c"(MSR_KERNEL_GS_BASE), "a"(0), "d"(0x100000));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("cmpq $0, %%gs:(%0)", "r"(0x800000000000 - at));
    EXPECT_FAULT(VEC_GP, 0);
    wrmsr(MSR_GS_BASE, SPARE_HIGH);
    TRY("cmpq $0, %%gs:0x123");
    EXPECT_PF(0, SPARE_HIGH + 0x123);
    wrmsr(MSR_GS_BASE, SPARE_LOW);
    TRY("movq $0, %%gs:0x123");
    EXPECT_PF(PF_W, SPARE_LOW + 0x123);
    CASE("a selector load sets the base from the descriptor");
    wrmsr(MSR_GS_BASE, at);
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0x93) | DESC_D | 0x3456ull << 16 | 0x12ull << 32);
    asm volatile("mov %0, %%gs" : : "r"((uint64_t)FREE_SEL));
    CHECK_EQ(rdmsr(MSR_GS_BASE), 0x123456);
}

static void fsgsbase(void)
{
    uint64_t at = (uint64_t)data, value;
    CASE("FSGSBASE instructions without CR4.FSGSBASE: #UD");
    write_cr4(read_cr4() & ~CR4_FSGSBASE);
    TRY("rdgsbase %%rax");
    EXPECT_FAULT(VEC_UD, 0);
    TRY("wrfsbase %%rax");
    EXPECT_FAULT(VEC_UD, 0);
    write_cr4(read_cr4() | CR4_FSGSBASE);
    CASE("in the kernel");
    asm volatile("wrgsbase %0" : : "r"(at + 8) : "memory");
    CHECK_EQ(gs_load(0), data[1]);
    asm volatile("rdgsbase %0" : "=r"(value));
    CHECK_EQ(value, at + 8);
    asm volatile("wrfsbase %k0" : : "r"(0xffffffff12345678));
    asm volatile("rdfsbase %0" : "=r"(value));
    CHECK_EQ(value, 0x12345678);
    TRY_IN("wrgsbase %0", "r"(0x900000000000));
    EXPECT_FAULT(VEC_GP, 0);
}

static void in_user(void)
{
    uint64_t *page = va_of(pa_of((void *)USER_PAGE));
    page[0] = 0xf5, page[1] = 0x65;
    CASE("user code sees the bases the kernel set");
    wrmsr(MSR_FS_BASE, USER_PAGE - 0x100);
    wrmsr(MSR_GS_BASE, USER_PAGE - 0x200);
    user_call(user_read_fs, 0x100, 0x208, 0);
    EXPECT_SYSCALL(user_read_fs_end);
    CHECK_EQ(user.rax, 0xf5);
    CHECK_EQ(user.rbx, 0x65);
    CHECK_EQ(rdmsr(MSR_FS_BASE), USER_PAGE - 0x100);
    CASE("rdfsbase, wrfsbase in user code");
    user_call(user_bases, USER_PAGE + 8, USER_PAGE + 0x300, 0);
    EXPECT_SYSCALL(user_bases_end);
    CHECK_EQ(user.rax, USER_PAGE - 0x100);
    CHECK_EQ(user.rbx, USER_PAGE - 0x200);
    CHECK_EQ(rdmsr(MSR_FS_BASE), USER_PAGE + 8);
    CHECK_EQ(rdmsr(MSR_GS_BASE), USER_PAGE + 0x300);
    CASE("swapgs on the way in and out, as a kernel does it");
    wrmsr(MSR_KERNEL_GS_BASE, (uint64_t)data);
    user_call(user_read_fs, 0, (uint64_t)-0x300, 0);
    EXPECT_SYSCALL(user_read_fs_end);
    CHECK_EQ(user.rax, 0x65);
    CHECK_EQ(user.rbx, 0xf5);
    asm volatile("swapgs" : : : "memory");
    CHECK_EQ(gs_load(0), data[0]);
    CHECK_EQ(rdmsr(MSR_KERNEL_GS_BASE), USER_PAGE + 0x300);
    asm volatile("swapgs" : : : "memory");
    CASE("kernel addresses as user bases");
    wrmsr(MSR_FS_BASE, 0xffff888000000000);
    user_call(user_rdfs, 0, 0, 0);
    EXPECT_SYSCALL(user_rdfs_end);
    CHECK_EQ(user.rax, 0xffff888000000000);
    user_call(user_read_fs, 8, 0, 0);
    EXPECT_USER_PF(PF_U | PF_P, 0xffff888000000008, user_read_fs);
    CASE("swapgs in user code: #GP(0)");
    user_run(user_swapgs);
    EXPECT_USER_FAULT(VEC_GP, 0, user_swapgs);
}

void guest_main(void)
{
    kernel();
    fsgsbase();
    in_user();
}
