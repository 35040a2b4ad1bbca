/* Guest memory and its native double. See layout.h. */
#include "insn/layout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Kernel addresses are chosen so that no accidental bytes look like one or like its native double.
 */
const struct region region[REGIONS] = {
    [REGION_DATA] = {0x50000000, false},
    [REGION_DATA_MID] = {0x650000000, false},
    [REGION_USER_LOW] = {0x51000000, true},
    [REGION_USER] = {0x2e5510000000, true},
    [REGION_USER_SUP] = {0x2e5520000000, false},
    [REGION_STACK] = {0x60000000, false},
    [REGION_STACK_MID] = {0x660000000, false},
    [REGION_KERNEL] = {0xffff88b35a200000, false},
    [REGION_KERNEL_STACK] = {0xffffc9a35c610000, false},
    [REGION_IMAGE] = {0xffffffff83a56000, false},
};

const uint64_t code_base[CODE_BASES] = {
    [CODE_LOW] = 0x4a000000,
    [CODE_MID] = 0x540000000,
    [CODE_KERNEL] = 0xffffffffa7d40000,
    [CODE_VMALLOC] = 0xffffc9b26d400000,
};

#define MARGIN 0x10000u /* pointers may lie a little outside what they were made for */

/* ---- addresses ---- */

static bool near_kernel_thing(uint64_t gva)
{
    for (unsigned r = REGION_KERNEL; r < REGIONS; r++) {
        if (gva - (region[r].gva - MARGIN) < REGION_PAGES * PAGE_SIZE + 2 * MARGIN) {
            return true;
        }
    }
    for (unsigned k = CODE_KERNEL; k < CODE_BASES; k++) {
        if (gva - (code_base[k] - MARGIN) < BATCH_MAX * SLOT_SIZE + 2 * MARGIN) {
            return true;
        }
    }
    return false;
}

static bool is_high(const struct insn_case *c)
{
    return c->code >= CODE_KERNEL;
}

uint64_t layout_to_native(const struct insn_case *c, uint64_t value)
{
    return is_high(c) && near_kernel_thing(value) ? value + CASE_R : value;
}

uint64_t layout_from_native(const struct insn_case *c, uint64_t value)
{
    return is_high(c) && near_kernel_thing(value - CASE_R) ? value - CASE_R : value;
}

/* ---- the guest's tables ---- */

struct tables {
    uint8_t *ram;
    uint64_t root, next;
};

static uint64_t new_table(struct tables *t)
{
    uint64_t pa = t->next;
    t->next += PAGE_SIZE;
    memset(t->ram + pa, 0, PAGE_SIZE);
    return pa;
}

static void map_page(struct tables *t, uint64_t gva, uint64_t pa, uint64_t flags)
{
    uint64_t table = t->root;
    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t *e = (uint64_t *)(void *)(t->ram + table) + bits(gva, (unsigned)shift, 9);
        if (!*e) {
            *e = new_table(t) | PTE_P | PTE_W | PTE_U;
        }
        table = *e & PTE_ADDR;
    }
    ((uint64_t *)(void *)(t->ram + table))[bits(gva, 12, 9)] = pa | flags | PTE_P;
}

static void map_regions(struct tables *t)
{
    for (unsigned r = 0; r < REGIONS; r++) {
        for (unsigned p = 0; p < REGION_PAGES; p++) {
            if (p != REGION_HOLE) {
                uint64_t flags =
                    PTE_NX | (p == REGION_READONLY ? 0 : PTE_W) | (region[r].user ? PTE_U : 0);
                map_page(t, region[r].gva + p * PAGE_SIZE, layout_region_page(r, p), flags);
            }
        }
    }
    for (unsigned k = 0; k < CODE_BASES; k++) {
        for (unsigned s = 0; s < BATCH_MAX; s++) {
            for (unsigned off = 0; off < SLOT_CODE; off += PAGE_SIZE) {
                map_page(t, layout_slot_gva(k, s) + off, layout_slot(s) + off, PTE_W);
            }
        }
    }
}

static void build_system(uint8_t *sys)
{
    static const uint64_t gdt[5] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00008b0000000067,
                                    0};
    memset(sys, 0, SYS_PAGES * PAGE_SIZE);
    memcpy(sys + SYS_GDT, gdt, sizeof(gdt));
    uint64_t ist1 = SYS_GVA + SYS_STACK + PAGE_SIZE;
    memcpy(sys + SYS_TSS + 0x24, &ist1, 8);
    for (unsigned n = 0; n < 256; n++) {
        uint64_t at = SYS_GVA + SYS_HANDLERS + n * 16;
        uint64_t gate[2] = {(at & 0xffff) | 8u << 16 | 1ull << 32 | 0x8eull << 40 |
                                (at >> 16 & 0xffff) << 48,
                            at >> 32};
        memcpy(sys + SYS_IDT + n * 16, gate, 16);
        sys[SYS_HANDLERS + n * 16] = 0xf4; /* hlt */
    }
}

uint64_t layout_build_guest(uint8_t *ram)
{
    struct tables t = {.ram = ram, .next = RAM_TABLES};
    t.root = new_table(&t);
    map_regions(&t);
    for (unsigned p = 0; p < SYS_PAGES; p++) {
        uint64_t off = p * PAGE_SIZE;
        map_page(&t, SYS_GVA + off, RAM_SYS + off, PTE_W | (off == SYS_HANDLERS ? 0 : PTE_NX));
    }
    build_system(ram + RAM_SYS);
    return t.root;
}

/* ---- the native side ---- */

static int map_native(int fd, uint64_t gva, uint32_t off, size_t len, int prot)
{
    void *want = (void *)(near_kernel_thing(gva) ? gva + CASE_R : gva);
    void *got = mmap(want, len, prot, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, off);
    return got == want ? 0 : -EEXIST;
}

int layout_map_native(int fd)
{
    int rc = 0;
    for (unsigned r = 0; r < REGIONS; r++) {
        for (unsigned p = 0; p < REGION_PAGES && !rc; p++) {
            int prot = PROT_READ | (p == REGION_READONLY ? 0 : PROT_WRITE);
            if (p != REGION_HOLE) {
                rc = map_native(fd, region[r].gva + p * PAGE_SIZE, layout_region_page(r, p),
                                PAGE_SIZE, prot);
            }
        }
    }
    for (unsigned k = 0; k < CODE_BASES; k++) {
        for (unsigned s = 0; s < BATCH_MAX && !rc; s++) {
            rc = map_native(fd, layout_slot_gva(k, s), layout_slot(s), SLOT_CODE,
                            PROT_READ | PROT_WRITE | PROT_EXEC);
        }
    }
    return rc;
}

/* ---- contents ---- */

/* Random bytes, with small numbers and zeros among them. The same in every case. */
static void initial_page(uint8_t out[PAGE_SIZE], unsigned seed)
{
    uint64_t x = 0x9e3779b97f4a7c15ull * (seed + 1);
    for (unsigned i = 0; i < PAGE_SIZE; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t value = (x >> 60) < 3 ? x & 0xff : (x >> 60) == 3 ? 0 : x;
        memcpy(out + i, &value, 8);
    }
}

static const uint8_t *initial_contents(unsigned r, unsigned p)
{
    static uint8_t page[REGIONS][REGION_PAGES][PAGE_SIZE];
    static bool made;
    for (unsigned i = 0; !made && i < REGIONS * REGION_PAGES; i++) {
        initial_page(page[i / REGION_PAGES][i % REGION_PAGES], i);
    }
    made = true;
    return page[r][p];
}

static void slot_contents(uint8_t out[SLOT_CODE], const struct insn_case *c)
{
    for (unsigned i = 0; i < SLOT_CODE; i += 2) { /* ud2 everywhere */
        out[i] = 0x0f;
        out[i + 1] = 0x0b;
    }
    unsigned room = SLOT_CODE - c->start;
    memcpy(out + c->start, c->bytes, c->len < room ? c->len : room);
}

bool layout_slot_changed(const uint8_t *ram, const struct insn_case *c, unsigned slot)
{
    uint8_t was[SLOT_CODE];
    slot_contents(was, c);
    return memcmp(ram + layout_slot(slot), was, SLOT_CODE) != 0;
}

/* Offset in RAM of guest address gva if it is in a region, else 0. */
static uint32_t region_offset(uint64_t gva)
{
    for (unsigned r = 0; r < REGIONS; r++) {
        uint64_t off = gva - region[r].gva;
        if (off < REGION_PAGES * PAGE_SIZE && off / PAGE_SIZE != REGION_HOLE &&
            (off & PAGE_MASK) <= PAGE_SIZE - 8) {
            return layout_region_page(r, (unsigned)(off / PAGE_SIZE)) + (uint32_t)(off & PAGE_MASK);
        }
    }
    return 0;
}

/* Addresses within the instructions: those of mov r, imm64. */
static void move_immediates(uint8_t *code, const struct insn_case *c)
{
    struct insn in;
    for (unsigned at = 0; at < c->len; at += in.len) {
        if (insn_decode(&in, c->bytes + at, c->len - at) != INSN_OK) {
            break;
        }
        uint64_t moved = layout_to_native(c, (uint64_t)in.imm);
        unsigned to = c->start + at + in.imm_off;
        if (in.imm_len == 8 && to + 8 <= SLOT_CODE) {
            memcpy(code + to, &moved, 8);
        }
    }
}

static void apply_pokes(uint8_t *ram, const struct insn_case *c, bool native)
{
    for (unsigned i = 0; i < c->poke_count; i++) {
        uint32_t off = region_offset(c->poke[i].gva);
        uint64_t value = native ? layout_to_native(c, c->poke[i].value) : c->poke[i].value;
        if (off) {
            memcpy(ram + off, &value, 8);
        }
    }
}

void layout_reset(uint8_t *ram, const struct insn_case *c, unsigned slot, bool native)
{
    for (unsigned r = 0; r < REGIONS; r++) {
        for (unsigned p = 0; p < REGION_PAGES; p++) {
            memcpy(ram + layout_region_page(r, p), initial_contents(r, p), PAGE_SIZE);
        }
    }
    slot_contents(ram + layout_slot(slot), c);
    if (native) {
        move_immediates(ram + layout_slot(slot), c);
    }
    apply_pokes(ram, c, native);
}

/* Hash of n bytes; native: a high case's pointers, at any alignment, are mapped back first. */
static uint64_t hash(const struct insn_case *c, const uint8_t *bytes, size_t n, bool native)
{
    uint8_t copy[SLOT_CODE];
    memcpy(copy, bytes, n);
    for (size_t i = 0; native && i + 8 <= n; i++) {
        uint64_t value;
        memcpy(&value, copy + i, 8);
        uint64_t moved = layout_from_native(c, value);
        if (moved != value) {
            memcpy(copy + i, &moved, 8);
            i += 7;
        }
    }
    uint64_t h = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t value;
        memcpy(&value, copy + i, 8);
        h = (h ^ value) * 0x100000001b3ull;
        h ^= h >> 29;
    }
    return h | 1;
}

void layout_collect(uint8_t *ram, const struct insn_case *c, unsigned slot, bool native,
                    uint64_t page[MEMORY_PAGES])
{
    unsigned n = 0;
    for (unsigned r = 0; r < REGIONS; r++) {
        for (unsigned p = 0; p < REGION_PAGES; p++) {
            if (p == REGION_HOLE) {
                continue;
            }
            uint8_t *at = ram + layout_region_page(r, p);
            const uint8_t *was = initial_contents(r, p);
            page[n] = memcmp(at, was, PAGE_SIZE) ? hash(c, at, PAGE_SIZE, native) : 0;
            n++;
        }
    }
    page[n++] = hash(c, ram + layout_slot(slot), SLOT_CODE, native);
    _Static_assert(REGIONS * (REGION_PAGES - 1) + 1 <= MEMORY_PAGES, "room in struct result");
}

void layout_page_name(unsigned i, char *buf, size_t size)
{
    static const uint8_t page_of[REGION_PAGES - 1] = {0, 1, 2, 4};
    if (i < REGIONS * (REGION_PAGES - 1)) {
        unsigned r = i / (REGION_PAGES - 1), p = page_of[i % (REGION_PAGES - 1)];
        snprintf(buf, size, "memory %#llx", (unsigned long long)(region[r].gva + p * PAGE_SIZE));
    } else {
        snprintf(buf, size, "the code itself");
    }
}
