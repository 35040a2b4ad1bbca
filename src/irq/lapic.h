/* Local APIC in x2APIC mode, with the TSC-deadline timer.
 *
 * State: the 256-bit IRR, ISR, TMR, the LVTs, TPR, ICR, and the timer. There is no xAPIC MMIO page:
 * the CPU starts with APIC_BASE.EXTD set. SDM 3 ch. 11 "Advanced Programmable Interrupt
 * Controller", §11.12 "Extended XAPIC (x2APIC)".
 * Threads: IRR, with its summary and TMR, esr_pending and events are set from any task (atomic or,
 * release; pairs with the owner's acquire read). Everything else is written by the vCPU's own task
 * only; others read SVR, LVT error and PPR, hence atomically.
 */
#ifndef IRQ_LAPIC_H
#define IRQ_LAPIC_H

#include "base/types.h"

struct vm;

struct lapic {
    uint32_t id;                 /* x2APIC ID */
    uint32_t irr[8], isr[8], tmr[8];
    uint32_t tpr, svr, esr, esr_pending, ldr_unused;
    uint32_t lvt_timer, lvt_thermal, lvt_perf, lvt_lint0, lvt_lint1, lvt_error;
    uint64_t icr;
    uint32_t timer_initial, timer_divide;
    uint64_t timer_start_ns;     /* host time when the count, or this period, began */
    uint64_t tsc_deadline;       /* 0 = disarmed */
    uint64_t timer_next_ns;      /* host time of the next expiry, 0 = none */
    uint32_t tsc_khz;
    struct vm *vm;               /* borrowed, for IPIs */

    uint32_t irr_words;          /* bit w set if irr[w] may be non-zero; any task, atomic */
    uint32_t ppr;                /* kept current by the owner on every change of TPR or ISR */
    uint32_t events;             /* LAPIC_EVENT_*: set by any task, taken by the owner */
    uint8_t sipi_vector;         /* of the pending SIPI; written before the event bit */
    bool wait_sipi;              /* owner only: stopped after INIT until a SIPI */
};

#define LAPIC_EVENT_INIT 1u
#define LAPIC_EVENT_SIPI 2u      /* cleared again by a later INIT */
#define LAPIC_EVENT_UNHALT 4u    /* KVM_HC_KICK_CPU: the next or current HLT ends */

/** The timer's input clock before the divider: 1 GHz, so a tick is a nanosecond. */
#define LAPIC_TIMER_HZ 1000000000u

/** Power-up. id is also the vCPU's index; id other than 0 starts in wait-for-SIPI. */
void lapic_init(struct lapic *l, struct vm *vm, uint32_t id, uint32_t tsc_khz);
/** INIT: as power-up, but the ID, events and wait_sipi stay. Owner only. */
void lapic_reset(struct lapic *l);

/** RDMSR/WRMSR of 0x800..0x8ff. False: #GP (reserved register, reserved bits). A write that arms,
 *  disarms or expires the timer updates timer_next_ns and calls host_timer_set. A write may make an
 *  interrupt deliverable (EOI, TPR, self-IPI, timer): the owner looks at lapic_pending before guest
 *  code goes on; there is no kick for it. */
bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value) MUST_CHECK;
bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value) MUST_CHECK;
/** IA32_TSC_DEADLINE. A deadline in the past fires at once. */
uint64_t lapic_tsc_deadline(const struct lapic *l);
void lapic_set_tsc_deadline(struct lapic *l, uint64_t tsc);

/** Make vec pending, if the APIC is software-enabled. A vector below 16 is logged in ESR instead.
 *  Any task; the caller kicks the vCPU. level: sets TMR so that EOI is broadcast. */
void lapic_raise(struct lapic *l, uint8_t vec, bool level);
/** Expire the timer if due; called by the owner when the host timer fired or before looking for
 *  interrupts. */
void lapic_poll_timer(struct lapic *l);
/** Highest pending vector whose class is above PPR, or -1. */
int lapic_pending(const struct lapic *l);
/** Move vec from IRR to ISR: it is being delivered. */
void lapic_accept(struct lapic *l, uint8_t vec);
/** CR8 is TPR >> 4. */
uint64_t lapic_get_cr8(const struct lapic *l);
void lapic_set_cr8(struct lapic *l, uint64_t cr8);

/** One interrupt message (MSI, I/O APIC, IPI) to whoever `dest` names; physical or logical x2APIC
 *  destination. Kicks the targets. */
struct irq_msg {
    uint32_t dest;
    bool logical, level;
    uint8_t mode;   /* 0 fixed, 1 lowest, 2 SMI, 4 NMI, 5 INIT, 6 SIPI, 7 ExtINT */
    uint8_t vector;
};
void irq_deliver(struct vm *vm, const struct irq_msg *msg);
/** The same from vCPU `self`'s own task: that vCPU is not kicked (see lapic_msr_write). */
void irq_deliver_ipi(struct vm *vm, const struct irq_msg *msg, uint32_t self);
/** MSI address/data to a message, and send it. */
void irq_deliver_msi(struct vm *vm, uint64_t addr, uint32_t data);

#endif
