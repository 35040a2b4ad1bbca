/* A small emitter of AML, the byte code of the DSDT: just the terms our DSDT is made of.
 *
 * Blocks (scope, device, method, package, resource template) nest: aml_X opens one and returns a
 * mark, aml_end (aml_resources_end) closes it and fills in its length. Running out of room sets
 * `full` and is otherwise silent: check once, at the end.
 *
 * ACPI 6.4 "AML Specification" §20.2, "Resource Data Types for ACPI" §6.4.
 */
#ifndef DEV_ACPI_AML_H
#define DEV_ACPI_AML_H

#include "base/types.h"

struct aml {
    uint8_t *buf;
    uint32_t cap, len;
    bool full;
};

/* ---- data ---- */

void aml_integer(struct aml *a, uint64_t value);
void aml_string(struct aml *a, const char *s);
/** A PNP id such as "PNP0501", as the integer EisaId() makes of it. */
void aml_eisa_id(struct aml *a, const char *id);

/* ---- names and blocks; a name is four characters, filled with `_` ---- */

/** Name (name, ...): the value is whatever is emitted next. */
void aml_name(struct aml *a, const char *name);
void aml_name_integer(struct aml *a, const char *name, uint64_t value);

uint32_t aml_scope(struct aml *a, const char *name);
uint32_t aml_device(struct aml *a, const char *name);
uint32_t aml_method(struct aml *a, const char *name, unsigned args, bool serialized);
uint32_t aml_package(struct aml *a, unsigned elements);
void aml_end(struct aml *a, uint32_t mark);

/** Notify (name, value), inside a method. */
void aml_notify(struct aml *a, const char *name, unsigned value);

/* ---- resource templates ---- */

uint32_t aml_resources(struct aml *a);
void aml_resources_end(struct aml *a, uint32_t mark);

/** IO (Decode16, port, port, 0, len) */
void aml_res_io(struct aml *a, uint16_t port, uint8_t len);
/** Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {gsi} */
void aml_res_interrupt(struct aml *a, uint32_t gsi);
/** Memory32Fixed (ReadWrite, base, len) */
void aml_res_memory32(struct aml *a, uint32_t base, uint32_t len);
/** DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, ...) */
void aml_res_memory_window(struct aml *a, uint32_t base, uint32_t len);
/** WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, count - 1, 0, count) */
void aml_res_buses(struct aml *a, unsigned count);

#endif
