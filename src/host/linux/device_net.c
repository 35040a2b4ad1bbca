/* A network card: not wired yet. */
#include "host/linux/devices.h"

int device_net_create(struct device *dev, const struct device_place *at, const char *arg, unsigned index, const char *const *forwards,
                      unsigned forward_count, struct boot_error *err)
{
    (void)dev;
    (void)at;
    (void)index;
    (void)forwards;
    (void)forward_count;
    return boot_fail(err, BOOT_EINVAL, "--net %s: networks are not wired yet", arg);
}
