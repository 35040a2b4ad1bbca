/* src/vcpu: the CPUID policy over a host that claims every feature there is, the live parts of
 * CPUID, and the reset state.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_guest.h"

#define XCR0_FULL 0x602e7ull /* x87 SSE AVX AVX-512 PKRU AMX */

enum { A, B, C, D };

static struct vcpu *v;
static uint32_t r[4];

static struct vcpu_cpuid_config cfg;

static int setup(void **state)
{
    (void)state;
    fake_cpuid_amd = false;
    v = fake_guest_create();
    cfg = (struct vcpu_cpuid_config){.host_cpuid = fake_cpuid, .host_xcr0 = XCR0_FULL,
                                     .cpu_count = 6, .tsc_khz = 2599998, .deprivileged = true};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_guest_destroy(v);
    return 0;
}

static void make(bool amd)
{
    fake_cpuid_amd = amd;
    vcpu_cpuid_init(v, &cfg);
    assert_true(v->cpuid_count > 20 && v->cpuid_count < VCPU_CPUID_MAX);
}

static uint32_t reg(uint32_t leaf, uint32_t subleaf, unsigned which)
{
    vcpu_cpuid(v, leaf, subleaf, r);
    return r[which];
}

static bool has(uint32_t leaf, unsigned which, unsigned b)
{
    return bit(reg(leaf, 0, which), b);
}

/* Bits that must be there and bits that must not, in both vendors' deprivileged tables. */
static void expect_features(bool amd)
{
    static const struct {
        uint32_t leaf;
        uint8_t reg, bit;
    } offered[] = {
        {1, C, 0}, {1, C, 17}, {1, C, 20}, {1, C, 21}, {1, C, 24}, {1, C, 26}, {1, C, 28},
        {1, C, 31}, {1, D, 0}, {1, D, 5}, {1, D, 6}, {1, D, 7}, {1, D, 9}, {1, D, 14}, {1, D, 13}, {1, D, 16}, {1, D, 24},
        {7, B, 0}, {7, B, 1}, {7, B, 5}, {7, B, 7}, {7, B, 9}, {7, B, 10}, {7, B, 16}, {7, D, 4},
        {7, D, 14}, {0x80000001, D, 11}, {0x80000001, D, 20}, {0x80000001, D, 26},
        {0x80000001, D, 27}, {0x80000001, D, 29}, {0x80000007, D, 8}, {6, A, 2},
    }, hidden[] = {
        {1, C, 2}, {1, C, 3}, {1, C, 5}, {1, C, 6}, {1, C, 15}, {1, C, 27}, {1, D, 11},
        {1, D, 12}, {1, D, 21}, {1, D, 22}, {7, B, 2}, {7, B, 4}, {7, B, 11},
        {7, B, 12}, {7, B, 14}, {7, B, 15}, {7, B, 20}, {7, B, 22}, {7, B, 25}, {7, C, 2},
        {7, C, 3}, {7, C, 4}, {7, C, 5}, {7, C, 7}, {7, C, 13}, {7, C, 16}, {7, C, 22}, {7, C, 24},
        {7, C, 29}, {7, C, 30}, {7, D, 5}, {7, D, 9}, {7, D, 10}, {7, D, 15}, {7, D, 16},
        {7, D, 20}, {7, D, 22}, {7, D, 24}, {7, D, 25}, {7, D, 27}, {7, D, 28}, {7, D, 30},
        {7, D, 31}, {6, A, 0}, {6, C, 0}, {0x80000001, C, 2}, {0x80000001, C, 10},
        {0x80000001, C, 23}, {0x80000001, C, 29}, {0x80000008, B, 4}, {0x80000008, B, 12},
        {0x80000008, B, 14}, {0x80000008, B, 24},
    };
    for (size_t i = 0; i < ARRAY_LEN(offered); i++)
        assert_true(has(offered[i].leaf, offered[i].reg, offered[i].bit));
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
        assert_false(has(hidden[i].leaf, hidden[i].reg, hidden[i].bit));
    assert_int_equal(has(7, D, 26), !amd);
    assert_int_equal(has(7, D, 29), !amd);
    assert_false(bit(reg(7, 1, A), 6));  /* LASS */
    assert_false(bit(reg(7, 1, A), 17)); /* FRED */
    assert_false(bit(reg(7, 1, A), 26)); /* LAM */
    assert_true(bit(reg(7, 1, A), 4));   /* AVX-VNNI */
    assert_int_equal(reg(0xa, 0, A), 0);
}

static void test_features(void **state)
{
    (void)state;
    make(false);
    expect_features(false);
    assert_int_equal(vcpu_arch_capabilities(v), 0x400000000d10e17bull);
    make(true);
    expect_features(true);
    assert_int_equal(vcpu_arch_capabilities(v), 0);
    assert_true(has(0x80000021, A, 2) && has(0x80000021, A, 6) && has(0x80000021, A, 8));
    assert_int_equal(reg(0x80000021, 0, C), 6);
    assert_true(has(0x80000008, B, 26) && has(0x80000008, B, 29));
    assert_int_equal(reg(0x8000001f, 0, A), 0); /* no SME, SEV */
    assert_int_equal(reg(0x8000000a, 0, A), 0); /* no SVM */

    /* With hardware virtualization: SMAP and UMIP, but no promises about speculation. */
    cfg.deprivileged = false;
    make(false);
    assert_true(has(7, B, 20) && has(7, C, 2) && has(7, C, 22) && has(1, D, 11));
    assert_false(has(7, D, 26) || has(7, D, 29));
    assert_int_equal(vcpu_arch_capabilities(v), 0);
}

static void test_host_without_avx(void **state)
{
    (void)state;
    cfg.host_xcr0 = 3;
    make(false);
    assert_true(has(1, C, 26));
    assert_false(has(1, C, 28) || has(1, C, 12) || has(7, B, 5) || has(7, B, 16) || has(7, C, 9));
    cfg.host_xcr0 = 7;
    make(false);
    assert_true(has(1, C, 28) && has(7, B, 5));
    assert_false(has(7, B, 16) || has(7, C, 14) || has(7, D, 23));
    cfg.host_xcr0 = 0;
    make(false);
    assert_false(has(1, C, 26) || has(1, C, 28));
    assert_int_equal(reg(0xd, 0, A), 0);
}

static void test_xsave(void **state)
{
    (void)state;
    make(false);
    assert_int_equal(reg(0xd, 0, A), 0x2e7); /* AMX never, PKRU as the user can see it */
    assert_int_equal(r[D], 0);
    assert_int_equal(r[C], 0xa88);
    v->xcr0 = 1;
    assert_int_equal(reg(0xd, 0, B), 576);
    v->xcr0 = 7;
    assert_int_equal(reg(0xd, 0, B), 0x340);
    v->xcr0 = 0xe7;
    assert_int_equal(reg(0xd, 0, B), 0xa80);
    assert_int_equal(reg(0xd, 1, A), 7);             /* no XSAVES, no XFD */
    assert_int_equal(r[B], 576 + 0x100 + 0x40 + 0x200 + 0x400);
    assert_int_equal(reg(0xd, 2, A), 0x100);
    assert_int_equal(r[B], 0x240);
    assert_int_equal(reg(0xd, 18, A), 0);
    /* Another component after PKRU's 8 bytes, aligned to 64 in the compacted format. */
    cfg.host_xcr0 = XCR0_FULL | 1 << 19;
    make(false);
    v->xcr0 = 1 << 19 | 0x203;
    assert_int_equal(reg(0xd, 1, B), 640 + 128);
    cfg.host_xcr0 = XCR0_FULL;
    cfg.cpuid_faulting = true;
    make(false);
    assert_int_equal(reg(0xd, 0, A), 0xe7);
}

static void test_live(void **state)
{
    (void)state;
    make(false);
    v->index = 5;
    assert_int_equal(reg(1, 0, B) >> 24, 5);
    assert_int_equal(r[B] >> 16 & 0xff, 8);
    assert_true(has(1, D, 28));
    v->cr4 |= CR4_OSXSAVE;
    assert_true(has(1, C, 27));
    v->apic_base = 0;
    assert_false(has(1, D, 9));
    /* six cores, three ID bits */
    assert_int_equal(reg(0xb, 0, A), 0);
    assert_int_equal(r[B], 1);
    assert_int_equal(r[C], 0x100);
    assert_int_equal(r[D], 5);
    assert_int_equal(reg(0xb, 1, A), 3);
    assert_int_equal(r[B], 6);
    assert_int_equal(r[C], 0x201);
    assert_int_equal(reg(0xb, 7, C), 7);
    assert_int_equal(r[B], 0);
    assert_int_equal(r[D], 5);
    /* caches: 1 and 2 private, 3 shared by all; 8 addressable cores */
    assert_int_equal(reg(4, 0, A), 7u << 26 | 1 << 5 | 1);
    assert_int_equal(reg(4, 1, A), 7u << 26 | 2 << 5 | 1);
    assert_int_equal(reg(4, 2, A), 7u << 26 | 7 << 14 | 3 << 5 | 1);
    assert_int_equal(reg(4, 3, A), 0);
    make(true);
    assert_int_equal(reg(0x8000001e, 0, A), 5);
    assert_int_equal(reg(0x8000001d, 2, A), 7 << 14 | 3 << 5 | 1);
    assert_int_equal(reg(0x80000008, 0, C), 3 << 12 | 5);
}

static void test_ranges(void **state)
{
    (void)state;
    make(false);
    assert_int_equal(reg(0, 0, A), 0x16);
    assert_int_equal(reg(0x80000000, 0, A), 0x80000008);
    /* Intel: beyond the end, the highest basic leaf answers. */
    uint32_t mhz = reg(0x16, 0, A);
    assert_int_equal(mhz, 2600);
    assert_int_equal(reg(0x17, 0, A), mhz);
    assert_int_equal(reg(0x80000009, 0, A), mhz);
    assert_int_equal(reg(0xc0000000, 0, A), mhz);
    assert_int_equal(reg(0x40000000, 0, B), 0x4b4d564b);
    assert_int_equal(reg(0x40000001, 0, A), 0x0100000b);
    assert_int_equal(reg(0x40000010, 0, A), 2599998);
    assert_int_equal(reg(0x40000100, 0, A), 0);
    assert_int_equal(reg(0x80000008, 0, A), 48 << 8 | 46);
    assert_int_equal(v->maxphyaddr, 46);
    assert_int_equal(reg(0x80000007, 0, D), 0x100);
    make(true);
    assert_int_equal(reg(0x17, 0, A), 0);
    assert_int_equal(reg(0x80000022, 0, A), 0);
    v->cpuid_count = 0;
    assert_int_equal(reg(1, 0, A), 0);
}

static void test_frequency(void **state)
{
    static const uint32_t khz[] = {800000, 1996249, 2000000, 2599998, 3399123, 4000000, 4294000};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(khz); i++) {
        cfg.tsc_khz = khz[i];
        make(false);
        vcpu_cpuid(v, 0x15, 0, r);
        assert_true((r[C] / 1000ull) * r[B] <= 0xffffffffull); /* Linux's 32-bit product */
        double got = r[C] / 1000.0 * r[B] / r[A], off = got - khz[i];
        assert_true(off < khz[i] * 1e-6 && -off < khz[i] * 1e-6);
    }
}

/* Each host CPUID can be a 7 us exit: every leaf is asked for once. */
static void test_calls(void **state)
{
    (void)state;
    fake_cpuid_calls = 0;
    make(false);
    assert_true(fake_cpuid_calls <= 26);
    make(false); /* making it again replaces the table */
    unsigned count = v->cpuid_count;
    make(false);
    assert_int_equal(v->cpuid_count, count);
}

static void test_reset(void **state)
{
    (void)state;
    make(false);
    memset(v->xsave, 0xcc, sizeof(v->xsave));
    v->cr4 = v->efer = v->cr3 = ~0ull;
    v->halted = v->nmi_blocked = true;
    vcpu_reset(v);
    assert_int_equal(v->rip, 0xfff0);
    assert_int_equal(v->seg[SEG_CS].base, 0xffff0000);
    assert_int_equal(v->rflags, 2);
    assert_int_equal(v->cr0, 0x60000010);
    assert_int_equal(v->cr3 | v->cr4 | v->efer, 0);
    assert_int_equal(v->gpr[RDX], 0x000a0671);
    assert_int_equal(v->dr6, 0xffff0ff0);
    assert_int_equal(v->dr7, 0x400);
    assert_int_equal(v->apic_base, 0xfee00d00);
    assert_int_equal(vcpu_cpl(v), 0);
    assert_false(v->halted || v->nmi_blocked);
    assert_int_equal(v->xsave[0] | v->xsave[1] << 8, 0x37f);
    assert_int_equal(v->xsave[24] | v->xsave[25] << 8, 0x1f80);
    for (unsigned i = 512; i < 1024; i++)
        assert_int_equal(v->xsave[i], 0);
    assert_int_equal(v->xcr0, 1);
    v->index = 3;
    vcpu_reset(v);
    assert_int_equal(v->apic_base, 0xfee00c00);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_features), TEST(test_host_without_avx), TEST(test_xsave), TEST(test_live),
        TEST(test_ranges), TEST(test_frequency), TEST(test_calls), TEST(test_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
