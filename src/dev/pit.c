/* i8254 counters. See pit.h for state and threads; Intel 8254 data sheet for control words and
 * modes. */
#include "dev/pit.h"

#include "base/string.h"
#include "host/host.h"

#define GATE_CHANNEL_2 0x01u
#define GATE_WRITABLE 0x03u
#define GATE_OUT_2 0x20u

/* Input clocks since the load. Seconds and rest apart, to stay within 64 bits. */
static uint64_t clocks(const struct pit_channel *c)
{
    uint64_t ns = host_time_ns() - c->start_ns;
    return ns / 1000000000u * PIT_HZ + ns % 1000000000u * PIT_HZ / 1000000000u;
}

static uint32_t length(const struct pit_channel *c)
{
    return c->reload == 0 ? 0x10000 : c->reload;
}

/* Modes 2 and 3 start over at the end, 3 counting by two; the others count on through 0. */
static uint16_t count(const struct pit_channel *c)
{
    uint64_t n = clocks(c);
    if (c->mode == 2 || c->mode == 3) {
        n = n * (c->mode - 1) % length(c);
    }
    return (uint16_t)(length(c) - n);
}

/* Mode 2's output, low for one clock only, is shown as mode 3's. */
static bool output(const struct pit_channel *c)
{
    uint64_t n = clocks(c);
    if (c->mode == 2 || c->mode == 3) {
        return n % length(c) < (length(c) + 1) / 2;
    }
    return n >= length(c);
}

static void write_control(struct pit *p, uint8_t value)
{
    if (value >> 6 == 3) {
        return; /* read-back */
    }
    struct pit_channel *c = &p->channel[value >> 6];
    uint8_t access = value >> 4 & 3, mode = value >> 1 & 7;
    if (access != 0) {
        mode = mode > 5 ? mode - 4 : mode;
        *c = (struct pit_channel){.start_ns = host_time_ns(), .access = access, .mode = mode};
    } else if (c->latched == 0) {
        c->latch = count(c);
        c->latched = c->access == 3 ? 2 : 1;
        c->high_next_read = false;
    }
}

static void write_count(struct pit_channel *c, uint8_t value)
{
    if (c->access == 3 && !c->high_next_write) {
        c->low_written = value;
        c->high_next_write = true;
        return;
    }
    c->high_next_write = false;
    c->reload = c->access == 1 ? value : (uint16_t)(value << 8 | c->low_written);
    c->start_ns = host_time_ns();
}

static uint8_t read_count(struct pit_channel *c)
{
    uint16_t value = c->latched > 0 ? c->latch : count(c);
    c->latched -= c->latched > 0;
    bool high = c->access == 2 || (c->access == 3 && c->high_next_read);
    c->high_next_read = c->access == 3 && !c->high_next_read;
    return (uint8_t)(high ? value >> 8 : value);
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
    struct pit *p = dev;
    (void)size;
    return off == 3 ? 0xff : read_count(&p->channel[off]);
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct pit *p = dev;
    (void)size;
    if (off == 3) {
        write_control(p, (uint8_t)value);
    } else {
        write_count(&p->channel[off], (uint8_t)value);
    }
}

const struct bus_ops pit_bus_ops = {.read = port_read, .write = port_write, .access_max = 1};

static uint64_t gate_read(void *dev, uint64_t off, unsigned size)
{
    const struct pit *p = dev;
    (void)off;
    (void)size;
    return p->gate | (output(&p->channel[2]) ? GATE_OUT_2 : 0);
}

/* A rising gate starts channel 2 anew; a low one would hold it, which no one looks at. */
static void gate_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct pit *p = dev;
    (void)off;
    (void)size;
    if (value & ~(uint64_t)p->gate & GATE_CHANNEL_2) {
        p->channel[2].start_ns = host_time_ns();
    }
    p->gate = value & GATE_WRITABLE;
}

const struct bus_ops pit_gate_bus_ops = {.read = gate_read, .write = gate_write, .access_max = 1};

void pit_init(struct pit *p)
{
    memset(p, 0, sizeof(*p));
    for (unsigned i = 0; i < 3; i++) {
        p->channel[i] = (struct pit_channel){.start_ns = host_time_ns(), .access = 3, .mode = 3};
    }
}
