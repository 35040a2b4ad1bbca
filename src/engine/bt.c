/* The bt engine as engine.h sees it: guest kernel code rewritten, guest user code in spaces (DESIGN §4). */
#include "base/string.h"
#include "bt/cache.h"
#include "bt/dispatch.h"
#include "bt/uspace.h"
#include "bt/window.h"
#include "engine/engine.h"
#include "host/host.h"
#include "vm/vm.h"

#define AMX_COMPONENTS (3ull << 17)

static bool bt_probe(char *why, size_t size)
{
    return host_bt_probe(why, size);
}

static int bt_vcpu_init(struct vcpu *v)
{
    struct bt_cpu *b = host_private_map(BT_CPU_ADDR, align_up(sizeof(struct bt_cpu), PAGE_SIZE), HOST_R | HOST_W);
    if (b != BT_CPU) {
        return -12; /* ENOMEM */
    }
    b->v = v;
    b->xsave = v->xsave;
    b->fpu_idle = 1;
    b->xsave_mask = host_xcr0() & ~AMX_COMPONENTS;
    int rc = host_bt_setup(v);
    rc = rc ? rc : cache_init(b);
    rc = rc ? rc : window_init(b);
    rc = rc ? rc : uspace_init(b);
    rc = rc ? rc : host_space_setup(v);
    return rc ? rc : host_window_clear(v);
}

static void bt_ram_written(struct vm *vm, gpa_t a, uint64_t len)
{
    int64_t off = ram_offset(&vm->ram, a, len);
    if (off < 0) {
        return;
    }
    struct cache *c = BT_CPU->cache;
    for (uint64_t at = (uint64_t)off; at < (uint64_t)off + len;) {
        uint64_t n = min_u64(PAGE_SIZE - (at & PAGE_MASK), (uint64_t)off + len - at);
        if (c->page[at >> PAGE_SHIFT] & PAGE_CODE) {
            cache_kill_range(c, (uint32_t)(at >> PAGE_SHIFT), (uint32_t)(at & PAGE_MASK), (uint32_t)n);
        }
        at += n;
    }
}

void mmu_ram_written(struct vm *vm, gpa_t a, uint64_t len)
{
    vm->engine->ram_written(vm, a, len);
}

struct emit_ctx {
    void (*emit)(void *ctx, const char *name, uint64_t value);
    void *ctx;
};

static void bt_stat(struct vcpu *v, void (*emit)(void *ctx, const char *name, uint64_t value), void *ctx)
{
    const struct bt_stats *s = &BT_CPU->stats;
    const struct {
        const char *name;
        uint64_t value;
    } row[] = {
        {"blocks translated", s->blocks}, {"instructions translated", s->insns}, {"blocks killed", s->blocks_killed},
        {"code cache flushes", s->flushes_full}, {"link misses", s->exits_link}, {"lookup misses", s->exits_indirect},
        {"callouts", s->callouts}, {"faults in kernel code", s->exits_fault}, {"kicks in kernel code", s->exits_kick},
        {"window fills", s->window_fills}, {"window pages", s->window_pages}, {"code page writes", s->code_writes},
        {"code page writes emulated", s->code_write_emulated}, {"user entries", s->user_entries}, {"system calls", s->syscalls},
        {"user page misses", s->user_faults}, {"user #PF injected", s->user_fault_injected},
        {"kernel faults injected", s->kernel_fault_injected}, {"user exceptions", s->user_exceptions},
        {"interrupts delivered", s->interrupts}, {"software TLB accesses", s->soft_access},
        {"software TLB string operations", s->soft_string}, {"software TLB retranslations", s->soft_retranslate},
        {"MMIO accesses", s->mmio}, {"port accesses", s->pio}, {"spaces created", s->spaces_created},
        {"spaces evicted", s->spaces_evicted}, {"spaces rehomed", s->spaces_rehomed}, {"TLB flushes, all", s->tlb_flush_all}, {"TLB flushes, one PCID", s->tlb_flush_pcid},
        {"CR3 loads without flush", s->tlb_switch}, {"INVLPG", s->invlpg}, {"pages dropped by flushes", s->verify_changed},
        {"spaces parked", s->parks},
    };
    for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
        emit(ctx, row[i].name, row[i].value);
    }
    struct host_space_stats h;
    memset(&h, 0, sizeof(h));
    host_space_stats(v, &h);
    emit(ctx, "space batches", h.batches);
    emit(ctx, "space mapping operations", h.ops);
    emit(ctx, "handoffs by spinning", h.spin_handoffs);
    emit(ctx, "handoffs by yielding", h.yield_handoffs);
    emit(ctx, "handoffs by futex", h.futex_handoffs);
    emit(ctx, "space kicks", h.kicks);
}

static void bt_vcpu_fini(struct vcpu *v)
{
    (void)v;
    for (unsigned i = 0; i < USPACE_MAX; i++) {
        struct uspace *u = &BT_CPU->spaces->slot[i];
        if (u->used) {
            uspace_drop(BT_CPU, u);
        }
    }
}

const struct engine engine_bt = {
    .name = "bt",
    .probe = bt_probe,
    .vcpu_init = bt_vcpu_init,
    .run = bt_run,
    .ram_written = bt_ram_written,
    .stat = bt_stat,
    .vcpu_fini = bt_vcpu_fini,
};
