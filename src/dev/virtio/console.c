/* See console.h. */
#include "dev/virtio/console.h"

#include "base/string.h"

#define CONSOLE_SIZE (1ull << 0) /* VIRTIO_CONSOLE_F_SIZE */

#define IN_TRIES 256u /* buffers looked at for one call */

/* The configuration space, §5.3.4. All fields are little-endian. */
struct config {
    uint16_t cols, rows;
    uint32_t ports, emergency; /* not offered */
};

/* ---- input ---- */

size_t virtio_console_input(struct virtio_console *c, const void *bytes, size_t len)
{
    struct virtio_device *d = &c->device;
    struct virtq_chain chain;
    const uint8_t *from = bytes;
    size_t done = 0;
    unsigned tries = 0;
    while (done < len && tries++ < IN_TRIES && virtio_device_pop(d, VIRTIO_CONSOLE_IN, &chain)) {
        uint32_t n = (uint32_t)min_u64(min_u64(chain.in_len, len - done), 1u << 20);
        if (!virtq_copy_in(&chain, 0, from + done, n)) {
            n = 0; /* cannot be: n is within in_len */
        }
        virtq_push(&d->queue[VIRTIO_CONSOLE_IN], chain.head, n);
        done += n;
    }
    virtio_device_publish(d, VIRTIO_CONSOLE_IN);
    if (done < len) {
        c->refused = true;
        if (tries > IN_TRIES) {
            virtio_device_later(d, VIRTIO_CONSOLE_IN);
        }
    }
    virtio_count(&d->stat.in_ops, done != 0);
    virtio_count(&d->stat.in_bytes, done);
    return done;
}

/* ---- size ---- */

static void send_size(struct virtio_console *c)
{
    uint16_t size[2] = {c->cols, c->rows};
    virtio_device_config(&c->device, offsetof(struct config, cols), size, sizeof(size));
}

/* Linux looks at the size only when it is told of a change, and forgets that if its console is not
 * there yet: so it is told when it fills the input queue, and again with the first output. */
static void tell_size(struct virtio_console *c, unsigned q)
{
    struct virtio_device *d = &c->device;
    if (!bit(c->told, q) && virtq_has_work(&d->queue[q])) {
        c->told |= (uint8_t)(1u << q);
        if (virtio_has(d, CONSOLE_SIZE) && (c->cols | c->rows) != 0) {
            send_size(c);
        }
    }
}

void virtio_console_resize(struct virtio_console *c, uint16_t cols, uint16_t rows)
{
    if (cols != c->cols || rows != c->rows) {
        c->cols = cols;
        c->rows = rows;
        send_size(c);
    }
}

/* ---- the device ---- */

static void start(struct virtio_device *d)
{
    struct virtio_console *c = d->state;
    c->told = 0;
}

static void kick(struct virtio_device *d, unsigned q)
{
    struct virtio_console *c = d->state;
    tell_size(c, q);
    if (q == VIRTIO_CONSOLE_IN && c->refused) {
        c->refused = false;
        if (c->end.input_room != NULL) {
            c->end.input_room(c->end.ctx);
        }
    }
}

static const struct virtio_ops console_ops = {.start = start, .stop = start, .kick = kick};

void virtio_console_init(struct virtio_console *c, struct virtio_regs *regs, const struct ram *ram,
                         unsigned slot, const struct virtio_console_end *end, uint16_t cols,
                         uint16_t rows)
{
    struct config config = {.cols = cols, .rows = rows, .ports = 1};
    *c = (struct virtio_console){.end = *end, .cols = cols, .rows = rows};
    virtio_device_init(&c->device, regs, ram, slot, VIRTIO_ID_CONSOLE, VIRTIO_CONSOLE_QUEUES,
                       CONSOLE_SIZE, &config, sizeof(config), &console_ops, c);
}
