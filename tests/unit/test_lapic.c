/* src/irq, the local APIC: priorities, registers, timer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_host.h"

#define MSR_VERSION 0x803
#define MSR_TPR 0x808
#define MSR_PPR 0x80a
#define MSR_EOI 0x80b
#define MSR_LDR 0x80d
#define MSR_SVR 0x80f
#define MSR_ISR 0x810
#define MSR_TMR 0x818
#define MSR_IRR 0x820
#define MSR_ESR 0x828
#define MSR_ICR 0x830
#define MSR_LVT_TIMER 0x832
#define MSR_LVT_LINT0 0x835
#define MSR_LVT_ERROR 0x837
#define MSR_INITIAL 0x838
#define MSR_CURRENT 0x839
#define MSR_DIVIDE 0x83e
#define MSR_SELF_IPI 0x83f

#define MASKED 0x10000u
#define PERIODIC 0x20000u
#define DEADLINE 0x40000u

static struct vm *vm;
static struct lapic *l; /* vCPU 0's */

static void wr(struct lapic *lapic, uint32_t msr, uint64_t value)
{
    assert_true(lapic_msr_write(lapic, msr, value));
}

static void wr_gp(uint32_t msr, uint64_t value)
{
    assert_false(lapic_msr_write(l, msr, value));
}

static uint64_t rd(uint32_t msr)
{
    uint64_t value = 0;
    assert_true(lapic_msr_read(l, msr, &value));
    return value;
}

static void rd_gp(uint32_t msr)
{
    uint64_t value;
    assert_false(lapic_msr_read(l, msr, &value));
}

/* Take the pending interrupt, which must be vec. */
static void accept(struct lapic *lapic, int vec)
{
    assert_int_equal(lapic_pending(lapic), vec);
    lapic_accept(lapic, (uint8_t)vec);
}

static int setup(void **state)
{
    (void)state;
    vm = fake_vm_create(4);
    l = &vm->lapic[0];
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        if (!lapic_msr_write(&vm->lapic[i], MSR_SVR, 0x1ff)) {
            return -1;
        }
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_vm_destroy(vm);
    return 0;
}

/* ---- priorities ---- */

static void test_nesting(void **state)
{
    (void)state;
    assert_int_equal(lapic_pending(l), -1);
    lapic_raise(l, 0x41, false);
    lapic_raise(l, 0x43, false);
    accept(l, 0x43);
    assert_int_equal(rd(MSR_PPR), 0x40);
    assert_int_equal(lapic_pending(l), -1); /* 0x41 is of the same class */
    lapic_raise(l, 0x51, false);
    accept(l, 0x51);
    lapic_raise(l, 0x52, false);
    lapic_raise(l, 0x43, false); /* again, while in service */
    assert_int_equal(lapic_pending(l), -1);
    wr(l, MSR_EOI, 0); /* ends 0x51 */
    assert_int_equal(rd(MSR_PPR), 0x40);
    accept(l, 0x52);
    wr(l, MSR_EOI, 0);
    wr(l, MSR_EOI, 0); /* ends the first 0x43 */
    accept(l, 0x43);
    wr(l, MSR_EOI, 0);
    accept(l, 0x41);
    wr(l, MSR_EOI, 0);
    assert_int_equal(lapic_pending(l), -1);
    wr(l, MSR_EOI, 0); /* with nothing in service: nothing */
    assert_int_equal(rd(MSR_PPR), 0);
}

static void test_every_vector_highest_first(void **state)
{
    (void)state;
    for (unsigned vec = 16; vec < 256; vec++) {
        lapic_raise(l, (uint8_t)vec, false);
    }
    for (int vec = 255; vec >= 16; vec--) {
        accept(l, vec);
        wr(l, MSR_EOI, 0);
    }
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(l->irr_words, 0);
}

static void test_tpr_and_cr8(void **state)
{
    (void)state;
    lapic_raise(l, 0x5f, false);
    wr(l, MSR_TPR, 0x50);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(lapic_get_cr8(l), 5);
    wr(l, MSR_TPR, 0x4f); /* the sub-class blocks nothing */
    assert_int_equal(lapic_pending(l), 0x5f);
    assert_int_equal(rd(MSR_PPR), 0x4f);
    lapic_set_cr8(l, 7);
    assert_int_equal(rd(MSR_TPR), 0x70);
    assert_int_equal(lapic_pending(l), -1);
    lapic_set_cr8(l, 3);
    accept(l, 0x5f);
    assert_int_equal(rd(MSR_PPR), 0x50); /* in service beats TPR; sub-class 0 */
    wr(l, MSR_TPR, 0x53);
    assert_int_equal(rd(MSR_PPR), 0x53);
    wr(l, MSR_TPR, 0x83);
    assert_int_equal(rd(MSR_PPR), 0x83);
}

static void test_irr_isr_tmr_registers(void **state)
{
    (void)state;
    lapic_raise(l, 0x35, true);
    lapic_raise(l, 0xe1, false);
    assert_int_equal(rd(MSR_IRR + 1), 1u << 0x15);
    assert_int_equal(rd(MSR_TMR + 1), 1u << 0x15);
    assert_int_equal(rd(MSR_IRR + 7), 2);
    assert_int_equal(rd(MSR_TMR + 7), 0);
    accept(l, 0xe1);
    assert_int_equal(rd(MSR_IRR + 7), 0);
    assert_int_equal(rd(MSR_ISR + 7), 2);
    lapic_raise(l, 0x35, false); /* as an edge now: TMR follows the last */
    assert_int_equal(rd(MSR_TMR + 1), 0);
}

/* ---- registers ---- */

static void test_reserved_bits_and_registers(void **state)
{
    (void)state;
    static const uint32_t read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x827, 0x839};
    for (size_t i = 0; i < ARRAY_LEN(read_only); i++) {
        rd(read_only[i]);
        wr_gp(read_only[i], 0);
    }
    static const uint32_t absent[] = {0x800, 0x801, 0x804, 0x809, 0x80c, 0x80e, 0x829, 0x82f,
                                      0x831, 0x83a, 0x83d, 0x840, 0x8ff};
    for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
        rd_gp(absent[i]);
        wr_gp(absent[i], 0);
    }
    rd_gp(MSR_EOI);
    rd_gp(MSR_SELF_IPI);
    wr_gp(MSR_EOI, 1);
    wr_gp(MSR_ESR, 1);
    wr_gp(MSR_TPR, 0x100);
    wr_gp(MSR_SVR, 0x1400);
    wr_gp(MSR_SELF_IPI, 0x100);
    wr_gp(MSR_DIVIDE, 4);
    wr_gp(MSR_INITIAL, 1ull << 32);
    wr_gp(MSR_LVT_TIMER, 0x100);
    wr_gp(MSR_LVT_TIMER, 1ull << 19);
    wr_gp(MSR_LVT_ERROR, 0x700);
    wr(l, MSR_LVT_LINT0, 0x1f7ff & ~0x5000u);
    wr_gp(MSR_LVT_LINT0, 0x800);
    wr_gp(MSR_ICR, 1u << 13);
    wr_gp(MSR_ICR, 1u << 16);
    wr_gp(MSR_ICR, 1u << 20);
    wr_gp(MSR_ICR, 1u << 31);
    assert_int_equal(rd(MSR_VERSION), 0x50014);
    assert_int_equal(rd(MSR_LDR), 1);
}

static void test_read_only_lvt_bits_stay_clear(void **state)
{
    (void)state;
    wr(l, MSR_LVT_LINT0, 0x1f7ff);
    assert_int_equal(rd(MSR_LVT_LINT0), 0x1f7ff & ~0x5000u);
    wr(l, MSR_LVT_TIMER, 0x1000 | 0xec);
    assert_int_equal(rd(MSR_LVT_TIMER), 0xec);
}

static void test_software_disable(void **state)
{
    (void)state;
    wr(l, MSR_LVT_TIMER, 0xec);
    lapic_raise(l, 0x44, false);
    wr(l, MSR_SVR, 0xff);
    assert_int_equal(rd(MSR_LVT_TIMER), 0xec | MASKED);
    wr(l, MSR_LVT_TIMER, 0xec);
    assert_int_equal(rd(MSR_LVT_TIMER), 0xec | MASKED); /* cannot be unmasked now */
    lapic_raise(l, 0x55, false);
    assert_int_equal(lapic_pending(l), 0x44); /* what was pending stays, nothing comes */
    wr(l, MSR_SVR, 0x1ff);
    assert_int_equal(lapic_pending(l), 0x44);
    wr(l, MSR_LVT_TIMER, 0xec);
    assert_int_equal(rd(MSR_LVT_TIMER), 0xec);
}

static void test_reset(void **state)
{
    (void)state;
    lapic_raise(l, 0x44, true);
    lapic_raise(l, 0x54, true);
    accept(l, 0x54);
    wr(l, MSR_LVT_TIMER, 0xec);
    wr(l, MSR_INITIAL, 1000);
    assert_int_not_equal(fake.timer_ns[0], 0);
    lapic_reset(l);
    assert_int_equal(fake.timer_ns[0], 0);
    assert_int_equal(rd(MSR_SVR), 0xff);
    assert_int_equal(rd(MSR_LVT_LINT0), MASKED);
    assert_int_equal(rd(MSR_PPR), 0);
    for (uint32_t msr = MSR_ISR; msr < MSR_ISR + 24; msr++) {
        assert_int_equal(rd(msr), 0);
    }
    assert_int_equal(lapic_pending(l), -1);
}

static void test_errors(void **state)
{
    (void)state;
    wr(l, MSR_LVT_ERROR, 0xfe);
    wr(l, MSR_SELF_IPI, 0x0f);
    assert_int_equal(rd(MSR_ESR), 0); /* shown by a write only */
    accept(l, 0xfe);
    wr(l, MSR_EOI, 0);
    lapic_raise(l, 3, false);
    wr(l, MSR_ESR, 0);
    assert_int_equal(rd(MSR_ESR), 0x60); /* sent and received illegal vector */
    wr(l, MSR_ESR, 0);
    assert_int_equal(rd(MSR_ESR), 0);
    accept(l, 0xfe);
    wr(l, MSR_EOI, 0);
    wr(l, MSR_LVT_ERROR, 5); /* an illegal vector for reporting illegal vectors */
    wr(l, MSR_ICR, 5);
    assert_int_equal(lapic_pending(l), -1);
}

/* ---- timer ---- */

static void test_one_shot(void **state)
{
    (void)state;
    wr(l, MSR_LVT_TIMER, 0xec);
    wr(l, MSR_DIVIDE, 3); /* by 16 */
    uint64_t start = fake.time_ns;
    wr(l, MSR_INITIAL, 1000);
    assert_int_equal(fake.timer_ns[0], start + 16000);
    assert_int_equal(rd(MSR_CURRENT), 1000);
    fake_advance(8000);
    assert_int_equal(rd(MSR_CURRENT), 500);
    fake_advance(7999);
    lapic_poll_timer(l);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(rd(MSR_CURRENT), 1);
    fake_advance(1);
    lapic_poll_timer(l);
    accept(l, 0xec);
    wr(l, MSR_EOI, 0);
    assert_int_equal(rd(MSR_CURRENT), 0);
    wr(l, MSR_DIVIDE, 0xa); /* by 128: an expired count stays expired */
    assert_int_equal(rd(MSR_CURRENT), 0);
    fake_advance(100000);
    lapic_poll_timer(l);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(rd(MSR_INITIAL), 1000);
}

static void test_dividers(void **state)
{
    (void)state;
    static const struct {
        uint32_t reg, by;
    } div[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {0xa, 128}, {0xb, 1}};
    wr(l, MSR_LVT_TIMER, 0xec);
    for (size_t i = 0; i < ARRAY_LEN(div); i++) {
        wr(l, MSR_INITIAL, 0);
        wr(l, MSR_DIVIDE, div[i].reg);
        wr(l, MSR_INITIAL, 0xffffffff);
        assert_int_equal(fake.timer_ns[0], fake.time_ns + 0xffffffffull * div[i].by);
    }
    wr(l, MSR_DIVIDE, 0xb);
    wr(l, MSR_INITIAL, 1000000);
    fake_advance(400000);
    wr(l, MSR_DIVIDE, 1); /* 600,000 ticks are left, now 4 ns each */
    assert_int_equal(rd(MSR_CURRENT), 600000);
    assert_int_equal(fake.timer_ns[0], fake.time_ns + 2400000);
    wr(l, MSR_INITIAL, 0);
    assert_int_equal(fake.timer_ns[0], 0);
}

static void test_periodic(void **state)
{
    (void)state;
    wr(l, MSR_DIVIDE, 0xb);
    wr(l, MSR_LVT_TIMER, PERIODIC | 0xec);
    uint64_t start = fake.time_ns;
    wr(l, MSR_INITIAL, 1000000);
    for (unsigned i = 1; i <= 5; i++) {
        fake_advance(1000000);
        lapic_poll_timer(l);
        accept(l, 0xec);
        wr(l, MSR_EOI, 0);
        assert_int_equal(fake.timer_ns[0], start + (i + 1) * 1000000ull);
    }
    fake_advance(3400000); /* three periods at once are one interrupt, and the phase stays */
    lapic_poll_timer(l);
    accept(l, 0xec);
    wr(l, MSR_EOI, 0);
    assert_int_equal(fake.timer_ns[0], start + 9000000);
    assert_int_equal(rd(MSR_CURRENT), 600000);
    wr(l, MSR_LVT_TIMER, 0xec); /* one-shot from here: the count runs on, once */
    assert_int_equal(rd(MSR_CURRENT), 600000);
    fake_advance(600000);
    lapic_poll_timer(l);
    accept(l, 0xec);
    assert_int_equal(fake.timer_ns[0], 0);
    wr(l, MSR_EOI, 0);
    wr(l, MSR_LVT_TIMER, PERIODIC | 0xec);
    wr(l, MSR_INITIAL, 1); /* a nanosecond: stretched */
    fake_advance(10);
    lapic_poll_timer(l);
    assert_true(fake.timer_ns[0] >= fake.time_ns + 20000);
}

static void test_masked_timer(void **state)
{
    (void)state;
    wr(l, MSR_DIVIDE, 0xb);
    wr(l, MSR_LVT_TIMER, MASKED | 0xec);
    wr(l, MSR_INITIAL, 1000000);
    assert_int_equal(fake.timer_ns[0], 0); /* counts, but the host need not wake us */
    fake_advance(400000);
    assert_int_equal(rd(MSR_CURRENT), 600000);
    wr(l, MSR_LVT_TIMER, 0xec);
    assert_int_equal(fake.timer_ns[0], fake.time_ns + 600000);
    wr(l, MSR_LVT_TIMER, MASKED | 0xec);
    fake_advance(700000);
    wr(l, MSR_LVT_TIMER, 0xec); /* expired while masked: no interrupt */
    lapic_poll_timer(l);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(fake.timer_ns[0], 0);
}

static void test_tsc_deadline(void **state)
{
    (void)state;
    lapic_set_tsc_deadline(l, fake.tsc + 1000); /* not in deadline mode: ignored */
    assert_int_equal(fake.timer_ns[0], 0);
    assert_int_equal(lapic_tsc_deadline(l), 0);
    wr(l, MSR_LVT_TIMER, DEADLINE | 0xec);
    wr(l, MSR_INITIAL, 1000); /* and this one is, in deadline mode */
    assert_int_equal(rd(MSR_INITIAL), 0);
    assert_int_equal(fake.timer_ns[0], 0);
    uint64_t deadline = fake.tsc + 2000001; /* 1,000,000.5 ns: rounded up */
    lapic_set_tsc_deadline(l, deadline);
    assert_int_equal(lapic_tsc_deadline(l), deadline);
    assert_int_equal(rd(MSR_CURRENT), 0);
    assert_int_equal(fake.timer_ns[0], fake.time_ns + 1000001);
    fake_advance(1000000);
    lapic_poll_timer(l);
    assert_int_equal(lapic_pending(l), -1);
    fake_advance(1);
    lapic_poll_timer(l);
    accept(l, 0xec);
    wr(l, MSR_EOI, 0);
    assert_int_equal(lapic_tsc_deadline(l), 0);
    assert_int_equal(fake.timer_ns[0], 0);
    lapic_set_tsc_deadline(l, fake.tsc - 1); /* past: at once */
    accept(l, 0xec);
    wr(l, MSR_EOI, 0);
    lapic_set_tsc_deadline(l, fake.tsc + 4000);
    lapic_set_tsc_deadline(l, 0); /* disarm */
    assert_int_equal(fake.timer_ns[0], 0);
    fake_advance(10000);
    lapic_poll_timer(l);
    assert_int_equal(lapic_pending(l), -1);
}

static void test_deadline_clocks_apart(void **state)
{
    (void)state;
    wr(l, MSR_LVT_TIMER, DEADLINE | 0xec);
    lapic_set_tsc_deadline(l, fake.tsc + 2000000);
    fake.time_ns += 1000000; /* the host's clock ran ahead of the TSC */
    fake.tsc += 1999000;
    lapic_poll_timer(l);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(fake.timer_ns[0], fake.time_ns + 500);
    fake.tsc += 1000; /* and now behind: the TSC decides */
    lapic_poll_timer(l);
    accept(l, 0xec);
}

static void test_deadline_far_and_mode_switch(void **state)
{
    (void)state;
    wr(l, MSR_LVT_TIMER, DEADLINE | 0xec);
    lapic_set_tsc_deadline(l, UINT64_MAX);
    assert_true(fake.timer_ns[0] > fake.time_ns + (1ull << 60));
    wr(l, MSR_LVT_TIMER, 0xec); /* leaving the mode disarms */
    assert_int_equal(fake.timer_ns[0], 0);
    assert_int_equal(lapic_tsc_deadline(l), 0);
    wr(l, MSR_LVT_TIMER, DEADLINE | 0xec);
    assert_int_equal(lapic_tsc_deadline(l), 0);
    wr(l, MSR_LVT_TIMER, 3u << 17 | 0xec); /* the reserved mode runs nothing */
    lapic_set_tsc_deadline(l, 1);
    wr(l, MSR_INITIAL, 10);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(fake.timer_ns[0], 0);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_nesting),
        CASE(test_every_vector_highest_first),
        CASE(test_tpr_and_cr8),
        CASE(test_irr_isr_tmr_registers),
        CASE(test_reserved_bits_and_registers),
        CASE(test_read_only_lvt_bits_stay_clear),
        CASE(test_software_disable),
        CASE(test_reset),
        CASE(test_errors),
        CASE(test_one_shot),
        CASE(test_dividers),
        CASE(test_periodic),
        CASE(test_masked_timer),
        CASE(test_tsc_deadline),
        CASE(test_deadline_clocks_apart),
        CASE(test_deadline_far_and_mode_switch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
