/* libFuzzer over the kernel loader: any bytes as a kernel file, through to the boot state.
 *
 * The first byte chooses. Even: the rest is the file as it stands. Odd: the rest is the payload of
 * a bzImage with a sound header, so that the decoders and the ELF loader are reached at once; the
 * promised size is then in the payload's own last four bytes, cut to 1 MB.
 * Guest RAM lies between inaccessible pages: a stray write dies here.
 *
 * clang -fsanitize=fuzzer,address,undefined; single process, -max_len=65536 is plenty.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "boot/linux.h"

#define RAM_SIZE (4u << 20)
#define GUARD (1u << 20)
#define SETUP_SECTS 1u
#define PAYLOAD_AT ((SETUP_SECTS + 1) * 512)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Fresh RAM for every run. */
static struct ram make_ram(void)
{
    static uint8_t *base; /* mapped once: a fuzzer's only state */
    if (!base) {
        uint8_t *all = mmap(NULL, RAM_SIZE + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);
        if (all == MAP_FAILED || mprotect(all + GUARD, RAM_SIZE, PROT_READ | PROT_WRITE)) {
            abort();
        }
        base = all + GUARD;
    }
    if (madvise(base, RAM_SIZE, MADV_DONTNEED)) {
        abort();
    }
    return (struct ram){.base = base, .size = RAM_SIZE, .fd = -1};
}

/** A bzImage around the payload, in memory of exactly its size. */
static uint8_t *wrap(const uint8_t *payload, size_t len, size_t *out_len)
{
    uint8_t *p = calloc(1, PAYLOAD_AT + len);
    if (!p) {
        abort();
    }
    const uint32_t payload_len = (uint32_t)len;
    p[0x1f1] = SETUP_SECTS;
    memcpy(p + 0x1fe, "\125\252\353\152HdrS\017\002", 10);
    p[0x236] = 1;
    memcpy(p + 0x238, "\377\7", 2);
    memcpy(p + 0x24c, &payload_len, 4);
    memcpy(p + 0x22c, "\377\377\377\177", 4);
    memcpy(p + PAYLOAD_AT, payload, len);
    if (len >= 4) {
        p[PAYLOAD_AT + len - 1] = 0;
        p[PAYLOAD_AT + len - 2] &= 0xf;
    }
    *out_len = PAYLOAD_AT + len;
    return p;
}

/** The kernel was taken: go on as a start would. */
static void start(const struct ram *ram, const struct kernel_image *kernel)
{
    struct boot_error err;
    struct boot_config config = {.cmdline = "console=ttyS0", .rng_seed = kernel->setup_header};
    config.initrd_len = 12345;
    if (boot_place_initrd(ram, kernel, config.initrd_len, "initrd", &config.initrd, &err)) {
        config.initrd_len = 0;
    } else if (!ram_span(ram, config.initrd, config.initrd_len)) {
        abort();
    }
    struct boot_entry entry;
    int rc = boot_setup(ram, kernel, &config, &entry, &err);
    if (rc != 0 && (rc != -BOOT_E2BIG || kernel->cmdline_max >= 13)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct ram ram = make_ram();
    uint8_t *wrapped = NULL;
    struct kernel_file file = {.bytes = data + 1, .len = size - 1, .name = "fuzz"};
    if (data[0] & 1) {
        wrapped = wrap(data + 1, size - 1, &file.len);
        file.bytes = wrapped;
    }
    struct kernel_image kernel;
    struct boot_error err;
    int rc = kernel_image_load(&ram, &file, &kernel, &err);
    if (rc == 0) {
        bool sound = kernel.start.v >= LAYOUT_LOW_END && kernel.end.v <= ram.size &&
                     kernel.entry.v >= kernel.start.v && kernel.entry.v < kernel.end.v;
        if (!sound) {
            abort();
        }
        start(&ram, &kernel);
    } else if (rc > 0 || err.text[0] == 0) {
        abort();
    }
    free(wrapped);
    return 0;
}
