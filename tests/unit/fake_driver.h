/* The guest's half of virtio for tests: split rings built by hand in the RAM of a fake machine, so
 * that tests can spoil any part, and a driver that brings a device up through its register file as
 * the transport would.
 */
#ifndef TESTS_FAKE_DRIVER_H
#define TESTS_FAKE_DRIVER_H

#include "dev/virtio/device.h"

/* Descriptor flags. */
enum { FAKE_NEXT = 1, FAKE_IN = 2, FAKE_INDIRECT = 4 };

struct fake_desc {
    uint64_t gpa;
    uint32_t len;
    uint16_t flags, next;
};

/** One queue. Pointers lead into RAM. */
struct fake_queue {
    const struct ram *ram;
    uint16_t size;
    uint64_t desc_gpa, avail_gpa, used_gpa;
    struct fake_desc *desc;
    uint16_t *avail; /* flags, index, heads, used_event */
    uint16_t *used;  /* flags, index, elements of four, avail_event */
    uint16_t seen;   /* used index up to which fake_queue_take has looked */
    uint16_t next;   /* the next free descriptor, for fake_queue_add */
};

/** An empty queue at gpa `at` (page aligned), with rings of three pages each at most. */
void fake_queue_init(struct fake_queue *q, const struct ram *ram, uint64_t at, uint16_t size);
/** Its registers, enabled. */
struct virtio_queue_regs fake_queue_regs(const struct fake_queue *q);
void fake_queue_set(struct fake_queue *q, uint16_t index, uint64_t at, uint32_t len, uint16_t flags,
                    uint16_t next);
/** Make the chain at head available. */
void fake_queue_offer(struct fake_queue *q, uint16_t head);
/** A chain of one or two segments (length 0: leave it out) at the next free descriptors, made
 * available. Returns its head. */
uint16_t fake_queue_add(struct fake_queue *q, uint64_t out, uint32_t out_len, uint64_t in,
                        uint32_t in_len);
/** The next chain that the device gave back. False: none. */
bool fake_queue_take(struct fake_queue *q, uint32_t *head, uint32_t *len);
uint16_t *fake_queue_used_event(const struct fake_queue *q);
uint16_t *fake_queue_avail_event(const struct fake_queue *q);

/** Bring the device up with these features and queues (a queue of size 0 is left out), and let it
 * start. */
void fake_driver_start(struct virtio_device *d, uint64_t features, const struct fake_queue *queue,
                       unsigned count);
/** Reset it. */
void fake_driver_reset(struct virtio_device *d);

#endif
