/* The machine's devices on the PCI bus: what the command line asked for, opened, plugged in, with a thread each.
 *
 * Slots: 1 console, 2 entropy, 3 balloon, where wanted; then disks, network cards and shares, each kind in the order given, so that the guest's
 * names (vda, vdb, ...) follow the command line. Owner: the monitor's main thread.
 */
#ifndef HOST_LINUX_DEVICES_H
#define HOST_LINUX_DEVICES_H

#include "boot/error.h"
#include "host/linux/io.h"

struct vm;

/** What to plug in. Strings are the arguments of the options, borrowed for the time of devices_create. */
struct devices_config {
    const char *const *disks; /* -d */
    unsigned disk_count;
    const char *const *nets;  /* --net */
    unsigned net_count;
    const char *const *forwards; /* -p: of the first user network, which is there even if no --net says so */
    unsigned forward_count;
    const char *const *shares; /* -v */
    unsigned share_count;
    const char *vm_name;       /* NULL: none */
    bool console, rng, balloon;
};

enum device_kind { DEVICE_CONSOLE, DEVICE_RNG, DEVICE_BALLOON, DEVICE_DISK, DEVICE_NET, DEVICE_SHARE };

struct device {
    enum device_kind kind;
    char label[80];               /* for people: the disk's name, "user", "tap=t0", the shared directory */
    struct virtio_device *virtio; /* its counters, for others to read */
    struct io_thread *thread;
    void *impl;                   /* its kind's own */
    int (*start)(struct device *dev);    /* what else runs beside the thread, before it. 0 or -errno. NULL: nothing */
    void (*destroy)(struct device *dev); /* stops the thread, closes everything */
};

struct devices;

/** Open and plug in everything; vm_init was called, no vCPU task exists. 0, or -1 with *err, and nothing stays open. */
int devices_create(const struct devices_config *cfg, struct vm *vm, struct devices **out, struct boot_error *err) MUST_CHECK;
/** Start the threads: after the vCPU tasks. 0 or -errno. */
int devices_start(struct devices *d) MUST_CHECK;
/** After the vCPU tasks are gone: have the threads write out what the disks have kept, and end. Does not wait: `bell` (an eventfd) rings as they end. */
void devices_stop(struct devices *d, int bell);
/** A device whose thread has not ended yet, or NULL. */
const struct device *devices_busy(const struct devices *d);
/** Free all but what is still busy. NULL is fine. Without devices_stop before, it waits for the threads. */
void devices_destroy(struct devices *d);
/** The index-th device, or NULL. */
const struct device *devices_get(const struct devices *d, unsigned index);
/** The first device of that kind, or NULL. */
const struct device *devices_find(const struct devices *d, enum device_kind kind);

/* ---- the kinds: each fills in *dev (impl, virtio, thread, label, destroy). 0, or -1 with *err ---- */

struct device_place {
    const struct ram *ram;
    struct virtio_regs *regs;
    unsigned slot;
    const char *vm_name;
};

int device_disk_create(struct device *dev, const struct device_place *at, const char *arg, struct boot_error *err) MUST_CHECK;
/** Console, entropy, balloon. */
int device_simple_create(struct device *dev, const struct device_place *at, enum device_kind kind, struct boot_error *err) MUST_CHECK;
/** index: the how-manieth, for the tag. */
int device_share_create(struct device *dev, const struct device_place *at, const char *arg, unsigned index, struct boot_error *err) MUST_CHECK;
/** forwards: the -p that belong to it. */
int device_net_create(struct device *dev, const struct device_place *at, const char *arg, unsigned index, const char *const *forwards,
                      unsigned forward_count, struct boot_error *err) MUST_CHECK;

/** Ask the guest to give `bytes` of its memory back, through the balloon `dev`; how many it says it has given. Main thread. */
void device_balloon_target(const struct device *dev, uint64_t bytes);
uint64_t device_balloon_actual(const struct device *dev);

#endif
