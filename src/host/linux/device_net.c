/* A network card as one of the machine's devices. */
#include "base/log.h"
#include "host/linux/devices.h"
#include "net/net_device.h"

static void net_device_end(struct device *dev)
{
    net_device_destroy(dev->impl);
}

static int make_config(const struct device_place *at, const char *arg, unsigned index,
                       const char *const *forwards, unsigned count, struct net_config *c,
                       struct net_error *err)
{
    if (net_parse(arg, c, err)) {
        return -1;
    }
    c->vm_name = at->vm_name;
    c->index = index;
    for (unsigned i = 0; i < count; i++) {
        struct net_forward f;
        if (net_parse_forward(forwards[i], &f, err) || net_add_forward(c, &f, err)) {
            return -1;
        }
    }
    return 0;
}

int device_net_create(struct device *dev, const struct device_place *at, const char *arg,
                      unsigned index, const char *const *forwards, unsigned forward_count,
                      struct boot_error *err)
{
    struct net_config c;
    struct net_error why = {{0}};
    struct net_device *n;
    if (make_config(at, arg, index, forwards, forward_count, &c, &why) ||
        net_device_create(&c, at->regs, at->ram, at->slot, &n, &why)) {
        fmt_line(err->text, sizeof(err->text), "%s", why.text);
        return -1;
    }
    dev->virtio = net_device_virtio(n);
    dev->thread = net_device_thread(n);
    dev->impl = n;
    dev->destroy = net_device_end;
    fmt_line(dev->label, sizeof(dev->label), "%s", net_device_name(n));
    return 0;
}
