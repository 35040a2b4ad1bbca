/* The decoder against Zydis over all the code of real kernels, and its speed.
 *
 * usage: test_insn_kernels [-t RUNS] [FILE...]
 * FILE is a bzImage or an x86-64 ELF, every executable section of which is swept from its start, one
 * instruction after the other; or anything else: its bytes are swept. Without FILE: the kernels that
 * the build folder ($BUILD, else build) holds. -t decodes the largest section RUNS times more and
 * prints the best time per instruction, padding (int3) left out. Prints totals and the first
 * mismatches. Exit status 1 if there are any, 2 if a file cannot be read.
 */
#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "boot/bytes.h"
#include "boot/bzimage.h"
#include "boot/decompress.h"
#include "unit/insn_zydis.h"

#define MAX_SHOWN 20
#define LEAST_KERNEL_INSNS 1000000u /* fewer in a kernel: its code was not found */

struct totals {
    uint64_t bytes, insns, bad;
    uint64_t by_class[CLS_COUNT];
};

struct image {
    uint8_t *bytes;
    size_t size;
};

static bool image_read(struct image *image, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    bool ok = fseek(f, 0, SEEK_END) == 0;
    long size = ftell(f);
    ok = ok && size > 0 && fseek(f, 0, SEEK_SET) == 0;
    image->size = ok ? (size_t)size : 0;
    image->bytes = ok ? malloc(image->size) : NULL;
    ok = image->bytes && fread(image->bytes, 1, image->size, f) == image->size;
    fclose(f);
    return ok;
}

/* ---- the kernel inside a bzImage ---- */

static int append(void *ctx, const uint8_t *bytes, size_t len)
{
    struct image *out = ctx;
    memcpy(out->bytes + out->size, bytes, len);
    out->size += len;
    return 0;
}

/* Replaces the image by what it unpacks to. The places are those of the kernel documentation's "The
 * Linux/x86 Boot Protocol"; the file is one that we trust. */
static bool image_unpack(struct image *image, const char *path)
{
    const uint8_t *h = image->bytes;
    size_t at = (h[0x1f1] + 1u) * 512u + load_le32(h + 0x248), len = load_le32(h + 0x24c);
    if (len < 16 || at > image->size || len > image->size - at)
        return false;
    uint32_t total = load_le32(h + at + len - 4);
    enum compression kind = compression_detect(h + at, len);
    struct image out = {.bytes = malloc(total)};
    struct boot_error err = {.text = "no memory"};
    const struct decompress_sink sink = {.put = append, .ctx = &out};
    size_t packed = kind == COMPRESSION_GZIP ? len : len - 4;
    if (!out.bytes || decompress(kind, h + at, packed, total, &sink, path, &err)) {
        fprintf(stderr, "%s\n", err.text);
        free(out.bytes);
        return false;
    }
    free(image->bytes);
    *image = out;
    return true;
}

/* ---- the sweep ---- */

static void show(const struct image *image, size_t at, size_t avail, uint64_t gva, const char *why)
{
    printf("%016" PRIx64 " ", gva);
    for (size_t i = 0; i < INSN_MAX_LEN; i++)
        printf(i < avail ? "%02x" : "  ", i < avail ? image->bytes[at + i] : 0);
    printf("  %s\n", why);
}

/* Code at [at, at+len) of the file, running at gva. */
static void sweep(struct totals *t, struct insn_zydis *z, const struct image *image, size_t at,
                  size_t len, uint64_t gva)
{
    t->bytes += len;
    for (size_t done = 0; done < len;) {
        char why[300];
        unsigned step;
        size_t avail = len - done;
        struct insn in;
        t->insns++;
        if (!insn_zydis_agree(z, image->bytes + at + done, avail, &step, why, sizeof(why)) &&
            t->bad++ < MAX_SHOWN)
            show(image, at + done, avail, gva + done, why);
        if (insn_decode(&in, image->bytes + at + done, avail) == INSN_OK)
            t->by_class[in.cls]++;
        done += step;
    }
}

/* The section's code, or 0 bytes if it has none in the file. */
static size_t code_size(const struct image *image, const Elf64_Shdr *section)
{
    bool code = section->sh_type == SHT_PROGBITS && section->sh_flags & SHF_EXECINSTR;
    bool inside =
        section->sh_offset <= image->size && section->sh_size <= image->size - section->sh_offset;
    return code && inside ? section->sh_size : 0;
}

static size_t section_count(const struct image *image, const Elf64_Shdr **sections)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)image->bytes;
    if (image->size < sizeof(*header) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return 0;
    if (header->e_shoff > image->size || header->e_shoff % sizeof(uint64_t) ||
        header->e_shnum > (image->size - header->e_shoff) / sizeof(Elf64_Shdr))
        return 0;
    *sections = (const Elf64_Shdr *)(image->bytes + header->e_shoff);
    return header->e_shnum;
}

/* ---- the speed ---- */

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Best of so many runs over the instructions of one section, as a translator decodes: each with 15
 * bytes to read. */
static void measure(const struct image *image, size_t at, size_t len, int runs)
{
    uint32_t *starts = malloc((len + 1) * sizeof(*starts));
    size_t count = 0, sum = 0;
    double best = 0;
    struct insn in;
    if (!starts || len < INSN_MAX_LEN) {
        free(starts);
        return;
    }
    for (size_t done = 0; done + INSN_MAX_LEN <= len; done += in.len) {
        if (insn_decode(&in, image->bytes + at + done, INSN_MAX_LEN) != INSN_OK)
            break;
        if (in.cls != CLS_INT3)
            starts[count++] = (uint32_t)done;
    }
    for (int run = 0; run < runs; run++) {
        double start = now_ns();
        for (size_t i = 0; i < count; i++)
            if (insn_decode(&in, image->bytes + at + starts[i], INSN_MAX_LEN) == INSN_OK)
                sum += in.len;
        double ns = (now_ns() - start) / (count ? count : 1);
        best = run == 0 || ns < best ? ns : best;
    }
    printf("%zu instructions, %zu bytes: %.1f ns each\n", count, sum / runs, best);
    free(starts);
}

/* ---- */

/* The exit status for one file. */
static int check(struct insn_zydis *z, const char *path, int runs)
{
    struct image image = {0};
    struct totals t = {0};
    const Elf64_Shdr *sections = NULL;
    size_t largest = 0, largest_at = 0;
    bool ok = image_read(&image, path);
    bool kernel = ok && bzimage_probe(&(struct kernel_file){image.bytes, image.size, path});
    if (!ok || (kernel && !image_unpack(&image, path))) {
        fprintf(stderr, "%s: cannot be read\n", path);
        free(image.bytes);
        return 2;
    }
    size_t count = section_count(&image, &sections);
    for (size_t i = 0; i < count; i++) {
        size_t size = code_size(&image, &sections[i]);
        sweep(&t, z, &image, sections[i].sh_offset, size, sections[i].sh_addr);
        largest_at = size > largest ? sections[i].sh_offset : largest_at;
        largest = size > largest ? size : largest;
    }
    if (count == 0) {
        largest = image.size;
        sweep(&t, z, &image, 0, image.size, 0);
    }
    printf("%s: %" PRIu64 " instructions in %" PRIu64 " bytes: %" PRIu64 " undefined, %" PRIu64
           " mismatches\n",
           path, t.insns, t.bytes, t.by_class[CLS_UD], t.bad);
    if (runs > 0)
        measure(&image, largest_at, largest, runs);
    free(image.bytes);
    if (kernel && t.insns < LEAST_KERNEL_INSNS)
        printf("%s: no kernel has so little code\n", path);
    return t.bad != 0 || (kernel && t.insns < LEAST_KERNEL_INSNS);
}

static int check_built(struct insn_zydis *z, int runs)
{
    static const char *const kernels[] = {"vmlinuz", "vmlinuz-generic"};
    const char *build = getenv("BUILD");
    int status = 0;
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/kernel/%s", build ? build : "build", kernels[i]);
        int one = check(z, path, runs);
        status = one > status ? one : status;
    }
    return status;
}

int main(int argc, char **argv)
{
    struct insn_zydis z;
    int runs = 0, arg = 1, status = 0;
    if (argc > 2 && strcmp(argv[1], "-t") == 0) {
        runs = atoi(argv[2]);
        arg = 3;
    }
    insn_zydis_init(&z);
    if (arg == argc)
        return check_built(&z, runs);
    for (; arg < argc; arg++) {
        int one = check(&z, argv[arg], runs);
        status = one > status ? one : status;
    }
    return status;
}
