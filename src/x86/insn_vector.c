/* The decoder's part for VEX, EVEX and XOP: the prefixes, which of their fields are legal for a
 * form, and the memory operand sizes that depend on the vector length.
 *
 * Stateless, like insn.c. The fields' bits stand inverted in the bytes; struct insn has them
 * the right way round.
 * SDM 2 "Intel AVX" §2.3, "Intel AVX-512 Encoding" §2.7; APM 3 "Instruction Encoding" §1.9 (XOP).
 */
#include "x86/insn_tables.h"

#define FORBIDDEN (INSN_LOCK | INSN_REPNE | INSN_REP | INSN_OPSIZE)

/* EVEX payload bytes, counted from the 62. */
#define EVEX_P0 1
#define EVEX_P1 2
#define EVEX_P2 3

/* P2 */
#define EVEX_Z 0x80
#define EVEX_B 0x10
#define EVEX_AAA 0x07

static const uint8_t implied_prefix[4] = {0, INSN_OPSIZE, INSN_REP, INSN_REPNE};

/* The fields that close VEX and XOP and, but for L, stand in EVEX P1: W vvvv L pp. */
static void take_w_vvvv_pp(struct insn *in, uint8_t byte)
{
    in->rex |= (byte & 0x80) >> 4;
    in->vvvv = (~byte >> 3) & 15;
    in->prefixes |= implied_prefix[byte & 3];
}

static void take_rxb(struct insn *in, uint8_t byte)
{
    in->rex = 0x40 | (~byte >> 5 & 7);
}

static unsigned take_vex(struct insn *in, const uint8_t *p, unsigned at, uint64_t *word)
{
    bool legal = !in->rex && !(in->prefixes & FORBIDDEN);
    uint8_t last;
    in->encoding = INSN_VEX;
    if (p[at] == 0xc5) {
        last = p[at + 1];
        in->map = 1;
        in->rex = 0x40 | (~last >> 5 & 4);
        take_w_vvvv_pp(in, last & 0x7f);
        at += 2;
    } else {
        last = p[at + 2];
        in->map = p[at + 1] & 31;
        take_rxb(in, p[at + 1]);
        take_w_vvvv_pp(in, last);
        at += 3;
    }
    in->vector_len = last >> 2 & 1;
    in->opcode = p[at];
    if (legal && in->map >= 1 && in->map <= 3)
        *word = insn_map_vex[in->map - 1][in->opcode][last & 3];
    return at + 1;
}

static unsigned take_evex(struct insn *in, const uint8_t *p, unsigned at, uint64_t *word)
{
    bool legal = !in->rex && !(in->prefixes & FORBIDDEN);
    uint8_t p0 = p[at + EVEX_P0], p1 = p[at + EVEX_P1], p2 = p[at + EVEX_P2];
    in->encoding = INSN_EVEX;
    in->map = p0 & 7;
    take_rxb(in, p0);
    take_w_vvvv_pp(in, p1);
    in->reg = ~p0 & 0x10;          /* R' */
    in->vvvv |= (~p2 & 0x08) << 1; /* V' */
    in->vector_len = p2 >> 5 & 3;
    in->opcode = p[at + 4];
    if (legal && !(p0 & 0x08) && (p1 & 0x04) && in->map >= 1 && in->map <= 6)
        *word = insn_map_evex[in->map - 1][in->opcode][p1 & 3];
    return at + 5;
}

static unsigned take_xop(struct insn *in, const uint8_t *p, unsigned at, uint64_t *word)
{
    bool legal = !in->rex && !(in->prefixes & FORBIDDEN);
    uint8_t last = p[at + 2];
    in->encoding = INSN_XOP;
    in->map = p[at + 1] & 31;
    take_rxb(in, p[at + 1]);
    take_w_vvvv_pp(in, last);
    in->vector_len = last >> 2 & 1;
    in->opcode = p[at + 3];
    if (legal && in->map >= 8 && in->map <= 10 && !(last & 3))
        *word = insn_map_xop[in->map - 8][in->opcode];
    return at + 4;
}

unsigned insn_take_vector_prefix(struct insn *in, const uint8_t *p, unsigned at, uint64_t *word)
{
    switch (p[at]) {
    case 0x62: return take_evex(in, p, at, word);
    case 0x8f:
        if ((p[at + 1] & 31) >= 8)
            return take_xop(in, p, at, word);
        in->opcode = 0x8f;
        *word = GROUP(1A);
        return at + 1;
    default: return take_vex(in, p, at, word);
    }
}

static bool length_is_legal(const struct insn *in, uint64_t word)
{
    switch ((enum length_rule)INSN_FIELD(word, FORM_VEXL)) {
    case LENGTH_ANY:
    case LENGTH_IGNORED: return in->vector_len <= 2;
    case LENGTH_128: return in->vector_len == 0;
    case LENGTH_256: return in->vector_len == 1;
    case LENGTH_512: return in->vector_len == 2;
    case LENGTH_256_512: return in->vector_len == 1 || in->vector_len == 2;
    }
    return false;
}

/* The index of a vector memory operand: V' extends it, not vvvv. */
static void take_vector_index(struct insn *in)
{
    in->index = (in->sib >> 3 & 7) | (in->rex & REX_X) << 2;
    in->scale = 1u << (in->sib >> 6);
    in->vsib = true;
    if (in->encoding == INSN_EVEX) {
        in->index |= in->vvvv & 16;
        in->vvvv &= 15;
    }
}

static bool registers_are_distinct(const struct insn *in, uint64_t word)
{
    if (in->vsib)
        return in->reg != in->index &&
               (in->encoding == INSN_EVEX || (in->vvvv != in->index && in->vvvv != in->reg));
    if (word & FORM_KVVVV && (in->rm > 7 || in->rm == in->vvvv)) /* tiles */
        return false;
    return (in->mem || in->reg != in->rm) && in->reg != in->vvvv;
}

/* Opmask, zeroing, broadcast and rounding. Embedded rounding takes the length's bits, too. */
static bool evex_is_legal(const struct insn *in, uint8_t p2, uint64_t word)
{
    enum mem_rule mem = INSN_FIELD(word, FORM_MEM);
    unsigned round = INSN_FIELD(word, FORM_ROUND);
    bool zeroing = p2 & EVEX_Z, masked = p2 & EVEX_AAA;

    switch ((enum mask_rule)INSN_FIELD(word, FORM_MASK)) {
    case MASK_FULL:
        if (zeroing && (!masked || (in->mem && word & FORM_MEM_W)))
            return false;
        break;
    case MASK_MERGE:
        if (zeroing)
            return false;
        break;
    case MASK_NONE:
        if (zeroing || masked)
            return false;
        break;
    case MASK_REQUIRED:
        if (zeroing || !masked)
            return false;
        break;
    }
    if (!(p2 & EVEX_B))
        return length_is_legal(in, word);
    if (in->mem)
        return mem >= MEM_FULL && mem <= MEM_HALFW && length_is_legal(in, word);
    return round != ROUND_NONE;
}

bool insn_vector_is_legal(struct insn *in, const uint8_t *p, uint64_t word)
{
    unsigned w = INSN_FIELD(word, FORM_VEXW);
    if (w && (w == 2) != !!(in->rex & REX_W))
        return false;
    if (word & FORM_SIB && !in->has_sib)
        return false;
    if (word & FORM_VSIB)
        take_vector_index(in);
    if (!(word & FORM_NDS) && in->vvvv)
        return false;
    if (word & FORM_KVVVV && in->vvvv > 7)
        return false;
    if (word & FORM_KREG && in->reg > 7)
        return false;
    if (word & FORM_SHORTREG && in->reg > 15)
        return false;
    if (in->encoding == INSN_EVEX && !in->mem && !(word & FORM_KRM))
        in->rm |= (in->rex & REX_X) << 3;
    if (word & FORM_DISTINCT && !registers_are_distinct(in, word))
        return false;
    if (in->encoding == INSN_EVEX)
        return evex_is_legal(in, p[in->opcode_off + EVEX_P2], word);
    return length_is_legal(in, word);
}

unsigned insn_vector_size(const struct insn *in, enum mem_rule rule)
{
    unsigned vl = 16u << in->vector_len;
    unsigned element = in->rex & REX_W ? 8 : 4;
    switch (rule) {
    case MEM_VL:
    case MEM_FULL:
    case MEM_FULLH: return vl;
    case MEM_VL2:
    case MEM_HALF:
    case MEM_HALFH: return vl / 2;
    case MEM_VL4:
    case MEM_QUARTERH: return vl / 4;
    case MEM_VL8: return vl / 8;
    case MEM_HALFW: return element == 8 ? vl : vl / 2;
    case MEM_DUP: return in->vector_len ? vl : 8;
    case MEM_W:
    case MEM_SOMEW: return element;
    case MEM_K8: return in->rex & REX_W ? 4 : 1;
    case MEM_K16: return in->rex & REX_W ? 8 : 2;
    case MEM_2W: return 2 * element;
    case MEM_4W: return 4 * element;
    case MEM_SOMEH: return in->rex & REX_W ? 2 : 1;
    default: return 0;
    }
}

/* Size of the element that embedded broadcast repeats. */
static unsigned broadcast_size(const struct insn *in, enum mem_rule rule)
{
    switch (rule) {
    case MEM_FULLH:
    case MEM_HALFH:
    case MEM_QUARTERH: return 2;
    case MEM_HALF: return 4;
    default: return in->rex & REX_W ? 8 : 4;
    }
}

void insn_evex_finish_memory(struct insn *in, const uint8_t *p, uint64_t word)
{
    enum mem_rule rule = INSN_FIELD(word, FORM_MEM);
    uint8_t p2 = p[in->opcode_off + EVEX_P2];
    if (p2 & EVEX_B)
        in->mem_size = broadcast_size(in, rule);
    if (in->disp_len == 1)
        in->disp *= in->mem_size;
    if (p2 & EVEX_AAA)
        in->mem_size = 0;
    else if (rule >= MEM_SOMEH)
        in->mem_size = 16u << in->vector_len;
}
