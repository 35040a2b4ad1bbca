/* The state in which a loaded kernel is entered: Linux's 64-bit boot protocol
 * (kernel documentation "The Linux/x86 Boot Protocol", "64-bit Boot Protocol" and "Zero Page").
 *
 * Long mode, paging on with the first 4 GB mapped to themselves, flat segments CS=0x10 and
 * DS=ES=SS=0x18, IF=0, DF=0, RSI = boot_params. Plain test guests are entered in the same state.
 * Where things lie: boot/layout.h. KASLR_FLAG is clear, so the kernel keeps its fixed layout.
 *
 * Order of calls: kernel_image_load, boot_place_initrd and fill it (if there is one), boot_setup.
 */
#ifndef BOOT_LINUX_H
#define BOOT_LINUX_H

#include "boot/kernel_image.h"

#define BOOT_CS 0x10u
#define BOOT_DS 0x18u
#define BOOT_RNG_SEED_LEN 32
#define BOOT_MAX_RESERVED 8

/** [start, start+size) is named reserved in the e820 map (ECAM, say). */
struct boot_range {
    gpa_t start;
    uint64_t size;
};

struct boot_config {
    const char *cmdline;     /* never NULL */
    gpa_t initrd;            /* as boot_place_initrd said; ignored when initrd_len is 0 */
    uint64_t initrd_len;     /* bytes */
    gpa_t acpi_rsdp;         /* 0: no ACPI */
    const uint8_t *rng_seed; /* BOOT_RNG_SEED_LEN random bytes, or NULL for none */
    const struct boot_range *reserved;
    unsigned reserved_count; /* up to BOOT_MAX_RESERVED */
};

/** Initial state of the boot processor, as far as it depends on what lies in memory; the rest is
 *  vcpu_set_entry64's. The IDT is empty: a fault before the kernel has its own is a triple fault. */
struct boot_entry {
    uint64_t rip;
    uint64_t rsi; /* boot_params */
    uint64_t rsp; /* top of one page of stack */
    uint64_t cr3;
    uint64_t gdt_base;
    uint16_t gdt_limit;
    uint16_t cs, ds; /* ds for all but CS */
};

/** The place for an initrd of len bytes: the highest page-aligned one below the end of low RAM and
 *  the kernel's own limit that is clear of the kernel. *out is it; the caller reads the file
 *  straight to ram_span(ram, *out, len), which is not NULL. len > 0; name is the file's, for
 *  messages. 0, or -ENOMEM (the text names a RAM size that does, or the kernel's limit that is in
 *  the way). */
int boot_place_initrd(const struct ram *ram, const struct kernel_image *kernel, uint64_t len,
                      const char *name, gpa_t *out, struct boot_error *err) MUST_CHECK;

/** Write GDT, page tables, boot_params, command line and setup_data to low RAM and fill in *out.
 *  0, -E2BIG (command line), -EINVAL (reserved ranges, initrd outside RAM), -ENOMEM (RAM below
 *  LAYOUT_MIN_RAM); on failure *out is untouched. */
int boot_setup(const struct ram *ram, const struct kernel_image *kernel,
               const struct boot_config *config, struct boot_entry *out,
               struct boot_error *err) MUST_CHECK;

#endif
