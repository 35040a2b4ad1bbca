/* The translator: guest kernel code to code that may run in ring 3, one block at a time (DESIGN §4.2).
 *
 * A block is a straight run from one entry: conditional branches leave it, the first unconditional transfer, the end of the page or
 * max_insns ends it. Non-sensitive instructions stay themselves, their memory operands moved by a segment prefix; sensitive ones
 * become a few inline instructions or a callout. No guest register is reserved.
 */
#include "bt/check.h"
#include "base/log.h"
#include "bt/window.h"
#include "mmu/mmu.h"
#include "vm/vm.h"

void tr_mark(struct tr *t)
{
    bool shadow = t->committed ? t->in->cls == CLS_STI : t->after_sti;
    struct note n = {
        .cpc_off = (uint16_t)(emit_pos(&t->e) - t->blk->cpc),
        .gpc_off = (uint16_t)((t->committed ? t->next : t->gpc) - t->blk->gpc),
        .spilled = t->spilled,
        .fix = t->fix,
        .shadow = shadow,
        .arg = t->fix_arg,
    };
    struct note *last = &t->c->note[t->c->note_count - 1];
    if (t->blk->note_count && last->cpc_off == n.cpc_off) {
        *last = n;
        return;
    }
    t->c->note[t->c->note_count++] = n;
    t->blk->note_count++;
}

void tr_spill(struct tr *t, unsigned r)
{
    emit_store_abs(&t->e, bt_field(&t->b->spill[r]), r);
    t->spilled |= (uint16_t)(1u << r);
    tr_mark(t);
}

void tr_unspill(struct tr *t, unsigned r)
{
    emit_load_abs(&t->e, r, bt_field(&t->b->spill[r]));
    t->spilled &= (uint16_t)~(1u << r);
    tr_mark(t);
}

unsigned tr_scratch(const struct tr *t, unsigned avoid)
{
    static const uint8_t order[] = {RAX, RCX, RDX, RBX, RSI, RDI};
    avoid |= t->in->reg_read | t->in->reg_write;
    avoid |= t->in->base < GPR_COUNT ? 1u << t->in->base : 0;
    avoid |= t->in->index < GPR_COUNT && !t->in->vsib ? 1u << t->in->index : 0;
    for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
        if (!(avoid & (1u << order[i]))) {
            return order[i];
        }
    }
    return GPR_NONE;
}

struct callout *tr_callout(struct tr *t, enum callout_kind kind)
{
    uint32_t index = t->c->callout_count++;
    struct callout *c = &t->c->callout[index];
    c->insn = *t->in;
    c->gpc = t->gpc;
    c->block = t->index;
    c->kind = (uint8_t)kind;
    emit_store_imm32(&t->e, bt_field(&t->b->exit_arg), BT_EXIT_CALLOUT | index);
    emit_jmp(&t->e, bt_field(bt_exit));
    c->resume = emit_pos(&t->e);
    c->after = c->resume;
    return c;
}

void tr_add_link(struct tr *t, uint32_t site, uint64_t target)
{
    struct link *l = &t->c->link[t->c->link_count++];
    *l = (struct link){.target_gpc = target, .site = site};
    t->blk->link_count++;
}

/* Stubs for the block's direct exits, behind its code. */
static void tr_stubs(struct tr *t)
{
    for (uint32_t i = 0; i < t->blk->link_count; i++) {
        uint32_t index = t->blk->first_link + i;
        struct link *l = &t->c->link[index];
        l->stub = emit_pos(&t->e);
        uint32_t rel = l->stub - (l->site + 4);
        memcpy((void *)(uintptr_t)l->site, &rel, 4);
        emit_store_imm32(&t->e, bt_field(&t->b->exit_arg), BT_EXIT_LINK | index);
        emit_jmp(&t->e, bt_field(bt_exit));
    }
}

static void tr_mov_from_seg(struct tr *t)
{
    const struct insn *in = t->in;
    if (in->mem || in->rm == RSP || in->reg > SEG_GS) {
        tr_callout(t, CALLOUT_INSN);
        return;
    }
    if (in->opsize == 2) {
        emit_u8(&t->e, 0x66);
    }
    if (in->rm >= 8) {
        emit_u8(&t->e, 0x44);
    }
    if (in->opsize == 2) {
        emit_u8(&t->e, 0x8b);
    } else {
        emit_u8(&t->e, 0x0f);
        emit_u8(&t->e, 0xb7);
    }
    emit_abs_operand(&t->e, in->rm, bt_field(&t->b->sel[in->reg]));
}

/* A callout unless the guest's FPU state is in the registers already. */
static void tr_acquire_fpu(struct tr *t)
{
    tr_spill(t, RCX);
    emit_load32_abs(&t->e, RCX, bt_field(&t->b->fpu_idle));
    emit_u8(&t->e, 0xe3); /* jrcxz over the callout */
    emit_u8(&t->e, 0);
    uint8_t *skip = t->e.p;
    tr_callout(t, CALLOUT_FPU);
    skip[-1] = (uint8_t)(t->e.p - skip);
    tr_unspill(t, RCX);
}

static void tr_fpu(struct tr *t)
{
    bool state = t->in->cls == CLS_XSAVE || t->in->cls == CLS_XRSTOR;
    if (!t->fpu_acquired) {
        tr_acquire_fpu(t);
        t->fpu_acquired = true;
    }
    if (state && t->soft) {
        tr_callout(t, CALLOUT_INSN);
        t->fpu_acquired = false;
        return;
    }
    tr_plain(t);
}

static void tr_insn(struct tr *t)
{
    switch (t->in->cls) {
    case CLS_NOP:
    case CLS_SERIALIZE: /* written code pages come to us by a fault: nothing is ever stale */
        break;
    case CLS_PLAIN:
    case CLS_CLFLUSH:
    case CLS_RDTSC:
        tr_plain(t);
        break;
    case CLS_FPU:
    case CLS_XSAVE:
    case CLS_XRSTOR:
        tr_fpu(t);
        break;
    case CLS_JCC: case CLS_LOOP: case CLS_JMP_REL: case CLS_JMP_IND: case CLS_CALL_REL: case CLS_CALL_IND: case CLS_RET:
        tr_flow(t);
        break;
    case CLS_MOVS: case CLS_CMPS: case CLS_STOS: case CLS_LODS: case CLS_SCAS:
        tr_string(t);
        break;
    case CLS_CLI:
        emit_store_imm32(&t->e, bt_field(&t->b->vif), 0);
        break;
    case CLS_STI:
        tr_sti(t);
        break;
    case CLS_PUSHF:
        tr_pushf(t);
        break;
    case CLS_MOV_FROM_SEG:
        tr_mov_from_seg(t);
        break;
    default:
        tr_callout(t, CALLOUT_INSN);
        t->fpu_acquired = false;
        t->ended = insn_ends_block(t->in);
        break;
    }
}

/* Copy up to 15 guest bytes at gpc. `second` receives the page number of the next page when the copy crossed into it. */
static size_t fetch(struct tr *t, uint64_t gpc, const uint8_t *page, uint8_t buf[INSN_MAX_LEN], uint32_t *second)
{
    size_t here = PAGE_SIZE - (gpc & PAGE_MASK);
    size_t n = here < INSN_MAX_LEN ? here : INSN_MAX_LEN;
    memcpy(buf, page + (gpc & PAGE_MASK), n);
    *second = UINT32_MAX;
    if (n == INSN_MAX_LEN) {
        return n;
    }
    struct insn probe;
    if (insn_decode(&probe, buf, n) != INSN_SHORT) {
        return n;
    }
    struct mmu_xlat x;
    struct vcpu_exception ex;
    if (!mmu_walk(t->b->v, gpc + n, MMU_EXEC, &x, &ex)) {
        return n;
    }
    int64_t off = ram_offset(&t->b->v->vm->ram, x.gpa, 1);
    if (off < 0) {
        return n;
    }
    *second = (uint32_t)((uint64_t)off >> PAGE_SHIFT);
    window_mark_code(t->b, *second);
    cache_add_vpage(t->c, align_down(gpc + n, PAGE_SIZE), *second, x.global);
    memcpy(buf + n, t->b->v->vm->ram.base + off, INSN_MAX_LEN - n);
    return INSN_MAX_LEN;
}

/* Translate instructions until the block ends. */
static void tr_run(struct tr *t, const uint8_t *page, unsigned max_insns)
{
    uint64_t page_gva = align_down(t->blk->gpc, PAGE_SIZE);
    uint8_t buf[INSN_MAX_LEN];
    struct insn in;
    for (unsigned n = 0; !t->ended; n++) {
        if (n == max_insns || align_down(t->gpc, PAGE_SIZE) != page_gva) {
            t->next = t->gpc;
            tr_end(t);
            break;
        }
        uint32_t second;
        size_t avail = fetch(t, t->gpc, page, buf, &second);
        t->in = &in;
        t->bytes = buf;
        t->avail = avail;
        t->spilled = 0;
        t->fix = FIX_NONE;
        t->committed = false;
        tr_mark(t);
        if (insn_decode(&in, buf, avail) != INSN_OK) {
            memset(&in, 0, sizeof(in));
            t->next = t->gpc;
            tr_callout(t, CALLOUT_FETCH);
            t->ended = true;
            break;
        }
        if (second != UINT32_MAX) {
            t->blk->page[1] = second;
        }
        t->next = t->gpc + in.len;
        t->last = n + 1 == max_insns || align_down(t->next, PAGE_SIZE) != page_gva;
        t->soft = cache_is_soft(t->c, t->gpc);
        uint32_t from = emit_pos(&t->e);
        tr_insn(t);
        check_expansion(t, from);
        t->gpc = t->next;
        t->after_sti = in.cls == CLS_STI;
        t->b->stats.insns++;
    }
    t->blk->guest_len = (uint16_t)(t->gpc - t->blk->gpc);
}

uint32_t translate(struct bt_cpu *b, uint64_t gpc, unsigned max_insns, bool single, struct vcpu_exception *ex)
{
    struct cache *c = b->cache;
    if (!cache_has_room(c)) {
        cache_flush(c);
    }
    struct mmu_xlat x;
    if (!mmu_walk(b->v, gpc, MMU_EXEC, &x, ex)) {
        return 0;
    }
    int64_t off = ram_offset(&b->v->vm->ram, gpa(align_down(x.gpa.v, PAGE_SIZE)), PAGE_SIZE);
    if (off < 0) {
        vm_fail(b->v->vm, "guest kernel jumped to %#llx, guest-physical %#llx, where there is no RAM", (unsigned long long)gpc,
                (unsigned long long)x.gpa.v);
        *ex = (struct vcpu_exception){.vector = VEC_MC};
        return 0;
    }
    uint32_t ppn = (uint32_t)((uint64_t)off >> PAGE_SHIFT);
    window_mark_code(b, ppn);
    cache_add_vpage(c, align_down(gpc, PAGE_SIZE), ppn, x.global);

    uint32_t index = c->block_count++;
    struct block *blk = &c->block[index];
    *blk = (struct block){.gpc = gpc, .cpc = (uint32_t)(uintptr_t)c->code_next, .notes = c->note_count,
                          .first_link = c->link_count, .page = {ppn, ppn}};
    struct tr t = {.b = b, .c = c, .blk = blk, .index = index, .gpc = gpc, .single = single, .e = {c->code_next}};
    tr_run(&t, b->v->vm->ram.base + off, max_insns);
    tr_stubs(&t);
    blk->code_len = emit_pos(&t.e) - blk->cpc;
    c->code_next = t.e.p;
    b->stats.blocks++;
    if (!single) {
        cache_insert(c, index);
    } else {
        blk->single = 1;
    }
    return index;
}
