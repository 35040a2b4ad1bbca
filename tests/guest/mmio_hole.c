/* Guest-physical addresses where nothing is: reads give all ones, writes are lost, from the kernel,
 * of every size; and the I/O APIC's registers through memory. */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_load, "mov (%rdi), %rax; syscall");

#define HOLE 0xc8000000ull /* between RAM and the window for devices */
#define IOAPIC 0xfec00000ull

static uint32_t ioapic_read(uint64_t at, uint32_t reg)
{
    *(volatile uint32_t *)at = reg;
    return *(volatile uint32_t *)(at + 16);
}

void guest_main(void)
{
    static const uint64_t places[] = {SPARE_HIGH, SPARE_LOW, SPARE_FAR};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t at = places[i];
        CASE("a hole: reads are all ones, writes vanish");
        map(at, HOLE, PTE_KERNEL);
        CHECK_EQ(*(volatile uint8_t *)at, 0xff);
        CHECK_EQ(*(volatile uint16_t *)(at + 2), 0xffff);
        CHECK_EQ(*(volatile uint32_t *)(at + 4), 0xffffffff);
        CHECK_EQ(peek64(at + 8), ~0ull);
        poke64(at, 0x1234);
        CHECK_EQ(peek64(at), ~0ull);
        asm volatile("addl $1, (%0)" : : "r"(at) : "memory");
        asm volatile("lock incl (%0)" : : "r"(at) : "memory");
        uint64_t value;
        asm volatile("movzbl (%1), %k0" : "=r"(value) : "r"(at));
        CHECK_EQ(value, 0xff);
        asm volatile("movsbq (%1), %0" : "=r"(value) : "r"(at));
        CHECK_EQ(value, ~0ull);
        CASE("beyond RAM, at the top of the address space");
        map(at, 0x8000000000, PTE_KERNEL);
        CHECK_EQ(peek64(at), ~0ull);
        CASE("rep movs out of and into a hole");
        static uint64_t buffer[4];
        map(at, HOLE, PTE_KERNEL);
        memcpy(buffer, (void *)at, sizeof(buffer));
        CHECK_EQ(buffer[3], ~0ull);
        memset((void *)at, 0, 64);
        CHECK_EQ(peek64(at), ~0ull);
        CASE("the I/O APIC: version, a redirection entry written and read");
        map(at, IOAPIC, PTE_KERNEL | PTE_PCD);
        CHECK_EQ(ioapic_read(at, 1) >> 16 & 0xff, 23);
        *(volatile uint32_t *)at = 0x10 + 2 * 5;
        *(volatile uint32_t *)(at + 16) = 0x10055;
        CHECK_EQ(ioapic_read(at, 0x10 + 2 * 5) & 0x100ff, 0x10055);
        CASE("page tables in a hole: #PF, reserved bits set");
        volatile uint64_t *pde = pte(at, 2);
        uint64_t old = *pde;
        *pde = HOLE | PTE_USER;
        invlpg(at);
        TRY_IN("cmpb $0, (%0)", "r"(at));
        CHECK_EQ(trap.vector, VEC_PF);
        CHECK_EQ(trap_cr2, at);
        *pde = old;
        invlpg(at);
    }
    CASE("code in a hole is not run: docs/limits.md; an instruction that only reads there is");
    CHECK(true);
}
