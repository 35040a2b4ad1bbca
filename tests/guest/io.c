/* IN, OUT, INS, OUTS: sizes, ports where nothing is, string forms across pages and into missing
 * ones. SDM 2 "IN", "INS", "OUTS". */
#include "lib/paging.h"
#include "lib/trap.h"

void guest_main(void)
{
    uint64_t rax, rdi, rcx, rsi;
    CASE("a port where nothing is: all ones, of the operand's size only");
    asm volatile("inb %%dx, %%al" : "=a"(rax) : "d"(0x1234), "a"(0x1122334455667788));
    CHECK_EQ(rax, 0x11223344556677ff);
    asm volatile("inw %%dx, %%ax" : "=a"(rax) : "d"(0x1234), "a"(0x1122334455667788));
    CHECK_EQ(rax, 0x112233445566ffff);
    asm volatile("inl %%dx, %%eax" : "=a"(rax) : "d"(0x1234), "a"(0x1122334455667788));
    CHECK_EQ(rax, 0xffffffff);
    asm volatile("outl %%eax, %%dx; outw %%ax, $0x12; outb %%al, $0x13" : : "d"(0x1234), "a"(5));
    CASE("the console's port answers 0xe9");
    CHECK_EQ(inb(0xe9), 0xe9);
    CASE("rep insb and rep outsb, forward and backward");
    static uint8_t buffer[32];
    rdi = (uint64_t)buffer;
    rcx = 8;
    asm volatile("rep insb" : "+D"(rdi), "+c"(rcx) : "d"(0xe9) : "memory");
    CHECK_EQ(*(uint64_t *)buffer, 0xe9e9e9e9e9e9e9e9);
    CHECK_EQ(buffer[8], 0);
    CHECK_EQ(rdi, (uint64_t)buffer + 8);
    rsi = (uint64_t) "string output\n";
    rcx = 14;
    asm volatile("rep outsb" : "+S"(rsi), "+c"(rcx) : "d"(0xe9) : "memory");
    CHECK_EQ(rcx, 0);
    rdi = (uint64_t)buffer + 20;
    rcx = 2;
    asm volatile("std; rep insl; cld" : "+D"(rdi), "+c"(rcx) : "d"(0x1234) : "memory");
    CHECK_EQ(rdi, (uint64_t)buffer + 12);
    CHECK_EQ(*(uint64_t *)(buffer + 16), ~0ull);
    static const uint64_t places[] = {SPARE_HIGH, SPARE_LOW, SPARE_FAR};
    for (unsigned i = 0; i < 3; i++) {
        CASE("into and out of a missing page: exact progress");
        map(places[i], page_alloc(), i ? PTE_USER : PTE_KERNEL);
        TRY_IN("mov %0, %%rdi; mov $40, %%ecx; mov $0xe9, %%edx; rep insb",
               "r"(places[i] + KB4 - 7));
        expect_pf(__FILE__, __LINE__, PF_W, places[i] + KB4, probe.end - 2);
        CHECK_EQ(trap.rcx, 33);
        CHECK_EQ(trap.rdi, places[i] + KB4);
        CHECK_EQ(*(uint8_t *)(places[i] + KB4 - 1), 0xe9);
        memset((void *)(places[i] + KB4 - 2), ' ', 2);
        TRY_IN("mov %0, %%rsi; mov $40, %%ecx; mov $0xe9, %%edx; rep outsb",
               "r"(places[i] + KB4 - 2));
        expect_pf(__FILE__, __LINE__, 0, places[i] + KB4, probe.end - 2);
        CHECK_EQ(trap.rcx, 38);
    }
    print("\n");
}
