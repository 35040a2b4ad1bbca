/* See rng.h. */
#include "dev/virtio/rng.h"

#include "host/host.h"

static void nothing(struct virtio_device *d)
{
    (void)d;
}

static uint32_t fill(const struct virtq_chain *chain)
{
    struct io_vec vec[VIRTQ_SEGMENTS_MAX];
    uint64_t len = min_u64(chain->in_len, VIRTIO_RNG_REQUEST_MAX);
    unsigned n = virtq_slice(chain, true, 0, len, vec);
    for (unsigned i = 0; i < n; i++) {
        host_random(vec[i].base, vec[i].len);
    }
    return (uint32_t)len;
}

static void kick(struct virtio_device *d, unsigned q)
{
    struct virtq_chain chain;
    while (virtio_device_pop(d, q, &chain)) {
        uint32_t len = fill(&chain);
        virtq_push(&d->queue[q], chain.head, len);
        virtio_count(&d->stat.in_ops, 1);
        virtio_count(&d->stat.in_bytes, len);
    }
    virtio_device_publish(d, q);
}

static const struct virtio_ops rng_ops = {.start = nothing, .stop = nothing, .kick = kick};

void virtio_rng_init(struct virtio_rng *r, struct virtio_regs *regs, const struct ram *ram,
                     unsigned slot)
{
    virtio_device_init(&r->device, regs, ram, slot, VIRTIO_ID_RNG, 1, 0, NULL, 0, &rng_ops, r);
}
