/* What all virtio devices share. See device.h for state and threads.
 *
 * The register file is hostile: everything here is a copy, taken at once in virtio_device_control
 * and checked afterwards.
 */
#include "dev/virtio/device.h"

#include "base/log.h"
#include "base/string.h"
#include "host/host.h"

#define KICK_BUDGET (2 * VIRTIO_QUEUE_SIZE_MAX) /* chains handled for one kick */
#define EMPTY_TRIES 4u
#define SNAPSHOT_TRIES 16u
#define COMPLAINTS_MAX 8u

void virtio_device_init(struct virtio_device *d, struct virtio_regs *regs, const struct ram *ram,
                        unsigned slot, enum virtio_id id, unsigned queues, uint64_t offered,
                        const void *config, size_t config_len, const struct virtio_ops *ops,
                        void *state)
{
    BUG_ON(queues == 0 || queues > VIRTIO_QUEUES_MAX || config_len > VIRTIO_CONFIG_MAX);
    *d = (struct virtio_device){
        .regs = regs,
        .ops = ops,
        .state = state,
        .ram = *ram,
        .slot = slot,
        .queue_count = queues,
        .offered = offered | VIRTIO_F_COMMON,
        .config_len = (unsigned)config_len,
    };
    *regs = (struct virtio_regs){
        .id = (uint16_t)id,
        .slot = (uint16_t)slot,
        .queue_count = (uint16_t)queues,
        .config_len = (uint16_t)config_len,
        .device_features = d->offered,
        .control = -1,
    };
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        regs->kick[q] = -1;
    }
    if (config_len != 0) {
        memcpy(regs->config, config, config_len);
    }
}

/* ---- start and stop ---- */

/* What the driver asks for with one request. */
struct wish {
    uint32_t request;
    uint8_t status;
    uint64_t features;
    struct virtio_queue_regs queue[VIRTIO_QUEUES_MAX];
};

/* A copy of the driver's part of the register file that belongs to one request. A register file
 * that will not keep still is as good as reset: another request, and another bell, come with each
 * change. */
static struct wish copy_wish(const struct virtio_regs *r)
{
    struct wish w;
    for (unsigned i = 0; i < SNAPSHOT_TRIES; i++) {
        /* Acquire pairs with the transport's release: what it set before is there. */
        w.request = __atomic_load_n(&r->request, __ATOMIC_ACQUIRE);
        w.status = __atomic_load_n(&r->status, __ATOMIC_RELAXED);
        w.features = __atomic_load_n(&r->driver_features, __ATOMIC_RELAXED);
        memcpy(w.queue, r->queue, sizeof(w.queue));
        __asm__ volatile("" : "+m"(w) : : "memory");
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&r->request, __ATOMIC_RELAXED) == w.request) {
            return w;
        }
    }
    w.status = 0;
    return w;
}

void virtio_device_stop(struct virtio_device *d)
{
    if (d->running) {
        d->ops->stop(d);
        d->running = false;
    }
    d->again = d->listening = 0;
    memset(d->queue, 0, sizeof(d->queue));
}

static void start(struct virtio_device *d, const struct wish *w)
{
    if ((w->features & ~d->offered) || !(w->features & VIRTIO_F_VERSION_1)) {
        virtio_device_break(d, "the driver took features that were not offered");
        return;
    }
    d->features = w->features;
    for (unsigned q = 0; q < d->queue_count; q++) {
        struct virtio_queue_regs regs = w->queue[q];
        /* a byte that may hold anything */
        regs.enabled = *(const uint8_t *)&w->queue[q].enabled != 0;
        if (regs.enabled && !virtq_init(&d->queue[q], &d->ram, &regs, d->features)) {
            virtio_device_break(d,
                                "a queue does not lie in RAM, or its size or alignment is wrong");
            return;
        }
    }
    d->running = true;
    d->listening = ~0u; /* a fresh queue's driver kicks */
    d->ops->start(d);
}

void virtio_device_control(struct virtio_device *d)
{
    struct virtio_regs *r = d->regs;
    struct wish w = copy_wish(r);
    if (w.request == d->seen) {
        return;
    }
    virtio_device_stop(d);
    d->broken = false;
    __atomic_store_n(&r->broken, false, __ATOMIC_RELAXED);
    __atomic_store_n(&r->interrupts, 0, __ATOMIC_RELAXED);
    if (w.status & VIRTIO_DRIVER_OK) {
        start(d, &w);
    }
    d->seen = w.request;
    /* pairs with the transport's acquire: all of the above is over */
    __atomic_store_n(&r->done, w.request, __ATOMIC_RELEASE);
    /* Kicks that came before this had nobody to look. */
    for (unsigned q = 0; q < d->queue_count; q++) {
        virtio_device_kick(d, q);
    }
}

/* ---- work ---- */

static bool works(const struct virtio_device *d, unsigned q)
{
    return d->running && !d->broken && q < d->queue_count && d->queue[q].size != 0;
}

void virtio_device_kick(struct virtio_device *d, unsigned q)
{
    if (!works(d, q)) {
        return;
    }
    virtio_count(&d->stat.kicks, 1);
    d->kicking = true;
    d->budget = KICK_BUDGET;
    d->ops->kick(d, q);
    d->kicking = false;
}

uint32_t virtio_device_again(struct virtio_device *d)
{
    uint32_t again = d->again;
    d->again = 0;
    return again;
}

bool virtio_device_pop(struct virtio_device *d, unsigned q, struct virtq_chain *chain)
{
    if (!works(d, q)) {
        return false;
    }
    struct virtq *vq = &d->queue[q];
    for (unsigned i = 0; i < EMPTY_TRIES && (!d->kicking || d->budget != 0); i++) {
        int got = virtq_pop(vq, chain);
        if (got < 0) {
            virtio_device_break(d, "the driver spoiled a queue");
            return false;
        }
        if (got > 0) {
            if (bit(d->listening, q)) {
                d->listening &= ~(1u << q);
                virtq_disable_kicks(vq);
            }
            d->budget -= d->kicking;
            return true;
        }
        d->listening |= 1u << q;
        if (!virtq_enable_kicks(vq)) {
            return false;
        }
    }
    virtio_device_later(d, q);
    return false;
}

void virtio_device_later(struct virtio_device *d, unsigned q)
{
    d->again |= 1u << q;
}

static void interrupt(struct virtio_device *d, uint32_t cause)
{
    /* Release pairs with the transport's acquire. A cause that is still there has its interrupt
     * under way. */
    uint32_t before = __atomic_fetch_or(&d->regs->interrupts, cause, __ATOMIC_ACQ_REL);
    if (!(before & cause)) {
        virtio_count(&d->stat.interrupts, 1);
        host_device_interrupt(d->slot);
    }
}

void virtio_device_publish(struct virtio_device *d, unsigned q)
{
    if (works(d, q) && virtq_publish(&d->queue[q])) {
        interrupt(d, 1u << q);
    }
}

void virtio_device_break(struct virtio_device *d, const char *why)
{
    if (d->broken) {
        return;
    }
    d->broken = true;
    virtio_count(&d->stat.errors, 1);
    if (d->complaints < COMPLAINTS_MAX) {
        d->complaints++;
        log_msg(LOG_WARN, "the device in slot %u stops until the guest resets it: %s", d->slot,
                why);
    }
    __atomic_store_n(&d->regs->broken, true, __ATOMIC_RELAXED);
    interrupt(d, VIRTIO_INTERRUPT_CONFIG);
}

void virtio_device_config(struct virtio_device *d, unsigned at, const void *bytes, unsigned len)
{
    struct virtio_regs *r = d->regs;
    BUG_ON(at > d->config_len || len > d->config_len - at);
    uint32_t generation = __atomic_load_n(&r->config_generation, __ATOMIC_RELAXED) & ~1u;
    __atomic_store_n(&r->config_generation, generation + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* odd before the first byte changes */
    memcpy(r->config + at, bytes, len);
    /* even after the last; pairs with the transport's acquire */
    __atomic_store_n(&r->config_generation, generation + 2, __ATOMIC_RELEASE);
    interrupt(d, VIRTIO_INTERRUPT_CONFIG);
}
