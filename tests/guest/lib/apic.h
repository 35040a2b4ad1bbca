/* The local APIC in x2APIC mode, as the machine starts it. SDM 3 §11.12. */
#ifndef GUEST_APIC_H
#define GUEST_APIC_H

#include "lib/trap.h"

#define X2APIC_ID 0x802u
#define X2APIC_TPR 0x808u
#define X2APIC_PPR 0x80au
#define X2APIC_EOI 0x80bu
#define X2APIC_SVR 0x80fu
#define X2APIC_ISR 0x810u
#define X2APIC_IRR 0x820u
#define X2APIC_ICR 0x830u
#define X2APIC_LVT_TIMER 0x832u
#define X2APIC_LVT_LINT0 0x835u
#define X2APIC_INIT_COUNT 0x838u
#define X2APIC_CUR_COUNT 0x839u
#define X2APIC_DIVIDE 0x83eu
#define X2APIC_SELF_IPI 0x83fu

#define LVT_MASKED (1u << 16)
#define LVT_PERIODIC (1u << 17)
#define LVT_DEADLINE (2u << 17)

static inline void apic_enable(void)
{
    wrmsr(X2APIC_SVR, 0x1ff);
}
static inline void apic_eoi(void)
{
    wrmsr(X2APIC_EOI, 0);
}
static inline void self_ipi(unsigned vector)
{
    wrmsr(X2APIC_SELF_IPI, vector);
}
static inline void send_nmi(void)
{
    wrmsr(X2APIC_ICR, rdmsr(X2APIC_ID) << 32 | 0x400);
}
static inline bool apic_bit(unsigned base, unsigned vector)
{
    return rdmsr(base + vector / 32) >> (vector % 32) & 1;
}

#endif
