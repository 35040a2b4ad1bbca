/* See linux.h. Runs before any vCPU, so it writes guest RAM in place; keeps no state. */
#include "boot/linux.h"

#include "base/string.h"
#include "boot/linux_abi.h"
#include "x86/arch.h"

/* Flat 64-bit code (execute/read, accessed) and flat data (read/write, accessed), ring 0.
 * SDM 3 "Segment Descriptors" §3.4.5. The accessed bit spares the processor a write. */
#define GDT_CODE 0x00af9b000000ffffull
#define GDT_DATA 0x00cf93000000ffffull

#define LARGE_PAGE (2ull << 20)
#define TABLE_ENTRIES 512u

/** A place of ours in low RAM. boot_setup has checked that low RAM is there. */
static void *low(const struct ram *ram, uint64_t where, uint64_t len)
{
    uint8_t *p = ram_span(ram, gpa(where), len);
    BUG_ON(!p);
    return p;
}

static bool intersects(gpa_t a, uint64_t a_len, gpa_t b, gpa_t b_end)
{
    return a.v < b_end.v && b.v < a.v + a_len;
}

/* ---- initrd ---- */

/** Highest page-aligned start of len bytes that end at or below limit, or 0 if below floor. */
static uint64_t highest(uint64_t floor, uint64_t limit, uint64_t len)
{
    if (len > limit) {
        return 0;
    }
    uint64_t start = align_down(limit - len, PAGE_SIZE);
    return start >= floor ? start : 0;
}

int boot_place_initrd(const struct ram *ram, const struct kernel_image *kernel, uint64_t len,
                      const char *name, gpa_t *out, struct boot_error *err)
{
    uint64_t kernel_limit = min_u64(kernel->initrd_max, RAM_HOLE_START - 1) + 1;
    uint64_t limit = min_u64(kernel_limit, ram->size);
    uint64_t above = align_up(kernel->end.v, PAGE_SIZE);
    uint64_t start = highest(max_u64(above, LAYOUT_HIGH_RAM), limit, len);
    if (start == 0) { /* between 1 MB and the kernel, then */
        start = highest(LAYOUT_HIGH_RAM, min_u64(limit, kernel->start.v), len);
    }
    if (start) {
        *out = gpa(start);
        return 0;
    }
    unsigned long long mb = (len + (1u << 20) - 1) >> 20;
    if (len > kernel_limit || above + len > kernel_limit) {
        return boot_fail(err, BOOT_ENOMEM,
                         "%s: an initrd of %llu MB is too large: this kernel takes one only below "
                         "%llu MB", name, mb, (unsigned long long)(kernel_limit >> 20));
    }
    return boot_fail(err, BOOT_ENOMEM,
                     "%s: an initrd of %llu MB and the kernel (up to %llu MB) do not fit into %llu "
                     "MB of RAM; use -m %lluM", name, mb,
                     (unsigned long long)(kernel->end.v >> 20),
                     (unsigned long long)(ram->size >> 20), layout_ram_hint(above + 2 * len));
}

/* ---- memory map ---- */

static void e820_add(struct boot_params *bp, uint64_t start, uint64_t end, uint32_t type)
{
    BUG_ON(bp->e820_entries >= E820_MAX);
    bp->e820_table[bp->e820_entries++] =
        (struct e820_entry){.start = start, .size = end - start, .type = type};
}

static void write_e820(const struct ram *ram, const struct boot_config *config,
                       struct boot_params *bp)
{
    e820_add(bp, 0, LAYOUT_EBDA, E820_RAM);
    e820_add(bp, LAYOUT_EBDA, 0xa0000, E820_RESERVED);
    e820_add(bp, LAYOUT_ACPI, LAYOUT_ACPI + LAYOUT_ACPI_SIZE, E820_RESERVED);
    e820_add(bp, LAYOUT_HIGH_RAM, min_u64(ram->size, RAM_HOLE_START), E820_RAM);
    if (ram->size > RAM_HOLE_START) {
        e820_add(bp, RAM_HOLE_END, ram_end(ram), E820_RAM);
    }
    for (unsigned i = 0; i < config->reserved_count; i++) {
        const struct boot_range *r = &config->reserved[i];
        e820_add(bp, r->start.v, r->start.v + r->size, E820_RESERVED);
    }
}

/* ---- boot_params ---- */

/** A header for a kernel that came without. */
static void make_header(const struct kernel_image *kernel, struct linux_setup_header *hdr)
{
    hdr->boot_flag = BOOT_FLAG_MAGIC;
    hdr->magic = BOOT_HEADER_MAGIC;
    hdr->version = BOOT_PROTOCOL;
    hdr->initrd_addr_max = (uint32_t)kernel->initrd_max;
    hdr->kernel_alignment = LARGE_PAGE;
    hdr->xloadflags = BOOT_XLF_KERNEL_64;
    hdr->cmdline_size = kernel->cmdline_max;
    hdr->pref_address = kernel->start.v;
    hdr->init_size = (uint32_t)(kernel->end.v - kernel->start.v);
}

/** Write the random seed; returns the address for hdr.setup_data. */
static uint64_t write_setup_data(const struct ram *ram, const struct boot_config *config)
{
    if (!config->rng_seed) {
        return 0;
    }
    struct linux_setup_data node = {.type = BOOT_SETUP_RNG_SEED, .len = BOOT_RNG_SEED_LEN};
    uint8_t *p = low(ram, LAYOUT_SETUP_DATA, sizeof(node) + BOOT_RNG_SEED_LEN);
    memcpy(p, &node, sizeof(node));
    memcpy(p + sizeof(node), config->rng_seed, BOOT_RNG_SEED_LEN);
    return LAYOUT_SETUP_DATA;
}

static void write_boot_params(const struct ram *ram, const struct kernel_image *kernel,
                              const struct boot_config *config)
{
    struct boot_params *bp = low(ram, LAYOUT_BOOT_PARAMS, sizeof(*bp));
    memset(bp, 0, sizeof(*bp));
    struct linux_setup_header *hdr = &bp->hdr;
    if (kernel->kind == KERNEL_BZIMAGE) {
        BUG_ON(kernel->setup_header_len > sizeof(*hdr));
        memcpy(hdr, kernel->setup_header, kernel->setup_header_len);
    } else {
        make_header(kernel, hdr);
    }
    hdr->type_of_loader = BOOT_LOADER_UNDEFINED; /* 0 would make the kernel ignore the initrd */
    hdr->loadflags = BOOT_LOADED_HIGH; /* and not KASLR_FLAG: memory keeps its fixed layout */
    hdr->vid_mode = BOOT_VIDEO_NORMAL;
    hdr->cmd_line_ptr = LAYOUT_CMDLINE;
    hdr->ramdisk_image = config->initrd_len ? (uint32_t)config->initrd.v : 0;
    hdr->ramdisk_size = (uint32_t)config->initrd_len;
    hdr->setup_data = write_setup_data(ram, config);
    bp->acpi_rsdp_addr = config->acpi_rsdp.v;
    write_e820(ram, config, bp);
}

/* ---- processor state ---- */

/** GDT and identity page tables: 2 MB pages, accessed and dirty, so that no walk needs to write. */
static void write_tables(const struct ram *ram)
{
    const uint64_t gdt[] = {0, 0, GDT_CODE, GDT_DATA};
    memcpy(low(ram, LAYOUT_GDT, sizeof(gdt)), gdt, sizeof(gdt));

    uint64_t *pml4 = low(ram, LAYOUT_PML4, PAGE_SIZE);
    uint64_t *pdpt = low(ram, LAYOUT_PDPT, PAGE_SIZE);
    memset(pml4, 0, PAGE_SIZE);
    memset(pdpt, 0, PAGE_SIZE);
    pml4[0] = LAYOUT_PDPT | PTE_P | PTE_W | PTE_A;
    const unsigned directories = LAYOUT_IDENTITY_END >> 30;
    for (unsigned i = 0; i < directories; i++) {
        pdpt[i] = (LAYOUT_PD + i * PAGE_SIZE) | PTE_P | PTE_W | PTE_A;
    }
    uint64_t *pd = low(ram, LAYOUT_PD, directories * PAGE_SIZE);
    for (unsigned i = 0; i < directories * TABLE_ENTRIES; i++) {
        pd[i] = (i * LARGE_PAGE) | PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS;
    }
}

static int check_config(const struct ram *ram, const struct kernel_image *kernel,
                        const struct boot_config *config, size_t cmdline_len,
                        struct boot_error *err)
{
    if (ram->size < LAYOUT_MIN_RAM) {
        return boot_fail(err, BOOT_ENOMEM,
                         "%llu KB of RAM are too few to start anything; use -m 4M",
                         (unsigned long long)(ram->size >> 10));
    }
    uint64_t limit = min_u64(kernel->cmdline_max, LAYOUT_CMDLINE_SIZE - 1);
    if (cmdline_len > limit) {
        return boot_fail(err, BOOT_E2BIG,
                         "the kernel command line has %llu characters, this kernel takes %llu; "
                         "shorten it", (unsigned long long)cmdline_len, (unsigned long long)limit);
    }
    if (config->initrd_len) {
        bool bad = config->initrd.v >= RAM_HOLE_START ||
                   !ram_span(ram, config->initrd, config->initrd_len) ||
                   config->initrd.v < LAYOUT_HIGH_RAM ||
                   intersects(config->initrd, config->initrd_len, kernel->start, kernel->end);
        if (bad) {
            return boot_fail(err, BOOT_EINVAL, "the initrd at 0x%llx is not in free RAM",
                             (unsigned long long)config->initrd.v);
        }
    }
    if (config->reserved_count > BOOT_MAX_RESERVED) {
        return boot_fail(err, BOOT_EINVAL, "%u reserved memory ranges are more than %u",
                         config->reserved_count, BOOT_MAX_RESERVED);
    }
    for (unsigned i = 0; i < config->reserved_count; i++) {
        const struct boot_range *r = &config->reserved[i];
        if (r->size == 0 || r->start.v + r->size < r->start.v) {
            return boot_fail(err, BOOT_EINVAL, "bad reserved memory range at 0x%llx",
                             (unsigned long long)r->start.v);
        }
    }
    return 0;
}

int boot_setup(const struct ram *ram, const struct kernel_image *kernel,
               const struct boot_config *config, struct boot_entry *out, struct boot_error *err)
{
    err->text[0] = 0;
    size_t cmdline_len = strlen(config->cmdline);
    int rc = check_config(ram, kernel, config, cmdline_len, err);
    if (rc) {
        return rc;
    }
    memcpy(low(ram, LAYOUT_CMDLINE, cmdline_len + 1), config->cmdline, cmdline_len + 1);
    write_boot_params(ram, kernel, config);
    write_tables(ram);
    *out = (struct boot_entry){
        .rip = kernel->entry.v,
        .rsi = LAYOUT_BOOT_PARAMS,
        .rsp = LAYOUT_STACK_TOP,
        .cr3 = LAYOUT_PML4,
        .gdt_base = LAYOUT_GDT,
        .gdt_limit = 4 * sizeof(uint64_t) - 1,
        .cs = BOOT_CS,
        .ds = BOOT_DS,
    };
    return 0;
}
