/* Local APIC: the x2APIC registers as MSRs, and the IPIs they send. See lapic.h for state; the
 * owner's task only. SDM 3 "x2APIC Register Address Space" §11.12.1.2, "Reserved Bit Checking"
 * §11.12.1.3, "Interrupt Command Register" §11.6.1.
 */
#include "irq/lapic.h"
#include "irq/lapic_impl.h"
#include "vm/vm.h"

enum {
    X2APIC_ID = 0x802,
    X2APIC_VERSION = 0x803,
    X2APIC_TPR = 0x808,
    X2APIC_PPR = 0x80a,
    X2APIC_EOI = 0x80b,
    X2APIC_LDR = 0x80d,
    X2APIC_SVR = 0x80f,
    X2APIC_ISR = 0x810, /* eight registers each */
    X2APIC_TMR = 0x818,
    X2APIC_IRR = 0x820,
    X2APIC_ESR = 0x828,
    X2APIC_ICR = 0x830,
    X2APIC_LVT_TIMER = 0x832,
    X2APIC_LVT_THERMAL = 0x833,
    X2APIC_LVT_PERF = 0x834,
    X2APIC_LVT_LINT0 = 0x835,
    X2APIC_LVT_LINT1 = 0x836,
    X2APIC_LVT_ERROR = 0x837,
    X2APIC_TIMER_INITIAL = 0x838,
    X2APIC_TIMER_CURRENT = 0x839,
    X2APIC_TIMER_DIVIDE = 0x83e,
    X2APIC_SELF_IPI = 0x83f,
};

/* Integrated APIC, six LVT entries (no CMCI), no EOI-broadcast suppression: §11.4.8. */
#define VERSION (0x14u | 5u << 16)

#define TPR_WRITABLE 0xffu
#define SVR_WRITABLE 0x3ffu
#define DIVIDE_WRITABLE 0xbu

/* LVT bits that are not reserved, beside vector and mask; status (12) and remote IRR (14) are
 * read-only. */
#define LVT_COMMON (LAPIC_LVT_VECTOR | LVT_STATUS | LAPIC_LVT_MASKED)
#define LVT_MODE (7u << 8)
#define LVT_STATUS (1u << 12)
#define LVT_POLARITY (1u << 13)
#define LVT_REMOTE_IRR (1u << 14)
#define LVT_LEVEL (1u << 15)
#define LVT_READ_ONLY (LVT_STATUS | LVT_REMOTE_IRR)
#define LVT_LINT (LVT_COMMON | LVT_MODE | LVT_POLARITY | LVT_REMOTE_IRR | LVT_LEVEL)

/* Bit 12, the delivery status of xAPIC mode, is ignored when written. */
#define ICR_RESERVED (1ull << 13 | 3ull << 16 | 0xfffull << 20)
#define ICR_STATUS (1ull << 12)
#define ICR_LOGICAL_BIT 11
#define ICR_ASSERT_BIT 14
#define ICR_LEVEL_BIT 15

enum { ICR_TO_DEST, ICR_TO_SELF, ICR_TO_ALL, ICR_TO_OTHERS };
enum { ICR_MODE_FIXED = 0, ICR_MODE_LOWEST = 1, ICR_MODE_INIT = 5 };

/* ---- IPIs ---- */

static void send_to_each(struct lapic *l, struct irq_msg *msg, bool with_self)
{
    msg->logical = false;
    for (uint32_t id = 0; id < l->vm->cpu_count; id++) {
        if (id != l->id || with_self) {
            msg->dest = id;
            irq_deliver_ipi(l->vm, msg, l->id);
        }
    }
}

/* Combinations after SDM 3 table "Valid Combinations for the Pentium 4 and Intel Xeon Processors'
 * Local xAPIC Interrupt Command Register" (11-3); invalid ones send nothing. An INIT de-assert does
 * nothing on processors with x2APIC. */
static void send_ipi(struct lapic *l)
{
    uint8_t vector = (uint8_t)l->icr;
    unsigned mode = (unsigned)bits(l->icr, 8, 3);
    if (mode == ICR_MODE_INIT && bit(l->icr, ICR_LEVEL_BIT) && !bit(l->icr, ICR_ASSERT_BIT)) {
        return;
    }
    if (mode <= ICR_MODE_LOWEST && vector < LAPIC_FIRST_VECTOR) {
        lapic_log_error(l, LAPIC_ESR_SEND_ILLEGAL);
        return;
    }
    struct irq_msg msg = {
        .dest = (uint32_t)(l->icr >> 32),
        .logical = bit(l->icr, ICR_LOGICAL_BIT),
        .mode = (uint8_t)mode,
        .vector = vector,
    };
    switch (bits(l->icr, 18, 2)) {
    case ICR_TO_DEST:
        irq_deliver_ipi(l->vm, &msg, l->id);
        break;
    case ICR_TO_SELF:
        if (mode == ICR_MODE_FIXED) {
            lapic_raise(l, vector, false);
        }
        break;
    case ICR_TO_ALL:
        if (mode == ICR_MODE_FIXED) {
            send_to_each(l, &msg, true);
        }
        break;
    case ICR_TO_OTHERS:
        send_to_each(l, &msg, false);
        break;
    }
}

static void self_ipi(struct lapic *l, uint8_t vector)
{
    if (vector < LAPIC_FIRST_VECTOR) {
        lapic_log_error(l, LAPIC_ESR_SEND_ILLEGAL);
    } else {
        lapic_raise(l, vector, false);
    }
}

/* ---- reads ---- */

static bool read_bank(const struct lapic *l, uint32_t msr, uint64_t *value)
{
    if (msr < X2APIC_ISR || msr >= X2APIC_IRR + 8) {
        return false;
    }
    const uint32_t *bank = msr < X2APIC_TMR ? l->isr : msr < X2APIC_IRR ? l->tmr : l->irr;
    *value = __atomic_load_n(&bank[msr & 7], __ATOMIC_RELAXED);
    return true;
}

static bool read_lvt(const struct lapic *l, uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case X2APIC_LVT_TIMER:
        *value = l->lvt_timer;
        return true;
    case X2APIC_LVT_THERMAL:
        *value = l->lvt_thermal;
        return true;
    case X2APIC_LVT_PERF:
        *value = l->lvt_perf;
        return true;
    case X2APIC_LVT_LINT0:
        *value = l->lvt_lint0;
        return true;
    case X2APIC_LVT_LINT1:
        *value = l->lvt_lint1;
        return true;
    case X2APIC_LVT_ERROR:
        *value = l->lvt_error;
        return true;
    }
    return read_bank(l, msr, value);
}

/* EOI and self-IPI are write-only: #GP. */
bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case X2APIC_ID:
        *value = l->id;
        return true;
    case X2APIC_VERSION:
        *value = VERSION;
        return true;
    case X2APIC_TPR:
        *value = l->tpr;
        return true;
    case X2APIC_PPR:
        *value = l->ppr;
        return true;
    case X2APIC_LDR: /* derived from the ID, "Logical x2APIC ID" §11.12.10.2 */
        *value = (l->id >> 4) << 16 | 1u << (l->id & 15);
        return true;
    case X2APIC_SVR:
        *value = l->svr;
        return true;
    case X2APIC_ESR:
        *value = l->esr;
        return true;
    case X2APIC_ICR:
        *value = l->icr;
        return true;
    case X2APIC_TIMER_INITIAL:
        *value = l->timer_initial;
        return true;
    case X2APIC_TIMER_CURRENT:
        *value = lapic_timer_current(l);
        return true;
    case X2APIC_TIMER_DIVIDE:
        *value = l->timer_divide;
        return true;
    }
    return read_lvt(l, msr, value);
}

/* ---- writes ---- */

/* A software-disabled APIC keeps every LVT entry masked (§11.4.7.2). */
static uint32_t lvt_value(const struct lapic *l, uint64_t value)
{
    uint32_t lvt = (uint32_t)value & ~LVT_READ_ONLY;
    return l->svr & LAPIC_SVR_ENABLE ? lvt : lvt | LAPIC_LVT_MASKED;
}

static bool write_lvt(struct lapic *l, uint32_t msr, uint64_t value)
{
    uint32_t *lvt;
    uint32_t allowed;
    switch (msr) {
    case X2APIC_LVT_TIMER:
        if (value & ~(uint64_t)(LVT_COMMON | LAPIC_TIMER_MODE)) {
            return false;
        }
        lapic_timer_set_lvt(l, lvt_value(l, value));
        return true;
    case X2APIC_LVT_THERMAL:
        lvt = &l->lvt_thermal;
        allowed = LVT_COMMON | LVT_MODE;
        break;
    case X2APIC_LVT_PERF:
        lvt = &l->lvt_perf;
        allowed = LVT_COMMON | LVT_MODE;
        break;
    case X2APIC_LVT_LINT0:
        lvt = &l->lvt_lint0;
        allowed = LVT_LINT;
        break;
    case X2APIC_LVT_LINT1:
        lvt = &l->lvt_lint1;
        allowed = LVT_LINT;
        break;
    case X2APIC_LVT_ERROR:
        lvt = &l->lvt_error;
        allowed = LVT_COMMON;
        break;
    default:
        return false;
    }
    if (value & ~(uint64_t)allowed) {
        return false;
    }
    /* Atomic, because lapic_log_error reads one of them in any task. */
    __atomic_store_n(lvt, lvt_value(l, value), __ATOMIC_RELAXED);
    return true;
}

static void write_svr(struct lapic *l, uint32_t value)
{
    __atomic_store_n(&l->svr, value, __ATOMIC_RELAXED); /* lapic_raise reads it in any task */
    if (value & LAPIC_SVR_ENABLE) {
        return;
    }
    lapic_timer_set_lvt(l, l->lvt_timer | LAPIC_LVT_MASKED);
    l->lvt_thermal |= LAPIC_LVT_MASKED;
    l->lvt_perf |= LAPIC_LVT_MASKED;
    l->lvt_lint0 |= LAPIC_LVT_MASKED;
    l->lvt_lint1 |= LAPIC_LVT_MASKED;
    __atomic_fetch_or(&l->lvt_error, LAPIC_LVT_MASKED, __ATOMIC_RELAXED);
}

/* The value has no reserved bits set. False: no such writable register. */
static bool write_register(struct lapic *l, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case X2APIC_TPR:
        lapic_set_tpr(l, (uint32_t)value);
        return true;
    case X2APIC_EOI:
        lapic_end_of_interrupt(l);
        return true;
    case X2APIC_SVR:
        write_svr(l, (uint32_t)value);
        return true;
    case X2APIC_ESR: /* shows what was logged since the last write, "Error Handling" §11.5.3 */
        l->esr = __atomic_exchange_n(&l->esr_pending, 0, __ATOMIC_RELAXED);
        return true;
    case X2APIC_ICR:
        l->icr = value & ~ICR_STATUS;
        send_ipi(l);
        return true;
    case X2APIC_TIMER_INITIAL:
        lapic_timer_set_initial(l, (uint32_t)value);
        return true;
    case X2APIC_TIMER_DIVIDE:
        lapic_timer_set_divide(l, (uint32_t)value);
        return true;
    case X2APIC_SELF_IPI:
        self_ipi(l, (uint8_t)value);
        return true;
    }
    return write_lvt(l, msr, value);
}

/* Bits that must be zero; the LVT entries are checked by write_lvt. */
static uint64_t reserved_bits(uint32_t msr)
{
    switch (msr) {
    case X2APIC_TPR:
        return ~(uint64_t)TPR_WRITABLE;
    case X2APIC_EOI:
    case X2APIC_ESR:
        return ~0ull;
    case X2APIC_SVR:
        return ~(uint64_t)SVR_WRITABLE;
    case X2APIC_ICR:
        return ICR_RESERVED;
    case X2APIC_TIMER_DIVIDE:
        return ~(uint64_t)DIVIDE_WRITABLE;
    case X2APIC_SELF_IPI:
        return ~0xffull;
    default:
        return ~0xffffffffull;
    }
}

bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value)
{
    return !(value & reserved_bits(msr)) && write_register(l, msr, value);
}
