/* See bzimage.h. Runs before any vCPU; no state. Every byte of the file is hostile. */
#include "boot/bzimage.h"

#include "base/string.h"
#include "boot/bytes.h"
#include "boot/decompress.h"
#include "boot/elf.h"

/* Offsets of setup header fields in the file. */
enum {
    HDR_SETUP_SECTS = 0x1f1, HDR_BOOT_FLAG = 0x1fe, HDR_JUMP_LEN = 0x201, HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206, HDR_KERNEL_VERSION = 0x20e, HDR_INITRD_MAX = 0x22c,
    HDR_XLOADFLAGS = 0x236, HDR_CMDLINE_SIZE = 0x238, HDR_PAYLOAD_OFFSET = 0x248,
    HDR_PAYLOAD_LENGTH = 0x24c, HDR_MIN_END = 0x250,
};

#define XLF_KERNEL_64 1u
#define PROTOCOL_PAYLOAD 0x208u    /* first with payload_offset */
#define PROTOCOL_XLOADFLAGS 0x20cu /* first with xloadflags */
#define SECTOR 512u

/** Where the decompressor's output goes. */
struct loader {
    const struct ram *ram;
    const char *name;
    uint64_t total; /* bytes the output will have */
    uint64_t offset; /* bytes seen */
    uint64_t written;
    struct elf_plan plan; /* valid once offset > 0 */
    struct boot_error *err;
};

bool bzimage_probe(const struct kernel_file *file)
{
    return file->len >= HDR_VERSION && load_le16(file->bytes + HDR_BOOT_FLAG) == 0xaa55 &&
           memcmp(file->bytes + HDR_MAGIC, "HdrS", 4) == 0;
}

/** Find the payload. */
static int find_payload(const struct kernel_file *file, const uint8_t **payload, uint32_t *len,
                        struct boot_error *err)
{
    const uint8_t *h = file->bytes;
    if (file->len < HDR_MIN_END) {
        return boot_fail(err, BOOT_ENOEXEC, "%s: truncated: ends inside the Linux setup header",
                         file->name);
    }
    unsigned version = load_le16(h + HDR_VERSION);
    if (version < PROTOCOL_PAYLOAD) {
        return boot_fail(err, BOOT_ENOTSUP,
                         "%s: a Linux kernel with boot protocol %u.%02u; 2.08 or newer is needed "
                         "(Linux 2.6.26)", file->name, version >> 8, version & 0xff);
    }
    if (version >= PROTOCOL_XLOADFLAGS && !(load_le16(h + HDR_XLOADFLAGS) & XLF_KERNEL_64)) {
        return boot_fail(err, BOOT_ENOTSUP,
                         "%s: a 32-bit Linux kernel; only 64-bit kernels can be started",
                         file->name);
    }
    unsigned sectors = h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : 4;
    uint64_t offset = (uint64_t)(sectors + 1) * SECTOR + load_le32(h + HDR_PAYLOAD_OFFSET);
    *len = load_le32(h + HDR_PAYLOAD_LENGTH);
    if (offset > file->len || *len > file->len - offset) {
        return boot_fail(err, BOOT_ENOEXEC,
                         "%s: truncated: the kernel ends at byte %llu, the file has %llu",
                         file->name, (unsigned long long)(offset + *len),
                         (unsigned long long)file->len);
    }
    if (*len < 16) {
        return boot_fail(err, BOOT_ENOEXEC, "%s: damaged: its compressed kernel has %u bytes",
                         file->name, *len);
    }
    *payload = h + offset;
    return 0;
}

/** The kernel's name for itself, for messages: printable, cut. */
static void read_version(const struct kernel_file *file, char *out, size_t size)
{
    size_t from = (size_t)load_le16(file->bytes + HDR_KERNEL_VERSION) + SECTOR;
    size_t n = 0;
    while (from > SECTOR && from < file->len && n + 1 < size) {
        uint8_t c = file->bytes[from++];
        if (c < 0x20 || c > 0x7e) {
            break;
        }
        out[n++] = (char)c;
    }
    out[n] = 0;
}

static void read_header(const struct kernel_file *file, struct kernel_image *out)
{
    const uint8_t *h = file->bytes;
    size_t end = HDR_MAGIC + (size_t)h[HDR_JUMP_LEN]; /* the jump at 0x200 leads behind it */
    end = end < HDR_MIN_END ? HDR_MIN_END : end;
    end = end > file->len ? file->len : end;
    size_t n = end - HDR_SETUP_SECTS;
    n = n > KERNEL_SETUP_HEADER_MAX ? KERNEL_SETUP_HEADER_MAX : n;
    memcpy(out->setup_header, h + HDR_SETUP_SECTS, n);
    out->setup_header_len = (unsigned)n;
    out->cmdline_max = load_le32(h + HDR_CMDLINE_SIZE);
    out->initrd_max = load_le32(h + HDR_INITRD_MAX);
    read_version(file, out->version, sizeof(out->version));
}

static int take_piece(void *ctx, const uint8_t *bytes, size_t len)
{
    struct loader *l = ctx;
    if (l->offset == 0) {
        if (!elf_probe(bytes, len)) {
            return boot_fail(l->err, BOOT_ENOEXEC,
                             "%s: damaged: what it unpacks to is not an ELF kernel", l->name);
        }
        int rc = elf_plan_read(l->ram, bytes, len, l->total, l->name, &l->plan, l->err);
        if (rc) {
            return rc;
        }
    }
    l->written += elf_load_part(l->ram, &l->plan, l->offset, bytes, len);
    l->offset += len;
    return 0;
}

int bzimage_load(const struct ram *ram, const struct kernel_file *file, struct kernel_image *out,
                 struct boot_error *err)
{
    const uint8_t *payload;
    uint32_t len;
    int rc = find_payload(file, &payload, &len, err);
    if (rc) {
        return rc;
    }
    /* The last four bytes are the unpacked size: gzip's own trailer, appended by the kernel's build
     * behind the other formats. */
    uint32_t total = load_le32(payload + len - 4);
    enum compression kind = compression_detect(payload, len);
    if (kind != COMPRESSION_GZIP) {
        len -= 4;
    }
    if (kind != COMPRESSION_UNKNOWN && (total == 0 || total > BZIMAGE_MAX_UNPACKED)) {
        return boot_fail(err, BOOT_ENOEXEC, "%s: damaged: claims to unpack to %u bytes", file->name,
                         total);
    }
    struct loader loader = {.ram = ram, .name = file->name, .total = total, .err = err};
    const struct decompress_sink sink = {.put = take_piece, .ctx = &loader};
    rc = decompress(kind, payload, len, total, &sink, file->name, err);
    if (rc) {
        return rc;
    }
    *out = (struct kernel_image){
        .kind = KERNEL_BZIMAGE,
        .entry = loader.plan.entry,
        .start = loader.plan.start,
        .end = loader.plan.end,
        .loaded = loader.written,
    };
    const char *codec = compression_name(kind);
    memcpy(out->compression, codec, min_u64(strlen(codec), sizeof(out->compression) - 1));
    read_header(file, out);
    return 0;
}
