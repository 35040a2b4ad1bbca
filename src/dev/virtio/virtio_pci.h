/* The PCI transport of a virtio device, modern only: virtio 1.2 §4.1 "Virtio Over PCI Bus".
 *
 * One 32-bit memory BAR holds all: common configuration, ISR, device configuration, notifications, MSI-X table and PBA.
 * Owner: the vCPU task. Interrupts arrive from the device's thread through regs->interrupts and vm->device_pending.
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
    uint8_t isr;
};

/** Plug the device whose regs are filled in (virtio_device_init) into slot regs->slot. Set-up only. */
void virtio_pci_init(struct virtio_pci *p, struct vm *vm, struct virtio_regs *regs);
/** Take regs->interrupts and raise their vectors. The vCPU task, after a kick. */
void virtio_pci_deliver(struct virtio_pci *p);

#endif
