/* Kernel code that changes: itself, its neighbours, through other addresses, with every way of
 * writing. The processor sees the new bytes at the next branch or serializing instruction at the
 * latest, and as the code here is written each change is followed by one. SDM 3 §8.1.3 "Handling
 * Self- and Cross-Modifying Code". */
#include "lib/paging.h"
#include "lib/trap.h"

#define PAGE_A (SPARE_HIGH + 0x10000)
#define PAGE_B (SPARE_HIGH + 0x11000)
#define ALIAS_A (SPARE_HIGH2 + 0x20000)
#define ALIAS_LOW (SPARE_LOW + 0x30000)
#define ALIAS_FAR (SPARE_FAR + 0x40000)

typedef uint64_t (*function)(void);

/* mov eax, imm32; ret */
static void write_function(uint64_t at, uint32_t value)
{
    volatile uint8_t *p = (volatile uint8_t *)at;
    p[0] = 0xb8;
    for (unsigned i = 0; i < 4; i++)
        p[1 + i] = (uint8_t)(value >> (8 * i));
    p[5] = 0xc3;
}

static uint64_t run(uint64_t at)
{
    return ((function)at)();
}

static void patch_imm(uint64_t at, uint32_t value)
{
    *(volatile uint32_t *)(at + 1) = value;
}

static void aliases(void)
{
    static const uint64_t alias[] = {PAGE_A, ALIAS_A, ALIAS_LOW, ALIAS_FAR, 0};
    for (unsigned i = 0; i < ARRAY_LEN(alias); i++) {
        CASE("a function patched through the same and other addresses");
        uint64_t to = alias[i] ? alias[i] : (uint64_t)va_of(pa_of((void *)PAGE_A));
        for (uint32_t n = 0; n < 200; n++) {
            patch_imm(to + 0x40, n);
            CHECK_EQ(run(PAGE_A + 0x40), n);
        }
    }
    CASE("one frame run at two addresses");
    write_function(PAGE_A + 0x80, 1);
    CHECK_EQ(run(PAGE_A + 0x80), 1);
    CHECK_EQ(run(ALIAS_A + 0x80), 1);
    write_function(ALIAS_FAR + 0x80, 2);
    CHECK_EQ(run(PAGE_A + 0x80), 2);
    CHECK_EQ(run(ALIAS_A + 0x80), 2);
}

static void ways_of_writing(void)
{
    static uint8_t image[16] = {0xb8, 0, 0, 0, 0, 0xc3};
    uint64_t at = PAGE_A + 0x100;
    CASE("written by rep movsb, movsq, stos, xchg, cmpxchg, add, push, xmm, call");
    write_function(at, 7);
    CHECK_EQ(run(at), 7);
    image[1] = 8;
    memcpy((void *)at, image, 6);
    CHECK_EQ(run(at), 8);
    image[1] = 9;
    uint64_t count = 2;
    void *to = (void *)at;
    const void *from = image;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    CHECK_EQ(run(at), 9);
    to = (void *)(at + 1);
    asm volatile("stosb" : "+D"(to) : "a"(10) : "memory");
    CHECK_EQ(run(at), 10);
    asm volatile("xchgb %b0, (%1)" : : "q"(11), "r"(at + 1) : "memory");
    CHECK_EQ(run(at), 11);
    asm volatile("lock cmpxchgb %b0, (%1)" : : "q"(12), "r"(at + 1), "a"(11) : "memory");
    CHECK_EQ(run(at), 12);
    asm volatile("addb $1, (%0)" : : "r"(at + 1) : "memory");
    CHECK_EQ(run(at), 13);
    asm volatile("mov %%rsp, %%rcx; mov %0, %%rsp; push %1; mov %%rcx, %%rsp"
                 :
                 : "r"(at + 8), "r"(0x9090c300000000b8 | 14ull << 8)
                 : "rcx", "memory");
    CHECK_EQ(run(at), 14);
    image[1] = 15;
    asm volatile("movdqu %1, %%xmm0; movdqu %%xmm0, (%0)" : : "r"(at), "m"(image) : "memory");
    CHECK_EQ(run(at), 15);
    CASE("a call that pushes onto a code page");
    asm volatile("mov %%rsp, %%rcx; mov %0, %%rsp; call 1f; 1: mov %%rcx, %%rsp"
                 :
                 : "r"(at + 0x88)
                 : "rcx", "memory");
    CHECK_EQ(run(at), 15);
}

static void across_pages(void)
{
    uint64_t at = PAGE_B - 3;
    CASE("an instruction across two pages, each part patched");
    write_function(at, 0x01020304);
    CHECK_EQ(run(at), 0x01020304);
    *(volatile uint8_t *)(at + 1) = 0x44; /* first page */
    CHECK_EQ(run(at), 0x01020344);
    *(volatile uint8_t *)(at + 4) = 0x11; /* second page */
    CHECK_EQ(run(at), 0x11020344);
    *(volatile uint32_t *)(at + 1) = 0xa1b2c3d4; /* both at once */
    CHECK_EQ(run(at), 0xa1b2c3d4);
    *(volatile uint8_t *)(ALIAS_A + 0x1000 + 1) = 0x99; /* the second page, through its alias */
    CHECK_EQ(run(at), 0x99b2c3d4);
    CASE("the second page mapped elsewhere");
    uint64_t other = page_alloc();
    memcpy(va_of(other), (void *)PAGE_B, KB4);
    ((uint8_t *)va_of(other))[1] = 0x55;
    uint64_t old = *pte(PAGE_B, 1) & PTE_ADDR;
    map(PAGE_B, other, PTE_KERNEL);
    CHECK_EQ(run(at), 0x55b2c3d4);
    map(PAGE_B, old, PTE_KERNEL);
    CHECK_EQ(run(at), 0x99b2c3d4);
}

static void self(void)
{
    uint64_t value;
    CASE("code that patches what follows on its own page");
    for (unsigned i = 0; i < 100; i++) {
        asm volatile("movl %1, 1f + 1(%%rip)\n\tjmp 1f\n1:\tmovl $0x12345678, %k0"
                     : "=r"(value)
                     : "r"(i)
                     : "memory");
        CHECK_EQ(value, i);
    }
    CASE("a loop that patches its own body");
    asm volatile("xor %%ecx, %%ecx; xor %%eax, %%eax\n"
                 "1:\tmovl %%ecx, 2f + 1(%%rip)\n\tjmp 2f\n"
                 "2:\tadd $0x11223344, %%eax\n\tinc %%ecx\n\tcmp $1000, %%ecx\n\tjne 1b"
                 : "=a"(value)
                 :
                 : "rcx", "memory");
    CHECK_EQ(value, 999 * 1000 / 2);
    CASE("rep stosb over the code that runs it, ending in nops");
    asm volatile("lea 2f(%%rip), %%rdi; mov $8, %%ecx; mov $0x90, %%al; jmp 1f\n"
                 "1:\trep stosb\n\tjmp 2f\n2:\t.fill 8, 1, 0x0b\n\tmov $77, %%eax"
                 : "=a"(value)
                 :
                 : "rcx", "rdi", "memory");
    CHECK_EQ(value, 77);
}

static void jit(void)
{
    CASE("10,000 functions written and run");
    for (uint32_t i = 0; i < 10000; i++) {
        write_function(PAGE_A + 0x200 + (i % 16) * 8, i);
        if (run(PAGE_A + 0x200 + (i % 16) * 8) != i)
            CHECK_EQ(i, 0);
    }
    CASE("a call's target patched");
    write_function(PAGE_A + 0x400, 1);
    write_function(PAGE_A + 0x410, 2);
    volatile uint8_t *call = (volatile uint8_t *)(PAGE_A + 0x440); /* call rel32; ret */
    call[0] = 0xe8;
    call[5] = 0xc3;
    for (unsigned i = 0; i < 1000; i++) {
        *(volatile uint32_t *)(call + 1) = (i & 1 ? 0x410u : 0x400u) - 0x445u;
        CHECK_EQ(run((uint64_t)call), 1 + (i & 1));
    }
    CASE("code page used as data, then as code again");
    uint64_t sum = 0;
    for (unsigned i = 0; i < 1000; i++) {
        *(volatile uint64_t *)(PAGE_A + 0x800) += i;
        sum += *(volatile uint64_t *)(PAGE_A + 0x800);
    }
    CHECK_EQ(*(volatile uint64_t *)(PAGE_A + 0x800), 999 * 1000 / 2);
    CHECK(sum != 0);
    write_function(PAGE_A + 0x800, 5);
    CHECK_EQ(run(PAGE_A + 0x800), 5);
}

static void breakpoints(void)
{
    CASE("int3 patched in and out, as text_poke does");
    write_function(PAGE_A + 0x900, 0x42);
    for (unsigned i = 0; i < 50; i++) {
        CHECK_EQ(run(PAGE_A + 0x900), 0x42);
        *(volatile uint8_t *)(ALIAS_A + 0x900) = 0xcc;
        TRY_IN("call *%0", "r"(PAGE_A + 0x900));
        CHECK_EQ(trap.vector, VEC_BP);
        CHECK_EQ(trap.rip, PAGE_A + 0x901);
        *(volatile uint8_t *)(ALIAS_A + 0x900) = 0xb8;
    }
    CASE("the guest reads its own bytes");
    CHECK_EQ(*(volatile uint8_t *)(PAGE_A + 0x900), 0xb8);
    CHECK_EQ(*(volatile uint8_t *)(PAGE_A + 0x905), 0xc3);
}

void guest_main(void)
{
    write_cr4(read_cr4() | CR4_OSFXSR);
    uint64_t frames = pages_alloc(2, KB4);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t pa = frames + i * KB4;
        map(PAGE_A + i * KB4, pa, PTE_KERNEL);
        map(ALIAS_A + i * KB4, pa, PTE_KERNEL);
        map(ALIAS_LOW + i * KB4, pa, PTE_KERNEL);
        map(ALIAS_FAR + i * KB4, pa, PTE_KERNEL);
    }
    write_function(PAGE_A + 0x40, 0);
    aliases();
    ways_of_writing();
    across_pages();
    self();
    jit();
    breakpoints();
}
