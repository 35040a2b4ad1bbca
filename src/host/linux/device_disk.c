/* A disk: a virtual disk of block/ behind a virtio block device, with a thread. State: struct disk, the thread's. */
#include "block/guest_disk.h"
#include "host/host.h"
#include "host/linux/devices.h"
#include "host/linux/host_error.h"

#include <stdlib.h>
#include <string.h>

struct disk {
    struct virtio_blk blk;
    struct block *block;
    struct io_thread *thread;
};

/* A mirror lost a leg, a request failed: people should know. */
static void say(void *ctx, const char *line)
{
    (void)ctx;
    host_log(LOG_WARN, line);
}

static void set_timer(void *ctx, uint64_t when_ns, void (*fn)(void *arg), void *arg)
{
    io_thread_timer(ctx, when_ns, fn, arg);
}

/* In the thread: it writes out what the format has kept, and a server may be slow. */
static void close_block(void *ctx)
{
    struct disk *d = ctx;
    block_close(d->block);
}

static void disk_destroy(struct device *dev)
{
    struct disk *d = dev->impl;
    io_thread_destroy(d->thread);
    free(d);
}

/* Open what the argument names. */
static int open_block(struct disk *d, const struct device_place *at, const char *arg, char serial[21], struct boot_error *err)
{
    struct block_options o = {.vm_name = at->vm_name, .report = say};
    struct block_error why = {.gone = false};
    char *spec;
    if (block_parse(arg, &spec, &o, &why)) {
        fmt_line(err->text, sizeof(err->text), "%s", why.text);
        return -1;
    }
    memcpy(serial, o.serial, sizeof(o.serial));
    int failed = block_open(spec, &o, &d->block, &why);
    free(spec);
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "-d %s", why.text);
        return -1;
    }
    return 0;
}

int device_disk_create(struct device *dev, const struct device_place *at, const char *arg, struct boot_error *err)
{
    char serial[21];
    struct disk *d = calloc(1, sizeof(*d));
    if (!d || open_block(d, at, arg, serial, err)) {
        free(d);
        return -1;
    }
    struct virtio_blk_disk guest;
    guest_disk(d->block, serial, &guest);
    virtio_blk_init(&d->blk, at->regs, at->ram, at->slot, 1, &guest);
    int failed = io_thread_create(&d->thread, &d->blk.device, "disk");
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "-d %s: no thread for it: %s", arg, host_error(-failed));
        block_close(d->block);
        free(d);
        return -1;
    }
    io_thread_last(d->thread, close_block, d);
    virtio_blk_set_timer(&d->blk, &(struct virtio_blk_timer){.set = set_timer, .ctx = d->thread});
    dev->virtio = &d->blk.device;
    dev->thread = d->thread;
    dev->impl = d;
    dev->destroy = disk_destroy;
    fmt_line(dev->label, sizeof(dev->label), "%s", d->block->name);
    return 0;
}
