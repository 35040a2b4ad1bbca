/* ELF64 executables for x86-64, loaded by physical address.
 *
 * Two steps, so that a decompressor can hand over its output piece by piece and nothing is held
 * twice: elf_plan_read checks the headers and makes a plan; elf_load_part copies whatever part of a
 * stretch of the file belongs into RAM. Sections, symbols and anything behind the last segment (the
 * relocation table of a bzImage's payload) are ignored.
 *
 * System V ABI "Object Files" (ELF header, program header), x86-64 supplement §4.
 */
#ifndef BOOT_ELF_H
#define BOOT_ELF_H

#include "boot/error.h"
#include "boot/layout.h"
#include "mmu/ram.h"

#define ELF_MAX_SEGMENTS 16

/** One PT_LOAD. Bytes beyond filesz are zero (bss). */
struct elf_segment {
    uint64_t offset, filesz; /* in the file */
    gpa_t start;
    uint64_t memsz; /* >= filesz, > 0 */
};

struct elf_plan {
    gpa_t entry;      /* inside the file part of a segment */
    gpa_t start, end; /* hull of all segments */
    unsigned count;
    struct elf_segment segment[ELF_MAX_SEGMENTS];
};

/** Whether the bytes begin with the ELF magic number. */
bool elf_probe(const uint8_t *bytes, size_t len);

/** Check the headers in head[0, head_len), the beginning of a file of `total` bytes, and fill in
 *  the plan. All segments of a plan lie in the file and in low RAM, outside our own areas
 *  (boot/layout.h), and do not overlap. name is for messages.
 *  0, or as kernel_image_load fails. */
int elf_plan_read(const struct ram *ram, const uint8_t *head, size_t head_len, uint64_t total,
                  const char *name, struct elf_plan *plan, struct boot_error *err) MUST_CHECK;

/** Copy the parts of file bytes [offset, offset+len) that belong to segments; all-zero pages are
 *  skipped. Returns the bytes written to RAM. */
uint64_t elf_load_part(const struct ram *ram, const struct elf_plan *plan, uint64_t offset,
                       const uint8_t *bytes, size_t len);

#endif
