/* The engine side: a machine without devices in use, whose vCPU is set to each case's state and run
 * until its exception handler halts. */
#include "insn/layout.h"

#include "bt/cache.h"
#include "engine/engine.h"
#include "host/host.h"
#include "host/linux/arena.h"
#include "insn/step.h"
#include "irq/lapic.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define STACK_SIZE 0x40000u
#define STEPS_MAX 400
#define KICKED_NS 1000000000u /* a long loop is not run again and again for ever */
#define INTERRUPT_VECTOR 0x40
#define ERROR_VECTORS 0x00227d00u /* #DF #TS #NP #SS #GP #PF #AC #CP */

int engine_create(void)
{
    int rc = arena_create(RAM_BYTES);
    if (rc) {
        return rc;
    }
    struct vm *vm = &ARENA->vm;
    vm->engine = &engine_bt;
    vm->cpu_count = 1;
    vm->tsc_khz = 1000000;
    vm->vcpu[0] = arena_alloc(sizeof(struct vcpu));
    if (!vm->vcpu[0]) {
        return -ENOMEM;
    }
    vm_init(vm);
    return 0;
}

/* A vCPU in kernel mode of a 64-bit guest with all that user-level instructions may want. */
static void set_up_vcpu(struct vcpu *v)
{
    struct vcpu_cpuid_config cpuid = {.host_cpuid = host_cpuid,
                                      .host_xcr0 = host_xcr0(),
                                      .cpu_count = 1,
                                      .tsc_khz = v->vm->tsc_khz,
                                      .deprivileged = true};
    vcpu_cpuid_init(v, &cpuid);
    vcpu_reset(v);
    struct vcpu_entry64 e = {.cr3 = layout_build_guest(v->vm->ram.base),
                             .gdtr = {.base = SYS_GVA + SYS_GDT, .limit = 0x27},
                             .code_sel = 8,
                             .data_sel = 16};
    vcpu_set_entry64(v, &e);
    v->idtr = (struct dtable){.base = SYS_GVA + SYS_IDT, .limit = 0xfff};
    v->tr = (struct segment){.sel = 0x18, .attr = 0x8b, .limit = 0x67, .base = SYS_GVA + SYS_TSS};
    v->cr4 |= CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    v->efer |= EFER_NX | EFER_SCE;
    v->xcr0 = host_xcr0() & 0xe7;
}

static void set_case(struct vcpu *v, const struct insn_case *c)
{
    memcpy(v->gpr, c->gpr, sizeof(v->gpr));
    v->rip = c->gpc;
    v->rflags = c->rflags | RFLAGS_FIXED | RFLAGS_IF;
    v->seg[SEG_GS].base = c->gs;
    v->seg[SEG_FS].base = c->fs;
    v->cr2 = 0;
    v->halted = v->irq_shadow = false;
    image_make(v->xsave, sizeof(v->xsave), c->fpu);
}

/* What the exception pushed. */
static void record(struct result *r, const struct vcpu *v)
{
    uint64_t from = v->rip - 1 - (SYS_GVA + SYS_HANDLERS);
    r->vector = (uint32_t)(from / 16);
    if (from % 16 || r->vector > 255) {
        snprintf(r->why, sizeof(r->why), "halted at %#llx", (unsigned long long)v->rip);
        r->status = RESULT_VM_FAILED;
        return;
    }
    bool has_error = r->vector < 32 && ERROR_VECTORS >> r->vector & 1;
    uint64_t frame[6];
    const uint8_t *top = v->vm->ram.base + RAM_SYS + SYS_STACK + PAGE_SIZE;
    memcpy(frame, top - sizeof(frame), sizeof(frame));
    memcpy(r->gpr, v->gpr, sizeof(r->gpr));
    r->error = has_error ? (uint32_t)frame[0] : 0;
    r->rip = frame[1];
    r->rflags = frame[3];
    r->gpr[RSP] = frame[4];
    r->cr2 = v->cr2;
    image_flatten(r->image, v->xsave);
    r->status = RESULT_TRAP;
}

static void run_once(struct batch *b, struct vcpu *v, struct result *r)
{
    unsigned i = b->next;
    struct vm *vm = v->vm;
    layout_reset(vm->ram.base, &b->c[i], i, false);
    set_case(v, &b->c[i]);
    enum engine_exit how;
    do {
        how = engine_bt.run(v);
    } while (how == ENGINE_KICKED && vm_ended(vm) == VM_RUNNING);
    if (how == ENGINE_HALTED) {
        record(r, v);
    } else {
        r->status = RESULT_VM_FAILED;
        snprintf(r->why, sizeof(r->why), "%.150s", vm->reason);
    }
    r->code_changed = layout_slot_changed(vm->ram.base, &b->c[i], i);
    layout_collect(vm->ram.base, &b->c[i], i, false, r->page);
    if (how != ENGINE_HALTED) {
        b->engine[i] = *r;
        b->next++;
        _exit(0); /* the machine has ended: go on in a new process */
    }
}

/* Again, with a kick before the first, the second, ... host instruction. A result that is neither
 * like the first run's nor like the native one is kept. */
static void run_kicked(struct batch *b, struct vcpu *v)
{
    static struct result kicked, first;
    static char differences[4096];
    struct result *plain = &b->engine[b->next];
    uint64_t where, end = host_time_ns() + KICKED_NS;
    for (long n = 0; n < STEPS_MAX && plain->status == RESULT_TRAP && host_time_ns() < end; n++) {
        if (plain->code_changed) {
            engine_bt.ram_written(v->vm, gpa(layout_slot(b->next)), SLOT_CODE);
        }
        memset(&kicked, 0, sizeof(kicked));
        step_arm(n, 0);
        run_once(b, v, &kicked);
        if (!step_disarm(&where)) {
            return;
        }
        if (memcmp(&kicked, plain, sizeof(kicked)) == 0) {
            continue;
        }
        first = *plain;
        *plain = kicked;
        snprintf(plain->why, sizeof(plain->why),
                 "kicked before host instruction %ld, %#llx, of guest %#llx", n,
                 (unsigned long long)where,
                 (unsigned long long)cache_guest_pc(BT_CPU->cache, where));
        if (case_compare(b, b->next, differences, sizeof(differences)) == DIFFERENT) {
            return;
        }
        *plain = first;
    }
}

/* Again, with an interrupt before each host instruction in turn: STI holds it back for one guest
 * instruction more. A place where it does not is noted as `why`. */
static void run_interrupted(struct batch *b, struct vcpu *v)
{
    const struct insn_case *c = &b->c[b->next];
    struct result *plain = &b->engine[b->next];
    struct result interrupted;
    uint64_t where;
    unsigned delivered = 0;
    bool fired = true;
    for (long n = 0; n < STEPS_MAX && fired && !plain->why[0]; n++) {
        lapic_reset(v->lapic);
        v->lapic->svr = 0x1ff;
        memset(&interrupted, 0, sizeof(interrupted));
        step_arm(n, INTERRUPT_VECTOR);
        run_once(b, v, &interrupted);
        fired = step_disarm(&where);
        bool here = interrupted.vector == INTERRUPT_VECTOR;
        delivered += here;
        if ((here && interrupted.rip == c->gpc + c->sti + 1) || interrupted.status != RESULT_TRAP) {
            snprintf(plain->why, sizeof(plain->why),
                     "interrupted before host instruction %ld, %#llx: +%#llx", n,
                     (unsigned long long)where, (unsigned long long)(interrupted.rip - c->gpc));
        }
    }
    if (!delivered) {
        snprintf(plain->why, sizeof(plain->why), "never interrupted");
    }
}

static struct batch *batch; /* for the code below, which has changed stacks */

static void run_all(void)
{
    struct vcpu *v = ARENA->vm.vcpu[0];
    if (engine_bt.vcpu_init(v)) {
        _exit(2);
    }
    step_init();
    for (; batch->next < batch->count; batch->next++) {
        if (batch->native[batch->next].status != RESULT_TRAP) {
            continue;
        }
        run_once(batch, v, &batch->engine[batch->next]);
        if (batch->kick == KICK_EVERYWHERE) {
            run_kicked(batch, v);
        } else if (batch->kick == KICK_INTERRUPT) {
            run_interrupted(batch, v);
        }
    }
    engine_bt.vcpu_fini(v);
    _exit(0);
}

NORETURN void engine_child(struct batch *b)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct vm *vm = &ARENA->vm;
    vm->end = vm->end_claimed = 0;
    ARENA->panic[0] = '\0';
    ARENA->task[0] = (struct task_shared){.tid = gettid()};
    batch = b;
    memset(vm->ram.base + RAM_CODE, 0, BATCH_MAX * SLOT_CODE);
    set_up_vcpu(vm->vcpu[0]);
    uint8_t *stack =
        host_private_map(0, STACK_SIZE, HOST_R | HOST_W); /* the process's own is in the window */
    if (!stack) {
        _exit(2);
    }
    __asm__ volatile("mov %0, %%rsp\n\tcall *%1\n\tud2"
                     :
                     : "a"(stack + STACK_SIZE), "c"(run_all)
                     : "memory");
    __builtin_unreachable();
}
