/* The two structures Linux shares with its boot loader, with the fields we set
 * (kernel documentation "The Linux/x86 Boot Protocol", "Zero Page").
 */
#ifndef BOOT_LINUX_ABI_H
#define BOOT_LINUX_ABI_H

#include "base/types.h"

#define BOOT_FLAG_MAGIC 0xaa55u
#define BOOT_HEADER_MAGIC 0x53726448u /* "HdrS" */
#define BOOT_PROTOCOL 0x20fu          /* of a header we make up */
#define BOOT_LOADER_UNDEFINED 0xffu
#define BOOT_LOADED_HIGH 1u           /* loadflags */
#define BOOT_XLF_KERNEL_64 1u         /* xloadflags */
#define BOOT_VIDEO_NORMAL 0xffffu
#define BOOT_SETUP_RNG_SEED 9u        /* setup_data type */

#define E820_RAM 1u
#define E820_RESERVED 2u
#define E820_MAX 128u

struct e820_entry {
    uint64_t start, size;
    uint32_t type;
} __attribute__((packed));

/** The setup header as it lies in boot_params at 0x1f1. */
struct linux_setup_header {
    uint8_t setup_sects;
    uint16_t root_flags;
    uint32_t syssize;
    uint16_t ram_size;
    uint16_t vid_mode;
    uint16_t root_dev;
    uint16_t boot_flag;
    uint16_t jump;
    uint32_t magic;
    uint16_t version;
    uint32_t realmode_swtch;
    uint16_t start_sys_seg;
    uint16_t kernel_version;
    uint8_t type_of_loader;
    uint8_t loadflags;
    uint16_t setup_move_size;
    uint32_t code32_start;
    uint32_t ramdisk_image;
    uint32_t ramdisk_size;
    uint32_t bootsect_kludge;
    uint16_t heap_end_ptr;
    uint8_t ext_loader_ver;
    uint8_t ext_loader_type;
    uint32_t cmd_line_ptr;
    uint32_t initrd_addr_max;
    uint32_t kernel_alignment;
    uint8_t relocatable_kernel;
    uint8_t min_alignment;
    uint16_t xloadflags;
    uint32_t cmdline_size;
    uint32_t hardware_subarch;
    uint64_t hardware_subarch_data;
    uint32_t payload_offset;
    uint32_t payload_length;
    uint64_t setup_data;
    uint64_t pref_address;
    uint32_t init_size;
    uint32_t handover_offset;
    uint32_t kernel_info_offset;
    uint8_t later[0x290 - 0x26c]; /* fields of protocols to come */
} __attribute__((packed));

struct boot_params {
    uint8_t screen_info[0x40]; /* zero: no console of the firmware */
    uint8_t pad040[0x70 - 0x40];
    uint64_t acpi_rsdp_addr;
    uint8_t pad078[0xc0 - 0x78];
    uint32_t ext_ramdisk_image;
    uint32_t ext_ramdisk_size;
    uint32_t ext_cmd_line_ptr;
    uint8_t pad0cc[0x1e0 - 0xcc];
    uint32_t alt_mem_k;
    uint8_t pad1e4[0x1e8 - 0x1e4];
    uint8_t e820_entries;
    uint8_t pad1e9[0x1ef - 0x1e9];
    uint8_t sentinel; /* 0, or the kernel clears what it thinks the loader forgot */
    uint8_t pad1f0;
    struct linux_setup_header hdr;
    uint8_t pad290[0x2d0 - 0x290];
    struct e820_entry e820_table[E820_MAX];
    uint8_t padcd0[0x1000 - 0xcd0];
} __attribute__((packed));

/** One node of the list at hdr.setup_data; its bytes follow. */
struct linux_setup_data {
    uint64_t next;
    uint32_t type;
    uint32_t len;
} __attribute__((packed));

_Static_assert(sizeof(struct boot_params) == 0x1000, "the zero page is a page");
_Static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x070, "zero page layout");
_Static_assert(offsetof(struct boot_params, ext_cmd_line_ptr) == 0x0c8, "zero page layout");
_Static_assert(offsetof(struct boot_params, e820_entries) == 0x1e8, "zero page layout");
_Static_assert(offsetof(struct boot_params, sentinel) == 0x1ef, "zero page layout");
_Static_assert(offsetof(struct boot_params, hdr) == 0x1f1, "zero page layout");
_Static_assert(offsetof(struct boot_params, hdr.magic) == 0x202, "zero page layout");
_Static_assert(offsetof(struct boot_params, hdr.loadflags) == 0x211, "zero page layout");
_Static_assert(offsetof(struct boot_params, hdr.cmd_line_ptr) == 0x228, "zero page layout");
_Static_assert(offsetof(struct boot_params, hdr.cmdline_size) == 0x238, "zero page layout");
_Static_assert(offsetof(struct boot_params, hdr.setup_data) == 0x250, "zero page layout");
_Static_assert(offsetof(struct boot_params, hdr.init_size) == 0x260, "zero page layout");
_Static_assert(offsetof(struct boot_params, pad290) == 0x290, "zero page layout");
_Static_assert(offsetof(struct boot_params, e820_table) == 0x2d0, "zero page layout");

#endif
