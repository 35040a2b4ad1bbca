/* Interrupt messages: who is meant, and handing it to their local APICs.
 *
 * No state. Any task: everything done to another vCPU is an atomic operation on its lapic or its
 * NMI flag, then a kick. SDM 3 "Issuing Interprocessor Interrupts" §11.6, "System and APIC Bus
 * Arbitration" §11.7, "Message Signalled Interrupts" §11.11, "Extended XAPIC (x2APIC)" §11.12.
 */
#include "irq/lapic.h"

#include "host/host.h"
#include "vm/vm.h"

#define DEST_BROADCAST 0xffffffffu
#define DEST_BROADCAST_8 0xffu
#define NOBODY 0xffffffffu

enum irq_mode {
    MODE_FIXED = 0,
    MODE_LOWEST = 1,
    MODE_NMI = 4,
    MODE_INIT = 5,
    MODE_SIPI = 6,
};

/* Logical x2APIC destinations: cluster in the upper half, a bit for each of its 16 members in the
 * lower (§11.12.10.2). */
static bool meant(const struct irq_msg *msg, uint32_t id)
{
    if (msg->dest == DEST_BROADCAST) {
        return true;
    }
    if (msg->logical) {
        return msg->dest >> 16 == id >> 4 && bit(msg->dest, id & 15);
    }
    return msg->dest == id;
}

/* INIT undoes a SIPI that was not yet taken; one that comes later stays. */
static void send_init(struct lapic *l)
{
    uint32_t old = __atomic_load_n(&l->events, __ATOMIC_RELAXED);
    uint32_t with_init;
    do {
        with_init = (old & ~LAPIC_EVENT_SIPI) | LAPIC_EVENT_INIT;
    } while (!__atomic_compare_exchange_n(&l->events, &old, with_init, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}

static void send_to(struct vm *vm, const struct irq_msg *msg, uint32_t id, uint32_t self)
{
    struct lapic *l = &vm->lapic[id];
    switch (msg->mode) {
    case MODE_FIXED:
    case MODE_LOWEST:
        lapic_raise(l, msg->vector, msg->level);
        break;
    case MODE_NMI: /* pairs with the owner's look at nmi_pending after it clears its kick */
        __atomic_store_n(&vm->vcpu[id]->nmi_pending, true, __ATOMIC_RELEASE);
        break;
    case MODE_INIT:
        send_init(l);
        break;
    case MODE_SIPI:
        __atomic_store_n(&l->sipi_vector, msg->vector, __ATOMIC_RELAXED);
        __atomic_fetch_or(&l->events, LAPIC_EVENT_SIPI, __ATOMIC_RELEASE);
        break;
    default: /* SMI, ExtINT: nobody here handles them */
        return;
    }
    if (id != self) {
        host_kick(id);
    }
}

/* Among those meant, the one with the lowest processor priority; the lowest id among equals. */
static uint32_t arbitrate(struct vm *vm, const struct irq_msg *msg)
{
    uint32_t best = NOBODY, best_ppr = 0;
    for (uint32_t id = 0; id < vm->cpu_count; id++) {
        if (!meant(msg, id)) {
            continue;
        }
        uint32_t ppr = __atomic_load_n(&vm->lapic[id].ppr, __ATOMIC_RELAXED);
        if (best == NOBODY || ppr < best_ppr) {
            best = id;
            best_ppr = ppr;
        }
    }
    return best;
}

void irq_deliver_ipi(struct vm *vm, const struct irq_msg *msg, uint32_t self)
{
    if (!msg->logical && msg->dest != DEST_BROADCAST) {
        if (msg->dest < vm->cpu_count) {
            send_to(vm, msg, msg->dest, self);
        }
        return;
    }
    if (msg->mode == MODE_LOWEST) {
        uint32_t id = arbitrate(vm, msg);
        if (id != NOBODY) {
            send_to(vm, msg, id, self);
        }
        return;
    }
    for (uint32_t id = 0; id < vm->cpu_count; id++) {
        if (meant(msg, id)) {
            send_to(vm, msg, id, self);
        }
    }
}

void irq_deliver(struct vm *vm, const struct irq_msg *msg)
{
    irq_deliver_ipi(vm, msg, NOBODY);
}

void irq_deliver_msi(struct vm *vm, uint64_t addr, uint32_t data)
{
    if (bits(addr, 20, 44) != 0xfee) {
        return; /* a plain memory write, which no interrupt source should make */
    }
    uint32_t dest = (uint32_t)bits(addr, 12, 8);
    struct irq_msg msg = {
        .dest = dest == DEST_BROADCAST_8 ? DEST_BROADCAST : dest,
        .logical = bit(addr, 2),
        .level = bit(data, 15),
        .mode = (uint8_t)bits(data, 8, 3),
        .vector = (uint8_t)data,
    };
    irq_deliver(vm, &msg);
}
