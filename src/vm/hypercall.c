/* KVM hypercalls: VMCALL and VMMCALL of a guest that found KVM's signature.
 *
 * Number in RAX, arguments in RBX, RCX, RDX, RSI, result in RAX (Linux "Linux KVM Hypercall",
 * virt/kvm/x86/hypercalls.rst). No state.
 * Threads: the vCPU's own task.
 */
#include "host/host.h"
#include "vm/vm.h"

enum {
    HC_VAPIC_POLL_IRQ = 1,
    HC_KICK_CPU = 5,
    HC_CLOCK_PAIRING = 9,
    HC_SEND_IPI = 10,
    HC_SCHED_YIELD = 11,
};

#define ERR_PERM 1
#define ERR_INVAL 22
#define ERR_OPNOTSUPP 95
#define ERR_NOSYS 1000

/* ICR bits an IPI hypercall may carry: vector, delivery mode, level; no logical destination, no
 * shorthand. */
#define IPI_ICR_LOGICAL (1ull << 11)
#define IPI_ICR_SHORTHAND (3ull << 18)

/* End the next or current HLT of the CPU with this APIC ID. */
static int64_t kick_cpu(struct vm *vm, uint64_t apic_id)
{
    if (apic_id < vm->cpu_count) {
        __atomic_fetch_or(&vm->lapic[apic_id].events, LAPIC_EVENT_UNHALT, __ATOMIC_RELEASE);
        host_kick((unsigned)apic_id);
    }
    return 0;
}

/* An IPI to the CPUs of a 128-bit map, bit 0 of which is APIC ID `first`. Returns how many there
 * were. */
static int64_t send_ipi(struct vcpu *v, uint64_t low, uint64_t high, uint64_t first, uint64_t icr)
{
    struct vm *vm = v->vm;
    if (icr & (IPI_ICR_LOGICAL | IPI_ICR_SHORTHAND)) {
        return -ERR_INVAL;
    }
    int64_t sent = 0;
    for (unsigned i = 0; i < 128 && first < vm->cpu_count && first + i < vm->cpu_count; i++) {
        if (!bit(i < 64 ? low : high, i & 63)) {
            continue;
        }
        struct irq_msg msg = {
            .dest = (uint32_t)(first + i),
            .mode = (uint8_t)bits(icr, 8, 3),
            .vector = (uint8_t)icr,
        };
        irq_deliver_ipi(vm, &msg, v->index);
        sent++;
    }
    return sent;
}

void kvm_hypercall(struct vcpu *v)
{
    uint64_t nr = v->gpr[RAX];
    uint64_t arg[4] = {v->gpr[RBX], v->gpr[RCX], v->gpr[RDX], v->gpr[RSI]};
    bool wide = vcpu_long64(v);
    if (!wide) {
        nr = (uint32_t)nr;
        for (unsigned i = 0; i < ARRAY_LEN(arg); i++) {
            arg[i] = (uint32_t)arg[i];
        }
    }
    int64_t result;
    if (vcpu_cpl(v) != 0) {
        result = -ERR_PERM;
    } else if (nr == HC_VAPIC_POLL_IRQ || nr == HC_SCHED_YIELD) {
        result = 0; /* hints */
    } else if (nr == HC_KICK_CPU) {
        result = kick_cpu(v->vm, arg[1]);
    } else if (nr == HC_SEND_IPI && wide) {
        result = send_ipi(v, arg[0], arg[1], arg[2], arg[3]);
    } else if (nr == HC_CLOCK_PAIRING) {
        result = -ERR_OPNOTSUPP;
    } else {
        result = -ERR_NOSYS;
    }
    v->gpr[RAX] = wide ? (uint64_t)result : (uint32_t)result;
}
