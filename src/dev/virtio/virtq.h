/* Split virtqueues, seen from the device: virtio 1.2 §2.7.
 *
 * Everything in a ring is the guest's to spoil at any moment: each index, address and length is
 * copied, then checked, and used from the copy only. A ring that breaks the rules is broken for
 * good (until the next virtq_init); never a reason to stop the host.
 * Threads: one thread per queue, the device's.
 */
#ifndef DEV_VIRTIO_VIRTQ_H
#define DEV_VIRTIO_VIRTQ_H

#include "dev/virtio/virtio.h"
#include "mmu/ram.h"

#define VIRTQ_SEGMENTS_MAX 256u

/** A run of bytes of guest RAM, as the host sees it. Layout of struct iovec. */
struct io_vec {
    uint8_t *base;
    size_t len;
};

/** One buffer of the driver's: `out` segments that it filled, then `in` segments for the device to
 * fill. len > 0 for each (empty ones are left out). Segments may overlap each other, the ring,
 * anything. */
struct virtq_chain {
    uint16_t head;
    unsigned out_count, in_count;
    uint64_t out_len, in_len;              /* bytes in all */
    struct io_vec seg[VIRTQ_SEGMENTS_MAX]; /* out first */
};

struct virtq {
    const struct ram *ram; /* borrowed */
    uint16_t size;         /* 0: not in use */
    bool event_idx, indirect, broken;
    uint16_t next_avail;               /* ring position of the next chain */
    uint16_t used;                     /* used index as published, plus what is not yet */
    uint16_t signalled;                /* used index at the last virtq_publish */
    uint8_t *desc, *avail, *used_ring; /* checked spans of RAM */
};

/** Take the queue as the driver set it up (a copy of its registers) with the negotiated features.
 * False: it is not one (not enabled, size, alignment, not RAM); q->size is then 0. */
bool virtq_init(struct virtq *q, const struct ram *ram, const struct virtio_queue_regs *regs,
                uint64_t features);
/** The next chain, whose segments all lie in RAM. 1: *chain; 0: none there; -1: q->broken. */
int virtq_pop(struct virtq *q, struct virtq_chain *chain);
/** Put back the chain popped last, as if it had not been: called n times, the last n. */
void virtq_unpop(struct virtq *q);
/** Whether the driver has put something there that was not popped. */
bool virtq_has_work(const struct virtq *q);
/** Give `head`, of a popped chain, back with `written` bytes in its `in` segments. The driver sees
 * it after virtq_publish. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);
/** Publish what was pushed. True: there was something, and the driver wants an interrupt for it
 * (§2.7.7, §2.7.10). */
bool virtq_publish(struct virtq *q);
/** Ask the driver for kicks (or not: a hint only). After enabling, true: there is something to pop,
 * look again. */
bool virtq_enable_kicks(struct virtq *q);
void virtq_disable_kicks(struct virtq *q);

/** Copy len bytes from chain's out segments at offset `at`, or to its in segments. False: they are
 * not that long; nothing, or a part, was copied. */
bool virtq_copy_out(const struct virtq_chain *chain, uint64_t at, void *to,
                    uint64_t len) MUST_CHECK;
bool virtq_copy_in(const struct virtq_chain *chain, uint64_t at, const void *from,
                   uint64_t len) MUST_CHECK;
/** The part [at, at+len) of the out (in: false) or in segments as vectors, at most
 * VIRTQ_SEGMENTS_MAX; returns how many, 0 if they are not that long. */
unsigned virtq_slice(const struct virtq_chain *chain, bool in, uint64_t at, uint64_t len,
                     struct io_vec *vec);

#endif
