/* Re-deriving guest state from host code, apart from the translator's own reckoning (debug builds).
 *
 * Each expansion is decoded with our decoder. What every register and spill slot holds is followed
 * instruction by instruction: the guest's value, the guest's value moved by R, or something else.
 * At each boundary the note that cache_recover would find must lead back to the guest's registers:
 * - before the guest instruction: whatever was overwritten is in its spill slot or undone by the
 * fix, unless the instruction overwrites it anyway when it starts again; no guest memory and no
 * flags have been written but by a push that can be repeated;
 * - after it (committed): nothing that is still to be written is missing, nothing that the
 * instruction wrote is taken from a slot. What the expansion computes is not checked here:
 * tests/insn does that. State: none. Threads: the vCPU's own task.
 */
#include "bt/check.h"
#include "base/log.h"

#define HOST_MAX 64

/* What a register holds, relative to the guest's state before the instruction. */
enum held {
    HELD_GUEST, /* that value (RSP: host form, moved by `rsp_by`) */
    HELD_MOVED, /* that value + R */
    HELD_OTHER,
};

enum host_kind {
    HOST_GUEST,   /* the guest's instruction itself, re-encoded */
    HOST_SPILL,   /* mov [spill[reg]], reg */
    HOST_UNSPILL, /* mov reg, [spill[reg]] */
    HOST_SHIFT,   /* lea rdi or rsi, [itself + rdx] */
    HOST_EXIT,    /* mov dword [exit_arg], imm */
    HOST_LEAVE,   /* jmp to bt_exit, a link, or the return table */
    HOST_AUX,     /* anything else; touches no flags */
};

struct host {
    uint32_t cpc;
    struct insn in;
    uint8_t kind;
    uint8_t reg;
    uint16_t writes; /* general registers, RSP as stack pointer included */
};

struct check {
    const struct tr *t;
    struct host host[HOST_MAX];
    unsigned count;
    uint32_t end;
    uint16_t guest_writes,
        guest_reads; /* of the guest instruction, address registers among the reads */
    uint8_t held[GPR_COUNT];
    uint16_t slots; /* spill slots that hold their register's guest value */
    int64_t rsp_by;
    int64_t rdx;         /* last immediate put in RDX */
    bool done;           /* the guest instruction itself has run */
    bool memory_written; /* by something that is not a repeatable push */
};

NORETURN static void wrong(const struct check *k, uint32_t cpc, const char *what, unsigned reg)
{
    log_msg(LOG_ERROR,
            "translation of %#llx (%02x %02x %02x %02x), block %#llx: at +%u of its host code: %s "
            "(register %u)",
            (unsigned long long)k->t->gpc, k->t->bytes[0], k->t->bytes[1], k->t->bytes[2],
            k->t->bytes[3], (unsigned long long)k->t->blk->gpc, cpc - k->host[0].cpc, what, reg);
    bug(__FILE__, __LINE__, what);
}

/* ---- decoding ---- */

static bool plain_op(const struct insn *in, unsigned map, unsigned opcode)
{
    return in->encoding == INSN_LEGACY && in->map == map && in->opcode == opcode;
}

/* An absolute operand in struct bt_cpu: its offset there, or -1. */
static int64_t engine_field(const struct insn *in)
{
    bool absolute = in->mem && in->base == GPR_NONE && in->index == GPR_NONE &&
                    in->seg == SEG_NONE && !in->moffs;
    int64_t off = (int64_t)in->disp - BT_CPU_ADDR;
    return absolute && off >= 0 && off < (int64_t)sizeof(struct bt_cpu) ? off : -1;
}

static unsigned spill_slot(int64_t field)
{
    int64_t n = (field - BT_SPILL) / 8;
    return field >= BT_SPILL && n < GPR_COUNT ? (unsigned)n : GPR_NONE;
}

/* Whether h is the guest's instruction in another coat: other prefixes, another operand form, moffs
 * as an ordinary mov. */
static bool same_operation(const struct insn *g, const struct insn *h)
{
    bool constant = h->imm_len == 8 && ((uint64_t)h->imm == BT_R || (uint64_t)h->imm == -BT_R);
    if (g->encoding != h->encoding || g->map != h->map || g->cls != h->cls ||
        (constant && g->imm != h->imm)) {
        return false;
    }
    bool in_opcode = g->map == 0 ? (g->opcode & 0xf0) == 0x50 || (g->opcode & 0xf8) == 0x90 ||
                                       (g->opcode & 0xf0) == 0xb0
                                 : g->map == 1 && (g->opcode & 0xf8) == 0xc8;
    if (g->moffs && (h->opcode & 0xfc) == 0x88) {
        return true;
    }
    return in_opcode ? (g->opcode & 0xf8) == (h->opcode & 0xf8) : g->opcode == h->opcode;
}

static uint8_t classify(struct check *k, struct host *h)
{
    const struct insn *in = &h->in, *g = k->t->in;
    int64_t field = engine_field(in);
    if (field >= 0) {
        unsigned slot = spill_slot(field);
        if (slot != GPR_NONE && (plain_op(in, 0, 0x89) || plain_op(in, 0, 0x8b))) {
            h->reg = (uint8_t)slot;
            if (in->reg != slot) {
                wrong(k, h->cpc, "a spill slot is used for another register", in->reg);
            }
            return in->opcode == 0x89 ? HOST_SPILL : HOST_UNSPILL;
        }
        return field == BT_EXIT_ARG ? HOST_EXIT : HOST_AUX;
    }
    if (in->cls == CLS_JMP_REL && in->imm_len == 4) {
        return HOST_LEAVE;
    }
    if (in->cls == CLS_JMP_IND && in->mem && in->disp == BT_RETTAB_ADDR) {
        return HOST_LEAVE;
    }
    bool string = g->cls >= CLS_MOVS && g->cls <= CLS_SCAS;
    if (string && plain_op(in, 0, 0x8d) && in->index == RDX && in->base == in->reg) {
        h->reg = in->reg;
        return HOST_SHIFT;
    }
    if (same_operation(g, in) && g->cls != CLS_PUSHF && !plain_op(g, 0, 0x8d)) {
        return HOST_GUEST;
    }
    return HOST_AUX;
}

/* The instructions an expansion is glued together with write no flags. */
static bool keeps_flags(const struct insn *in)
{
    static const uint8_t one_byte[] = {0x50, 0x58, 0x59, 0x68, 0x89, 0x8b,
                                       0x8d, 0x9c, 0xb8, 0xc7, 0xe3, 0xeb};
    unsigned op = in->opcode & 0xf8;
    if (in->map == 1) {
        return (in->opcode & 0xf0) == 0x80 || in->opcode == 0xb7;
    }
    for (unsigned i = 0; i < ARRAY_LEN(one_byte); i++) {
        if (in->opcode == one_byte[i]) {
            return true;
        }
    }
    return op == 0xb8;
}

static void decode(struct check *k, uint32_t from)
{
    uint32_t cpc = from;
    while (cpc < k->end) {
        if (k->count == HOST_MAX) {
            wrong(k, cpc, "an expansion of more instructions than expected", GPR_NONE);
        }
        struct host *h = &k->host[k->count++];
        h->cpc = cpc;
        if (insn_decode(&h->in, (const uint8_t *)(uintptr_t)cpc, k->end - cpc) != INSN_OK) {
            wrong(k, cpc, "host code that cannot be decoded", GPR_NONE);
        }
        h->kind = classify(k, h);
        h->writes = h->in.reg_write | (h->in.stack ? 1u << RSP : 0);
        if (h->kind == HOST_AUX && !keeps_flags(&h->in)) {
            wrong(k, cpc, "an instruction that is not the guest's and writes flags", GPR_NONE);
        }
        cpc += h->in.len;
    }
    if (cpc != k->end) {
        wrong(k, cpc, "an expansion that ends within an instruction", GPR_NONE);
    }
}

/* ---- boundaries ---- */

/* The note cache_recover would use. */
static const struct note *note_at(const struct check *k, uint32_t cpc)
{
    const struct block *blk = k->t->blk;
    const struct note *n = &k->t->c->note[blk->notes];
    unsigned i = blk->note_count;
    while (i > 1 && n[i - 1].cpc_off > cpc - blk->cpc) {
        i--;
    }
    return &n[i - 1];
}

static uint16_t bit16(unsigned r)
{
    return (uint16_t)(1u << r);
}

/* A link's jump or the return table's: what is behind it is not run afterwards. Behind a callout it
 * is. */
static bool leaves_for_good(const struct check *k, unsigned i)
{
    return k->host[i].kind == HOST_LEAVE && (i == 0 || k->host[i - 1].kind != HOST_EXIT);
}

/* Host instructions from index i on still change these; what comes back from its slot in the end
 * does not count. */
static uint16_t still_written(const struct check *k, unsigned i)
{
    uint16_t mask = 0;
    for (; i < k->count && !leaves_for_good(k, i); i++) {
        mask = k->host[i].kind == HOST_UNSPILL ? mask & (uint16_t)~bit16(k->host[i].reg)
                                               : mask | k->host[i].writes;
    }
    return mask;
}

static void check_restartable(const struct check *k, uint32_t cpc, const struct note *n)
{
    uint16_t rewritten = k->guest_writes & (uint16_t)~k->guest_reads;
    if (k->done || k->memory_written) {
        wrong(k, cpc, "the instruction has had its effect, but would be started again", GPR_NONE);
    }
    if (n->fix == FIX_RSP_IN_REG || (k->rsp_by != 0 && n->fix != FIX_RSP_ADD) ||
        (n->fix == FIX_RSP_ADD && k->rsp_by + n->arg != 0)) {
        wrong(k, cpc, "RSP would not come back", RSP);
    }
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        bool moved = n->fix == FIX_STRING && ((r == RDI && n->arg & 1) || (r == RSI && n->arg & 2));
        if (n->spilled & bit16(r)) {
            if (!(k->slots & bit16(r))) {
                wrong(k, cpc, "restored from a slot that does not hold it", r);
            }
        } else if (k->held[r] != (moved ? HELD_MOVED : HELD_GUEST) && !(rewritten & bit16(r))) {
            wrong(k, cpc, "overwritten, and nothing brings it back", r);
        }
    }
}

static void check_committed(const struct check *k, unsigned i, uint32_t cpc, const struct note *n)
{
    uint16_t later = still_written(k, i);
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        bool moved = n->fix == FIX_STRING && ((r == RDI && n->arg & 1) || (r == RSI && n->arg & 2));
        bool in_reg = n->fix == FIX_RSP_IN_REG && r == RSP;
        if (n->spilled & bit16(r)) {
            if (!(k->slots & bit16(r)) || (k->guest_writes & bit16(r))) {
                wrong(k, cpc, "restored from a slot that does not hold its final value", r);
            }
        } else if (moved ? k->held[r] != HELD_MOVED : (later & bit16(r)) && !in_reg) {
            wrong(k, cpc, "not final yet, and no fix says so", r);
        } else if (!moved && !in_reg && !(k->guest_writes & bit16(r)) && k->held[r] != HELD_GUEST) {
            wrong(k, cpc, "overwritten, and nothing brings it back", r);
        }
    }
}

/* Through the return table, or, from a single instruction, past it to the dispatcher. */
static bool leaves_by_table(const struct host *h)
{
    uint64_t target = h->cpc + h->in.len + (uint64_t)h->in.imm;
    return h->in.cls == CLS_JMP_IND || target == bt_field(bt_exit_indirect);
}

/* A link's jump, where cache_recover takes the registers as they are; or the jump through the
 * return table. */
static void check_leave(const struct check *k, const struct host *h)
{
    bool table = leaves_by_table(h);
    uint16_t in_slots = table ? (uint16_t)(bit16(RAX) | bit16(RCX)) : 0;
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        if (in_slots & bit16(r)) {
            if (!(k->slots & bit16(r))) {
                wrong(k, h->cpc, "leaves without its value in the slot", r);
            }
        } else if (k->held[r] != HELD_GUEST && !(k->guest_writes & bit16(r))) {
            wrong(k, h->cpc, "leaves with a value that is not the guest's", r);
        }
    }
}

static void check_boundary(const struct check *k, unsigned i)
{
    uint32_t cpc = k->host[i].cpc;
    const struct note *n = note_at(k, cpc);
    uint64_t gpc = k->t->blk->gpc + n->gpc_off;
    if (leaves_for_good(k, i)) {
        check_leave(k, &k->host[i]);
        if (!leaves_by_table(&k->host[i])) {
            return; /* recovered through the link */
        }
    }
    if (gpc == k->t->next && gpc != k->t->gpc) {
        check_committed(k, i, cpc, n);
    } else if (gpc == k->t->gpc) {
        check_restartable(k, cpc, n);
    } else {
        wrong(k, cpc, "the note is another instruction's", GPR_NONE);
    }
}

/* ---- effects ---- */

static void track_immediate(struct check *k, const struct insn *in)
{
    bool mov = in->map == 0 && ((in->opcode & 0xf8) == 0xb8 || in->opcode == 0xc7);
    if (mov && !in->mem && (in->reg_write & bit16(RDX))) {
        k->rdx = in->imm;
    }
}

static void shift(struct check *k, const struct host *h)
{
    uint8_t *held = &k->held[h->reg];
    bool up = (uint64_t)k->rdx == BT_R, down = (uint64_t)k->rdx == -BT_R;
    if (up && *held == HELD_GUEST) {
        *held = HELD_MOVED;
    } else if (down && *held == HELD_MOVED) {
        *held = HELD_GUEST;
    } else {
        wrong(k, h->cpc, "moved by something else than R", h->reg);
    }
}

static void run_aux(struct check *k, const struct host *h)
{
    const struct insn *in = &h->in;
    bool push = in->stack && (in->opcode == 0x50 || in->opcode == 0x68 || in->opcode == 0x9c);
    bool guest_memory =
        in->mem && in->mem_write && engine_field(in) < 0 && !(in->base == RSP && k->rsp_by < 0);
    track_immediate(k, in);
    k->memory_written |= guest_memory;
    k->rsp_by += push ? -8 : in->stack ? 8 : 0;
    uint16_t writes = h->writes & (uint16_t) ~(in->stack ? bit16(RSP) : 0);
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        if (writes & bit16(r)) {
            k->held[r] = HELD_OTHER;
        }
    }
}

static void run_guest(struct check *k, const struct host *h)
{
    k->done = true;
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        bool pointer = k->held[r] == HELD_MOVED; /* a string instruction moves its pointers on */
        if ((h->writes & bit16(r)) && !pointer) {
            k->held[r] = (k->guest_writes & bit16(r)) ? HELD_GUEST : HELD_OTHER;
        }
    }
}

static void run_host(struct check *k, const struct host *h)
{
    switch (h->kind) {
    case HOST_GUEST: run_guest(k, h); break;
    case HOST_SPILL:
        if (k->held[h->reg] != HELD_GUEST || k->done) {
            wrong(k, h->cpc, "spilled when it is not the guest's value before the instruction",
                  h->reg);
        }
        k->slots |= bit16(h->reg);
        break;
    case HOST_UNSPILL:
        if (!(k->slots & bit16(h->reg))) {
            wrong(k, h->cpc, "loaded from a slot that does not hold it", h->reg);
        }
        k->held[h->reg] = HELD_GUEST;
        break;
    case HOST_SHIFT: shift(k, h); break;
    case HOST_EXIT:
    case HOST_LEAVE: break;
    default: run_aux(k, h); break;
    }
}

void check_host_code(const struct tr *t, uint32_t from)
{
    const struct insn *in = t->in;
    struct check k;
    k.t = t;
    k.count = 0;
    k.end = emit_pos(&t->e);
    k.guest_writes = (uint16_t)(in->reg_write | (in->stack ? bit16(RSP) : 0));
    k.guest_reads = in->reg_read;
    k.guest_reads |= in->base < GPR_COUNT ? bit16(in->base) : 0;
    k.guest_reads |= in->index < GPR_COUNT && !in->vsib ? bit16(in->index) : 0;
    k.guest_reads |= in->stack ? bit16(RSP) : 0;
    for (unsigned r = 0; r < GPR_COUNT; r++) {
        k.held[r] = HELD_GUEST;
    }
    k.slots = 0;
    k.rsp_by = k.rdx = 0;
    k.done = k.memory_written = false;
    decode(&k, from);
    for (unsigned i = 0; i < k.count; i++) {
        check_boundary(&k, i);
        run_host(&k, &k.host[i]);
    }
    for (unsigned r = 0; r < GPR_COUNT && !t->ended; r++) {
        if (k.held[r] != HELD_GUEST && !(k.guest_writes & bit16(r))) {
            wrong(&k, k.end, "not the guest's at the end", r);
        }
    }
}
