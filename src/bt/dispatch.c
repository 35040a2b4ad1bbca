/* The engine's main loop: deliver what is pending, run user code in its space or kernel code from the cache, decide at each exit what is next.
 *
 * "v is precise" means struct vcpu holds the whole guest state; between bt_push and bt_pull the registers are in bt_cpu and the
 * processor instead. Every path back to the top of bt_run's loop leaves v precise.
 */
#include "bt/dispatch.h"
#include "base/string.h"
#include "bt/cache.h"
#include "bt/window.h"
#include "engine/engine.h"
#include "host/host.h"
#include "irq/lapic.h"
#include "mmu/mmu.h"
#include "vm/trace.h"

#define FLAGS_NATIVE (RFLAGS_ARITH | RFLAGS_DF | RFLAGS_ID)
#define GS_POISON 0x7e00000000ull /* nothing is ever mapped there */

#define CHECK(name, field) _Static_assert(offsetof(struct bt_cpu, field) == (name), #name)
CHECK(BT_GPR, gpr);
CHECK(BT_SPILL, spill);
CHECK(BT_HOST_RSP, host_rsp);
CHECK(BT_FLAGS, flags);
CHECK(BT_HOST_FS, host_fs);
CHECK(BT_GUEST_FS, guest_fs);
CHECK(BT_ENTER_CPC, enter_cpc);
CHECK(BT_EXIT_ARG, exit_arg);
CHECK(BT_VIF, vif);
CHECK(BT_PENDING, pending);
CHECK(BT_VSYS, vsys);
CHECK(BT_FPU_IDLE, fpu_idle);
CHECK(BT_SEL, sel);
CHECK(BT_XSAVE_PTR, xsave);
CHECK(BT_FAULT_CPC, fault.cpc);
_Static_assert(sizeof(struct bt_cpu) < BT_RETTAB_ADDR - BT_CPU_ADDR, "bt_cpu fits below the return table");

void bt_pull(struct bt_cpu *b)
{
    struct vcpu *v = b->v;
    memcpy(v->gpr, b->gpr, sizeof(v->gpr));
    v->gpr[RSP] -= BT_R;
    v->rflags = (b->flags & FLAGS_NATIVE) | RFLAGS_FIXED | b->vif | b->vsys;
}

void bt_push(struct bt_cpu *b)
{
    struct vcpu *v = b->v;
    memcpy(b->gpr, v->gpr, sizeof(v->gpr));
    b->gpr[RSP] += BT_R;
    b->flags = (v->rflags & FLAGS_NATIVE) | RFLAGS_FIXED | RFLAGS_IF;
    b->vif = (uint32_t)(v->rflags & RFLAGS_IF);
    /* RF ends with the instruction it was loaded for, and there are no instruction breakpoints it could hold off. */
    b->vsys = (uint32_t)(v->rflags & ~(uint64_t)(FLAGS_NATIVE | RFLAGS_FIXED | RFLAGS_IF | RFLAGS_RF));
}

void bt_reload_segments(struct bt_cpu *b)
{
    struct vcpu *v = b->v;
    uint64_t fs = v->seg[SEG_GS].base + BT_R;
    b->guest_fs = fs < BT_WINDOW_END ? fs : GS_POISON;
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        b->sel[i] = v->seg[i].sel;
    }
}

enum bt_next bt_inject(struct bt_cpu *b, const struct vcpu_exception *ex)
{
    if (b->v->vm->end != VM_RUNNING) {
        return BT_STOP;
    }
    TRACE(b->v->vm, "event vector=%u error=%#x cr2=%#llx rip=%#llx cpl=%u", ex->vector, ex->error, (unsigned long long)ex->cr2,
          (unsigned long long)b->v->rip, vcpu_cpl(b->v));
    if (vcpu_deliver(b->v, ex) == VCPU_TRIPLE_FAULT) {
        vm_end_because(b->v->vm, VM_TRIPLE_FAULT, "triple fault at rip %#llx (exception %u, error code %#x, cr2 %#llx)",
                       (unsigned long long)b->v->rip, ex->vector, ex->error, (unsigned long long)ex->cr2);
        return BT_STOP;
    }
    return BT_DISPATCH;
}

/* The block at gpc, translated if need be; 0: v->rip = gpc is left to be faulted on with *ex. */
static uint32_t block_at(struct bt_cpu *b, uint64_t gpc, struct vcpu_exception *ex)
{
    uint32_t i = cache_lookup(b->cache, gpc);
    return i ? i : translate(b, gpc, TRANSLATE_MAX, false, ex);
}

/* The instruction whose fault or special need was met goes through the software TLB from now on. */
static void make_soft(struct bt_cpu *b, uint64_t gpc, uint32_t block)
{
    b->stats.soft_retranslate++;
    cache_add_soft(b->cache, gpc);
    const struct block *blk = &b->cache->block[block];
    bool second = align_down(gpc, PAGE_SIZE) != align_down(blk->gpc, PAGE_SIZE);
    cache_kill_range(b->cache, blk->page[second], (uint32_t)(gpc & PAGE_MASK), 1); /* every block that has it */
}

/* v precise at the instruction that tried to write a page with translated code. */
static enum bt_next code_write(struct bt_cpu *b, const struct mmu_xlat *x, uint32_t block)
{
    int64_t off = ram_offset(&b->v->vm->ram, x->gpa, 1);
    uint32_t ppn = (uint32_t)((uint64_t)off >> PAGE_SHIFT);
    const struct block *blk = &b->cache->block[block];
    b->stats.code_writes++;
    if (blk->page[0] != ppn && blk->page[1] != ppn) {
        cache_kill_range(b->cache, ppn, 0, (uint32_t)PAGE_SIZE);
        return BT_RETRY;
    }
    b->stats.code_write_emulated++;
    return bt_emulate_one(b);
}

/* A page fault at host address b->fault.hva, v not yet pulled. */
static enum bt_next page_fault(struct bt_cpu *b, uint32_t block)
{
    struct mmu_xlat x;
    struct vcpu_exception ex;
    uint64_t gva = b->fault.hva - BT_R;
    unsigned access = (b->fault.error & PF_W) ? MMU_WRITE : MMU_READ;
    enum shadow_result r = SHADOW_USER_PAGE;
    uint64_t gpc = cache_guest_pc(b->cache, b->fault.cpc);
    bool meant = b->guest_fs == b->v->seg[SEG_GS].base + BT_R || !bt_uses_gs(b, gpc); /* else hva says nothing */
    if (meant && bt_in_window(gva, 1)) {
        r = shadow_fill(&b->window->shadow, gva, access, true, &x, &ex);
        if (r == SHADOW_MAPPED) {
            return BT_RESUME;
        }
    }
    cache_recover(b->cache, b->fault.cpc);
    bt_pull(b);
    switch (r) {
    case SHADOW_FAULT:
        b->stats.kernel_fault_injected++;
        return bt_inject(b, &ex);
    case SHADOW_CODE_WRITE:
        return code_write(b, &x, block);
    case SHADOW_HOST_ERROR:
        vm_fail(b->v->vm, "the host refused to map guest memory at %#llx: is vm.max_map_count too small?", (unsigned long long)gva);
        return BT_STOP;
    default:
        if (cache_is_soft(b->cache, gpc)) { /* an operand the software path does not cover: the stack */
            return bt_stack_fault(b, gva, access);
        }
        make_soft(b, gpc, block);
        return BT_RETRY;
    }
}

/* #GP or #SS in translated code: an address outside the window, or a real one. v precise at the instruction. */
static enum bt_next general_fault(struct bt_cpu *b, uint64_t gpc, uint32_t block)
{
    struct vcpu_exception ex = {.vector = (uint8_t)b->fault.trapno, .has_error = true};
    if (!cache_is_soft(b->cache, gpc) && bt_reaches_canonical(b)) {
        make_soft(b, gpc, block);
        return BT_RETRY;
    }
    if (bt_at_stack_insn(b)) { /* its stack may only be outside the window, and which of two operands faults first matters */
        return bt_emulate_one(b);
    }
    if (ex.vector == VEC_GP) { /* our segment prefix hides that SS was the default */
        ex.vector = bt_general_vector(b);
    }
    b->stats.kernel_fault_injected++;
    return bt_inject(b, &ex);
}

static enum bt_next handle_fault(struct bt_cpu *b)
{
    b->stats.exits_fault++;
    struct bt_fault f = b->fault;
    uint32_t block = cache_find(b->cache, f.cpc);
    if (f.trapno == VEC_PF) {
        return page_fault(b, block);
    }
    uint64_t gpc = cache_guest_pc(b->cache, f.cpc);
    cache_recover(b->cache, f.cpc);
    bt_pull(b);
    if (f.trapno == VEC_GP || f.trapno == VEC_SS) {
        return general_fault(b, gpc, block);
    }
    struct vcpu_exception ex = {.vector = (uint8_t)f.trapno, .has_error = f.trapno == VEC_AC};
    if (f.trapno == VEC_XM && !(b->v->cr4 & CR4_OSXMMEXCPT)) {
        ex.vector = VEC_UD;
    }
    return bt_inject(b, &ex);
}

/* Translated code left for gpc: go on there. Returns the cpc to enter, or 0 with *next set and v precise. */
static uint32_t go_to(struct bt_cpu *b, uint64_t gpc, uint32_t *block, enum bt_next *next)
{
    struct vcpu_exception ex;
    bool kick = b->want.kick;
    uint32_t i = kick ? 0 : block_at(b, gpc, &ex);
    if (i) {
        *block = i;
        return b->cache->block[i].cpc;
    }
    bt_pull(b);
    b->v->rip = gpc;
    *next = kick ? BT_DISPATCH : bt_inject(b, &ex);
    return 0;
}

/* Kicked at cpc in a run that began at guest pc `start`: v precise. */
static enum bt_next kicked_at(struct bt_cpu *b, uint64_t cpc, uint64_t start)
{
    bool again = cache_recover(b->cache, cpc) && b->v->rip == start;
    bt_pull(b);
    return again ? BT_RETRY : BT_DISPATCH;
}

/* A callout happened: what cpc to enter next, or 0 with *next. */
static uint32_t after_callout(struct bt_cpu *b, struct callout *c, uint64_t start, enum bt_next *next)
{
    uint32_t generation = b->cache->generation, index = (uint32_t)(c - b->cache->callout);
    *next = bt_callout(b, c);
    if (*next != BT_RESUME) {
        return 0;
    }
    c = &b->cache->callout[index];
    bool alive = generation == b->cache->generation && !b->cache->block[c->block].dead;
    if (alive && !b->want.kick) {
        return (uint32_t)b->enter_cpc;
    }
    *next = generation == b->cache->generation ? kicked_at(b, b->enter_cpc, start) : BT_DISPATCH;
    return 0;
}

/* Run kernel code from v->rip until something for bt_run. v precise at entry and return. */
static enum bt_next run_kernel(struct bt_cpu *b, unsigned max_insns)
{
    struct vcpu_exception ex;
    bool single = max_insns == 1;
    uint64_t start = b->v->rip;
    uint32_t block = single ? translate(b, b->v->rip, 1, true, &ex) : block_at(b, b->v->rip, &ex);
    if (!block) {
        return bt_inject(b, &ex);
    }
    b->fpu_idle = 1;
    bt_reload_segments(b);
    bt_push(b);
    uint32_t cpc = b->cache->block[block].cpc;
    enum bt_next next = BT_DISPATCH;
    while (cpc) {
        b->enter_cpc = cpc;
        bt_enter(b);
        uint32_t index = b->exit_arg & BT_EXIT_INDEX;
        switch (b->exit_arg & BT_EXIT_KIND) {
        case BT_EXIT_LINK: {
            b->stats.exits_link++;
            uint64_t target = b->cache->link[index].target_gpc;
            uint32_t generation = b->cache->generation;
            if (single) {
                bt_pull(b);
                b->v->rip = target;
                return BT_DISPATCH;
            }
            cpc = go_to(b, target, &block, &next);
            if (cpc && generation == b->cache->generation) {
                cache_link(b->cache, index, block);
            }
            break;
        }
        case BT_EXIT_INDIRECT: {
            b->stats.exits_indirect++;
            uint64_t target = b->enter_cpc;
            if (single) {
                bt_pull(b);
                b->v->rip = target;
                return BT_DISPATCH;
            }
            cpc = go_to(b, target, &block, &next);
            if (cpc) {
                cache_add_landing(b->cache, block);
            }
            break;
        }
        case BT_EXIT_CALLOUT:
            b->stats.callouts++;
            cpc = after_callout(b, &b->cache->callout[index], start, &next);
            break;
        case BT_EXIT_FAULT: {
            uint64_t at = b->fault.cpc;
            next = handle_fault(b);
            cpc = next == BT_RESUME ? (uint32_t)at : 0;
            break;
        }
        default: /* BT_EXIT_KICK */
            b->stats.exits_kick++;
            return kicked_at(b, b->fault.cpc, start);
        }
    }
    return next;
}

enum bt_next bt_step(struct bt_cpu *b)
{
    return run_kernel(b, 1);
}

/* Deliver an NMI or interrupt if one is due. v precise. */
static enum bt_next deliver_pending(struct bt_cpu *b)
{
    struct vcpu *v = b->v;
    enum vcpu_delivery d = VCPU_DELIVERED;
    if (v->nmi_pending && !v->nmi_blocked) {
        v->nmi_pending = false;
        v->halted = false;
        d = vcpu_deliver_nmi(v);
        b->want.irq |= lapic_pending(v->lapic) >= 0;
    } else {
        int vec = lapic_pending(v->lapic);
        if (vec < 0) {
            return BT_DISPATCH;
        }
        if (!(v->rflags & RFLAGS_IF)) {
            b->want.irq = 1; /* the next sti, popf or iret comes back here */
            return BT_DISPATCH;
        }
        b->stats.interrupts++;
        TRACE(v->vm, "irq vector=%#x rip=%#llx cpl=%u", (unsigned)vec, (unsigned long long)v->rip, vcpu_cpl(v));
        lapic_accept(v->lapic, (uint8_t)vec);
        d = vcpu_deliver_interrupt(v, (uint8_t)vec);
        b->want.irq |= lapic_pending(v->lapic) >= 0;
    }
    if (d == VCPU_TRIPLE_FAULT) {
        vm_end_because(v->vm, VM_TRIPLE_FAULT, "triple fault delivering an interrupt at rip %#llx", (unsigned long long)v->rip);
        return BT_STOP;
    }
    return BT_DISPATCH;
}

/* One instruction with RFLAGS.TF set in kernel code: #DB after it. */
static enum bt_next run_trapped(struct bt_cpu *b)
{
    uint64_t after_popf;
    bool popf = bt_at_popf(b, &after_popf), mov_ss = bt_at_mov_ss(b);
    uint64_t rip = b->v->rip;
    bool string = bt_at_string(b);
    enum bt_next next = string ? bt_emulate_one(b) : bt_step(b); /* a trap for each element */
    bool cleared = !(b->v->rflags & RFLAGS_TF); /* by an event's delivery, or by POPF, which is trapped like any other */
    if (next != BT_DISPATCH || (cleared && !(popf && b->v->rip == after_popf)) || (mov_ss && b->v->irq_shadow)) {
        return next;
    }
    if (string && b->v->rip == rip) {
        b->v->rflags |= RFLAGS_RF; /* SDM 3 §17.3.1.1: after any element but the last */
    }
    struct vcpu_exception ex = {.vector = VEC_DB, .dr6 = 1ull << 14};
    return bt_inject(b, &ex);
}

/* Kernel code outside 64-bit mode is not run. What takes Linux there is its last way to reboot, a jump to the BIOS (and starting other
 * processors, which this machine does not have), so it is taken for that. */
static enum bt_next left_long_mode(struct bt_cpu *b)
{
    vm_end_because(b->v->vm, VM_REBOOT, "the guest kernel left 64-bit mode at rip %#llx: taken for a reboot through the BIOS",
                   (unsigned long long)b->v->rip);
    return BT_STOP;
}

enum engine_exit bt_run(struct vcpu *v)
{
    struct bt_cpu *b = BT_CPU;
    enum bt_next next = BT_DISPATCH;
    while (next != BT_STOP) {
        if (v->vm->end != VM_RUNNING) {
            return ENGINE_KICKED;
        }
        b->pending = 0;
        if (host_kick_clear(v)) {
            return ENGINE_KICKED;
        }
        bool shadow = v->irq_shadow; /* then one more instruction first */
        v->irq_shadow = false;
        next = shadow ? BT_DISPATCH : deliver_pending(b);
        if (next == BT_STOP) {
            break;
        }
        if (v->halted) {
            return ENGINE_HALTED;
        }
        if (vcpu_cpl(v) == 3) {
            next = bt_run_user(b);
        } else if (!vcpu_long64(v)) {
            next = left_long_mode(b);
        } else if (v->rflags & RFLAGS_TF) {
            next = run_trapped(b);
        } else if (shadow) {
            next = bt_step(b);
            v->irq_shadow |= next == BT_RETRY;
        } else {
            next = run_kernel(b, TRANSLATE_MAX);
        }
    }
    return v->vm->end == VM_TRIPLE_FAULT ? ENGINE_SHUTDOWN : ENGINE_FAILED;
}
