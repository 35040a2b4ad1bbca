/* Local APIC: pending and in-service vectors, priorities, life. The registers are in lapic_regs.c,
 * the timer in lapic_timer.c. See lapic.h for state and threads; SDM 3 "Advanced Programmable
 * Interrupt Controller (APIC)" ch. 11.
 */
#include "irq/lapic.h"

#include "base/string.h"
#include "irq/lapic_impl.h"
#include "vm/vm.h"

#define SVR_RESET 0xffu

/* The highest vector set, or -1. */
static int top_vector(const uint32_t words[8])
{
    for (int w = 7; w >= 0; w--) {
        if (words[w] != 0) {
            return w * 32 + 31 - __builtin_clz(words[w]);
        }
    }
    return -1;
}

/* SDM 3 "Task and Processor Priorities" §11.8.3.1: the higher class of TPR and the vector in
 * service; the sub-class only where TPR decides. */
static void update_ppr(struct lapic *l)
{
    int in_service = top_vector(l->isr);
    uint32_t isr_class = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;
    uint32_t ppr = (l->tpr & 0xf0) >= isr_class ? l->tpr : isr_class;
    __atomic_store_n(&l->ppr, ppr, __ATOMIC_RELAXED); /* other tasks read it to arbitrate */
}

/* ---- pending and in service ---- */

void lapic_log_error(struct lapic *l, uint32_t error)
{
    __atomic_fetch_or(&l->esr_pending, error, __ATOMIC_RELAXED);
    uint32_t lvt = __atomic_load_n(&l->lvt_error, __ATOMIC_RELAXED);
    /* An illegal vector here would log an error for reporting an error, without end. */
    if (!(lvt & LAPIC_LVT_MASKED) && (lvt & LAPIC_LVT_VECTOR) >= LAPIC_FIRST_VECTOR) {
        lapic_raise(l, (uint8_t)lvt, false);
    }
}

void lapic_raise(struct lapic *l, uint8_t vec, bool level)
{
    if (!(__atomic_load_n(&l->svr, __ATOMIC_RELAXED) & LAPIC_SVR_ENABLE)) {
        return;
    }
    if (vec < LAPIC_FIRST_VECTOR) {
        lapic_log_error(l, LAPIC_ESR_RECEIVE_ILLEGAL);
        return;
    }
    unsigned w = vec / 32;
    uint32_t b = 1u << (vec % 32);
    if (level) {
        __atomic_fetch_or(&l->tmr[w], b, __ATOMIC_RELAXED);
    } else {
        __atomic_fetch_and(&l->tmr[w], ~b, __ATOMIC_RELAXED);
    }
    /* Release: whoever sees the IRR bit (lapic_pending) sees the TMR bit and what the device wrote
     * before. First the bit, then the summary: see lapic_accept. */
    __atomic_fetch_or(&l->irr[w], b, __ATOMIC_RELEASE);
    __atomic_fetch_or(&l->irr_words, 1u << w, __ATOMIC_RELEASE);
}

int lapic_pending(const struct lapic *l)
{
    uint32_t words = __atomic_load_n(&l->irr_words, __ATOMIC_ACQUIRE);
    while (words != 0) {
        unsigned w = 31 - (unsigned)__builtin_clz(words);
        uint32_t irr = __atomic_load_n(&l->irr[w], __ATOMIC_ACQUIRE);
        if (irr != 0) {
            uint32_t vec = w * 32 + 31 - (unsigned)__builtin_clz(irr);
            return vec >> 4 > l->ppr >> 4 ? (int)vec : -1;
        }
        words &= ~(1u << w);
    }
    return -1;
}

void lapic_accept(struct lapic *l, uint8_t vec)
{
    unsigned w = vec / 32;
    uint32_t b = 1u << (vec % 32);
    if (__atomic_and_fetch(&l->irr[w], ~b, __ATOMIC_RELAXED) == 0) {
        /* A raise that comes between the two has its summary bit erased; but having read its bit
         * here (acquire, against the release in lapic_raise) we see its IRR bit below. */
        __atomic_fetch_and(&l->irr_words, ~(1u << w), __ATOMIC_ACQ_REL);
        if (__atomic_load_n(&l->irr[w], __ATOMIC_RELAXED) != 0) {
            __atomic_fetch_or(&l->irr_words, 1u << w, __ATOMIC_RELAXED);
        }
    }
    l->isr[w] |= b;
    update_ppr(l);
}

void lapic_end_of_interrupt(struct lapic *l)
{
    int vec = top_vector(l->isr);
    if (vec < 0) {
        return;
    }
    uint32_t b = 1u << (vec % 32);
    l->isr[vec / 32] &= ~b;
    update_ppr(l);
    if (__atomic_load_n(&l->tmr[vec / 32], __ATOMIC_RELAXED) & b) {
        ioapic_eoi(&l->vm->ioapic, (uint8_t)vec);
    }
}

void lapic_set_tpr(struct lapic *l, uint32_t value)
{
    l->tpr = value;
    update_ppr(l);
}

uint64_t lapic_get_cr8(const struct lapic *l)
{
    return l->tpr >> 4;
}

void lapic_set_cr8(struct lapic *l, uint64_t cr8)
{
    lapic_set_tpr(l, (uint32_t)(cr8 & 0xf) << 4);
}

/* ---- life ---- */

void lapic_init(struct lapic *l, struct vm *vm, uint32_t id, uint32_t tsc_khz)
{
    *l = (struct lapic){.vm = vm, .id = id, .tsc_khz = tsc_khz, .wait_sipi = id != 0};
    lapic_reset(l);
}

/* SDM 3 "Local APIC State After It Receives an INIT Reset" §11.4.7.3. Interrupts raised by other
 * tasks meanwhile are lost or kept, as they would be on the bus; disabling first keeps most out. */
void lapic_reset(struct lapic *l)
{
    __atomic_store_n(&l->svr, SVR_RESET, __ATOMIC_RELAXED);
    for (unsigned w = 0; w < 8; w++) {
        __atomic_store_n(&l->irr[w], 0, __ATOMIC_RELAXED);
        __atomic_store_n(&l->tmr[w], 0, __ATOMIC_RELAXED);
        l->isr[w] = 0;
    }
    __atomic_store_n(&l->esr_pending, 0, __ATOMIC_RELAXED);
    l->esr = 0;
    l->icr = 0;
    l->lvt_thermal = LAPIC_LVT_MASKED;
    l->lvt_perf = LAPIC_LVT_MASKED;
    l->lvt_lint0 = LAPIC_LVT_MASKED;
    l->lvt_lint1 = LAPIC_LVT_MASKED;
    __atomic_store_n(&l->lvt_error, LAPIC_LVT_MASKED, __ATOMIC_RELAXED);
    lapic_timer_reset(l);
    lapic_set_tpr(l, 0);
}
