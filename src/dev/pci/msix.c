/* MSI-X: interrupts as memory writes, one per vector. See pci.h for the contract.
 *
 * Under `lock`: whether a message is held back, and its pending bit. The message itself is sent
 * outside, from a copy of its entry, so that no lock is held across the interrupt controllers.
 * PCI 3.0 §6.8.2 "MSI-X Capability and Table Structure".
 */
#include "dev/pci/pci.h"

#include "base/log.h"
#include "base/string.h"
#include "irq/lapic.h"

#define MSIX_ID 0x11u
#define MSIX_LEN 12u
#define MSIX_CONTROL 2u /* in the capability */
#define CONTROL_MASKED 0x4000u
#define CONTROL_ENABLE 0x8000u

#define ENTRY_MASKED 1u

enum { FIELD_ADDR_LOW, FIELD_ADDR_HIGH, FIELD_DATA, FIELD_CONTROL, FIELDS };

static uint16_t control_of(const struct msix *m)
{
    return pci_config16(m->f, m->cap + MSIX_CONTROL);
}

bool msix_enabled(const struct msix *m)
{
    return (control_of(m) & CONTROL_ENABLE) != 0;
}

static bool may_send(const struct msix *m)
{
    return (control_of(m) & (CONTROL_ENABLE | CONTROL_MASKED)) == CONTROL_ENABLE &&
           (pci_config16(m->f, PCI_COMMAND) & PCI_COMMAND_MASTER);
}

void msix_init(struct msix *m, struct vm *vm, struct pci_function *f, unsigned vectors,
               unsigned bar, uint32_t table_off, uint32_t pba_off)
{
    BUG_ON(vectors == 0 || vectors > MSIX_VECTORS_MAX || bar >= PCI_BARS || table_off % 8 ||
           pba_off % 8);
    uint16_t control = (uint16_t)(vectors - 1);
    uint32_t table = table_off | bar, pba = pba_off | bar;
    uint8_t body[MSIX_LEN - 2];
    memcpy(body, &control, sizeof(control));
    memcpy(body + 2, &table, sizeof(table));
    memcpy(body + 6, &pba, sizeof(pba));
    *m = (struct msix){.vm = vm, .f = f, .vectors = vectors};
    m->cap = pci_add_capability(f, MSIX_ID, body, MSIX_LEN);
    f->writable[m->cap + MSIX_CONTROL + 1] = (CONTROL_MASKED | CONTROL_ENABLE) >> 8;
    for (unsigned i = 0; i < MSIX_VECTORS_MAX; i++) {
        m->entry[i].control = ENTRY_MASKED;
    }
}

void msix_raise(struct msix *m, unsigned vec)
{
    if (vec >= m->vectors || !msix_enabled(m)) {
        return;
    }
    spin_lock(&m->lock);
    struct msix_entry e = m->entry[vec];
    bool held = !may_send(m) || (e.control & ENTRY_MASKED);
    if (held) {
        m->pending |= 1u << vec;
    }
    spin_unlock(&m->lock);
    if (!held) {
        irq_deliver_msi(m->vm, e.addr, e.data);
    }
}

void msix_reset(struct msix *m)
{
    spin_lock(&m->lock);
    m->pending = 0;
    spin_unlock(&m->lock);
}

/* Send what is pending and not masked any more. */
static void send_pending(struct msix *m)
{
    for (unsigned vec = 0; vec < m->vectors; vec++) {
        spin_lock(&m->lock);
        struct msix_entry e = m->entry[vec];
        bool send = bit(m->pending, vec) && may_send(m) && !(e.control & ENTRY_MASKED);
        if (send) {
            m->pending &= ~(1u << vec);
        }
        spin_unlock(&m->lock);
        if (send) {
            irq_deliver_msi(m->vm, e.addr, e.data);
        }
    }
}

/* The lock is taken after the word was written: whoever looked at it before, in msix_raise, has set
 * its pending bit by then. */
void msix_config_written(struct msix *m)
{
    if (!msix_enabled(m)) {
        msix_reset(m);
    } else {
        send_pending(m);
    }
}

/* ---- the table and the PBA ---- */

static bool well_formed(uint64_t off, unsigned size)
{
    return (size == 4 || size == 8) && off % size == 0;
}

static uint32_t table_get(const struct msix *m, uint64_t word)
{
    if (word >= (uint64_t)m->vectors * FIELDS) {
        return 0;
    }
    const struct msix_entry *e = &m->entry[word / FIELDS];
    switch (word % FIELDS) {
    case FIELD_ADDR_LOW: return (uint32_t)e->addr;
    case FIELD_ADDR_HIGH: return (uint32_t)(e->addr >> 32);
    case FIELD_DATA: return e->data;
    default: return e->control;
    }
}

static void table_set(struct msix *m, uint64_t word, uint32_t value)
{
    if (word >= (uint64_t)m->vectors * FIELDS) {
        return;
    }
    struct msix_entry *e = &m->entry[word / FIELDS];
    switch (word % FIELDS) {
    case FIELD_ADDR_LOW: e->addr = (e->addr & ~0xffffffffull) | (value & ~3u); break;
    case FIELD_ADDR_HIGH: e->addr = (uint32_t)e->addr | (uint64_t)value << 32; break;
    case FIELD_DATA: e->data = value; break;
    default: e->control = value & ENTRY_MASKED; break;
    }
}

uint64_t msix_table_read(struct msix *m, uint64_t off, unsigned size)
{
    if (!well_formed(off, size)) {
        return 0;
    }
    spin_lock(&m->lock);
    uint64_t value = table_get(m, off / 4);
    if (size == 8) {
        value |= (uint64_t)table_get(m, off / 4 + 1) << 32;
    }
    spin_unlock(&m->lock);
    return value;
}

void msix_table_write(struct msix *m, uint64_t off, unsigned size, uint64_t value)
{
    if (!well_formed(off, size)) {
        return;
    }
    spin_lock(&m->lock);
    table_set(m, off / 4, (uint32_t)value);
    if (size == 8) {
        table_set(m, off / 4 + 1, (uint32_t)(value >> 32));
    }
    bool look = m->pending != 0;
    spin_unlock(&m->lock);
    if (look) {
        send_pending(m);
    }
}

uint64_t msix_pba_read(const struct msix *m, uint64_t off, unsigned size)
{
    if (!well_formed(off, size) || off >= 8) {
        return 0;
    }
    return (uint64_t)__atomic_load_n(&m->pending, __ATOMIC_RELAXED) >> off * 8;
}
