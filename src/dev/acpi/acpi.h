/* The ACPI tables a guest finds: hardware-reduced, ACPI 6.4, made at start and never changed.
 *
 * RSDP rev 2 -> XSDT -> FADT rev 6, MADT, MCFG; FADT -> DSDT. There is no FACS, no SCI, no PM
 * timer. The DSDT holds _S5, COM1, the power button, the ECAM reservation and the PCI host bridge;
 * what Linux needs of all that, and why, is in FACTS §2. Powering off is a byte write to the sleep
 * control port, resetting a byte write to the reset port: the machine owns those ports
 * (dev/power.h), this module only names them to the guest.
 *
 * Runs once before the vCPUs start; keeps no state.
 */
#ifndef DEV_ACPI_ACPI_H
#define DEV_ACPI_ACPI_H

#include "mmu/ram.h"

/* What the guest writes to the sleep control port to power off with this machine's _S5:
 * SLP_EN (bit 5) | SLP_TYP 5 << 2. ACPI 6.4 "Sleep Control and Status Registers" §4.8.3.7. */
#define ACPI_SLEEP_S5 0x34u

#define ACPI_MAX_CPUS 1024u

/* Errors (the numbers are Linux's errno). */
#define ACPI_EFAULT 14
#define ACPI_EINVAL 22
#define ACPI_ENOSPC 28

/** All that varies. Zero a field to leave its device out, where it says so. */
struct acpi_config {
    gpa_t area;         /* tables go to [area, area + area_size), below 4 GB, 16-byte aligned */
    uint32_t area_size; /* 128 KB are enough for ACPI_MAX_CPUS */

    unsigned cpus;     /* 1..ACPI_MAX_CPUS; APIC ids and processor UIDs are 0..cpus-1 */
    gpa_t lapic_base;  /* usually 0xfee00000 */
    gpa_t ioapic_base; /* usually 0xfec00000; 0: no I/O APIC */
    uint8_t ioapic_id; /* its first GSI is 0 */

    gpa_t ecam_base;     /* 1 MB per bus, page aligned, below 4 GB */
    unsigned ecam_buses; /* 1..256; 0: no MCFG and no PCI host bridge */
    gpa_t mmio_base;     /* the host bridge's window for BARs, below 4 GB */
    uint32_t mmio_size;  /* 0 only when ecam_buses is 0 */

    uint16_t com1_port; /* 0x3f8; 0: no COM1 */
    uint8_t com1_gsi;   /* 4 */

    uint16_t sleep_control_port; /* one byte each; all three may be the same port */
    uint16_t sleep_status_port;
    uint16_t reset_port;
    uint8_t reset_value;

    uint8_t power_button_gsi; /* an edge on this GSI is a press of the power button (a Generic Event
                               * Device, ACPI 6.4 §5.6.9); 0: no power button */
};

/** Write the tables. *rsdp is where the RSDP is (at config->area).
 *  0; -ACPI_EINVAL the configuration breaks a rule above; -ACPI_ENOSPC the tables do not fit the
 *  area; -ACPI_EFAULT the area is not RAM. On failure *rsdp is untouched. */
int acpi_build(const struct ram *ram, const struct acpi_config *config, gpa_t *rsdp) MUST_CHECK;

#endif
