/* A network card as the machine has it: the virtio device, the back end it is plugged into, its
 * rate limit, its thread.
 */
#ifndef NET_NET_DEVICE_H
#define NET_NET_DEVICE_H

#include "host/linux/io.h"
#include "net/net.h"

struct net_device;

/** Plug in what c says (net_open) and make the card in slot, with its thread. No vCPU task exists
 * yet. 0, or -1 with *err and nothing left open. */
int net_device_create(const struct net_config *c, struct virtio_regs *regs, const struct ram *ram,
                      unsigned slot, struct net_device **out, struct net_error *err) MUST_CHECK;
/** Stop the thread, unplug, free. */
void net_device_destroy(struct net_device *n);

/** To be started after the vCPU tasks (io_thread_start). */
struct io_thread *net_device_thread(const struct net_device *n);
/** Its counters: stat.in_*: received by the guest, out_*: sent by it, errors: frames that were
 * nonsense or too large. */
struct virtio_device *net_device_virtio(struct net_device *n);
/** "user", "tap=t0", "switch=lan". */
const char *net_device_name(const struct net_device *n);

#endif
