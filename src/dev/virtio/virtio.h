/* A virtio device's register file: where its two halves meet.
 *
 *   guest ── MMIO ──> transport (virtio_pci.c, in the vCPU task) ──> struct virtio_regs <── device (device.h, in the monitor)
 *
 * The transport knows nothing of what a device does, the device nothing of PCI. They share this struct, which lies in the arena, and three signals:
 * a kick per queue and a control bell (host_notify, vCPU task to device), and an interrupt (device to vCPU task).
 * A vCPU task may have been taken over by its guest: the device side copies each field before it checks it, and trusts none.
 * virtio 1.2 §2 "Basic Facilities of a Virtio Device".
 */
#ifndef DEV_VIRTIO_VIRTIO_H
#define DEV_VIRTIO_VIRTIO_H

#include "base/types.h"

#define VIRTIO_QUEUES_MAX 8u
#define VIRTIO_QUEUE_SIZE_MAX 256u /* a power of two */
#define VIRTIO_CONFIG_MAX 128u

/* Device numbers, virtio 1.2 §5. */
enum virtio_id {
    VIRTIO_ID_NET = 1,
    VIRTIO_ID_BLOCK = 2,
    VIRTIO_ID_CONSOLE = 3,
    VIRTIO_ID_RNG = 4,
    VIRTIO_ID_BALLOON = 5,
    VIRTIO_ID_FS = 26,
};

/* Device status, §2.1. */
enum virtio_status {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 0x40,
    VIRTIO_FAILED = 0x80,
};

/* Features of every device here, §6. RING_RESET, PACKED and the others are not offered. */
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)
#define VIRTIO_F_COMMON (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1)

#define VIRTIO_NO_VECTOR 0xffffu
#define VIRTIO_INTERRUPT_CONFIG (1u << 31) /* in `interrupts`; bit q is queue q */

struct virtio_queue_regs {
    uint64_t desc, driver, device; /* guest-physical, as the driver wrote them */
    uint16_t size;                 /* 1..VIRTIO_QUEUE_SIZE_MAX, a power of two, if the driver behaves */
    uint16_t vector;               /* MSI-X, or VIRTIO_NO_VECTOR */
    bool enabled;
};

struct virtio_regs {
    /* Set before the machine runs, constant afterwards. */
    uint16_t id;                   /* enum virtio_id */
    uint16_t slot;                 /* which device of the machine: its PCI device number too */
    uint16_t queue_count;
    uint16_t config_len;
    uint64_t device_features;      /* offered */
    uint8_t config_writable[VIRTIO_CONFIG_MAX / 8]; /* a bit a byte of config that the driver may write */
    int kick[VIRTIO_QUEUES_MAX];   /* what host_notify takes, -1: none */
    int control;                   /* the same, for `request` */

    /* Written by the transport: what the driver set. */
    uint64_t driver_features;
    uint8_t status;                /* without VIRTIO_NEEDS_RESET, which is `broken` */
    uint16_t config_vector;
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select;
    struct virtio_queue_regs queue[VIRTIO_QUEUES_MAX];

    /* A write to status that starts or resets the device: the transport stores status, increments request (release) and rings control. The
     * device stops what it did, starts anew if status has DRIVER_OK, and then stores the request it has seen into done (release). While
     * they differ after a reset, the driver still reads the old status: a reset is over when 0 reads back (§4.1.4.3.1). */
    uint32_t request, done;

    /* Written by the transport's side for a queue that is served there (virtio_pci_serve): counters. */
    uint64_t served_ops, served_bytes;

    /* Written by the device. */
    uint32_t interrupts;           /* pending causes; the device sets bits (release), the transport takes them */
    bool broken;                   /* the driver did what cannot be gone on from: NEEDS_RESET until the next reset */
    uint32_t config_generation;    /* odd while config is being changed */
    uint8_t config[VIRTIO_CONFIG_MAX]; /* device-specific; little-endian fields, see each device */
};

/** Add n to a counter; its writers take turns. */
static inline void virtio_regs_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

#endif
