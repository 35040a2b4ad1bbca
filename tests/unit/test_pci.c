/* src/dev/pci: configuration space both ways, BARs, MSI-X; and the power button's line (vm.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_host.h"

#define SLOT 3u
#define BAR_SIZE 0x1000u
#define SMALL_SIZE 0x20u

/** A function that remembers what was done to it. BAR 0 takes anything, BAR 2 bytes only. */
struct thing {
    struct pci_function f;
    struct msix msix;
    bool has_msix;
    unsigned reads, writes, config_reads, config_writes;
    uint64_t last_off, last_value;
    unsigned last_size, last_config_off, last_config_size;
};

static struct vm *vm;
static struct thing thing, other;

static uint64_t thing_read(void *dev, uint64_t off, unsigned size)
{
    struct thing *t = dev;
    t->reads++;
    t->last_off = off;
    t->last_size = size;
    return 0x8877665544332211ull;
}

static void thing_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct thing *t = dev;
    t->writes++;
    t->last_off = off;
    t->last_size = size;
    t->last_value = value;
}

static const struct bus_ops thing_ops = {.read = thing_read, .write = thing_write};
static const struct bus_ops byte_ops = {.read = thing_read, .write = thing_write, .access_max = 1};

static void config_reading(struct pci_function *f, unsigned off, unsigned size)
{
    struct thing *t = f->dev;
    t->config_reads++;
    if (off == 0xf0 && size == 4) {
        pci_set_config32(f, 0xf0, 0xcafe0000 + t->config_reads);
    }
}

static void config_written(struct pci_function *f, unsigned off, unsigned size)
{
    struct thing *t = f->dev;
    t->config_writes++;
    t->last_config_off = off;
    t->last_config_size = size;
    if (t->has_msix) {
        msix_config_written(&t->msix);
    }
}

static void make(struct thing *t)
{
    *t = (struct thing){0};
    pci_function_init(&t->f, 0x1234, 0x5678, 0xa1b2c3, 9, 0xaaaa, 0xbbbb);
    t->f.dev = t;
    t->f.bar_size[0] = BAR_SIZE;
    t->f.bar_ops[0] = &thing_ops;
    t->f.bar_size[2] = SMALL_SIZE;
    t->f.bar_ops[2] = &byte_ops;
    t->f.config_reading = config_reading;
    t->f.config_written = config_written;
}

static int setup(void **state)
{
    (void)state;
    vm = fake_vm_create(2);
    make(&thing);
    make(&other);
    for (unsigned i = 0; i < 2; i++) {
        if (!lapic_msr_write(&vm->lapic[i], 0x80f, 0x1ff)) {
            return -1;
        }
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_vm_destroy(vm);
    return 0;
}

static uint64_t ecam(unsigned slot, unsigned off)
{
    return PCI_ECAM_BASE + (slot << 15) + off;
}

static uint32_t get(unsigned slot, unsigned off, unsigned size)
{
    return (uint32_t)bus_read(&vm->mmio, ecam(slot, off), size);
}

static void put(unsigned slot, unsigned off, unsigned size, uint32_t value)
{
    bus_write(&vm->mmio, ecam(slot, off), size, value);
}

/* ---- configuration space ---- */

static void test_an_empty_bus(void **state)
{
    (void)state;
    for (unsigned devfn = 1; devfn < 256; devfn++) {
        assert_int_equal(bus_read(&vm->mmio, PCI_ECAM_BASE + (devfn << 12), 4), 0xffffffff);
        bus_write(&vm->mmio, PCI_ECAM_BASE + (devfn << 12), 4, 0);
    }
    assert_int_equal(get(0, 0x0a, 2), 0x0600); /* a host bridge, which kernels look for */
    assert_int_equal(get(0, 0x0e, 1), 0);
    assert_int_equal(bus_read(&vm->mmio, PCI_MMIO_BASE, 4), 0xffffffff);
    bus_write(&vm->mmio, PCI_MMIO_BASE, 8, 0);
}

static void test_header(void **state)
{
    (void)state;
    pci_plug(&vm->pci, SLOT, &thing.f);
    assert_int_equal(get(SLOT, 0, 4), 0x56781234);
    assert_int_equal(get(SLOT, 2, 2), 0x5678);
    assert_int_equal(get(SLOT, 1, 1), 0x12);
    assert_int_equal(get(SLOT, 8, 4), 0xa1b2c309);
    assert_int_equal(get(SLOT, 0x2c, 4), 0xbbbbaaaa);
    assert_int_equal(get(SLOT, 4, 4), 2);     /* memory on, no capabilities */
    assert_int_equal(get(SLOT, 0x100, 4), 0); /* beyond: nothing */
    assert_int_equal(get(SLOT, 0xffc, 4), 0);
    put(SLOT, 0x100, 4, ~0u);
    assert_int_equal(bus_read(&vm->mmio, ecam(SLOT, 0x1000), 4), 0xffffffff); /* function 1 */
    assert_int_equal(bus_read(&vm->mmio, ecam(SLOT, 0), 8), 0x0000000256781234);
    assert_int_equal(get(SLOT, 3, 2), 0x0256);     /* across two words, byte by byte */
    assert_int_equal(get(SLOT, 0xfff, 2), 0xff00); /* across two functions */
}

static void test_only_writable_bits_change(void **state)
{
    (void)state;
    pci_plug(&vm->pci, SLOT, &thing.f);
    put(SLOT, 0, 4, 0);
    assert_int_equal(get(SLOT, 0, 4), 0x56781234);
    put(SLOT, 4, 2, 0xffff);
    assert_int_equal(get(SLOT, 4, 2), 0x0406);
    put(SLOT, 4, 4, 0xffff0000);
    assert_int_equal(get(SLOT, 4, 4), 0);
    put(SLOT, 0x3c, 1, 11);
    assert_int_equal(get(SLOT, 0x3c, 4), 11);
    assert_int_equal(thing.config_writes, 4);
    assert_int_equal(thing.last_config_off, 0x3c);
    assert_int_equal(thing.last_config_size, 1);
    put(SLOT, 0x0f, 2, 0xffff); /* two words: two calls */
    assert_int_equal(thing.config_writes, 6);
    assert_int_equal(get(SLOT, 0xf0, 4) >> 16, 0xcafe);
}

static uint32_t port_get(uint32_t address, unsigned port, unsigned size)
{
    bus_write(&vm->ports, 0xcf8, 4, address);
    return (uint32_t)bus_read(&vm->ports, port, size);
}

static void test_ports(void **state)
{
    (void)state;
    pci_plug(&vm->pci, SLOT, &thing.f);
    /* As Linux looks for it: the address register remembers, and bus 0 has a host bridge. */
    bus_write(&vm->ports, 0xcfb, 1, 1);
    bus_write(&vm->ports, 0xcf8, 4, 0x80000000);
    assert_int_equal(bus_read(&vm->ports, 0xcf8, 4), 0x80000000);
    assert_int_equal(port_get(0x80000008, 0xcfe, 2), 0x0600);
    uint32_t at = 0x80000000 | SLOT << 11;
    assert_int_equal(port_get(at, 0xcfc, 4), 0x56781234);
    assert_int_equal(port_get(at, 0xcfd, 1), 0x12);
    assert_int_equal(port_get(at | 3, 0xcfc, 2), 0x1234);           /* the low bits mean nothing */
    assert_int_equal(port_get(at | 0x100, 0xcfc, 4), 0xffffffff);   /* function 1 */
    assert_int_equal(port_get(at | 0x10000, 0xcfc, 4), 0xffffffff); /* bus 1 */
    assert_int_equal(port_get(at & 0x7fffffff, 0xcfc, 4), 0xffffffff); /* not enabled */
    bus_write(&vm->ports, 0xcf8, 4, at | 0x3c);
    bus_write(&vm->ports, 0xcfc, 1, 0x55);
    assert_int_equal(get(SLOT, 0x3c, 1), 0x55);
    bus_write(&vm->ports, 0xcf8, 4, (at | 0x3c) & 0x7fffffff);
    bus_write(&vm->ports, 0xcfc, 1, 0x66);
    assert_int_equal(get(SLOT, 0x3c, 1), 0x55);
    bus_write(&vm->ports, 0xcf8, 2, 0); /* narrow: no address */
    assert_int_equal(bus_read(&vm->ports, 0xcf8, 4), (at | 0x3c) & 0x7fffffff);
    assert_int_equal(bus_read(&vm->ports, 0xcfa, 1), 0xff);
}

static void test_reset_control_is_still_there(void **state)
{
    (void)state;
    bus_write(&vm->ports, 0xcf8, 4, 0x80000600); /* its second byte has bit 2 set */
    assert_int_equal(vm_ended(vm), VM_RUNNING);
    assert_int_equal(bus_read(&vm->ports, 0xcf9, 1), 0);
    bus_write(&vm->ports, 0xcf9, 1, 6);
    assert_int_equal(vm_ended(vm), VM_REBOOT);
}

/* ---- BARs ---- */

static void test_bar_sizing(void **state)
{
    (void)state;
    pci_plug(&vm->pci, SLOT, &thing.f);
    pci_plug(&vm->pci, SLOT + 1, &other.f);
    uint32_t first = get(SLOT, 0x10, 4), second = get(SLOT, 0x18, 4),
             third = get(SLOT + 1, 0x10, 4);
    assert_int_equal(first, PCI_MMIO_BASE);
    assert_true(second >= first + BAR_SIZE && third >= second + SMALL_SIZE);
    assert_int_equal((second | third) % PAGE_SIZE, 0);
    put(SLOT, 0x10, 4, ~0u);
    assert_int_equal(get(SLOT, 0x10, 4), 0xfffff000);
    put(SLOT, 0x18, 4, ~0u);
    assert_int_equal(get(SLOT, 0x18, 4), 0xffffffe0);
    put(SLOT, 0x14, 4, ~0u);
    assert_int_equal(get(SLOT, 0x14, 4), 0);
    put(SLOT, 0x30, 4, ~0u); /* no ROM */
    assert_int_equal(get(SLOT, 0x30, 4), 0);
}

static void test_bar_accesses(void **state)
{
    (void)state;
    pci_plug(&vm->pci, SLOT, &thing.f);
    uint64_t bar = get(SLOT, 0x10, 4), small = bar + 0x100000;
    put(SLOT, 0x18, 4, (uint32_t)small);
    assert_int_equal(bus_read(&vm->mmio, bar + 0x10, 8), 0x8877665544332211ull);
    assert_int_equal(thing.last_off, 0x10);
    assert_int_equal(thing.last_size, 8);
    assert_int_equal(bus_read(&vm->mmio, bar + 0xffe, 2), 0x2211);
    bus_write(&vm->mmio, bar + 4, 4, 0x1122334455);
    assert_int_equal(thing.last_value, 0x22334455);
    /* Over the end: its bytes are its own, the rest is nobody's. */
    assert_int_equal(bus_read(&vm->mmio, bar + 0xffe, 4), 0xffff2211);
    thing.writes = 0;
    bus_write(&vm->mmio, bar + 0xfff, 8, 0x42);
    assert_int_equal(thing.writes, 1);
    assert_int_equal(thing.last_size, 1);
    assert_int_equal(thing.last_value, 0x42);
    /* Bytes only. */
    thing.reads = 0;
    assert_int_equal(bus_read(&vm->mmio, small + 4, 4), 0x11111111);
    assert_int_equal(thing.reads, 4);
    assert_int_equal(thing.last_off, 7);
    assert_int_equal(bus_read(&vm->mmio, small + SMALL_SIZE, 4), 0xffffffff);
}

static void test_bars_move_and_switch_off(void **state)
{
    (void)state;
    pci_plug(&vm->pci, SLOT, &thing.f);
    uint64_t old = get(SLOT, 0x10, 4), moved = PCI_MMIO_BASE + PCI_MMIO_SIZE - BAR_SIZE;
    put(SLOT, 0x10, 4, (uint32_t)moved);
    assert_int_equal(bus_read(&vm->mmio, old, 4), 0xffffffff);
    assert_int_equal(bus_read(&vm->mmio, moved + 8, 4), 0x44332211);
    put(SLOT, 0x10, 4, 0x1000); /* out of the window: nobody answers there or here */
    assert_int_equal(bus_read(&vm->mmio, moved, 4), 0xffffffff);
    put(SLOT, 0x10, 4, (uint32_t)old);
    put(SLOT, 4, 2, 0);
    thing.writes = 0;
    assert_int_equal(bus_read(&vm->mmio, old, 4), 0xffffffff);
    bus_write(&vm->mmio, old, 4, 1);
    assert_int_equal(thing.writes, 0);
    put(SLOT, 4, 2, 2);
    assert_int_equal(bus_read(&vm->mmio, old, 4), 0x44332211);
}

static void test_overlapping_bars(void **state)
{
    (void)state;
    pci_plug(&vm->pci, SLOT + 1, &other.f);
    pci_plug(&vm->pci, SLOT, &thing.f);
    uint64_t there = get(SLOT + 1, 0x10, 4);
    put(SLOT, 0x10, 4, (uint32_t)there);
    bus_read(&vm->mmio, there, 4);
    assert_int_equal(thing.reads, 1);
    assert_int_equal(other.reads, 0);
    put(SLOT, 4, 2, 0);
    bus_read(&vm->mmio, there, 4);
    assert_int_equal(other.reads, 1);
}

static void test_capabilities(void **state)
{
    (void)state;
    assert_int_equal(pci_add_capability(&thing.f, 9, "\1\2\3", 5), 0x40);
    assert_int_equal(pci_add_capability(&thing.f, 5, "\4\5", 4), 0x48);
    pci_plug(&vm->pci, SLOT, &thing.f);
    assert_int_equal(get(SLOT, 6, 2), 0x10);
    assert_int_equal(get(SLOT, 0x34, 4), 0x48);
    assert_int_equal(get(SLOT, 0x48, 4), 0x05044005);
    assert_int_equal(get(SLOT, 0x40, 4), 0x02010009);
    put(SLOT, 0x40, 4, ~0u);
    assert_int_equal(get(SLOT, 0x40, 4), 0x02010009);
}

/* ---- MSI-X ---- */

#define CAP 0x40u
#define MASTER 6u

static void plug_msix(void)
{
    msix_init(&thing.msix, vm, &thing.f, 3, 0, 0x400, 0x800);
    thing.has_msix = true;
    pci_plug(&vm->pci, SLOT, &thing.f);
    put(SLOT, 4, 2, MASTER);
}

/* Vector vec: interrupt 0x50 + vec at vCPU 1. */
static void program(unsigned vec)
{
    msix_table_write(&thing.msix, vec * 16, 8, 0xfee01000);
    msix_table_write(&thing.msix, vec * 16 + 8, 4, 0x50 + vec);
    msix_table_write(&thing.msix, vec * 16 + 12, 4, 0);
}

/* The highest interrupt pending at vCPU 1, which is then over; -1: none. */
static int take(void)
{
    struct lapic *l = &vm->lapic[1];
    int vec = lapic_pending(l);
    if (vec >= 0) {
        lapic_accept(l, (uint8_t)vec);
        assert_true(lapic_msr_write(l, 0x80b, 0));
    }
    return vec;
}

static void test_msix_capability(void **state)
{
    (void)state;
    plug_msix();
    assert_int_equal(get(SLOT, CAP, 4), 0x00020011);
    assert_int_equal(get(SLOT, CAP + 4, 4), 0x400);
    assert_int_equal(get(SLOT, CAP + 8, 4), 0x800);
    put(SLOT, CAP, 4, ~0u);
    assert_int_equal(get(SLOT, CAP, 4), 0xc0020011);
    put(SLOT, CAP + 2, 2, 0x8000);
    assert_true(msix_enabled(&thing.msix));
}

static void test_msix_table(void **state)
{
    (void)state;
    plug_msix();
    assert_int_equal(msix_table_read(&thing.msix, 12, 4), 1); /* masked */
    program(1);
    assert_int_equal(msix_table_read(&thing.msix, 16, 8), 0xfee01000);
    assert_int_equal(msix_table_read(&thing.msix, 24, 8), 0x51);
    msix_table_write(&thing.msix, 16, 8, 0x123456789abcdeff);
    assert_int_equal(msix_table_read(&thing.msix, 16, 8), 0x123456789abcdefc);
    msix_table_write(&thing.msix, 20, 4, 0);
    assert_int_equal(msix_table_read(&thing.msix, 16, 8), 0x9abcdefc);
    msix_table_write(&thing.msix, 28, 4, ~0u);
    assert_int_equal(msix_table_read(&thing.msix, 28, 4), 1);
    /* Odd accesses and what is past the table. */
    msix_table_write(&thing.msix, 16, 2, 0);
    msix_table_write(&thing.msix, 18, 4, 0);
    msix_table_write(&thing.msix, 20, 8, 0);
    msix_table_write(&thing.msix, 48, 8, ~0ull);
    msix_table_write(&thing.msix, ~7ull, 8, ~0ull);
    assert_int_equal(msix_table_read(&thing.msix, 16, 8), 0x9abcdefc);
    assert_int_equal(msix_table_read(&thing.msix, 48, 8), 0);
    assert_int_equal(msix_table_read(&thing.msix, 17, 4), 0);
}

static void test_msix_delivery(void **state)
{
    (void)state;
    plug_msix();
    for (unsigned i = 0; i < 3; i++) {
        program(i);
    }
    msix_raise(&thing.msix, 0); /* off: nothing, and nothing kept */
    assert_int_equal(thing.msix.pending, 0);
    put(SLOT, CAP + 2, 2, 0x8000);
    assert_int_equal(take(), -1);
    msix_raise(&thing.msix, 2);
    assert_int_equal(take(), 0x52);
    assert_true(fake.kicked[1]);
    msix_raise(&thing.msix, 3); /* no such vector */
    msix_raise(&thing.msix, ~0u);
    assert_int_equal(take(), -1);
}

static void test_msix_masks(void **state)
{
    (void)state;
    plug_msix();
    program(0);
    program(1);
    put(SLOT, CAP + 2, 2, 0xc000); /* all masked */
    msix_raise(&thing.msix, 0);
    msix_raise(&thing.msix, 0);
    assert_int_equal(take(), -1);
    assert_int_equal(msix_pba_read(&thing.msix, 0, 8), 1);
    put(SLOT, CAP + 2, 2, 0x8000);
    assert_int_equal(take(), 0x50);
    assert_int_equal(take(), -1);
    assert_int_equal(msix_pba_read(&thing.msix, 0, 4), 0);

    msix_table_write(&thing.msix, 16 + 12, 4, 1); /* one masked */
    msix_raise(&thing.msix, 1);
    msix_raise(&thing.msix, 0);
    assert_int_equal(take(), 0x50);
    assert_int_equal(msix_pba_read(&thing.msix, 0, 4), 2);
    assert_int_equal(msix_pba_read(&thing.msix, 4, 4), 0);
    msix_table_write(&thing.msix, 16 + 8, 8, 0x60); /* another vector, unmasked, in one go */
    assert_int_equal(take(), 0x60);
    assert_int_equal(msix_pba_read(&thing.msix, 0, 4), 0);
}

static void test_msix_needs_bus_mastering(void **state)
{
    (void)state;
    plug_msix();
    program(0);
    put(SLOT, CAP + 2, 2, 0x8000);
    put(SLOT, 4, 2, 2);
    msix_raise(&thing.msix, 0);
    assert_int_equal(take(), -1);
    put(SLOT, 4, 2, MASTER);
    assert_int_equal(take(), 0x50);
    /* Switched off while something is pending: forgotten. */
    put(SLOT, CAP + 2, 2, 0xc000);
    msix_raise(&thing.msix, 0);
    put(SLOT, CAP + 2, 2, 0);
    put(SLOT, CAP + 2, 2, 0x8000);
    assert_int_equal(take(), -1);
    put(SLOT, CAP + 2, 2, 0xc000);
    msix_raise(&thing.msix, 0);
    msix_reset(&thing.msix);
    put(SLOT, CAP + 2, 2, 0x8000);
    assert_int_equal(take(), -1);
}

/* ---- the power button ---- */

/* A vCPU's turn: whatever its kick meant. */
static void turn(void)
{
    vm_end(vm, VM_KILLED, 0);
    vm_run_vcpu(vm, vm->vcpu[0]);
}

static void test_power_button(void **state)
{
    (void)state;
    bus_write(&vm->mmio, IOAPIC_BASE, 4, 0x10 + 2 * VM_POWER_BUTTON_GSI);
    bus_write(&vm->mmio, IOAPIC_BASE + 0x10, 4, 0x71); /* edge, to APIC 0 */
    vm_press_power_button(vm);
    assert_true(fake.kicked[0]);
    assert_int_equal(lapic_pending(&vm->lapic[0]), -1); /* it is the vCPU's to deliver */
    turn();
    assert_int_equal(lapic_pending(&vm->lapic[0]), 0x71);
    lapic_accept(&vm->lapic[0], 0x71);
    assert_true(lapic_msr_write(&vm->lapic[0], 0x80b, 0));
    vm_run_vcpu(vm, vm->vcpu[0]);
    assert_int_equal(lapic_pending(&vm->lapic[0]), -1); /* once */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_empty_bus),
        TEST(test_header),
        TEST(test_only_writable_bits_change),
        TEST(test_ports),
        TEST(test_reset_control_is_still_there),
        TEST(test_bar_sizing),
        TEST(test_bar_accesses),
        TEST(test_bars_move_and_switch_off),
        TEST(test_overlapping_bars),
        TEST(test_capabilities),
        TEST(test_msix_capability),
        TEST(test_msix_table),
        TEST(test_msix_delivery),
        TEST(test_msix_masks),
        TEST(test_msix_needs_bus_mastering),
        TEST(test_power_button),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
