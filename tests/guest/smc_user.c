/* Code that changes across the privilege boundary: user code patched by itself and by the kernel,
 * kernel code patched through a user mapping. SDM 3 §8.1.3. */
#include "lib/paging.h"
#include "lib/user.h"

/* rdi: place of a function; writes `mov eax, esi; ret`-like code there, calls it, returns its
 * result in rax */
USER_CODE(user_jit, "xor %ebx, %ebx\n"
                    "1:\tmovb $0xb8, (%rdi)\n\tmovl %ebx, 1(%rdi)\n\tmovb $0xc3, 5(%rdi)\n\tcall "
                    "*%rdi\n\tcmp %ebx, %eax\n\tjne 2f\n"
                    "inc %ebx\n\tcmp %esi, %ebx\n\tjne 1b\n2:\tsyscall");
USER_CODE(user_patch, "mov %esi, 1(%rdi); syscall");
USER_CODE(user_call_it, "call *%rdi; syscall");

static void write_function(volatile uint8_t *p, uint32_t value)
{
    p[0] = 0xb8;
    *(volatile uint32_t *)(p + 1) = value;
    p[5] = 0xc3;
}

static uint64_t run_kernel(uint64_t at)
{
    return ((uint64_t(*)(void))at)();
}

static uint64_t run_user(uint64_t at)
{
    user_call(user_call_it, at, 0, 0);
    EXPECT_SYSCALL(user_call_it_end);
    return user.rax;
}

static void both(uint64_t kva, uint64_t uva)
{
    uint64_t frame = page_alloc();
    map(kva, frame, PTE_KERNEL);
    map(uva, frame, PTE_USER);
    CASE("user code patched by the kernel");
    for (unsigned i = 0; i < 100; i++) {
        write_function((volatile uint8_t *)kva, i);
        CHECK_EQ(run_user(uva), i);
    }
    CASE("user code patched by the kernel through the user's address");
    for (unsigned i = 0; i < 100; i++) {
        write_function((volatile uint8_t *)uva, i);
        CHECK_EQ(run_user(uva), i);
    }
    CASE("kernel code patched by user code");
    write_function((volatile uint8_t *)kva, 0);
    for (unsigned i = 0; i < 100; i++) {
        CHECK_EQ(run_kernel(kva), i ? i - 1 : 0);
        user_call(user_patch, uva, i, 0);
        EXPECT_SYSCALL(user_patch_end);
        CHECK_EQ(run_kernel(kva), i);
        CHECK_EQ(run_user(uva), i);
    }
    CASE("kernel code patched by user code in another address space");
    uint64_t old = read_cr3(), other = root_fresh();
    *pte_in(other, uva, 1) = frame | PTE_USER;
    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQ(run_kernel(kva), i ? i + 499 : 99);
        write_cr3(other);
        user_call(user_patch, uva, i + 500, 0);
        EXPECT_SYSCALL(user_patch_end);
        CHECK_EQ(run_kernel(kva), i + 500);
        write_cr3(old);
        CHECK_EQ(run_user(uva), i + 500);
    }
}

/* The kernel's function lies in a 2 MB page that user code may write. */
static void large(uint64_t uva)
{
    uint64_t frames = pages_alloc(512, MB2);
    uint64_t kva = (uint64_t)va_of(frames) + 0x5000;
    CASE("kernel code patched by user code through a 2 MB page");
    map_level(uva, frames, PTE_USER, 2);
    write_function((volatile uint8_t *)kva, 0);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQ(run_kernel(kva), i);
        user_call(user_patch, uva + 0x5000, i + 1, 0);
        EXPECT_SYSCALL(user_patch_end);
        CHECK_EQ(run_user(uva + 0x5000), i + 1);
    }
}

void guest_main(void)
{
    CASE("user code that writes and runs 10,000 functions");
    user_call(user_jit, USER_PAGE, 10000, 0);
    EXPECT_SYSCALL(user_jit_end);
    CHECK_EQ(user.rbx, 10000);
    both(SPARE_HIGH, SPARE_LOW);
    large(SPARE_LOW + 4 * MB2);
    large(SPARE_FAR + 4 * MB2);
    both(SPARE_HIGH + KB4, SPARE_FAR);
}
