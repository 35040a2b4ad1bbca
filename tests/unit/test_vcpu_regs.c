/* src/vcpu, registers: segments, control and debug registers, XCR0, MSRs, CPUID policy, reset. */
#include "vcpu_fixture.h"

static enum vcpu_tlb_effect effect;

/** expr must fail with vec(error) and leave the vCPU alone. */
#define FAULTS(expr, vec, err)                                                                     \
    do {                                                                                           \
        before = *v;                                                                               \
        assert_false(expr);                                                                        \
        assert_int_equal(ex.vector, (vec));                                                        \
        assert_int_equal(ex.error, (err));                                                         \
        assert_memory_equal(v, &before, sizeof(before));                                           \
    } while (0)
#define GP0(expr) FAULTS(expr, VEC_GP, 0)
#define UD(expr) FAULTS(expr, VEC_UD, 0)

static void test_entry64(void **state)
{
    const struct vcpu_entry64 e = {
        .rsi = 0x7000, .cr3 = GUEST_PML4, .code_sel = SEL_CODE0, .data_sel = SEL_DATA0};
    (void)state;
    vcpu_set_entry64(v, &e);
    assert_int_equal(v->cr0, CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
    assert_int_equal(v->cr3, GUEST_PML4);
    assert_int_equal(v->cr4, CR4_PAE);
    assert_int_equal(v->efer, EFER_LME | EFER_LMA);
    assert_int_equal(v->rflags, RFLAGS_FIXED);
    assert_int_equal(v->gpr[RSI], 0x7000);
    assert_int_equal(v->seg[SEG_GS].sel, SEL_DATA0);
    assert_int_equal(v->idtr.limit, 0);
    assert_true(vcpu_long64(v));
}

/* ---- segments ---- */

static void test_load_segment(void **state)
{
    (void)state;
    assert_true(vcpu_load_segment(v, SEG_FS, SEL_BASED0, &ex));
    assert_int_equal(v->seg[SEG_FS].base, 0xdeadb000); /* zero-extended */
    assert_int_equal(v->seg[SEG_FS].limit, 0xffffffff);
    assert_int_equal(v->seg[SEG_FS].attr, 0xc093);
    assert_true(vcpu_load_segment(v, SEG_FS, 2, &ex)); /* null: the RPL is kept, the base goes */
    assert_int_equal(v->seg[SEG_FS].sel, 2);
    assert_int_equal(v->seg[SEG_FS].base, 0);
    assert_true(v->seg[SEG_FS].attr & SEG_ATTR_UNUSABLE);
    assert_true(vcpu_load_segment(v, SEG_DS, SEL_FRESH_DATA0, &ex));
    assert_int_equal(*fake_guest_ram(v, GUEST_GDT + SEL_FRESH_DATA0 + 5), 0x93);
    assert_int_equal(v->seg[SEG_DS].attr & 0xff, 0x93);
    assert_int_equal(fake_ram_write_gpa, GUEST_GDT + SEL_FRESH_DATA0 + 5);
    assert_true(vcpu_load_segment(v, SEG_ES, SEL_CODE0, &ex)); /* readable code */
    assert_true(vcpu_load_segment(v, SEG_ES, SEL_CONFORMING0 | 3, &ex));
    /* From the LDT. */
    fake_guest_set64(v, GUEST_LDT + 8, 0x00cf93000000ffff);
    assert_true(vcpu_load_segment(v, SEG_ES, 0xc, &ex));

    UD(vcpu_load_segment(v, SEG_CS, SEL_CODE0, &ex));
    UD(vcpu_load_segment(v, SEG_COUNT, SEL_CODE0, &ex));
    FAULTS(vcpu_load_segment(v, SEG_DS, 0x1000, &ex), VEC_GP, 0x1000);
    FAULTS(vcpu_load_segment(v, SEG_DS, 0x1004, &ex), VEC_GP, 0x1004);
    FAULTS(vcpu_load_segment(v, SEG_DS, SEL_DATA0 | 3, &ex), VEC_GP, SEL_DATA0);
    FAULTS(vcpu_load_segment(v, SEG_DS, SEL_EXEC_ONLY0, &ex), VEC_GP, SEL_EXEC_ONLY0);
    FAULTS(vcpu_load_segment(v, SEG_DS, SEL_TSS, &ex), VEC_GP, SEL_TSS);
    FAULTS(vcpu_load_segment(v, SEG_DS, SEL_ABSENT_DATA0, &ex), VEC_NP, SEL_ABSENT_DATA0);
    v->gdtr.limit = SEL_DATA0 + 6; /* one byte short */
    FAULTS(vcpu_load_segment(v, SEG_DS, SEL_DATA0, &ex), VEC_GP, SEL_DATA0);
    v->gdtr.limit = GUEST_GDT_LIMIT;
    v->gdtr.base = NONCANONICAL;
    FAULTS(vcpu_load_segment(v, SEG_DS, SEL_DATA0, &ex), VEC_GP, SEL_DATA0);
    v->gdtr.base = 0x7f0000000000;
    FAULTS(vcpu_load_segment(v, SEG_DS, SEL_DATA0, &ex), VEC_PF, 0);
    v->ldtr.attr = SEG_ATTR_UNUSABLE;
    FAULTS(vcpu_load_segment(v, SEG_DS, 0xc, &ex), VEC_GP, 0xc);

    /* At CPL 3: descriptor tables are still read with supervisor rights; DPL 0 is out of reach. */
    v->gdtr.base = GUEST_GDT;
    fake_guest_to_user(v);
    assert_true(vcpu_load_segment(v, SEG_DS, SEL_DATA3, &ex));
    FAULTS(vcpu_load_segment(v, SEG_DS, SEL_DATA0, &ex), VEC_GP, SEL_DATA0);
}

static void test_load_ss(void **state)
{
    (void)state;
    assert_true(vcpu_load_segment(v, SEG_SS, 0, &ex));
    assert_int_equal(vcpu_cpl(v), 0);
    assert_true(vcpu_load_segment(v, SEG_SS, SEL_DATA0, &ex));
    GP0(vcpu_load_segment(v, SEG_SS, 3, &ex)); /* null with RPL other than CPL */
    FAULTS(vcpu_load_segment(v, SEG_SS, SEL_DATA0 | 1, &ex), VEC_GP, SEL_DATA0);
    FAULTS(vcpu_load_segment(v, SEG_SS, SEL_DATA3 & ~3, &ex), VEC_GP, SEL_DATA3 & ~3);
    FAULTS(vcpu_load_segment(v, SEG_SS, SEL_READ_ONLY0, &ex), VEC_GP, SEL_READ_ONLY0);
    FAULTS(vcpu_load_segment(v, SEG_SS, SEL_CODE0, &ex), VEC_GP, SEL_CODE0);
    FAULTS(vcpu_load_segment(v, SEG_SS, SEL_ABSENT_DATA0, &ex), VEC_SS, SEL_ABSENT_DATA0);
    fake_guest_to_user(v);
    assert_true(vcpu_load_segment(v, SEG_SS, SEL_DATA3, &ex));
    assert_int_equal(vcpu_cpl(v), 3);
    GP0(vcpu_load_segment(v, SEG_SS, 3, &ex));
}

static void test_ldtr_tr(void **state)
{
    (void)state;
    /* The base is 64 bits wide. */
    fake_guest_set64(v, GUEST_GDT + SEL_LDT + 8, 0xffff8880);
    assert_true(vcpu_load_ldtr(v, SEL_LDT, &ex));
    assert_int_equal(v->ldtr.base, 0xffff888000000000 | GUEST_LDT);
    assert_int_equal(v->ldtr.limit, 0xfff);
    fake_guest_set64(v, GUEST_GDT + SEL_LDT + 8, 0x7fff8880);
    FAULTS(vcpu_load_ldtr(v, SEL_LDT, &ex), VEC_GP, SEL_LDT);
    fake_guest_set64(v, GUEST_GDT + SEL_LDT + 8, 1ull << 40); /* upper type field */
    FAULTS(vcpu_load_ldtr(v, SEL_LDT, &ex), VEC_GP, SEL_LDT);
    assert_true(vcpu_load_ldtr(v, 0, &ex));
    assert_true(v->ldtr.attr & SEG_ATTR_UNUSABLE);
    FAULTS(vcpu_load_ldtr(v, SEL_TSS, &ex), VEC_GP, SEL_TSS);
    FAULTS(vcpu_load_ldtr(v, SEL_LDT | 4, &ex), VEC_GP, SEL_LDT | 4);

    /* TR: loaded at set-up, so the descriptor is busy now. */
    assert_int_equal(*fake_guest_ram(v, GUEST_GDT + SEL_TSS + 5), 0x8b);
    assert_int_equal(v->tr.attr & 0xf, 11);
    assert_int_equal(v->tr.base, GUEST_TSS);
    FAULTS(vcpu_load_tr(v, SEL_TSS, &ex), VEC_GP, SEL_TSS);
    *fake_guest_ram(v, GUEST_GDT + SEL_TSS + 5) = 0x09;
    FAULTS(vcpu_load_tr(v, SEL_TSS, &ex), VEC_NP, SEL_TSS);
    GP0(vcpu_load_tr(v, 0, &ex));
    v->gdtr.limit = SEL_TSS + 14;
    FAULTS(vcpu_load_tr(v, SEL_TSS, &ex), VEC_GP, SEL_TSS);
    fake_guest_to_user(v);
    GP0(vcpu_load_tr(v, SEL_TSS, &ex));
    GP0(vcpu_load_ldtr(v, 0, &ex));
}

static bool lar(uint16_t sel, uint32_t *out)
{
    bool ok = vcpu_lar(v, sel, out, &ex);
    if (!ok)
        assert_int_equal(ex.vector, 0xff);
    return ok;
}

static void test_inspection(void **state)
{
    uint32_t out = 0;
    (void)state;
    assert_true(lar(SEL_CODE0, &out));
    assert_int_equal(out, 0x00af9b00);
    assert_true(lar(SEL_TSS, &out));
    assert_int_equal(out, 0x8b00);
    assert_true(lar(SEL_GATE, &out));
    assert_false(lar(0, &out));
    assert_false(lar(0x1000, &out));
    assert_false(lar(SEL_DATA0 | 3, &out));
    assert_true(lar(SEL_CONFORMING0 | 3, &out));
    assert_true(vcpu_lsl(v, SEL_DATA0, &out, &ex));
    assert_int_equal(out, 0xffffffff);
    assert_true(vcpu_lsl(v, SEL_TSS, &out, &ex));
    assert_int_equal(out, 0x67);
    assert_false(vcpu_lsl(v, SEL_GATE, &out, &ex));
    assert_true(vcpu_verr_verw(v, SEL_READ_ONLY0, false, &ex));
    assert_false(vcpu_verr_verw(v, SEL_READ_ONLY0, true, &ex));
    assert_true(vcpu_verr_verw(v, SEL_CODE0, false, &ex));
    assert_false(vcpu_verr_verw(v, SEL_CODE0, true, &ex));
    assert_false(vcpu_verr_verw(v, SEL_EXEC_ONLY0, false, &ex));
    assert_false(vcpu_verr_verw(v, SEL_TSS, false, &ex));
    assert_true(vcpu_verr_verw(v, SEL_DATA0, true, &ex));
    v->gdtr.base = 0x7f0000000000;
    assert_false(vcpu_lsl(v, SEL_DATA0, &out, &ex));
    assert_int_equal(ex.vector, VEC_PF);
    fake_guest_to_user(v);
    v->gdtr.base = GUEST_GDT;
    assert_false(vcpu_verr_verw(v, SEL_DATA0, false, &ex));
    assert_int_equal(ex.vector, 0xff);
}

/* ---- control registers ---- */

static bool cr(unsigned n, uint64_t value)
{
    return vcpu_write_cr(v, n, value, &effect, &ex);
}

static void test_cr0(void **state)
{
    uint64_t value, cr0 = v->cr0;
    (void)state;
    assert_true(cr(0, cr0 | CR0_TS));
    assert_int_equal(effect, VCPU_TLB_NONE);
    assert_true(cr(0, cr0 & ~(CR0_WP | CR0_ET)));
    assert_int_equal(effect, VCPU_TLB_FLUSH_ALL);
    assert_true(vcpu_read_cr(v, 0, &value, &ex));
    assert_int_equal(value, (cr0 & ~CR0_WP) | CR0_ET);
    assert_true(cr(0, cr0 | 0x0ffa0000)); /* undefined low bits are ignored */
    assert_int_equal(v->cr0, cr0);
    GP0(cr(0, cr0 | 1ull << 32));
    GP0(cr(0, cr0 & ~CR0_PE));
    GP0(cr(0, cr0 | CR0_NW));
    GP0(cr(0, cr0 & ~CR0_PG)); /* from 64-bit code */

    /* The way through compatibility mode, and back. */
    v->seg[SEG_CS].attr = 0xc09b;
    v->cr4 |= CR4_PCIDE;
    GP0(cr(0, cr0 & ~CR0_PG));
    v->cr4 &= ~CR4_PCIDE;
    assert_true(cr(0, cr0 & ~CR0_PG));
    assert_int_equal(effect, VCPU_TLB_FLUSH_ALL);
    assert_false(v->efer & EFER_LMA);
    v->efer &= ~EFER_LME;
    GP0(cr(0, cr0));
    v->efer |= EFER_LME;
    v->cr4 &= ~CR4_PAE;
    GP0(cr(0, cr0));
    v->cr4 |= CR4_PAE;
    v->seg[SEG_CS].attr |= SEG_ATTR_L;
    GP0(cr(0, cr0));
    v->seg[SEG_CS].attr &= ~SEG_ATTR_L;
    assert_true(cr(0, cr0));
    assert_true(v->efer & EFER_LMA);
}

static void test_cr3(void **state)
{
    (void)state;
    assert_true(cr(3, GUEST_PML4 | 0x18));
    assert_int_equal(effect, VCPU_TLB_FLUSH_PCID);
    assert_int_equal(v->cr3, GUEST_PML4 | 0x18);
    GP0(cr(3, GUEST_PML4 | CR3_NOFLUSH)); /* no PCIDs yet */
    GP0(cr(3, 1ull << 46));
    GP0(cr(4, v->cr4 | CR4_PCIDE)); /* CR3[11:0] is not 0 */
    assert_true(cr(3, GUEST_PML4));
    assert_true(cr(4, v->cr4 | CR4_PCIDE));
    assert_int_equal(effect, VCPU_TLB_NONE);
    assert_true(cr(3, GUEST_PML4 | 5 | CR3_NOFLUSH));
    assert_int_equal(effect, VCPU_TLB_SWITCH);
    assert_int_equal(v->cr3, GUEST_PML4 | 5);
    assert_true(cr(3, GUEST_PML4 | 6));
    assert_int_equal(effect, VCPU_TLB_FLUSH_PCID);
    GP0(cr(3, 1ull << 62));
    assert_true(cr(4, v->cr4 & ~CR4_PCIDE));
    assert_int_equal(effect, VCPU_TLB_FLUSH_ALL);
}

static void test_cr4(void **state)
{
    static const uint64_t flush[] = {CR4_PGE, CR4_PSE, CR4_SMEP};
    static const uint64_t quiet[] = {CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_FSGSBASE, CR4_OSXSAVE,
                                     CR4_TSD, CR4_DE, CR4_PCE};
    static const uint64_t refused[] = {CR4_SMAP, CR4_UMIP, CR4_LA57, CR4_PKE, 1ull << 13,
                                       1ull << 14, 1ull << 15, 1ull << 19, 1ull << 23, 1ull << 63};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(flush); i++) {
        assert_true(cr(4, v->cr4 ^ flush[i]));
        assert_int_equal(effect, VCPU_TLB_FLUSH_ALL);
    }
    for (size_t i = 0; i < ARRAY_LEN(quiet); i++) {
        assert_true(cr(4, v->cr4 ^ quiet[i]));
        assert_int_equal(effect, VCPU_TLB_NONE);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        GP0(cr(4, v->cr4 | refused[i]));
    GP0(cr(4, v->cr4 & ~CR4_PAE));
    v->efer &= ~EFER_LMA;
    GP0(cr(4, v->cr4 | CR4_PCIDE));
}

static void test_cr_others(void **state)
{
    uint64_t value = 0;
    (void)state;
    assert_true(cr(8, 5));
    assert_true(vcpu_read_cr(v, 8, &value, &ex));
    assert_int_equal(value, 5);
    assert_int_equal(lapic_get_cr8(v->lapic), 5);
    GP0(cr(8, 16));
    assert_true(cr(2, ~0ull));
    for (unsigned n = 0; n < 16; n++) {
        if (n == 0 || n == 2 || n == 3 || n == 4 || n == 8)
            continue;
        UD(cr(n, 0));
        UD(vcpu_read_cr(v, n, &value, &ex));
    }
    fake_guest_to_user(v);
    GP0(cr(2, 0));
    GP0(vcpu_read_cr(v, 0, &value, &ex));
}

static void test_debug_registers(void **state)
{
    uint64_t value = 0;
    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        assert_true(vcpu_write_dr(v, n, NONCANONICAL + n, &ex));
        assert_true(vcpu_read_dr(v, n, &value, &ex));
        assert_int_equal(value, NONCANONICAL + n);
    }
    assert_true(vcpu_write_dr(v, 6, 0, &ex));
    assert_int_equal(v->dr6, 0xffff0ff0);
    assert_true(vcpu_write_dr(v, 4, 0xffffffff, &ex)); /* alias of 6 */
    assert_int_equal(v->dr6, 0xffffeffful);
    assert_true(vcpu_write_dr(v, 7, 0xffffffff & ~(1 << 13), &ex));
    assert_int_equal(v->dr7, 0xffff07ff);
    assert_true(vcpu_read_dr(v, 5, &value, &ex));
    assert_int_equal(value, 0xffff07ff);
    GP0(vcpu_write_dr(v, 7, 1ull << 32, &ex));
    GP0(vcpu_write_dr(v, 6, 1ull << 32, &ex));
    UD(vcpu_write_dr(v, 8, 0, &ex));
    v->cr4 |= CR4_DE;
    UD(vcpu_write_dr(v, 4, 0, &ex));
    UD(vcpu_read_dr(v, 5, &value, &ex));
    v->dr7 |= 1 << 13;
    assert_false(vcpu_read_dr(v, 0, &value, &ex));
    assert_int_equal(ex.vector, VEC_DB);
    assert_int_equal(ex.dr6, 1 << 13);
    fake_guest_to_user(v);
    GP0(vcpu_read_dr(v, 0, &value, &ex));
}

static void test_xsetbv(void **state)
{
    static const uint64_t good[] = {1, 3, 7, 0xe7, 0x2e7, 0x203};
    static const uint64_t bad[] = {0, 2, 6, 5, 0x67, 0xe3, 0x1b, 0x600e7, 1ull << 63, 0x107};
    (void)state;
    UD(vcpu_xsetbv(v, 0, 7, &ex));
    v->cr4 |= CR4_OSXSAVE;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(vcpu_xsetbv(v, 0, good[i], &ex));
        assert_int_equal(v->xcr0, good[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        GP0(vcpu_xsetbv(v, 0, bad[i], &ex));
    GP0(vcpu_xsetbv(v, 1, 7, &ex));
    fake_guest_to_user(v);
    GP0(vcpu_xsetbv(v, 0, 7, &ex));
}

/* ---- MSRs ---- */

static bool rd(uint32_t msr, uint64_t *value)
{
    return vcpu_rdmsr(v, msr, value, &ex);
}

static bool wr(uint32_t msr, uint64_t value)
{
    return vcpu_wrmsr(v, msr, value, &effect, &ex);
}

static void test_msr_registers(void **state)
{
    static const uint32_t addresses[] = {MSR_LSTAR, MSR_CSTAR, MSR_FS_BASE, MSR_GS_BASE,
                                         MSR_KERNEL_GS_BASE, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP};
    uint64_t value = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        assert_true(wr(addresses[i], 0xffff888000000000 + i));
        assert_true(rd(addresses[i], &value));
        assert_int_equal(value, 0xffff888000000000 + i);
        GP0(wr(addresses[i], NONCANONICAL));
    }
    assert_int_equal(v->seg[SEG_GS].base, 0xffff888000000003);
    assert_true(wr(MSR_STAR, ~0ull));
    assert_true(wr(MSR_SFMASK, 0x257fd5));
    assert_true(wr(MSR_TSC_AUX, 7));
    GP0(wr(MSR_TSC_AUX, 1ull << 32));
    assert_true(wr(MSR_PAT, 0x0407010600070106));
    assert_true(rd(MSR_PAT, &value));
    assert_int_equal(value, 0x0407010600070106);
    GP0(wr(MSR_PAT, 0x0200000000000000));
    GP0(wr(MSR_PAT, 0x08));
    fake_guest_to_user(v);
    GP0(wr(MSR_STAR, 0));
    GP0(rd(MSR_STAR, &value));
}

static void test_efer(void **state)
{
    uint64_t value = 0, efer = v->efer;
    (void)state;
    assert_true(wr(MSR_EFER, efer & ~EFER_NX));
    assert_int_equal(effect, VCPU_TLB_FLUSH_ALL);
    assert_true(wr(MSR_EFER, (efer & ~(EFER_SCE | EFER_NX)) & ~EFER_LMA)); /* LMA is read-only */
    assert_int_equal(effect, VCPU_TLB_NONE);
    assert_true(rd(MSR_EFER, &value));
    assert_int_equal(value, EFER_LME | EFER_LMA);
    GP0(wr(MSR_EFER, efer & ~EFER_LME)); /* paging is on */
    GP0(wr(MSR_EFER, efer | 1ull << 12));
    GP0(wr(MSR_EFER, efer | EFER_AUTOIBRS)); /* not on Intel */
}

static void test_apic_msrs(void **state)
{
    uint64_t value = 0;
    (void)state;
    assert_true(rd(MSR_APIC_BASE, &value));
    assert_int_equal(value, 0xfee00d00);
    assert_true(rd(0x802, &value));
    assert_int_equal(value, 0);
    assert_true(wr(0x80f, 0x1ff));
    assert_true(wr(MSR_TSC_DEADLINE, 1)); /* timer not in deadline mode: ignored, no fault */
    assert_true(rd(MSR_TSC_DEADLINE, &value));
    GP0(wr(0x802, 0));
    GP0(wr(MSR_APIC_BASE, 0xfee00900)); /* x2APIC to xAPIC */
    GP0(wr(MSR_APIC_BASE, 0xfee00500)); /* EXTD without EN */
    GP0(wr(MSR_APIC_BASE, 0xfee00d01));
    assert_true(wr(MSR_APIC_BASE, 0xfee00100)); /* off */
    GP0(rd(0x802, &value));
    GP0(wr(MSR_APIC_BASE, 0xfee00d00)); /* not directly back */
    assert_true(wr(MSR_APIC_BASE, 0xfee00900));
    assert_true(wr(MSR_APIC_BASE, 0xfee00d00));
}

/* What a stock kernel touches must work; what the guest was not offered must not. */
static void test_msr_presence(void **state)
{
    static const uint32_t intel_read[] = {0x10, 0x17, 0x34, 0x3a, 0x3b, 0x48, 0x8b, 0xce, 0x10a,
                                          0x140, 0x1a0, 0x1d9, 0x277, 0x4b564d00, 0x4b564d01};
    static const uint32_t absent[] = {0xfe, 0x17b, 0x200, 0x2ff, 0x122, 0x345, 0x38f, 0x606, 0xda0,
                                      0x6a0, 0x1c4, 0x770, 0xe7, 0x4b564d02, 0x4b564d03, 0x4b564d04,
                                      0x4b564d05, 0xc0000104, 0xc0010114, 0xc0000000, 0x40000000};
    static const uint32_t amd_only[] = {0xc0010010, 0xc0010015, 0xc001001f, 0xc0010055, 0xc0010058,
                                        0xc0011029};
    uint64_t value = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(intel_read); i++)
        assert_true(rd(intel_read[i], &value));
    for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
        GP0(rd(absent[i], &value));
        GP0(wr(absent[i], 0));
    }
    for (size_t i = 0; i < ARRAY_LEN(amd_only); i++)
        GP0(rd(amd_only[i], &value));
    assert_true(wr(0x8b, 0));
    assert_true(wr(0x140, 0));
    assert_true(wr(0x10, 0));
    assert_true(wr(0x1d9, 0));
    assert_true(wr(0x48, 1));
    assert_true(wr(0x49, 1));
    GP0(wr(0x48, 4));
    GP0(wr(0x49, 2));
    GP0(wr(0x3a, 5)); /* locked */
    GP0(wr(0x10a, 0));
    assert_true(rd(0x3a, &value));
    assert_int_equal(value, 1);

    fake_cpuid_amd = true;
    struct vcpu *intel = v;
    v = fake_guest_create();
    for (size_t i = 0; i < ARRAY_LEN(amd_only); i++) {
        assert_true(rd(amd_only[i], &value));
        assert_true(wr(amd_only[i], value));
    }
    assert_true(wr(MSR_EFER, v->efer | EFER_AUTOIBRS));
    GP0(rd(0x10a, &value));
    GP0(rd(0x48, &value));
    GP0(rd(0xce, &value));
    fake_guest_destroy(v);
    v = intel;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_entry64), TEST(test_load_segment), TEST(test_load_ss), TEST(test_ldtr_tr), TEST(test_inspection),
        TEST(test_cr0), TEST(test_cr3), TEST(test_cr4), TEST(test_cr_others),
        TEST(test_debug_registers), TEST(test_xsetbv), TEST(test_msr_registers), TEST(test_efer),
        TEST(test_apic_msrs), TEST(test_msr_presence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
