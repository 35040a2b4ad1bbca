/* The boot state: src/boot/linux.h. Loading is in test_boot.c; here a kernel is taken as loaded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "boot/bytes.h"
#include "boot/linux.h"
#include "boot/linux_abi.h"
#include "x86/arch.h"

#define MB (1ull << 20)

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

/** A test guest between 2 MB and 3 MB. */
static const struct kernel_image small_guest = {
    .kind = KERNEL_ELF, .entry = {2 * MB + 0x10}, .start = {2 * MB}, .end = {3 * MB},
    .cmdline_max = 2047, .initrd_max = 0x7fffffff,
};

/** The same as a bzImage, whose header has values that must not survive. */
static struct kernel_image make_bzimage(void)
{
    struct linux_setup_header hdr = {
        .setup_sects = 39, .boot_flag = 0xaa55, .magic = BOOT_HEADER_MAGIC, .version = 0x20c,
        .loadflags = 0xe3, /* with KASLR_FLAG */
        .xloadflags = 0x7f, .cmdline_size = 2047, .initrd_addr_max = 0x7fffffff,
        .setup_data = 0xdeadbeef, .cmd_line_ptr = 0xdeadbeef, .ramdisk_image = 0xdeadbeef,
        .ramdisk_size = 0xdeadbeef, .init_size = 0x123000,
    };
    struct kernel_image k = small_guest;
    k.kind = KERNEL_BZIMAGE;
    k.setup_header_len = 0x26c - 0x1f1;
    memcpy(k.setup_header, &hdr, k.setup_header_len);
    return k;
}

static void test_initrd_place(void **state)
{
    (void)state;
    static const struct {
        uint64_t ram_mb, kernel_mb, kernel_end_mb, initrd_max, len;
        uint64_t place; /* 0: fails */
        const char *part;
    } cases[] = {
        {256, 16, 62, 0x7fffffff, 1, 256 * MB - 4096, ""},
        {256, 16, 62, 0x7fffffff, 4097, 256 * MB - 8192, ""},
        {256, 16, 62, 0x7fffffff, 194 * MB, 62 * MB, ""},
        {256, 16, 62, 0x7fffffff, 194 * MB + 1, 0, "use -m 1024M"},
        {64, 16, 62, 0x7fffffff, 15 * MB, 1 * MB, ""}, /* only below the kernel is room */
        {64, 16, 62, 0x7fffffff, 16 * MB, 0, "use -m 256M"},
        {8192, 16, 62, 0x7fffffff, MB, 0x80000000 - MB, ""},
        {8192, 16, 62, 0xffffffff, MB, 0xc0000000 - MB, ""},
        {8192, 16, 62, 0x37ffffff, MB, 0x38000000 - MB, ""},
        {8192, 16, 62, 0x7fffffff, 2048 * MB, 0, "too large"},
        {8192, 16, 62, 0, 1, 0, "too large"},
        {256, 16, 62, 0x7fffffff, ~0ull - 5, 0, "too large"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ram ram = {.size = cases[i].ram_mb * MB, .fd = -1};
        struct kernel_image k = {.start = gpa(cases[i].kernel_mb * MB),
                                 .end = gpa(cases[i].kernel_end_mb * MB - 100),
                                 .initrd_max = cases[i].initrd_max};
        gpa_t where = gpa(0);
        struct boot_error err = {.text = ""};
        int rc = boot_place_initrd(&ram, &k, cases[i].len, "initrd.img", &where, &err);
        assert_int_equal(rc, cases[i].place ? 0 : -BOOT_ENOMEM);
        assert_int_equal(where.v, cases[i].place);
        assert_non_null(strstr(err.text, cases[i].part));
    }
}

static const uint8_t seed[BOOT_RNG_SEED_LEN] = "0123456789abcdef0123456789abcde";

/** Walk the page tables in RAM; returns the physical address, or ~0 if not mapped. */
static uint64_t walk(const struct ram *ram, uint64_t cr3, uint64_t va)
{
    uint64_t entry = cr3;
    for (int shift = 39; shift >= 12; shift -= 9) {
        const uint8_t *table = ram_span(ram, gpa(entry & PTE_ADDR), PAGE_SIZE);
        assert_non_null(table);
        entry = load_le64(table + bits(va, (unsigned)shift, 9) * 8);
        if (!(entry & PTE_P)) {
            return ~0ull;
        }
        assert_true((entry & (PTE_W | PTE_A | PTE_NX | PTE_U)) == (PTE_W | PTE_A));
        if (entry & PTE_PS) {
            return align_down(entry & PTE_ADDR, 1ull << shift) + bits(va, 0, (unsigned)shift);
        }
    }
    return ~0ull;
}

static void check_entry(const struct ram *ram, const struct boot_entry *e)
{
    assert_int_equal(e->rsi, LAYOUT_BOOT_PARAMS);
    static const uint64_t addresses[] = {0, 0x7000, 0x1000010, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        assert_int_equal(walk(ram, e->cr3, addresses[i]), addresses[i]);
    }
    assert_int_equal(walk(ram, e->cr3, 1ull << 32), ~0ull);
    const uint8_t *gdt = ram_span(ram, gpa(e->gdt_base), e->gdt_limit + 1u);
    assert_non_null(gdt);
    assert_int_equal(load_le64(gdt + e->cs), 0x00af9b000000ffff);
    assert_int_equal(load_le64(gdt + e->ds), 0x00cf93000000ffff);
    assert_int_equal(e->gdt_limit, 31);
    assert_true(e->cs == 0x10 && e->ds == 0x18);
}

static void check_e820(const struct boot_params *bp, unsigned i, uint64_t start, uint64_t end,
                       unsigned type)
{
    assert_true(i < bp->e820_entries);
    assert_int_equal(bp->e820_table[i].start, start);
    assert_int_equal(bp->e820_table[i].start + bp->e820_table[i].size, end);
    assert_int_equal(bp->e820_table[i].type, type);
}

static void test_boot_state_bzimage(void **state)
{
    (void)state;
    struct ram ram = make_ram(5120 * MB);
    struct kernel_image k = make_bzimage();
    struct boot_error err;
    gpa_t initrd;
    assert_int_equal(boot_place_initrd(&ram, &k, 5000, "initrd", &initrd, &err), 0);
    const struct boot_range ecam = {gpa(0xd0000000), 16 * MB};
    struct boot_config c = {
        .cmdline = "console=ttyS0 quiet", .initrd = initrd, .initrd_len = 5000,
        .acpi_rsdp = gpa(0xe0000), .rng_seed = seed, .reserved = &ecam, .reserved_count = 1,
    };
    struct boot_entry e;
    assert_int_equal(boot_setup(&ram, &k, &c, &e, &err), 0);
    assert_int_equal(e.rip, 2 * MB + 0x10);
    check_entry(&ram, &e);

    struct boot_params bp;
    memcpy(&bp, ram_span(&ram, gpa(e.rsi), sizeof(bp)), sizeof(bp));
    assert_int_equal(bp.sentinel, 0);
    assert_int_equal(bp.acpi_rsdp_addr, 0xe0000);
    assert_int_equal(bp.hdr.version, 0x20c);
    assert_int_equal(bp.hdr.type_of_loader, 0xff);
    assert_int_equal(bp.hdr.loadflags, 1);
    assert_int_equal(bp.hdr.xloadflags, 0x7f);
    assert_int_equal(bp.hdr.init_size, 0x123000);
    assert_int_equal(bp.hdr.ramdisk_image, initrd.v);
    assert_int_equal(bp.hdr.ramdisk_size, 5000);
    assert_int_equal(bp.hdr.cmd_line_ptr, LAYOUT_CMDLINE);
    assert_int_equal(bp.ext_cmd_line_ptr | bp.ext_ramdisk_image | bp.ext_ramdisk_size, 0);
    assert_string_equal((char *)ram.base + LAYOUT_CMDLINE, "console=ttyS0 quiet");
    assert_int_equal(bp.e820_entries, 6);
    check_e820(&bp, 0, 0, 0x9fc00, E820_RAM);
    check_e820(&bp, 1, 0x9fc00, 0xa0000, E820_RESERVED);
    check_e820(&bp, 2, 0xe0000, 0x100000, E820_RESERVED);
    check_e820(&bp, 3, 0x100000, 0xc0000000, E820_RAM);
    check_e820(&bp, 4, 0x100000000, 0x180000000, E820_RAM);
    check_e820(&bp, 5, 0xd0000000, 0xd1000000, E820_RESERVED);
    const uint8_t *node = ram.base + bp.hdr.setup_data;
    assert_int_equal(load_le64(node), 0);
    assert_int_equal(load_le32(node + 8), 9);
    assert_int_equal(load_le32(node + 12), sizeof(seed));
    assert_memory_equal(node + 16, seed, sizeof(seed));
    drop_ram(&ram);
}

static void test_boot_state_small_guest(void **state)
{
    (void)state;
    struct ram ram = make_ram(4 * MB);
    const struct kernel_image k = small_guest;
    struct boot_error err;
    struct boot_config c = {.cmdline = ""};
    struct boot_entry e;
    assert_int_equal(boot_setup(&ram, &k, &c, &e, &err), 0);
    check_entry(&ram, &e);
    struct boot_params bp;
    memcpy(&bp, ram_span(&ram, gpa(e.rsi), sizeof(bp)), sizeof(bp));
    assert_int_equal(bp.hdr.boot_flag, 0xaa55);
    assert_memory_equal(&bp.hdr.magic, "HdrS", 4);
    assert_int_equal(bp.hdr.setup_data | bp.hdr.ramdisk_image | bp.hdr.ramdisk_size, 0);
    assert_int_equal(bp.hdr.cmdline_size, 2047);
    assert_int_equal(bp.e820_entries, 4);
    check_e820(&bp, 3, 0x100000, 4 * MB, E820_RAM);
    drop_ram(&ram);
}

static void test_boot_setup_refuses(void **state)
{
    (void)state;
    struct ram ram = make_ram(4 * MB);
    const struct kernel_image k = small_guest;
    struct boot_error err;
    struct boot_entry e;
    char line[2049];
    memset(line, 'a', sizeof(line));
    line[2048] = 0;
    struct boot_config c = {.cmdline = line};
    assert_int_equal(boot_setup(&ram, &k, &c, &e, &err), -BOOT_E2BIG);
    assert_non_null(strstr(err.text, "2048 characters, this kernel takes 2047"));
    line[2047] = 0;
    assert_int_equal(boot_setup(&ram, &k, &c, &e, &err), 0);

    static const gpa_t bad_places[] = {{0x5000}, {3 * MB - 1}, {4 * MB - 10}, {1ull << 32}};
    for (size_t i = 0; i < ARRAY_LEN(bad_places); i++) {
        c = (struct boot_config){.cmdline = "", .initrd = bad_places[i], .initrd_len = 20};
        assert_int_equal(boot_setup(&ram, &k, &c, &e, &err), -BOOT_EINVAL);
    }
    struct boot_range range = {gpa(~0ull), 2};
    c = (struct boot_config){.cmdline = "", .reserved = &range, .reserved_count = 1};
    assert_int_equal(boot_setup(&ram, &k, &c, &e, &err), -BOOT_EINVAL);
    c.reserved_count = BOOT_MAX_RESERVED + 1;
    assert_int_equal(boot_setup(&ram, &k, &c, &e, &err), -BOOT_EINVAL);
    struct ram tiny = {.base = ram.base, .size = MB, .fd = -1};
    c = (struct boot_config){.cmdline = ""};
    assert_int_equal(boot_setup(&tiny, &k, &c, &e, &err), -BOOT_ENOMEM);
    drop_ram(&ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_initrd_place),
        cmocka_unit_test(test_boot_state_bzimage),
        cmocka_unit_test(test_boot_state_small_guest),
        cmocka_unit_test(test_boot_setup_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
