/* A virtio device: what all of them share, on the monitor's side of struct virtio_regs.
 *
 * A device has a thread of its own (host/linux/io.h), which makes all of these calls; device code
 * may block in its back end. State is private to the monitor, but for regs. Devices are
 * freestanding code; what they need of the host comes through the back end's functions in their own
 * struct (struct block, struct net_port, ...).
 */
#ifndef DEV_VIRTIO_DEVICE_H
#define DEV_VIRTIO_DEVICE_H

#include "dev/virtio/virtq.h"

struct virtio_device;

struct virtio_ops {
    /** The driver is ready: d->features, d->queue[] are set (a queue that was not enabled has size
     * 0). */
    void (*start)(struct virtio_device *d);
    /** The driver resets. On return nothing of guest RAM is touched any more. Only after start. */
    void (*stop)(struct virtio_device *d);
    /** Queue q may have new buffers. Handle all that are there, then return; only while running. */
    void (*kick)(struct virtio_device *d, unsigned q);
};

/** Counters for `ring3 stats`; written by the device's thread, read by others (relaxed atomics). */
struct virtio_stat {
    uint64_t kicks, interrupts; /* kicks: also those that the device gives itself */
    /* block: reads; net: received; console: input; balloon: pages given back */
    uint64_t in_ops, in_bytes;
    uint64_t out_ops, out_bytes; /* block: writes; net: sent; ... */
    uint64_t errors;
};

struct virtio_device {
    struct virtio_regs *regs; /* in the arena: hostile */
    const struct virtio_ops *ops;
    void *state;    /* the device's own, borrowed */
    struct ram ram; /* a copy: the one in the arena is hostile */
    unsigned slot;
    unsigned queue_count; /* a copy */
    uint64_t offered;     /* features; a copy */
    uint64_t features;    /* negotiated */
    unsigned config_len;  /* a copy */
    bool running;         /* between start and stop */
    bool broken;          /* a copy */
    bool kicking;         /* within virtio_device_kick: pops come out of `budget` */
    unsigned budget;
    uint32_t again;      /* a bit a queue: see virtio_device_again */
    uint32_t listening;  /* a bit a queue: the driver is asked for kicks */
    uint32_t seen;       /* the last request looked at */
    unsigned complaints; /* messages about the driver so far */
    struct virtq queue[VIRTIO_QUEUES_MAX];
    struct virtio_stat stat;
};

/** Fill in d and regs (zeroed, in the arena). offered: device features without VIRTIO_F_COMMON,
 * which all get. config: the device's configuration space, config_len <= VIRTIO_CONFIG_MAX.
 * regs->kick and control are the host's to set. Before the machine runs. */
void virtio_device_init(struct virtio_device *d, struct virtio_regs *regs, const struct ram *ram,
                        unsigned slot, enum virtio_id id, unsigned queues, uint64_t offered,
                        const void *config, size_t config_len, const struct virtio_ops *ops,
                        void *state);
/** The control bell rang: stop, start. */
void virtio_device_control(struct virtio_device *d);
/** The kick bell of queue q rang (or may have). */
void virtio_device_kick(struct virtio_device *d, unsigned q);
/** The queues, a bit each, that had more than the calls before would handle at once: a driver that
 * fills a queue as fast as it is emptied must not keep the thread from its other work. Kick each
 * again after looking at that. Clears what it returns. */
uint32_t virtio_device_again(struct virtio_device *d) MUST_CHECK;
/** The machine goes away: stop. */
void virtio_device_stop(struct virtio_device *d);

/** For devices: publish queue q and interrupt the driver if it wants that. */
void virtio_device_publish(struct virtio_device *d, unsigned q);
/** For devices: pop, and on a broken ring mark the device broken. True: *chain. False: there is
 * none, and there will be a kick when there is. The driver is asked for kicks only when the queue
 * was found empty here; a device that leaves chains there (no frame to put in, no room behind it)
 *  comes back by itself. */
bool virtio_device_pop(struct virtio_device *d, unsigned q, struct virtq_chain *chain);
/** For devices: have queue q kicked again soon, after the thread's other work. */
void virtio_device_later(struct virtio_device *d, unsigned q);
/** The driver broke the rules: NEEDS_RESET and an interrupt; no more calls until it resets. */
void virtio_device_break(struct virtio_device *d, const char *why);
/** Change the configuration space [at, at+len) and tell the driver. */
void virtio_device_config(struct virtio_device *d, unsigned at, const void *bytes, unsigned len);

static inline bool virtio_has(const struct virtio_device *d, uint64_t feature)
{
    return (d->features & feature) != 0;
}

/** Add n to a counter of d->stat. */
static inline void virtio_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED); /* one writer: the device's thread */
}

#endif
