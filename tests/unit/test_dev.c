/* src/dev: serial, rtc, power, pit, debug ports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_host.h"

static struct vm *vm;

static uint8_t in8(uint64_t port)
{
    return (uint8_t)bus_read(&vm->ports, port, 1);
}

static void out8(uint64_t port, uint8_t value)
{
    bus_write(&vm->ports, port, 1, value);
}

static int setup(void **state)
{
    (void)state;
    vm = fake_vm_create(2);
    return lapic_msr_write(&vm->lapic[0], 0x80f, 0x1ff) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    fake_vm_destroy(vm);
    return 0;
}

/* ---- serial ---- */

#define COM SERIAL_PORT
enum { RBR = COM, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static bool line(void)
{
    return vm->ioapic.level >> SERIAL_IRQ & 1;
}

/* The steps by which Linux's 8250 driver (autoconfig) tells a 16550A from its relatives. */
static void test_serial_autoconfig(void **state)
{
    (void)state;
    uint8_t ier = in8(IER);
    out8(IER, 0);
    assert_int_equal(in8(IER) & 0xf, 0);
    out8(IER, 0xf);
    assert_int_equal(in8(IER) & 0xf, 0xf);
    out8(IER, ier);
    uint8_t mcr = in8(MCR);
    out8(MCR, 0x1a); /* loopback with RTS and OUT2: CTS and DCD */
    assert_int_equal(in8(MSR) & 0xf0, 0x90);
    out8(MCR, mcr);
    assert_int_equal(in8(MSR) & 0xf0, 0xb0);
    out8(LCR, 0xbf); /* an EFR would be here on 16650 and later */
    out8(IIR, 0);
    out8(LCR, 0);
    out8(IIR, 1);
    assert_int_equal(in8(IIR) >> 6, 3); /* FIFOs that work */
    out8(LCR, 0x80);
    assert_int_not_equal(in8(IIR), 0);
    out8(LCR, 0xbf);
    assert_int_not_equal(in8(IIR), 0);
    out8(LCR, 0);
    uint8_t status1 = in8(MCR); /* NatSemi super I/O: EXCR1 in bank 2 mirrors LOOP */
    out8(LCR, 0xe0);
    uint8_t status2 = in8(IIR);
    out8(LCR, 0);
    assert_int_equal((status1 ^ status2) & 0x10, 0);
    out8(MCR, status1 ^ 0x10);
    out8(LCR, 0xe0);
    status2 = in8(IIR);
    out8(LCR, 0);
    out8(MCR, status1);
    assert_int_equal((status2 ^ status1) & 0x10, 0);
    out8(IIR, 0x21); /* the 16750's 64-byte FIFO */
    assert_int_equal(in8(IIR) >> 5, 6);
    out8(IIR, 1);
    out8(LCR, 0x80);
    out8(IIR, 0x21);
    assert_int_equal(in8(IIR) >> 5, 6);
    out8(IIR, 1);
    out8(LCR, 0);
    out8(IER, 0x40); /* XScale's UUE */
    assert_int_equal(in8(IER), 0);
    out8(SCR, 0xa5);
    assert_int_equal(in8(SCR), 0xa5);
    out8(IIR, 0);
    assert_int_equal(in8(IIR), 1);
}

/* serial8250_do_startup: is the THRE interrupt raised each time it is enabled, is TX idle
 * signalled? */
static void test_serial_thre_probe(void **state)
{
    (void)state;
    out8(MCR, 0x08);
    out8(IER, 2);
    assert_int_equal(in8(IIR) & 0xf, 2);
    assert_int_equal(in8(IIR) & 1, 1); /* the read took it back */
    out8(IER, 0);
    out8(IER, 2);
    assert_true(line());
    assert_int_equal(in8(IIR) & 0xf, 2);
    assert_false(line());
    out8(IER, 0);
    out8(IER, 2);
    assert_int_equal(in8(LSR) & 0x60, 0x60);
    assert_int_equal(in8(IIR) & 0xf, 2);
    out8(RBR, 'x'); /* sent at once: empty again */
    assert_true(line());
    out8(IER, 2); /* no change: no new one */
    assert_int_equal(in8(IIR) & 0xf, 2);
    out8(IER, 2);
    assert_int_equal(in8(IIR) & 1, 1);
    assert_int_equal(fake.console_len, 1);
    assert_int_equal(fake.console[0], 'x');
}

static void test_serial_loopback(void **state)
{
    (void)state;
    out8(IIR, 0xc7); /* FIFOs, trigger 14 */
    out8(MCR, 0x1b);
    out8(IER, 1);
    for (unsigned i = 0; i < 13; i++) {
        out8(RBR, (uint8_t)(0x40 + i));
    }
    assert_int_equal(in8(IIR), 0xcc); /* below the trigger: timeout */
    out8(RBR, 0x4d);
    assert_int_equal(in8(IIR), 0xc4);
    out8(RBR, 0x4e);
    out8(RBR, 0x4f);
    assert_int_equal(in8(LSR), 0x61);
    out8(RBR, 0x50); /* the 17th: overrun */
    out8(IER, 5);
    assert_int_equal(in8(IIR), 0xc6); /* line status is first */
    assert_false(line());             /* OUT2 is off the wire in loopback */
    assert_int_equal(in8(LSR), 0x63);
    assert_int_equal(in8(LSR), 0x61);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(in8(RBR), 0x40 + i);
    }
    assert_int_equal(in8(LSR), 0x60);
    assert_int_equal(in8(IIR), 0xc1);
    out8(IIR, 0); /* no FIFOs: one register, overwritten */
    out8(RBR, 1);
    out8(RBR, 2);
    assert_int_equal(in8(LSR), 0x63);
    assert_int_equal(in8(RBR), 2);
    assert_int_equal(in8(LSR), 0x60);
    assert_int_equal(fake.console_len, 0);
}

static void test_serial_modem_lines(void **state)
{
    (void)state;
    out8(IER, 8);
    out8(MCR, 0x08);
    assert_int_equal(in8(IIR), 1);
    assert_int_equal(in8(MSR), 0xb0);
    out8(MCR, 0x10); /* loopback, all off: CTS, DSR, DCD went away */
    assert_int_equal(in8(MSR), 0x0b);
    assert_int_equal(in8(MSR), 0);
    out8(MCR, 0x14); /* RI rises: no delta */
    assert_int_equal(in8(MSR), 0x40);
    out8(MCR, 0x10); /* RI falls: TERI */
    assert_int_equal(in8(IIR), 0);
    assert_int_equal(in8(MSR), 0x04);
    assert_int_equal(in8(IIR), 1);
    out8(MCR, 0x08);
    assert_true(line());
    assert_int_equal(in8(MSR), 0xbb);
    assert_false(line());
}

static void test_serial_divisor(void **state)
{
    (void)state;
    out8(LCR, 0x83);
    out8(RBR, 0x01);
    out8(IER, 0x02);
    assert_int_equal(in8(RBR), 1);
    assert_int_equal(in8(IER), 2);
    out8(LCR, 0x03);
    assert_int_equal(in8(IER), 0);
    assert_int_equal(fake.console_len, 0);
    assert_int_equal(bus_read(&vm->ports, LCR, 2), 0x03); /* LCR and MCR in one word access */
}

static void test_serial_input(void **state)
{
    (void)state;
    struct serial *s = &vm->serial;
    out8(IIR, 0x81); /* trigger 8 */
    assert_int_equal(serial_push_input(s, "hello, world: 20 byte", 21), 21);
    serial_poll(s);
    assert_int_equal(in8(LSR), 0x60); /* no RTS: kept back */
    out8(IER, 1);
    out8(MCR, 0x0b);
    assert_true(line());
    assert_int_equal(in8(IIR), 0xc4);
    char got[22] = {0};
    for (unsigned i = 0; i < 21; i++) {
        assert_true(in8(LSR) & 1);
        assert_true(line());
        got[i] = (char)in8(RBR);
    }
    assert_string_equal(got, "hello, world: 20 byte");
    assert_false(line());
    assert_int_equal(in8(LSR), 0x60);
    assert_int_equal(serial_push_input(s, "z", 1), 1);
    assert_false(line());
    serial_poll(s); /* after the kick */
    assert_true(line());
    assert_int_equal(in8(IIR), 0xcc);
    assert_int_equal(in8(RBR), 'z');
    assert_int_equal(in8(IIR), 0xc1);
}

static void test_serial_ring(void **state)
{
    (void)state;
    struct serial *s = &vm->serial;
    static uint8_t bytes[5000];
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    s->ring_in = s->ring_out = UINT32_MAX - 100; /* the counters wrap */
    assert_int_equal(serial_push_input(s, bytes, 5000), 4096);
    assert_int_equal(serial_push_input(s, bytes, 1), 0);
    out8(IIR, 1);
    out8(MCR, 0x0b);
    unsigned got = 0, pushed = 4096;
    while (in8(LSR) & 1) {
        assert_int_equal(in8(RBR), (uint8_t)(got * 7));
        got++;
        pushed += (unsigned)serial_push_input(s, bytes + pushed, sizeof(bytes) - pushed);
    }
    assert_int_equal(got, 5000);
}

static void test_serial_interrupt_reaches_the_cpu(void **state)
{
    (void)state;
    bus_write(&vm->mmio, IOAPIC_BASE, 4, 0x10 + 2 * SERIAL_IRQ);
    bus_write(&vm->mmio, IOAPIC_BASE + 0x10, 4, 0x34);
    out8(IIR, 1);
    out8(MCR, 0x0b);
    out8(IER, 1);
    serial_push_input(&vm->serial, "a", 1);
    serial_poll(&vm->serial);
    assert_int_equal(lapic_pending(&vm->lapic[0]), 0x34);
    lapic_accept(&vm->lapic[0], 0x34);
    assert_int_equal(in8(RBR), 'a');
    serial_push_input(&vm->serial, "b", 1);
    serial_poll(&vm->serial); /* a new edge, latched while the first is in service */
    assert_true(lapic_msr_write(&vm->lapic[0], 0x80b, 0));
    assert_int_equal(lapic_pending(&vm->lapic[0]), 0x34);
}

/* ---- clock ---- */

static uint8_t cmos(uint8_t reg)
{
    out8(0x70, reg);
    return in8(0x71);
}

static void cmos_write(uint8_t reg, uint8_t value)
{
    out8(0x70, reg);
    out8(0x71, value);
}

static void expect_time(uint64_t century_year, unsigned month_day, unsigned hms)
{
    assert_int_equal(cmos(0x32) << 8 | cmos(9), century_year);
    assert_int_equal(cmos(8) << 8 | cmos(7), month_day);
    assert_int_equal(cmos(4) << 16 | cmos(2) << 8 | cmos(0), hms);
}

static void test_rtc_shows_the_wall_clock(void **state)
{
    (void)state;
    expect_time(0x2023, 0x1114, 0x221320);
    assert_int_equal(cmos(6), 3); /* Tuesday */
    assert_int_equal(cmos(0xa), 0x26);
    assert_int_equal(cmos(0xb), 0x02);
    assert_int_equal(cmos(0xc), 0);
    assert_int_equal(cmos(0xd), 0x80);
    fake.wall_ns = 951782399ull * 1000000000; /* 2000-02-28 23:59:59 */
    expect_time(0x2000, 0x0228, 0x235959);
    fake_advance(1000000000);
    expect_time(0x2000, 0x0229, 0x000000);
    fake.wall_ns = 0;
    expect_time(0x1970, 0x0101, 0);
    assert_int_equal(cmos(6), 5);
    fake.wall_ns = 4107542400ull * 1000000000; /* 2100-03-01: no leap year */
    expect_time(0x2100, 0x0301, 0);
}

static void test_rtc_formats(void **state)
{
    (void)state;
    cmos_write(0xb, 0x04); /* binary, 12 hours */
    assert_int_equal(cmos(4), 0x80 | 10);
    assert_int_equal(cmos(9), 23);
    cmos_write(0xb, 0x00);
    assert_int_equal(cmos(4), 0x90);
    fake.wall_ns = 1700006400ull * 1000000000; /* 00:00 */
    assert_int_equal(cmos(4), 0x12);
    fake_advance(12ull * 3600 * 1000000000);
    assert_int_equal(cmos(4), 0x92);
}

static void test_rtc_set(void **state)
{
    (void)state;
    cmos_write(0xb, 0x82);
    static const uint8_t when[][2] = {{0x32, 0x19}, {9, 0x99}, {8, 0x12}, {7, 0x31},
                                      {4, 0x23},    {2, 0x59}, {0, 0x30}};
    for (size_t i = 0; i < ARRAY_LEN(when); i++) {
        cmos_write(when[i][0], when[i][1]);
    }
    fake_advance(5000000000); /* it stands still while being set */
    expect_time(0x1999, 0x1231, 0x235930);
    cmos_write(0xb, 0x02);
    expect_time(0x1999, 0x1231, 0x235930);
    fake_advance(31000000000);
    expect_time(0x2000, 0x0101, 0x000001);
    cmos_write(2, 0x30); /* one field, without SET */
    expect_time(0x2000, 0x0101, 0x003001);
    cmos_write(7, 0x77); /* out of range: the nearest */
    assert_int_equal(cmos(7), 0x31);
}

static void test_rtc_ram(void **state)
{
    (void)state;
    cmos_write(0xf, 0x0a);
    cmos_write(0x7f, 0x5a);
    cmos_write(1, 0x12); /* alarm */
    assert_int_equal(cmos(0x0f), 0x0a);
    assert_int_equal(cmos(0xff), 0x5a); /* bit 7 is not the index */
    assert_int_equal(cmos(1), 0x12);
    cmos_write(0xa, 0xa6);
    assert_int_equal(cmos(0xa), 0x26); /* UIP cannot be set */
    cmos_write(0xd, 0);
    assert_int_equal(cmos(0xd), 0x80);
    assert_int_equal(in8(0x70), 0xff);
}

/* ---- power, debug ports, PIT ---- */

static void expect_end(uint64_t port, unsigned size, uint64_t value, enum vm_end how, int code)
{
    teardown(NULL);
    assert_int_equal(setup(NULL), 0);
    bus_write(&vm->ports, port, size, value);
    assert_int_equal(vm_ended(vm), how);
    assert_int_equal(vm->exit_code, code);
    if (how != VM_RUNNING) {
        assert_int_equal(fake.kicks[0], 1);
        assert_int_equal(fake.kicks[1], 1);
    }
}

static void test_power(void **state)
{
    (void)state;
    expect_end(POWER_SLEEP_CONTROL, 1, 0x34, VM_POWEROFF, 0);
    expect_end(POWER_SLEEP_CONTROL, 1, 0x14, VM_RUNNING, 0); /* no SLP_EN */
    expect_end(POWER_SLEEP_CONTROL, 1, 0x24, VM_RUNNING, 0); /* another state */
    expect_end(POWER_SLEEP_STATUS, 1, 0x34, VM_RUNNING, 0);
    expect_end(POWER_RESET, 1, 1, VM_REBOOT, 0);
    expect_end(POWER_RESET, 1, 2, VM_RUNNING, 0);
    expect_end(0x64, 1, 0xfe, VM_REBOOT, 0);
    expect_end(0x64, 1, 0xd1, VM_RUNNING, 0);
    expect_end(0x64, 1, 0xff, VM_RUNNING, 0);
    expect_end(0xcf9, 1, 0x06, VM_REBOOT, 0);
    expect_end(0xcf9, 1, 0x02, VM_RUNNING, 0);
    expect_end(0xcf8, 4, 0x8000ff00, VM_RUNNING, 0); /* PCI configuration, not a reset */
    assert_int_equal(in8(0x64), 0xff);
    assert_int_equal(in8(POWER_SLEEP_CONTROL), 0);
    assert_int_equal(in8(POWER_SLEEP_STATUS), 0);
}

static void test_debug_ports(void **state)
{
    (void)state;
    expect_end(0xf4, 1, 0x17, VM_EXIT_CODE, 0x17);
    expect_end(0xf4, 2, 0x1234, VM_EXIT_CODE, 0x1234);
    expect_end(0xf4, 4, 0xffffffff, VM_EXIT_CODE, -1);
    expect_end(0xf4, 4, 0, VM_EXIT_CODE, 0);
    expect_end(0xf5, 1, 1, VM_RUNNING, 0);
    assert_int_equal(in8(0xe9), 0xe9);
    assert_int_equal(in8(0xf4), 0xff);
    out8(0xe9, 'o');
    out8(0xe9, 'k');
    assert_memory_equal(fake.console, "ok", 2);
}

static void test_pit_counts(void **state)
{
    (void)state;
    out8(0x43, 0x34); /* channel 0, low then high, mode 2 */
    out8(0x40, 0x00);
    out8(0x40, 0x10); /* 4096 */
    fake_advance(1000000); /* 1193 clocks */
    out8(0x43, 0x00);
    fake_advance(500000);
    unsigned latched = in8(0x40);
    latched |= (unsigned)in8(0x40) << 8;
    assert_int_equal(latched, 4096 - 1193);
    unsigned now = in8(0x40);
    now |= (unsigned)in8(0x40) << 8;
    assert_int_equal(now, 4096 - 1789);
    uint8_t first = in8(0x40); /* what KASLR's loop waits for */
    fake_advance(10000);
    in8(0x40);
    assert_int_not_equal(in8(0x40), first);
}

/* Linux's pit_calibrate_tsc: gate on, mode 0, wait for OUT2 in port 0x61. */
static void test_pit_channel_2_terminates(void **state)
{
    (void)state;
    out8(0x61, (in8(0x61) & ~2) | 1);
    out8(0x43, 0xb0);
    out8(0x42, 11932 & 0xff); /* 10 ms */
    out8(0x42, 11932 >> 8);
    uint64_t start = fake.time_ns;
    while (!(in8(0x61) & 0x20)) {
        fake_advance(1000);
        assert_true(fake.time_ns - start < 20000000);
    }
    assert_in_range(fake.time_ns - start, 9990000, 10010000);
    out8(0x43, 0xb6); /* mode 3: a square wave */
    out8(0x42, 100);
    out8(0x42, 0);
    unsigned high = 0;
    for (unsigned i = 0; i < 1000; i++) {
        fake_advance(1000);
        high += in8(0x61) >> 5 & 1;
    }
    assert_in_range(high, 480, 520);
}

/* ---- anything at all: every port, every size ---- */

static void test_fuzz_ports(void **state)
{
    (void)state;
    static const uint16_t near[] = {0x40, 0x61, 0x64, 0x70, 0xe9, 0xf4, 0x3f8, 0x600, 0xcf8};
    srand(3);
    for (unsigned n = 0; n < 300000; n++) {
        uint64_t port = near[(unsigned)rand() % ARRAY_LEN(near)] + (unsigned)rand() % 12 - 2u;
        unsigned size = 1u << rand() % 3;
        if (rand() % 2) {
            uint64_t value = (uint64_t)rand() << 16 ^ (uint64_t)rand();
            bus_write(&vm->ports, port & 0xffff, size, value >> rand() % 24);
        } else {
            uint64_t value = bus_read(&vm->ports, port & 0xffff, size);
            assert_true(size == 8 || value >> (8 * size) == 0);
        }
        if (rand() % 16 == 0) {
            uint8_t bytes[300];
            memset(bytes, rand(), sizeof(bytes));
            serial_push_input(&vm->serial, bytes, (unsigned)rand() % sizeof(bytes));
            serial_poll(&vm->serial);
        }
        if (rand() % 64 == 0) {
            fake_advance((uint64_t)rand() << rand() % 24);
        }
        fake.console_len = 0;
    }
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_serial_autoconfig),
        CASE(test_serial_thre_probe),
        CASE(test_serial_loopback),
        CASE(test_serial_modem_lines),
        CASE(test_serial_divisor),
        CASE(test_serial_input),
        CASE(test_serial_ring),
        CASE(test_serial_interrupt_reaches_the_cpu),
        CASE(test_rtc_shows_the_wall_clock),
        CASE(test_rtc_formats),
        CASE(test_rtc_set),
        CASE(test_rtc_ram),
        CASE(test_power),
        CASE(test_debug_ports),
        CASE(test_pit_counts),
        CASE(test_pit_channel_2_terminates),
        CASE(test_fuzz_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
