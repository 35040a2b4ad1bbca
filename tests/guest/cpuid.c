/* CPUID: the leaves fit together. SDM 2 "CPUID"; the hypervisor leaves as KVM's documentation "KVM
 * CPUID bits" has them. */
#include "lib/trap.h"

static uint32_t r[4];

static uint32_t leaf(uint32_t n, uint32_t sub, unsigned which)
{
    cpuid(n, sub, r);
    return r[which];
}

static void live_leaves(void)
{
    CASE("OSXSAVE follows CR4");
    if (leaf(1, 0, 2) & (1u << 26)) {
        write_cr4(read_cr4() & ~CR4_OSXSAVE);
        CHECK(!(leaf(1, 0, 2) & (1u << 27)));
        write_cr4(read_cr4() | CR4_OSXSAVE);
        CHECK(leaf(1, 0, 2) & (1u << 27));
    }
    CASE("APIC id in leaves 1 and 0xb");
    CHECK_EQ(leaf(1, 0, 1) >> 24, 0);
    CHECK_EQ(leaf(0xb, 0, 3), 0);
    CHECK_EQ(leaf(0xb, 1, 2) >> 8 & 0xff, 2);
    CASE("leaf 0xd: sizes and components");
    uint64_t xcr0 = leaf(0xd, 0, 0);
    CHECK_EQ(xcr0 & 3, 3);
    uint32_t size = leaf(0xd, 0, 2), end = 576;
    for (unsigned i = 2; i < 32; i++) {
        cpuid(0xd, i, r);
        CHECK_EQ(r[0] != 0, xcr0 >> i & 1);
        if (r[0] && r[1] + r[0] > end)
            end = r[1] + r[0];
    }
    CHECK_EQ(size, end);
    CHECK(leaf(0xd, 0, 1) <= size);
}

void guest_main(void)
{
    CASE("maximum leaves");
    uint32_t max = leaf(0, 0, 0), ext = leaf(0x80000000, 0, 0);
    CHECK(max >= 0xd && max < 0x100);
    CHECK(ext >= 0x80000008 && ext < 0x80000100);
    CASE("vendor, the same in both ranges or absent");
    cpuid(0, 0, r);
    uint32_t b = r[1], c = r[2], d = r[3];
    cpuid(0x80000000, 0, r);
    CHECK((r[1] == b && r[2] == c && r[3] == d) || (!r[1] && !r[2] && !r[3]));
    CASE("registers' upper halves are cleared");
    uint64_t wide[4];
    asm volatile("cpuid"
                 : "=a"(wide[0]), "=b"(wide[1]), "=c"(wide[2]), "=d"(wide[3])
                 : "a"(0xffffffff00000001), "c"(-1ll), "b"(-1ll), "d"(-1ll));
    CHECK_EQ((wide[0] | wide[1] | wide[2] | wide[3]) >> 32, 0);
    CASE("what a 64-bit kernel needs");
    cpuid(1, 0, r);
    CHECK_EQ(r[3] & 0x0780a171 & ~(1u << 7),
             0x0780a171 & ~(1u << 7)); /* fpu pse tsc msr pae cx8 apic pge cmov fxsr sse sse2 mmx */
    CHECK(r[2] & (1u << 21));          /* x2APIC */
    CHECK(r[2] & (1u << 24));          /* TSC deadline */
    CHECK(r[2] & (1u << 31));          /* hypervisor */
    CHECK(!(r[2] & (1u << 5)));        /* no VMX */
    CHECK(leaf(0x80000001, 0, 3) & (1u << 29)); /* long mode */
    CHECK(leaf(0x80000001, 0, 3) & (1u << 11)); /* SYSCALL */
    CHECK(leaf(0x80000001, 0, 3) & (1u << 20)); /* NX */
    live_leaves();
    CASE("hypervisor leaves");
    cpuid(0x40000000, 0, r);
    CHECK(r[0] >= 0x40000001 && r[0] < 0x40000100);
    CHECK(r[1] == 0x4b4d564b && r[2] == 0x564b4d56 && r[3] == 0x4d); /* KVMKVMKVM */
    CASE("leaves beyond the maximum do not invent features");
    if (b == 0x756e6547) { /* Intel: the data of the highest basic leaf */
        uint32_t highest[4];
        cpuid(max, 0, highest);
        cpuid(max + 1, 0, r);
        CHECK_EQ(r[0], highest[0]);
        CHECK_EQ(r[3], highest[3]);
    } else {
        cpuid(max + 1, 0, r);
        CHECK_EQ(r[0] | r[1] | r[2] | r[3], 0);
    }
    CASE("address widths");
    cpuid(0x80000008, 0, r);
    CHECK((r[0] & 0xff) >= 36 && (r[0] & 0xff) <= 52);
    CHECK_EQ(r[0] >> 8 & 0xff, 48);
}
