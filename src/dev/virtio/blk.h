/* The virtio block device: virtio 1.2 §5.2 "Block Device".
 *
 * It turns the driver's requests into calls of struct virtio_blk_disk, one after the other, in the
 * device's thread. What it needs of the host are the functions in that struct (block/guest_disk.h
 * fills them for struct block), the thread's timer, and somebody who does what is slow beside it:
 * then reads that have to wait for the disk, and flushes, do not keep other requests waiting.
 * Offered: SEG_MAX, BLK_SIZE, TOPOLOGY, FLUSH, DISCARD, WRITE_ZEROES, RO, MQ when there are several
 * queues. A driver that does not negotiate FLUSH gets a flush with each write (§5.2.6.2). A failing
 * disk gives VIRTIO_BLK_S_IOERR, is counted and reported; the machine goes on.
 */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include "dev/virtio/device.h"

#define VIRTIO_BLK_ID_LEN 20u
#define VIRTIO_BLK_SECTOR 512u

/* A disk as the device sees it. Offsets and lengths are bytes, multiples of 512, within size. All
 * calls come from the device's thread; 0 or a negative errno. */
struct virtio_blk_disk {
    void *ctx;
    uint64_t size;    /* bytes, a multiple of 512 */
    uint32_t optimal; /* preferred size of requests in bytes, 0: any */
    bool read_only;
    char id[VIRTIO_BLK_ID_LEN]; /* serial number, padded with zeros */
    int (*read)(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n);
    int (*write)(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n);
    int (*flush)(void *ctx);
    int (*discard)(void *ctx, uint64_t off, uint64_t len);
    int (*write_zeroes)(void *ctx, uint64_t off, uint64_t len, bool unmap);
    /** Host time from which on the next request is welcome (a rate limit). NULL: always. */
    uint64_t (*ready_ns)(void *ctx);
    /** A request failed with err, and the guest was told. `more`: how many failed since the last
     * call, which were not reported. At most one call in 10 s. NULL: nobody wants to know. */
    void (*failed)(void *ctx, const char *what, uint64_t off, uint64_t len, int err, uint64_t more);
};

/** Call fn(arg) in the device's thread at host time when_ns, 0: never. One at a time
 * (io_thread_timer). */
struct virtio_blk_timer {
    void (*set)(void *ctx, uint64_t when_ns, void (*fn)(void *arg), void *arg);
    void *ctx;
};

/** A read or a flush that others finish. */
struct virtio_blk_job {
    unsigned index; /* below VIRTIO_BLK_REQUESTS; no two at a time have the same */
    void (*done)(struct virtio_blk_job *job, int err);
};

/** Who does what is slow. read and flush return what the disk's do, or VIRTIO_BLK_LATER: then
 * job->done is called later, from the device's thread, and vec stays as it is until then. At most
 * one flush is under way. */
struct virtio_blk_crew {
    void *ctx;
    int (*read)(void *ctx, uint64_t off, const struct io_vec *vec, unsigned n,
                struct virtio_blk_job *job);
    int (*flush)(void *ctx, struct virtio_blk_job *job);
    /** Wait until done was called for all. */
    void (*drain)(void *ctx);
};
#define VIRTIO_BLK_LATER 1

#define VIRTIO_BLK_REQUESTS 32u /* under way at a time */

struct virtio_blk_request {
    struct virtio_blk_job job; /* first */
    struct virtio_blk *blk;
    bool busy;
    unsigned queue;
    uint64_t off, len;               /* of a read */
    struct virtio_blk_request *next; /* flushes that wait for, or end with, another */
    struct virtq_chain chain;
    struct io_vec data[VIRTQ_SEGMENTS_MAX];
};

struct virtio_blk {
    struct virtio_device device; /* its slot, stat and so on */
    struct virtio_blk_disk disk;
    struct virtio_blk_timer timer;    /* set NULL: none; then ready_ns is not looked at */
    struct virtio_blk_crew crew;      /* read NULL: none */
    uint64_t reported_ns, unreported; /* failures */
    uint32_t pushed;                  /* a bit a queue: something was, since the last publish */
    unsigned under_way;
    unsigned turn; /* the queue that virtio_blk_look looks at first */
    struct virtio_blk_request *flushing, *flushes; /* under way; to be started after that */
    struct virtio_blk_request request[VIRTIO_BLK_REQUESTS];
};

/** Make b (zeroed) the device of the register file regs (zeroed, in the arena).
 * queues: 1..VIRTIO_QUEUES_MAX. *disk is copied; what it points to must live as long as b. Before
 * the machine runs. */
void virtio_blk_init(struct virtio_blk *b, struct virtio_regs *regs, const struct ram *ram,
                     unsigned slot, unsigned queues, const struct virtio_blk_disk *disk);
/** Set the timer of the device's thread, and its crew: before the thread starts. */
void virtio_blk_set_timer(struct virtio_blk *b, const struct virtio_blk_timer *timer);
void virtio_blk_set_crew(struct virtio_blk *b, const struct virtio_blk_crew *crew);
/** Jobs were done: tell the driver, and look for more. In the device's thread. */
void virtio_blk_look(struct virtio_blk *b);

#endif
