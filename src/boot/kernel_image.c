/* See kernel_image.h. */
#include "boot/kernel_image.h"

#include "base/string.h"
#include "boot/bzimage.h"
#include "boot/elf.h"
#include "boot/sniff.h"

#define NAME_SHOWN 80u /* of a long file name, its end */

/* What a vmlinux says nothing about; Linux's values since 2.6. */
#define ELF_CMDLINE_MAX 2047u
#define ELF_INITRD_MAX 0x7fffffffu

static int load_elf(const struct ram *ram, const struct kernel_file *file, struct kernel_image *out,
                    struct boot_error *err)
{
    struct elf_plan plan;
    int rc = elf_plan_read(ram, file->bytes, file->len, file->len, file->name, &plan, err);
    if (rc) {
        return rc;
    }
    *out = (struct kernel_image){
        .kind = KERNEL_ELF,
        .entry = plan.entry,
        .start = plan.start,
        .end = plan.end,
        .loaded = elf_load_part(ram, &plan, 0, file->bytes, file->len),
        .cmdline_max = ELF_CMDLINE_MAX,
        .initrd_max = ELF_INITRD_MAX,
        .compression = "none",
    };
    return 0;
}

int kernel_image_load(const struct ram *ram, const struct kernel_file *file,
                      struct kernel_image *out, struct boot_error *err)
{
    err->text[0] = 0;
    struct kernel_file shown = *file;
    size_t name_len = strlen(file->name);
    if (name_len > NAME_SHOWN) {
        shown.name = file->name + name_len - NAME_SHOWN;
    }
    if (bzimage_probe(&shown)) {
        return bzimage_load(ram, &shown, out, err);
    }
    if (elf_probe(shown.bytes, shown.len)) {
        return load_elf(ram, &shown, out, err);
    }
    const char *remedy;
    const char *what = sniff_file(shown.bytes, shown.len, &remedy);
    return boot_fail(err, BOOT_ENOEXEC, "%s: not a kernel but %s; %s", shown.name, what, remedy);
}
