/* MSRs: what is there reads back, what is not is #GP(0), reserved bits are #GP(0). SDM 4; SDM 2
 * "RDMSR", "WRMSR". */
#include "lib/apic.h"

static void refused(uint32_t msr, uint64_t value)
{
    TRY_IN("wrmsr", "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
    EXPECT_FAULT(VEC_GP, 0);
}

static void addresses_and_pat(void)
{
    CASE("STAR, LSTAR, CSTAR, the SYSENTER registers");
    static const uint32_t plain[] = {MSR_LSTAR,        MSR_CSTAR,          MSR_SYSENTER_ESP,
                                     MSR_SYSENTER_EIP, MSR_KERNEL_GS_BASE, MSR_FS_BASE};
    for (unsigned i = 0; i < ARRAY_LEN(plain); i++) {
        uint64_t old = rdmsr(plain[i]);
        wrmsr(plain[i], 0xffffffff81234567);
        CHECK_EQ(rdmsr(plain[i]), 0xffffffff81234567);
        refused(plain[i], 0x800000000000);
        wrmsr(plain[i], old);
    }
    uint64_t star = rdmsr(MSR_STAR);
    wrmsr(MSR_STAR, 0x123456789abcdef0);
    CHECK_EQ(rdmsr(MSR_STAR), 0x123456789abcdef0);
    wrmsr(MSR_STAR, star);
    CASE("PAT: only the defined memory types");
    uint64_t pat = rdmsr(MSR_PAT);
    CHECK_EQ(pat, 0x0007040600070406);
    wrmsr(MSR_PAT, 0x0407050600070106);
    CHECK_EQ(rdmsr(MSR_PAT), 0x0407050600070106);
    refused(MSR_PAT, 2);
    refused(MSR_PAT, 0x08ull << 56);
    wrmsr(MSR_PAT, pat);
}

static void apic_and_tsc(void)
{
    CASE("APIC base: x2APIC on, cannot go back to xAPIC; reserved bits");
    uint64_t base = rdmsr(MSR_APIC_BASE);
    CHECK_EQ(base & 0xd00, 0xd00); /* BSP, EXTD, EN */
    refused(MSR_APIC_BASE, base & ~(1ull << 10));
    refused(MSR_APIC_BASE, base | 1);
    CASE("x2APIC: version, ids, read-only and write-only registers");
    CHECK_EQ(rdmsr(X2APIC_ID), 0);
    CHECK((rdmsr(0x803) & 0xff) >= 0x10);
    refused(0x803, 0);
    TRY_IN("rdmsr", "c"(X2APIC_EOI));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("rdmsr", "c"(X2APIC_SELF_IPI));
    EXPECT_FAULT(VEC_GP, 0);
    refused(X2APIC_TPR, 0x100);
    refused(X2APIC_SVR, 1ull << 32);
    CASE("TSC: rdmsr and rdtsc agree and go up; TSC_ADJUST and TSC_AUX read back");
    uint64_t t1 = rdtsc(), t2 = rdmsr(MSR_TSC), t3 = rdtsc();
    CHECK(t1 <= t2 && t2 <= t3 && t1 < t3);
    wrmsr(MSR_TSC_AUX, 0x1234);
    uint32_t aux, lo, hi;
    asm volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
    CHECK_EQ(aux, 0x1234);
    CHECK((lo | (uint64_t)hi << 32) >= t3);
    refused(MSR_TSC_AUX, 1ull << 32);
}

void guest_main(void)
{
    CASE("unknown MSRs: #GP(0) for both directions, registers untouched");
    static const uint32_t unknown[] = {0x0,        0x2,        0x12345678, 0xc0000fff,
                                       0xc0010fff, 0xffffffff, 0x9999,     0x4b564dff};
    for (unsigned i = 0; i < ARRAY_LEN(unknown); i++) {
        TRY_IN("rdmsr", "c"(unknown[i]), "a"(0x1111), "d"(0x2222));
        EXPECT_FAULT(VEC_GP, 0);
        CHECK_EQ(trap.rax, 0x1111);
        CHECK_EQ(trap.rdx, 0x2222);
        refused(unknown[i], 0);
    }
    CASE("rdmsr clears the upper halves, wrmsr ignores them");
    uint64_t a, d;
    asm volatile("rdmsr"
                 : "=a"(a), "=d"(d)
                 : "c"(0xffffffff00000000 | MSR_LSTAR), "a"(-1ll), "d"(-1ll));
    CHECK_EQ(a >> 32, 0);
    CHECK_EQ(d >> 32, 0);
    asm volatile("wrmsr"
                 :
                 : "c"(0xabcd00000000 | MSR_SFMASK), "a"(0x1234500000000 | 0x47700),
                   "d"(0x777700000000));
    CHECK_EQ(rdmsr(MSR_SFMASK), 0x47700);
    CASE("EFER: LMA is kept, reserved bits and LME off are refused");
    uint64_t efer = rdmsr(MSR_EFER);
    CHECK(efer & EFER_LMA);
    wrmsr(MSR_EFER, efer & ~EFER_LMA);
    CHECK_EQ(rdmsr(MSR_EFER), efer);
    refused(MSR_EFER, efer & ~EFER_LME);
    refused(MSR_EFER, efer | 1ull << 1);
    refused(MSR_EFER, efer | 1ull << 9);
    refused(MSR_EFER, efer | 1ull << 63);
    CHECK_EQ(rdmsr(MSR_EFER), efer);
    addresses_and_pat();
    apic_and_tsc();
}
