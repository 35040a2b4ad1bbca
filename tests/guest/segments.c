/* Segment registers, LDT and TSS in the kernel; LAR LSL VERR VERW; the stores give the guest's own
 * values. SDM 3 ch. 3 and 5, SDM 2 "MOV", "LAR", "LSL", "VERR/VERW", "LLDT", "LTR", "SGDT". */
#include "lib/paging.h"
#include "lib/trap.h"

#define LOAD(seg, sel) TRY_IN("mov %0, %%" seg, "r"((uint64_t)(sel)))
#define S(n) (FREE_SEL + 8 * (n))

static uint64_t ldt[8];

static void data_segments(void)
{
    uint64_t value;
    CASE("loads: flat data, null, RPL does not matter for null; the accessed bit");
    set_gdt(S(0), DESC_FLAT | DESC_ACCESS(0x92) | DESC_D);
    LOAD("ds", S(0));
    EXPECT_NOTHING();
    CHECK_EQ(gdt[S(0) / 8] >> 40 & 0xff, 0x93);
    asm volatile("mov %%ds, %0" : "=r"(value));
    CHECK_EQ(value, S(0));
    for (unsigned n = 0; n < 4; n++) {
        LOAD("es", n);
        EXPECT_NOTHING();
        asm volatile("mov %%es, %0" : "=r"(value));
        CHECK_EQ(value, n);
    }
    CASE("conforming and readable code is allowed in DS, execute-only code is not");
    LOAD("ds", KERNEL_CS);
    EXPECT_NOTHING();
    set_gdt(S(1), DESC_FLAT | DESC_ACCESS(0x99) | DESC_L);
    LOAD("ds", S(1));
    EXPECT_FAULT(VEC_GP, S(1));
    CASE("#GP: beyond the table, system descriptors, DPL below RPL; #NP");
    LOAD("fs", 0x7f8);
    EXPECT_FAULT(VEC_GP, 0x7f8);
    LOAD("gs", TSS_SEL);
    EXPECT_FAULT(VEC_GP, TSS_SEL);
    LOAD("es", KERNEL_DS | 3);
    EXPECT_FAULT(VEC_GP, KERNEL_DS);
    LOAD("es", USER_DS);
    EXPECT_NOTHING();
    set_gdt(S(2), DESC_FLAT | DESC_ACCESS(0x13) | DESC_D);
    LOAD("es", S(2));
    EXPECT_FAULT(VEC_NP, S(2));
    LOAD("ds", 0);
    LOAD("es", 0);
    CASE("SS: null at CPL 0 is allowed with RPL 0 only; DPL and RPL must be 0; #SS if not present; "
         "read-only refused");
    LOAD("ss", 0);
    EXPECT_NOTHING();
    LOAD("ss", 3);
    EXPECT_FAULT(VEC_GP, 0);
    LOAD("ss", USER_DS);
    EXPECT_FAULT(VEC_GP, USER_DS & ~3u);
    LOAD("ss", S(2));
    EXPECT_FAULT(VEC_SS, S(2));
    set_gdt(S(3), DESC_FLAT | DESC_ACCESS(0x91) | DESC_D);
    LOAD("ss", S(3));
    EXPECT_FAULT(VEC_GP, S(3));
    LOAD("ss", KERNEL_CS);
    EXPECT_FAULT(VEC_GP, KERNEL_CS);
    LOAD("ss", KERNEL_DS);
    EXPECT_NOTHING();
    CASE("lss, lfs, push and pop of FS and GS");
    struct {
        uint32_t off;
        uint16_t sel;
    } __attribute__((packed)) ptr = {0x34567890, S(0)};
    asm volatile("lfs %1, %k0" : "=r"(value) : "m"(ptr));
    CHECK_EQ(value, 0x34567890);
    asm volatile("push %%fs; pop %%gs; mov %%gs, %0" : "=r"(value));
    CHECK_EQ(value, S(0));
    TRY("push $0x7f8; pop %%fs");
    CHECK_EQ(trap.vector, VEC_GP);
    CHECK_EQ(trap.error, 0x7f8);
    asm volatile("mov %0, %%fs; mov %0, %%gs" : : "r"(0));
    CASE("mov from a segment register: 16 bits to memory, zero-extended to a register");
    uint64_t memory = ~0ull;
    asm volatile("mov %%ss, %0" : "+m"(memory));
    CHECK_EQ(memory, 0xffffffffffff0000 | KERNEL_DS);
}

static void local_table(void)
{
    uint64_t base = (uint64_t)ldt, value;
    CASE("LDT: null LDTR, loaded LDTR, limits, #GP and #NP of LLDT");
    LOAD("es", 4);
    EXPECT_FAULT(VEC_GP, 4);
    set_gdt(S(4), (sizeof(ldt) - 1) | (base & 0xffffff) << 16 | DESC_ACCESS(0x82) |
                      (base >> 24 & 0xff) << 56);
    set_gdt(S(5), base >> 32);
    ldt[1] = DESC_FLAT | DESC_ACCESS(0x92) | DESC_D;
    TRY_IN("lldt %w0", "r"(S(4)));
    EXPECT_NOTHING();
    asm volatile("sldt %0" : "=r"(value));
    CHECK_EQ(value, S(4));
    LOAD("es", 8 | 4);
    EXPECT_NOTHING();
    CHECK_EQ(ldt[1] >> 40 & 0xff, 0x93);
    LOAD("es", 64 | 4);
    EXPECT_FAULT(VEC_GP, 64 | 4);
    LOAD("es", 16 | 4);
    EXPECT_FAULT(VEC_GP, 16 | 4);
    TRY_IN("lldt %w0", "r"(KERNEL_DS));
    EXPECT_FAULT(VEC_GP, KERNEL_DS);
    set_gdt(S(4), gdt[S(4) / 8] & ~DESC_ACCESS(0x80));
    TRY_IN("lldt %w0", "r"(S(4)));
    EXPECT_FAULT(VEC_NP, S(4));
    TRY_IN("lldt %w0", "r"(0));
    EXPECT_NOTHING();
    LOAD("es", 0);
    CASE("LTR: a busy TSS is refused; STR");
    TRY_IN("ltr %w0", "r"(TSS_SEL));
    EXPECT_FAULT(VEC_GP, TSS_SEL);
    TRY_IN("ltr %w0", "r"(0));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("ltr %w0", "r"(KERNEL_DS));
    EXPECT_FAULT(VEC_GP, KERNEL_DS);
    asm volatile("str %0" : "=r"(value));
    CHECK_EQ(value, TSS_SEL);
    CHECK_EQ(gdt[TSS_SEL / 8] >> 40 & 0xf, 0xb);
}

static bool lar(uint64_t sel, uint64_t *out)
{
    bool ok;
    *out = ~0ull;
    asm volatile("lar %k2, %k0; setz %1" : "+r"(*out), "=qm"(ok) : "r"(sel) : "cc");
    return ok;
}

static bool lsl(uint64_t sel, uint64_t *out)
{
    bool ok;
    *out = ~0ull;
    asm volatile("lsl %k2, %k0; setz %1" : "+r"(*out), "=qm"(ok) : "r"(sel) : "cc");
    return ok;
}

static void inspection(void)
{
    uint64_t value;
    bool ok;
    CASE("LAR and LSL");
    CHECK(lar(KERNEL_CS, &value));
    CHECK_EQ(value, 0x00af9b00);
    CHECK(lar(USER_DS, &value));
    CHECK_EQ(value, 0x00cff300);
    CHECK(lar(TSS_SEL, &value));
    CHECK_EQ(value & 0xff00, 0x8b00);
    CHECK(!lar(0, &value));
    CHECK(!lar(0x7f8, &value));
    CHECK(!lar(KERNEL_DS | 3, &value)); /* DPL 0 and RPL 3 */
    CHECK_EQ(value, ~0ull);             /* the register stays as it was */
    CHECK(lsl(KERNEL_DS, &value));
    CHECK_EQ(value, 0xffffffff);
    CHECK(lsl(TSS_SEL, &value));
    CHECK_EQ(value, sizeof(struct tss) - 1);
    set_gdt(S(6), 0x000f300000001234 | DESC_ACCESS(0x92));
    CHECK(lsl(S(6), &value));
    CHECK_EQ(value, 0xf1234);
    CASE("VERR and VERW");
    asm volatile("verr %w1; setz %0" : "=qm"(ok) : "r"(KERNEL_CS) : "cc");
    CHECK(ok);
    asm volatile("verw %w1; setz %0" : "=qm"(ok) : "r"(KERNEL_CS) : "cc");
    CHECK(!ok);
    asm volatile("verw %w1; setz %0" : "=qm"(ok) : "r"(KERNEL_DS) : "cc");
    CHECK(ok);
    asm volatile("verr %w1; setz %0" : "=qm"(ok) : "r"(0) : "cc");
    CHECK(!ok);
}

static void stores(void)
{
    struct table_pointer g = {0, 0}, i = {0, 0};
    CASE("SGDT and SIDT give what was loaded");
    asm volatile("sgdt %0; sidt %1" : "=m"(g), "=m"(i));
    CHECK_EQ(g.limit, sizeof(gdt) - 1);
    CHECK_EQ(g.base, (uint64_t)gdt);
    CHECK_EQ(i.limit, sizeof(idt) - 1);
    CHECK_EQ(i.base, (uint64_t)idt);
    CASE("LGDT and LIDT of a non-canonical base: #GP");
    struct table_pointer bad = {0xff, 0x800000000000};
    TRY_IN("lgdt %0", "m"(bad));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("lidt %0", "m"(bad));
    EXPECT_FAULT(VEC_GP, 0);
    CASE("the GDT moved: the new one counts");
    static uint64_t copy[GDT_ENTRIES];
    memcpy(copy, gdt, sizeof(gdt));
    copy[S(7) / 8] = DESC_FLAT | DESC_ACCESS(0x93) | DESC_D;
    struct table_pointer other = {sizeof(copy) - 1, (uint64_t)copy};
    asm volatile("lgdt %0" : : "m"(other));
    LOAD("es", S(7));
    EXPECT_NOTHING();
    asm volatile("lgdt %0" : : "m"(g));
    set_gdt(S(7), 0);
    LOAD("es", S(7));
    EXPECT_FAULT(VEC_GP, S(7));
    LOAD("es", 0);
}

void guest_main(void)
{
    data_segments();
    local_table();
    inspection();
    stores();
}
