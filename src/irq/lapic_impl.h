/* What the files of the local APIC share among themselves: lapic.c (priorities, life), lapic_regs.c
 * (the MSR interface) and lapic_timer.c. All of it runs in the owner's task unless said otherwise.
 */
#ifndef IRQ_LAPIC_IMPL_H
#define IRQ_LAPIC_IMPL_H

#include "irq/lapic.h"

#define LAPIC_SVR_ENABLE (1u << 8)
#define LAPIC_LVT_VECTOR 0xffu
#define LAPIC_LVT_MASKED (1u << 16)
#define LAPIC_FIRST_VECTOR 16 /* vectors below are illegal in interrupt messages */

/* Timer mode, LVT timer bits 18..17 */
#define LAPIC_TIMER_MODE (3u << 17)
#define LAPIC_TIMER_ONE_SHOT (0u << 17)
#define LAPIC_TIMER_PERIODIC (1u << 17)
#define LAPIC_TIMER_DEADLINE (2u << 17)

#define LAPIC_ESR_SEND_ILLEGAL (1u << 5)
#define LAPIC_ESR_RECEIVE_ILLEGAL (1u << 6)

/** Note an error for the next ESR write to show, and raise the error interrupt if unmasked. Any
 *  task. */
void lapic_log_error(struct lapic *l, uint32_t error);
/** TPR := value (8 bits). */
void lapic_set_tpr(struct lapic *l, uint32_t value);
/** The highest vector in service is done; a level-triggered one is told to the I/O APIC. */
void lapic_end_of_interrupt(struct lapic *l);

/** Write the LVT timer entry (reserved bits are gone already), the initial count, the divider (bits
 *  3, 1, 0). */
void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt);
void lapic_timer_set_initial(struct lapic *l, uint32_t count);
void lapic_timer_set_divide(struct lapic *l, uint32_t divide);
/** The current-count register. */
uint32_t lapic_timer_current(const struct lapic *l);
/** Forget everything and stop the host timer. */
void lapic_timer_reset(struct lapic *l);

#endif
