/* An entropy device: virtio 1.2 §5.4. One queue, which the driver fills with buffers for random
 * bytes.
 * State: none beyond struct virtio_device. Threads: the device's.
 */
#ifndef DEV_VIRTIO_RNG_H
#define DEV_VIRTIO_RNG_H

#include "dev/virtio/device.h"

#define VIRTIO_RNG_REQUEST_MAX 4096u /* bytes a buffer gets at most; the driver asks again */

struct virtio_rng {
    struct virtio_device device;
};

/** Fill in r and regs (zeroed, in the arena). Before the machine runs. */
void virtio_rng_init(struct virtio_rng *r, struct virtio_regs *regs, const struct ram *ram,
                     unsigned slot);

#endif
