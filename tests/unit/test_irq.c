/* src/irq: interrupt messages, the I/O APIC, and all of it from several tasks at once. The local
 * APIC alone is in test_lapic.c. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_host.h"

#define MSR_TPR 0x808
#define MSR_EOI 0x80b
#define MSR_SVR 0x80f
#define MSR_IRR 0x820
#define MSR_ICR 0x830
#define MSR_SELF_IPI 0x83f

#define MASKED 0x10000u

static struct vm *vm;
static struct lapic *l; /* vCPU 0's */

static void wr(struct lapic *lapic, uint32_t msr, uint64_t value)
{
    assert_true(lapic_msr_write(lapic, msr, value));
}

static uint64_t rd(uint32_t msr)
{
    uint64_t value = 0;
    assert_true(lapic_msr_read(l, msr, &value));
    return value;
}

/* Take the pending interrupt, which must be vec. */
static void accept(struct lapic *lapic, int vec)
{
    assert_int_equal(lapic_pending(lapic), vec);
    lapic_accept(lapic, (uint8_t)vec);
}

static int setup(void **state)
{
    (void)state;
    vm = fake_vm_create(4);
    l = &vm->lapic[0];
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        if (!lapic_msr_write(&vm->lapic[i], MSR_SVR, 0x1ff)) {
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

/* ---- messages ---- */

static void expect_targets(uint8_t vec, unsigned map)
{
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        assert_int_equal(lapic_pending(&vm->lapic[i]), map >> i & 1 ? vec : -1);
        if (map >> i & 1) {
            lapic_accept(&vm->lapic[i], vec);
            wr(&vm->lapic[i], MSR_EOI, 0);
        }
    }
}

static void test_ipi_destinations(void **state)
{
    (void)state;
    wr(l, MSR_ICR, 2ull << 32 | 0xfb);
    assert_int_equal(fake.kicks[2], 1);
    expect_targets(0xfb, 1u << 2);
    assert_int_equal(rd(MSR_ICR), 2ull << 32 | 0xfb);
    wr(l, MSR_ICR, 0xffffffffull << 32 | 0xfb);
    expect_targets(0xfb, 0xf);
    wr(l, MSR_ICR, 77ull << 32 | 0xfb);
    expect_targets(0xfb, 0);
    wr(l, MSR_ICR, 0xaull << 32 | 1u << 11 | 0xfb); /* logical: members 1 and 3 of cluster 0 */
    expect_targets(0xfb, 0xa);
    wr(l, MSR_ICR, 0x1000full << 32 | 1u << 11 | 0xfb); /* cluster 1: nobody */
    expect_targets(0xfb, 0);
    wr(l, MSR_ICR, 0xffffffffull << 32 | 1u << 11 | 0xfb);
    expect_targets(0xfb, 0xf);
    wr(l, MSR_ICR, 1u << 18 | 0xfb); /* self */
    expect_targets(0xfb, 1);
    wr(l, MSR_ICR, 2u << 18 | 0xfb); /* all */
    expect_targets(0xfb, 0xf);
    wr(l, MSR_ICR, 3u << 18 | 0xfb); /* others */
    expect_targets(0xfb, 0xe);
    unsigned kicks = fake.kicks[0];
    wr(l, MSR_SELF_IPI, 0xf6);
    expect_targets(0xf6, 1);
    assert_int_equal(kicks, 0); /* one's own IPIs need no kick */
    assert_int_equal(fake.kicks[0], 0);
}

static void test_invalid_shorthands(void **state)
{
    (void)state;
    wr(l, MSR_ICR, 1u << 18 | 4u << 8); /* NMI to self */
    assert_false(vm->vcpu[0]->nmi_pending);
    wr(l, MSR_ICR, 2u << 18 | 5u << 8 | 1u << 14); /* INIT to all including self */
    assert_int_equal(vm->lapic[0].events | vm->lapic[1].events, 0);
    wr(l, MSR_ICR, 3u << 18 | 4u << 8); /* NMI to others is valid */
    assert_false(vm->vcpu[0]->nmi_pending);
    assert_true(vm->vcpu[1]->nmi_pending && vm->vcpu[3]->nmi_pending);
}

static void test_lowest_priority(void **state)
{
    (void)state;
    struct irq_msg msg = {.dest = 0xf, .logical = true, .mode = 1, .vector = 0x61};
    wr(&vm->lapic[0], MSR_TPR, 0x40);
    wr(&vm->lapic[1], MSR_TPR, 0x20);
    wr(&vm->lapic[2], MSR_TPR, 0x10);
    wr(&vm->lapic[3], MSR_TPR, 0x10);
    irq_deliver(vm, &msg);
    expect_targets(0x61, 1u << 2);
    wr(&vm->lapic[2], MSR_TPR, 0x50);
    irq_deliver(vm, &msg);
    expect_targets(0x61, 1u << 3);
}

static void test_init_sipi(void **state)
{
    (void)state;
    struct lapic *ap = &vm->lapic[1];
    assert_true(ap->wait_sipi);
    wr(l, MSR_ICR, 1ull << 32 | 0x600 | 0x12); /* SIPI first, then INIT: the SIPI is void */
    wr(l, MSR_ICR, 1ull << 32 | 0xc500);
    assert_int_equal(ap->events, LAPIC_EVENT_INIT);
    wr(l, MSR_ICR, 1ull << 32 | 0x8500); /* de-assert: nothing */
    assert_int_equal(ap->events, LAPIC_EVENT_INIT);
    wr(l, MSR_ICR, 1ull << 32 | 0x600 | 0x9a);
    assert_int_equal(ap->events, LAPIC_EVENT_INIT | LAPIC_EVENT_SIPI);
    assert_int_equal(ap->sipi_vector, 0x9a);
    wr(l, MSR_ICR, 2ull << 32 | 4u << 8); /* NMI; the vector is not looked at */
    assert_true(vm->vcpu[2]->nmi_pending);
    assert_int_equal(lapic_pending(&vm->lapic[2]), -1);
}

static void test_msi(void **state)
{
    (void)state;
    irq_deliver_msi(vm, 0xfee00000 | 3u << 12, 0x4031);
    expect_targets(0x31, 1u << 3);
    irq_deliver_msi(vm, 0xfee00000 | 0xffu << 12, 0x32); /* broadcast */
    expect_targets(0x32, 0xf);
    irq_deliver_msi(vm, 0xfee00004 | 0x6u << 12, 0x33); /* logical */
    expect_targets(0x33, 0x6);
    irq_deliver_msi(vm, 0xfed00000, 0x34); /* not an interrupt address */
    irq_deliver_msi(vm, 0x1fee00000, 0x34);
    expect_targets(0x34, 0);
}

/* ---- I/O APIC ---- */

static uint32_t io_rd(uint32_t reg)
{
    bus_write(&vm->mmio, IOAPIC_BASE, 4, reg);
    return (uint32_t)bus_read(&vm->mmio, IOAPIC_BASE + 0x10, 4);
}

static void io_wr(uint32_t reg, uint32_t value)
{
    bus_write(&vm->mmio, IOAPIC_BASE, 4, reg);
    bus_write(&vm->mmio, IOAPIC_BASE + 0x10, 4, value);
}

#define IO_LEVEL 0x8000u
#define IO_RIRR 0x4000u

static void test_ioapic_registers(void **state)
{
    (void)state;
    assert_int_equal(io_rd(1), 0x170011);
    io_wr(1, 0);
    assert_int_equal(io_rd(1), 0x170011);
    io_wr(0, 0xffffffff);
    assert_int_equal(io_rd(0), 0x0f000000);
    assert_int_equal(io_rd(2), 0x0f000000);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        assert_int_equal(io_rd(0x10 + 2 * pin), MASKED);
    }
    io_wr(0x12, 0xffffffff);
    io_wr(0x13, 0xffffffff);
    assert_int_equal(io_rd(0x12), 0x1afff); /* status and remote IRR are read-only */
    assert_int_equal(io_rd(0x13), 0xff000000);
    assert_int_equal(io_rd(0x40), 0);
    io_wr(0x40, 1);
    bus_write(&vm->mmio, IOAPIC_BASE, 1, 0x12);
    assert_int_equal(bus_read(&vm->mmio, IOAPIC_BASE, 4), 0x12);
    bus_write(&vm->mmio, IOAPIC_BASE + 0x10, 1, 0);
    assert_int_equal(io_rd(0x12), 0x1afff);
}

static void test_ioapic_edge(void **state)
{
    (void)state;
    ioapic_raise(&vm->ioapic, 4); /* masked: lost */
    ioapic_lower(&vm->ioapic, 4);
    io_wr(0x10 + 8, 0x31);
    io_wr(0x11 + 8, 1u << 24);
    expect_targets(0x31, 0);
    ioapic_raise(&vm->ioapic, 4);
    ioapic_raise(&vm->ioapic, 4); /* no edge */
    expect_targets(0x31, 1u << 1);
    assert_int_equal(fake.kicks[1], 1);
    expect_targets(0x31, 0);
    ioapic_lower(&vm->ioapic, 4);
    ioapic_raise(&vm->ioapic, 4);
    expect_targets(0x31, 1u << 1);
    ioapic_raise(&vm->ioapic, 24); /* no such pin */
    ioapic_lower(&vm->ioapic, 200);
}

static void test_ioapic_level(void **state)
{
    (void)state;
    ioapic_raise(&vm->ioapic, 9);
    io_wr(0x10 + 18, IO_LEVEL | 0x51); /* unmasked while raised: sent */
    accept(l, 0x51);
    assert_int_equal(io_rd(0x10 + 18), IO_LEVEL | IO_RIRR | 0x51);
    ioapic_lower(&vm->ioapic, 9);
    ioapic_raise(&vm->ioapic, 9); /* in service: not again */
    assert_int_equal(rd(MSR_IRR + 2), 0);
    wr(l, MSR_EOI, 0); /* still raised: sent again */
    accept(l, 0x51);
    ioapic_lower(&vm->ioapic, 9);
    wr(l, MSR_EOI, 0);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(io_rd(0x10 + 18), IO_LEVEL | 0x51);
    ioapic_raise(&vm->ioapic, 9);
    accept(l, 0x51);
    io_wr(0x10 + 18, MASKED | IO_LEVEL | 0x51); /* masking does not end the service */
    assert_int_equal(io_rd(0x10 + 18), MASKED | IO_LEVEL | IO_RIRR | 0x51);
    wr(l, MSR_EOI, 0);
    assert_int_equal(lapic_pending(l), -1);
    io_wr(0x10 + 18, IO_LEVEL | 0x51);
    assert_int_equal(lapic_pending(l), 0x51);
}

static void test_ioapic_edge_switch_clears_remote_irr(void **state)
{
    (void)state;
    io_wr(0x10 + 18, IO_LEVEL | 0x51);
    ioapic_raise(&vm->ioapic, 9);
    accept(l, 0x51);
    io_wr(0x10 + 18, MASKED | 0x51);
    io_wr(0x10 + 18, MASKED | IO_LEVEL | 0x51);
    assert_int_equal(io_rd(0x10 + 18), MASKED | IO_LEVEL | 0x51);
}

static void test_ioapic_eoi_of_an_edge_vector(void **state)
{
    (void)state;
    io_wr(0x10 + 18, IO_LEVEL | 0x51);
    ioapic_raise(&vm->ioapic, 9);
    lapic_raise(l, 0x61, false);
    accept(l, 0x61);
    wr(l, MSR_EOI, 0); /* an edge: not broadcast */
    assert_int_equal(io_rd(0x10 + 18), IO_LEVEL | IO_RIRR | 0x51);
}

/* ---- from other tasks ---- */

#define ROUNDS 50000

/* Spin a little, to meet the other thread in the middle of something, then let it run. */
static void relax(unsigned turn)
{
    if (turn % 256 == 255) {
        sched_yield();
    } else {
        __builtin_ia32_pause();
    }
}

/* Two vectors of one IRR word, one after the other, then nothing until both were accepted: if the
 * second came while the first was being accepted and its summary bit got lost, it stays pending for
 * ever. */
static unsigned accepted;

static void *raiser(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        lapic_raise(l, 0x60, false);
        for (unsigned pauses = i % 64; pauses > 0; pauses--) {
            __builtin_ia32_pause();
        }
        lapic_raise(l, 0x71, false);
        unsigned turn = 0;
        while (__atomic_load_n(&accepted, __ATOMIC_ACQUIRE) != 2 * (i + 1)) {
            relax(turn++);
        }
    }
    return NULL;
}

static void test_raise_while_accepting(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, raiser, NULL), 0);
    for (unsigned idle = 0, done = 0; done < 2 * ROUNDS;) {
        int vec = lapic_pending(l);
        if (vec < 0) {
            assert_true(++idle < 10000000); /* lost */
            relax(idle);
            continue;
        }
        idle = 0;
        done++;
        lapic_accept(l, (uint8_t)vec);
        wr(l, MSR_EOI, 0);
        __atomic_store_n(&accepted, done, __ATOMIC_RELEASE);
    }
    pthread_join(thread, NULL);
}

/* A level-triggered device on another thread, its handler here: the handler lowers the line, then
 * takes the work. If a raise between EOI and re-sending were missed, work would stay undone. */
static unsigned work;

static void *device(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        __atomic_fetch_add(&work, 1, __ATOMIC_SEQ_CST);
        ioapic_raise(&vm->ioapic, 9);
        if (i % 16 == 0) {
            sched_yield();
        }
    }
    return NULL;
}

static void test_level_from_another_task(void **state)
{
    (void)state;
    io_wr(0x10 + 18, IO_LEVEL | 0x51);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, device, NULL), 0);
    unsigned idle = 0, done = 0;
    while (done < ROUNDS) {
        int vec = lapic_pending(l);
        if (vec < 0) {
            assert_true(++idle < 10000000); /* lost */
            relax(idle);
            continue;
        }
        idle = 0;
        lapic_accept(l, (uint8_t)vec);
        ioapic_lower(&vm->ioapic, 9);
        done += __atomic_exchange_n(&work, 0, __ATOMIC_SEQ_CST);
        wr(l, MSR_EOI, 0);
    }
    pthread_join(thread, NULL);
    assert_int_equal(done, ROUNDS);
}

/* ---- anything at all ---- */

static void test_fuzz_registers(void **state)
{
    (void)state;
    srand(7);
    for (unsigned n = 0; n < 200000; n++) {
        struct lapic *any = &vm->lapic[(unsigned)rand() % vm->cpu_count];
        uint64_t value = (uint64_t)rand() << 40 ^ (uint64_t)rand() << 20 ^ (uint64_t)rand();
        value >>= rand() % 64;
        uint32_t msr = 0x800 + (unsigned)rand() % 0x50;
        bool ok = rand() % 3 ? lapic_msr_write(any, msr, value) : lapic_msr_read(any, msr, &value);
        (void)ok;
        switch (rand() % 8) {
        case 0:
            lapic_set_tsc_deadline(any, fake.tsc + (value & 0xffff) - 0x4000);
            break;
        case 1:
            fake_advance(value & 0xffffff);
            lapic_poll_timer(any);
            break;
        case 2:
            ioapic_raise(&vm->ioapic, (unsigned)rand() % 26);
            break;
        case 3:
            ioapic_lower(&vm->ioapic, (unsigned)rand() % 26);
            break;
        case 4:
            bus_write(&vm->mmio, IOAPIC_BASE + (unsigned)rand() % 0x20, 1u << rand() % 4, value);
            break;
        case 5:
            bus_read(&vm->mmio, IOAPIC_BASE + (unsigned)rand() % 0x1000, 1u << rand() % 4);
            break;
        case 6:
            irq_deliver_msi(vm, 0xfee00000 | (value & 0xfffff), (uint32_t)rand());
            break;
        }
        int vec = lapic_pending(any);
        if (vec >= 0) {
            assert_in_range(vec, 16, 255);
            lapic_accept(any, (uint8_t)vec);
        }
    }
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_ipi_destinations),
        CASE(test_invalid_shorthands),
        CASE(test_lowest_priority),
        CASE(test_init_sipi),
        CASE(test_msi),
        CASE(test_ioapic_registers),
        CASE(test_ioapic_edge),
        CASE(test_ioapic_level),
        CASE(test_ioapic_edge_switch_clears_remote_irr),
        CASE(test_ioapic_eoi_of_an_edge_vector),
        CASE(test_raise_while_accepting),
        CASE(test_level_from_another_task),
        CASE(test_fuzz_registers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
