/* A console: virtio 1.2 §5.3, one port with its size: what is typed goes to the guest. What the
 * guest prints does not come here (console_out.h).
 *
 * Nothing is buffered here, so pressure is passed on: input that the guest has no buffers for is
 * not taken, and whoever was refused is told when to try again.
 * State: struct virtio_console. Threads: the device's makes all calls.
 */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "dev/virtio/device.h"

enum virtio_console_queue { VIRTIO_CONSOLE_IN, VIRTIO_CONSOLE_OUT, VIRTIO_CONSOLE_QUEUES };

/** Who types. */
struct virtio_console_end {
    /** The guest takes input again, after virtio_console_input refused some. May be NULL. */
    void (*input_room)(void *ctx);
    void *ctx;
};

struct virtio_console {
    struct virtio_device device;
    struct virtio_console_end end;
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
/** The terminal has another size now. */
void virtio_console_resize(struct virtio_console *c, uint16_t cols, uint16_t rows);

#endif
