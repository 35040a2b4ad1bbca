/* A host for unit tests: time stands still unless the test moves it, and everything said to the
 * host is remembered. Implements group 1 of host.h (time, kicks, waiting, console) and what it
 * offers to devices.
 */
#ifndef TESTS_FAKE_HOST_H
#define TESTS_FAKE_HOST_H

#include <setjmp.h>

#include "host/host.h"
#include "vm/vm.h"

#define FAKE_BELLS 16u
#define FAKE_DISCARDS 64u

struct fake_host {
    struct vm *vm;                     /* of the last fake_vm_create; NULL: none, and no RAM */
    uint64_t time_ns, wall_ns, tsc;
    uint64_t timer_ns[VM_MAX_CPUS];    /* last host_timer_set, 0 = cancelled */
    unsigned timer_sets[VM_MAX_CPUS];
    unsigned kicks[VM_MAX_CPUS];       /* host_kick calls */
    bool kicked[VM_MAX_CPUS];          /* since the last clear */
    unsigned waits[VM_MAX_CPUS];
    unsigned flushes;
    unsigned counters[VM_MAX_CPUS];    /* host_publish_counters calls */
    char console[65536];
    size_t console_len;
    char last_log[512];
    char last_panic[512];
    unsigned bells[FAKE_BELLS];        /* host_notify calls, by bell */
    unsigned device_interrupts;        /* host_device_interrupt calls */
    struct {
        uint64_t off, len;
    } discard[FAKE_DISCARDS];          /* host_ram_discard, the first of them */
    unsigned discards;
    jmp_buf *panic;                    /* where host_panic goes; NULL: abort */
    void (*on_wait)(struct vcpu *v);   /* called by host_wait when no kick is there */
};

extern struct fake_host fake;

/** A machine of `cpus` vCPUs with vm_init done, fake reset to its defaults, 16 MB of RAM, 2 GHz
 *  TSC. */
struct vm *fake_vm_create(unsigned cpus);
void fake_vm_destroy(struct vm *vm);
/** Let `ns` pass, on the TSC too. */
void fake_advance(uint64_t ns);

#define FAKE_TSC_KHZ 2000000u
#define FAKE_RAM_SIZE (16ull << 20)

#endif
