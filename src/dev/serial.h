/* COM1: a 16550A UART at ports 0x3f8..0x3ff, IRQ 4 (National PC16550D data sheet).
 *
 * Transmission takes no time: a byte written goes to the host console at once and the transmitter
 * is empty again. Input comes from the monitor's I/O task through a ring and crosses into the
 * receive FIFO only while the guest raises RTS, as a terminal with hardware flow control would have
 * it: nothing typed before the guest's driver listens is lost.
 *
 * Threads: the ring has one producer (the I/O task, another process) and its consumers hold `lock`.
 * All other fields are written by vCPU tasks under `lock`. The lock is held across
 * ioapic_raise/lower, so that the line's level cannot be published out of order; the I/O APIC takes
 * no lock.
 */
#ifndef DEV_SERIAL_H
#define DEV_SERIAL_H

#include "base/types.h"
#include "vm/bus.h"

#define SERIAL_PORT 0x3f8u
#define SERIAL_PORTS 8u
#define SERIAL_IRQ 4u
#define SERIAL_FIFO_SIZE 16u
#define SERIAL_RING_SIZE 4096u /* a power of two */

struct vm;

struct serial {
    struct vm *vm;            /* borrowed */
    uint32_t lock;            /* 1 = held */
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    uint8_t modem;            /* MSR bits 7..4, the lines as they are */
    uint8_t modem_delta;      /* MSR bits 3..0, until MSR is read */
    uint8_t line_errors;      /* LSR bits 4..1, until LSR is read */
    bool thre_pending;        /* the "transmitter empty" interrupt is pending */
    bool line;                /* what SERIAL_IRQ was last set to */
    uint8_t fifo[SERIAL_FIFO_SIZE];
    uint8_t fifo_head, fifo_count;
    uint32_t ring_in;         /* bytes ever put in; written by the producer only */
    uint32_t ring_out;        /* bytes ever taken out; written by the consumer only */
    uint8_t ring[SERIAL_RING_SIZE];
};

void serial_init(struct serial *s, struct vm *vm);
extern const struct bus_ops serial_bus_ops;

/** Queue input for the guest. The I/O task only. Returns how many bytes were taken (0..len); when
 *  not 0 the caller kicks vCPU 0. */
size_t serial_push_input(struct serial *s, const void *buf, size_t len);
/** Look for queued input and raise the interrupt if it is due. A vCPU task, after a kick. */
void serial_poll(struct serial *s);

#endif
