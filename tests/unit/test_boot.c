/* The kernel loader: src/boot/kernel_image.h. What comes after it is in test_boot_setup.c.
 *
 * Kernels are made here: a small ELF with code, data, bss and a tail, plain and in bzImages of
 * every compression. Real ones are loaded when RING3_TEST_KERNELS names some (paths, `:` between).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "boot/bytes.h"
#include "boot/decompress.h"
#include "boot/kernel_image.h"

_Static_assert(BOOT_E2BIG == E2BIG && BOOT_ENOEXEC == ENOEXEC && BOOT_ENOMEM == ENOMEM, "errno");
_Static_assert(BOOT_EFAULT == EFAULT && BOOT_EINVAL == EINVAL && BOOT_ENOTSUP == ENOTSUP, "errno");

#define MB (1ull << 20)

/* ---- making kernels ---- */

/** A growing byte string. */
struct bytes {
    uint8_t *p;
    size_t len;
};

static struct bytes bytes_of(const void *p, size_t len)
{
    struct bytes b = {.p = malloc(len ? len : 1), .len = len}; /* exact, for the sanitizer */
    assert_non_null(b.p);
    if (len) {
        memcpy(b.p, p, len);
    }
    return b;
}

static void store(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

#define CODE_OFF 0x1000u
#define CODE_LEN 0x4000u /* pages: full, zero, only the last byte, full */
#define DATA_OFF 0x6010u
#define DATA_LEN 0x1234u
#define CODE_GPA 0x200000u
#define DATA_GPA 0x300010u
#define DATA_MEM 0x20000u /* bss behind */
#define ELF_END (DATA_OFF + DATA_LEN)
#define BIG_END (17 * MB + 5)          /* three lz4 blocks, many pieces of the others */
#define BIG_DATA_OFF (8 * MB - 0x7f0u) /* across the first block's end */

static void set_phdr(uint8_t *elf, unsigned i, uint32_t type, uint64_t off, uint64_t at,
                     uint64_t filesz, uint64_t memsz)
{
    uint8_t *ph = elf + 64 + i * 56;
    store(ph, type, 4);
    store(ph + 8, off, 8);
    store(ph + 16, 0xffffffff80000000ull + at, 8);
    store(ph + 24, at, 8);
    store(ph + 32, filesz, 8);
    store(ph + 40, memsz, 8);
}

static uint64_t data_off(size_t elf_len)
{
    return elf_len < BIG_END ? DATA_OFF : BIG_DATA_OFF;
}

/** Bytes that compress a little. */
static void make_noise(uint8_t *p, size_t len)
{
    uint32_t lcg = 1;
    for (size_t i = 0; i < len; i++) {
        lcg = lcg * 1664525 + 1013904223;
        p[i] = (uint8_t)(lcg >> (i % 7 ? 24 : 28));
    }
}

/** An ELF of `len` bytes (ELF_END or more): headers, two segments, a tail. */
static struct bytes make_elf(size_t len)
{
    struct bytes b = {.p = calloc(1, len), .len = len};
    assert_non_null(b.p);
    make_noise(b.p, min_u64(len, 0x10000));
    make_noise(b.p + data_off(len), DATA_LEN);
    memset(b.p + CODE_OFF + 0x1000, 0, 0x1fff);
    b.p[CODE_OFF + 0x2fff] = 1;

    memset(b.p, 0, CODE_OFF);
    memcpy(b.p, "\177ELF\2\1\1", 7);
    store(b.p + 16, 2, 2);
    store(b.p + 18, 62, 2);
    store(b.p + 24, CODE_GPA + 0x10, 8);
    store(b.p + 32, 64, 8);
    store(b.p + 54, 56, 2);
    store(b.p + 56, 3, 2);
    set_phdr(b.p, 0, 1, CODE_OFF, CODE_GPA, CODE_LEN, CODE_LEN);
    set_phdr(b.p, 1, 1, data_off(len), DATA_GPA, DATA_LEN, DATA_MEM);
    set_phdr(b.p, 2, 4, 0, 0, 0, 0);
    return b;
}

static struct bytes pack_gzip(struct bytes in)
{
    z_stream z = {.next_in = in.p, .avail_in = (uInt)in.len};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    struct bytes out = {.len = deflateBound(&z, in.len)};
    out.p = malloc(out.len);
    z.next_out = out.p;
    z.avail_out = (uInt)out.len;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.len = z.total_out;
    deflateEnd(&z);
    return out;
}

static struct bytes pack_lzma(struct bytes in, bool xz)
{
    lzma_stream z = LZMA_STREAM_INIT;
    lzma_options_lzma opt;
    lzma_lzma_preset(&opt, 0);
    lzma_ret rc = xz ? lzma_easy_encoder(&z, 0, LZMA_CHECK_CRC32) : lzma_alone_encoder(&z, &opt);
    assert_int_equal(rc, LZMA_OK);
    struct bytes out = {.p = malloc(in.len * 2 + 4096), .len = in.len * 2 + 4096};
    z.next_in = in.p;
    z.avail_in = in.len;
    z.next_out = out.p;
    z.avail_out = out.len;
    assert_int_equal(lzma_code(&z, LZMA_FINISH), LZMA_STREAM_END);
    out.len = z.total_out;
    lzma_end(&z);
    return out;
}

static struct bytes pack_zstd(struct bytes in)
{
    struct bytes out = {.len = ZSTD_compressBound(in.len)};
    out.p = malloc(out.len);
    out.len = ZSTD_compress(out.p, out.len, in.p, in.len, 1);
    assert_false(ZSTD_isError(out.len));
    return out;
}

static struct bytes pack_lz4(struct bytes in)
{
    const size_t block = 8u << 20;
    struct bytes out = {.p = malloc(in.len + in.len / 100 + 4096), .len = 4};
    memcpy(out.p, "\002\041\114\030", 4);
    for (size_t at = 0; at < in.len; at += block) {
        int n = (int)min_u64(block, in.len - at);
        int packed = LZ4_compress_default((const char *)in.p + at, (char *)out.p + out.len + 4, n,
                                          LZ4_compressBound(n));
        assert_true(packed > 0);
        store(out.p + out.len, (unsigned)packed, 4);
        out.len += 4 + (unsigned)packed;
    }
    return out;
}

static struct bytes pack(enum compression kind, struct bytes in)
{
    switch (kind) {
    case COMPRESSION_GZIP:
        return pack_gzip(in);
    case COMPRESSION_XZ:
        return pack_lzma(in, true);
    case COMPRESSION_LZMA:
        return pack_lzma(in, false);
    case COMPRESSION_ZSTD:
        return pack_zstd(in);
    default:
        return pack_lz4(in);
    }
}

#define SETUP_SECTS 4u
#define PAYLOAD_OFF 0x2ccu
#define PAYLOAD_AT ((SETUP_SECTS + 1) * 512 + PAYLOAD_OFF)

/** Put a payload into a bzImage; size, when not 0, goes behind it. */
static struct bytes make_bzimage(struct bytes payload, uint32_t size)
{
    size_t tail = size ? 4 : 0;
    struct bytes b = {.len = PAYLOAD_AT + payload.len + tail};
    b.p = calloc(1, b.len);
    b.p[0] = 'M';
    b.p[1] = 'Z';
    b.p[0x1f1] = SETUP_SECTS;
    store(b.p + 0x1fe, 0xaa55, 2);
    store(b.p + 0x200, 0x6aeb, 2); /* jmp over the header: it ends at 0x26c */
    memcpy(b.p + 0x202, "HdrS", 4);
    store(b.p + 0x206, 0x20f, 2);
    store(b.p + 0x20e, 0x300, 2);
    strcpy((char *)b.p + 0x500, "9.9.9-test (a@b) #1");
    b.p[0x211] = 1;
    store(b.p + 0x22c, 0x7fffffff, 4);
    store(b.p + 0x236, 0x7f, 2);
    store(b.p + 0x238, 2047, 4);
    store(b.p + 0x248, PAYLOAD_OFF, 4);
    store(b.p + 0x24c, payload.len + tail, 4);
    memcpy(b.p + PAYLOAD_AT, payload.p, payload.len);
    store(b.p + PAYLOAD_AT + payload.len, size, (unsigned)tail);
    return b;
}

static struct bytes make_packed(enum compression kind, size_t elf_len)
{
    struct bytes elf = make_elf(elf_len);
    struct bytes packed = pack(kind, elf);
    struct bytes b = make_bzimage(packed, kind == COMPRESSION_GZIP ? 0 : (uint32_t)elf.len);
    free(packed.p);
    free(elf.p);
    return b;
}

/* ---- loading them ---- */

static struct ram make_ram(uint64_t size)
{
    struct ram ram = {.size = size, .fd = -1};
    ram.base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(ram.base, MAP_FAILED);
    return ram;
}

static void drop_ram(struct ram *ram)
{
    munmap(ram->base, ram->size);
}

static int load(const struct ram *ram, struct bytes file, struct kernel_image *out,
                struct boot_error *err)
{
    struct kernel_file f = {.bytes = file.p, .len = file.len, .name = "some/kernel"};
    int rc = kernel_image_load(ram, &f, out, err);
    if (rc == 0) {
        assert_string_equal(err->text, "");
        assert_true(out->start.v >= LAYOUT_LOW_END && out->end.v <= ram->size);
        assert_true(out->entry.v >= out->start.v && out->entry.v < out->end.v);
    } else {
        assert_true(rc < 0);
        assert_ptr_equal(strstr(err->text, "some/kernel: "), err->text);
        assert_null(strchr(err->text, '\n'));
    }
    return rc;
}

/** Load a file that must fail with code (0: must not) and a text with `part` in it. Frees it. */
static void expect_failure(struct bytes file, uint64_t ram_size, int code, const char *part)
{
    struct ram ram = make_ram(ram_size);
    struct kernel_image k;
    struct boot_error err;
    int rc = load(&ram, file, &k, &err);
    if (rc != -code || !strstr(err.text, part)) {
        fail_msg("wanted %d \"%s\", got %d \"%s\"", -code, part, rc, err.text);
    }
    drop_ram(&ram);
    free(file.p);
}

/** RAM holds the segments of make_elf(len) and nothing else. */
static void check_loaded(const struct ram *ram, const struct kernel_image *k, size_t len)
{
    struct bytes elf = make_elf(len);
    assert_int_equal(k->entry.v, CODE_GPA + 0x10);
    assert_int_equal(k->start.v, CODE_GPA);
    assert_int_equal(k->end.v, DATA_GPA + DATA_MEM);
    assert_int_equal(k->loaded, CODE_LEN - 0x1000 + DATA_LEN);
    assert_memory_equal(ram->base + CODE_GPA, elf.p + CODE_OFF, CODE_LEN);
    assert_memory_equal(ram->base + DATA_GPA, elf.p + data_off(len), DATA_LEN);
    uint8_t *rest = calloc(1, ram->size);
    memcpy(rest + CODE_GPA, elf.p + CODE_OFF, CODE_LEN);
    memcpy(rest + DATA_GPA, elf.p + data_off(len), DATA_LEN);
    assert_int_equal(memcmp(rest, ram->base, ram->size), 0);
    free(rest);
    free(elf.p);
}

static void test_plain_elf(void **state)
{
    (void)state;
    struct ram ram = make_ram(4 * MB);
    struct bytes elf = make_elf(ELF_END + 100);
    struct kernel_image k;
    struct boot_error err;
    assert_int_equal(load(&ram, elf, &k, &err), 0);
    assert_int_equal(k.kind, KERNEL_ELF);
    assert_int_equal(k.cmdline_max, 2047);
    assert_string_equal(k.compression, "none");
    check_loaded(&ram, &k, elf.len);
    free(elf.p);
    drop_ram(&ram);
}

static void test_zero_pages_are_skipped(void **state)
{
    (void)state;
    struct ram ram = make_ram(4 * MB);
    memset(ram.base, 0xaa, ram.size);
    struct bytes elf = make_elf(ELF_END);
    struct kernel_image k;
    struct boot_error err;
    assert_int_equal(load(&ram, elf, &k, &err), 0);
    for (unsigned i = 0; i < 0x1000; i++) {
        assert_int_equal(ram.base[CODE_GPA + 0x1000 + i], 0xaa);
    }
    assert_memory_equal(ram.base + CODE_GPA + 0x2000, elf.p + CODE_OFF + 0x2000, 0x2000);
    assert_int_equal(ram.base[DATA_GPA + DATA_LEN], 0xaa); /* bss */
    free(elf.p);
    drop_ram(&ram);
}

static const enum compression all_kinds[] = {
    COMPRESSION_GZIP, COMPRESSION_XZ, COMPRESSION_LZMA, COMPRESSION_ZSTD, COMPRESSION_LZ4,
};

static void test_every_compression(void **state)
{
    (void)state;
    static const size_t lengths[] = {ELF_END, ELF_END + 777, BIG_END};
    for (size_t i = 0; i < ARRAY_LEN(all_kinds) * ARRAY_LEN(lengths); i++) {
        enum compression kind = all_kinds[i % ARRAY_LEN(all_kinds)];
        struct bytes file = make_packed(kind, lengths[i / ARRAY_LEN(all_kinds)]);
        struct ram ram = make_ram(4 * MB);
        struct kernel_image k;
        struct boot_error err;
        assert_int_equal(load(&ram, file, &k, &err), 0);
        assert_int_equal(k.kind, KERNEL_BZIMAGE);
        assert_string_equal(k.compression, compression_name(kind));
        assert_string_equal(k.version, "9.9.9-test (a@b) #1");
        assert_int_equal(k.initrd_max, 0x7fffffff);
        assert_int_equal(k.setup_header_len, 0x26c - 0x1f1);
        check_loaded(&ram, &k, lengths[i / ARRAY_LEN(all_kinds)]);
        free(file.p);
        drop_ram(&ram);
    }
}

static void test_truncated_anywhere(void **state)
{
    (void)state;
    struct ram ram = make_ram(4 * MB);
    for (size_t i = 0; i <= ARRAY_LEN(all_kinds); i++) {
        struct bytes whole =
            i < ARRAY_LEN(all_kinds) ? make_packed(all_kinds[i], ELF_END) : make_elf(ELF_END);
        for (size_t len = 0; len < whole.len; len += len < 0x300 ? 1 : 61) {
            struct bytes file = bytes_of(whole.p, len);
            struct kernel_image k;
            struct boot_error err;
            assert_int_not_equal(load(&ram, file, &k, &err), 0);
            free(file.p);
        }
        free(whole.p);
    }
    drop_ram(&ram);
}

/** A payload cut short inside a container that is whole: every decoder must notice. */
static void test_truncated_payload(void **state)
{
    (void)state;
    struct ram ram = make_ram(4 * MB);
    for (size_t i = 0; i < ARRAY_LEN(all_kinds); i++) {
        struct bytes elf = make_elf(ELF_END);
        struct bytes packed = pack(all_kinds[i], elf);
        for (size_t len = 16; len + 4 < packed.len; len += 97) {
            struct bytes file = make_bzimage((struct bytes){packed.p, len}, ELF_END);
            struct kernel_image k;
            struct boot_error err;
            assert_int_equal(load(&ram, file, &k, &err), -BOOT_ENOEXEC);
            assert_non_null(strstr(err.text, "damaged"));
            free(file.p);
        }
        free(packed.p);
        free(elf.p);
    }
    drop_ram(&ram);
}

/** Every header byte set to odd values, one at a time: an error or a sound result, never worse. */
static void test_corrupt_headers(void **state)
{
    (void)state;
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    struct ram ram = make_ram(4 * MB);
    struct bytes files[] = {make_elf(ELF_END), make_packed(COMPRESSION_LZ4, ELF_END)};
    const size_t from[] = {0, 0x1f1}, to[] = {64 + 3 * 56, PAYLOAD_AT + 32};
    for (size_t f = 0; f < ARRAY_LEN(files); f++) {
        for (size_t at = from[f]; at < to[f]; at++) {
            uint8_t was = files[f].p[at];
            for (size_t v = 0; v < ARRAY_LEN(values); v++) {
                struct kernel_image k;
                struct boot_error err;
                files[f].p[at] = values[v];
                (void)load(&ram, files[f], &k, &err);
            }
            files[f].p[at] = was;
        }
        free(files[f].p);
    }
    drop_ram(&ram);
}

/* ---- what is said about the wrong file ---- */

static void test_not_a_kernel(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *part;
    } cases[] = {
        {"", 0, "an empty file"},
        {"\037\213\010\0abcdefgh", 12, "a gzip file"},
        {"\375" "7zXZ\0\0\0", 8, "an xz file"},
        {"\050\265\057\375\0\0", 6, "a zstd file"},
        {"#!/bin/sh\n", 10, "a script"},
        {"MZ\220\0\3\0\0\0", 8, "EFI"},
        {"07070100000000", 14, "initrd"},
        {"QFI\373\0\0\0\3", 8, "qcow2"},
        {"!<arch>\ndebian-binary", 21, "Debian package"},
        {"hello\nworld\n", 12, "a text file"},
        {"\0\0\0\0\0\0", 6, "all zeros"},
        {"\001\002\003\0\004", 5, "unknown data"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_failure(bytes_of(cases[i].bytes, cases[i].len), 4 * MB, BOOT_ENOEXEC, cases[i].part);
    }
    struct bytes disk = {.p = calloc(1, 4096), .len = 4096};
    store(disk.p + 510, 0xaa55, 2);
    expect_failure(disk, 4 * MB, BOOT_ENOEXEC, "a disk image");
}

/** Change `bytes` bytes of a good ELF at `at` and expect an error, or success when code is 0. */
static void expect_bad_elf(size_t at, uint64_t value, unsigned bytes, int code, const char *part)
{
    struct bytes elf = make_elf(ELF_END);
    store(elf.p + at, value, bytes);
    expect_failure(elf, 4 * MB, code, part);
}

static void test_bad_elf(void **state)
{
    (void)state;
    const size_t ph0 = 64, ph1 = 64 + 56, ph2 = 64 + 112;
    expect_bad_elf(4, 1, 1, BOOT_ENOTSUP, "32-bit");
    expect_bad_elf(18, 3, 2, BOOT_ENOTSUP, "32-bit");
    expect_bad_elf(18, 183, 2, BOOT_ENOTSUP, "arm64");
    expect_bad_elf(5, 2, 1, BOOT_ENOTSUP, "big-endian");
    expect_bad_elf(16, 1, 2, BOOT_ENOEXEC, "module");
    expect_bad_elf(16, 4, 2, BOOT_ENOEXEC, "core dump");
    expect_bad_elf(54, 32, 2, BOOT_ENOEXEC, "program headers");
    expect_bad_elf(56, 0xffff, 2, BOOT_ENOEXEC, "program headers");
    expect_bad_elf(32, ~0ull - 10, 8, BOOT_ENOEXEC, "program headers");
    expect_bad_elf(56, 0, 2, BOOT_ENOEXEC, "nothing to load");
    expect_bad_elf(ph2, 3, 4, BOOT_ENOEXEC, "dynamically linked");
    expect_bad_elf(24, 0xffffffff80000000ull, 8, BOOT_ENOEXEC, "entry point");
    expect_bad_elf(24, DATA_GPA + DATA_LEN, 8, BOOT_ENOEXEC, "entry point"); /* in bss */
    expect_bad_elf(ph1 + 40, 5, 8, BOOT_ENOEXEC, "more bytes than memory");
    expect_bad_elf(ph1 + 8, ELF_END, 8, BOOT_ENOEXEC, "truncated");
    expect_bad_elf(ph1 + 8, ~0ull, 8, BOOT_ENOEXEC, "truncated");
    expect_bad_elf(ph1 + 24, 0xffffffff80000000ull, 8, BOOT_EFAULT, "below 3 GB");
    expect_bad_elf(ph1 + 40, ~0ull, 8, BOOT_EFAULT, "below 3 GB");
    expect_bad_elf(ph1 + 24, 0x7000, 8, BOOT_EFAULT, "boot structures");
    expect_bad_elf(ph1 + 24, 0xd0000, 8, BOOT_EFAULT, "boot structures");
    expect_bad_elf(ph1 + 32, DATA_LEN + 1, 8, BOOT_ENOEXEC, "truncated");
    expect_bad_elf(ph1 + 24, CODE_GPA + CODE_LEN - 1, 8, BOOT_ENOEXEC, "overlap");
    expect_bad_elf(ph1 + 24, CODE_GPA - DATA_MEM + 1, 8, BOOT_ENOEXEC, "overlap");
    expect_bad_elf(ph1 + 24, CODE_GPA - DATA_MEM, 8, 0, ""); /* side by side */
    expect_bad_elf(ph1 + 24, 0x20000, 8, 0, "");
    expect_bad_elf(ph1 + 24, 0x1ffff, 8, BOOT_EFAULT, "boot structures");
    expect_bad_elf(ph1 + 24, 4 * MB - DATA_MEM, 8, 0, ""); /* up to the last byte of RAM */
    expect_bad_elf(ph1 + 24, 4 * MB - DATA_MEM + 1, 8, BOOT_ENOMEM, "use -m 8M");
    expect_bad_elf(ph1 + 40, 60 * MB, 8, BOOT_ENOMEM, "use -m 128M");
    expect_bad_elf(ph0 + 24, 0x20000, 8, BOOT_ENOEXEC, "entry point"); /* allowed, but it moved */
}

/** Change bytes of a good lz4 bzImage and expect an error. */
static void expect_bad_bzimage(size_t at, uint64_t value, unsigned bytes, int code,
                               const char *part)
{
    struct bytes file = make_packed(COMPRESSION_LZ4, ELF_END);
    store(file.p + at, value, bytes);
    expect_failure(file, 4 * MB, code, part);
}

static void test_bad_bzimage(void **state)
{
    (void)state;
    expect_bad_bzimage(0x236, 0x7e, 2, BOOT_ENOTSUP, "32-bit");
    expect_bad_bzimage(0x206, 0x207, 2, BOOT_ENOTSUP, "boot protocol 2.07");
    expect_bad_bzimage(0x248, 0xffffffff, 4, BOOT_ENOEXEC, "truncated");
    expect_bad_bzimage(0x24c, 0xffffffff, 4, BOOT_ENOEXEC, "truncated");
    expect_bad_bzimage(0x24c, 3, 4, BOOT_ENOEXEC, "damaged");
    expect_bad_bzimage(PAYLOAD_AT, 0x4f5a4c89, 4, BOOT_ENOTSUP, "packed with lzo");
    expect_bad_bzimage(PAYLOAD_AT, 0x39685a42, 4, BOOT_ENOTSUP, "packed with bzip2");
    expect_bad_bzimage(PAYLOAD_AT, 0x04030201, 4, BOOT_ENOTSUP, "begins with 01 02 03 04");

    struct bytes elf = make_elf(ELF_END);
    static const uint32_t wrong_sizes[] = {1, ELF_END - 1, ELF_END + 1, 1u << 30};
    for (size_t i = 0; i < ARRAY_LEN(all_kinds) * ARRAY_LEN(wrong_sizes); i++) {
        enum compression kind = all_kinds[i % ARRAY_LEN(all_kinds)];
        struct bytes packed = pack(kind, elf);
        uint32_t size = wrong_sizes[i / ARRAY_LEN(all_kinds)];
        const char *part = size < ELF_END ? "more than the promised" : "breaks off";
        expect_failure(make_bzimage(packed, size), 4 * MB, BOOT_ENOEXEC, part);
        free(packed.p);
    }
    struct bytes packed = pack(COMPRESSION_ZSTD, elf);
    expect_failure(make_bzimage(packed, (1u << 30) + 1), 4 * MB, BOOT_ENOEXEC, "claims to unpack");
    free(packed.p);
    memset(elf.p, 'x', 64);
    packed = pack(COMPRESSION_ZSTD, elf);
    expect_failure(make_bzimage(packed, ELF_END), 4 * MB, BOOT_ENOEXEC, "not an ELF");
    free(packed.p);
    free(elf.p);
}

static void test_long_name(void **state)
{
    (void)state;
    char name[1000];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = 0;
    struct ram ram = make_ram(4 * MB);
    struct kernel_file f = {.bytes = NULL, .len = 0, .name = name};
    struct kernel_image k;
    struct boot_error err;
    assert_int_equal(kernel_image_load(&ram, &f, &k, &err), -BOOT_ENOEXEC);
    assert_non_null(strstr(err.text, "n: not a kernel but an empty file; give"));
    drop_ram(&ram);
}

/* ---- real kernels ---- */

static struct bytes read_whole(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fail_msg("%s: %s", path, strerror(errno));
    }
    fseek(f, 0, SEEK_END);
    struct bytes b = {.len = (size_t)ftell(f)};
    b.p = malloc(b.len);
    rewind(f);
    assert_int_equal(fread(b.p, 1, b.len, f), b.len);
    fclose(f);
    return b;
}

static void test_real_kernels(void **state)
{
    (void)state;
    const char *list = getenv("RING3_TEST_KERNELS");
    if (!list) {
        skip();
    }
    char *paths = strdup(list), *rest = paths;
    for (char *path; (path = strsep(&rest, ":"));) {
        struct bytes file = read_whole(path);
        struct ram ram = make_ram(256 * MB);
        struct kernel_image k;
        struct boot_error err;
        int rc = load(&ram, file, &k, &err);
        if (rc) {
            fail_msg("%s", err.text);
        }
        assert_int_equal(k.entry.v % (2 * MB), 0); /* startup_64 begins the image */
        /* The kernel's own banner must have arrived. */
        char banner[96];
        int len = (int)strcspn(k.version, " ");
        snprintf(banner, sizeof(banner), "Linux version %.*s", len, k.version);
        assert_non_null(memmem(ram.base + k.start.v, k.end.v - k.start.v, banner, strlen(banner)));
        free(file.p);
        file = read_whole(path);
        expect_failure(file, 32 * MB, BOOT_ENOMEM, "use -m 128M");
        drop_ram(&ram);
    }
    free(paths);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_elf),
        cmocka_unit_test(test_zero_pages_are_skipped),
        cmocka_unit_test(test_every_compression),
        cmocka_unit_test(test_truncated_anywhere),
        cmocka_unit_test(test_truncated_payload),
        cmocka_unit_test(test_corrupt_headers),
        cmocka_unit_test(test_not_a_kernel),
        cmocka_unit_test(test_bad_elf),
        cmocka_unit_test(test_bad_bzimage),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_real_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
