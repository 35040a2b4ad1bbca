/* The memory a case sees: regions of five pages (two writable, one read-only, a hole, one writable)
 * between holes, and code slots. */
#ifndef INSN_LAYOUT_H
#define INSN_LAYOUT_H

#include "insn/case.h"

enum region_name {
    REGION_DATA,     /* window, below 2 GB */
    REGION_DATA_MID, /* window, above 4 GB */
    REGION_USER_LOW, /* user pages at addresses the window covers */
    REGION_USER,     /* user pages above 8 TB: outside the window */
    REGION_USER_SUP, /* supervisor pages there */
    REGION_STACK,
    REGION_STACK_MID,
    REGION_KERNEL, /* like the direct map; native side moved by CASE_R */
    REGION_KERNEL_STACK,
    REGION_IMAGE, /* like the kernel's own data: RIP-relative from CODE_KERNEL */
    REGIONS
};

#define REGION_PAGES 5
#define REGION_HOLE 3 /* this page is not mapped */
#define REGION_READONLY 2

struct region {
    uint64_t gva;
    bool user;
};
extern const struct region region[REGIONS];

enum code_base {
    CODE_LOW,     /* below 2 GB */
    CODE_MID,     /* above 4 GB: no 32-bit absolute addresses */
    CODE_KERNEL,  /* like kernel text; native side moved by CASE_R */
    CODE_VMALLOC, /* kernel half, but no 32-bit absolute addresses; moved, too */
    CODE_BASES
};
extern const uint64_t code_base[CODE_BASES];

#define SLOT_SIZE 0x4000u /* guest addresses from one slot to the next */
#define SLOT_CODE 0x2000u /* of which the first two pages exist */

/* RAM. The native side's memory has the same offsets. */
#define RAM_BYTES (16ull << 20)
#define RAM_SYS 0x1000u
#define RAM_TABLES 0x10000u
#define RAM_REGIONS 0x400000u
#define RAM_CODE 0x800000u

/* System structures, supervisor pages at SYS_GVA. */
#define SYS_GVA 0xffffff6b3d250000ull
#define SYS_GDT 0x0000u
#define SYS_IDT 0x1000u
#define SYS_TSS 0x2000u
#define SYS_HANDLERS 0x3000u /* vector n: HLT at n * 16 */
#define SYS_STACK 0x4000u    /* one page: exception frames, by IST */
#define SYS_PAGES 5

/** Offset in RAM of a region's page or of a code slot. */
static inline uint32_t layout_region_page(unsigned r, unsigned page)
{
    static const uint8_t shuffled[REGION_PAGES] = {4, 1, 6, 0,
                                                   2}; /* neighbours are not neighbours in RAM */
    return RAM_REGIONS + (r * 8 + shuffled[page]) * (uint32_t)PAGE_SIZE;
}

static inline uint32_t layout_slot(unsigned slot)
{
    return RAM_CODE + slot * SLOT_CODE;
}

static inline uint64_t layout_slot_gva(unsigned base, unsigned slot)
{
    return code_base[base] + slot * SLOT_SIZE;
}

/** Where a guest address of a high case is on the native side, and back. Other values are left as
 *  they are, and all values of other cases. */
uint64_t layout_to_native(const struct insn_case *c, uint64_t value);
uint64_t layout_from_native(const struct insn_case *c, uint64_t value);

/** Fill the guest's tables and system structures in its RAM; returns CR3. */
uint64_t layout_build_guest(uint8_t *ram);
/** Map everything into this process at its native addresses from memory object fd. 0 or -errno. */
int layout_map_native(int fd);

/** Put the initial contents of all regions, and of c's slot, in place; native: values mapped. */
void layout_reset(uint8_t *ram, const struct insn_case *c, unsigned slot, bool native);
/** Guest: whether c's code is not what it was made as. */
bool layout_slot_changed(const uint8_t *ram, const struct insn_case *c, unsigned slot);
/** Hash pages that c has changed and put back what was there. */
void layout_collect(uint8_t *ram, const struct insn_case *c, unsigned slot, bool native,
                    uint64_t page[MEMORY_PAGES]);
#define CODE_PAGE (REGIONS * (REGION_PAGES - 1)) /* index in result.page of the case's own code */
/** Name of page index i of result.page. */
void layout_page_name(unsigned i, char *buf, size_t size);

#endif
