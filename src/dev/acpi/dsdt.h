/* The body of the DSDT: what the machine has that a guest cannot find out by itself. */
#ifndef DEV_ACPI_DSDT_H
#define DEV_ACPI_DSDT_H

#include "dev/acpi/acpi.h"
#include "dev/acpi/aml.h"

/** Emit all devices the configuration names. The configuration is sound. */
void dsdt_emit(struct aml *a, const struct acpi_config *config);

#endif
