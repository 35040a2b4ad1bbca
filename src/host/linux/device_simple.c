/* Devices without a back end: entropy, balloon. */
#include "dev/virtio/balloon.h"
#include "dev/virtio/rng.h"
#include "host/linux/device_console.h"
#include "host/linux/devices.h"
#include "host/linux/host_error.h"

#include <stdlib.h>
#include <string.h>

/* impl is the device's own struct, which begins with its virtio_device. */
static void simple_destroy(struct device *dev)
{
    io_thread_destroy(dev->thread);
    free(dev->impl);
}

static int finish(struct device *dev, struct virtio_device *virtio, const char *name, struct boot_error *err)
{
    int failed = io_thread_create(&dev->thread, virtio, name);
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "no thread for the %s device: %s", name, host_error(-failed));
        free(dev->impl);
        return -1;
    }
    dev->virtio = virtio;
    dev->destroy = simple_destroy;
    fmt_line(dev->label, sizeof(dev->label), "%s", name);
    return 0;
}

static int rng_create(struct device *dev, const struct device_place *at, struct boot_error *err)
{
    struct virtio_rng *r = dev->impl = calloc(1, sizeof(*r));
    if (!r) {
        return boot_fail(err, BOOT_ENOMEM, "out of memory");
    }
    virtio_rng_init(r, at->regs, at->ram, at->slot);
    return finish(dev, &r->device, "entropy", err);
}

static int balloon_create(struct device *dev, const struct device_place *at, struct boot_error *err)
{
    struct virtio_balloon *b = dev->impl = calloc(1, sizeof(*b));
    if (!b) {
        return boot_fail(err, BOOT_ENOMEM, "out of memory");
    }
    virtio_balloon_init(b, at->regs, at->ram, at->slot);
    return finish(dev, &b->device, "balloon", err);
}

struct target {
    struct virtio_balloon *balloon;
    uint64_t bytes;
};

static void set_target(void *ctx)
{
    const struct target *t = ctx;
    virtio_balloon_set_target(t->balloon, t->bytes);
}

void device_balloon_target(const struct device *dev, uint64_t bytes)
{
    struct target t = {dev->impl, bytes};
    io_thread_call(dev->thread, set_target, &t);
}

uint64_t device_balloon_actual(const struct device *dev)
{
    return virtio_balloon_actual(dev->impl);
}

int device_simple_create(struct device *dev, const struct device_place *at, enum device_kind kind, struct boot_error *err)
{
    switch (kind) {
    case DEVICE_CONSOLE: return device_console_create(dev, at, err);
    case DEVICE_RNG: return rng_create(dev, at, err);
    default: return balloon_create(dev, at, err);
    }
}
