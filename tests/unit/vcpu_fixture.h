/* One vCPU of a fake guest, made anew for each test: what the tests of src/vcpu start from. */
#ifndef TESTS_VCPU_FIXTURE_H
#define TESTS_VCPU_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_guest.h"

#define DEAD 0x7f0000000000ull /* canonical, not mapped */
#define NONCANONICAL 0x8000000000000000ull

static struct vcpu *v;
static struct vcpu_exception ex;
static struct vcpu before; /* for "nothing has changed" */

static int setup(void **state)
{
    (void)state;
    fake_cpuid_amd = false;
    v = fake_guest_create();
    memset(&ex, 0, sizeof(ex));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_guest_destroy(v);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
