/* The PCI transport of a virtio device, modern only: virtio 1.2 §4.1 "Virtio Over PCI Bus".
 *
 * One 32-bit memory BAR holds all: common configuration, ISR, device configuration, notifications,
 * MSI-X table and PBA. A vector for each queue and one for configuration changes. No INTx: a driver
 * that does not use MSI-X gets no interrupts, only the ISR to poll.
 * A driver that takes bus mastering away (as kernels do before they start another) stops the
 * device, which it then has to reset.
 * Owner: the vCPU tasks. Interrupts arrive from the device's thread through regs->interrupts and
 * vm->device_pending.
 */
#ifndef DEV_VIRTIO_VIRTIO_PCI_H
#define DEV_VIRTIO_VIRTIO_PCI_H

#include "dev/pci/pci.h"
#include "dev/virtio/virtio.h"

struct vm;

struct virtio_pci {
    struct vm *vm;
    struct virtio_regs *regs;
    struct pci_function pci;
    struct msix msix;
    /* offset of the capability through which configuration space reaches the BAR */
    unsigned window;
    uint8_t isr;          /* atomic: set by whoever delivers, taken by whoever reads */
    struct spinlock lock; /* what the driver set in regs, and the rest here */
    bool master;          /* bus mastering, as last seen */
    /* DRIVER_OK since the last reset: the device has to be told of the next */
    bool started;
    bool resetting; /* it was told in reset_request, and has not answered yet */
    uint32_t reset_request;
    uint8_t old_status; /* what the driver reads meanwhile */
    uint8_t torn;       /* makes generations differ while the configuration changes */
    /* a queue that is served here */
    unsigned served;
    void (*serve)(void *ctx); /* NULL: none */
    void *serve_ctx;
};

/** Plug the device whose regs are filled in (virtio_device_init) into slot regs->slot. Set-up. */
void virtio_pci_init(struct virtio_pci *p, struct vm *vm, struct virtio_regs *regs);
/** Kicks of queue q call fn(ctx), in the vCPU task, instead of ringing its bell. One queue. Set-up. */
void virtio_pci_serve(struct virtio_pci *p, unsigned q, void (*fn)(void *ctx), void *ctx);
/** Take regs->interrupts and raise their vectors. A vCPU task, after a kick. */
void virtio_pci_deliver(struct virtio_pci *p);

#endif
