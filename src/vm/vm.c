/* A machine put together, its end, and the loop each vCPU task runs. See vm.h for state.
 *
 * Kicks: a vCPU task clears its kick first and then looks for work, so work announced by a kick is
 * never missed; it may be found twice.
 */
#include "vm/vm.h"

#include "dev/debugport.h"
#include "dev/virtio/virtio_pci.h"
#include "engine/engine.h"
#include "host/host.h"

/* ---- set-up ---- */

/* Two devices at the same ports: 0xcf9 is the reset control register for byte accesses, and part of
 * PCI's address register for wider ones. */

static bool is_reset_control(uint64_t off, unsigned size)
{
    return PCI_PORT + off == POWER_CF9_PORT && size == 1;
}

static uint64_t config_ports_read(void *dev, uint64_t off, unsigned size)
{
    struct vm *vm = dev;
    if (is_reset_control(off, size)) {
        return power_cf9_bus_ops.read(&vm->power, 0, 1);
    }
    return pci_ports_ops.read(&vm->pci, off, size);
}

static void config_ports_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct vm *vm = dev;
    if (is_reset_control(off, size)) {
        power_cf9_bus_ops.write(&vm->power, 0, 1, value);
    } else {
        pci_ports_ops.write(&vm->pci, off, size, value);
    }
}

static const struct bus_ops config_ports_ops = {
    .read = config_ports_read, .write = config_ports_write, .access_max = 4};

static void add_ports(struct vm *vm)
{
    struct bus *b = &vm->ports;
    bus_add(b, SERIAL_PORT, SERIAL_PORTS, &serial_bus_ops, &vm->serial);
    bus_add(b, RTC_PORT, RTC_PORTS, &rtc_bus_ops, &vm->rtc);
    bus_add(b, PIT_PORT, PIT_PORTS, &pit_bus_ops, &vm->pit);
    bus_add(b, PIT_GATE_PORT, 1, &pit_gate_bus_ops, &vm->pit);
    bus_add(b, POWER_PORT, POWER_PORTS, &power_bus_ops, &vm->power);
    bus_add(b, POWER_KBD_PORT, 1, &power_kbd_bus_ops, &vm->power);
    bus_add(b, PCI_PORT, PCI_PORTS, &config_ports_ops, vm);
    bus_add(b, DEBUGPORT_EXIT, DEBUGPORT_EXIT_PORTS, &debugport_exit_bus_ops, vm);
    bus_add(b, DEBUGPORT_CONSOLE, 1, &debugport_console_bus_ops, vm);
}

void vm_init(struct vm *vm)
{
    BUG_ON(vm->cpu_count == 0 || vm->cpu_count > VM_MAX_CPUS || vm->tsc_khz == 0);
    vm->clock_tsc = host_tsc();
    ioapic_init(&vm->ioapic, vm);
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        struct vcpu *v = vm->vcpu[i];
        v->vm = vm;
        v->index = i;
        v->lapic = &vm->lapic[i];
        lapic_init(v->lapic, vm, i, vm->tsc_khz);
    }
    serial_init(&vm->serial, vm);
    rtc_init(&vm->rtc);
    pit_init(&vm->pit);
    power_init(&vm->power, vm);
    pci_init(&vm->pci);
    add_ports(vm);
    bus_add(&vm->mmio, PCI_MMIO_BASE, PCI_MMIO_SIZE, &pci_mmio_ops, &vm->pci);
    bus_add(&vm->mmio, PCI_ECAM_BASE, PCI_ECAM_BUSES << 20, &pci_ecam_ops, &vm->pci);
    bus_add(&vm->mmio, IOAPIC_BASE, IOAPIC_SIZE, &ioapic_bus_ops, &vm->ioapic);
}

/* ---- the end ---- */

/* Whether the caller is the first to end the machine. */
static bool claim_end(struct vm *vm)
{
    return __atomic_exchange_n(&vm->end_claimed, 1, __ATOMIC_ACQ_REL) == 0;
}

static void publish_end(struct vm *vm, enum vm_end how)
{
    __atomic_store_n(&vm->end, how, __ATOMIC_RELEASE); /* pairs with vm_ended */
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        host_kick(i);
    }
}

void vm_end(struct vm *vm, enum vm_end how, int code)
{
    if (claim_end(vm)) {
        vm->exit_code = code;
        publish_end(vm, how);
    }
}

static void end_with_reason(struct vm *vm, enum vm_end how, const char *fmt, va_list ap)
{
    if (claim_end(vm)) {
        fmt_vline(vm->reason, sizeof(vm->reason), fmt, ap);
        publish_end(vm, how);
    }
}

void vm_end_because(struct vm *vm, enum vm_end how, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    end_with_reason(vm, how, fmt, ap);
    va_end(ap);
}

void vm_fail(struct vm *vm, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    end_with_reason(vm, VM_FAILED, fmt, ap);
    va_end(ap);
}

/* ---- a vCPU's life ---- */

/* SDM 3 "MP Initialization Protocol" §9.4: 16-bit code at the start of page `vector`. */
static void start_at_page(struct vcpu *v, uint8_t vector)
{
    vcpu_reset(v);
    v->seg[SEG_CS].sel = (uint16_t)(vector << 8);
    v->seg[SEG_CS].base = (uint64_t)vector << PAGE_SHIFT;
    v->rip = 0;
    v->halted = false;
}

static void take_init(struct vm *vm, struct vcpu *v)
{
    if (v->index == 0) {
        vm_end(vm, VM_REBOOT, 0); /* it would run firmware, which this machine does not have */
        return;
    }
    vcpu_reset(v);
    lapic_reset(v->lapic);
    v->lapic->wait_sipi = true;
}

/* What other vCPUs asked of this one. A SIPI to a CPU that does not wait for one is ignored; a
 * wake-up stays until there is a HLT to end. */
static void take_events(struct vm *vm, struct vcpu *v)
{
    struct lapic *l = v->lapic;
    if (__atomic_load_n(&l->events, __ATOMIC_RELAXED) == 0) {
        return;
    }
    uint32_t keep = v->halted ? 0 : LAPIC_EVENT_UNHALT;
    uint32_t events = __atomic_fetch_and(&l->events, keep, __ATOMIC_ACQUIRE);
    if (events & LAPIC_EVENT_INIT) {
        take_init(vm, v);
    }
    if ((events & LAPIC_EVENT_SIPI) && l->wait_sipi) {
        l->wait_sipi = false;
        start_at_page(v, __atomic_load_n(&l->sipi_vector, __ATOMIC_RELAXED));
    }
    if ((events & LAPIC_EVENT_UNHALT) && keep == 0) {
        v->halted = false;
    }
}

void vm_press_power_button(struct vm *vm)
{
    __atomic_store_n(&vm->button, 1, __ATOMIC_RELEASE);
    host_kick(0);
}

/* An edge on the button's line. */
static void take_button(struct vm *vm)
{
    if (__atomic_load_n(&vm->button, __ATOMIC_RELAXED) != 0 &&
        __atomic_exchange_n(&vm->button, 0, __ATOMIC_ACQUIRE) != 0) {
        ioapic_raise(&vm->ioapic, VM_POWER_BUTTON_GSI);
        ioapic_lower(&vm->ioapic, VM_POWER_BUTTON_GSI);
    }
}

/* The interrupts of devices. Acquire pairs with the release of whoever set the bit:
 * regs->interrupts is there. */
static void take_device_interrupts(struct vm *vm)
{
    if (__atomic_load_n(&vm->device_pending, __ATOMIC_RELAXED) == 0) {
        return;
    }
    uint32_t slots = __atomic_exchange_n(&vm->device_pending, 0, __ATOMIC_ACQUIRE);
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        if (bit(slots, slot) && vm->device[slot] != NULL) {
            virtio_pci_deliver(vm->device[slot]);
        }
    }
}

void vm_note(struct vm *vm, unsigned index, uint32_t notes)
{
    __atomic_fetch_or(&vm->note[index], notes, __ATOMIC_RELEASE);
    host_kick(index);
}

static void take_notes(struct vm *vm, struct vcpu *v)
{
    uint32_t *note = &vm->note[v->index];
    if (__atomic_load_n(note, __ATOMIC_RELAXED) == 0) {
        return;
    }
    uint32_t notes = __atomic_exchange_n(note, 0, __ATOMIC_ACQUIRE);
    if (notes & VM_NOTE_STOPPED) {
        kvmclock_mark_stopped(v);
    }
    if (notes & VM_NOTE_COUNTERS) {
        host_publish_counters(v);
    }
}

/* Everything a kick can mean. */
static void look_for_work(struct vm *vm, struct vcpu *v)
{
    host_kick_clear(v);
    take_notes(vm, v); /* before the timer's interrupt, whose handler may be a watchdog */
    take_events(vm, v);
    lapic_poll_timer(v->lapic);
    take_device_interrupts(vm);
    take_button(vm);
    if (v->index == 0) {
        serial_poll(&vm->serial);
    }
}

/* An event that was there before the HLT (kept by take_events) had its kick cleared already. */
static void sleep_until_kicked(struct vm *vm, struct vcpu *v)
{
    host_console_flush(vm);
    if (__atomic_load_n(&v->lapic->events, __ATOMIC_RELAXED) == 0) {
        host_wait(v);
    }
}

void vm_run_vcpu(struct vm *vm, struct vcpu *v)
{
    for (;;) {
        look_for_work(vm, v);
        if (vm_ended(vm) != VM_RUNNING) {
            break;
        }
        if (v->lapic->wait_sipi) {
            host_wait(v);
            continue;
        }
        switch (vm->engine->run(v)) {
        case ENGINE_HALTED:
            sleep_until_kicked(vm, v);
            break;
        case ENGINE_KICKED:
            break;
        case ENGINE_SHUTDOWN:
            vm_end(vm, VM_TRIPLE_FAULT, 0); /* the engine has said so already; this makes sure */
            break;
        case ENGINE_FAILED:
            vm_fail(vm, "the engine failed without a reason");
            break;
        }
    }
    host_console_flush(vm);
}
