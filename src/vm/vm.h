/* A machine put together: RAM, vCPUs, buses, devices, and its life from start to end.
 *
 * struct vm lives in the shared arena: one memory object mapped at one address in the monitor and
 * in every vCPU task (DESIGN §4.8), so plain pointers into it are valid in all of them. Fields say
 * who writes them.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include "dev/pci/pci.h"
#include "dev/pit.h"
#include "dev/power.h"
#include "dev/rtc.h"
#include "dev/serial.h"
#include "irq/ioapic.h"
#include "irq/lapic.h"
#include "mmu/ram.h"
#include "vcpu/vcpu.h"
#include "vm/bus.h"

#define VM_MAX_CPUS 64
#define VM_REASON_MAX 256

/* The line of the power button; ACPI's tables name it to the guest. */
#define VM_POWER_BUTTON_GSI 9u

struct engine;
struct trace;
struct virtio_pci;

/** Why and how a machine ended; written once, by vm_end (the first caller wins). */
enum vm_end {
    VM_RUNNING = 0,
    VM_POWEROFF,      /* the guest switched itself off */
    VM_REBOOT,        /* the guest asked for a reset */
    VM_EXIT_CODE,     /* the guest wrote an exit status to the debug-exit port */
    VM_TRIPLE_FAULT,
    VM_KILLED,        /* the user ended it */
    VM_FAILED,        /* beyond repair; reason says why */
};

struct vm {
    struct ram ram;
    struct bus ports, mmio;
    unsigned cpu_count;
    struct vcpu *vcpu[VM_MAX_CPUS];
    struct lapic lapic[VM_MAX_CPUS];
    struct ioapic ioapic;
    struct serial serial;
    struct rtc rtc;
    struct power power;
    struct pit pit;
    struct pci pci;
    struct virtio_pci *device[PCI_SLOTS]; /* NULL: none in that slot; set before the machine runs */
    uint32_t device_pending;      /* a bit a slot: its device has interrupts. Set by devices
                                   * (release), taken by vCPU tasks */
    uint32_t button;              /* the power button was pressed: set by whoever did, taken by a
                                   * vCPU task */
    uint32_t note[VM_MAX_CPUS];   /* VM_NOTE_* for each vCPU's task: set by vm_note, taken by the task */
    uint32_t tsc_khz;
    uint64_t clock_tsc;           /* host_tsc at vm_init: kvmclock counts from there on */
    const struct engine *engine;
    struct trace *trace;          /* NULL: off */

    int end_claimed;              /* set by the first to end the machine, who writes the rest */
    int end;                      /* enum vm_end, set once (release), after the two below */
    int exit_code;                /* VM_EXIT_CODE */
    char reason[VM_REASON_MAX];   /* one line */
    uint64_t first_user_ns;       /* host_time_ns at the first user-mode instruction, for bench */
};

/** Put the machine's devices and buses together. vm is zeroed, ram, cpu_count, vcpu[] and tsc_khz
 *  are set. Sets each vCPU's vm, index and lapic. */
void vm_init(struct vm *vm);
/** End the machine: the first call decides; kicks all vCPUs. Any task. */
void vm_end(struct vm *vm, enum vm_end how, int code);
/** Whether it has ended, and how; pairs with vm_end's release store, so exit_code and reason are
 *  then final. Any task. */
static inline enum vm_end vm_ended(const struct vm *vm)
{
    return (enum vm_end)__atomic_load_n(&vm->end, __ATOMIC_ACQUIRE);
}
/** As vm_end, with a line that says why (a triple fault and where). Any task. */
void vm_end_because(struct vm *vm, enum vm_end how, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** End it because of something beyond repair; the first reason is kept. Any task. */
void vm_fail(struct vm *vm, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Ask the task of vCPU `index` for something, soon. Any task, and the monitor. */
#define VM_NOTE_STOPPED 1u  /* the machine stood still: tell the guest before it runs on */
#define VM_NOTE_COUNTERS 2u /* publish the event counters */
void vm_note(struct vm *vm, unsigned index, uint32_t notes);
/** Press the power button: the guest gets the event that its ACPI driver listens for, soon. A guest
 *  that does not listen yet misses it. Any task, and the monitor. */
void vm_press_power_button(struct vm *vm);
/** A vCPU task's main loop: runs until the machine has ended. vCPUs other than 0 wait for INIT-SIPI
 *  first. */
void vm_run_vcpu(struct vm *vm, struct vcpu *v);

/** KVM's paravirtual clock, vm/kvmclock.c: MSR writes come here from vcpu_wrmsr. False: #GP (the
 *  structure is not wholly in RAM). */
bool kvmclock_write_system_time(struct vcpu *v, uint64_t value);
bool kvmclock_write_wall_clock(struct vcpu *v, uint64_t value);
/** Mark the clock, if the guest uses it: this vCPU did not run for a while, through no fault of the guest's. The guest clears the mark. */
void kvmclock_mark_stopped(struct vcpu *v);
/** KVM hypercall (FACTS §3): number in RAX, result to RAX. */
void kvm_hypercall(struct vcpu *v);

#endif
