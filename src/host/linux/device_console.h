/* The guest's virtio console, as the monitor's main loop sees it. */
#ifndef HOST_LINUX_DEVICE_CONSOLE_H
#define HOST_LINUX_DEVICE_CONSOLE_H

#include "host/linux/devices.h"

int device_console_create(struct device *dev, const struct device_place *at, struct boot_error *err) MUST_CHECK;
/** A non-blocking stream socket: what is typed is written to it. */
int device_console_fd(const struct device *dev);
/** Whether the guest's driver is there to take input. */
bool device_console_listens(const struct device *dev);
/** The terminal has this size now. Main thread. */
void device_console_resize(const struct device *dev, uint16_t cols, uint16_t rows);

#endif
