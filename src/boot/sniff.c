/* See sniff.h. */
#include "boot/sniff.h"

#include "base/string.h"

struct signature {
    size_t offset;
    const char *magic;
    size_t magic_len;
    const char *what;
    const char *remedy;
};

#define SIG(offset, magic, what, remedy) {offset, magic, sizeof(magic) - 1, what, remedy}

#define GIVE_KERNEL "give a bzImage (vmlinuz) or an ELF vmlinux"
#define UNPACK "unpack it first, or give it as the initrd if that is what it is"
#define IS_DISK "give it as a disk, and a bzImage (vmlinuz) or ELF vmlinux as the kernel"
#define UNPACK_PACKAGE "take the vmlinuz out of it"

/* In order: the first that matches is named. */
static const struct signature signatures[] = {
    SIG(0, "\037\213", "a gzip file", UNPACK),
    SIG(0, "\375" "7zXZ\0", "an xz file", UNPACK),
    SIG(0, "\050\265\057\375", "a zstd file", UNPACK),
    SIG(0, "\002\041\114\030", "an lz4 file", UNPACK),
    SIG(0, "\004\042\115\030", "an lz4 file", UNPACK),
    SIG(0, "BZh", "a bzip2 file", UNPACK),
    SIG(0, "\211LZO", "an lzop file", UNPACK),
    SIG(0, "070701", "a cpio archive (an initrd?)", "give it as the initrd"),
    SIG(0, "070702", "a cpio archive (an initrd?)", "give it as the initrd"),
    SIG(0, "#!", "a script", GIVE_KERNEL),
    SIG(0, "!<arch>\n", "a Debian package or ar archive", UNPACK_PACKAGE),
    SIG(0, "\355\253\356\333", "an RPM package", UNPACK_PACKAGE),
    SIG(0, "PK\003\004", "a zip file", UNPACK_PACKAGE),
    SIG(257, "ustar", "a tar archive", UNPACK_PACKAGE),
    SIG(0, "QFI\373", "a qcow2 disk image", IS_DISK),
    SIG(0, "KDMV", "a VMDK disk image", IS_DISK),
    SIG(0, "\047\005\031\126", "a U-Boot image", GIVE_KERNEL),
    SIG(56, "ARM\x64", "an arm64 Linux kernel", "an x86-64 kernel is needed"),
    SIG(0, "MZ", "an EFI or Windows program (PE)",
        "boot loaders and unified kernel images cannot be started: " GIVE_KERNEL),
    SIG(0, "version https://git-lfs", "a Git LFS pointer", "fetch the real file with git lfs pull"),
    SIG(512, "EFI PART", "a disk image (GPT)", IS_DISK),
    SIG(0x438, "\123\357", "an ext2/3/4 file system", IS_DISK),
    SIG(0, "hsqs", "a squashfs file system", IS_DISK),
    SIG(0, "XFSB", "an XFS file system", IS_DISK),
    SIG(0x8001, "CD001", "a CD image (ISO 9660)", IS_DISK),
    SIG(510, "\125\252", "a disk image (boot sector)", IS_DISK),
};

static bool is_text(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len && i < 512; i++) {
        if ((bytes[i] < 0x20 && (bytes[i] < '\t' || bytes[i] > '\r')) || bytes[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len && i < 4096; i++) {
        if (bytes[i]) {
            return false;
        }
    }
    return true;
}

const char *sniff_file(const uint8_t *bytes, size_t len, const char **remedy)
{
    for (size_t i = 0; i < ARRAY_LEN(signatures); i++) {
        const struct signature *s = &signatures[i];
        if (len >= s->offset + s->magic_len &&
            memcmp(bytes + s->offset, s->magic, s->magic_len) == 0) {
            *remedy = s->remedy;
            return s->what;
        }
    }
    *remedy = GIVE_KERNEL;
    if (len == 0) {
        return "an empty file";
    }
    if (is_text(bytes, len)) {
        return "a text file";
    }
    return is_zero(bytes, len) ? "all zeros at the start" : "unknown data";
}
