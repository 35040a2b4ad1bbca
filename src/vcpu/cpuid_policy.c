/* Which CPUID bits a guest is shown: the table made once from the host's.
 *
 * Policy (DESIGN §5, FACTS §5): vendor, family, model and names are the host's. Feature words are
 * allow-lists: what is not named here does not exist for the guest, so that a new host CPU brings
 * no surprise. Added to what the host has are features that the monitor itself provides: x2APIC,
 * TSC-deadline timer, TSC_ADJUST, invariant TSC, ARAT; and in a deprivileged guest, whose page
 * tables are walked by software, PCID, INVPCID, SMEP, NX, 1 GB pages, and SERIALIZE.
 *
 * Hidden from a deprivileged guest: SMAP (AC is not tracked), UMIP (SGDT in user code shows the
 * host's dummy values whatever CR4 says), SEP (SYSENTER would enter the host), RDPID (user code
 * reads the host's TSC_AUX).
 *
 * XSAVE: user code of a deprivileged guest runs under the host's XCR0, therefore the guest kernel
 * is told of all the host's user components and saves them all. Exceptions:
 *   - AMX (17, 18) is never shown. A host process may use it only after asking its kernel for
 *     permission, which spaces do not; so tile state is always in its initial configuration, and
 *     the guest's image is 2.7 KB instead of 11.
 *   - PKRU (9) is left out where the user cannot see the host's CPUID either: PKU is hidden, and
 *     the component would stand without its feature. Elsewhere it stays, because user code that
 *     finds OSPKE natively may execute WRPKRU.
 * XSAVES is hidden (a supervisor instruction); XSAVEC, XSAVEOPT and XGETBV1 are legal in ring 3.
 *
 * Speculation (FACTS §5b): guest kernel and guest user are separate host processes when
 * deprivileged, so the kernel is told it is not affected: ARCH_CAPABILITIES on Intel, leaf
 * 0x80000021 and the _NO bits of 0x80000008 on AMD. IBRS_ALL with SPEC_CTRL (one MSR write per
 * CPU), or AutoIBRS, keep it from building retpolines. A guest under hardware virtualization gets
 * no such promise. Runs in the vCPU's set-up only.
 */
#include "vcpu/features.h"

#define B(n) (1u << (n))

#define MAX_BASIC_INTEL 0x16u
#define MAX_BASIC_AMD 0xdu
#define MAX_EXT_INTEL 0x80000008u
#define MAX_EXT_AMD 0x80000021u
#define CACHES_MAX 8 /* subleaves of leaf 4 and 0x8000001D looked at */

#define XCR0_AVX (1ull << 2)
#define XCR0_AVX512 (7ull << 5)
#define XCR0_PKRU (1ull << 9)
#define XCR0_AMX (3ull << 17)

#define LAPIC_TIMER_KHZ 1000000u /* one tick a nanosecond: irq/lapic_timer.c */
/* clocksource, no I/O delay, clocksource2, stable clocksource */
#define KVM_FEATURES (B(0) | B(1) | B(3) | B(24))

/* Leaf 1 */
#define ECX1_BASE (B(0) | B(1) | B(9) | B(13) | B(19) | B(20) | B(22) | B(23) | B(25) | B(30))
#define ECX1_XSAVE B(26)
#define ECX1_AVX (B(12) | B(28) | B(29))
#define ECX1_PCID B(17)
#define ECX1_FORCED (B(21) | B(24) | B(31)) /* x2APIC, TSC deadline, hypervisor */
/* fpu vme de pse tsc msr pae mce cx8 apic pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss */
#define EDX1_BASE                                                                                  \
    (B(0) | B(1) | B(2) | B(3) | B(4) | B(5) | B(6) | B(7) | B(8) | B(9) | B(13) | B(14) | B(15) | \
     B(16) | B(17) | B(19) | B(23) | B(24) | B(25) | B(26) | B(27))
#define EDX1_FORCED B(9)
#define EDX1_SEP B(11)
#define EDX1_HTT B(28)

/* Leaf 7, subleaf 0 */
#define EBX7_BASE                                                                                  \
    (B(0) | B(3) | B(6) | B(7) | B(8) | B(9) | B(10) | B(13) | B(18) | B(19) | B(23) | B(24) |     \
     B(29))
#define EBX7_AVX B(5)
#define EBX7_AVX512 (B(16) | B(17) | B(21) | B(26) | B(27) | B(28) | B(30) | B(31))
#define EBX7_TSC_ADJUST B(1)
#define EBX7_SOFT (B(7) | B(10)) /* SMEP, INVPCID */
#define EBX7_SMAP B(20)
#define ECX7_BASE (B(0) | B(8) | B(25) | B(27) | B(28))
#define ECX7_AVX (B(9) | B(10))
#define ECX7_AVX512 (B(1) | B(6) | B(11) | B(12) | B(14))
#define ECX7_NATIVE (B(2) | B(22)) /* UMIP, RDPID */
#define EDX7_BASE (B(4) | B(14))
#define EDX7_AVX512 (B(2) | B(3) | B(8) | B(23))
#define EDX7_SERIALIZE B(14)
#define EDX7_SPECULATION (B(26) | B(29)) /* SPEC_CTRL, ARCH_CAPABILITIES */
/* Subleaf 1 */
#define EAX71_BASE (B(7) | B(10) | B(11) | B(12))
#define EAX71_AVX (B(0) | B(1) | B(2) | B(4) | B(23))
#define EAX71_AVX512 B(5)
#define EDX71_BASE B(14)
#define EDX71_AVX (B(4) | B(5) | B(10))

/* Leaf 0x80000001 */
#define ECX81_BASE (B(0) | B(4) | B(5) | B(6) | B(7) | B(8) | B(21))
#define ECX81_AVX (B(11) | B(16))
#define ECX81_TOPOEXT B(22)
#define EDX81_BASE (B(11) | B(20) | B(22) | B(26) | B(27) | B(29) | B(30) | B(31))
#define EDX81_FORCED (B(11) | B(29))     /* SYSCALL, long mode */
#define EDX81_SOFT (B(20) | B(26))       /* NX, 1 GB pages */
#define EDX81_MIRROR 0x0183f3ffu         /* AMD: same as leaf 1 EDX */
/* Leaf 0x80000008 */
#define EBX88_BASE (B(0) | B(2) | B(9))  /* CLZERO, XSAVEERPTR, WBNOINVD */
#define EBX88_UNAFFECTED (B(26) | B(29)) /* SSB_NO, BTC_NO */
/* Leaf 0x80000021 */
#define EAX821_BASE (B(2) | B(6))        /* LFENCE serializing, null selector clears base */
#define EAX821_UNAFFECTED (B(8) | B(29)) /* AutoIBRS, SRSO_NO */
#define ECX821_UNAFFECTED (B(1) | B(2))  /* TSA_SQ_NO, TSA_L1_NO */

struct maker {
    struct vcpu *v;
    const struct vcpu_cpuid_config *cfg;
    uint32_t host_max, host_max_ext;
    uint64_t xcr0; /* components the guest may use */
    bool amd;
};

static void add(struct maker *m, uint32_t leaf, const uint32_t r[4])
{
    struct vcpu *v = m->v;
    if (v->cpuid_count < VCPU_CPUID_MAX)
        v->cpuid[v->cpuid_count++] = (struct cpuid_leaf){
            .leaf = leaf, .eax = r[0], .ebx = r[1], .ecx = r[2], .edx = r[3]};
}

static void add_sub(struct maker *m, uint32_t leaf, uint32_t subleaf, const uint32_t r[4])
{
    struct vcpu *v = m->v;
    unsigned at = v->cpuid_count;
    add(m, leaf, r);
    if (at < v->cpuid_count) {
        v->cpuid[at].subleaf = subleaf;
        v->cpuid[at].has_subleaf = true;
    }
}

/** The host's leaf; zeros beyond its highest. */
static void host(const struct maker *m, uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    uint32_t max = leaf & 0x80000000u ? m->host_max_ext : m->host_max;
    r[0] = r[1] = r[2] = r[3] = 0;
    if (leaf <= max)
        m->cfg->host_cpuid(leaf, subleaf, r);
}

static void copy_host(struct maker *m, uint32_t leaf)
{
    uint32_t r[4];
    host(m, leaf, 0, r);
    add(m, leaf, r);
}

/** Feature bits `base`, and with the state components they need `avx` and `avx512`. */
static uint32_t with_avx(const struct maker *m, uint32_t base, uint32_t avx, uint32_t avx512)
{
    if (m->xcr0 & XCR0_AVX)
        base |= avx;
    if ((m->xcr0 & XCR0_AVX512) == XCR0_AVX512)
        base |= avx512;
    return base;
}

/** Bits an APIC ID needs for n CPUs. */
static unsigned id_bits(unsigned n)
{
    unsigned b = 0;
    while (1u << b < n)
        b++;
    return b;
}

/* ---- basic leaves ---- */

/** Leaf 1. The APIC ID, OSXSAVE and the APIC bit are live: vcpu_cpuid. */
static void add_leaf1(struct maker *m)
{
    const struct vcpu_cpuid_config *cfg = m->cfg;
    uint32_t r[4];
    host(m, 1, 0, r);
    unsigned slots = 1u << id_bits(cfg->cpu_count);
    r[1] = (r[1] & 0xff00) | (slots > 255 ? 255 : slots) << 16;
    uint32_t ecx = with_avx(m, ECX1_BASE, ECX1_AVX, 0);
    if (m->xcr0)
        ecx |= ECX1_XSAVE;
    if (!cfg->deprivileged)
        ecx |= ECX1_PCID;
    r[2] = (r[2] & ecx) | ECX1_FORCED;
    if (cfg->deprivileged)
        r[2] |= ECX1_PCID;
    r[3] &= cfg->deprivileged ? EDX1_BASE : EDX1_BASE | EDX1_SEP;
    r[3] |= EDX1_FORCED | (cfg->cpu_count > 1 ? EDX1_HTT : 0);
    add(m, 1, r);
}

/** Leaf 4 or 0x8000001D: the host's caches. Levels 1 and 2 belong to a CPU, the rest to all. */
static void add_caches(struct maker *m, uint32_t leaf)
{
    uint32_t last_id = (1u << id_bits(m->cfg->cpu_count)) - 1;
    for (uint32_t i = 0; i < CACHES_MAX; i++) {
        uint32_t r[4];
        host(m, leaf, i, r);
        if (!(r[0] & 0x1f)) {
            const uint32_t none[4] = {0, 0, 0, 0};
            add_sub(m, leaf, i, none);
            return;
        }
        uint32_t level = (r[0] >> 5) & 7;
        r[0] &= 0x3fff;
        if (level >= 3)
            r[0] |= (last_id & 0xfff) << 14;
        if (!m->amd)
            r[0] |= (last_id & 0x3f) << 26;
        add_sub(m, leaf, i, r);
    }
}

static void add_leaf7(struct maker *m)
{
    bool soft = m->cfg->deprivileged;
    uint32_t r[4];
    host(m, 7, 0, r);
    uint32_t subleaves = r[0];
    r[0] = subleaves ? 1 : 0;
    r[1] &= with_avx(m, EBX7_BASE | (soft ? 0 : EBX7_SMAP), EBX7_AVX, EBX7_AVX512);
    r[1] |= EBX7_TSC_ADJUST | (soft ? EBX7_SOFT : 0);
    r[2] &= with_avx(m, ECX7_BASE | (soft ? 0 : ECX7_NATIVE), ECX7_AVX, ECX7_AVX512);
    r[3] &= with_avx(m, EDX7_BASE, 0, EDX7_AVX512);
    if (soft)
        r[3] |= EDX7_SERIALIZE | (m->amd ? 0 : EDX7_SPECULATION);
    add_sub(m, 7, 0, r);
    if (!subleaves)
        return;
    host(m, 7, 1, r);
    r[0] &= with_avx(m, EAX71_BASE, EAX71_AVX, EAX71_AVX512);
    r[1] = r[2] = 0;
    r[3] &= with_avx(m, EDX71_BASE, EDX71_AVX, 0);
    add_sub(m, 7, 1, r);
}

/** Leaf 0xB: one thread a core, all cores in one package. EDX, the x2APIC ID, is live. */
static void add_topology(struct maker *m)
{
    const uint32_t smt[4] = {0, 1, 1u << 8 | 0, 0};
    const uint32_t core[4] = {id_bits(m->cfg->cpu_count), m->cfg->cpu_count, 2u << 8 | 1, 0};
    add_sub(m, 0xb, 0, smt);
    add_sub(m, 0xb, 1, core);
}

/** Leaf 0xD: the components of m->xcr0 in the host's layout. Current sizes are live. */
static void add_xsave(struct maker *m)
{
    uint32_t end = 576, r[4], sub1[4];
    uint32_t first[4] = {(uint32_t)m->xcr0, 0, 0, (uint32_t)(m->xcr0 >> 32)};
    unsigned at = m->v->cpuid_count;

    if (!m->xcr0)
        return;
    add_sub(m, 0xd, 0, first);
    host(m, 0xd, 1, sub1);
    sub1[0] &= B(0) | B(1) | B(2); /* XSAVEOPT, XSAVEC, XGETBV1 */
    sub1[1] = sub1[2] = sub1[3] = 0;
    add_sub(m, 0xd, 1, sub1);
    for (unsigned i = 2; i < 63; i++) {
        if (!bit(m->xcr0, i))
            continue;
        host(m, 0xd, i, r);
        r[2] &= B(1); /* user state; only the alignment flag */
        r[3] = 0;
        if (r[0] + r[1] > end)
            end = r[0] + r[1];
        add_sub(m, 0xd, i, r);
    }
    m->v->cpuid[at].ecx = end;
}

/** Leaf 0x15: tsc = crystal * EBX / EAX, the crystal being the APIC timer's clock. EBX stays small:
 *  Linux multiplies kHz in 32 bits (FACTS §3). The best fraction with EBX < 4295 is off by less
 *  than one part in a million. Leaf 0x16: MHz. */
static void add_frequency(struct maker *m)
{
    uint64_t khz = m->cfg->tsc_khz, best_error = ~0ull;
    uint32_t crystal[4] = {1, 1, LAPIC_TIMER_KHZ * 1000, 0};
    for (uint64_t den = 1; den <= 2000; den++) {
        uint64_t num = (khz * den + LAPIC_TIMER_KHZ / 2) / LAPIC_TIMER_KHZ;
        if (num == 0 || num > 0xffffffffu / LAPIC_TIMER_KHZ)
            continue;
        /* |khz - num * 10^6 / den| in units of 10^-3 kHz */
        uint64_t near = num * LAPIC_TIMER_KHZ * 1000 / den;
        uint64_t error = near > khz * 1000 ? near - khz * 1000 : khz * 1000 - near;
        if (error < best_error) {
            best_error = error;
            crystal[0] = (uint32_t)den;
            crystal[1] = (uint32_t)num;
        }
    }
    add(m, 0x15, crystal);
    uint32_t mhz = (uint32_t)((khz + 500) / 1000);
    const uint32_t nominal[4] = {mhz, mhz, 100, 0};
    add(m, 0x16, nominal);
}

static void add_basic(struct maker *m)
{
    const uint32_t power[4] = {B(2), 0, 0, 0}; /* ARAT */
    uint32_t r[4];
    m->cfg->host_cpuid(0, 0, r);
    m->host_max = r[0];
    m->amd = r[1] == CPUID_AMD_EBX || r[1] == CPUID_HYGON_EBX;
    r[0] = m->amd ? MAX_BASIC_AMD : MAX_BASIC_INTEL;
    add(m, 0, r); /* first in the table: vcpu_syscall looks for the vendor there */
    add_leaf1(m);
    add_leaf7(m);
    add_xsave(m);
    add_topology(m);
    add(m, 6, power);
    if (!m->amd) {
        copy_host(m, 2);
        add_caches(m, 4);
        add_frequency(m);
    }
}

/* ---- hypervisor leaves ---- */

static void add_hypervisor(struct maker *m)
{
    const uint32_t signature[4] = {0x40000010, 0x4b4d564b, 0x564b4d56, 0x4d}; /* KVMKVMKVM */
    const uint32_t features[4] = {KVM_FEATURES, 0, 0, 0};
    const uint32_t timing[4] = {m->cfg->tsc_khz, LAPIC_TIMER_KHZ, 0, 0};
    add(m, 0x40000000, signature);
    add(m, 0x40000001, features);
    add(m, 0x40000010, timing);
}

/* ---- extended leaves ---- */

static void add_ext1(struct maker *m)
{
    bool soft = m->cfg->deprivileged;
    uint32_t r[4];
    host(m, 0x80000001, 0, r);
    if (!m->amd)
        r[0] = 0;
    r[1] = 0;
    r[2] &= with_avx(m, ECX81_BASE | ECX81_TOPOEXT, ECX81_AVX, 0);
    if (m->amd && m->cfg->cpu_count > 1)
        r[2] |= B(1); /* CMP_LEGACY: the logical processors of leaf 1 are cores */
    r[3] = (r[3] & EDX81_BASE) | EDX81_FORCED | (soft ? EDX81_SOFT : 0);
    if (m->amd)
        r[3] |= m->v->cpuid[1].edx & EDX81_MIRROR;
    add(m, 0x80000001, r);
}

/** Leaf 0x80000008: address widths; AMD: core count and more features. */
static void add_ext8(struct maker *m)
{
    uint32_t r[4];
    host(m, 0x80000008, 0, r);
    uint32_t width = r[0] & 0xff, unaffected = r[1] & EBX88_UNAFFECTED;
    if (width < 36)
        width = 36;
    if (width > 52)
        width = 52;
    m->v->maxphyaddr = (uint8_t)width;
    r[0] = width | 48u << 8;
    r[1] &= EBX88_BASE;
    r[2] = r[3] = 0;
    if (m->amd) {
        r[1] |= m->cfg->deprivileged ? EBX88_UNAFFECTED : unaffected;
        r[2] = (m->cfg->cpu_count - 1) | id_bits(m->cfg->cpu_count) << 12;
    }
    add(m, 0x80000008, r);
}

static void add_amd(struct maker *m)
{
    const uint32_t core[4] = {0, 0, 0, 0}; /* 0x8000001E, live */
    uint32_t r[4];
    copy_host(m, 0x80000005);
    if (cpuid_find(m->v, 0x80000001, 0)->ecx & ECX81_TOPOEXT) {
        copy_host(m, 0x80000019);
        copy_host(m, 0x8000001a);
        add_caches(m, 0x8000001d);
        add(m, 0x8000001e, core);
    }
    host(m, 0x80000021, 0, r);
    if (m->cfg->deprivileged) {
        r[0] = EAX821_BASE | EAX821_UNAFFECTED;
        r[2] = ECX821_UNAFFECTED;
    }
    r[0] &= EAX821_BASE | EAX821_UNAFFECTED;
    r[1] = r[3] = 0;
    r[2] &= ECX821_UNAFFECTED;
    add(m, 0x80000021, r);
}

static void add_extended(struct maker *m)
{
    const uint32_t invariant_tsc[4] = {0, 0, 0, B(8)};
    uint32_t r[4];
    m->cfg->host_cpuid(0x80000000, 0, r);
    m->host_max_ext = r[0];
    r[0] = m->amd ? MAX_EXT_AMD : MAX_EXT_INTEL;
    if (!m->amd)
        r[1] = r[2] = r[3] = 0;
    add(m, 0x80000000, r);
    add_ext1(m);
    for (uint32_t brand = 0x80000002; brand <= 0x80000004; brand++)
        copy_host(m, brand);
    copy_host(m, 0x80000006);
    add(m, 0x80000007, invariant_tsc);
    add_ext8(m);
    if (m->amd)
        add_amd(m);
}

void vcpu_cpuid_init(struct vcpu *v, const struct vcpu_cpuid_config *cfg)
{
    struct maker m = {.v = v, .cfg = cfg};
    uint64_t hidden = XCR0_AMX;
    if (!cfg->deprivileged || cfg->cpuid_faulting)
        hidden |= XCR0_PKRU;
    m.xcr0 = cfg->host_xcr0 & ~hidden;
    v->cpuid_count = 0;
    add_basic(&m);
    add_hypervisor(&m);
    add_extended(&m);
}
