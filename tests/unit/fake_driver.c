/* See fake_driver.h. */
#include "fake_driver.h"

#include <stdlib.h>
#include <string.h>

static void *ram_at(const struct ram *ram, uint64_t at, uint64_t len)
{
    void *p = ram_span(ram, gpa(at), len);
    if (p == NULL) {
        abort();
    }
    return p;
}

void fake_queue_init(struct fake_queue *q, const struct ram *ram, uint64_t at, uint16_t size)
{
    *q = (struct fake_queue){.ram = ram,
                             .size = size,
                             .desc_gpa = at,
                             .avail_gpa = at + 0x3000,
                             .used_gpa = at + 0x6000};
    memset(ram_at(ram, at, 0x9000), 0, 0x9000);
    q->desc = ram_at(ram, q->desc_gpa, size * sizeof(struct fake_desc));
    q->avail = ram_at(ram, q->avail_gpa, 6 + 2u * size);
    q->used = ram_at(ram, q->used_gpa, 6 + 8u * size);
}

struct virtio_queue_regs fake_queue_regs(const struct fake_queue *q)
{
    return (struct virtio_queue_regs){
        .desc = q->desc_gpa,
        .driver = q->avail_gpa,
        .device = q->used_gpa,
        .size = q->size,
        .vector = VIRTIO_NO_VECTOR,
        .enabled = q->size != 0,
    };
}

void fake_queue_set(struct fake_queue *q, uint16_t index, uint64_t at, uint32_t len, uint16_t flags,
                    uint16_t next)
{
    q->desc[index] = (struct fake_desc){.gpa = at, .len = len, .flags = flags, .next = next};
}

void fake_queue_offer(struct fake_queue *q, uint16_t head)
{
    q->avail[2 + q->avail[1] % q->size] = head;
    __atomic_store_n(&q->avail[1], (uint16_t)(q->avail[1] + 1), __ATOMIC_RELEASE);
}

uint16_t fake_queue_add(struct fake_queue *q, uint64_t out, uint32_t out_len, uint64_t in,
                        uint32_t in_len)
{
    uint16_t head = q->next, second = (uint16_t)((q->next + 1) % q->size);
    bool both = out_len != 0 && in_len != 0;
    if (out_len != 0) {
        fake_queue_set(q, head, out, out_len, both ? FAKE_NEXT : 0, second);
    }
    if (in_len != 0 || out_len == 0) {
        fake_queue_set(q, both ? second : head, in, in_len, FAKE_IN, 0);
    }
    q->next = (uint16_t)((q->next + (both ? 2 : 1)) % q->size);
    fake_queue_offer(q, head);
    return head;
}

bool fake_queue_take(struct fake_queue *q, uint32_t *head, uint32_t *len)
{
    if (q->seen == __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE)) {
        return false;
    }
    const uint16_t *element = &q->used[2 + q->seen % q->size * 4];
    memcpy(head, element, sizeof(*head));
    memcpy(len, element + 2, sizeof(*len));
    q->seen++;
    return true;
}

uint16_t *fake_queue_used_event(const struct fake_queue *q)
{
    return q->avail + 2 + q->size;
}

uint16_t *fake_queue_avail_event(const struct fake_queue *q)
{
    return q->used + 2 + q->size * 4u;
}

void fake_driver_start(struct virtio_device *d, uint64_t features, const struct fake_queue *queue,
                       unsigned count)
{
    struct virtio_regs *r = d->regs;
    r->driver_features = features;
    for (unsigned i = 0; i < count; i++) {
        r->queue[i] = fake_queue_regs(&queue[i]);
    }
    r->status = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK;
    r->request++;
    virtio_device_control(d);
}

void fake_driver_reset(struct virtio_device *d)
{
    d->regs->status = 0;
    memset(d->regs->queue, 0, sizeof(d->regs->queue));
    d->regs->request++;
    virtio_device_control(d);
}
