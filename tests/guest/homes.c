/* User code has memory wherever the rewriting engine keeps pages of its own in a user address space
 * (src/host/linux/space_home.c): data and code, in one root and in others, in 64-bit and in 32-bit
 * code with thread-local storage. */
#include "lib/homes.h"
#include "lib/paging.h"
#include "lib/user.h"

#define TLS_SEL 0x63u

static uint64_t frames; /* HOME_PAGES of them */

/* At each of rdx pages from rdi: a function that returns rsi, and its own address in the last
 * word. */
USER_CODE(user_fill, "1: movb $0xb8, (%rdi); movl %esi, 1(%rdi); movb $0xc3, 5(%rdi)\n"
                     "mov %rdi, 0xff8(%rdi); add $0x1000, %rdi; inc %esi; dec %rdx; jnz 1b\n"
                     "syscall");
/* The number of pages that are not so. */
USER_CODE(user_check, "xor %ebx, %ebx\n"
                      "1: call *%rdi; cmp %esi, %eax; jne 2f; cmp %rdi, 0xff8(%rdi); je 3f\n"
                      "2: inc %ebx\n"
                      "3: add $0x1000, %rdi; inc %esi; dec %rdx; jnz 1b; syscall");
USER_CODE(user_load, "mov (%rdi), %rax; syscall");
USER_CODE(user_store, "mov %rsi, (%rdi); syscall");
USER_CODE(user_tls,
          ".code32; mov $0x63, %eax; mov %eax, %gs; mov %gs:(%edi), %ebx; xor %eax, %eax\n"
          "mov %eax, %gs; ud2; .code64");

static void fill(uint64_t va, unsigned first, unsigned pages)
{
    user_call(user_fill, va, first, pages);
    EXPECT_SYSCALL(user_fill_end);
}

static void check(uint64_t va, unsigned first, unsigned pages)
{
    user_call(user_check, va, first, pages);
    EXPECT_SYSCALL(user_check_end);
    CHECK_EQ(user.rbx, 0);
}

static void map_pages(uint64_t va, uint64_t pa, unsigned pages)
{
    for (unsigned i = 0; i < pages; i++)
        map(va + i * KB4, pa + i * KB4, PTE_USER);
}

static void unmap_pages(uint64_t va, unsigned pages)
{
    for (unsigned i = 0; i < pages; i++)
        unmap(va + i * KB4);
}

static void tls(uint64_t off, uint32_t want)
{
    uint64_t base = USER_PAGE;
    gdt[TLS_SEL / 8] =
        0xffff | (base & 0xffffff) << 16 | DESC_ACCESS(0xf3) | DESC_D | (base >> 24) << 56;
    user_prepare(user_tls);
    user.cs = USER_CS32;
    user.rdi = off;
    user_resume();
    EXPECT_USER_FAULT(VEC_UD, 0, user_tls_end - 2);
    CHECK_EQ(user.rbx, want);
}

static void whole_homes(void)
{
    CASE("one home after the other filled, in ascending order");
    for (unsigned h = 0; h < HOMES - 1; h++) {
        map_pages(home[h], frames, HOME_PAGES);
        fill(home[h], h, HOME_PAGES);
        check(home[h], h, HOME_PAGES);
        unmap_pages(home[h], HOME_PAGES);
    }
    CASE("all but one used at once");
    for (unsigned h = 0; h < HOMES - 1; h++) {
        map_pages(home[h], frames + h * 64 * KB4, 64);
        fill(home[h], h, 64);
    }
    for (unsigned h = 0; h < HOMES - 1; h++)
        check(home[h], h, 64);
    CASE("thread-local storage of 32-bit code is in each home");
    user_call(user_store, USER_PAGE + 64, 0x12345678, 0);
    tls(64, 0x12345678);
    CASE("the first home is free again and the last one taken");
    unmap_pages(home[0], 64);
    map_pages(home[3], frames, 64);
    fill(home[3], 3, 64);
    check(home[3], 3, 64);
    check(home[1], 1, 64);
    check(home[2], 2, 64);
    tls(64, 0x12345678);
    for (unsigned h = 1; h < HOMES; h++)
        unmap_pages(home[h], 64);
}

static void large_page(void)
{
    CASE("a 2 MB page over a home");
    uint64_t *table = (uint64_t *)(uintptr_t)pte(home[0], 2), old = *table;
    map_level(home[0], align_up(frames, MB2), PTE_USER, 2);
    fill(home[0], 7, HOME_PAGES);
    check(home[0], 7, HOME_PAGES);
    *table = old;
    invlpg(home[0]);
}

static void desk(void)
{
    CASE("the page for descriptors below 4 GB: reads as it is, is written, is code");
    uint64_t frame = page_alloc();
    map(DESK, frame, PTE_USER);
    user_call(user_load, DESK, 0, 0);
    EXPECT_SYSCALL(user_load_end);
    CHECK_EQ(user.rax, 0);
    fill(DESK, 1, 1);
    check(DESK, 1, 1);
    CASE("and a home with it");
    map_pages(home[0], frames, 8);
    fill(home[0], 9, 8);
    check(home[0], 9, 8);
    check(DESK, 1, 1);
    CASE("thread-local storage again when they are free");
    unmap_pages(home[0], 8);
    unmap(DESK);
    user_call(user_store, USER_PAGE + 128, 0x87654321, 0);
    tls(128, 0x87654321);
}

static void other_roots(void)
{
    uint64_t old = read_cr3();
    (void)pte(home[0], 1); /* the tables are there, and the clones' */
    uint64_t before = root_clone();
    write_cr3(before);
    user_call(user_load, USER_PAGE, 0, 0);
    EXPECT_SYSCALL(user_load_end);
    write_cr3(old);
    CASE("a root made after a home was taken, and one that was used before");
    map_pages(home[0], frames, HOME_PAGES);
    fill(home[0], 5, HOME_PAGES);
    write_cr3(root_clone());
    check(home[0] + STUB_PAGE * KB4, 5 + STUB_PAGE, STUB_PAGES);
    write_cr3(before);
    check(home[0] + STUB_PAGE * KB4, 5 + STUB_PAGE, STUB_PAGES);
    check(home[0], 5, HOME_PAGES);
    write_cr3(old);
    check(home[0], 5, HOME_PAGES);
    unmap_pages(home[0], HOME_PAGES);
}

void guest_main(void)
{
    frames = pages_alloc(2 * HOME_PAGES, MB2);
    CASE("pages at 0x100000");
    map_pages(0x100000, frames, 64);
    fill(0x100000, 100, 64);
    check(0x100000, 100, 64);
    unmap_pages(0x100000, 64);
    whole_homes();
    large_page();
    desk();
    other_roots();
}
