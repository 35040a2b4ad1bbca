/* How a vCPU runs: the contract between a machine and an engine.
 *
 * An engine takes a struct vcpu whose state is architectural and complete ("pulled"), runs guest code until something happens that the machine
 * must decide, and leaves the state pulled again. Interrupts are looked up in the vCPU's lapic by the engine itself, before each entry to
 * guest code and after each kick. Device accesses go to the machine's buses (vm.h) from within run.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/types.h"
#include "vcpu/vcpu.h"

enum engine_exit {
    ENGINE_HALTED,       /* HLT with nothing pending: wait for a kick, then run again */
    ENGINE_KICKED,       /* a kick: look at the machine's state, then run again */
    ENGINE_SHUTDOWN,     /* triple fault; v's state is that before the first fault, vm_fail was called with the reason */
    ENGINE_FAILED,       /* beyond repair: vm_fail was called */
};

struct engine {
    const char *name;
    /** Whether this engine can run on this host. Returns true, or false; either way `why` gets one line: the reason it is or is not usable and,
     *  if not, the remedy. */
    bool (*probe)(char *why, size_t size);
    /** Set up for this vCPU, in its own task. 0 or -errno. */
    int (*vcpu_init)(struct vcpu *v);
    /** Run until an exit. */
    enum engine_exit (*run)(struct vcpu *v);
    /** RAM [a, a+len) changed under the engine (device DMA, monitor write): drop what was derived from it. Any task. */
    void (*ram_written)(struct vm *vm, gpa_t a, uint64_t len);
    /** Append the engine's counters as "name value" lines. */
    void (*stat)(struct vcpu *v, void (*emit)(void *ctx, const char *name, uint64_t value), void *ctx);
    void (*vcpu_fini)(struct vcpu *v);
};

extern const struct engine engine_bt;

#endif
