/* See dsdt.h. Device ids: ACPI 6.4 "Device Identification" §5.6.7, PCI Firmware 3.2 §4.1.2. */
#include "dev/acpi/dsdt.h"

#include "dev/power.h"

_Static_assert(ACPI_SLEEP_S5 == POWER_SLEEP_S5, "the machine's idea of _S5");

#define UART_PORTS 8
#define NOTIFY_PRESSED 0x80

/** Name (_S5, Package () {5, 0, 0, 0}): SLP_TYP 5 turns the machine off. */
static void emit_s5(struct aml *a)
{
    aml_name(a, "_S5_");
    uint32_t package = aml_package(a, 4);
    aml_integer(a, (ACPI_SLEEP_S5 >> 2) & 7);
    aml_integer(a, 0);
    aml_integer(a, 0);
    aml_integer(a, 0);
    aml_end(a, package);
}

static uint32_t begin_device(struct aml *a, const char *name, const char *pnp_id)
{
    uint32_t device = aml_device(a, name);
    aml_name(a, "_HID");
    aml_eisa_id(a, pnp_id);
    return device;
}

static void emit_com1(struct aml *a, const struct acpi_config *config)
{
    uint32_t device = begin_device(a, "COM1", "PNP0501");
    aml_name_integer(a, "_UID", 0);
    aml_name(a, "_CRS");
    uint32_t resources = aml_resources(a);
    aml_res_io(a, config->com1_port, UART_PORTS);
    aml_res_interrupt(a, config->com1_gsi);
    aml_resources_end(a, resources);
    aml_end(a, device);
}

/** A control-method power button, pressed through a Generic Event Device: the way of machines
 *  without the fixed registers (ACPI 6.4 §4.1.1.1, §5.6.9). */
static void emit_power_button(struct aml *a, const struct acpi_config *config)
{
    uint32_t button = begin_device(a, "PWRB", "PNP0C0C");
    aml_end(a, button);

    uint32_t events = aml_device(a, "GED_");
    aml_name(a, "_HID");
    aml_string(a, "ACPI0013");
    aml_name(a, "_CRS");
    uint32_t resources = aml_resources(a);
    aml_res_interrupt(a, config->power_button_gsi);
    aml_resources_end(a, resources);
    uint32_t method = aml_method(a, "_EVT", 1, true); /* one interrupt: no need to look which */
    aml_notify(a, "PWRB", NOTIFY_PRESSED);
    aml_end(a, method);
    aml_end(a, events);
}

/** Reserve ECAM in a motherboard resource: Linux ignores an MCFG without it (FACTS §0.6). */
static void emit_ecam(struct aml *a, const struct acpi_config *config)
{
    uint32_t device = begin_device(a, "ECAM", "PNP0C02");
    aml_name_integer(a, "_UID", 1);
    aml_name(a, "_CRS");
    uint32_t resources = aml_resources(a);
    aml_res_memory32(a, (uint32_t)config->ecam_base.v, config->ecam_buses << 20);
    aml_resources_end(a, resources);
    aml_end(a, device);
}

static void emit_pci_host(struct aml *a, const struct acpi_config *config)
{
    uint32_t device = begin_device(a, "PCI0", "PNP0A08"); /* PCI Express, or else plain PCI */
    aml_name(a, "_CID");
    aml_eisa_id(a, "PNP0A03");
    aml_name_integer(a, "_SEG", 0);
    aml_name_integer(a, "_BBN", 0);
    aml_name_integer(a, "_UID", 0);
    aml_name(a, "_CRS");
    uint32_t resources = aml_resources(a);
    aml_res_buses(a, config->ecam_buses);
    aml_res_memory_window(a, (uint32_t)config->mmio_base.v, config->mmio_size);
    aml_resources_end(a, resources);
    aml_end(a, device);
}

void dsdt_emit(struct aml *a, const struct acpi_config *config)
{
    emit_s5(a);
    uint32_t scope = aml_scope(a, "_SB_");
    if (config->com1_port) {
        emit_com1(a, config);
    }
    if (config->power_button_gsi) {
        emit_power_button(a, config);
    }
    if (config->ecam_buses) {
        emit_ecam(a, config);
        emit_pci_host(a, config);
    }
    aml_end(a, scope);
}
