/* The PCI transport. See virtio_pci.h for state and threads; virtio 1.2 §4.1 "Virtio Over PCI Bus".
 *
 * The BAR is made of pages, one for each structure; what a page does not use reads as 0 and ignores
 * writes. Registers take accesses of their own width only (§4.1.3.1); a 64-bit one is written in
 * halves.
 */
#include "dev/virtio/virtio_pci.h"

#include "base/log.h"
#include "base/string.h"
#include "host/host.h"
#include "vm/vm.h"

#define VIRTIO_VENDOR 0x1af4u
#define VIRTIO_DEVICE_FIRST 0x1040u /* plus the device's number, §4.1.2 */
#define VIRTIO_REVISION 1u
#define VIRTIO_SUBSYSTEM 0x1100u

#define BAR_SIZE 0x8000u
#define AREA_SIZE 0x1000u
enum bar_area { AREA_COMMON, AREA_ISR, AREA_CONFIG, AREA_NOTIFY, AREA_MSIX, AREA_PBA };

#define COMMON_LEN 0x38u
#define NOTIFY_MULTIPLIER 4u

/* struct virtio_pci_common_cfg, §4.1.4.3. */
enum {
    COMMON_DEVICE_SELECT = 0x00,
    COMMON_DEVICE_FEATURE = 0x04,
    COMMON_DRIVER_SELECT = 0x08,
    COMMON_DRIVER_FEATURE = 0x0c,
    COMMON_CONFIG_VECTOR = 0x10, /* 16 bits; then the number of queues */
    COMMON_STATUS = 0x14,        /* 8 bits; then the generation, 8 bits */
    COMMON_QUEUE_SELECT = 0x16,
    COMMON_QUEUE_SIZE = 0x18,
    COMMON_QUEUE_VECTOR = 0x1a,
    COMMON_QUEUE_ENABLE = 0x1c, /* 16 bits; then the queue's notify offset */
    COMMON_QUEUE_DESC = 0x20,
    COMMON_QUEUE_DRIVER = 0x28,
    COMMON_QUEUE_DEVICE = 0x30,
};

/* Vendor capabilities, §4.1.4. */
#define CAP_VENDOR 0x09u
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_WINDOW = 5 };
enum { CAP_BAR = 4, CAP_OFFSET = 8, CAP_LENGTH = 12, CAP_DATA = 16 };

#define ISR_QUEUE 1u
#define ISR_CONFIG 2u

#define STATUS_SETTABLE                                                                            \
    (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK | VIRTIO_FEATURES_OK | VIRTIO_FAILED)

/* ---- life of the device (all _locked) ---- */

/* Release: the device, which reads request first, sees what was set before. */
static void tell_device(struct virtio_pci *p)
{
    __atomic_store_n(&p->regs->request, p->regs->request + 1, __ATOMIC_RELEASE);
    host_notify(p->regs->control);
}

/* Whether a reset is still going on. Acquire pairs with the device's release of `done`. */
static bool resetting(struct virtio_pci *p)
{
    if (p->resetting) {
        uint32_t done = __atomic_load_n(&p->regs->done, __ATOMIC_ACQUIRE);
        p->resetting = (int32_t)(done - p->reset_request) < 0;
    }
    return p->resetting;
}

/* What a driver finds after power-up, and again after a reset. */
static void clear_driver_part(struct virtio_pci *p)
{
    struct virtio_regs *r = p->regs;
    r->driver_features = 0;
    r->device_feature_select = r->driver_feature_select = 0;
    r->queue_select = 0;
    r->config_vector = VIRTIO_NO_VECTOR;
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        r->queue[q] =
            (struct virtio_queue_regs){.size = VIRTIO_QUEUE_SIZE_MAX, .vector = VIRTIO_NO_VECTOR};
    }
    r->status = 0;
    __atomic_store_n(&p->isr, 0, __ATOMIC_RELAXED);
    msix_reset(&p->msix);
}

/* A device that never ran has nothing to stop, and the reset is over at once. */
static void reset(struct virtio_pci *p)
{
    p->old_status = p->regs->status;
    clear_driver_part(p);
    if (p->started) {
        p->started = false;
        p->resetting = true;
        tell_device(p);
        p->reset_request = p->regs->request;
    }
}

static bool features_ok(const struct virtio_regs *r)
{
    return (r->driver_features & ~r->device_features) == 0 &&
           (r->driver_features & VIRTIO_F_VERSION_1);
}

/* Bits are only ever added (§2.1.1); one that cannot be had stays clear, which is how the driver is
 * refused. */
static void write_status(struct virtio_pci *p, uint8_t value)
{
    struct virtio_regs *r = p->regs;
    if (value == 0) {
        reset(p);
        return;
    }
    uint8_t added = value & STATUS_SETTABLE & (uint8_t)~r->status;
    if ((added & VIRTIO_FEATURES_OK) && !features_ok(r)) {
        added &= (uint8_t)~VIRTIO_FEATURES_OK;
    }
    if (!((r->status | added) & VIRTIO_FEATURES_OK)) {
        added &= (uint8_t)~VIRTIO_DRIVER_OK;
    }
    r->status |= added;
    if (added & VIRTIO_DRIVER_OK) {
        p->started = true;
        tell_device(p);
    }
}

static uint8_t read_status(struct virtio_pci *p)
{
    if (resetting(p)) {
        return p->old_status;
    }
    bool broken = __atomic_load_n(&p->regs->broken, __ATOMIC_RELAXED);
    return (uint8_t)(p->regs->status | (broken ? VIRTIO_NEEDS_RESET : 0));
}

/* A driver reads the generation, the configuration, and the generation again until both are equal:
 * while the configuration is being changed, two readings must differ, from each other and from what
 * comes after. */
static uint8_t read_generation(struct virtio_pci *p)
{
    uint32_t generation = __atomic_load_n(&p->regs->config_generation, __ATOMIC_ACQUIRE);
    if (generation & 1) {
        p->torn++;
        return (uint8_t)((generation >> 1) + 0x40 + (p->torn & 0x3f));
    }
    return (uint8_t)(generation >> 1);
}

/* ---- common configuration (all _locked) ---- */

static struct virtio_queue_regs *selected(struct virtio_regs *r)
{
    bool there = r->queue_select < min_u64(r->queue_count, VIRTIO_QUEUES_MAX);
    return there ? &r->queue[r->queue_select] : NULL;
}

static uint32_t half_of(uint64_t features, uint32_t select)
{
    return select > 1 ? 0 : (uint32_t)(features >> select * 32);
}

static void set_half(uint64_t *value, bool high, uint32_t half)
{
    *value = high ? (uint32_t)*value | (uint64_t)half << 32 : (*value & ~0xffffffffull) | half;
}

/* The address register at off, or NULL. */
static uint64_t *queue_address(struct virtio_queue_regs *q, unsigned off)
{
    switch (off & ~7u) {
    case COMMON_QUEUE_DESC: return &q->desc;
    case COMMON_QUEUE_DRIVER: return &q->driver;
    case COMMON_QUEUE_DEVICE: return &q->device;
    default: return NULL;
    }
}

/* The 32-bit word at off, a multiple of 4. A queue that is not there has size 0 (§4.1.4.3.1). */
static uint32_t common_word(struct virtio_pci *p, unsigned off)
{
    static const struct virtio_queue_regs none = {.vector = VIRTIO_NO_VECTOR};
    struct virtio_regs *r = p->regs;
    struct virtio_queue_regs absent = none, *q = selected(r);
    q = q != NULL ? q : &absent;
    switch (off) {
    case COMMON_DEVICE_SELECT: return r->device_feature_select;
    case COMMON_DEVICE_FEATURE: return half_of(r->device_features, r->device_feature_select);
    case COMMON_DRIVER_SELECT: return r->driver_feature_select;
    case COMMON_DRIVER_FEATURE: return half_of(r->driver_features, r->driver_feature_select);
    case COMMON_CONFIG_VECTOR: return r->config_vector | (uint32_t)r->queue_count << 16;
    case COMMON_STATUS:
        return read_status(p) | (uint32_t)read_generation(p) << 8 | (uint32_t)r->queue_select << 16;
    case COMMON_QUEUE_SIZE: return q->size | (uint32_t)q->vector << 16;
    case COMMON_QUEUE_ENABLE:
        /* the notify offset is the queue's number */
        return q->enabled | (uint32_t)r->queue_select << 16;
    default: {
        const uint64_t *address = queue_address(q, off);
        return address ? (uint32_t)(*address >> (off & 4) * 8) : 0;
    }
    }
}

static uint64_t common_read(struct virtio_pci *p, unsigned off, unsigned size)
{
    if (off >= COMMON_LEN || (off & 3) + size > 4) {
        return 0;
    }
    spin_lock(&p->lock);
    uint32_t word = common_word(p, off & ~3u);
    spin_unlock(&p->lock);
    return word >> (off & 3) * 8;
}

/* A vector that does not exist reads back as none, which is how the driver learns of it
 * (§4.1.5.1.2.1). */
static uint16_t vector_or_none(const struct virtio_pci *p, uint32_t value)
{
    return value < p->msix.vectors ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

/* What may change once the driver has said it is ready: only its vectors. */
static void write_queue(struct virtio_pci *p, unsigned off, unsigned size, uint32_t value)
{
    struct virtio_queue_regs *q = selected(p->regs);
    if (q == NULL) {
        return;
    }
    if (off == COMMON_QUEUE_VECTOR && size == 2) {
        q->vector = vector_or_none(p, value);
    }
    if (q->enabled || (p->regs->status & VIRTIO_DRIVER_OK)) {
        return;
    }
    uint64_t *address = queue_address(q, off);
    if (address != NULL && size == 4) {
        set_half(address, off & 4, value);
    } else if (off == COMMON_QUEUE_SIZE && size == 2) {
        if (value != 0 && value <= VIRTIO_QUEUE_SIZE_MAX && (value & (value - 1)) == 0) {
            q->size = (uint16_t)value;
        }
    } else if (off == COMMON_QUEUE_ENABLE && size == 2) {
        q->enabled = value == 1;
    }
}

static void common_write_locked(struct virtio_pci *p, unsigned off, unsigned size, uint32_t value)
{
    struct virtio_regs *r = p->regs;
    switch (off << 4 | size) {
    case COMMON_DEVICE_SELECT << 4 | 4: r->device_feature_select = value; break;
    case COMMON_DRIVER_SELECT << 4 | 4: r->driver_feature_select = value; break;
    case COMMON_DRIVER_FEATURE << 4 | 4:
        if (!(r->status & VIRTIO_FEATURES_OK) && r->driver_feature_select <= 1) {
            set_half(&r->driver_features, r->driver_feature_select, value);
        }
        break;
    case COMMON_CONFIG_VECTOR << 4 | 2: r->config_vector = vector_or_none(p, value); break;
    case COMMON_STATUS << 4 | 1: write_status(p, (uint8_t)value); break;
    case COMMON_QUEUE_SELECT << 4 | 2: r->queue_select = (uint16_t)value; break;
    default: write_queue(p, off, size, value); break;
    }
}

/* During a reset the driver has to wait (§4.1.4.3.2): what it writes is lost. */
static void common_write(struct virtio_pci *p, unsigned off, unsigned size, uint32_t value)
{
    spin_lock(&p->lock);
    if (!resetting(p)) {
        common_write_locked(p, off, size, value);
    }
    spin_unlock(&p->lock);
}

/* ---- device configuration ---- */

static uint64_t config_read(const struct virtio_regs *r, unsigned off, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size && off + i < min_u64(r->config_len, VIRTIO_CONFIG_MAX); i++) {
        value |= (uint64_t)r->config[off + i] << i * 8;
    }
    return value;
}

static void config_write(struct virtio_regs *r, unsigned off, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size && off + i < min_u64(r->config_len, VIRTIO_CONFIG_MAX); i++) {
        unsigned at = off + i;
        if (bit(r->config_writable[at / 8], at % 8)) {
            r->config[at] = (uint8_t)(value >> i * 8);
        }
    }
}

/* ---- the BAR ---- */

static void notify(const struct virtio_pci *p, unsigned off)
{
    const struct virtio_regs *r = p->regs;
    unsigned q = off / NOTIFY_MULTIPLIER;
    if (p->serve && q == p->served) {
        p->serve(p->serve_ctx);
    } else if (q < min_u64(r->queue_count, VIRTIO_QUEUES_MAX)) {
        host_notify(r->kick[q]);
    }
}

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
    struct virtio_pci *p = dev;
    unsigned at = (unsigned)(off % AREA_SIZE);
    switch (off / AREA_SIZE) {
    case AREA_COMMON:
        if (size == 8) {
            return (uint32_t)common_read(p, at, 4) | common_read(p, at + 4, 4) << 32;
        }
        return common_read(p, at, size);
    case AREA_ISR: return at == 0 ? __atomic_exchange_n(&p->isr, 0, __ATOMIC_ACQ_REL) : 0;
    case AREA_CONFIG: return config_read(p->regs, at, size);
    case AREA_MSIX: return msix_table_read(&p->msix, at, size);
    case AREA_PBA: return msix_pba_read(&p->msix, at, size);
    default: return 0;
    }
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct virtio_pci *p = dev;
    unsigned at = (unsigned)(off % AREA_SIZE);
    switch (off / AREA_SIZE) {
    case AREA_COMMON:
        if (size == 8) {
            common_write(p, at, 4, (uint32_t)value);
            common_write(p, at + 4, 4, (uint32_t)(value >> 32));
        } else {
            common_write(p, at, size, (uint32_t)value);
        }
        break;
    case AREA_CONFIG: config_write(p->regs, at, size, value); break;
    case AREA_NOTIFY: notify(p, at); break;
    case AREA_MSIX: msix_table_write(&p->msix, at, size, value); break;
    }
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

/* ---- configuration space ---- */

/* Whether the access touches the window's data, and where it leads: §4.1.4.9. */
static bool window_access(const struct virtio_pci *p, unsigned off, unsigned size,
                          uint32_t *bar_off, unsigned *len)
{
    unsigned data = p->window + CAP_DATA;
    if (off + size <= data || off >= data + 4) {
        return false;
    }
    uint32_t length = pci_config32(&p->pci, p->window + CAP_LENGTH);
    *bar_off = pci_config32(&p->pci, p->window + CAP_OFFSET);
    *len = (unsigned)length;
    return p->pci.config[p->window + CAP_BAR] == 0 && (length == 1 || length == 2 || length == 4) &&
           *bar_off % length == 0 && *bar_off < BAR_SIZE;
}

static void config_space_reading(struct pci_function *f, unsigned off, unsigned size)
{
    struct virtio_pci *p = f->dev;
    uint32_t bar_off;
    unsigned len;
    if (window_access(p, off, size, &bar_off, &len)) {
        uint64_t value = bar_read(p, bar_off, len);
        pci_set_config32(f, p->window + CAP_DATA, (uint32_t)(value & (~0ull >> (64 - len * 8))));
    }
}

static void look_at_master(struct virtio_pci *p)
{
    bool master = pci_config16(&p->pci, PCI_COMMAND) & PCI_COMMAND_MASTER;
    spin_lock(&p->lock);
    if (p->master && !master && (p->regs->status & VIRTIO_DRIVER_OK)) {
        p->regs->status &= (uint8_t)~VIRTIO_DRIVER_OK;
        tell_device(p);
    }
    p->master = master;
    spin_unlock(&p->lock);
}

static void config_space_written(struct pci_function *f, unsigned off, unsigned size)
{
    struct virtio_pci *p = f->dev;
    uint32_t bar_off;
    unsigned len;
    if (window_access(p, off, size, &bar_off, &len)) {
        uint64_t value = pci_config32(f, p->window + CAP_DATA);
        bar_write(p, bar_off, len, value & (~0ull >> (64 - len * 8)));
    }
    look_at_master(p);
    msix_config_written(&p->msix);
}

void virtio_pci_serve(struct virtio_pci *p, unsigned q, void (*fn)(void *ctx), void *ctx)
{
    p->served = q;
    p->serve = fn;
    p->serve_ctx = ctx;
}

/* ---- interrupts ---- */

void virtio_pci_deliver(struct virtio_pci *p)
{
    struct virtio_regs *r = p->regs;
    /* Acquire pairs with the device's release: what the interrupt is about is in RAM. */
    uint32_t causes = __atomic_exchange_n(&r->interrupts, 0, __ATOMIC_ACQUIRE);
    uint32_t vectors = 0;
    uint8_t isr = 0;
    for (unsigned q = 0; q < min_u64(r->queue_count, VIRTIO_QUEUES_MAX); q++) {
        uint16_t vector = __atomic_load_n(&r->queue[q].vector, __ATOMIC_RELAXED);
        if (bit(causes, q)) {
            isr |= ISR_QUEUE;
            vectors |= vector < MSIX_VECTORS_MAX ? 1u << vector : 0;
        }
    }
    if (causes & VIRTIO_INTERRUPT_CONFIG) {
        uint16_t vector = __atomic_load_n(&r->config_vector, __ATOMIC_RELAXED);
        isr |= ISR_CONFIG;
        vectors |= vector < MSIX_VECTORS_MAX ? 1u << vector : 0;
    }
    __atomic_fetch_or(&p->isr, isr, __ATOMIC_RELEASE);
    while (vectors != 0) {
        unsigned vector = (unsigned)__builtin_ctz(vectors);
        vectors &= vectors - 1;
        msix_raise(&p->msix, vector);
    }
}

/* ---- set-up ---- */

static uint32_t class_of(uint16_t id)
{
    switch (id) {
    case VIRTIO_ID_NET: return 0x020000;
    case VIRTIO_ID_BLOCK: return 0x010000;
    case VIRTIO_ID_CONSOLE: return 0x078000;
    case VIRTIO_ID_FS: return 0x018000;
    default: return 0x00ff00; /* none of PCI's classes */
    }
}

/* A vendor capability of len bytes for `length` bytes at that area; `extra` is its last word, if it
 * has one. */
static unsigned add_capability(struct virtio_pci *p, uint8_t type, unsigned len, enum bar_area area,
                               uint32_t length, uint32_t extra)
{
    uint8_t cap[20] = {[2] = (uint8_t)len, [3] = type};
    uint32_t offset = area * AREA_SIZE;
    memcpy(cap + CAP_OFFSET, &offset, sizeof(offset));
    memcpy(cap + CAP_LENGTH, &length, sizeof(length));
    memcpy(cap + CAP_DATA, &extra, sizeof(extra));
    return pci_add_capability(&p->pci, CAP_VENDOR, cap + 2, len);
}

static void add_capabilities(struct virtio_pci *p)
{
    const struct virtio_regs *r = p->regs;
    p->window = add_capability(p, CAP_WINDOW, 20, AREA_COMMON, 0, 0);
    memset(p->pci.writable + p->window + CAP_BAR, 0xff, 1);
    memset(p->pci.writable + p->window + CAP_OFFSET, 0xff, 12);
    if (r->config_len != 0) {
        add_capability(p, CAP_DEVICE, 16, AREA_CONFIG, r->config_len, 0);
    }
    add_capability(p, CAP_ISR, 16, AREA_ISR, 1, 0);
    add_capability(p, CAP_NOTIFY, 20, AREA_NOTIFY, r->queue_count * NOTIFY_MULTIPLIER,
                   NOTIFY_MULTIPLIER);
    add_capability(p, CAP_COMMON, 16, AREA_COMMON, COMMON_LEN, 0);
}

void virtio_pci_init(struct virtio_pci *p, struct vm *vm, struct virtio_regs *regs)
{
    BUG_ON(regs->queue_count == 0 || regs->queue_count > VIRTIO_QUEUES_MAX ||
           regs->config_len > VIRTIO_CONFIG_MAX);
    *p = (struct virtio_pci){.vm = vm, .regs = regs};
    struct pci_function *f = &p->pci;
    pci_function_init(f, VIRTIO_VENDOR, (uint16_t)(VIRTIO_DEVICE_FIRST + regs->id),
                      class_of(regs->id), VIRTIO_REVISION, VIRTIO_VENDOR, VIRTIO_SUBSYSTEM);
    f->dev = p;
    f->bar_size[0] = BAR_SIZE;
    f->bar_ops[0] = &bar_ops;
    f->config_reading = config_space_reading;
    f->config_written = config_space_written;
    msix_init(&p->msix, vm, f, regs->queue_count + 1u, 0, AREA_MSIX * AREA_SIZE,
              AREA_PBA * AREA_SIZE);
    add_capabilities(p);
    clear_driver_part(p);
    pci_plug(&vm->pci, regs->slot, f);
    vm->device[regs->slot] = p;
}
