/* KVM's paravirtual clock, by which a guest knows the time and its TSC's frequency without
 * calibrating.
 *
 * State: vm->clock_tsc, set once. The clock is the guest's TSC, scaled, from vm_init on; the
 * guest's TSC is the host's without offset and all vCPUs use the same figures, so what is written
 * at enabling stays true for ever and readings agree between vCPUs (flag TSC_STABLE). After a pause
 * of the machine the flag GUEST_STOPPED is set too.
 * Layouts: Linux "KVM-specific MSRs", virt/kvm/x86/msr.rst.
 * Threads: the vCPU's own task; the guest may read its structures at any time.
 */
#include "base/string.h"
#include "engine/engine.h"
#include "host/host.h"
#include "vm/vm.h"

#define NS_PER_S 1000000000u

#define CLOCK_ENABLE 1ull
#define CLOCK_TSC_STABLE 1u
#define CLOCK_GUEST_STOPPED 2u /* set by the host, cleared by the guest */

/* One vCPU's clock: ns = system_time + ((tsc - tsc_timestamp) << shift) * mul >> 32. */
struct clock_page {
    uint32_t version; /* odd while the rest is being changed */
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time;
    uint32_t mul;
    int8_t shift;
    uint8_t flags;
    uint8_t pad1[2];
};
_Static_assert(sizeof(struct clock_page) == 32, "guest-visible layout");

/* Wall-clock time when the clock showed 0. */
struct wall_page {
    uint32_t version;
    uint32_t sec, nsec;
};
_Static_assert(sizeof(struct wall_page) == 12, "guest-visible layout");

/* mul / 2^32 * 2^shift = nanoseconds a cycle, with mul in [2^31, 2^32) for the most precision. */
static void scale_tsc(uint32_t tsc_khz, uint32_t *mul, int8_t *shift)
{
    uint64_t ns = 1000000, cycles = tsc_khz; /* of one millisecond */
    *shift = 0;
    while (ns >= cycles) {
        cycles *= 2;
        (*shift)++;
    }
    while (ns * 2 < cycles) {
        ns *= 2;
        (*shift)--;
    }
    *mul = (uint32_t)((ns << 32) / cycles);
}

static uint64_t clock_now(const struct vm *vm)
{
    uint32_t mul;
    int8_t shift;
    scale_tsc(vm->tsc_khz, &mul, &shift);
    uint64_t cycles = host_tsc() - vm->clock_tsc;
    cycles = shift < 0 ? cycles >> -shift : cycles << shift;
    return (uint64_t)((unsigned __int128)cycles * mul >> 32);
}

/* Copy a structure that begins with its version into guest RAM: the version odd first, even last,
 * so that a reader on another vCPU sees it torn or whole, and knows which. */
static void publish(uint8_t *hva, const void *page, size_t size)
{
    uint32_t version;
    memcpy(&version, hva, sizeof(version));
    version |= 1;
    memcpy(hva, &version, sizeof(version));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    memcpy(hva + sizeof(version), (const uint8_t *)page + sizeof(version), size - sizeof(version));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    version++;
    memcpy(hva, &version, sizeof(version));
}

static void tell_engine(struct vm *vm, gpa_t a, uint64_t len)
{
    if (vm->engine != NULL && vm->engine->ram_written != NULL) {
        vm->engine->ram_written(vm, a, len);
    }
}

bool kvmclock_write_system_time(struct vcpu *v, uint64_t value)
{
    struct vm *vm = v->vm;
    if (value & CLOCK_ENABLE) {
        gpa_t a = gpa(value & ~CLOCK_ENABLE);
        struct clock_page page = {
            .tsc_timestamp = vm->clock_tsc,
            .flags = CLOCK_TSC_STABLE,
        };
        uint8_t *hva = ram_span(&vm->ram, a, sizeof(page));
        if (hva == NULL) {
            return false;
        }
        scale_tsc(vm->tsc_khz, &page.mul, &page.shift);
        publish(hva, &page, sizeof(page));
        tell_engine(vm, a, sizeof(page));
    }
    v->kvm_system_time = value;
    return true;
}

/* The one field changed after enabling, and it is read apart from the rest: no new version. */
void kvmclock_mark_stopped(struct vcpu *v)
{
    struct vm *vm = v->vm;
    if (!(v->kvm_system_time & CLOCK_ENABLE)) {
        return;
    }
    gpa_t a = gpa_add(gpa(v->kvm_system_time & ~CLOCK_ENABLE), offsetof(struct clock_page, flags));
    uint8_t *flags = ram_span(&vm->ram, a, 1);
    if (flags != NULL) {
        __atomic_fetch_or(flags, CLOCK_GUEST_STOPPED, __ATOMIC_SEQ_CST);
        tell_engine(vm, a, 1);
    }
}

bool kvmclock_write_wall_clock(struct vcpu *v, uint64_t value)
{
    struct vm *vm = v->vm;
    uint64_t start_ns = host_wall_ns() - clock_now(vm);
    struct wall_page page = {
        .sec = (uint32_t)(start_ns / NS_PER_S),
        .nsec = (uint32_t)(start_ns % NS_PER_S),
    };
    uint8_t *hva = ram_span(&vm->ram, gpa(value), sizeof(page));
    if (hva == NULL) {
        return false;
    }
    publish(hva, &page, sizeof(page));
    tell_engine(vm, gpa(value), sizeof(page));
    v->kvm_wall_clock = value;
    return true;
}
