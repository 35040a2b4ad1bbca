/* The ACPI tables and the AML emitter: src/dev/acpi.
 *
 * The expected AML bytes were checked with iasl: disassembled and compiled again they come out the
 * same.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/bytes.h"
#include "dev/acpi/acpi.h"
#include "dev/acpi/aml.h"

_Static_assert(ACPI_EFAULT == EFAULT && ACPI_EINVAL == EINVAL && ACPI_ENOSPC == ENOSPC, "errno");

#define AREA 0xe0000u
#define AREA_SIZE 0x20000u
#define RAM_SIZE 0x200000u

static const struct acpi_config full = {
    .area = {AREA}, .area_size = AREA_SIZE,
    .cpus = 3, .lapic_base = {0xfee00000}, .ioapic_base = {0xfec00000}, .ioapic_id = 7,
    .ecam_base = {0xd0000000}, .ecam_buses = 256,
    .mmio_base = {0xe0000000}, .mmio_size = 0x10000000,
    .com1_port = 0x3f8, .com1_gsi = 4,
    .sleep_control_port = 0x600, .sleep_status_port = 0x601, .reset_port = 0x602, .reset_value = 9,
    .power_button_gsi = 5,
};

static struct ram make_ram(void)
{
    struct ram ram = {.base = malloc(RAM_SIZE), .size = RAM_SIZE, .fd = -1};
    assert_non_null(ram.base);
    memset(ram.base, 0xcc, RAM_SIZE);
    return ram;
}

static void check_sum(const uint8_t *p, size_t len)
{
    unsigned sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum += p[i];
    }
    assert_int_equal(sum & 0xff, 0);
}

/** The table at `where`: signature, length inside the area, checksum, ids. */
static const uint8_t *check_table(const struct ram *ram, uint64_t where, const char *signature,
                                  uint8_t revision)
{
    assert_true(where > AREA && where < AREA + AREA_SIZE - 36);
    const uint8_t *t = ram->base + where;
    assert_memory_equal(t, signature, 4);
    assert_true(load_le32(t + 4) >= 36 && load_le32(t + 4) <= AREA + AREA_SIZE - where);
    assert_int_equal(t[8], revision);
    assert_memory_equal(t + 10, "RING3 RING3VM ", 14);
    check_sum(t, load_le32(t + 4));
    return t;
}

/** The tables a guest finds from the RSDP; NULL for those the XSDT does not name. */
struct found {
    const uint8_t *fadt, *madt, *mcfg, *dsdt;
};

static struct found find_tables(const struct ram *ram, gpa_t rsdp)
{
    const uint8_t *r = ram->base + rsdp.v;
    assert_int_equal(rsdp.v % 16, 0);
    assert_memory_equal(r, "RSD PTR ", 8);
    check_sum(r, 20);
    check_sum(r, 36);
    assert_int_equal(r[15], 2);
    assert_int_equal(load_le32(r + 20), 36);
    const uint8_t *xsdt = check_table(ram, load_le64(r + 24), "XSDT", 1);
    assert_int_equal((load_le32(xsdt + 4) - 36) % 8, 0);
    struct found f = {0};
    for (unsigned at = 36; at < load_le32(xsdt + 4); at += 8) {
        uint64_t where = load_le64(xsdt + at);
        if (memcmp(ram->base + where, "FACP", 4) == 0) {
            f.fadt = check_table(ram, where, "FACP", 6);
        } else if (memcmp(ram->base + where, "APIC", 4) == 0) {
            f.madt = check_table(ram, where, "APIC", 5);
        } else {
            f.mcfg = check_table(ram, where, "MCFG", 1);
        }
    }
    assert_non_null(f.fadt);
    assert_non_null(f.madt);
    f.dsdt = check_table(ram, load_le64(f.fadt + 140), "DSDT", 2);
    return f;
}

static struct found build(struct ram *ram, const struct acpi_config *config)
{
    gpa_t rsdp = gpa(0);
    assert_int_equal(acpi_build(ram, config, &rsdp), 0);
    assert_int_equal(rsdp.v, AREA);
    return find_tables(ram, rsdp);
}

static void check_port(const uint8_t *gas, uint16_t port)
{
    const uint8_t expected[] = {1, 8, 0, 1, (uint8_t)port, (uint8_t)(port >> 8), 0, 0, 0, 0, 0, 0};
    assert_memory_equal(gas, expected, sizeof(expected));
}

static void test_fadt(void **state)
{
    (void)state;
    struct ram ram = make_ram();
    const uint8_t *t = build(&ram, &full).fadt;
    assert_int_equal(load_le32(t + 4), 276);
    assert_int_equal(load_le32(t + 36), 0); /* no FACS */
    assert_int_equal(load_le32(t + 40), load_le64(t + 140));
    assert_int_equal(load_le32(t + 112), 1u << 20 | 1u << 10 | 1u << 5 | 1u << 4);
    assert_int_equal(load_le16(t + 109), 1u << 5 | 1u << 2);
    check_port(t + 116, 0x602);
    assert_int_equal(t[128], 9);
    check_port(t + 244, 0x600);
    check_port(t + 256, 0x601);
    for (unsigned i = 48; i < 109; i++) {
        assert_int_equal(t[i], 0); /* none of the fixed hardware */
    }
    for (unsigned i = 148; i < 244; i++) {
        assert_int_equal(t[i], 0);
    }
    free(ram.base);
}

static void check_madt(unsigned cpus, bool ioapic)
{
    struct ram ram = make_ram();
    struct acpi_config c = full;
    c.cpus = cpus;
    c.ioapic_base = gpa(ioapic ? 0xfec00000 : 0);
    const uint8_t *t = build(&ram, &c).madt;
    assert_int_equal(load_le32(t + 36), 0xfee00000);
    assert_int_equal(load_le32(t + 40), 0);
    unsigned found = 0, ioapics = 0;
    const uint8_t *p = t + 44, *end = t + load_le32(t + 4);
    for (; p < end; p += p[1]) {
        if (p[0] == 0) {
            assert_true(p[1] == 8 && found <= 254 && p[2] == found && p[3] == found);
            assert_int_equal(load_le32(p + 4), 1);
            found++;
        } else if (p[0] == 9) {
            assert_true(p[1] == 16 && found >= 255 && load_le32(p + 4) == found);
            assert_true(load_le32(p + 8) == 1 && load_le32(p + 12) == found);
            found++;
        } else {
            assert_true(p[0] == 1 && p[1] == 12 && p[2] == 7 && load_le32(p + 4) == 0xfec00000);
            assert_int_equal(load_le32(p + 8), 0);
            ioapics++;
        }
    }
    assert_ptr_equal(p, end);
    assert_int_equal(found, cpus);
    assert_int_equal(ioapics, ioapic);
    free(ram.base);
}

static void test_madt(void **state)
{
    (void)state;
    check_madt(1, true);
    check_madt(2, false);
    check_madt(255, true);
    check_madt(256, true);
    check_madt(ACPI_MAX_CPUS, true);
}

static void test_mcfg(void **state)
{
    (void)state;
    struct ram ram = make_ram();
    const uint8_t *t = build(&ram, &full).mcfg;
    assert_non_null(t);
    assert_int_equal(load_le32(t + 4), 60);
    assert_int_equal(load_le64(t + 44), 0xd0000000);
    assert_int_equal(load_le32(t + 52), 0xff000000); /* segment 0, buses 0 to 255 */
    struct acpi_config c = full;
    c.ecam_buses = 0;
    assert_null(build(&ram, &c).mcfg);
    free(ram.base);
}

/** Whether the DSDT has these bytes. */
static bool has(const uint8_t *dsdt, const char *bytes, size_t len)
{
    return memmem(dsdt + 36, load_le32(dsdt + 4) - 36, bytes, len) != NULL;
}

#define HAS(dsdt, literal) has(dsdt, literal, sizeof(literal) - 1)

#define AML_S5 "\x08_S5_\x12\x07\x04\x0a\x05\x00\x00\x00"
#define AML_COM1 \
    "\x5b\x82\x31" "COM1\x08_HID\x0c\x41\xd0\x05\x01\x08_UID\x00\x08_CRS\x11\x16\x0a\x13" \
    "\x47\x01\xf8\x03\xf8\x03\x00\x08\x89\x06\x00\x03\x01\x04\x00\x00\x00\x79\x00"
#define AML_BUTTON "\x5b\x82\x0f" "PWRB\x08_HID\x0c\x41\xd0\x0c\x0c"
#define AML_EVT "\x14\x0d_EVT\x09\x86PWRB\x0a\x80"
#define AML_ECAM \
    "\x5b\x82\x2c" "ECAM\x08_HID\x0c\x41\xd0\x0c\x02\x08_UID\x01\x08_CRS\x11\x11\x0a\x0e" \
    "\x86\x09\x00\x01\x00\x00\x00\xd0\x00\x00\x00\x10\x79\x00"
#define AML_PCI0_IDS \
    "PCI0\x08_HID\x0c\x41\xd0\x0a\x08\x08_CID\x0c\x41\xd0\x0a\x03" \
    "\x08_SEG\x00\x08_BBN\x00\x08_UID\x00"
#define AML_BUSES "\x88\x0d\x00\x02\x0c\x00\x00\x00\x00\x00\xff\x00\x00\x00\x00\x01"
#define AML_WINDOW \
    "\x87\x17\x00\x00\x0c\x01\x00\x00\x00\x00\x00\x00\x00\xe0\xff\xff\xff\xef\x00\x00\x00\x00" \
    "\x00\x00\x00\x10\x79\x00"

static void test_dsdt(void **state)
{
    (void)state;
    struct ram ram = make_ram();
    const uint8_t *t = build(&ram, &full).dsdt;
    assert_true(HAS(t, AML_S5));
    assert_true(HAS(t, AML_COM1));
    assert_true(HAS(t, AML_BUTTON));
    assert_true(HAS(t, AML_EVT));
    assert_true(HAS(t, AML_ECAM));
    assert_true(HAS(t, AML_PCI0_IDS));
    assert_true(HAS(t, AML_BUSES));
    assert_true(HAS(t, AML_WINDOW));
    /* _S5, then one scope that ends with the table */
    size_t scope = 36 + sizeof(AML_S5) - 1;
    assert_int_equal(t[scope], 0x10);
    assert_int_equal(t[scope + 1] >> 6, 1);
    assert_int_equal((t[scope + 1] & 15) | t[scope + 2] << 4, load_le32(t + 4) - scope - 1);

    struct acpi_config c = full;
    c.com1_port = 0;
    c.power_button_gsi = 0;
    c.ecam_buses = 0;
    t = build(&ram, &c).dsdt;
    assert_true(HAS(t, AML_S5));
    assert_int_equal(load_le32(t + 4), 36 + sizeof(AML_S5) - 1 + 6);
    free(ram.base);
}

static void test_bad_config(void **state)
{
    (void)state;
    struct ram ram = make_ram();
    const struct {
        size_t offset, size;
        uint64_t value;
        int rc;
    } cases[] = {
#define CASE(field, value, rc) {offsetof(struct acpi_config, field), sizeof(full.field), value, rc}
        CASE(cpus, 0, -ACPI_EINVAL),
        CASE(cpus, ACPI_MAX_CPUS + 1, -ACPI_EINVAL),
        CASE(area, AREA + 8, -ACPI_EINVAL),
        CASE(area, 1ull << 32, -ACPI_EINVAL),
        CASE(area, RAM_SIZE - 16, -ACPI_EFAULT),
        CASE(area_size, 0, -ACPI_EFAULT),
        CASE(area_size, RAM_SIZE, -ACPI_EFAULT),
        CASE(area_size, 500, -ACPI_ENOSPC),
        CASE(ioapic_base, 1ull << 32, -ACPI_EINVAL),
        CASE(lapic_base, 1ull << 32, -ACPI_EINVAL),
        CASE(ecam_base, 0xd0000800, -ACPI_EINVAL),
        CASE(ecam_base, 0xf0100000, -ACPI_EINVAL),
        CASE(ecam_buses, 257, -ACPI_EINVAL),
        CASE(mmio_size, 0, -ACPI_EINVAL),
        CASE(mmio_base, 0xf0000001, -ACPI_EINVAL),
#undef CASE
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct acpi_config c = full;
        memcpy((uint8_t *)&c + cases[i].offset, &cases[i].value, cases[i].size);
        gpa_t rsdp = gpa(1);
        assert_int_equal(acpi_build(&ram, &c, &rsdp), cases[i].rc);
        assert_int_equal(rsdp.v, 1);
    }
    free(ram.base);
}

/** Whatever the room, nothing outside it is touched, and it fits or says that it does not. */
static void test_any_room(void **state)
{
    (void)state;
    struct ram ram = make_ram();
    unsigned failed = 0;
    for (uint32_t size = 1; size < 1500; size++) {
        memset(ram.base + AREA - 64, 0xcc, 2000);
        struct acpi_config c = full;
        c.area_size = size;
        gpa_t rsdp;
        int rc = acpi_build(&ram, &c, &rsdp);
        assert_true(rc == 0 || rc == -ACPI_ENOSPC);
        failed += rc != 0;
        assert_int_equal(failed, rc ? size : failed); /* once it fits, it goes on fitting */
        for (uint32_t i = 0; i < 64; i++) {
            assert_int_equal(ram.base[AREA - 64 + i], 0xcc);
            assert_int_equal(ram.base[AREA + size + i], 0xcc);
        }
    }
    assert_true(failed > 276 && failed < 1400);
    free(ram.base);
}

/* ---- the emitter ---- */

static void check_package(unsigned elements, const uint8_t *head, uint32_t head_len)
{
    static uint8_t buf[300];
    struct aml a = {.buf = buf, .cap = sizeof(buf)};
    uint32_t mark = aml_package(&a, elements);
    for (unsigned i = 0; i < elements; i++) {
        aml_integer(&a, 1);
    }
    aml_end(&a, mark);
    assert_false(a.full);
    assert_memory_equal(buf, head, head_len);
    assert_int_equal(a.len, head_len + elements);
    assert_int_equal(buf[a.len - 1], 1);
}

static void test_aml_lengths(void **state)
{
    (void)state;
    check_package(61, (const uint8_t[]){0x12, 63, 61}, 3);
    check_package(62, (const uint8_t[]){0x12, 0x41, 0x04, 62}, 4); /* 2 + 1 + 62 = 0x41 */
    check_package(250, (const uint8_t[]){0x12, 0x4d, 0x0f, 250}, 4);

    uint8_t *big = malloc(10000);
    struct aml a = {.buf = big, .cap = 10000};
    uint32_t mark = aml_scope(&a, "_SB_");
    for (unsigned i = 0; i < 5000; i++) {
        aml_integer(&a, 0);
    }
    aml_end(&a, mark);
    const uint8_t head[] = {0x10, 0x80 | (5007 & 15), (5007 >> 4) & 0xff, 5007 >> 12, '_', 'S'};
    assert_memory_equal(big, head, sizeof(head));
    assert_int_equal(a.len, 5008);
    free(big);
}

static void test_aml_data(void **state)
{
    (void)state;
    uint8_t buf[64];
    struct aml a = {.buf = buf, .cap = sizeof(buf)};
    aml_integer(&a, 0);
    aml_integer(&a, 1);
    aml_integer(&a, 0xff);
    aml_integer(&a, 0x100);
    aml_integer(&a, 0x10000);
    aml_integer(&a, 0x100000000);
    aml_eisa_id(&a, "PNP0A08");
    aml_string(&a, "hi");
    static const char expected[] = "\x00\x01\x0a\xff\x0b\x00\x01\x0c\x00\x00\x01\x00"
                                   "\x0e\x00\x00\x00\x00\x01\x00\x00\x00"
                                   "\x0c\x41\xd0\x0a\x08\x0dhi";
    assert_int_equal(a.len, sizeof(expected));
    assert_memory_equal(buf, expected, sizeof(expected));
    assert_false(a.full);
    struct aml full_up = {.buf = buf, .cap = 4};
    aml_integer(&full_up, 0x10000);
    assert_true(full_up.full);
    assert_true(full_up.len <= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fadt),       cmocka_unit_test(test_madt),
        cmocka_unit_test(test_mcfg),       cmocka_unit_test(test_dsdt),
        cmocka_unit_test(test_bad_config), cmocka_unit_test(test_any_room),
        cmocka_unit_test(test_aml_lengths), cmocka_unit_test(test_aml_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
