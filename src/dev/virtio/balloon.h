/* A memory balloon: virtio 1.2 §5.5. The guest gives memory back to the host: when asked
 * (inflating, up to a target), and by itself, what lies free (free page reporting). What was given
 * back costs the host nothing until the guest touches it again; then it reads as zero.
 *
 * The guest can refuse all of it, lie about it, or give back pages it uses; it only harms itself.
 * State: struct virtio_balloon. Threads: the device's (from elsewhere: io_thread_call).
 */
#ifndef DEV_VIRTIO_BALLOON_H
#define DEV_VIRTIO_BALLOON_H

#include "dev/virtio/device.h"

/** What the guest says about its memory, §5.5.6.4. Bytes, or a count; UINT64_MAX: not said. */
enum virtio_balloon_fact {
    BALLOON_SWAP_IN,
    BALLOON_SWAP_OUT,
    BALLOON_MAJOR_FAULTS,
    BALLOON_MINOR_FAULTS,
    BALLOON_FREE,
    BALLOON_TOTAL,
    BALLOON_AVAILABLE,
    BALLOON_CACHES,
    BALLOON_HUGE_ALLOCATIONS,
    BALLOON_HUGE_FAILURES,
    BALLOON_FACTS,
};

struct virtio_balloon {
    struct virtio_device device;
    uint64_t fact[BALLOON_FACTS];
    bool asking;       /* the guest waits to be asked for new facts: it left a buffer for them */
    uint16_t ask_head; /* that buffer */
    unsigned calls;    /* discards since the last kick */
};

/** Fill in b and regs (zeroed, in the arena). Before the machine runs. */
void virtio_balloon_init(struct virtio_balloon *b, struct virtio_regs *regs, const struct ram *ram,
                         unsigned slot);
/** Ask the guest to give this many bytes back (0: none), rounded down to pages, no more than it
 * has. It follows as it can. */
void virtio_balloon_set_target(struct virtio_balloon *b, uint64_t bytes);
/** How many bytes it says it has given back so far. */
uint64_t virtio_balloon_actual(const struct virtio_balloon *b);
/** Ask the guest for new facts, which come when it gets to it. False: it is not ready for that. */
bool virtio_balloon_ask(struct virtio_balloon *b);

#endif
