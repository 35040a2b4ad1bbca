/* The virtio console. What is typed comes from the monitor's main loop through a pair of sockets, and a full socket is the back pressure; what the guest prints
 * goes straight into the console's ring (dev/virtio/console_out.h). State: struct hvc, the thread's; the main loop's end is device_console_fd.
 */
#include "dev/virtio/console.h"
#include "host/linux/device_console.h"
#include "host/linux/host_error.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_MAX 512u

struct hvc {
    struct virtio_console console;
    struct io_thread *thread;
    int inner, outer; /* the thread's end, the main loop's end */
    uint8_t input[INPUT_MAX]; /* read, but the guest had no room: [done, len) */
    size_t input_done, input_len;
    uint16_t cols, rows; /* for resize */
};

static void on_socket(void *ctx, short revents);

static void watch(struct hvc *h)
{
    (void)!io_thread_watch(h->thread, h->inner, h->input_len ? 0 : POLLIN, on_socket, h);
}

static void push_input(struct hvc *h)
{
    h->input_done += virtio_console_input(&h->console, h->input + h->input_done, h->input_len - h->input_done);
    if (h->input_done == h->input_len) {
        h->input_done = h->input_len = 0;
    }
}

static void on_socket(void *ctx, short revents)
{
    struct hvc *h = ctx;
    if ((revents & POLLIN) && !h->input_len) {
        ssize_t n = recv(h->inner, h->input, sizeof(h->input), MSG_DONTWAIT);
        if (n > 0) {
            h->input_len = (size_t)n;
            push_input(h);
        }
    }
    watch(h);
}

static void input_room(void *ctx)
{
    struct hvc *h = ctx;
    push_input(h);
    watch(h);
}

static void hvc_destroy(struct device *dev)
{
    struct hvc *h = dev->impl;
    if (h->thread) {
        io_thread_destroy(h->thread);
    }
    if (h->inner >= 0) {
        close(h->inner);
        close(h->outer);
    }
    free(h);
}

int device_console_create(struct device *dev, const struct device_place *at, struct boot_error *err)
{
    int pair[2];
    struct hvc *h = calloc(1, sizeof(*h));
    if (!h || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
        fmt_line(err->text, sizeof(err->text), "no console device: %s", strerror(errno));
        free(h);
        return -1;
    }
    h->inner = pair[0];
    h->outer = pair[1];
    const struct virtio_console_end end = {.input_room = input_room, .ctx = h};
    virtio_console_init(&h->console, at->regs, at->ram, at->slot, &end, 0, 0);
    dev->impl = h;
    int failed = io_thread_create(&h->thread, &h->console.device, "console");
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "no console device: %s", host_error(-failed));
        hvc_destroy(dev);
        return -1;
    }
    watch(h);
    dev->virtio = &h->console.device;
    dev->thread = h->thread;
    dev->destroy = hvc_destroy;
    fmt_line(dev->label, sizeof(dev->label), "hvc0");
    return 0;
}

int device_console_fd(const struct device *dev)
{
    return ((const struct hvc *)dev->impl)->outer;
}

bool device_console_listens(const struct device *dev)
{
    return __atomic_load_n(&((const struct hvc *)dev->impl)->console.device.running, __ATOMIC_RELAXED);
}

static void resize(void *ctx)
{
    struct hvc *h = ctx;
    virtio_console_resize(&h->console, h->cols, h->rows);
}

void device_console_resize(const struct device *dev, uint16_t cols, uint16_t rows)
{
    struct hvc *h = dev->impl;
    if (h->cols != cols || h->rows != rows) {
        h->cols = cols; /* read by the thread only within the call */
        h->rows = rows;
        io_thread_call(h->thread, resize, h);
    }
}
