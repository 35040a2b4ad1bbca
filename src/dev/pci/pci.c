/* The PCI bus: configuration space, BARs, and the two ways to reach them. See pci.h for state and
 * threads.
 *
 * Configuration accesses are cut so that none crosses a 32-bit word. Absent functions read as all
 * ones, which is how their absence is found (PCI 3.0 §6.1); functions 1 to 7 of a slot are always
 * absent.
 */
#include "dev/pci/pci.h"

#include "base/log.h"
#include "base/string.h"

/* The ids of a host bridge that no guest has quirks for. */
#define BRIDGE_VENDOR 0x1b36u
#define BRIDGE_DEVICE 0x0008u
#define BRIDGE_CLASS 0x060000u

#define BAR_ADDRESS 0xfffffff0u
#define BAR_SIZE_MIN 16u

/* ---- configuration space ---- */

static const uint32_t *word_of(const struct pci_function *f, unsigned off)
{
    return (const uint32_t *)(const void *)(f->config + (off & ~3u));
}

uint32_t pci_config32(const struct pci_function *f, unsigned off)
{
    return __atomic_load_n(word_of(f, off), __ATOMIC_RELAXED);
}

uint16_t pci_config16(const struct pci_function *f, unsigned off)
{
    return (uint16_t)(pci_config32(f, off) >> (off & 2) * 8);
}

void pci_set_config32(struct pci_function *f, unsigned off, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(f->config + (off & ~3u)), value, __ATOMIC_RELAXED);
}

static void set16(uint8_t *p, uint16_t value)
{
    memcpy(p, &value, sizeof(value));
}

static uint32_t ones(unsigned size)
{
    return size == 4 ? ~0u : (1u << size * 8) - 1;
}

/* The access [off, off+size) is within one word. */
static uint32_t config_read(struct pci_function *f, unsigned off, unsigned size)
{
    if (off >= PCI_CONFIG_SIZE) {
        return 0;
    }
    if (f->config_reading != NULL) {
        f->config_reading(f, off, size);
    }
    return pci_config32(f, off) >> (off & 3) * 8 & ones(size);
}

static void config_write(struct pci *pci, struct pci_function *f, unsigned off, unsigned size,
                         uint32_t value)
{
    if (off >= PCI_CONFIG_SIZE) {
        return;
    }
    uint32_t writable;
    unsigned shift = (off & 3) * 8;
    memcpy(&writable, f->writable + (off & ~3u), sizeof(writable));
    uint32_t change = ones(size) << shift & writable;
    spin_lock(&pci->lock);
    pci_set_config32(f, off, (pci_config32(f, off) & ~change) | (value << shift & change));
    spin_unlock(&pci->lock);
    if (f->config_written != NULL) {
        f->config_written(f, off, size);
    }
}

/* devfn: slot << 3 | function. */
static struct pci_function *function_at(const struct pci *pci, unsigned devfn)
{
    return devfn & 7 ? NULL : pci->slot[devfn >> 3 & (PCI_SLOTS - 1)];
}

static bool crosses_word(uint64_t off, unsigned size)
{
    return (off & 3) + size > 4;
}

/* ---- ECAM: bus << 20 | devfn << 12 | register ---- */

static uint64_t ecam_read(void *dev, uint64_t off, unsigned size)
{
    struct pci *pci = dev;
    if (crosses_word(off, size)) {
        uint64_t value = 0;
        for (unsigned i = 0; i < size; i++) {
            value |= (ecam_read(dev, off + i, 1) & 0xff) << i * 8;
        }
        return value;
    }
    struct pci_function *f = function_at(pci, (unsigned)bits(off, 12, 8));
    return f != NULL ? config_read(f, (unsigned)bits(off, 0, 12), size) : ~0ull;
}

static void ecam_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct pci *pci = dev;
    if (crosses_word(off, size)) {
        for (unsigned i = 0; i < size; i++) {
            ecam_write(dev, off + i, 1, value >> i * 8 & 0xff);
        }
        return;
    }
    struct pci_function *f = function_at(pci, (unsigned)bits(off, 12, 8));
    if (f != NULL) {
        config_write(pci, f, (unsigned)bits(off, 0, 12), size, (uint32_t)value);
    }
}

const struct bus_ops pci_ecam_ops = {.read = ecam_read, .write = ecam_write, .access_max = 4};
_Static_assert(PCI_ECAM_BUSES == 1, "the bus number is not looked at");

/* ---- ports 0xcf8 (address, 32 bit only) and 0xcfc (data): PCI 3.0 §3.2.2.3.2 ---- */

#define DATA_PORT 4u
#define ADDRESS_ENABLE (1u << 31)
#define ADDRESS_BITS 0x80fffffcu

/* The function that the address names, or NULL; *off: the register, for an access at this port. */
static struct pci_function *addressed(const struct pci *pci, uint64_t port, unsigned *off)
{
    uint32_t address = __atomic_load_n(&pci->address, __ATOMIC_RELAXED);
    *off = (unsigned)bits(address, 2, 6) * 4 + (unsigned)(port & 3);
    if (!(address & ADDRESS_ENABLE) || bits(address, 16, 8) != 0) {
        return NULL;
    }
    return function_at(pci, (unsigned)bits(address, 8, 8));
}

static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
    struct pci *pci = dev;
    if (off == 0 && size == 4) {
        return __atomic_load_n(&pci->address, __ATOMIC_RELAXED);
    }
    unsigned reg;
    struct pci_function *f = addressed(pci, off, &reg);
    if (off < DATA_PORT || f == NULL || crosses_word(off, size)) {
        return ~0ull;
    }
    return config_read(f, reg, size);
}

static void ports_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct pci *pci = dev;
    if (off == 0 && size == 4) {
        __atomic_store_n(&pci->address, (uint32_t)value & ADDRESS_BITS, __ATOMIC_RELAXED);
        return;
    }
    unsigned reg;
    struct pci_function *f = addressed(pci, off, &reg);
    if (off >= DATA_PORT && f != NULL && !crosses_word(off, size)) {
        config_write(pci, f, reg, size, (uint32_t)value);
    }
}

const struct bus_ops pci_ports_ops = {.read = ports_read, .write = ports_write, .access_max = 4};

/* ---- the window ---- */

struct bar_access {
    const struct bus_ops *ops;
    void *dev;
    uint64_t off, left; /* within the BAR; from there to its end */
};

static bool function_claims(const struct pci_function *f, uint32_t address, struct bar_access *a)
{
    if (!(pci_config16(f, PCI_COMMAND) & PCI_COMMAND_MEMORY)) {
        return false;
    }
    for (unsigned i = 0; i < PCI_BARS; i++) {
        uint32_t size = f->bar_size[i];
        if (size == 0) {
            continue;
        }
        uint32_t off = address - (pci_config32(f, PCI_BAR + 4 * i) & BAR_ADDRESS);
        if (off < size) {
            *a = (struct bar_access){
                .ops = f->bar_ops[i], .dev = f->dev, .off = off, .left = size - off};
            return true;
        }
    }
    return false;
}

/* Whose BAR has the byte at `off` of the window, and whether it takes all of the access at once. */
static bool find_bar(const struct pci *pci, uint64_t off, unsigned size, struct bar_access *a,
                     bool *whole)
{
    for (unsigned i = 0; i < PCI_SLOTS; i++) {
        const struct pci_function *f = pci->slot[i];
        if (f != NULL && function_claims(f, (uint32_t)(PCI_MMIO_BASE + off), a)) {
            *whole = size <= a->left && (a->ops->access_max == 0 || size <= a->ops->access_max);
            return true;
        }
    }
    return false;
}

static uint64_t window_read(void *dev, uint64_t off, unsigned size)
{
    struct bar_access a;
    bool whole;
    if (!find_bar(dev, off, size, &a, &whole)) {
        return ~0ull;
    }
    if (whole) {
        return a.ops->read(a.dev, a.off, size);
    }
    unsigned half = size / 2; /* a byte is always whole */
    uint64_t low = window_read(dev, off, half) & ones(half);
    return low | (window_read(dev, off + half, half) & ones(half)) << half * 8;
}

static void window_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct bar_access a;
    bool whole;
    if (!find_bar(dev, off, size, &a, &whole)) {
        return;
    }
    if (whole) {
        a.ops->write(a.dev, a.off, size, value);
        return;
    }
    unsigned half = size / 2;
    window_write(dev, off, half, value & ones(half));
    window_write(dev, off + half, half, value >> half * 8 & ones(half));
}

const struct bus_ops pci_mmio_ops = {.read = window_read, .write = window_write};

/* ---- set-up ---- */

void pci_init(struct pci *pci)
{
    *pci = (struct pci){.next_bar = PCI_MMIO_BASE};
    pci_function_init(&pci->bridge, BRIDGE_VENDOR, BRIDGE_DEVICE, BRIDGE_CLASS, 0, 0, 0);
    pci_plug(pci, 0, &pci->bridge);
}

void pci_function_init(struct pci_function *f, uint16_t vendor, uint16_t device,
                       uint32_t class_code, uint8_t revision, uint16_t subsystem_vendor,
                       uint16_t subsystem)
{
    set16(f->config + PCI_VENDOR_ID, vendor);
    set16(f->config + PCI_DEVICE_ID, device);
    f->config[PCI_REVISION] = revision;
    memcpy(f->config + PCI_CLASS, &class_code, 3);
    set16(f->config + PCI_SUBSYSTEM_VENDOR, subsystem_vendor);
    set16(f->config + PCI_SUBSYSTEM, subsystem);
    set16(f->writable + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
    f->writable[PCI_CACHE_LINE] = 0xff;
    f->writable[PCI_INTERRUPT_LINE] = 0xff;
    f->cap_end = PCI_FIRST_CAPABILITY;
}

/* The newest is the first of the list. */
unsigned pci_add_capability(struct pci_function *f, uint8_t id, const void *body, unsigned len)
{
    unsigned at = f->cap_end;
    BUG_ON(len < 2 || len > PCI_CONFIG_SIZE - at);
    f->config[at] = id;
    f->config[at + 1] = f->config[PCI_CAPABILITIES];
    memcpy(f->config + at + 2, body, len - 2);
    f->config[PCI_CAPABILITIES] = (uint8_t)at;
    f->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
    f->cap_end = (unsigned)align_up(at + len, 4);
    return at;
}

/* What a BAR cannot hold (the bits below its size) the guest cannot write: that is how it finds the
 * size out. */
static void place_bar(struct pci *pci, struct pci_function *f, unsigned bar)
{
    uint32_t size = f->bar_size[bar];
    BUG_ON(size < BAR_SIZE_MIN || (size & (size - 1)) != 0 || f->bar_ops[bar] == NULL);
    uint64_t at = align_up(pci->next_bar, max_u64(size, PAGE_SIZE));
    BUG_ON(size > PCI_MMIO_BASE + PCI_MMIO_SIZE - at);
    pci->next_bar = at + size;
    uint32_t mask = ~(size - 1);
    pci_set_config32(f, PCI_BAR + 4 * bar, (uint32_t)at);
    memcpy(f->writable + PCI_BAR + (size_t)4 * bar, &mask, sizeof(mask));
}

void pci_plug(struct pci *pci, unsigned slot, struct pci_function *f)
{
    BUG_ON(slot >= PCI_SLOTS || pci->slot[slot] != NULL);
    for (unsigned i = 0; i < PCI_BARS; i++) {
        if (f->bar_size[i] != 0) {
            place_bar(pci, f, i);
        }
    }
    set16(f->config + PCI_COMMAND, PCI_COMMAND_MEMORY);
    pci->slot[slot] = f;
}
