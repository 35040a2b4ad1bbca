/* A guest for unit tests: one vCPU in 64-bit mode at CPL 0, with page tables, GDT, IDT and TSS in
 * the RAM of a fake machine (fake_host.h), all built by hand so that tests can spoil any part.
 *
 * The first 2 MB are mapped one to one, supervisor, writable, executable, in 4 KB pages.
 */
#ifndef TESTS_FAKE_GUEST_H
#define TESTS_FAKE_GUEST_H

#include "fake_host.h"
#include "mmu/mmu.h"

/* Where things lie (gva = gpa). */
#define GUEST_GDT 0x1000ull
#define GUEST_LDT 0x2000ull
#define GUEST_TSS 0x3000ull
#define GUEST_IDT 0x4000ull
#define GUEST_RSP0 0x9000ull   /* top of the ring-0 stack in the TSS */
#define GUEST_IST1 0xb000ull
#define GUEST_STACK 0xd000ull  /* the current stack at the start */
#define GUEST_CODE 0xe000ull
#define GUEST_HANDLER(vec) (0x100000ull + (uint64_t)(vec) * 16)
#define GUEST_PML4 0x20000ull
#define GUEST_TABLES 0x21000ull /* further tables grow up from here */
#define GUEST_USER 0x400000ull  /* user page: gpa 0x400000, U W, and one after it */

/* Selectors of the GDT. */
enum {
    SEL_CODE0 = 0x08, SEL_DATA0 = 0x10,
    SEL_CODE32_3 = 0x1b, SEL_DATA3 = 0x23, SEL_CODE3 = 0x2b,
    SEL_TSS = 0x30, SEL_LDT = 0x40,
    SEL_CONFORMING0 = 0x50, SEL_ABSENT_CODE0 = 0x58, SEL_ABSENT_DATA0 = 0x60,
    SEL_GATE = 0x68,          /* call gate, DPL 3, to SEL_CODE0 */
    SEL_L_AND_D = 0x78, SEL_EXEC_ONLY0 = 0x80, SEL_READ_ONLY0 = 0x88,
    SEL_CODE1 = 0x91, SEL_DATA1 = 0x99, SEL_CODE32_0 = 0xa0, SEL_CONFORMING3 = 0xa8,
    SEL_FRESH_DATA0 = 0xb0,   /* accessed bit clear */
    SEL_FRESH_CODE0 = 0xb8,
    SEL_BASED0 = 0xc0,        /* data with base 0xdeadb000 */
    GUEST_GDT_LIMIT = 0xc7,
};

/** The machine's vCPU 0, made anew. */
struct vcpu *fake_guest_create(void);
void fake_guest_destroy(struct vcpu *v);

/** Map [gva, gva+size) (4 KB, 2 MB or 1 GB page) to gpa; flags go into the leaf, upper levels get
 *  P W U. No accessed bits are set. */
void fake_guest_map(struct vcpu *v, uint64_t gva, uint64_t gpa, uint64_t size, uint64_t flags);
/** The entry that translates gva at `level` (3 PML4 ... 0 PT); the levels above must be there. */
uint64_t *fake_guest_entry(struct vcpu *v, uint64_t gva, unsigned level);
/** Clear A and D in every table entry used for gva. */
void fake_guest_clear_ad(struct vcpu *v, uint64_t gva);

/** RAM as the host sees it. */
uint8_t *fake_guest_ram(struct vcpu *v, uint64_t gpa);
uint64_t fake_guest_get64(struct vcpu *v, uint64_t gpa);
void fake_guest_set64(struct vcpu *v, uint64_t gpa, uint64_t value);

/** Write GDT entry sel: attr as in struct segment, limit 0xfffff with G. */
void fake_guest_descriptor(struct vcpu *v, uint16_t sel, uint32_t attr, uint32_t base);
/** Write an IDT gate: type_attr is the access byte (0x8e interrupt gate, 0x8f trap gate, DPL 0). */
void fake_guest_gate(struct vcpu *v, uint8_t vec, uint16_t sel, uint64_t target, uint8_t type_attr,
                     uint8_t ist);
/** Go to CPL 3 in 64-bit code, RSP in the user page, IF set. */
void fake_guest_to_user(struct vcpu *v);

/** What mmu_ram_written was told. */
extern unsigned fake_ram_writes;
extern uint64_t fake_ram_write_gpa, fake_ram_write_len;

/** A CPUID for vcpu_cpuid_config: vendor ids in fake_cpuid_amd, all feature words full of ones. */
void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
extern bool fake_cpuid_amd;
extern unsigned fake_cpuid_calls;

#endif
