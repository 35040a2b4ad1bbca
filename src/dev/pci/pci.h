/* PCI: bus 0 with up to 32 single-function devices, through ECAM and through ports 0xcf8/0xcfc.
 *
 * ring3 plays the firmware: BARs have their places before the guest starts, and the guest may move
 * them within the window. One MMIO range of the machine's bus covers the whole window; an access
 * goes to the function whose BAR is there and whose memory decoding is on (of several, the one in
 * the lowest slot).
 * Owner: the vCPU tasks (all state is in the arena and the guest's to spoil; nobody else reads it).
 * Configuration space changes under `lock`, an aligned 32-bit word at a time, and is read without
 * it; MSI-X has a lock of its own.
 * PCI Local Bus 3.0 §6 "Configuration Space"; PCI Express Base 3.0 §7.2.2 "ECAM"; PCI Firmware 3.2
 * §4.1 "MCFG".
 */
#ifndef DEV_PCI_PCI_H
#define DEV_PCI_PCI_H

#include "base/spinlock.h"
#include "vm/bus.h"

struct vm;

#define PCI_SLOTS 32u
#define PCI_BARS 6u
#define PCI_CONFIG_SIZE 256u /* the rest of each 4 KB reads as zero */

/* In the hole of guest RAM (mmu/ram.h). */
#define PCI_ECAM_BASE 0xe0000000ull
#define PCI_ECAM_BUSES 1u
#define PCI_MMIO_BASE 0xd0000000ull
#define PCI_MMIO_SIZE 0x08000000ull

/* Offsets in a function's configuration space, PCI 3.0 §6.1. */
enum pci_config {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS = 0x09, /* three bytes */
    PCI_CACHE_LINE = 0x0c,
    PCI_BAR = 0x10,
    PCI_SUBSYSTEM_VENDOR = 0x2c,
    PCI_SUBSYSTEM = 0x2e,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_FIRST_CAPABILITY = 0x40,
};

#define PCI_COMMAND_MEMORY 0x0002u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_COMMAND_NO_INTX 0x0400u
#define PCI_STATUS_CAPABILITIES 0x0010u

struct pci_function {
    _Alignas(4) uint8_t config[PCI_CONFIG_SIZE];
    _Alignas(4) uint8_t writable[PCI_CONFIG_SIZE]; /* bits the guest may change */
    uint32_t bar_size[PCI_BARS]; /* a power of two >= 16, memory, 32 bit; 0: no such BAR */
    const struct bus_ops *bar_ops[PCI_BARS]; /* off is relative to the BAR */
    void *dev;                               /* for bar_ops */
    /** Before the guest reads config [off, off+size), within one 32-bit word; may be NULL. */
    void (*config_reading)(struct pci_function *f, unsigned off, unsigned size);
    /** After the guest wrote config [off, off+size), within one 32-bit word, whether or not a bit
     * changed; may be NULL. */
    void (*config_written)(struct pci_function *f, unsigned off, unsigned size);
    unsigned cap_end; /* where the next capability goes */
};

struct pci {
    struct pci_function *slot[PCI_SLOTS]; /* NULL: empty */
    struct pci_function bridge;           /* slot 0: the host bridge */
    uint32_t address;                     /* port 0xcf8 */
    uint64_t next_bar;                    /* set-up only: where the next BAR may go */
    struct spinlock lock;                 /* whoever changes configuration space holds it */
};

/** An empty bus with its host bridge. */
void pci_init(struct pci *pci);
/** Fill in the header of f (zeroed): ids, class (24 bit), revision. */
void pci_function_init(struct pci_function *f, uint16_t vendor, uint16_t device,
                       uint32_t class_code, uint8_t revision, uint16_t subsystem_vendor,
                       uint16_t subsystem);
/** Add a capability of len bytes (id and next included: body is what follows them). Returns its
 * offset in config. Set-up only. */
unsigned pci_add_capability(struct pci_function *f, uint8_t id, const void *body, unsigned len);
/** Plug f in: places its BARs and turns memory decoding on. Set-up only. */
void pci_plug(struct pci *pci, unsigned slot, struct pci_function *f);
/** A 16- or 32-bit field of config as it is now; off is aligned. */
uint16_t pci_config16(const struct pci_function *f, unsigned off);
uint32_t pci_config32(const struct pci_function *f, unsigned off);
/** For config_reading: the word that the guest is about to read. */
void pci_set_config32(struct pci_function *f, unsigned off, uint32_t value);

extern const struct bus_ops pci_ecam_ops;  /* dev: struct pci */
extern const struct bus_ops pci_mmio_ops;  /* the window; off is relative to PCI_MMIO_BASE */
extern const struct bus_ops pci_ports_ops; /* 0xcf8..0xcff; dev: struct pci */
#define PCI_PORT 0xcf8u
#define PCI_PORTS 8u

/* ---- MSI-X, PCI 3.0 §6.8.2 ---- */

#define MSIX_VECTORS_MAX 16u
#define MSIX_ENTRY_SIZE 16u

/** Messages are held back while their entry or the function is masked, or the function may not
 * write to memory (no bus master). */
struct msix {
    struct vm *vm;
    struct pci_function *f;
    unsigned cap; /* offset of the capability */
    unsigned vectors;
    struct msix_entry {
        uint64_t addr;
        uint32_t data, control; /* control bit 0: masked */
    } entry[MSIX_VECTORS_MAX];
    uint32_t pending;     /* the PBA */
    struct spinlock lock; /* entry, pending */
};

/** Add the capability; table and PBA at those offsets of BAR `bar`. */
void msix_init(struct msix *m, struct vm *vm, struct pci_function *f, unsigned vectors,
               unsigned bar, uint32_t table_off, uint32_t pba_off);
/** Whether the guest has switched it on. */
bool msix_enabled(const struct msix *m);
/** Send vector vec, or keep it pending while masked. Nothing while MSI-X is off, or for a vec
 * beyond the table. A vCPU task. */
void msix_raise(struct msix *m, unsigned vec);
/** Forget what is pending: the device was reset. */
void msix_reset(struct msix *m);
/** The table and PBA inside a BAR: off relative to the start of each. Accesses of 4 or 8 aligned
 * bytes; others read as 0 and change nothing. */
uint64_t msix_table_read(struct msix *m, uint64_t off, unsigned size);
void msix_table_write(struct msix *m, uint64_t off, unsigned size, uint64_t value);
uint64_t msix_pba_read(const struct msix *m, uint64_t off, unsigned size);
/** From config_written: send what was held back, if it may go now. */
void msix_config_written(struct msix *m);

#endif
