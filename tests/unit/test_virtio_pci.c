/* src/dev/virtio/virtio_pci.c with device.c: a device of two queues, driven through PCI as a guest
 * would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev/virtio/device.h"
#include "dev/virtio/virtio_pci.h"
#include "fake_driver.h"
#include "fake_host.h"

#define SLOT 5u
#define QUEUES 2u
#define FEATURE_X (1ull << 3)
#define FEATURE_Y (1ull << 40)
#define CONFIG_LEN 12u
#define RING 0x100000ull
#define DATA 0x200000ull

/* The common configuration, virtio 1.2 §4.1.4.3. */
enum {
    DEV_SELECT = 0x00,
    DEV_FEATURE = 0x04,
    DRV_SELECT = 0x08,
    DRV_FEATURE = 0x0c,
    CONFIG_VECTOR = 0x10,
    NUM_QUEUES = 0x12,
    STATUS = 0x14,
    GENERATION = 0x15,
    SELECT = 0x16,
    SIZE = 0x18,
    VECTOR = 0x1a,
    ENABLE = 0x1c,
    NOTIFY_OFF = 0x1e,
    DESC = 0x20,
    DRIVER = 0x28,
    DEVICE = 0x30,
};

/** The device under test: gives back what it gets. */
struct echo {
    struct virtio_device device;
    struct virtio_regs regs;
    struct virtio_pci pci;
    unsigned starts, stops, kicks;
    bool lazy; /* leaves everything where it is */
};

static struct vm *vm;
static struct echo echo;
static struct fake_queue drv[QUEUES];
/* Where the guest found the structures, guest-physical. */
static uint64_t common, isr, config, notify;
static unsigned window;

static void echo_start(struct virtio_device *d)
{
    ((struct echo *)d->state)->starts++;
}

static void echo_stop(struct virtio_device *d)
{
    ((struct echo *)d->state)->stops++;
}

static void echo_kick(struct virtio_device *d, unsigned q)
{
    struct echo *e = d->state;
    struct virtq_chain chain;
    e->kicks++;
    while (!e->lazy && virtio_device_pop(d, q, &chain)) {
        virtq_push(&d->queue[q], chain.head, (uint32_t)chain.in_len);
    }
    virtio_device_publish(d, q);
}

static const struct virtio_ops echo_ops = {
    .start = echo_start, .stop = echo_stop, .kick = echo_kick};

static uint64_t cfg(unsigned off, unsigned size)
{
    return bus_read(&vm->mmio, PCI_ECAM_BASE + (SLOT << 15) + off, size);
}

static void cfg_set(unsigned off, unsigned size, uint64_t value)
{
    bus_write(&vm->mmio, PCI_ECAM_BASE + (SLOT << 15) + off, size, value);
}

/* Walk the capabilities as a driver does. */
static void find_structures(void)
{
    uint64_t *where[] = {[1] = &common, [2] = &notify, [3] = &isr, [4] = &config};
    uint64_t bar = cfg(0x10, 4);
    unsigned seen = 0;
    for (unsigned at = (unsigned)cfg(0x34, 1); at != 0; at = (unsigned)cfg(at + 1, 1)) {
        unsigned type = (unsigned)cfg(at + 3, 1);
        if (cfg(at, 1) != 9) {
            continue;
        }
        assert_true(cfg(at + 2, 1) >= 16);
        seen |= 1u << type;
        if (type < 5) {
            assert_int_equal(cfg(at + 4, 1), 0);
            *where[type] = bar + cfg(at + 8, 4);
        } else {
            window = at;
        }
        if (type == 2) {
            assert_int_equal(cfg(at + 16, 4), 4);
        }
    }
    assert_int_equal(seen, 0x3e);
}

static int setup(void **state)
{
    (void)state;
    static const uint8_t bytes[CONFIG_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    vm = fake_vm_create(2);
    memset(&echo, 0, sizeof(echo));
    virtio_device_init(&echo.device, &echo.regs, &vm->ram, SLOT, VIRTIO_ID_NET, QUEUES,
                       FEATURE_X | FEATURE_Y, bytes, sizeof(bytes), &echo_ops, &echo);
    echo.regs.control = 9;
    echo.regs.kick[0] = 1;
    echo.regs.kick[1] = 2;
    echo.regs.config_writable[0] = 0x30; /* bytes 4 and 5 */
    virtio_pci_init(&echo.pci, vm, &echo.regs);
    find_structures();
    return lapic_msr_write(&vm->lapic[0], 0x80f, 0x1ff) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    fake_vm_destroy(vm);
    return 0;
}

static uint64_t get(unsigned off, unsigned size)
{
    return bus_read(&vm->mmio, common + off, size);
}

static void set(unsigned off, unsigned size, uint64_t value)
{
    bus_write(&vm->mmio, common + off, size, value);
}

/* ---- a driver, step by step ---- */

static void negotiate(uint64_t features)
{
    set(STATUS, 1, 0);
    assert_int_equal(get(STATUS, 1), 0);
    set(STATUS, 1, 1);
    set(STATUS, 1, 3);
    set(DRV_SELECT, 4, 0);
    set(DRV_FEATURE, 4, (uint32_t)features);
    set(DRV_SELECT, 4, 1);
    set(DRV_FEATURE, 4, features >> 32);
    set(STATUS, 1, 3 | VIRTIO_FEATURES_OK);
}

static void set_up_queue(unsigned q, uint16_t size, uint16_t vector)
{
    fake_queue_init(&drv[q], &vm->ram, RING + q * 0x10000, size);
    set(SELECT, 2, q);
    set(SIZE, 2, size);
    set(VECTOR, 2, vector);
    set(DESC, 4, drv[q].desc_gpa);
    set(DESC + 4, 4, drv[q].desc_gpa >> 32);
    set(DRIVER, 8, drv[q].avail_gpa);
    set(DEVICE, 4, drv[q].used_gpa);
    set(ENABLE, 2, 1);
}

/* Interrupts of vector v arrive as 0x40 + v at vCPU 0. */
static void enable_msix(void)
{
    uint64_t table = (cfg(0x10, 4) & ~15ull) + 0x4000;
    unsigned cap = echo.pci.msix.cap;
    cfg_set(4, 2, 6);
    assert_int_equal(cfg(cap + 4, 4), 0x4000);
    for (unsigned v = 0; v <= QUEUES; v++) {
        bus_write(&vm->mmio, table + v * 16, 4, 0xfee00000);
        bus_write(&vm->mmio, table + v * 16 + 8, 4, 0x40 + v);
        bus_write(&vm->mmio, table + v * 16 + 12, 4, 0);
    }
    cfg_set(cap + 2, 2, 0x8000);
}

static void start(uint64_t features)
{
    enable_msix();
    negotiate(features | VIRTIO_F_VERSION_1);
    assert_int_equal(get(STATUS, 1), 11);
    set(CONFIG_VECTOR, 2, 0);
    set_up_queue(0, 8, 1);
    set_up_queue(1, 256, 2);
    set(STATUS, 1, 15);
    virtio_device_control(&echo.device);
    assert_int_equal(echo.starts - echo.stops, 1);
}

/* The vCPU looks for work, as after a kick. */
static void turn(void)
{
    vm->end = vm->end_claimed = 0;
    vm_end(vm, VM_KILLED, 0);
    vm_run_vcpu(vm, vm->vcpu[0]);
}

static int take(void)
{
    struct lapic *l = &vm->lapic[0];
    turn();
    int vec = lapic_pending(l);
    if (vec >= 0) {
        lapic_accept(l, (uint8_t)vec);
        assert_true(lapic_msr_write(l, 0x80b, 0));
    }
    return vec;
}

/* ---- tests ---- */

static void test_identity(void **state)
{
    (void)state;
    assert_int_equal(cfg(0, 4), 0x10411af4);
    assert_int_equal(cfg(8, 4), 0x02000001);
    assert_true(cfg(0x2e, 2) >= 0x40);
    assert_int_equal(get(NUM_QUEUES, 2), QUEUES);
    assert_ptr_equal(vm->device[SLOT], &echo.pci);
}

static void test_features(void **state)
{
    (void)state;
    uint64_t offered = FEATURE_X | FEATURE_Y | VIRTIO_F_COMMON;
    assert_int_equal(get(DEV_FEATURE, 4), (uint32_t)offered);
    set(DEV_SELECT, 4, 1);
    assert_int_equal(get(DEV_FEATURE, 4), offered >> 32);
    set(DEV_SELECT, 4, 2);
    assert_int_equal(get(DEV_FEATURE, 4), 0);
    set(DEV_SELECT, 4, 0xffffffff);
    assert_int_equal(get(DEV_FEATURE, 4), 0);

    negotiate(FEATURE_X); /* without VERSION_1 */
    assert_int_equal(get(STATUS, 1), 3);
    negotiate(VIRTIO_F_VERSION_1 | 1); /* not offered */
    assert_int_equal(get(STATUS, 1), 3);
    negotiate(VIRTIO_F_VERSION_1 | FEATURE_Y);
    assert_int_equal(get(STATUS, 1), 11);
    assert_int_equal(get(DRV_FEATURE, 4), FEATURE_Y >> 32 | 1);
    set(DRV_FEATURE, 4, 0); /* too late */
    assert_int_equal(get(DRV_FEATURE, 4), FEATURE_Y >> 32 | 1);
}

static void test_status(void **state)
{
    (void)state;
    set(STATUS, 1, 3 | VIRTIO_DRIVER_OK);
    assert_int_equal(get(STATUS, 1), 3); /* not without agreed features */
    assert_int_equal(echo.regs.request, 0);
    set(STATUS, 1, 1);
    assert_int_equal(get(STATUS, 1), 3); /* bits do not go away */
    set(STATUS, 1, 0xff);
    assert_int_equal(get(STATUS, 1), 3 | VIRTIO_FAILED);
    set(STATUS, 4, 0); /* not its width */
    assert_int_equal(get(STATUS, 1), 3 | VIRTIO_FAILED);
    set(STATUS, 1, 0);
    assert_int_equal(get(STATUS, 1), 0);
}

static void test_queue_registers(void **state)
{
    (void)state;
    assert_int_equal(get(SIZE, 2), VIRTIO_QUEUE_SIZE_MAX);
    assert_int_equal(get(VECTOR, 2), VIRTIO_NO_VECTOR);
    set(SELECT, 2, 1);
    assert_int_equal(get(NOTIFY_OFF, 2), 1);
    static const uint16_t bad[] = {0, 3, 257, 512, 0xffff};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        set(SIZE, 2, bad[i]);
        assert_int_equal(get(SIZE, 2), VIRTIO_QUEUE_SIZE_MAX);
    }
    set(SIZE, 2, 64);
    assert_int_equal(get(SIZE, 2), 64);
    set(DESC, 4, 0x11223344);
    set(DESC + 4, 4, 0x55667788);
    assert_int_equal(echo.regs.queue[1].desc, 0x5566778811223344);
    assert_int_equal(get(DESC, 8), 0x5566778811223344);
    set(DEVICE, 8, 0x123456789abcdef0);
    assert_int_equal(echo.regs.queue[1].device, 0x123456789abcdef0);
    set(DESC, 2, 0xffff); /* not its width */
    assert_int_equal(get(DESC, 4), 0x11223344);
    set(VECTOR, 2, 3);
    assert_int_equal(get(VECTOR, 2), VIRTIO_NO_VECTOR); /* no such vector */
    set(VECTOR, 2, 2);
    assert_int_equal(get(VECTOR, 2), 2);
    set(ENABLE, 2, 1);
    assert_int_equal(get(ENABLE, 2), 1);
    set(ENABLE, 2, 0);
    set(SIZE, 2, 32);
    set(DESC, 4, 0);
    assert_int_equal(get(ENABLE, 2), 1);
    assert_int_equal(get(SIZE, 2), 64);
    assert_int_equal(get(DESC, 4), 0x11223344);
    for (unsigned q = QUEUES; q <= 0xffff; q += q < 16 ? 1 : 0x1111) {
        set(SELECT, 2, q);
        assert_int_equal(get(SELECT, 2), q);
        assert_int_equal(get(SIZE, 2), 0);
        set(SIZE, 2, 8);
        set(ENABLE, 2, 1);
        set(DESC, 4, 1);
        assert_int_equal(get(ENABLE, 2), 0);
        assert_int_equal(get(SIZE, 2), 0);
        assert_int_equal(get(DESC, 4), 0);
    }
    assert_int_equal(get(0x38, 4), 0);
    assert_int_equal(get(0x13, 2), 0); /* across a word */
}

static void test_start_and_kick(void **state)
{
    (void)state;
    start(FEATURE_X | VIRTIO_F_EVENT_IDX);
    assert_int_equal(fake.bells[9], 1);
    assert_int_equal(echo.device.features, FEATURE_X | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1);
    assert_true(echo.device.queue[0].event_idx);
    assert_false(echo.device.queue[0].indirect);
    assert_int_equal(echo.device.queue[1].size, 256);
    assert_int_equal(echo.kicks, 2); /* for kicks that came before */
    bus_write(&vm->mmio, notify + 4, 2, 1);
    assert_int_equal(fake.bells[2], 1);
    bus_write(&vm->mmio, notify, 2, 0);
    assert_int_equal(fake.bells[1], 1);
    bus_write(&vm->mmio, notify + 8, 2, 2); /* no such queue */
    bus_write(&vm->mmio, notify + 0xffc, 4, 0);
    assert_int_equal(fake.bells[1] + fake.bells[2], 2);
    virtio_device_control(&echo.device); /* a bell that rang twice */
    assert_int_equal(echo.starts, 1);
    assert_int_equal(echo.stops, 0);
}

static void test_buffers_go_round(void **state)
{
    (void)state;
    uint32_t head, len;
    start(0);
    fake_queue_add(&drv[1], DATA, 4, DATA + 64, 10);
    virtio_device_kick(&echo.device, 1);
    assert_true(fake_queue_take(&drv[1], &head, &len));
    assert_int_equal(len, 10);
    assert_int_equal(take(), 0x42);
    assert_int_equal(take(), -1);
    assert_int_equal(bus_read(&vm->mmio, isr, 1), 1);
    assert_int_equal(bus_read(&vm->mmio, isr, 1), 0);
    fake_queue_add(&drv[0], DATA, 4, 0, 0);
    virtio_device_kick(&echo.device, 0);
    assert_int_equal(take(), 0x41);
    virtio_device_kick(&echo.device, 2); /* none such */
    virtio_device_kick(&echo.device, 77);
    drv[0].avail[0] = 1; /* no interrupts, please */
    fake_queue_add(&drv[0], DATA, 4, 0, 0);
    virtio_device_kick(&echo.device, 0);
    assert_int_equal(take(), -1);
}

static void test_one_vector_for_all(void **state)
{
    (void)state;
    start(0);
    set(SELECT, 2, 0);
    set(VECTOR, 2, 2);
    set(CONFIG_VECTOR, 2, 2);
    fake_queue_add(&drv[0], DATA, 4, 0, 0);
    fake_queue_add(&drv[1], DATA, 4, 0, 0);
    virtio_device_kick(&echo.device, 0);
    virtio_device_kick(&echo.device, 1);
    virtio_device_config(&echo.device, 0, "x", 1);
    assert_int_equal(take(), 0x42);
    assert_int_equal(take(), -1);
    assert_int_equal(bus_read(&vm->mmio, isr, 1), 3);
    set(VECTOR, 2, VIRTIO_NO_VECTOR);
    fake_queue_add(&drv[0], DATA, 4, 0, 0);
    virtio_device_kick(&echo.device, 0);
    assert_int_equal(take(), -1);
    assert_int_equal(bus_read(&vm->mmio, isr, 1), 1); /* to be polled */
}

static void test_kicks_are_asked_for_when_empty(void **state)
{
    (void)state;
    start(0);
    assert_int_equal(drv[0].used[0], 0);
    echo.lazy = true;
    fake_queue_add(&drv[0], DATA, 4, 0, 0);
    fake_queue_add(&drv[0], DATA, 4, 0, 0);
    struct virtq_chain chain;
    assert_true(virtio_device_pop(&echo.device, 0, &chain));
    assert_int_equal(drv[0].used[0], 1);
    assert_true(virtio_device_pop(&echo.device, 0, &chain));
    assert_int_equal(drv[0].used[0], 1);
    assert_false(virtio_device_pop(&echo.device, 0, &chain));
    assert_int_equal(drv[0].used[0], 0);
    fake_queue_add(&drv[0], DATA, 4, 0, 0);
    assert_true(virtio_device_pop(&echo.device, 0, &chain));
    assert_int_equal(drv[0].used[0], 1);
    assert_false(virtio_device_pop(&echo.device, 7, &chain));
}

/* A driver that adds buffers as fast as they are handled. */
static unsigned refills;

static void refill_kick(struct virtio_device *d, unsigned q)
{
    struct virtq_chain chain;
    while (virtio_device_pop(d, q, &chain)) {
        virtq_push(&d->queue[q], chain.head, 0);
        fake_queue_add(&drv[q], DATA, 4, 0, 0);
        refills++;
    }
}

static void test_a_kick_ends(void **state)
{
    (void)state;
    static const struct virtio_ops refill_ops = {
        .start = echo_start, .stop = echo_stop, .kick = refill_kick};
    start(0);
    echo.device.ops = &refill_ops;
    refills = 0;
    fake_queue_add(&drv[0], DATA, 4, 0, 0);
    virtio_device_kick(&echo.device, 0);
    assert_true(refills > 8 && refills < 10000);
    assert_int_equal(virtio_device_again(&echo.device), 1);
    assert_int_equal(virtio_device_again(&echo.device), 0);
    unsigned before = refills;
    virtio_device_kick(&echo.device, 0);
    assert_true(refills > before);
    virtio_device_later(&echo.device, 1);
    assert_int_equal(virtio_device_again(&echo.device), 3);
}

/* ---- reset ---- */

static void test_reset_takes_its_time(void **state)
{
    (void)state;
    start(0);
    set(STATUS, 1, 0);
    assert_int_equal(fake.bells[9], 2);
    assert_int_equal(get(STATUS, 1), 15); /* the device still works */
    set(STATUS, 1, 1);                    /* lost */
    set(SELECT, 2, 1);
    assert_int_equal(get(SELECT, 2), 0);
    assert_int_equal(get(ENABLE, 2), 0);
    virtio_device_control(&echo.device);
    assert_int_equal(echo.stops, 1);
    assert_int_equal(get(STATUS, 1), 0);
    assert_int_equal(get(CONFIG_VECTOR, 2), VIRTIO_NO_VECTOR);
    set(SELECT, 2, 1);
    assert_int_equal(get(SIZE, 2), VIRTIO_QUEUE_SIZE_MAX);
    /* Nothing of the guest is touched any more. */
    struct virtq_chain chain;
    assert_false(virtio_device_pop(&echo.device, 1, &chain));
    unsigned kicks = echo.kicks;
    virtio_device_kick(&echo.device, 0);
    assert_int_equal(echo.kicks, kicks);
    start(FEATURE_Y);
    assert_int_equal(echo.starts, 2);
}

static void test_reset_that_was_overtaken(void **state)
{
    (void)state;
    start(0);
    set(STATUS, 1, 0);
    virtio_device_control(&echo.device);
    negotiate(VIRTIO_F_VERSION_1);
    set(STATUS, 1, 15);
    set(STATUS, 1, 0); /* before the device saw the start */
    assert_int_equal(get(STATUS, 1), 15);
    virtio_device_control(&echo.device);
    assert_int_equal(get(STATUS, 1), 0);
    assert_int_equal(echo.starts, 1);
}

static void test_reset_drops_interrupts(void **state)
{
    (void)state;
    start(0);
    fake_queue_add(&drv[0], DATA, 4, 0, 0);
    virtio_device_kick(&echo.device, 0);
    set(STATUS, 1, 0);
    virtio_device_control(&echo.device);
    assert_int_equal(take(), -1);
    assert_int_equal(bus_read(&vm->mmio, isr, 1), 0);
}

static void test_bad_queues_break_the_device(void **state)
{
    (void)state;
    enable_msix();
    negotiate(VIRTIO_F_VERSION_1);
    set_up_queue(0, 8, 1);
    set(SELECT, 2, 1);
    set(DESC, 8, FAKE_RAM_SIZE - 16);
    set(ENABLE, 2, 1);
    set(CONFIG_VECTOR, 2, 0);
    set(STATUS, 1, 15);
    virtio_device_control(&echo.device);
    assert_int_equal(echo.starts, 0);
    assert_int_equal(get(STATUS, 1), 15 | VIRTIO_NEEDS_RESET);
    assert_int_equal(take(), 0x40);
    set(STATUS, 1, 0);
    virtio_device_control(&echo.device);
    assert_int_equal(get(STATUS, 1), 0);
    assert_int_equal(echo.stops, 0);
    start(0);
    assert_int_equal(get(STATUS, 1), 15);
}

static void test_spoilt_ring_breaks_the_device(void **state)
{
    (void)state;
    start(0);
    drv[0].avail[1] = 100;
    virtio_device_kick(&echo.device, 0);
    assert_int_equal(get(STATUS, 1), 15 | VIRTIO_NEEDS_RESET);
    assert_int_equal(take(), 0x40);
    assert_int_equal(echo.device.stat.errors, 1);
    unsigned kicks = echo.kicks;
    fake_queue_add(&drv[1], DATA, 1, 0, 0);
    virtio_device_kick(&echo.device, 1); /* the other queue rests too */
    virtio_device_break(&echo.device, "again");
    assert_int_equal(echo.kicks, kicks);
    assert_int_equal(echo.device.stat.errors, 1);
    set(STATUS, 1, 0);
    virtio_device_control(&echo.device);
    assert_int_equal(echo.stops, 1);
    start(0);
}

/* A register file whose vCPU task has gone wild. */
static void test_hostile_registers(void **state)
{
    (void)state;
    start(0);
    struct virtio_regs *r = &echo.regs;
    r->queue_count = 0xffff;
    r->config_len = 0xffff;
    r->driver_features = ~0ull;
    r->device_features = ~0ull;
    memset(&r->queue[0].enabled, 0x7f, 1);
    r->request++;
    virtio_device_control(&echo.device);
    assert_true(echo.device.broken);
    r->driver_features = VIRTIO_F_VERSION_1;
    r->request++;
    virtio_device_control(&echo.device);
    assert_false(echo.device.broken);
    r->queue[0].desc = ~0ull;
    r->request++;
    virtio_device_control(&echo.device);
    assert_true(echo.device.broken);
    r->interrupts = ~0u;
    virtio_pci_deliver(&echo.pci);
    bus_write(&vm->mmio, notify + 0x7f0, 2, 0);
    assert_int_equal(bus_read(&vm->mmio, config + VIRTIO_CONFIG_MAX, 8), 0);
}

/* ---- the rest ---- */

static void test_configuration(void **state)
{
    (void)state;
    assert_int_equal(bus_read(&vm->mmio, config, 8), 0x0807060504030201);
    assert_int_equal(bus_read(&vm->mmio, config + 9, 2), 0x0b0a);
    assert_int_equal(bus_read(&vm->mmio, config + 10, 4), 0x0c0b); /* past its end */
    assert_int_equal(bus_read(&vm->mmio, config + 0xffe, 8) & 0xffff, 0);
    bus_write(&vm->mmio, config, 8, ~0ull);
    assert_int_equal(bus_read(&vm->mmio, config, 8), 0x0807ffff04030201);
    uint64_t generation = get(GENERATION, 1);
    virtio_device_config(&echo.device, 8, "AB", 2);
    assert_int_not_equal(get(GENERATION, 1), generation);
    assert_int_equal(get(GENERATION, 1), get(GENERATION, 1));
    assert_int_equal(bus_read(&vm->mmio, config + 8, 4), 0x0c0b4241);
    /* While it is being changed no two readings agree. */
    for (unsigned i = 0; i < 100; i++) {
        echo.regs.config_generation |= 1;
        uint64_t first = get(GENERATION, 1);
        assert_int_not_equal(first, get(GENERATION, 1));
        first = get(GENERATION, 1);
        echo.regs.config_generation++;
        assert_int_not_equal(first, get(GENERATION, 1));
    }
}

static void test_window_in_configuration_space(void **state)
{
    (void)state;
    cfg_set(4, 2, 0); /* also with the BAR off */
    cfg_set(window + 4, 1, 0);
    cfg_set(window + 8, 4, NUM_QUEUES);
    cfg_set(window + 12, 4, 2);
    assert_int_equal(cfg(window + 16, 2), QUEUES);
    cfg_set(window + 8, 4, DEV_SELECT);
    cfg_set(window + 12, 4, 4);
    cfg_set(window + 16, 4, 1);
    assert_int_equal(echo.regs.device_feature_select, 1);
    cfg_set(window + 8, 4, STATUS);
    cfg_set(window + 12, 4, 1);
    cfg_set(window + 16, 4, 0xffffff01);
    assert_int_equal(echo.regs.status, 1);
    assert_int_equal(cfg(window + 16, 1), 1);
    /* What makes no sense does nothing. */
    static const struct {
        uint32_t bar, off, len;
    } bad[] = {{1, 0, 4}, {0, 0, 0},      {0, 0, 3},          {0, 0, 8},
               {0, 2, 4}, {0, 0x8000, 4}, {0, 0xfffffffc, 4}, {255, 0, 1}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cfg_set(window + 4, 1, bad[i].bar);
        cfg_set(window + 8, 4, bad[i].off);
        cfg_set(window + 12, 4, bad[i].len);
        cfg_set(window + 16, 4, 7);
        assert_int_equal(cfg(window + 16, 4), 7);
        assert_int_equal(echo.regs.device_feature_select, 1);
        assert_int_equal(echo.regs.status, 1);
    }
}

static void test_losing_the_bus_stops_it(void **state)
{
    (void)state;
    start(0);
    cfg_set(4, 2, 2);
    virtio_device_control(&echo.device);
    assert_int_equal(echo.stops, 1);
    assert_int_equal(get(STATUS, 1), 11);
    cfg_set(4, 2, 6);
    virtio_device_control(&echo.device);
    assert_int_equal(echo.starts, 1);
    set(STATUS, 1, 0);
    virtio_device_control(&echo.device);
    start(0);
    assert_int_equal(echo.starts, 2);
}

/* Any access anywhere, with the device's half run now and then. */
static void test_fuzz_registers(void **state)
{
    (void)state;
    srand(1);
    uint64_t bar = cfg(0x10, 4);
    for (unsigned i = 0; i < 300000; i++) {
        uint64_t off =
            (uint64_t)(rand() % 8) << 12 | (unsigned)(rand() % (rand() % 4 ? 0x40 : 0x1000));
        unsigned size = 1u << rand() % 4;
        uint64_t value =
            rand() % 3 ? (unsigned)rand() % 32 : (uint64_t)rand() << 32 | (unsigned)rand();
        if (rand() % 8 == 0) {
            bus_write(&vm->mmio, PCI_ECAM_BASE + (SLOT << 15) + (unsigned)(rand() % 0x110), size,
                      value);
            cfg_set(0x10, 4, bar);
        } else if (rand() % 2) {
            bus_write(&vm->mmio, bar + off, size, value);
        } else {
            bus_read(&vm->mmio, bar + off, size);
        }
        if (rand() % 16 == 0) {
            virtio_device_control(&echo.device);
            virtio_device_kick(&echo.device, (unsigned)rand() % 3);
            turn();
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_identity),
        TEST(test_features),
        TEST(test_status),
        TEST(test_queue_registers),
        TEST(test_start_and_kick),
        TEST(test_buffers_go_round),
        TEST(test_one_vector_for_all),
        TEST(test_kicks_are_asked_for_when_empty),
        TEST(test_a_kick_ends),
        TEST(test_reset_takes_its_time),
        TEST(test_reset_that_was_overtaken),
        TEST(test_reset_drops_interrupts),
        TEST(test_bad_queues_break_the_device),
        TEST(test_spoilt_ring_breaks_the_device),
        TEST(test_hostile_registers),
        TEST(test_configuration),
        TEST(test_window_in_configuration_space),
        TEST(test_losing_the_bus_stops_it),
        TEST(test_fuzz_registers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
