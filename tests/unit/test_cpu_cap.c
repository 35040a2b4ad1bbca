/* Holding a machine to a cap, with a machine and a scheduler that are a few numbers. */
#include "host/linux/cpu_cap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#define SECOND 1000000000ull
#define MS 1000000ull

/* How the host behaves. */
struct host {
    unsigned cap;
    unsigned demand;  /* percent of one processor that the machine would use */
    unsigned granted; /* percent that the host's other work leaves it */
    uint64_t look_ns; /* between two measurements */
    uint64_t late_ns; /* up to so much later, at random */
};

/* Run for `seconds`; the percentage the machine had. */
static double run(const struct host *h, unsigned seconds)
{
    struct cpu_cap c;
    uint64_t now = 7 * SECOND, used = 123456789, start = used, end = now + seconds * SECOND;
    bool held = false;
    unsigned rate = h->demand < h->granted ? h->demand : h->granted;
    srand(1);
    cpu_cap_init(&c, h->cap, now, used);
    while (now < end) {
        uint64_t step = h->look_ns + (h->late_ns ? (uint64_t)rand() % h->late_ns : 0);
        now += step;
        used += held ? 0 : step * rate / 100;
        held = cpu_cap_update(&c, now, used);
    }
    return (double)(used - start) * 100 / (double)(seconds * SECOND);
}

static void test_it_holds(void **state)
{
    static const unsigned caps[] = {5, 10, 25, 50, 75, 99, 150, 390};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
        for (unsigned late = 0; late <= 40; late += 10) {
            struct host h = {caps[i], 400, 400, 5 * MS, late * MS};
            double had = run(&h, 10);
            double slack = caps[i] * 0.05 + (5 + late) * 400 / 10000.0; /* the last look of 10 s */
            if (had < caps[i] - slack || had > caps[i] + slack) {
                fail_msg("cap %u, %u ms late: %.2f", caps[i], late, had);
            }
        }
    }
}

static void test_it_does_not_hinder_who_stays_below(void **state)
{
    (void)state;
    struct host h = {50, 40, 100, 10 * MS, 5 * MS};
    assert_in_range((unsigned)(run(&h, 10) * 100), 3990, 4010);
    h = (struct host){80, 100, 30, 10 * MS, 5 * MS}; /* the host gives it less than its cap */
    assert_in_range((unsigned)(run(&h, 10) * 100), 2990, 3010);
}

static void test_idleness_saves_little(void **state)
{
    struct cpu_cap c;
    uint64_t now = SECOND, used = 0;
    (void)state;
    cpu_cap_init(&c, 50, now, used);
    now += 60 * SECOND;
    assert_false(cpu_cap_update(&c, now, used));
    for (; !c.holding; now += 10 * MS, used += 10 * MS) {
        cpu_cap_update(&c, now, used);
    }
    assert_in_range(used, 0, 120 * MS); /* a tenth of a second, after a minute of nothing */
}

static void test_a_late_look_is_forgiven(void **state)
{
    struct cpu_cap c;
    uint64_t now = SECOND, used = 0;
    (void)state;
    cpu_cap_init(&c, 10, now, used);
    now += 30 * SECOND; /* nobody looked for half a minute */
    used += 30 * SECOND;
    assert_true(cpu_cap_update(&c, now, used));
    uint64_t stopped = now;
    while (cpu_cap_update(&c, now, used)) {
        now += 10 * MS;
    }
    assert_in_range(now - stopped, 1000 * MS, 6000 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_holds),
        cmocka_unit_test(test_it_does_not_hinder_who_stays_below),
        cmocka_unit_test(test_idleness_saves_little),
        cmocka_unit_test(test_a_late_look_is_forgiven),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
