/* FPU state belongs to whoever runs: user code's registers survive kernel code with SIMD of its own
 * when the kernel saves them, and survive untouched when it does not use SIMD; each address space's
 * state is apart only if the kernel keeps it so. SDM 1 ch. 13. */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_set, "movdqu (%rdi), %xmm3; fninit; fldpi; ldmxcsr 32(%rdi); syscall");
USER_CODE(user_get, "movdqu %xmm3, (%rdi); fstpt 16(%rdi); stmxcsr 36(%rdi); syscall");
USER_CODE(user_set_512, "vmovdqu64 (%rdi), %zmm17; kmovq %rsi, %k3; syscall");
USER_CODE(user_get_512, "vmovdqu64 %zmm17, (%rdi); kmovq %k3, %rax; syscall");
USER_CODE(user_set_256, "vmovdqu (%rdi), %ymm9; syscall");
USER_CODE(user_get_256, "vmovdqu %ymm9, (%rdi); syscall");

static uint8_t *page;

static void set_up(uint64_t seed)
{
    memset(page, 0, 128);
    *(uint64_t *)page = seed;
    *(uint64_t *)(page + 8) = ~seed;
    *(uint32_t *)(page + 32) = 0x9fc0; /* FTZ, DAZ */
    user_call(user_set, USER_PAGE, 0, 0);
    EXPECT_SYSCALL(user_set_end);
}

static void check(uint64_t seed)
{
    memset(page, 0, 128);
    user_call(user_get, USER_PAGE, 0, 0);
    EXPECT_SYSCALL(user_get_end);
    CHECK_EQ(*(uint64_t *)page, seed);
    CHECK_EQ(*(uint64_t *)(page + 8), ~seed);
    CHECK_EQ(*(uint64_t *)(page + 16), 0xc90fdaa22168c235);
    CHECK_EQ(*(uint16_t *)(page + 24), 0x4000);
    CHECK_EQ(*(uint32_t *)(page + 36), 0x9fc0);
}

static uint8_t image[4096] __attribute__((aligned(64)));

static void plain(void)
{
    CASE("kept over a system call, a fault, a change of address space without SIMD in the kernel");
    set_up(0x1111);
    check(0x1111);
    set_up(0x2222);
    user_call((void *)0x20000000, 0, 0, 0);
    EXPECT_USER_PF(PF_U | PF_I, 0x20000000, 0x20000000);
    uint64_t cr3 = read_cr3();
    write_cr3(root_fresh());
    check(0x2222);
    write_cr3(cr3);
    set_up(0x3333);
    CASE("the kernel sees user code's registers");
    uint64_t seen;
    asm volatile("movq %%xmm3, %0" : "=r"(seen));
    CHECK_EQ(seen, 0x3333);
    CASE("and what the kernel leaves there user code sees");
    asm volatile("movq %0, %%xmm3" : : "r"(0x4444ull));
    memset(page, 0, 128);
    user_call(user_get, USER_PAGE, 0, 0);
    CHECK_EQ(*(uint64_t *)page, 0x4444);
    CHECK_EQ(*(uint64_t *)(page + 8), 0);
}

static void saved(void)
{
    CASE("fxsave, kernel SIMD, fxrstor");
    for (unsigned i = 1; i <= 20; i++) {
        set_up(i);
        asm volatile("fxsave64 %0; fninit; fld1; pxor %%xmm3, %%xmm3; fxrstor64 %0"
                     : "+m"(image)
                     :
                     : "memory");
        check(i);
    }
    CASE("two tasks whose state the kernel switches");
    static uint8_t other[512] __attribute__((aligned(64)));
    uint64_t mine = read_cr3(), theirs = root_fresh();
    set_up(0xaaaa);
    asm volatile("fxsave64 %0" : "=m"(image));
    write_cr3(theirs);
    set_up(0xbbbb);
    for (unsigned i = 0; i < 10; i++) {
        asm volatile("fxsave64 %0; fxrstor64 %1" : "=m"(other) : "m"(image) : "memory");
        write_cr3(mine);
        user_call(user_get, USER_PAGE, 0, 0);
        CHECK_EQ(*(uint64_t *)page, 0xaaaa);
        asm volatile("fxrstor64 %0" : : "m"(other) : "memory");
        write_cr3(theirs);
        user_call(user_get, USER_PAGE, 0, 0);
        CHECK_EQ(*(uint64_t *)page, 0xbbbb);
    }
    write_cr3(mine);
}

static void wide(void)
{
    uint32_t r[4];
    cpuid(1, 0, r);
    if (!(r[2] & (1u << 26)) || !(r[2] & (1u << 28)))
        return;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    cpuid(0xd, 0, r);
    uint32_t all = r[0];
    asm volatile("xsetbv" : : "c"(0), "a"(all), "d"(r[3]));
    CASE("AVX: upper halves survive, and xsave sees them");
    for (unsigned i = 0; i < 4; i++)
        ((uint64_t *)page)[i] = 0x1000 + i;
    user_call(user_set_256, USER_PAGE, 0, 0);
    memset(image, 0, sizeof(image));
    asm volatile("xsave64 %0" : "+m"(image) : "a"(all), "d"(0) : "memory");
    CHECK_EQ(*(uint64_t *)(image + 512) & 4, 4);
    asm volatile("vzeroall; xrstor64 %0" : : "m"(image), "a"(all), "d"(0) : "memory");
    memset(page, 0, 64);
    user_call(user_get_256, USER_PAGE, 0, 0);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(((uint64_t *)page)[i], 0x1000 + i);
    if ((all & 0xe0) != 0xe0)
        return;
    CASE("AVX-512: zmm17 and k3 survive calls, faults, interrupts of the space and the kernel's "
         "xsave");
    for (unsigned i = 0; i < 8; i++)
        ((uint64_t *)page)[i] = 0x5120 + i;
    user_call(user_set_512, USER_PAGE, 0xdeadbeef, 0);
    EXPECT_SYSCALL(user_set_512_end);
    user_call((void *)0x20000000, 0, 0, 0);
    memset(image, 0, sizeof(image));
    asm volatile("xsave64 %0" : "+m"(image) : "a"(all), "d"(0) : "memory");
    asm volatile("vpxorq %%zmm17, %%zmm17, %%zmm17; kxorq %%k3, %%k3, %%k3; xrstor64 %0"
                 :
                 : "m"(image), "a"(all), "d"(0)
                 : "memory");
    memset(page, 0, 64);
    user_call(user_get_512, USER_PAGE, 0, 0);
    EXPECT_SYSCALL(user_get_512_end);
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(((uint64_t *)page)[i], 0x5120 + i);
    CHECK_EQ(user.rax, 0xdeadbeef);
    CASE("xrstor of an empty image: initial state in user code");
    memset(image, 0, sizeof(image));
    *(uint32_t *)(image + 24) = 0x1f80;
    asm volatile("xrstor64 %0" : : "m"(image), "a"(all), "d"(0) : "memory");
    user_call(user_get_512, USER_PAGE, 0, 0);
    CHECK_EQ(*(uint64_t *)page, 0);
    CHECK_EQ(user.rax, 0);
}

void guest_main(void)
{
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    page = va_of(pa_of((void *)USER_PAGE));
    plain();
    saved();
    wide();
}
