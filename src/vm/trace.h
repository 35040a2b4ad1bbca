/* The event stream of `ring3 run --trace FILE`: one line an event, as it happens (DESIGN §9).
 *
 * A line is the time since the start in microseconds, a word that names the event, and key=value pairs. Events: `syscall` and `user` (entering
 * the guest kernel and going back to user code), `miss` (the TLB-miss path: gva, guest PFN, MFN, what was installed, or the fault
 * injected), `event` (an exception delivered), `irq`, `insn` (a privileged instruction carried out in C), `tlb` (flushes).
 * State: struct trace, in the shared arena, so that what a dying task left in it can still be written out. Threads: the vCPU task appends; the monitor
 * flushes after the task has ended.
 */
#ifndef VM_TRACE_H
#define VM_TRACE_H

#include "vm/vm.h"

#define TRACE_BUFFER 65536u

struct trace {
    int fd;             /* where lines go; owned by the monitor */
    uint64_t start_ns;
    uint32_t used;      /* bytes of text not yet written */
    char text[TRACE_BUFFER];
};

/** Append one event. Call through TRACE, which costs one load when tracing is off. */
void trace_event(struct vm *vm, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Write out what is buffered. */
void trace_flush(struct trace *t);
/** The name of an instruction class, as the manuals write it in lower case. */
const char *trace_class_name(unsigned cls);

#define TRACE(vm, ...)                                                                            \
    do {                                                                                          \
        if (__builtin_expect((vm)->trace != NULL, 0)) {                                           \
            trace_event(vm, __VA_ARGS__);                                                         \
        }                                                                                         \
    } while (0)

#endif
