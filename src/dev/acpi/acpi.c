/* See acpi.h. Everything is little-endian and packed; offsets are those of the specification's
 * tables: ACPI 6.4 "RSDP" §5.2.5, "XSDT" §5.2.8, "FADT" §5.2.9, "MADT" §5.2.12; PCI Firmware 3.2
 * "MCFG" §4.1.2.
 */
#include "dev/acpi/acpi.h"

#include "base/log.h"
#include "base/string.h"
#include "dev/acpi/aml.h"
#include "dev/acpi/dsdt.h"

#define HEADER_LEN 36u
#define TABLE_ALIGN 16u
#define RSDP_LEN 36u
#define FADT_LEN 276u
#define MCFG_LEN 60u
#define XSDT_ENTRIES_MAX 3u

enum {
    FADT_DSDT = 40, FADT_BOOT_ARCH = 109, FADT_FLAGS = 112, FADT_RESET_REG = 116,
    FADT_RESET_VALUE = 128, FADT_X_DSDT = 140, FADT_SLEEP_CONTROL = 244, FADT_SLEEP_STATUS = 256,
    FADT_HYPERVISOR = 268,
};

/* FADT flags: both buttons are not fixed hardware; the reset register is there. */
#define FADT_PWR_BUTTON (1u << 4)
#define FADT_SLP_BUTTON (1u << 5)
#define FADT_RESET_REG_SUP (1u << 10)
#define FADT_HW_REDUCED (1u << 20)
#define FADT_FLAGS_SET (FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_RESET_REG_SUP | FADT_HW_REDUCED)
/* No VGA, no CMOS clock; neither legacy devices nor an 8042 (their bits are 0). */
#define BOOT_ARCH_NO_VGA (1u << 2)
#define BOOT_ARCH_NO_CMOS_RTC (1u << 5)

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_X2APIC = 9, MADT_ENABLED = 1 };

#define LAPIC_ID_MAX 254u /* 255 is everybody */

/** The tables under construction. Room is checked in `begin`, which is why nothing else does. */
struct builder {
    uint8_t *mem;
    uint32_t size, used;
    uint64_t base; /* guest-physical address of mem */
};

static void put(uint8_t *p, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint8_t checksum(const uint8_t *p, uint32_t len)
{
    uint8_t sum = 0;
    for (uint32_t i = 0; i < len; i++) {
        sum = (uint8_t)(sum + p[i]);
    }
    return (uint8_t)(0u - sum);
}

/** len zeroed bytes for the next table, or NULL. *where is their guest-physical address. */
static uint8_t *begin(struct builder *b, uint32_t len, uint64_t *where)
{
    uint32_t start = (uint32_t)align_up(b->used, TABLE_ALIGN);
    if (start > b->size || len > b->size - start) {
        return NULL;
    }
    b->used = start + len;
    *where = b->base + start;
    memset(b->mem + start, 0, len);
    return b->mem + start;
}

/** Fill in the common header over a finished table. */
static void finish(uint8_t *table, const char *signature, uint32_t len, uint8_t revision)
{
    memcpy(table, signature, 4);
    put(table + 4, len, 4);
    table[8] = revision;
    memcpy(table + 10, "RING3 ", 6);
    memcpy(table + 16, "RING3VM ", 8);
    put(table + 24, 1, 4);
    memcpy(table + 28, "RNG3", 4);
    put(table + 32, 1, 4);
    table[9] = 0;
    table[9] = checksum(table, len);
}

/** A Generic Address Structure: one byte-wide I/O port. */
static void put_port(uint8_t *gas, uint16_t port)
{
    gas[0] = 1; /* system I/O */
    gas[1] = 8; /* bits */
    gas[3] = 1; /* byte access */
    put(gas + 4, port, 8);
}

static bool build_dsdt(struct builder *b, const struct acpi_config *config, uint64_t *where)
{
    uint8_t *t = begin(b, HEADER_LEN, where);
    if (!t) {
        return false;
    }
    struct aml a = {.buf = t + HEADER_LEN, .cap = b->size - b->used};
    dsdt_emit(&a, config);
    if (a.full) {
        return false;
    }
    b->used += a.len;
    finish(t, "DSDT", HEADER_LEN + a.len, 2);
    return true;
}

static bool build_fadt(struct builder *b, const struct acpi_config *config, uint64_t dsdt,
                       uint64_t *where)
{
    uint8_t *t = begin(b, FADT_LEN, where);
    if (!t) {
        return false;
    }
    put(t + FADT_DSDT, dsdt, 4);
    put(t + FADT_X_DSDT, dsdt, 8);
    put(t + FADT_BOOT_ARCH, BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_CMOS_RTC, 2);
    put(t + FADT_FLAGS, FADT_FLAGS_SET, 4);
    put_port(t + FADT_RESET_REG, config->reset_port);
    t[FADT_RESET_VALUE] = config->reset_value;
    put_port(t + FADT_SLEEP_CONTROL, config->sleep_control_port);
    put_port(t + FADT_SLEEP_STATUS, config->sleep_status_port);
    memcpy(t + FADT_HYPERVISOR, "ring3", 5);
    finish(t, "FACP", FADT_LEN, 6);
    return true;
}

static uint32_t put_cpu(uint8_t *p, unsigned id)
{
    if (id <= LAPIC_ID_MAX) {
        p[0] = MADT_LAPIC;
        p[1] = 8;
        p[2] = (uint8_t)id; /* processor UID */
        p[3] = (uint8_t)id; /* APIC id */
        put(p + 4, MADT_ENABLED, 4);
    } else {
        p[0] = MADT_X2APIC;
        p[1] = 16;
        put(p + 4, id, 4); /* APIC id */
        put(p + 8, MADT_ENABLED, 4);
        put(p + 12, id, 4); /* processor UID */
    }
    return p[1];
}

static uint32_t madt_len(const struct acpi_config *config)
{
    unsigned small = config->cpus > LAPIC_ID_MAX ? LAPIC_ID_MAX + 1 : config->cpus;
    return HEADER_LEN + 8 + small * 8 + (config->cpus - small) * 16 +
           (config->ioapic_base.v ? 12 : 0);
}

static bool build_madt(struct builder *b, const struct acpi_config *config, uint64_t *where)
{
    uint32_t len = madt_len(config);
    uint8_t *t = begin(b, len, where);
    if (!t) {
        return false;
    }
    put(t + HEADER_LEN, config->lapic_base.v, 4); /* flags stay 0: no 8259 */
    uint8_t *p = t + HEADER_LEN + 8;
    for (unsigned i = 0; i < config->cpus; i++) {
        p += put_cpu(p, i);
    }
    if (config->ioapic_base.v) {
        p[0] = MADT_IOAPIC;
        p[1] = 12;
        p[2] = config->ioapic_id;
        put(p + 4, config->ioapic_base.v, 4);
        p += 12;
    }
    BUG_ON(p != t + len);
    finish(t, "APIC", len, 5);
    return true;
}

static bool build_mcfg(struct builder *b, const struct acpi_config *config, uint64_t *where)
{
    uint8_t *t = begin(b, MCFG_LEN, where);
    if (!t) {
        return false;
    }
    put(t + 44, config->ecam_base.v, 8); /* segment 0, from bus 0 */
    t[55] = (uint8_t)(config->ecam_buses - 1);
    finish(t, "MCFG", MCFG_LEN, 1);
    return true;
}

static void fill_xsdt(uint8_t *t, const uint64_t *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        put(t + HEADER_LEN + 8 * i, entries[i], 8);
    }
    finish(t, "XSDT", HEADER_LEN + 8 * count, 1);
}

static void fill_rsdp(uint8_t *t, uint64_t xsdt)
{
    memcpy(t, "RSD PTR ", 8);
    memcpy(t + 9, "RING3 ", 6);
    t[15] = 2;
    put(t + 20, RSDP_LEN, 4);
    put(t + 24, xsdt, 8);
    t[8] = checksum(t, 20); /* the part of revision 1 */
    t[32] = checksum(t, RSDP_LEN);
}

static bool below_4g(gpa_t start, uint64_t len)
{
    return start.v < 1ull << 32 && len <= (1ull << 32) - start.v;
}

static bool config_ok(const struct acpi_config *c)
{
    if (c->cpus < 1 || c->cpus > ACPI_MAX_CPUS || c->area.v % TABLE_ALIGN ||
        !below_4g(c->area, c->area_size) || !below_4g(c->lapic_base, PAGE_SIZE) ||
        !below_4g(c->ioapic_base, PAGE_SIZE)) {
        return false;
    }
    if (c->ecam_buses == 0) {
        return true;
    }
    return c->ecam_buses <= 256 && c->ecam_base.v % PAGE_SIZE == 0 && c->mmio_size &&
           below_4g(c->ecam_base, (uint64_t)c->ecam_buses << 20) &&
           below_4g(c->mmio_base, c->mmio_size);
}

int acpi_build(const struct ram *ram, const struct acpi_config *config, gpa_t *rsdp)
{
    if (!config_ok(config)) {
        return -ACPI_EINVAL;
    }
    struct builder b = {.size = config->area_size, .base = config->area.v};
    b.mem = b.size ? ram_span(ram, config->area, b.size) : NULL;
    if (!b.mem) {
        return -ACPI_EFAULT;
    }
    /* RSDP first, so that a guest that scans finds it at once; the DSDT last, for its length. */
    uint64_t rsdp_at, xsdt_at, dsdt_at, entries[XSDT_ENTRIES_MAX];
    uint32_t count = 0;
    uint8_t *root = begin(&b, RSDP_LEN, &rsdp_at);
    uint32_t xsdt_len = HEADER_LEN + 8 * XSDT_ENTRIES_MAX;
    uint8_t *xsdt = begin(&b, xsdt_len, &xsdt_at);
    if (!root || !xsdt || !build_madt(&b, config, &entries[1])) {
        return -ACPI_ENOSPC;
    }
    count = 2;
    if (config->ecam_buses && !build_mcfg(&b, config, &entries[count++])) {
        return -ACPI_ENOSPC;
    }
    if (!build_dsdt(&b, config, &dsdt_at) || !build_fadt(&b, config, dsdt_at, &entries[0])) {
        return -ACPI_ENOSPC;
    }
    fill_xsdt(xsdt, entries, count);
    fill_rsdp(root, xsdt_at);
    *rsdp = gpa(rsdp_at);
    return 0;
}
