/* Where things lie in guest memory when the boot processor starts.
 *
 *   0x000000  page 0, left alone: BIOS data area, warm-reset vector at 0x467
 *   0x005000  a small stack, growing down from 0x6000 (Linux does not use it; test guests may)
 *   0x006000  GDT
 *   0x007000  boot_params ("zero page")
 *   0x008000  setup_data: the random seed
 *   0x009000  page tables: PML4, PDPT, 4 page directories, identity for 4 GB
 *   0x010000  command line, up to 64 KB with its NUL
 *   0x020000  free RAM from here ...
 *   0x09fc00  ... to here; then reserved, as on a PC with an EBDA and video memory
 *   0x0e0000  ACPI tables, up to 1 MB, reserved in the e820 map
 *   0x100000  free RAM: the kernel where its program headers say, the initrd as high as it may
 *   3 GB      hole for devices (I/O APIC, ECAM, BARs); RAM goes on at 4 GB
 *
 * Everything of ours below 0x20000 lies in what the e820 map calls usable RAM: it is needed only
 * until the kernel has copied it (boot_params, command line) or reserved it (setup_data), and Linux
 * keeps its hands off the first 64 KB for good. A kernel's segments may lie anywhere but in
 * [0, LAYOUT_LOW_END) and in the ACPI area.
 */
#ifndef BOOT_LAYOUT_H
#define BOOT_LAYOUT_H

#include "mmu/ram.h"

#define LAYOUT_STACK_TOP 0x6000ull
#define LAYOUT_GDT 0x6000ull
#define LAYOUT_BOOT_PARAMS 0x7000ull
#define LAYOUT_SETUP_DATA 0x8000ull
#define LAYOUT_PML4 0x9000ull
#define LAYOUT_PDPT 0xa000ull
#define LAYOUT_PD 0xb000ull /* four pages */
#define LAYOUT_CMDLINE 0x10000ull
#define LAYOUT_CMDLINE_SIZE 0x10000ull /* with the NUL */
#define LAYOUT_LOW_END 0x20000ull      /* our structures end here */

#define LAYOUT_EBDA 0x9fc00ull /* conventional memory ends here */
#define LAYOUT_ACPI 0xe0000ull
#define LAYOUT_ACPI_SIZE 0x20000ull
#define LAYOUT_HIGH_RAM 0x100000ull

#define LAYOUT_IDENTITY_END 0x100000000ull /* the page tables map [0, this) */
#define LAYOUT_MIN_RAM 0x200000ull         /* less than this is refused */

/** Megabytes of RAM to recommend when `need` bytes must fit: a power of two with room to spare. */
static inline unsigned long long layout_ram_hint(uint64_t need)
{
    unsigned long long mb = 4;
    while (mb < (1ull << 20) && (mb << 20) < need + need / 2) {
        mb *= 2;
    }
    return mb;
}

#endif
