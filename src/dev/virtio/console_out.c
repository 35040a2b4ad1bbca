/* See console_out.h; virtio 1.2 §5.3. */
#include "dev/virtio/console_out.h"

#include "base/string.h"
#include "dev/virtio/console.h"
#include "host/host.h"

void virtio_console_out_init(struct virtio_console_out *o, struct vm *vm, struct virtio_regs *regs)
{
    *o = (struct virtio_console_out){
        .vm = vm, .regs = regs, .slot = regs->slot, .request = regs->request};
}

/* The queue of the driver there is now. What it took of the features is the device's to judge: it
 * breaks who took others. */
static void look_at_driver(struct virtio_console_out *o)
{
    const struct virtio_regs *r = o->regs;
    if (o->request == r->request) {
        return;
    }
    o->request = r->request;
    o->told = false;
    o->queue = (struct virtq){0};
    if (r->status & VIRTIO_DRIVER_OK) {
        (void)!virtq_init(&o->queue, &o->vm->ram, &r->queue[VIRTIO_CONSOLE_OUT],
                          r->driver_features);
    }
}

static void write_chain(struct virtio_console_out *o, const struct virtq_chain *chain)
{
    for (unsigned i = 0; i < chain->out_count; i++) {
        host_console_write(o->vm, chain->seg[i].base, chain->seg[i].len);
    }
    virtq_push(&o->queue, chain->head, 0);
    virtio_regs_count(&o->regs->served_ops, 1);
    virtio_regs_count(&o->regs->served_bytes, chain->out_len);
}

static void write_all(struct virtio_console_out *o)
{
    struct virtq_chain chain;
    do {
        while (virtq_pop(&o->queue, &chain) == 1) {
            write_chain(o, &chain);
        }
    } while (!o->queue.broken && virtq_enable_kicks(&o->queue));
}

static void interrupt(struct virtio_console_out *o, uint32_t cause)
{
    __atomic_fetch_or(&o->regs->interrupts, cause, __ATOMIC_RELEASE);
    host_device_interrupt(o->slot);
}

void virtio_console_out_kick(void *ctx)
{
    struct virtio_console_out *o = ctx;
    struct virtio_regs *r = o->regs;
    spin_lock(&o->lock);
    look_at_driver(o);
    if (o->queue.size && !o->queue.broken) {
        write_all(o);
        if (virtq_publish(&o->queue)) {
            interrupt(o, 1u << VIRTIO_CONSOLE_OUT);
        }
        if (o->queue.broken) {
            __atomic_store_n(&r->broken, true, __ATOMIC_RELAXED);
            interrupt(o, VIRTIO_INTERRUPT_CONFIG);
        }
        host_console_flush(o->vm);
    }
    if (!o->told) {
        o->told = true;
        host_notify(r->kick[VIRTIO_CONSOLE_OUT]);
    }
    spin_unlock(&o->lock);
}
