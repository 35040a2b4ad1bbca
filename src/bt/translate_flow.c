/* Translation of control transfers and of the flag instructions that are done inline.
 *
 * Direct branches become links. Returns and indirect branches look their target up in a table indexed by its low 16 bits (bt_cpu's
 * rettab): the entry is the target block's landing, which checks that it is the right one without touching flags (lea, jrcxz).
 * Calls push the guest's return address, so that the guest can see and change its stack as it likes.
 */
#include "bt/translate.h"

static void tr_jmp(struct tr *t, uint64_t target)
{
    emit_u8(&t->e, 0xe9);
    emit_u32(&t->e, 0);
    tr_add_link(t, emit_pos(&t->e) - 4, target);
}

void tr_end(struct tr *t)
{
    t->spilled = 0;
    t->fix = FIX_NONE;
    t->committed = false;
    tr_mark(t);
    tr_jmp(t, t->gpc);
    t->ended = true;
}

/* push the address of the next instruction; restartable until the branch after it is taken */
static void tr_push_return(struct tr *t)
{
    if ((uint64_t)(int64_t)(int32_t)t->next == t->next) {
        emit_u8(&t->e, 0x68);
        emit_u32(&t->e, (uint32_t)t->next);
        t->fix = FIX_RSP_ADD;
        t->fix_arg = 8;
        tr_mark(t);
        return;
    }
    bool spilled = t->spilled & (1u << RAX);
    if (!spilled) {
        tr_spill(t, RAX);
    }
    emit_mov_imm(&t->e, RAX, t->next);
    emit_u8(&t->e, 0x50);
    t->fix = FIX_RSP_ADD;
    t->fix_arg = 8;
    tr_mark(t);
    if (!spilled) {
        tr_unspill(t, RAX);
    }
}

/* The guest target is in RCX; RAX and RCX are spilled. Another block is not gone on to from a single instruction. */
static void tr_jmp_table(struct tr *t)
{
    t->ended = true;
    if (t->single) {
        emit_jmp(&t->e, bt_field(bt_exit_indirect));
        return;
    }
    emit_u8(&t->e, 0x0f); /* movzx eax, cx */
    emit_u8(&t->e, 0xb7);
    emit_u8(&t->e, 0xc1);
    emit_u8(&t->e, 0xff); /* jmp [rax*8 + rettab] */
    emit_u8(&t->e, 0x24);
    emit_u8(&t->e, 0xc5);
    emit_u32(&t->e, BT_RETTAB_ADDR);
}

/* From here on the branch is done: its memory operand could be what a call has just pushed. */
static void tr_branched(struct tr *t)
{
    t->committed = true;
    t->fix = FIX_LANDING_PC;
    tr_mark(t);
}

static void tr_ret(struct tr *t)
{
    if (t->in->imm_len && t->in->imm) {
        tr_callout(t, CALLOUT_INSN);
        t->ended = true;
        return;
    }
    tr_spill(t, RCX);
    tr_spill(t, RAX);
    emit_u8(&t->e, 0x59); /* pop rcx */
    tr_branched(t);
    tr_jmp_table(t);
}

static void tr_indirect(struct tr *t, bool call)
{
    const struct insn *in = t->in;
    struct emit start = t->e;
    if ((!in->mem && in->rm == RSP) || in->opsize == 2) {
        tr_callout(t, CALLOUT_INSN);
        t->ended = true;
        return;
    }
    tr_spill(t, RCX);
    tr_spill(t, RAX);
    if (!in->mem) {
        if (in->rm != RCX) {
            emit_mov_rr(&t->e, RCX, in->rm);
        }
    } else if (!tr_load_rcx(t)) {
        t->e = start; /* a pointer in an odd place: in C */
        t->spilled = 0;
        while (t->blk->note_count && t->c->note[t->c->note_count - 1].cpc_off > emit_pos(&t->e) - t->blk->cpc) {
            t->c->note_count--;
            t->blk->note_count--;
        }
        tr_mark(t);
        tr_callout(t, CALLOUT_INSN);
        t->ended = true;
        return;
    }
    if (call) {
        tr_push_return(t);
        tr_branched(t);
    }
    tr_jmp_table(t);
}

/* jcc and loop: the taken side leaves, the block goes on. */
static void tr_conditional(struct tr *t)
{
    uint64_t target = t->next + (uint64_t)t->in->imm;
    if (t->in->cls == CLS_JCC) {
        emit_u8(&t->e, 0x0f);
        emit_u8(&t->e, 0x80 | (t->in->opcode & 15));
        emit_u32(&t->e, 0);
        tr_add_link(t, emit_pos(&t->e) - 4, target);
        return;
    }
    if (t->in->addrsize == 4) {
        emit_u8(&t->e, 0x67);
    }
    emit_u8(&t->e, t->in->opcode);
    emit_u8(&t->e, 2);
    t->committed = true; /* loop has counted: both ways out are after the instruction */
    tr_mark(t);
    emit_u8(&t->e, 0xeb); /* not taken */
    emit_u8(&t->e, 5);
    /* taken: the pc is the target, which a note cannot say; the jump itself is one instruction and is never a fault, and a kick that
     * lands exactly on it is resolved by cache_recover through the link. */
    tr_jmp(t, target);
}

void tr_flow(struct tr *t)
{
    uint64_t target = t->next + (uint64_t)t->in->imm;
    switch (t->in->cls) {
    case CLS_JCC:
    case CLS_LOOP:
        tr_conditional(t);
        break;
    case CLS_JMP_REL:
        tr_jmp(t, target);
        t->ended = true;
        break;
    case CLS_CALL_REL:
        tr_push_return(t);
        tr_jmp(t, target);
        t->ended = true;
        break;
    case CLS_JMP_IND:
        tr_indirect(t, false);
        break;
    case CLS_CALL_IND:
        tr_indirect(t, true);
        break;
    default:
        tr_ret(t);
        break;
    }
}

/* pushfq: the native flags have IF set and none of the guest's system flags; add the difference with lea. */
void tr_pushf(struct tr *t)
{
    if (t->in->opsize != 8) {
        tr_callout(t, CALLOUT_INSN);
        return;
    }
    emit_u8(&t->e, 0x9c);
    t->fix = FIX_RSP_ADD;
    t->fix_arg = 8;
    tr_mark(t);
    tr_spill(t, RAX);
    tr_spill(t, RCX);
    emit_bytes(&t->e, (const uint8_t[]){0x48, 0x8b, 0x04, 0x24}, 4); /* mov rax, [rsp] */
    emit_load32_abs(&t->e, RCX, bt_field(&t->b->vif));
    emit_lea(&t->e, RAX, RAX, RCX, 1, -(int32_t)RFLAGS_IF);
    emit_load32_abs(&t->e, RCX, bt_field(&t->b->vsys));
    emit_lea(&t->e, RAX, RAX, RCX, 1, 0);
    emit_bytes(&t->e, (const uint8_t[]){0x48, 0x89, 0x04, 0x24}, 4); /* mov [rsp], rax */
    t->committed = true;
    t->fix = FIX_NONE;
    tr_mark(t);
    tr_unspill(t, RCX);
    tr_unspill(t, RAX);
}

void tr_sti(struct tr *t)
{
    emit_store_imm32(&t->e, bt_field(&t->b->vif), (uint32_t)RFLAGS_IF);
    t->committed = true;
    tr_mark(t);
    if (t->last) { /* the next block would know nothing of the shadow */
        tr_callout(t, CALLOUT_STI);
        t->ended = true;
        return;
    }
    tr_spill(t, RCX);
    emit_load32_abs(&t->e, RCX, bt_field(&t->b->pending));
    emit_u8(&t->e, 0xe3); /* jrcxz over the callout */
    emit_u8(&t->e, 0);
    uint8_t *skip = t->e.p;
    tr_callout(t, CALLOUT_STI);
    skip[-1] = (uint8_t)(t->e.p - skip);
    tr_unspill(t, RCX);
}
