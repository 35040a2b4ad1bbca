/* The output of a virtio console, written where the driver kicks: in the vCPU task.
 *
 * Linux spins until each piece of its output has been taken, so a device in another process costs
 * the guest two switches a line, and on a busy host a time slice. What the guest says goes into the
 * console's ring like the serial port's, and waits when that is full; the guest's other business
 * with its console (input, size) is the device's: console.h.
 * State: struct virtio_console_out in the arena, the vCPU tasks'. Everything it trusts is its own
 * guest's: in the monitor only the ring's bytes arrive.
 */
#ifndef DEV_VIRTIO_CONSOLE_OUT_H
#define DEV_VIRTIO_CONSOLE_OUT_H

#include "dev/virtio/virtq.h"
#include "vm/vm.h"

struct virtio_console_out {
    struct vm *vm;
    struct virtio_regs *regs;
    unsigned slot; /* a copy, as the device keeps one */
    struct spinlock lock;
    uint32_t request; /* whose driver's queue this is: regs->request when it was taken */
    bool told;        /* the device was told that this driver prints */
    struct virtq queue;
};

/** Fill in o (zeroed, in the arena) for the console whose regs are filled in. Set-up. */
void virtio_console_out_init(struct virtio_console_out *o, struct vm *vm, struct virtio_regs *regs);
/** The driver kicked: write all that is there. ctx: the struct. In a vCPU task. */
void virtio_console_out_kick(void *ctx);

#endif
