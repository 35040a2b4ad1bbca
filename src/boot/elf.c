/* See elf.h. Runs before any vCPU; no state. Every field read here is hostile. */
#include "boot/elf.h"

#include "base/string.h"
#include "boot/bytes.h"

enum { EI_CLASS = 4, EI_DATA = 5, CLASS_32 = 1, CLASS_64 = 2, DATA_LSB = 1 };
enum { ET_REL = 1, ET_EXEC = 2, ET_DYN = 3, ET_CORE = 4 };
enum { EM_386 = 3, EM_X86_64 = 62, EM_AARCH64 = 183, EM_RISCV = 243 };
enum { PT_LOAD = 1, PT_INTERP = 3 };

/* Offsets in the 64-bit file header and in a program header. */
enum {
    EH_TYPE = 16, EH_MACHINE = 18, EH_ENTRY = 24, EH_PHOFF = 32, EH_PHENTSIZE = 54, EH_PHNUM = 56,
    EH_SIZE = 64,
    PH_TYPE = 0, PH_OFFSET = 8, PH_PADDR = 24, PH_FILESZ = 32, PH_MEMSZ = 40, PH_SIZE = 56,
};

#define PHNUM_MAX 64u

bool elf_probe(const uint8_t *bytes, size_t len)
{
    return len >= 4 && memcmp(bytes, "\177ELF", 4) == 0;
}

/** The kind of file: 64-bit, little-endian, x86-64, executable. */
static int check_ident(const uint8_t *head, size_t head_len, const char *name,
                       struct boot_error *err)
{
    if (head_len < 20) {
        return boot_fail(err, BOOT_ENOEXEC, "%s: truncated: ends inside the ELF header", name);
    }
    unsigned machine = load_le16(head + EH_MACHINE);
    if (head[EI_DATA] != DATA_LSB) {
        return boot_fail(err, BOOT_ENOTSUP, "%s: a big-endian ELF file; an x86-64 kernel is needed",
                         name);
    }
    if (head[EI_CLASS] == CLASS_32 || machine == EM_386) {
        return boot_fail(err, BOOT_ENOTSUP,
                         "%s: a 32-bit ELF file; only 64-bit x86-64 kernels can be started", name);
    }
    if (head[EI_CLASS] != CLASS_64 || machine != EM_X86_64) {
        const char *cpu = machine == EM_AARCH64 ? " (arm64)"
                          : machine == EM_RISCV ? " (RISC-V)"
                                                : "";
        return boot_fail(err, BOOT_ENOTSUP,
                         "%s: an ELF file for another processor, machine %u%s; x86-64 is needed",
                         name, machine, cpu);
    }
    unsigned type = load_le16(head + EH_TYPE);
    if (type != ET_EXEC && type != ET_DYN) {
        const char *what = type == ET_REL    ? "an object file or kernel module"
                           : type == ET_CORE ? "a core dump"
                                             : "an ELF file of unknown type";
        return boot_fail(err, BOOT_ENOEXEC, "%s: %s, not a kernel; give a bzImage or a vmlinux",
                         name, what);
    }
    if (head_len < EH_SIZE) {
        return boot_fail(err, BOOT_ENOEXEC, "%s: truncated: ends inside the ELF header", name);
    }
    return 0;
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b + b_len && b < a + a_len; /* callers made sure that the sums do not wrap */
}

/** One PT_LOAD header, checked against the file and the layout (the RAM size comes later). */
static int read_segment(const uint8_t *ph, uint64_t total, const char *name,
                        struct elf_segment *seg, struct boot_error *err)
{
    *seg = (struct elf_segment){
        .offset = load_le64(ph + PH_OFFSET),
        .filesz = load_le64(ph + PH_FILESZ),
        .start = gpa(load_le64(ph + PH_PADDR)),
        .memsz = load_le64(ph + PH_MEMSZ),
    };
    uint64_t start = seg->start.v;
    if (seg->filesz > seg->memsz) {
        return boot_fail(err, BOOT_ENOEXEC,
                         "%s: damaged: the segment for 0x%llx has more bytes than memory", name,
                         (unsigned long long)start);
    }
    if (seg->offset > total || seg->filesz > total - seg->offset) {
        return boot_fail(err, BOOT_ENOEXEC,
                         "%s: truncated: the segment for 0x%llx ends behind the file's %llu bytes",
                         name, (unsigned long long)start, (unsigned long long)total);
    }
    if (start >= RAM_HOLE_START || seg->memsz > RAM_HOLE_START - start) {
        return boot_fail(err, BOOT_EFAULT,
                         "%s: wants memory at 0x%llx; a kernel must be linked below 3 GB physical",
                         name, (unsigned long long)start);
    }
    if (overlap(start, seg->memsz, 0, LAYOUT_LOW_END) ||
        overlap(start, seg->memsz, LAYOUT_ACPI, LAYOUT_ACPI_SIZE)) {
        return boot_fail(err, BOOT_EFAULT,
                         "%s: wants memory at 0x%llx, where the boot structures are (below 0x%llx, "
                         "0x%llx-0xfffff); link it at 0x100000 or higher",
                         name, (unsigned long long)start, LAYOUT_LOW_END, LAYOUT_ACPI);
    }
    return 0;
}

/** Append seg to the plan and widen the hull. */
static int add_segment(struct elf_plan *plan, const struct elf_segment *seg, const char *name,
                       struct boot_error *err)
{
    if (plan->count == ELF_MAX_SEGMENTS) {
        return boot_fail(err, BOOT_ENOEXEC, "%s: damaged: more than %u loadable segments", name,
                         (unsigned)ELF_MAX_SEGMENTS);
    }
    for (unsigned i = 0; i < plan->count; i++) {
        const struct elf_segment *other = &plan->segment[i];
        if (overlap(seg->start.v, seg->memsz, other->start.v, other->memsz)) {
            return boot_fail(err, BOOT_ENOEXEC, "%s: damaged: two segments overlap at 0x%llx", name,
                             (unsigned long long)seg->start.v);
        }
    }
    uint64_t end = seg->start.v + seg->memsz;
    plan->start.v = plan->count ? min_u64(plan->start.v, seg->start.v) : seg->start.v;
    plan->end.v = plan->count ? max_u64(plan->end.v, end) : end;
    plan->segment[plan->count++] = *seg;
    return 0;
}

/** What can be said only about all segments together. */
static int check_plan(const struct ram *ram, const struct elf_plan *plan, const char *name,
                      struct boot_error *err)
{
    if (plan->count == 0) {
        return boot_fail(err, BOOT_ENOEXEC, "%s: an ELF file with nothing to load, not a kernel",
                         name);
    }
    bool entry_ok = false;
    for (unsigned i = 0; i < plan->count; i++) {
        const struct elf_segment *s = &plan->segment[i];
        entry_ok |= plan->entry.v >= s->start.v && plan->entry.v - s->start.v < s->filesz;
    }
    if (!entry_ok) {
        return boot_fail(err, BOOT_ENOEXEC,
                         "%s: its entry point 0x%llx is not in a loaded segment; it must be a "
                         "physical address", name, (unsigned long long)plan->entry.v);
    }
    if (plan->end.v > ram->size) {
        return boot_fail(err, BOOT_ENOMEM,
                         "%s: the kernel needs memory up to 0x%llx, the guest has %llu MB; "
                         "use -m %lluM", name, (unsigned long long)plan->end.v,
                         (unsigned long long)(ram->size >> 20), layout_ram_hint(plan->end.v));
    }
    return 0;
}

int elf_plan_read(const struct ram *ram, const uint8_t *head, size_t head_len, uint64_t total,
                  const char *name, struct elf_plan *plan, struct boot_error *err)
{
    int rc = check_ident(head, head_len, name, err);
    if (rc) {
        return rc;
    }
    uint64_t phoff = load_le64(head + EH_PHOFF);
    unsigned phnum = load_le16(head + EH_PHNUM);
    if (load_le16(head + EH_PHENTSIZE) != PH_SIZE || phnum > PHNUM_MAX) {
        return boot_fail(err, BOOT_ENOEXEC,
                         "%s: damaged ELF header (%u program headers of %u bytes)", name, phnum,
                         load_le16(head + EH_PHENTSIZE));
    }
    if (phoff > head_len || phnum * PH_SIZE > head_len - phoff) {
        return boot_fail(err, BOOT_ENOEXEC,
                         "%s: truncated or damaged: no program headers at 0x%llx", name,
                         (unsigned long long)phoff);
    }
    *plan = (struct elf_plan){.entry = gpa(load_le64(head + EH_ENTRY))};
    for (unsigned i = 0; i < phnum; i++) {
        const uint8_t *ph = head + phoff + (size_t)i * PH_SIZE;
        uint32_t type = load_le32(ph + PH_TYPE);
        if (type == PT_INTERP) {
            return boot_fail(err, BOOT_ENOEXEC,
                             "%s: a dynamically linked program, not a kernel; give a bzImage or a "
                             "vmlinux", name);
        }
        if (type != PT_LOAD || load_le64(ph + PH_MEMSZ) == 0) {
            continue;
        }
        struct elf_segment seg;
        rc = read_segment(ph, total, name, &seg, err);
        if (rc == 0) {
            rc = add_segment(plan, &seg, name, err);
        }
        if (rc) {
            return rc;
        }
    }
    return check_plan(ram, plan, name, err);
}

/** len <= PAGE_SIZE. */
static bool all_zero(const uint8_t *p, size_t len)
{
    size_t n = len < 16 ? len : 16;
    for (size_t i = 0; i < n; i++) {
        if (p[i]) {
            return false;
        }
    }
    return len <= 16 || memcmp(p, p + 16, len - 16) == 0;
}

/** Copy to RAM page by page, leaving alone those pages that stay zero. */
static uint64_t copy_nonzero(uint8_t *dst, uint64_t dst_gpa, const uint8_t *src, uint64_t len)
{
    uint64_t written = 0;
    while (len) {
        size_t n = (size_t)min_u64(len, PAGE_SIZE - (dst_gpa & PAGE_MASK));
        if (!all_zero(src, n)) {
            memcpy(dst, src, n);
            written += n;
        }
        dst += n;
        src += n;
        dst_gpa += n;
        len -= n;
    }
    return written;
}

uint64_t elf_load_part(const struct ram *ram, const struct elf_plan *plan, uint64_t offset,
                       const uint8_t *bytes, size_t len)
{
    uint64_t written = 0;
    for (unsigned i = 0; i < plan->count; i++) {
        const struct elf_segment *seg = &plan->segment[i];
        uint64_t from = max_u64(offset, seg->offset);
        uint64_t to = min_u64(offset + len, seg->offset + seg->filesz);
        if (from >= to) {
            continue;
        }
        gpa_t where = gpa_add(seg->start, from - seg->offset);
        uint8_t *dst = ram_span(ram, where, to - from);
        BUG_ON(!dst); /* elf_plan_read checked it */
        written += copy_nonzero(dst, where.v, bytes + (from - offset), to - from);
    }
    return written;
}
