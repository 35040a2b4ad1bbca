/* Plugging in devices. State: struct devices, private to the monitor; the register files and transports lie in the arena. */
#include "host/linux/devices.h"

#include "dev/virtio/console.h"
#include "dev/virtio/console_out.h"
#include "dev/virtio/virtio_pci.h"
#include "host/linux/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES_MAX (PCI_SLOTS - 1)

struct devices {
    unsigned count;
    bool stopped;
    struct device device[DEVICES_MAX]; /* in the order of their slots, from slot 1 on */
};

/* A slot's place in the arena, and the transport behind it. */
static struct virtio_pci *make_place(const struct devices *d, const struct devices_config *cfg, struct device_place *at, struct boot_error *err)
{
    if (d->count == DEVICES_MAX) {
        fmt_line(err->text, sizeof(err->text), "more devices than the %u that a machine has room for", DEVICES_MAX);
        return NULL;
    }
    struct virtio_pci *p = arena_alloc(sizeof(*p));
    *at = (struct device_place){
        .ram = arena_ram(), .regs = arena_alloc(sizeof(*at->regs)), .slot = d->count + 1, .vm_name = cfg->vm_name};
    if (!p || !at->regs) {
        fmt_line(err->text, sizeof(err->text), "no room for more devices");
        return NULL;
    }
    return p;
}

/* One of what was asked for. */
struct wish {
    enum device_kind kind;
    const char *arg;
    unsigned index; /* among its kind */
};

/* Which network card -p is about: the first user network. net_count: none. */
static unsigned forwards_to(const struct devices_config *cfg)
{
    for (unsigned i = 0; cfg->nets && i < cfg->net_count; i++) {
        if (strncmp(cfg->nets[i], "user", 4) == 0) {
            return i;
        }
    }
    return cfg->net_count;
}

static int create(struct device *dev, const struct device_place *at, const struct wish *w, const struct devices_config *cfg, struct boot_error *err)
{
    switch (w->kind) {
    case DEVICE_DISK: return device_disk_create(dev, at, w->arg, err);
    case DEVICE_SHARE: return device_share_create(dev, at, w->arg, w->index, err);
    case DEVICE_NET:
        return device_net_create(dev, at, w->arg, w->index, cfg->forwards, w->index == forwards_to(cfg) ? cfg->forward_count : 0, err);
    default: return device_simple_create(dev, at, w->kind, err);
    }
}

/* A console's output does not go by way of the monitor's thread. */
static int serve_output(struct virtio_pci *p, struct vm *vm, struct virtio_regs *regs, struct boot_error *err)
{
    struct virtio_console_out *out = arena_alloc(sizeof(*out));
    if (!out) {
        return boot_fail(err, BOOT_ENOMEM, "no room for more devices");
    }
    virtio_console_out_init(out, vm, regs);
    virtio_pci_serve(p, VIRTIO_CONSOLE_OUT, virtio_console_out_kick, out);
    return 0;
}

static int plug_in(struct devices *d, struct vm *vm, const struct wish *w, const struct devices_config *cfg, struct boot_error *err)
{
    struct device_place at;
    struct virtio_pci *p = make_place(d, cfg, &at, err);
    if (!p) {
        return -1;
    }
    struct device *dev = &d->device[d->count];
    dev->kind = w->kind;
    if (create(dev, &at, w, cfg, err)) {
        return -1;
    }
    d->count++;
    virtio_pci_init(p, vm, at.regs);
    return w->kind == DEVICE_CONSOLE ? serve_output(p, vm, at.regs, err) : 0;
}

static int plug_in_all(struct devices *d, struct vm *vm, enum device_kind kind, const char *const *args, unsigned count,
                       const struct devices_config *cfg, struct boot_error *err)
{
    for (unsigned i = 0; i < count; i++) {
        if (plug_in(d, vm, &(struct wish){kind, args ? args[i] : NULL, i}, cfg, err)) {
            return -1;
        }
    }
    return 0;
}

int devices_create(const struct devices_config *cfg, struct vm *vm, struct devices **out, struct boot_error *err)
{
    struct devices *d = calloc(1, sizeof(*d));
    if (!d) {
        fmt_line(err->text, sizeof(err->text), "out of memory");
        return -1;
    }
    static const char *const user[] = {"user"};
    bool bare = cfg->forward_count && !cfg->net_count; /* -p alone asks for a user network */
    if (cfg->forward_count && !bare && forwards_to(cfg) == cfg->net_count) {
        fmt_line(err->text, sizeof(err->text), "-p %s: only --net user forwards ports, and none is asked for", cfg->forwards[0]);
        free(d);
        return -1;
    }
    if (plug_in_all(d, vm, DEVICE_CONSOLE, NULL, cfg->console, cfg, err) || plug_in_all(d, vm, DEVICE_RNG, NULL, cfg->rng, cfg, err) ||
        plug_in_all(d, vm, DEVICE_BALLOON, NULL, cfg->balloon, cfg, err) ||
        plug_in_all(d, vm, DEVICE_DISK, cfg->disks, cfg->disk_count, cfg, err) ||
        plug_in_all(d, vm, DEVICE_NET, bare ? user : cfg->nets, bare ? 1 : cfg->net_count, cfg, err) ||
        plug_in_all(d, vm, DEVICE_SHARE, cfg->shares, cfg->share_count, cfg, err)) {
        devices_destroy(d);
        return -1;
    }
    *out = d;
    return 0;
}

int devices_start(struct devices *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        struct device *dev = &d->device[i];
        int err = dev->start ? dev->start(dev) : 0;
        err = err ? err : io_thread_start(dev->thread);
        if (err) {
            return err;
        }
    }
    return 0;
}

void devices_stop(struct devices *d, int bell)
{
    d->stopped = true;
    for (unsigned i = 0; i < d->count; i++) {
        io_thread_stop(d->device[i].thread, bell);
    }
}

const struct device *devices_busy(const struct devices *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        if (!io_thread_ended(d->device[i].thread)) {
            return &d->device[i];
        }
    }
    return NULL;
}

void devices_destroy(struct devices *d)
{
    for (unsigned i = 0; d && i < d->count; i++) {
        if (!d->stopped || io_thread_ended(d->device[i].thread)) {
            d->device[i].destroy(&d->device[i]);
        }
    }
    free(d); /* what is busy has its own memory */
}

const struct device *devices_get(const struct devices *d, unsigned index)
{
    return d && index < d->count ? &d->device[index] : NULL;
}

const struct device *devices_find(const struct devices *d, enum device_kind kind)
{
    for (unsigned i = 0; d && i < d->count; i++) {
        if (d->device[i].kind == kind) {
            return &d->device[i];
        }
    }
    return NULL;
}
