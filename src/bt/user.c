/* Guest user code: runs in the space of the current page-table root, directly on the processor, until it needs its kernel.
 *
 * The steps of DESIGN §4.3 happen here: the space misses, the guest's own page tables are walked, and either the mapping is installed and the
 * access retried, or the guest gets its #PF.
 */
#include "base/string.h"
#include "bt/cache.h"
#include "bt/uspace.h"
#include "mmu/mmu.h"
#include "vm/trace.h"

#define USER_FLAGS (RFLAGS_ARITH | RFLAGS_DF | RFLAGS_TF | RFLAGS_AC | RFLAGS_ID | RFLAGS_NT | RFLAGS_RF)
#define FIRST_TLS_SEL 0x63u
#define LAST_TLS_SEL 0x73u

static void load_regs(const struct vcpu *v, struct space_regs *r)
{
    memcpy(r->gpr, v->gpr, sizeof(r->gpr));
    r->rip = v->rip;
    r->rflags = (v->rflags & USER_FLAGS) | RFLAGS_FIXED | RFLAGS_IF;
    r->fs_base = v->seg[SEG_FS].base;
    r->gs_base = v->seg[SEG_GS].base;
    r->cs = v->seg[SEG_CS].sel;
    r->ss = v->seg[SEG_SS].sel;
    r->ds = v->seg[SEG_DS].sel;
    r->es = v->seg[SEG_ES].sel;
    r->fs = v->seg[SEG_FS].sel;
    r->gs = v->seg[SEG_GS].sel;
}

/* A selector that user code loaded by itself: the hidden part only matters for its DPL, and the base of FS and GS. */
static void store_sel(struct segment *s, uint16_t sel)
{
    if (s->sel == sel) {
        return;
    }
    s->sel = sel;
    s->attr = (sel & ~3u) ? 3u | SEG_ATTR_S | (3u << SEG_ATTR_DPL_SHIFT) | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G : SEG_ATTR_UNUSABLE;
    s->limit = 0xffffffff;
}

static void store_regs(struct vcpu *v, const struct space_regs *r)
{
    memcpy(v->gpr, r->gpr, sizeof(v->gpr));
    v->rip = r->rip;
    v->rflags = (v->rflags & ~(uint64_t)USER_FLAGS) | (r->rflags & USER_FLAGS) | RFLAGS_FIXED;
    store_sel(&v->seg[SEG_DS], r->ds);
    store_sel(&v->seg[SEG_ES], r->es);
    store_sel(&v->seg[SEG_FS], r->fs);
    store_sel(&v->seg[SEG_GS], r->gs);
    v->seg[SEG_FS].base = r->fs_base;
    v->seg[SEG_GS].base = r->gs_base;
    if (r->cs != v->seg[SEG_CS].sel) { /* a far transfer between 64-bit and compatibility code */
        v->seg[SEG_CS].sel = r->cs;
        v->seg[SEG_CS].attr ^= SEG_ATTR_L | SEG_ATTR_DB;
    }
}

/* 32-bit thread-local storage: the guest kernel keeps it in GDT entries 12..14 and a selector in FS or GS. False: u had to be dropped. */
static bool sync_tls(struct bt_cpu *b, struct uspace *u)
{
    struct vcpu *v = b->v;
    bool used = (v->seg[SEG_GS].sel >= FIRST_TLS_SEL && v->seg[SEG_GS].sel <= LAST_TLS_SEL) ||
                (v->seg[SEG_FS].sel >= FIRST_TLS_SEL && v->seg[SEG_FS].sel <= LAST_TLS_SEL) ||
                !(v->seg[SEG_CS].attr & SEG_ATTR_L);
    uint64_t desc[3];
    struct vcpu_exception ex;
    if (!used || v->gdtr.limit < 15 * 8 - 1 || !mmu_read(v, v->gdtr.base + 12 * 8, desc, sizeof(desc), MMU_READ, &ex)) {
        return true;
    }
    for (unsigned i = 0; i < 3; i++) {
        int rc = desc[i] == u->tls[i] ? 0 : host_space_set_tls(u->space, i, desc[i]);
        if (rc == -95 /* ENOTSUP */ && uspace_rehome(b, u)) {
            return false;
        }
        if (rc == 0) {
            u->tls[i] = desc[i];
        }
    }
    return true;
}

static enum bt_next inject(struct bt_cpu *b, uint8_t vector, bool has_error, uint32_t error)
{
    struct vcpu_exception ex = {.vector = vector, .has_error = has_error, .error = error};
    return bt_inject(b, &ex);
}

static enum bt_next user_page_fault(struct bt_cpu *b, struct uspace *u, const struct space_exit *e)
{
    struct mmu_xlat x;
    struct vcpu_exception ex;
    unsigned access = MMU_USER | ((e->error & PF_W) ? MMU_WRITE : 0) | ((e->error & PF_I) ? MMU_EXEC : 0);
    b->stats.user_faults++;
    for (unsigned tries = 0; tries < 2; tries++) {
        switch (shadow_fill(&u->shadow, e->cr2, access, false, &x, &ex)) {
        case SHADOW_MAPPED:
            return BT_RESUME;
        case SHADOW_FAULT:
            b->stats.user_fault_injected++;
            b->prefault = e->cr2;
            b->prefault_access = access;
            return bt_inject(b, &ex);
        case SHADOW_CODE_WRITE: {
            int64_t off = ram_offset(&b->v->vm->ram, x.gpa, 1);
            cache_kill_range(b->cache, (uint32_t)((uint64_t)off >> PAGE_SHIFT), 0, (uint32_t)PAGE_SIZE);
            break;
        }
        default: /* the space's home, or a device page: docs/limits.md */
            return uspace_rehome(b, u) ? BT_RESUME : inject(b, VEC_GP, true, 0);
        }
    }
    return inject(b, VEC_GP, true, 0);
}

/* #BP and #OF arrive with RIP after the instruction: INT3 (cc) and INTO (ce), or the two bytes of INT n. */
static uint64_t soft_insn_rip(struct bt_cpu *b)
{
    struct vcpu_exception ex;
    uint8_t last = 0xcc;
    bool read = mmu_read(b->v, b->v->rip - 1, &last, 1, MMU_USER | MMU_EXEC | MMU_NO_AD, &ex);
    return b->v->rip - (!read || last == 0xcc || last == 0xce ? 1 : 2);
}

/* The host's gate refused INT n; the guest's may not. v->rip moves past it, *rip is the instruction's own. False: it was not INT n. */
static bool at_int_n(struct bt_cpu *b, uint32_t error, uint64_t *rip)
{
    struct vcpu *v = b->v;
    struct vcpu_exception ex;
    struct insn in;
    uint8_t bytes[INSN_MAX_LEN];
    size_t n = (size_t)min_u64(INSN_MAX_LEN, PAGE_SIZE - (v->rip & PAGE_MASK));
    if (!mmu_read(v, v->rip, bytes, n, MMU_USER | MMU_EXEC | MMU_NO_AD, &ex)) {
        return false;
    }
    if (n < INSN_MAX_LEN && mmu_read(v, v->rip + n, bytes + n, INSN_MAX_LEN - n, MMU_USER | MMU_EXEC | MMU_NO_AD, &ex)) {
        n = INSN_MAX_LEN;
    }
    if (insn_decode(&in, bytes, n) != INSN_OK || in.cls != CLS_INTN || (uint64_t)in.imm != error >> 3) {
        return false;
    }
    *rip = v->rip;
    v->rip += in.len;
    return true;
}

/* #DB is a single step (DR6.BS) unless INT1 made it. */
static bool at_int1(struct bt_cpu *b)
{
    struct vcpu_exception ex;
    uint8_t last = 0;
    return !(b->v->rflags & RFLAGS_TF) && mmu_read(b->v, b->v->rip - 1, &last, 1, MMU_USER | MMU_EXEC | MMU_NO_AD, &ex) &&
           last == 0xf1;
}

static enum bt_next user_exception(struct bt_cpu *b, const struct space_exit *e)
{
    struct vcpu *v = b->v;
    b->stats.user_exceptions++;
    struct vcpu_exception ex = {.vector = e->vector, .error = e->error};
    enum vcpu_delivery d = VCPU_DELIVERED;
    uint64_t rip;
    switch (e->vector) {
    case VEC_BP:
    case VEC_OF:
        d = vcpu_deliver_soft(v, e->vector, soft_insn_rip(b));
        break;
    case VEC_DB:
        ex.dr6 = at_int1(b) ? 0 : 1ull << 14;
        return bt_inject(b, &ex);
    case VEC_XM:
        ex.vector = (v->cr4 & CR4_OSXMMEXCPT) ? VEC_XM : VEC_UD;
        return bt_inject(b, &ex);
    case VEC_GP: case VEC_SS: case VEC_NP: case VEC_TS: case VEC_AC:
        if (e->vector == VEC_GP && (e->error & 2) && at_int_n(b, e->error, &rip)) {
            d = vcpu_deliver_soft(v, (uint8_t)(e->error >> 3), rip);
            break;
        }
        ex.has_error = true;
        return bt_inject(b, &ex);
    default:
        return bt_inject(b, &ex);
    }
    if (d == VCPU_TRIPLE_FAULT) {
        vm_end_because(v->vm, VM_TRIPLE_FAULT, "triple fault in a software interrupt from user code at %#llx", (unsigned long long)v->rip);
        return BT_STOP;
    }
    return BT_DISPATCH;
}

/* CPUID, where user code's can be made to fault. The space may repeat the answer while what it depends on stays the same. */
static enum bt_next user_cpuid(struct bt_cpu *b)
{
    struct vcpu *v = b->v;
    uint32_t leaf = (uint32_t)v->gpr[RAX], subleaf = (uint32_t)v->gpr[RCX], out[4];
    uint64_t depends_on = v->xcr0 << 1 | ((v->cr4 & CR4_OSXSAVE) != 0);
    if (depends_on != b->cpuid_depends_on) {
        host_space_forget_cpuid(v);
        b->cpuid_depends_on = depends_on;
    }
    vcpu_cpuid(v, leaf, subleaf, out);
    host_space_learn_cpuid(v, leaf, subleaf, out);
    v->gpr[RAX] = out[0];
    v->gpr[RBX] = out[1];
    v->gpr[RCX] = out[2];
    v->gpr[RDX] = out[3];
    v->rip += 2;
    if (v->rflags & RFLAGS_TF) {
        struct vcpu_exception ex = {.vector = VEC_DB, .dr6 = 1ull << 14};
        return bt_inject(b, &ex);
    }
    return BT_RESUME;
}

static enum bt_next user_event(struct bt_cpu *b, struct uspace *u, const struct space_exit *e)
{
    struct vcpu *v = b->v;
    struct vcpu_exception ex;
    switch (e->event) {
    case SPACE_SYSCALL32: /* Intel's fast call from 32-bit code is SYSENTER: SYSCALL is undefined there */
        b->stats.syscalls++;
        TRACE(v->vm, "syscall32 nr=%u", (unsigned)v->gpr[RAX]);
        return vcpu_syscall(v, &ex) || vcpu_sysenter(v, &ex) ? BT_DISPATCH : bt_inject(b, &ex);
    case SPACE_SYSCALL:
        b->stats.syscalls++;
        TRACE(v->vm, "syscall nr=%lld rip=%#llx", (long long)v->gpr[RAX], (unsigned long long)v->rip - 2);
        if (vcpu_syscall(v, &ex)) {
            return BT_DISPATCH;
        }
        v->rip -= 2;
        return bt_inject(b, &ex);
    case SPACE_INT80:
        b->stats.syscalls++;
        TRACE(v->vm, "syscall int80 nr=%u rip=%#llx", (unsigned)v->gpr[RAX], (unsigned long long)v->rip - 2);
        if (vcpu_deliver_soft(v, 0x80, v->rip - 2) == VCPU_TRIPLE_FAULT) {
            vm_end_because(v->vm, VM_TRIPLE_FAULT, "triple fault in int 0x80 at %#llx", (unsigned long long)v->rip);
            return BT_STOP;
        }
        return BT_DISPATCH;
    case SPACE_PAGE_FAULT:
        return user_page_fault(b, u, e);
    case SPACE_EXCEPTION:
        return user_exception(b, e);
    case SPACE_CPUID:
        return user_cpuid(b);
    default:
        return BT_DISPATCH;
    }
}

/* The space was killed: its process gets the fault a wild jump would have earned it. */
static enum bt_next space_died(struct bt_cpu *b, struct uspace *u)
{
    uspace_drop(b, u);
    return inject(b, VEC_GP, true, 0);
}

/* The page whose #PF the guest kernel has just handled is wanted next: map it without waiting for the miss. */
static void map_faulted_page(struct bt_cpu *b, struct uspace *u)
{
    struct mmu_xlat x;
    struct vcpu_exception ex;
    if (b->prefault) {
        (void)shadow_fill(&u->shadow, b->prefault, b->prefault_access, false, &x, &ex);
        b->prefault = 0;
    }
}

enum bt_next bt_run_user(struct bt_cpu *b)
{
    struct vcpu *v = b->v;
    if (!v->vm->first_user_ns) {
        v->vm->first_user_ns = host_time_ns();
    }
    for (;;) {
        struct uspace *u = uspace_current(b);
        if (!u) {
            return BT_STOP;
        }
        map_faulted_page(b, u);
        bt_fpu_give(b);
        if (!sync_tls(b, u)) {
            continue;
        }
        struct space_regs regs;
        struct space_exit e = {.event = SPACE_DEAD};
        load_regs(v, &regs);
        TRACE(v->vm, "user rip=%#llx rax=%#llx cr3=%#llx", (unsigned long long)v->rip, (unsigned long long)v->gpr[RAX],
              (unsigned long long)v->cr3);
        b->stats.user_entries++;
        u->parked = false;
        int rc = host_space_run(u->space, &regs, &e);
        if (rc == -22) { /* EINVAL: a selector the host does not have */
            return inject(b, VEC_GP, true, 0);
        }
        if (rc != 0 || e.event == SPACE_DEAD) {
            return space_died(b, u);
        }
        store_regs(v, &regs);
        enum bt_next next = user_event(b, u, &e);
        if (next != BT_RESUME || b->want.kick) {
            return next == BT_RESUME ? BT_DISPATCH : next;
        }
    }
}
