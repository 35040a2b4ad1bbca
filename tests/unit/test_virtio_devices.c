/* src/dev/virtio: rng.c, console.c, console_out.c, balloon.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev/virtio/balloon.h"
#include "dev/virtio/console.h"
#include "dev/virtio/console_out.h"
#include "dev/virtio/rng.h"
#include "fake_driver.h"
#include "fake_host.h"

#define RING 0x100000ull
#define DATA 0x200000ull
#define SLOT 4u

static struct vm *vm;
static struct virtio_regs regs;
static struct fake_queue drv[4];
static uint32_t head, len;

static int setup(void **state)
{
    (void)state;
    vm = fake_vm_create(1);
    regs = (struct virtio_regs){0};
    for (unsigned q = 0; q < 4; q++) {
        fake_queue_init(&drv[q], &vm->ram, RING + q * 0x10000, 16);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_vm_destroy(vm);
    return 0;
}

static uint8_t *at(uint64_t where)
{
    return vm->ram.base + where;
}

/* Whether every byte of [where, where+n) is `value`. */
static bool all(uint64_t where, uint64_t n, uint8_t value)
{
    for (uint64_t i = 0; i < n; i++) {
        if (*at(where + i) != value) {
            return false;
        }
    }
    return true;
}

/* ---- rng ---- */

static void test_rng(void **state)
{
    (void)state;
    static struct virtio_rng rng;
    virtio_rng_init(&rng, &regs, &vm->ram, SLOT);
    assert_int_equal(regs.id, 4);
    fake_driver_start(&rng.device, VIRTIO_F_VERSION_1, drv, 1);
    fake_queue_add(&drv[0], 0, 0, DATA, 64);
    fake_queue_add(&drv[0], 0, 0, DATA + 0x10000, 100000); /* more than one gets */
    fake_queue_add(&drv[0], DATA + 64, 5, 0, 0);           /* nothing to fill */
    virtio_device_kick(&rng.device, 0);
    assert_true(fake_queue_take(&drv[0], &head, &len));
    assert_int_equal(len, 64);
    assert_true(all(DATA, 64, 0x5a)); /* the fake host's random byte */
    assert_true(all(DATA + 64, 64, 0));
    assert_true(fake_queue_take(&drv[0], &head, &len));
    assert_int_equal(len, VIRTIO_RNG_REQUEST_MAX);
    assert_true(all(DATA + 0x10000, len, 0x5a));
    assert_true(all(DATA + 0x10000 + len, 64, 0));
    assert_true(fake_queue_take(&drv[0], &head, &len));
    assert_int_equal(len, 0);
    assert_int_equal(fake.device_interrupts, 1);
}

/* ---- console ---- */

/** Both halves, and who types. */
static struct {
    struct virtio_console console;
    struct virtio_console_out out;
    unsigned input_room;
    const char *typed; /* to give in input_room; NULL: nothing */
    size_t typed_len;
} term;

static void term_input_room(void *ctx)
{
    (void)ctx;
    term.input_room++;
    size_t n = term.typed ? virtio_console_input(&term.console, term.typed, term.typed_len) : 0;
    term.typed += n;
    term.typed_len -= n;
}

static void console_start(void)
{
    fake_driver_start(&term.console.device, VIRTIO_F_VERSION_1 | 1, drv, 2);
}

static void console_init(void)
{
    const struct virtio_console_end end = {.input_room = term_input_room};
    memset(&term, 0, sizeof(term));
    virtio_console_init(&term.console, &regs, &vm->ram, SLOT, &end, 80, 25);
    regs.kick[VIRTIO_CONSOLE_OUT] = 3;
    virtio_console_out_init(&term.out, vm, &regs);
}

static void say(uint64_t where, const char *text)
{
    memcpy(at(where), text, strlen(text));
    fake_queue_add(&drv[1], where, (uint32_t)strlen(text), 0, 0);
}

static void print(void)
{
    virtio_console_out_kick(&term.out);
}

static void test_console_output(void **state)
{
    (void)state;
    console_init();
    print(); /* no driver yet */
    console_start();
    say(DATA, "before ");
    say(DATA + 100, "after");
    print();
    assert_int_equal(fake.console_len, 12);
    assert_memory_equal(fake.console, "before after", 12);
    assert_true(fake_queue_take(&drv[1], &head, &len));
    assert_true(fake_queue_take(&drv[1], &head, &len));
    assert_int_equal(len, 0);
    assert_int_equal(regs.served_ops, 2);
    assert_int_equal(regs.served_bytes, 12);
    assert_true(regs.interrupts & 1u << VIRTIO_CONSOLE_OUT);
    assert_true(fake.flushes > 0); /* a prompt has no newline */
    print();
    assert_int_equal(fake.console_len, 12);
}

/* The device hears of each driver's first output: it tells it its size again. */
static void test_console_output_is_told(void **state)
{
    (void)state;
    console_init();
    console_start();
    fake.bells[3] = 0;
    for (unsigned i = 0; i < 3; i++) {
        say(DATA, "x");
        print();
    }
    assert_int_equal(fake.bells[3], 1);
    fake_driver_reset(&term.console.device);
    fake_queue_init(&drv[1], &vm->ram, drv[1].desc_gpa, 16);
    console_start();
    say(DATA, "y");
    print();
    assert_int_equal(fake.bells[3], 2);
}

/* One buffer of two pieces; pieces outside RAM; a ring that is no ring. */
static void test_console_output_pieces(void **state)
{
    (void)state;
    console_init();
    console_start();
    fake_queue_set(&drv[1], 0, DATA, 6, FAKE_NEXT, 1);
    fake_queue_set(&drv[1], 1, DATA + 0x100, 4, 0, 0);
    memcpy(at(DATA), "012345", 6);
    memcpy(at(DATA + 0x100), "6789", 4);
    fake_queue_offer(&drv[1], 0);
    print();
    assert_memory_equal(fake.console, "0123456789", 10);
    assert_true(fake_queue_take(&drv[1], &head, &len));
    fake_queue_set(&drv[1], 2, ~0ull - 100, 4096, 0, 0);
    fake_queue_offer(&drv[1], 2);
    regs.interrupts = 0;
    print();
    assert_int_equal(fake.console_len, 10);
    assert_true(regs.broken);
    assert_true(regs.interrupts & VIRTIO_INTERRUPT_CONFIG);
    say(DATA, "never"); /* nothing more of this driver's */
    print();
    assert_int_equal(fake.console_len, 10);
}

static void test_console_output_after_reset(void **state)
{
    (void)state;
    console_init();
    console_start();
    say(DATA, "lost");
    fake_driver_reset(&term.console.device);
    print();
    assert_int_equal(fake.console_len, 0);
    fake_queue_init(&drv[1], &vm->ram, drv[1].desc_gpa, 16);
    console_start();
    say(DATA, "kept");
    print();
    assert_memory_equal(fake.console, "kept", 4);
}

static void test_console_input(void **state)
{
    (void)state;
    console_init();
    assert_int_equal(virtio_console_input(&term.console, "early", 5), 0); /* nobody there yet */
    console_start();
    assert_int_equal(term.input_room, 1);
    assert_int_equal(virtio_console_input(&term.console, "none", 4), 0);
    fake_queue_add(&drv[0], 0, 0, DATA, 4);
    fake_queue_add(&drv[0], DATA + 0x80, 4, 0, 0); /* a useless one between */
    fake_queue_add(&drv[0], 0, 0, DATA + 0x100, 4);
    virtio_device_kick(&term.console.device, 0);
    assert_int_equal(term.input_room, 2);
    assert_int_equal(virtio_console_input(&term.console, "abcdefghij", 10), 8);
    assert_memory_equal(at(DATA), "abcd", 5);
    assert_memory_equal(at(DATA + 0x100), "efgh", 5);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(fake_queue_take(&drv[0], &head, &len));
        assert_int_equal(len, i == 1 ? 0 : 4);
    }
    term.typed = "ij";
    term.typed_len = 2;
    fake_queue_add(&drv[0], 0, 0, DATA, 4);
    virtio_device_kick(&term.console.device, 0);
    assert_memory_equal(at(DATA), "ijcd", 4);
    assert_int_equal(term.typed_len, 0);
    fake_queue_add(&drv[0], 0, 0, DATA, 4);
    virtio_device_kick(&term.console.device, 0); /* nobody was refused: nobody is told */
    assert_int_equal(term.input_room, 3);
    assert_int_equal(virtio_console_input(&term.console, "", 0), 0);
    assert_int_equal(term.console.device.stat.in_bytes, 10);
}

static void test_console_size(void **state)
{
    (void)state;
    console_init();
    assert_int_equal(regs.device_features & 1, 1);
    assert_memory_equal(regs.config, "\x50\0\x19\0", 4);
    console_start();
    fake.device_interrupts = 0;
    virtio_console_resize(&term.console, 80, 25);
    assert_int_equal(fake.device_interrupts, 0);
    virtio_console_resize(&term.console, 132, 0x143);
    assert_int_equal(fake.device_interrupts, 1);
    assert_int_equal(regs.interrupts, VIRTIO_INTERRUPT_CONFIG);
    assert_memory_equal(regs.config, "\x84\0\x43\1", 4);
    /* Told again when the driver begins to use each of its queues. */
    regs.interrupts = 0;
    fake_queue_add(&drv[0], 0, 0, DATA, 4);
    virtio_device_kick(&term.console.device, 0);
    assert_int_equal(regs.interrupts, VIRTIO_INTERRUPT_CONFIG);
    regs.interrupts = 0;
    say(DATA, "x");
    virtio_device_kick(&term.console.device, 1);
    assert_true(regs.interrupts & VIRTIO_INTERRUPT_CONFIG);
    regs.interrupts = 0;
    fake_queue_add(&drv[0], 0, 0, DATA, 4);
    virtio_device_kick(&term.console.device, 0);
    assert_int_equal(regs.interrupts, 0);
}

/* ---- balloon ---- */

#define STATS (1ull << 1)
#define POISON (1ull << 4)
#define REPORTING (1ull << 5)

static struct virtio_balloon balloon;

static void balloon_start(uint64_t features)
{
    virtio_balloon_init(&balloon, &regs, &vm->ram, SLOT);
    fake_driver_start(&balloon.device, VIRTIO_F_VERSION_1 | features, drv, 4);
}

static void set_pfns(const uint32_t *pfn, size_t n)
{
    memcpy(at(DATA), pfn, n * sizeof(*pfn));
    fake_queue_add(&drv[0], DATA, (uint32_t)(n * sizeof(*pfn)), 0, 0);
}

static void test_balloon_inflates_in_runs(void **state)
{
    (void)state;
    static const uint32_t pfn[] = {0x800,      0x801,   0x802, 0x7f0,
                                   0x7ef,      0x7ee,   0x900, FAKE_RAM_SIZE >> 12,
                                   0xffffffff, 0xc0000, 0x901};
    balloon_start(0);
    memset(at(0x7ed000), 0xee, 0x120000);
    set_pfns(pfn, ARRAY_LEN(pfn));
    virtio_device_kick(&balloon.device, 0);
    assert_true(fake_queue_take(&drv[0], &head, &len));
    assert_int_equal(fake.discards, 3);
    assert_int_equal(fake.discard[0].off, 0x800000);
    assert_int_equal(fake.discard[0].len, 0x3000);
    assert_int_equal(fake.discard[1].off, 0x7ee000);
    assert_int_equal(fake.discard[1].len, 0x3000);
    assert_int_equal(fake.discard[2].off, 0x900000);
    assert_int_equal(fake.discard[2].len, 0x2000);
    assert_int_equal(balloon.device.stat.in_bytes, 0x8000);
    assert_int_equal(balloon.device.stat.errors, 3); /* not RAM */
    assert_true(all(0x7ed000, 0x1000, 0xee) && all(0x7f1000, 0x1000, 0xee));
    memcpy(at(DATA), pfn, 8);
    fake_queue_add(&drv[1], DATA, 8, 0, 0); /* deflate */
    virtio_device_kick(&balloon.device, 1);
    assert_true(fake_queue_take(&drv[1], &head, &len));
    assert_int_equal(balloon.device.stat.out_bytes, 0x2000);
}

static void test_balloon_takes_breath(void **state)
{
    (void)state;
    balloon_start(0);
    uint32_t *pfn = (uint32_t *)(void *)at(DATA);
    for (unsigned i = 0; i < 2000; i++) {
        pfn[i] = 0x900 + i * 2 % 0x600; /* no two are neighbours */
    }
    for (unsigned i = 0; i < 3; i++) {
        fake_queue_add(&drv[0], DATA, 8000, 0, 0);
    }
    virtio_device_kick(&balloon.device, 0);
    assert_true(fake_queue_take(&drv[0], &head, &len));
    assert_false(fake_queue_take(&drv[0], &head, &len));
    assert_int_equal(virtio_device_again(&balloon.device), 1);
    fake_queue_add(&drv[0], DATA, 0x100000, 0, 0); /* more page numbers than anybody needs */
    virtio_device_kick(&balloon.device, 0);
    virtio_device_kick(&balloon.device, 0);
    fake.discards = 0;
    virtio_device_kick(&balloon.device, 0);
    assert_true(fake.discards < 5000);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(fake_queue_take(&drv[0], &head, &len));
    }
}

static void test_balloon_target(void **state)
{
    (void)state;
    static const uint32_t said = 0x300;
    balloon_start(0);
    virtio_balloon_set_target(&balloon, (5 << 20) + 123);
    assert_memory_equal(regs.config, "\0\5\0\0", 4);
    assert_true(regs.interrupts & VIRTIO_INTERRUPT_CONFIG);
    virtio_balloon_set_target(&balloon, ~0ull);
    assert_memory_equal(regs.config, "\0\x10\0\0", 4);
    assert_int_equal(regs.config_writable[0], 0xf0);
    assert_int_equal(regs.config_writable[1], 0xf0);
    memcpy(regs.config + 4, &said, 4);
    assert_int_equal(virtio_balloon_actual(&balloon), 0x300000);
    memset(regs.config + 4, 0xff, 4);
    assert_int_equal(virtio_balloon_actual(&balloon), FAKE_RAM_SIZE);
}

/* Free memory is reported in queue q. */
static void report(unsigned q)
{
    fake_queue_set(&drv[q], 0, 0x900000, 0x200000, FAKE_IN | FAKE_NEXT, 1);
    fake_queue_set(&drv[q], 1, 0xb00800, 0x3000, FAKE_IN | FAKE_NEXT, 2); /* two whole pages */
    fake_queue_set(&drv[q], 2, 0xc00100, 0x1000, FAKE_IN, 0);             /* none */
    fake_queue_offer(&drv[q], 0);
    virtio_device_kick(&balloon.device, q);
}

static void test_balloon_reporting(void **state)
{
    (void)state;
    balloon_start(STATS | REPORTING);
    report(3);
    assert_true(fake_queue_take(&drv[3], &head, &len));
    assert_int_equal(fake.discards, 2);
    assert_int_equal(fake.discard[0].off, 0x900000);
    assert_int_equal(fake.discard[0].len, 0x200000);
    assert_int_equal(fake.discard[1].off, 0xb01000);
    assert_int_equal(fake.discard[1].len, 0x2000);
}

static void test_balloon_reporting_without_statistics(void **state)
{
    (void)state;
    balloon_start(REPORTING);
    report(2); /* the queues move up */
    assert_int_equal(fake.discards, 2);
}

static void test_balloon_leaves_poison(void **state)
{
    (void)state;
    balloon_start(STATS | REPORTING | POISON);
    report(3);
    assert_int_equal(fake.discards, 2);
    memset(regs.config + 12, 0xaa, 4);
    report(3);
    assert_int_equal(fake.discards, 2);
    assert_true(fake_queue_take(&drv[3], &head, &len) && fake_queue_take(&drv[3], &head, &len));
}

static void put_fact(unsigned i, uint16_t tag, uint64_t value)
{
    memcpy(at(DATA + i * 10), &tag, 2);
    memcpy(at(DATA + i * 10 + 2), &value, 8);
}

static void test_balloon_facts(void **state)
{
    (void)state;
    balloon_start(STATS);
    assert_false(virtio_balloon_ask(&balloon));
    assert_true(balloon.fact[BALLOON_FREE] == UINT64_MAX);
    put_fact(0, BALLOON_FREE, 1234567);
    put_fact(1, 999, 1); /* unknown */
    put_fact(2, BALLOON_TOTAL, 7654321);
    fake_queue_add(&drv[2], DATA, 35, 0, 0);
    virtio_device_kick(&balloon.device, 2);
    assert_int_equal(balloon.fact[BALLOON_FREE], 1234567);
    assert_int_equal(balloon.fact[BALLOON_TOTAL], 7654321);
    assert_false(fake_queue_take(&drv[2], &head, &len)); /* kept, to ask with */
    assert_true(virtio_balloon_ask(&balloon));
    assert_false(virtio_balloon_ask(&balloon));
    assert_true(fake_queue_take(&drv[2], &head, &len));
    put_fact(0, BALLOON_FREE, 42);
    fake_queue_add(&drv[2], DATA, 10, 0, 0);
    fake_queue_add(&drv[2], DATA, 10, 0, 0); /* one too many: the first comes back */
    virtio_device_kick(&balloon.device, 2);
    assert_int_equal(balloon.fact[BALLOON_FREE], 42);
    assert_true(fake_queue_take(&drv[2], &head, &len));
    assert_false(fake_queue_take(&drv[2], &head, &len));
    fake_driver_reset(&balloon.device);
    assert_false(virtio_balloon_ask(&balloon));
    assert_true(balloon.fact[BALLOON_FREE] == UINT64_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rng),
        TEST(test_console_output),
        TEST(test_console_output_is_told),
        TEST(test_console_output_pieces),
        TEST(test_console_output_after_reset),
        TEST(test_console_input),
        TEST(test_console_size),
        TEST(test_balloon_inflates_in_runs),
        TEST(test_balloon_takes_breath),
        TEST(test_balloon_target),
        TEST(test_balloon_reporting),
        TEST(test_balloon_reporting_without_statistics),
        TEST(test_balloon_leaves_poison),
        TEST(test_balloon_facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
