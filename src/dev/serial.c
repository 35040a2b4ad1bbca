/* 16550A UART. See serial.h for state and threads; National PC16550D data sheet §8 for the
 * registers.
 *
 * Invariant outside the lock: the level of SERIAL_IRQ is irq_pending() && OUT2 && !loopback.
 */
#include "dev/serial.h"

#include "base/string.h"
#include "host/host.h"
#include "vm/vm.h"

/* Registers; DLL and DLM replace the first two while LCR.DLAB is set. */
enum { RBR_THR = 0, IER = 1, IIR_FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

#define IER_RDA 0x01u
#define IER_THRE 0x02u
#define IER_RLS 0x04u
#define IER_MSI 0x08u
#define IER_WRITABLE 0x0fu

#define IIR_NONE 0x01u
#define IIR_MSI 0x00u
#define IIR_THRE 0x02u
#define IIR_RDA 0x04u
#define IIR_RLS 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFOS 0xc0u

#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_TRIGGER 0xc0u

#define LCR_DLAB 0x80u

#define MCR_RTS 0x02u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_WRITABLE 0x1fu

#define LSR_DR 0x01u
#define LSR_OE 0x02u
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u

#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RI 0x40u
#define MSR_DCD 0x80u
#define MSR_TERI 0x04u
#define MSR_DELTAS 0x0bu /* CTS, DSR, DCD: any change */
#define MODEM_CONNECTED (MSR_CTS | MSR_DSR | MSR_DCD)

/* Held for a few instructions; a waiter can only be another vCPU task of the same machine. Acquire
 * and release pair with each other. */
static void lock(struct serial *s)
{
    while (__atomic_exchange_n(&s->lock, 1, __ATOMIC_ACQUIRE) != 0) {
        __builtin_ia32_pause();
    }
}

static void unlock(struct serial *s)
{
    __atomic_store_n(&s->lock, 0, __ATOMIC_RELEASE);
}

/* ---- interrupts (all _locked) ---- */

static unsigned rx_trigger(const struct serial *s)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return level[s->fcr >> 6];
}

/* The interrupt of highest priority, as IIR bits 3..0 show it. Data below the trigger level counts
 * as timed out at once: nothing more may come. */
static unsigned irq_pending(const struct serial *s)
{
    if ((s->ier & IER_RLS) && s->line_errors) {
        return IIR_RLS;
    }
    if ((s->ier & IER_RDA) && s->fifo_count > 0) {
        bool timeout = (s->fcr & FCR_ENABLE) && s->fifo_count < rx_trigger(s);
        return timeout ? IIR_TIMEOUT : IIR_RDA;
    }
    if ((s->ier & IER_THRE) && s->thre_pending) {
        return IIR_THRE;
    }
    if ((s->ier & IER_MSI) && s->modem_delta) {
        return IIR_MSI;
    }
    return IIR_NONE;
}

/* On a PC the OUT2 pin enables the line driver; in loopback the pin is inactive. */
static void update_line(struct serial *s)
{
    bool enabled = (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
    bool line = enabled && irq_pending(s) != IIR_NONE;
    if (line == s->line) {
        return;
    }
    s->line = line;
    if (line) {
        ioapic_raise(&s->vm->ioapic, SERIAL_IRQ);
    } else {
        ioapic_lower(&s->vm->ioapic, SERIAL_IRQ);
    }
}

/* ---- receiver (all _locked) ---- */

static unsigned fifo_size(const struct serial *s)
{
    return s->fcr & FCR_ENABLE ? SERIAL_FIFO_SIZE : 1;
}

static void receive(struct serial *s, uint8_t byte)
{
    if (s->fifo_count >= fifo_size(s)) {
        s->line_errors |= LSR_OE;
        if (s->fcr & FCR_ENABLE) {
            return; /* the FIFO keeps what it has; the bare register is overwritten */
        }
        s->fifo_count = 0;
    }
    s->fifo[(s->fifo_head + s->fifo_count) % SERIAL_FIFO_SIZE] = byte;
    s->fifo_count++;
}

/* Let queued input in while the guest is ready for it (RTS) and there is room. */
static void refill(struct serial *s)
{
    if ((s->mcr & (MCR_RTS | MCR_LOOP)) != MCR_RTS) {
        return;
    }
    /* Acquire pairs with the producer's release in serial_push_input: the bytes are there. */
    uint32_t in = __atomic_load_n(&s->ring_in, __ATOMIC_ACQUIRE);
    uint32_t out = s->ring_out;
    while (out != in && s->fifo_count < fifo_size(s)) {
        receive(s, s->ring[out % SERIAL_RING_SIZE]);
        out++;
    }
    /* Release pairs with the producer's acquire: the bytes have been read, their place is free. */
    __atomic_store_n(&s->ring_out, out, __ATOMIC_RELEASE);
}

static uint8_t read_rbr(struct serial *s)
{
    uint8_t byte = s->fifo[s->fifo_head % SERIAL_FIFO_SIZE];
    if (s->fifo_count > 0) {
        s->fifo_head = (s->fifo_head + 1) % SERIAL_FIFO_SIZE;
        s->fifo_count--;
    }
    return byte;
}

size_t serial_push_input(struct serial *s, const void *buf, size_t len)
{
    const uint8_t *bytes = buf;
    uint32_t in = s->ring_in;
    uint32_t room = SERIAL_RING_SIZE - (in - __atomic_load_n(&s->ring_out, __ATOMIC_ACQUIRE));
    if (room > SERIAL_RING_SIZE) {
        return 0; /* a vCPU task gone wild moved ring_out ahead: the guest has lost its console */
    }
    size_t n = len < room ? len : room;
    for (size_t i = 0; i < n; i++) {
        s->ring[(in + i) % SERIAL_RING_SIZE] = bytes[i];
    }
    __atomic_store_n(&s->ring_in, in + (uint32_t)n, __ATOMIC_RELEASE);
    return n;
}

void serial_poll(struct serial *s)
{
    lock(s);
    refill(s);
    update_line(s);
    unlock(s);
}

/* ---- modem lines (all _locked) ---- */

/* What the inputs are: a terminal that is always there, or, in loopback, our own outputs: RTS, DTR,
 * OUT1, OUT2 as CTS, DSR, RI, DCD. */
static uint8_t modem_lines(const struct serial *s)
{
    if (!(s->mcr & MCR_LOOP)) {
        return MODEM_CONNECTED;
    }
    return (uint8_t)((s->mcr & 0x02) << 3 | (s->mcr & 0x01) << 5 | (s->mcr & 0x0c) << 4);
}

static void write_mcr(struct serial *s, uint8_t value)
{
    s->mcr = value & MCR_WRITABLE;
    uint8_t now = modem_lines(s);
    uint8_t changed = now ^ s->modem;
    s->modem_delta |= changed >> 4 & MSR_DELTAS;
    if (changed & s->modem & MSR_RI) {
        s->modem_delta |= MSR_TERI; /* RI reports its trailing edge only */
    }
    s->modem = now;
    refill(s);
}

static uint8_t read_msr(struct serial *s)
{
    uint8_t value = s->modem | s->modem_delta;
    s->modem_delta = 0;
    return value;
}

/* ---- register access (all _locked) ---- */

static void write_fcr(struct serial *s, uint8_t value)
{
    bool toggled = (value ^ s->fcr) & FCR_ENABLE;
    if (toggled || (value & (FCR_ENABLE | FCR_CLEAR_RX)) == (FCR_ENABLE | FCR_CLEAR_RX)) {
        s->fifo_count = 0;
    }
    s->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | FCR_TRIGGER) : 0;
}

/* Enabling the THRE interrupt while the transmitter is empty, which here is always, raises it. */
static void write_ier(struct serial *s, uint8_t value)
{
    if (value & ~s->ier & IER_THRE) {
        s->thre_pending = true;
    }
    s->ier = value & IER_WRITABLE;
}

/* Reading IIR takes back the THRE interrupt, but only if that is what it shows. */
static uint8_t read_iir(struct serial *s)
{
    unsigned iir = irq_pending(s);
    if (iir == IIR_THRE) {
        s->thre_pending = false;
    }
    return (uint8_t)(iir | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0));
}

static uint8_t read_lsr(struct serial *s)
{
    refill(s); /* for guests that poll */
    unsigned lsr = LSR_THRE | LSR_TEMT | s->line_errors | (s->fifo_count > 0 ? LSR_DR : 0);
    s->line_errors = 0;
    return (uint8_t)lsr;
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
    bool dlab = s->lcr & LCR_DLAB;
    uint8_t byte;
    switch (reg) {
    case RBR_THR:
        if (dlab) {
            return s->dll;
        }
        byte = read_rbr(s);
        refill(s);
        return byte;
    case IER:
        return dlab ? s->dlm : s->ier;
    case IIR_FCR:
        return read_iir(s);
    case LCR:
        return s->lcr;
    case MCR:
        return s->mcr;
    case LSR:
        return read_lsr(s);
    case MSR:
        return read_msr(s);
    default:
        return s->scr;
    }
}

/* LSR and MSR are read-only here: writing them is for factory testing. */
static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
    bool dlab = s->lcr & LCR_DLAB;
    switch (reg) {
    case RBR_THR:
        if (dlab) {
            s->dll = value;
        } else {
            if (s->mcr & MCR_LOOP) {
                receive(s, value);
            }
            s->thre_pending = true; /* sent already */
        }
        break;
    case IER:
        if (dlab) {
            s->dlm = value;
        } else {
            write_ier(s, value);
        }
        break;
    case IIR_FCR:
        write_fcr(s, value);
        break;
    case LCR:
        s->lcr = value;
        break;
    case MCR:
        write_mcr(s, value);
        break;
    case SCR:
        s->scr = value;
        break;
    }
}

/* Whether a write to reg goes out on the wire. */
static bool transmits(const struct serial *s, unsigned reg)
{
    return reg == RBR_THR && !(s->lcr & LCR_DLAB) && !(s->mcr & MCR_LOOP);
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
    struct serial *s = dev;
    (void)size;
    lock(s);
    uint8_t value = read_register(s, (unsigned)off);
    update_line(s);
    unlock(s);
    return value;
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct serial *s = dev;
    uint8_t byte = (uint8_t)value;
    (void)size;
    lock(s);
    bool out = transmits(s, (unsigned)off);
    write_register(s, (unsigned)off, byte);
    update_line(s);
    unlock(s);
    if (out) {
        host_console_write(s->vm, &byte, 1);
    }
}

const struct bus_ops serial_bus_ops = {.read = port_read, .write = port_write, .access_max = 1};

void serial_init(struct serial *s, struct vm *vm)
{
    memset(s, 0, sizeof(*s));
    s->vm = vm;
    s->modem = MODEM_CONNECTED;
    s->dll = 12; /* 9600 baud; nothing depends on it */
}
