/* The fake host of the unit tests: see fake_host.h. */
#include "fake_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_host fake;

void host_log(enum log_level level, const char *line)
{
    (void)level;
    snprintf(fake.last_log, sizeof(fake.last_log), "%s", line);
}

void host_panic(const char *line)
{
    snprintf(fake.last_panic, sizeof(fake.last_panic), "%s", line);
    if (fake.panic != NULL) {
        longjmp(*fake.panic, 1);
    }
    fprintf(stderr, "panic: %s\n", line);
    abort();
}

uint64_t host_time_ns(void)
{
    return fake.time_ns;
}

uint64_t host_wall_ns(void)
{
    return fake.wall_ns;
}

uint64_t host_tsc(void)
{
    return fake.tsc;
}

void host_random(void *buf, size_t len)
{
    memset(buf, 0x5a, len);
}

void host_timer_set(struct vcpu *v, uint64_t when_ns)
{
    fake.timer_ns[v->index] = when_ns;
    fake.timer_sets[v->index]++;
}

void host_kick(unsigned index)
{
    fake.kicks[index]++;
    fake.kicked[index] = true;
}

void host_wait(struct vcpu *v)
{
    fake.waits[v->index]++;
    if (!fake.kicked[v->index] && fake.on_wait != NULL) {
        fake.on_wait(v);
    }
}

bool host_kick_clear(struct vcpu *v)
{
    bool was = fake.kicked[v->index];
    fake.kicked[v->index] = false;
    return was;
}

void host_console_write(struct vm *vm, const void *buf, size_t len)
{
    (void)vm;
    for (size_t i = 0; i < len && fake.console_len < sizeof(fake.console); i++) {
        fake.console[fake.console_len++] = ((const char *)buf)[i];
    }
}

void host_publish_counters(struct vcpu *v)
{
    fake.counters[v->index]++;
}

void host_console_flush(struct vm *vm)
{
    (void)vm;
    fake.flushes++;
}

void host_notify(int bell)
{
    if (bell >= 0 && (unsigned)bell < FAKE_BELLS) {
        fake.bells[bell]++;
    }
}

void host_device_interrupt(unsigned slot)
{
    fake.device_interrupts++;
    if (fake.vm != NULL) {
        __atomic_fetch_or(&fake.vm->device_pending, 1u << slot, __ATOMIC_RELEASE);
        host_kick(0);
    }
}

int host_ram_discard(uint64_t ram_off, uint64_t len)
{
    if (fake.discards < FAKE_DISCARDS) {
        fake.discard[fake.discards].off = ram_off;
        fake.discard[fake.discards].len = len;
    }
    fake.discards++;
    if (fake.vm != NULL) {
        const struct ram *ram = &fake.vm->ram;
        if (ram_off % PAGE_SIZE || len % PAGE_SIZE || len == 0 || len > ram->size || ram_off > ram->size - len) {
            fprintf(stderr, "a discard of what is not RAM\n");
            abort();
        }
        memset(ram->base + ram_off, 0, len);
    }
    return 0;
}

struct vm *fake_vm_create(unsigned cpus)
{
    memset(&fake, 0, sizeof(fake));
    fake.time_ns = 5000000000;
    fake.wall_ns = 1700000000123456789; /* 2023-11-14 22:13:20 UTC, a Tuesday */
    fake.tsc = 77000000000;
    struct vm *vm = calloc(1, sizeof(*vm));
    vm->ram.base = calloc(1, FAKE_RAM_SIZE);
    vm->ram.size = FAKE_RAM_SIZE;
    vm->ram.fd = -1;
    vm->cpu_count = cpus;
    vm->tsc_khz = FAKE_TSC_KHZ;
    for (unsigned i = 0; i < cpus; i++) {
        vm->vcpu[i] = aligned_alloc(64, sizeof(struct vcpu));
        memset(vm->vcpu[i], 0, sizeof(struct vcpu));
    }
    vm_init(vm);
    fake.vm = vm;
    return vm;
}

void fake_vm_destroy(struct vm *vm)
{
    fake.vm = NULL;
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        free(vm->vcpu[i]);
    }
    free(vm->ram.base);
    free(vm);
}

void fake_advance(uint64_t ns)
{
    fake.time_ns += ns;
    fake.wall_ns += ns;
    fake.tsc += ns * FAKE_TSC_KHZ / 1000000;
}
