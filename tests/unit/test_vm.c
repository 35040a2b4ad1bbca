/* src/vm: the buses, kvmclock, hypercalls, and the life of a machine and its vCPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "fake_host.h"

static struct vm *vm;

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

/* ---- bus ---- */

struct probe {
    uint64_t off, value;
    unsigned size, reads, writes;
};

static uint64_t probe_read(void *dev, uint64_t off, unsigned size)
{
    struct probe *p = dev;
    p->off = off;
    p->size = size;
    p->reads++;
    return 0x1122334455667788ull + off;
}

static void probe_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct probe *p = dev;
    *p = (struct probe){off, value, size, p->reads, p->writes + 1};
}

static const struct bus_ops any_size = {.read = probe_read, .write = probe_write};
static const struct bus_ops bytes_only = {
    .read = probe_read,
    .write = probe_write,
    .access_max = 1,
};

static void test_bus_ranges(void **state)
{
    (void)state;
    struct bus bus = {0};
    struct probe a = {0}, b = {0}, c = {0};
    bus_add(&bus, 0x2000, 0x10, &any_size, &b);
    bus_add(&bus, 0x1000, 0x10, &any_size, &a);
    bus_add(&bus, UINT64_MAX - 7, 8, &any_size, &c);
    bus_add(&bus, 0x1010, 4, &bytes_only, &b);
    assert_true(bus_claims(&bus, 0x1000) && bus_claims(&bus, 0x100f) && bus_claims(&bus, 0x1013));
    assert_true(bus_claims(&bus, UINT64_MAX));
    assert_false(bus_claims(&bus, 0xfff) || bus_claims(&bus, 0x1014) || bus_claims(&bus, 0x2010));
    assert_true(bus_read(&bus, 0x1008, 8) == 0x1122334455667790ull);
    assert_int_equal(a.off, 8);
    assert_int_equal(bus_read(&bus, 0x1001, 2), 0x7789);
    assert_int_equal(bus_read(&bus, 0x500, 1), 0xff);
    assert_int_equal(bus_read(&bus, 0x500, 4), 0xffffffff);
    assert_true(bus_read(&bus, 0x500, 8) == UINT64_MAX);
    bus_write(&bus, 0x2003, 2, 0xabcdef);
    assert_int_equal(b.value, 0xcdef);
    assert_int_equal(b.size, 2);
    bus_write(&bus, 0x500, 4, 1);
    assert_int_equal(bus_read(&bus, UINT64_MAX, 1), 0x8f);
}

static void test_bus_splits(void **state)
{
    (void)state;
    struct bus bus = {0};
    struct probe a = {0}, b = {0};
    bus_add(&bus, 0x100, 4, &any_size, &a);
    bus_add(&bus, 0x104, 4, &bytes_only, &b);
    assert_int_equal(bus_read(&bus, 0x104, 4), 0x8b8a8988); /* four byte cycles */
    assert_int_equal(b.reads, 4);
    assert_int_equal(bus_read(&bus, 0x106, 4), 0xffff8b8a); /* the upper half is no one's */
    assert_int_equal(bus_read(&bus, 0x102, 4), 0x8988778a); /* a word here, bytes there */
    assert_int_equal(a.size, 2);
    bus_write(&bus, 0x103, 2, 0xbbaa);
    assert_int_equal(a.value, 0xaa);
    assert_int_equal(b.value, 0xbb);
    unsigned writes = a.writes;
    bus_write(&bus, 0xff, 4, ~0u); /* starts outside: not ours */
    assert_int_equal(a.writes, writes);
    assert_int_equal(bus_read(&bus, 0xff, 4), 0xffffffff);
}

static void expect_bug(struct bus *bus, uint64_t start, uint64_t len)
{
    static const struct bus_ops ops = {.read = probe_read, .write = probe_write};
    jmp_buf back;
    fake.last_panic[0] = '\0';
    fake.panic = &back;
    if (setjmp(back) == 0) {
        bus_add(bus, start, len, &ops, NULL);
    }
    fake.panic = NULL;
    assert_memory_equal(fake.last_panic, "bug: ", 5);
}

static void test_bus_refuses_overlap(void **state)
{
    (void)state;
    static struct bus bus;
    bus_add(&bus, 0x100, 0x10, &any_size, NULL);
    expect_bug(&bus, 0x100, 1);
    expect_bug(&bus, 0x10f, 1);
    expect_bug(&bus, 0xff, 2);
    expect_bug(&bus, 0xf0, 0x100);
    expect_bug(&bus, 0x200, 0);
    expect_bug(&bus, UINT64_MAX, 2);
    assert_int_equal(bus.count, 1);
    for (unsigned i = 1; i < BUS_RANGES_MAX; i++) {
        bus_add(&bus, 0x1000 - 0x10 * i, 0x10, &any_size, NULL);
    }
    expect_bug(&bus, 0x5000, 1);
}

/* ---- KVM's interface ---- */

struct pvti {
    uint32_t version, pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad[2];
};

static uint64_t pv_read(const struct pvti *p, uint64_t tsc)
{
    uint64_t delta = tsc - p->tsc_timestamp;
    delta = p->shift < 0 ? delta >> -p->shift : delta << p->shift;
    return p->system_time + (uint64_t)((unsigned __int128)delta * p->mul >> 32);
}

static void test_kvmclock_follows_host_time(void **state)
{
    (void)state;
    static const uint32_t khz[] = {1000,    999999,  1000000, 1000001,
                                   2000000, 2250034, 3699999, 9000000};
    for (size_t i = 0; i < ARRAY_LEN(khz); i++) {
        vm->tsc_khz = khz[i];
        assert_true(kvmclock_write_system_time(vm->vcpu[0], 0x5001));
        struct pvti p;
        memcpy(&p, vm->ram.base + 0x5000, sizeof(p));
        assert_int_equal(p.version & 1, 0);
        assert_int_equal(p.flags, 1);
        assert_true(p.mul & 0x80000000);
        for (uint64_t s = 1; s < 10000000; s *= 10) { /* below 1 ns a second: mul has 31 bits */
            uint64_t ns = pv_read(&p, vm->clock_tsc + s * khz[i] * 1000);
            uint64_t want = s * 1000000000;
            assert_true(ns <= want && want - ns <= s + 1);
        }
    }
    assert_int_equal(vm->vcpu[0]->kvm_system_time, 0x5001);
}

static void test_kvmclock_same_on_every_cpu(void **state)
{
    (void)state;
    assert_true(kvmclock_write_system_time(vm->vcpu[0], 0x1001));
    fake_advance(123456789);
    assert_true(kvmclock_write_system_time(vm->vcpu[1], 0x2001));
    struct pvti a, b;
    memcpy(&a, vm->ram.base + 0x1000, sizeof(a));
    memcpy(&b, vm->ram.base + 0x2000, sizeof(b));
    assert_true(pv_read(&a, fake.tsc) == pv_read(&b, fake.tsc));
    assert_in_range(pv_read(&b, fake.tsc), 123456788, 123456789);
}

static void test_kvmclock_bad_addresses(void **state)
{
    (void)state;
    struct vcpu *v = vm->vcpu[0];
    assert_false(kvmclock_write_system_time(v, FAKE_RAM_SIZE | 1));
    assert_false(kvmclock_write_system_time(v, (FAKE_RAM_SIZE - 16) | 1));
    assert_false(kvmclock_write_system_time(v, ~0ull));
    assert_true(kvmclock_write_system_time(v, (FAKE_RAM_SIZE - 32) | 1));
    assert_true(kvmclock_write_system_time(v, ~1ull)); /* off: the address does not matter */
    assert_false(kvmclock_write_wall_clock(v, FAKE_RAM_SIZE - 8));
}

static void test_kvm_wall_clock(void **state)
{
    (void)state;
    fake_advance(3000000000);
    assert_true(kvmclock_write_wall_clock(vm->vcpu[0], 0x3000));
    uint32_t w[3];
    memcpy(w, vm->ram.base + 0x3000, sizeof(w));
    assert_int_equal(w[0] & 1, 0);
    uint64_t at_zero = w[1] * 1000000000ull + w[2];
    assert_in_range(at_zero, 1700000000123456789 - 5, 1700000000123456789 + 5);
}

static uint64_t hypercall(uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct vcpu *v = vm->vcpu[0];
    v->efer = EFER_LMA;
    v->seg[SEG_CS].attr = SEG_ATTR_L;
    v->gpr[RAX] = nr;
    v->gpr[RBX] = a;
    v->gpr[RCX] = b;
    v->gpr[RDX] = c;
    v->gpr[RSI] = d;
    kvm_hypercall(v);
    return v->gpr[RAX];
}

static void test_hypercalls(void **state)
{
    (void)state;
    assert_true(lapic_msr_write(&vm->lapic[1], 0x80f, 0x1ff));
    assert_int_equal((int64_t)hypercall(999, 0, 0, 0, 0), -1000);
    assert_int_equal((int64_t)hypercall(9, 0, 0, 0, 0), -95);
    assert_int_equal(hypercall(5, 0, 1, 0, 0), 0);
    assert_int_equal(vm->lapic[1].events, LAPIC_EVENT_UNHALT);
    assert_int_equal(fake.kicks[1], 1);
    assert_int_equal(hypercall(5, 0, 4096, 0, 0), 0); /* no such CPU */
    assert_int_equal(hypercall(10, 3, 0, 0, 0xfb), 2);
    assert_int_equal(lapic_pending(&vm->lapic[0]), 0xfb);
    assert_int_equal(lapic_pending(&vm->lapic[1]), 0xfb);
    assert_int_equal(hypercall(10, ~0ull, ~0ull, 1, 0x400), 1); /* NMI to 1.. */
    assert_true(vm->vcpu[1]->nmi_pending);
    assert_false(vm->vcpu[0]->nmi_pending);
    assert_int_equal(hypercall(10, ~0ull, ~0ull, ~0ull, 0xfb), 0);
    assert_int_equal((int64_t)hypercall(10, 1, 0, 0, 1 << 11), -22);
    vm->vcpu[0]->seg[SEG_SS].attr = 3 << SEG_ATTR_DPL_SHIFT;
    assert_int_equal((int64_t)hypercall(5, 0, 1, 0, 0), -1);
}

/* ---- the machine ---- */

static void test_first_end_wins(void **state)
{
    (void)state;
    vm_end(vm, VM_EXIT_CODE, 7);
    vm_end(vm, VM_POWEROFF, 0);
    vm_fail(vm, "late");
    assert_int_equal(vm_ended(vm), VM_EXIT_CODE);
    assert_int_equal(vm->exit_code, 7);
    assert_int_equal(vm->reason[0], '\0');
    teardown(NULL);
    setup(NULL);
    vm_fail(vm, "bad %s %llx", "ring", 0x10ull);
    vm_fail(vm, "second");
    assert_int_equal(vm_ended(vm), VM_FAILED);
    assert_string_equal(vm->reason, "bad ring 10");
    teardown(NULL);
    setup(NULL);
    vm_end_because(vm, VM_TRIPLE_FAULT, "at rip %#llx", 0xfff0ull);
    vm_fail(vm, "later");
    assert_int_equal(vm_ended(vm), VM_TRIPLE_FAULT);
    assert_string_equal(vm->reason, "at rip 0xfff0");
}

/* An engine that plays a script of exits. */
static enum engine_exit script[16];
static unsigned script_at;
static void (*on_run)(struct vcpu *v);

static enum engine_exit play(struct vcpu *v)
{
    if (on_run != NULL) {
        on_run(v);
    }
    return script[script_at++];
}

static const struct engine scripted = {.name = "scripted", .run = play};

static void start_script(const enum engine_exit *exits, size_t count, void (*run)(struct vcpu *v))
{
    memcpy(script, exits, count * sizeof(*exits));
    script_at = 0;
    on_run = run;
    vm->engine = &scripted;
}

static void power_off_at_third(struct vcpu *v)
{
    if (script_at == 2) {
        bus_write(&v->vm->ports, POWER_SLEEP_CONTROL, 1, 0x34);
    }
}

static void test_run_until_power_off(void **state)
{
    (void)state;
    static const enum engine_exit exits[] = {ENGINE_HALTED, ENGINE_KICKED, ENGINE_KICKED};
    start_script(exits, 3, power_off_at_third);
    vm_run_vcpu(vm, vm->vcpu[0]);
    assert_int_equal(script_at, 3);
    assert_int_equal(fake.waits[0], 1);
    assert_int_equal(fake.flushes, 2);
    assert_int_equal(vm_ended(vm), VM_POWEROFF);
}

static void test_run_triple_fault_and_failure(void **state)
{
    (void)state;
    static const enum engine_exit shutdown[] = {ENGINE_SHUTDOWN};
    start_script(shutdown, 1, NULL);
    vm_run_vcpu(vm, vm->vcpu[0]);
    assert_int_equal(vm_ended(vm), VM_TRIPLE_FAULT);
    teardown(NULL);
    setup(NULL);
    static const enum engine_exit failed[] = {ENGINE_FAILED};
    start_script(failed, 1, NULL);
    vm_run_vcpu(vm, vm->vcpu[0]);
    assert_int_equal(vm_ended(vm), VM_FAILED);
}

/* Input and the timer are looked after at every kick. */
static void typed_and_timed(struct vcpu *v)
{
    if (script_at == 1) {
        assert_int_equal(lapic_pending(v->lapic), 0xec);
        assert_true(v->vm->ioapic.level >> SERIAL_IRQ & 1);
        vm_end(v->vm, VM_KILLED, 0);
    }
}

static void input_comes(struct vcpu *v)
{
    serial_push_input(&v->vm->serial, "k", 1);
    fake_advance(2000);
    host_kick(v->index);
}

static void test_kick_brings_input_and_timer(void **state)
{
    (void)state;
    bus_write(&vm->ports, SERIAL_PORT + 4, 1, 0x0b); /* DTR, RTS, OUT2 */
    bus_write(&vm->ports, SERIAL_PORT + 1, 1, 1);
    assert_true(lapic_msr_write(&vm->lapic[0], 0x832, 0xec));
    assert_true(lapic_msr_write(&vm->lapic[0], 0x83e, 0xb));
    assert_true(lapic_msr_write(&vm->lapic[0], 0x838, 1500));
    static const enum engine_exit exits[] = {ENGINE_HALTED, ENGINE_KICKED};
    start_script(exits, 2, typed_and_timed);
    fake.on_wait = input_comes;
    vm_run_vcpu(vm, vm->vcpu[0]);
    assert_int_equal(script_at, 2);
    assert_int_equal(vm_ended(vm), VM_KILLED);
}

/* What the monitor notes for a task is seen to at the next kick: before the guest runs on it knows that it stood still. */
static uint8_t clock_flags(uint64_t gpa_of_page)
{
    return vm->ram.base[gpa_of_page + 29];
}

static void noted(struct vcpu *v)
{
    if (script_at == 0) {
        assert_int_equal(clock_flags(0x5000), 3); /* TSC stable, guest stopped */
        assert_int_equal(clock_flags(0x6000), 1); /* the other processor's task has not looked yet */
        assert_int_equal(fake.counters[0], 0);
        vm->ram.base[0x5000 + 29] &= (uint8_t)~2; /* as the guest does */
        vm_note(vm, 0, VM_NOTE_COUNTERS);
    } else {
        assert_int_equal(fake.counters[0], 1);
        assert_int_equal(clock_flags(0x5000), 1);
        vm_end(v->vm, VM_KILLED, 0);
    }
}

static void test_notes_are_taken_once(void **state)
{
    (void)state;
    static const enum engine_exit exits[] = {ENGINE_KICKED, ENGINE_KICKED};
    vm_note(vm, 0, VM_NOTE_STOPPED); /* no clock yet: nothing to mark */
    kvmclock_mark_stopped(vm->vcpu[0]);
    assert_true(kvmclock_write_system_time(vm->vcpu[0], 0x5001));
    assert_true(kvmclock_write_system_time(vm->vcpu[1], 0x6001));
    unsigned kicks = fake.kicks[0];
    vm_note(vm, 0, VM_NOTE_STOPPED);
    assert_int_equal(fake.kicks[0], kicks + 1);
    vm_note(vm, 1, VM_NOTE_STOPPED);
    start_script(exits, 2, noted);
    vm_run_vcpu(vm, vm->vcpu[0]);
    assert_int_equal(script_at, 2);
    assert_true(kvmclock_write_system_time(vm->vcpu[0], 0)); /* the guest switches its clock off */
    kvmclock_mark_stopped(vm->vcpu[0]);
    assert_int_equal(clock_flags(0x5000), 1);
}

static void ap_is_started(struct vcpu *v)
{
    struct vm *m = v->vm;
    assert_true(lapic_msr_write(&m->lapic[0], 0x830, 1ull << 32 | 0xc500));
    assert_true(lapic_msr_write(&m->lapic[0], 0x830, 1ull << 32 | 0x600 | 0x9a));
}

static void ap_runs(struct vcpu *v)
{
    assert_int_equal(v->index, 1);
    assert_int_equal(v->seg[SEG_CS].sel, 0x9a00);
    assert_int_equal(v->seg[SEG_CS].base, 0x9a000);
    assert_int_equal(v->rip, 0);
    if (script_at == 0) { /* a second SIPI to a running CPU is ignored */
        assert_true(lapic_msr_write(&v->vm->lapic[0], 0x830, 1ull << 32 | 0x600 | 0x55));
    } else {
        vm_end(v->vm, VM_KILLED, 0);
    }
}

static void test_ap_waits_for_sipi(void **state)
{
    (void)state;
    static const enum engine_exit exits[] = {ENGINE_KICKED, ENGINE_KICKED};
    start_script(exits, 2, ap_runs);
    fake.on_wait = ap_is_started;
    vm_run_vcpu(vm, vm->vcpu[1]);
    assert_int_equal(fake.waits[1], 1);
    assert_int_equal(script_at, 2);
}

/* KVM_HC_KICK_CPU before the HLT it is meant for: the HLT ends at once. */
static void kicked_then_halts(struct vcpu *v)
{
    if (script_at == 0) {
        hypercall(5, 0, 0, 0, 0);
    } else if (script_at == 1) {
        v->halted = true;
    } else {
        assert_false(v->halted);
        vm_end(v->vm, VM_KILLED, 0);
    }
}

static void test_wake_up_is_kept_for_the_next_halt(void **state)
{
    (void)state;
    static const enum engine_exit exits[] = {ENGINE_KICKED, ENGINE_HALTED, ENGINE_KICKED};
    start_script(exits, 3, kicked_then_halts);
    vm_run_vcpu(vm, vm->vcpu[0]);
    assert_int_equal(script_at, 3);
    assert_int_equal(fake.waits[0], 0);
    assert_int_equal(vm->lapic[0].events, 0);
}

static void test_init_to_the_boot_cpu_is_a_reset(void **state)
{
    (void)state;
    static const enum engine_exit exits[] = {ENGINE_KICKED};
    start_script(exits, 1, NULL);
    struct irq_msg init = {.dest = 0, .mode = 5};
    irq_deliver(vm, &init);
    vm_run_vcpu(vm, vm->vcpu[0]);
    assert_int_equal(vm_ended(vm), VM_REBOOT);
    assert_int_equal(script_at, 0);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_bus_ranges),
        CASE(test_bus_splits),
        CASE(test_bus_refuses_overlap),
        CASE(test_kvmclock_follows_host_time),
        CASE(test_kvmclock_same_on_every_cpu),
        CASE(test_kvmclock_bad_addresses),
        CASE(test_notes_are_taken_once),
        CASE(test_kvm_wall_clock),
        CASE(test_hypercalls),
        CASE(test_first_end_wins),
        CASE(test_run_until_power_off),
        CASE(test_run_triple_fault_and_failure),
        CASE(test_kick_brings_input_and_timer),
        CASE(test_ap_waits_for_sipi),
        CASE(test_wake_up_is_kept_for_the_next_halt),
        CASE(test_init_to_the_boot_cpu_is_a_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
