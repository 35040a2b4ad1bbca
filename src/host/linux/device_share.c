/* A share as one of the machine's devices. */
#include "base/log.h"
#include "host/linux/devices.h"
#include "share/share.h"

static void share_device_destroy(struct device *dev)
{
    share_destroy(dev->impl);
}

int device_share_create(struct device *dev, const struct device_place *at, const char *arg, unsigned index, struct boot_error *err)
{
    struct share_config c;
    struct share_error why = {{0}};
    struct share *s;
    if (share_parse(arg, index, &c, &why) || share_create(&c, at->regs, at->ram, at->slot, &s, &why)) {
        fmt_line(err->text, sizeof(err->text), "%s", why.text);
        return -1;
    }
    dev->virtio = share_device(s);
    dev->thread = share_thread(s);
    dev->impl = s;
    dev->destroy = share_device_destroy;
    fmt_line(dev->label, sizeof(dev->label), "%s", c.source);
    return 0;
}
