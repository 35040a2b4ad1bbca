/* A console: virtio 1.2 §5.3, one port with its size. What the guest prints goes to the other end,
 * what is typed there to the guest.
 *
 * Nothing is buffered here, so pressure is passed on both ways: output that the other end does not
 * take stays in the guest's queue, input that the guest has no buffers for is not taken. Whoever
 * was refused is told when to try again.
 * State: struct virtio_console. Threads: the device's makes all calls, in both directions.
 */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "dev/virtio/device.h"

/** What the console is joined to. */
struct virtio_console_end {
    /** The guest's output; the bytes are the guest's and may change at any time. Returns how many
     * were taken; fewer than len: the rest comes again after virtio_console_drained. */
    size_t (*write)(void *ctx, const uint8_t *bytes, size_t len);
    /** The guest takes input again, after virtio_console_input refused some. May be NULL. */
    void (*input_room)(void *ctx);
    void *ctx;
};

struct virtio_console {
    struct virtio_device device;
    struct virtio_console_end end;
    struct virtq_chain out; /* partly written, when `held` */
    uint64_t out_done;      /* bytes of it */
    bool held;
    bool blocked; /* the other end is full: wait for virtio_console_drained */
    bool refused; /* input was refused */
    uint16_t cols, rows;
    uint8_t told;   /* a bit a queue: the driver was told of the size when it began to use it */
};

/** Fill in c and regs (zeroed, in the arena). end is copied. cols, rows: 0 when unknown. Before the
 * machine runs. */
void virtio_console_init(struct virtio_console *c, struct virtio_regs *regs, const struct ram *ram,
                         unsigned slot, const struct virtio_console_end *end, uint16_t cols,
                         uint16_t rows);
/** Give the guest input. Returns how many bytes were taken, 0..len. */
size_t virtio_console_input(struct virtio_console *c, const void *bytes, size_t len);
/** The other end takes output again. */
void virtio_console_drained(struct virtio_console *c);
/** The terminal has another size now. */
void virtio_console_resize(struct virtio_console *c, uint16_t cols, uint16_t rows);

#endif
