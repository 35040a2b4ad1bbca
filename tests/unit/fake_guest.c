/* The fake guest of the unit tests: see fake_guest.h. */
#include "fake_guest.h"

#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

unsigned fake_ram_writes;
uint64_t fake_ram_write_gpa, fake_ram_write_len;
bool fake_cpuid_amd;
unsigned fake_cpuid_calls;

static uint64_t next_table;

static void note_ram_written(struct vm *vm, gpa_t a, uint64_t len)
{
    (void)vm;
    fake_ram_writes++;
    fake_ram_write_gpa = a.v;
    fake_ram_write_len = len;
}

static const struct engine fake_engine = {.name = "fake", .ram_written = note_ram_written};

/* Stands in where a test does not link the engine. */
__attribute__((weak)) void mmu_ram_written(struct vm *vm, gpa_t a, uint64_t len)
{
    vm->engine->ram_written(vm, a, len);
}

static void fake_cpuid_extended(uint32_t leaf, uint32_t r[4])
{
    switch (leaf) {
    case 0x80000000:
        r[0] = fake_cpuid_amd ? 0x80000028 : 0x80000008;
        r[1] = r[2] = r[3] = 0;
        break;
    case 0x80000008:
        r[0] = 57u << 8 | 46;
        break;
    default:
        break;
    }
}

static void fake_cpuid_cache(uint32_t subleaf, uint32_t r[4])
{
    /* three levels, then none */
    r[0] = subleaf < 3 ? 0xfc000001u | 0x3ffc000u | (subleaf + 1) << 5 : 0;
    r[1] = 0x01c0003f;
    r[2] = 0x3f;
    r[3] = 0;
}

static void fake_cpuid_xsave(uint32_t subleaf, uint32_t r[4])
{
    static const struct {
        uint32_t size, offset;
    } part[] = {[2] = {0x100, 0x240}, [5] = {0x40, 0x440}, [6] = {0x200, 0x480},
                [7] = {0x400, 0x680}, [9] = {8, 0xa80},    [17] = {0x40, 0xac0},
                [18] = {0x2000, 0xb00}, [19] = {0x80, 0x2b00}};
    if (subleaf == 1) {
        r[0] = 0x1f;
        return;
    }
    r[0] = subleaf < 20 ? part[subleaf].size : 0;
    r[1] = subleaf < 20 ? part[subleaf].offset : 0;
    r[2] = subleaf == 18 ? 6 : subleaf == 19 ? 2 : 0;
    r[3] = 0;
}

void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    fake_cpuid_calls++;
    r[0] = r[1] = r[2] = r[3] = ~0u;
    if (leaf & 0x80000000) {
        if (leaf == 0x8000001d)
            fake_cpuid_cache(subleaf, r);
        else
            fake_cpuid_extended(leaf, r);
        return;
    }
    switch (leaf) {
    case 0:
        r[0] = 0x24;
        r[1] = fake_cpuid_amd ? 0x68747541 : 0x756e6547;
        r[3] = fake_cpuid_amd ? 0x69746e65 : 0x49656e69;
        r[2] = fake_cpuid_amd ? 0x444d4163 : 0x6c65746e;
        break;
    case 1:
        r[0] = 0x000a0671;
        break;
    case 4:
        fake_cpuid_cache(subleaf, r);
        break;
    case 0xd:
        fake_cpuid_xsave(subleaf, r);
        break;
    default:
        break;
    }
}

uint8_t *fake_guest_ram(struct vcpu *v, uint64_t at)
{
    return v->vm->ram.base + at;
}

uint64_t fake_guest_get64(struct vcpu *v, uint64_t at)
{
    uint64_t value;
    memcpy(&value, fake_guest_ram(v, at), 8);
    return value;
}

void fake_guest_set64(struct vcpu *v, uint64_t at, uint64_t value)
{
    memcpy(fake_guest_ram(v, at), &value, 8);
}

uint64_t *fake_guest_entry(struct vcpu *v, uint64_t gva, unsigned level)
{
    uint64_t table = GUEST_PML4;
    for (unsigned l = 3;; l--) {
        void *at = fake_guest_ram(v, table + ((gva >> (12 + 9 * l)) & 511) * 8);
        uint64_t *entry = at;
        if (l == level)
            return entry;
        if (!(*entry & PTE_P)) {
            *entry = next_table | PTE_P | PTE_W | PTE_U;
            next_table += PAGE_SIZE;
        }
        table = *entry & PTE_ADDR;
    }
}

void fake_guest_map(struct vcpu *v, uint64_t gva, uint64_t to, uint64_t size, uint64_t flags)
{
    unsigned level = size == PAGE_SIZE ? 0 : size == PAGE_SIZE << 9 ? 1 : 2;
    *fake_guest_entry(v, gva, level) = to | flags | PTE_P | (level ? PTE_PS : 0);
}

void fake_guest_clear_ad(struct vcpu *v, uint64_t gva)
{
    for (unsigned level = 4; level-- > 0;) {
        uint64_t *entry = fake_guest_entry(v, gva, level);
        bool leaf = level == 0 || (*entry & PTE_PS);
        *entry &= ~(PTE_A | PTE_D);
        if (leaf)
            return;
    }
}

void fake_guest_descriptor(struct vcpu *v, uint16_t sel, uint32_t attr, uint32_t base)
{
    uint64_t raw = 0xffff | 0xfull << 48 | 1ull << 55;
    raw |= (uint64_t)(attr & 0xff) << 40 | (uint64_t)(attr >> 12 & 0xf) << 52;
    raw |= (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    fake_guest_set64(v, GUEST_GDT + (sel & 0xfff8), raw);
}

void fake_guest_gate(struct vcpu *v, uint8_t vec, uint16_t sel, uint64_t target, uint8_t type_attr,
                     uint8_t ist)
{
    uint64_t lo = (target & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 |
                  (uint64_t)type_attr << 40 | (target >> 16 & 0xffff) << 48;
    fake_guest_set64(v, GUEST_IDT + vec * 16ull, lo);
    fake_guest_set64(v, GUEST_IDT + vec * 16ull + 8, target >> 32);
}

#define CODE 0x9bu
#define DATA 0x93u
#define DPL(n) ((unsigned)(n) << 5)
#define P 0x80u
#define L (1u << 13)
#define D (1u << 14)

static void build_gdt(struct vcpu *v)
{
    static const struct {
        uint16_t sel;
        uint32_t attr, base;
    } entry[] = {
        {SEL_CODE0, CODE | L, 0},
        {SEL_DATA0, DATA | D, 0},
        {SEL_CODE32_3, CODE | DPL(3) | D, 0},
        {SEL_DATA3, DATA | DPL(3) | D, 0},
        {SEL_CODE3, CODE | DPL(3) | L, 0},
        {SEL_CONFORMING0, CODE | 4 | L, 0},
        {SEL_ABSENT_CODE0, (CODE | L) & ~P, 0},
        {SEL_ABSENT_DATA0, (DATA | D) & ~P, 0},
        {SEL_L_AND_D, CODE | L | D, 0},
        {SEL_EXEC_ONLY0, 0x99 | L, 0},
        {SEL_READ_ONLY0, 0x91 | D, 0},
        {SEL_CODE1, CODE | DPL(1) | L, 0},
        {SEL_DATA1, DATA | DPL(1) | D, 0},
        {SEL_CODE32_0, CODE | D, 0},
        {SEL_CONFORMING3, CODE | 4 | DPL(3) | L, 0},
        {SEL_FRESH_DATA0, (DATA | D) & ~1u, 0},
        {SEL_FRESH_CODE0, (CODE | L) & ~1u, 0},
        {SEL_BASED0, DATA | D, 0xdeadb000},
    };
    for (unsigned i = 0; i < ARRAY_LEN(entry); i++)
        fake_guest_descriptor(v, entry[i].sel, entry[i].attr, entry[i].base);
    /* 64-bit TSS and LDT with bases above 4 GB where possible: upper halves are zero here. */
    fake_guest_set64(v, GUEST_GDT + SEL_TSS, 0x67 | GUEST_TSS << 16 | 0x89ull << 40);
    fake_guest_set64(v, GUEST_GDT + SEL_LDT, 0xfff | GUEST_LDT << 16 | 0x82ull << 40);
    /* call gate to SEL_CODE0:GUEST_HANDLER(0) */
    fake_guest_set64(v, GUEST_GDT + SEL_GATE,
                     (GUEST_HANDLER(0) & 0xffff) | SEL_CODE0 << 16 | 0xecull << 40 |
                         GUEST_HANDLER(0) >> 16 << 48);
}

static void build_tables(struct vcpu *v)
{
    next_table = GUEST_TABLES;
    for (uint64_t at = 0; at < 2ull << 20; at += PAGE_SIZE)
        fake_guest_map(v, at, at, PAGE_SIZE, PTE_W);
    fake_guest_map(v, GUEST_USER, GUEST_USER, PAGE_SIZE, PTE_W | PTE_U);
    fake_guest_map(v, GUEST_USER + PAGE_SIZE, GUEST_USER + PAGE_SIZE, PAGE_SIZE, PTE_W | PTE_U);
}

struct vcpu *fake_guest_create(void)
{
    const struct vcpu_cpuid_config cfg = {.host_cpuid = fake_cpuid,
                                          .host_xcr0 = 0x602e7,
                                          .cpu_count = 1,
                                          .tsc_khz = FAKE_TSC_KHZ,
                                          .deprivileged = true};
    struct vcpu_exception ex;
    struct vm *vm = fake_vm_create(1);
    struct vcpu *v = vm->vcpu[0];

    v->vm = vm;
    vm->engine = &fake_engine;
    v->lapic = &vm->lapic[0];
    vcpu_cpuid_init(v, &cfg);
    vcpu_reset(v);
    build_tables(v);
    build_gdt(v);
    const struct vcpu_entry64 entry = {.rip = GUEST_CODE,
                                       .rsp = GUEST_STACK,
                                       .cr3 = GUEST_PML4,
                                       .gdtr = {GUEST_GDT, GUEST_GDT_LIMIT},
                                       .code_sel = SEL_CODE0,
                                       .data_sel = SEL_DATA0};
    vcpu_set_entry64(v, &entry);
    v->cr4 |= CR4_PGE;
    v->efer |= EFER_NX | EFER_SCE;
    v->idtr = (struct dtable){GUEST_IDT, 0xfff};
    for (unsigned vec = 0; vec < 256; vec++)
        fake_guest_gate(v, (uint8_t)vec, SEL_CODE0, GUEST_HANDLER(vec), 0x8e, 0);
    fake_guest_set64(v, GUEST_TSS + 4, GUEST_RSP0);
    fake_guest_set64(v, GUEST_TSS + 36, GUEST_IST1);
    if (!vcpu_load_tr(v, SEL_TSS, &ex) || !vcpu_load_ldtr(v, SEL_LDT, &ex))
        abort();
    fake_ram_writes = 0;
    return v;
}

void fake_guest_destroy(struct vcpu *v)
{
    fake_vm_destroy(v->vm);
}

void fake_guest_to_user(struct vcpu *v)
{
    v->seg[SEG_CS] = (struct segment){SEL_CODE3, CODE | DPL(3) | L | SEG_ATTR_G, 0xffffffff, 0};
    v->seg[SEG_SS] = (struct segment){SEL_DATA3, DATA | DPL(3) | D | SEG_ATTR_G, 0xffffffff, 0};
    v->gpr[RSP] = GUEST_USER + 0x800;
    v->rip = GUEST_USER;
    v->rflags |= RFLAGS_IF;
}
