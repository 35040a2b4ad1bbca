/* Control and debug registers: what they read back, which values are refused. SDM 2 "MOV—Move
 * to/from Control Registers", "MOV—Move to/from Debug Registers"; SDM 3 §2.5. */
#include "lib/paging.h"
#include "lib/trap.h"

#define REFUSED(reg, value)                                                                        \
    do {                                                                                           \
        TRY_IN("mov %0, %%" reg, "r"((uint64_t)(value)));                                          \
        EXPECT_FAULT(VEC_GP, 0);                                                                   \
    } while (0)

static void cr0(void)
{
    uint64_t old = read_cr0();
    CASE("CR0: ET is always 1; WP, AM, NE, MP, TS read back");
    for (unsigned b = 0; b < 5; b++) {
        static const uint64_t bit_of[] = {CR0_WP, CR0_AM, CR0_NE, CR0_MP, CR0_TS};
        write_cr0(old ^ bit_of[b]);
        CHECK_EQ(read_cr0(), old ^ bit_of[b]);
        write_cr0(old);
    }
    write_cr0(old & ~CR0_ET);
    CHECK(read_cr0() & CR0_ET);
    write_cr0(old);
    CASE("CR0: PG without PE, NW without CD, bits above 31, PG off in 64-bit mode");
    REFUSED("cr0", old & ~CR0_PE);
    REFUSED("cr0", (old | CR0_NW) & ~CR0_CD);
    REFUSED("cr0", old | 1ull << 32);
    REFUSED("cr0", old | 1ull << 63);
    REFUSED("cr0", old & ~CR0_PG);
    CHECK_EQ(read_cr0(), old);
    CASE("smsw, lmsw, clts");
    uint64_t word = 0;
    asm volatile("smsw %0" : "=r"(word));
    CHECK_EQ(word & 0xffffffff, old & 0xffffffff);
    uint16_t half = 0;
    asm volatile("smsw %0" : "=m"(half));
    CHECK_EQ(half, old & 0xffff);
    asm volatile("lmsw %w0" : : "r"(old | CR0_TS));
    CHECK_EQ(read_cr0(), old | CR0_TS);
    asm volatile("clts");
    CHECK_EQ(read_cr0(), old & ~CR0_TS);
    asm volatile("lmsw %w0" : : "r"(old & ~CR0_PE));
    CHECK(read_cr0() & CR0_PE);
    write_cr0(old);
}

static void cr2_cr3(void)
{
    CASE("CR2 holds any value");
    write_cr2(0x123456789abcdef0);
    CHECK_EQ(read_cr2(), 0x123456789abcdef0);
    write_cr2(0);
    CASE("CR3: PWT and PCD read back; bits beyond MAXPHYADDR are refused");
    uint64_t old = read_cr3();
    write_cr3(old | 0x18);
    CHECK_EQ(read_cr3(), old | 0x18);
    write_cr3(old);
    uint32_t r[4];
    cpuid(0x80000008, 0, r);
    if ((r[0] & 0xff) < 52)
        REFUSED("cr3", old | 1ull << (r[0] & 0xff));
    REFUSED("cr3", old | 1ull << 52);
    REFUSED("cr3", old | 1ull << 62);
    REFUSED("cr3", old | 1ull << 63);
    CHECK_EQ(read_cr3(), old);
}

static void cr4_cr8(void)
{
    uint64_t old = read_cr4();
    CASE("CR4: PAE cannot go, reserved bits are refused, the others read back");
    REFUSED("cr4", old & ~CR4_PAE);
    REFUSED("cr4", old | 1ull << 63);
    REFUSED("cr4", old | 1ull << 32);
    REFUSED("cr4", old | 1ull << 15);
    REFUSED("cr4", old | 1ull << 19);
    REFUSED("cr4", old ^ CR4_LA57);
    CHECK_EQ(read_cr4(), old);
    static const uint64_t some[] = {CR4_TSD, CR4_DE, CR4_PSE, CR4_PGE, CR4_OSFXSR, CR4_OSXMMEXCPT};
    for (unsigned i = 0; i < ARRAY_LEN(some); i++) {
        write_cr4(old ^ some[i]);
        CHECK_EQ(read_cr4(), old ^ some[i]);
        write_cr4(old);
    }
    CASE("CR4 bits of features that CPUID does not have are refused");
    uint32_t r[4];
    cpuid(7, 0, r);
    if (!(r[1] & (1u << 20)))
        REFUSED("cr4", old | CR4_SMAP);
    if (!(r[2] & (1u << 2)))
        REFUSED("cr4", old | CR4_UMIP);
    if (!(r[2] & (1u << 3)))
        REFUSED("cr4", old | CR4_PKE);
    CASE("CR8: four bits");
    write_cr8(9);
    CHECK_EQ(read_cr8(), 9);
    REFUSED("cr8", 16);
    REFUSED("cr8", ~0ull);
    CHECK_EQ(read_cr8(), 9);
    write_cr8(0);
}

static void debug_registers(void)
{
    uint64_t value;
    CASE("DR0-3, DR6, DR7 read back");
    asm volatile("mov %0, %%dr0; mov %1, %%dr3" : : "r"(0x1111222233334444), "r"(~0ull));
    asm volatile("mov %%dr0, %0" : "=r"(value));
    CHECK_EQ(value, 0x1111222233334444);
    asm volatile("mov %%dr3, %0" : "=r"(value));
    CHECK_EQ(value, ~0ull);
    asm volatile("mov %0, %%dr6" : : "r"(0ull));
    asm volatile("mov %%dr6, %0" : "=r"(value));
    CHECK_EQ(value & 0xffff0ff0, 0xffff0ff0);
    asm volatile("mov %%dr7, %0" : "=r"(value));
    CHECK_EQ(value, 0x400);
    CASE("bits above 31 of DR6 and DR7: #GP");
    REFUSED("dr6", 1ull << 32);
    REFUSED("dr7", 1ull << 32);
    CASE("DR4 and DR5: DR6 and DR7, or #UD with CR4.DE");
    write_cr4(read_cr4() & ~CR4_DE);
    TRY(".byte 0x0f, 0x21, 0xe0"); /* mov rax, dr4 */
    EXPECT_NOTHING();
    write_cr4(read_cr4() | CR4_DE);
    TRY(".byte 0x0f, 0x21, 0xe0");
    EXPECT_FAULT(VEC_UD, 0);
    CASE("DR7.GD: #DB before the access, DR6.BD");
    asm volatile("mov %0, %%dr7" : : "r"(0x2400ull));
    TRY("mov %%dr0, %%rax");
    EXPECT_FAULT(VEC_DB, 0);
    asm volatile("mov %%dr6, %0" : "=r"(value));
    CHECK_EQ(value & 0x2000, 0x2000);
    asm volatile("mov %%dr7, %0" : "=r"(value));
    CHECK_EQ(value & 0x2000, 0);
    asm volatile("mov %0, %%dr0; mov %0, %%dr3" : : "r"(0ull));
}

static void rsp_forms(void)
{
    uint64_t value, old = read_cr3();
    CASE("mov to and from a control register through RSP, R12");
    asm volatile("mov %%rsp, %%rbx; mov %%cr3, %%rsp; mov %%rsp, %0; mov %%rbx, %%rsp"
                 : "=r"(value)
                 :
                 : "rbx");
    CHECK_EQ(value, old);
    asm volatile("mov %%rsp, %%rbx; mov %0, %%rsp; mov %%rsp, %%cr3; mov %%rbx, %%rsp"
                 :
                 : "r"(old)
                 : "rbx", "memory");
    CHECK_EQ(read_cr3(), old);
}

void guest_main(void)
{
    cr0();
    cr2_cr3();
    cr4_cr8();
    debug_registers();
    rsp_forms();
}
