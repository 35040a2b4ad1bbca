/* The instruction decoder: bytes to struct insn.
 *
 * Four steps, each driven by the opcode's word in the maps (insn_tables.h): prefixes and opcode,
 * ModRM and address, immediate, operands. Bytes are read without a bounds check from a window of
 * which WINDOW bytes are readable: short input is first copied into one padded with zeros, and an
 * instruction that turns out longer than the input was cut off. That holds because a byte that is
 * looked at is always part of the instruction.
 *
 * No state; any thread, any context.
 * SDM 2 "Instruction Format" ch. 2, "Opcode Map" appendix A.
 */
#include "x86/insn.h"

#include "x86/insn_tables.h"

/* 14 prefixes and the longest tail: a 3-byte opcode, ModRM, SIB, disp32, imm32, or EVEX. */
#define WINDOW 32

struct implied {
    uint16_t read, write;
};

#define A (1u << RAX)
#define C (1u << RCX)
#define D (1u << RDX)
#define B (1u << RBX)
#define SP (1u << RSP)
#define BP (1u << RBP)
#define SI (1u << RSI)
#define DI (1u << RDI)

static const struct implied implied[IMPLIED_RULES] = {
    [IMPLIED_A_R] = {A, 0},
    [IMPLIED_A_W] = {0, A},
    [IMPLIED_A_RW] = {A, A},
    [IMPLIED_C_R] = {C, 0},
    [IMPLIED_C_W] = {0, C},
    [IMPLIED_C_RW] = {C, C},
    [IMPLIED_D_R] = {D, 0},
    [IMPLIED_DI_R] = {DI, 0},
    [IMPLIED_BP_RW] = {BP, BP},
    [IMPLIED_SP_W] = {0, SP},
    [IMPLIED_AC_R] = {A | C, 0},
    [IMPLIED_AD_R] = {A | D, 0},
    [IMPLIED_AD_W] = {0, A | D},
    [IMPLIED_ACD_R] = {A | C | D, 0},
    [IMPLIED_ACD_W] = {0, A | C | D},
    [IMPLIED_ABC_R] = {A | B | C, 0},
    [IMPLIED_C_R_AD_W] = {C, A | D},
    [IMPLIED_A_R_AD_W] = {A, A | D},
    [IMPLIED_AD_R_AD_W] = {A | D, A | D},
    [IMPLIED_A_R_D_W] = {A, D},
    [IMPLIED_D_R_A_W] = {D, A},
    [IMPLIED_AB_R_A_W] = {A | B, A},
    [IMPLIED_AD_R_C_W] = {A | D, C},
    [IMPLIED_CMPXCHG8B] = {A | B | C | D, A | D},
    [IMPLIED_CPUID] = {A | C, A | B | C | D},
    [IMPLIED_SYSCALL] = {0, C | 1u << R11},
    [IMPLIED_SYSRET] = {C | 1u << R11, 0},
    [IMPLIED_SYSEXIT] = {C | D, SP},
    [IMPLIED_MOVS] = {SI | DI, SI | DI},
    [IMPLIED_STOS] = {A | DI, DI},
    [IMPLIED_LODS] = {SI, A | SI},
    [IMPLIED_SCAS] = {A | DI, DI},
    [IMPLIED_INS] = {D | DI, DI},
    [IMPLIED_OUTS] = {D | SI, SI},
};

/* Operand size by rule; columns: plain, 66, W, 66 and W. */
static const uint8_t operand_sizes[OPSIZE_RULES][4] = {
    [OPSIZE_1] = {1, 1, 1, 1}, [OPSIZE_2] = {2, 2, 2, 2},     [OPSIZE_4] = {4, 4, 4, 4},
    [OPSIZE_8] = {8, 8, 8, 8}, [OPSIZE_V] = {4, 2, 8, 8},     [OPSIZE_Y] = {4, 4, 8, 8},
    [OPSIZE_Z] = {4, 2, 4, 4}, [OPSIZE_STACK] = {8, 2, 8, 8},
};

/* Memory operand sizes that the opcode alone fixes. */
static const uint16_t fixed_sizes[MEM_RULES] = {
    [MEM_1] = 1,   [MEM_2] = 2,   [MEM_4] = 4,   [MEM_8] = 8,     [MEM_10] = 10,
    [MEM_16] = 16, [MEM_32] = 32, [MEM_64] = 64, [MEM_512] = 512,
};

/* Which column of a map the prefixes select, by insn.prefixes >> 1: f2 and f3 go before 66. */
static const uint8_t mandatory_column[8] = {0, 3, 2, 2, 1, 3, 2, 2};

static inline unsigned column_of(const struct insn *in)
{
    return mandatory_column[in->prefixes >> 1 & 7];
}

/* A segment override. In 64-bit mode es, cs, ss and ds overrides do nothing, so that they do not
 * undo an fs or gs either. */
static inline void take_segment(struct insn *in, uint8_t byte)
{
    if (byte & 0x40)
        in->seg = byte & 7;
    else if (in->seg != SEG_FS && in->seg != SEG_GS)
        in->seg = byte >> 3 & 3;
}

static inline void take_prefix(struct insn *in, uint8_t byte)
{
    switch (byte) {
    case 0xf0: in->prefixes |= INSN_LOCK; break;
    case 0xf2: in->prefixes = (in->prefixes & ~INSN_REP) | INSN_REPNE; break;
    case 0xf3: in->prefixes = (in->prefixes & ~INSN_REPNE) | INSN_REP; break;
    case 0x66: in->prefixes |= INSN_OPSIZE; break;
    case 0x67:
        in->prefixes |= INSN_ADDRSIZE;
        in->addrsize = 4;
        break;
    }
}

/* 0f, 0f 38 and 0f 3a. `at` is behind the 0f. */
static unsigned take_escape(struct insn *in, const uint8_t *p, unsigned at, uint64_t *word)
{
    const uint64_t(*map)[4] = insn_map_0f;
    in->map = 1;
    if (p[at] == 0x38 || p[at] == 0x3a) {
        in->map = p[at] == 0x38 ? 2 : 3;
        map = p[at] == 0x38 ? insn_map_0f38 : insn_map_0f3a;
        at++;
    }
    in->opcode = p[at];
    *word = map[in->opcode][column_of(in)];
    return at + 1;
}

/* nop, pause and xchg r8, rax share 90. */
static inline uint64_t nop_word(const struct insn *in)
{
    if (in->prefixes & INSN_REP)
        return CLASS(PLAIN);
    return in->rex & REX_B ? insn_map_one_byte[0x91] : CLASS(NOP);
}

/* Prefixes, REX, VEX, EVEX, XOP and the opcode. Returns the offset behind it and the opcode's word,
 * 0 if it has none. More than INSN_MAX_LEN prefixes return a length that is too long. */
static inline unsigned take_opcode(struct insn *in, const uint8_t *p, uint64_t *word)
{
    *word = 0;
    for (unsigned at = 0; at < INSN_MAX_LEN; at++) {
        uint8_t byte = p[at];
        uint64_t cell = insn_map_one_byte[byte];
        in->opcode_off = in->rex ? at - 1 : at;
        if (!(cell & FORM_NOT_OPCODE)) {
            in->opcode = byte;
            *word = cell;
            return at + 1;
        }
        switch ((enum byte_kind)(cell & 0xff)) {
        case BYTE_REX: in->rex = byte; continue;
        case BYTE_SEG: take_segment(in, byte); break;
        case BYTE_PREFIX: take_prefix(in, byte); break;
        case BYTE_NOP:
            in->opcode = byte;
            *word = nop_word(in);
            return at + 1;
        case BYTE_ESCAPE: return take_escape(in, p, at + 1, word);
        default: return insn_take_vector_prefix(in, p, at, word);
        }
        in->rex = 0; /* a REX that does not stand right before the opcode is ignored */
    }
    return INSN_MAX_LEN + 1;
}

/* Walks from a group to the cell that ModRM selects. */
static inline uint64_t resolve_group(uint64_t word, uint8_t modrm)
{
    if (INSN_FIELD(word, FORM_CLASS) != FORM_GROUP)
        return word;
    do {
        const struct insn_group *group = &insn_groups[INSN_FIELD(word, GROUP_INDEX)];
        unsigned reg = modrm >> 3 & 7;
        unsigned is_reg = modrm >= 0xc0;
        switch ((enum group_select)group->select) {
        case SELECT_REG: word = group->cells[reg]; break;
        case SELECT_MODREG: word = group->cells[is_reg * 8 + reg]; break;
        case SELECT_RM: word = group->cells[modrm & 7]; break;
        case SELECT_MOD: word = group->cells[is_reg]; break;
        }
    } while (INSN_FIELD(word, FORM_CLASS) == FORM_GROUP);
    return word | FORM_MODRM; /* looked at, hence part of the instruction, defined or not */
}

static inline unsigned get_u16(const uint8_t *p)
{
    return p[0] | (unsigned)p[1] << 8;
}

static inline uint32_t get_u32(const uint8_t *p)
{
    return get_u16(p) | (uint32_t)get_u16(p + 2) << 16;
}

static inline uint64_t get_u64(const uint8_t *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

/* SIB, base, index and displacement of a memory operand. `at` is behind ModRM. */
static inline unsigned take_address(struct insn *in, const uint8_t *p, unsigned at)
{
    unsigned base = in->modrm & 7;
    in->mem = true;
    if (base == 4) {
        in->has_sib = true;
        in->sib = p[at++];
        base = in->sib & 7;
        unsigned index = (in->sib >> 3 & 7) | (in->rex & REX_X) << 2;
        if (index != 4) {
            in->index = index;
            in->scale = 1u << (in->sib >> 6);
        }
    }
    in->disp_off = at;
    in->base = base | (in->rex & REX_B) << 3;
    if (in->mod == 1) {
        in->disp_len = 1;
        in->disp = (int8_t)p[at];
    } else if (in->mod == 2) {
        in->disp_len = 4;
        in->disp = (int32_t)get_u32(p + at);
    } else if (base == 5) { /* no base: disp32 alone, relative to RIP without SIB */
        in->disp_len = 4;
        in->disp = (int32_t)get_u32(p + at);
        in->base = in->has_sib ? GPR_NONE : GPR_RIP;
    }
    return at + in->disp_len;
}

static inline unsigned take_modrm(struct insn *in, const uint8_t *p, unsigned at, uint64_t word)
{
    uint8_t modrm = p[at];
    in->has_modrm = true;
    in->modrm_off = at++;
    in->modrm = modrm;
    in->mod = modrm >> 6;
    in->reg |= (modrm >> 3 & 7) | (in->rex & REX_R) << 1;
    in->rm = (modrm & 7) | (in->rex & REX_B) << 3;
    if (in->mod != 3 && !(word & FORM_ANYMOD))
        return take_address(in, p, at);
    return at;
}

/* Length of the immediate; enter and extrq have one more byte. */
static inline unsigned immediate_length(const struct insn *in, enum imm_rule rule)
{
    switch (rule) {
    case IMM_NONE: break;
    case IMM_B:
    case IMM_BB:
    case IMM_UB: return 1;
    case IMM_UW:
    case IMM_ENTER: return 2;
    case IMM_D: return 4;
    case IMM_Z: return in->opsize == 2 ? 2 : 4;
    case IMM_V: return in->opsize;
    case IMM_ADDR: return in->addrsize;
    }
    return 0;
}

static inline unsigned take_immediate(struct insn *in, const uint8_t *p, unsigned at, uint64_t word)
{
    enum imm_rule rule = INSN_FIELD(word, FORM_IMM);
    unsigned len = immediate_length(in, rule);
    bool is_signed = rule < IMM_UB;
    if (len == 0)
        return at;
    in->imm_len = len;
    in->imm_off = at;
    if (len == 1)
        in->imm = is_signed ? (int8_t)p[at] : (int64_t)p[at];
    else if (len == 2)
        in->imm = is_signed ? (int16_t)get_u16(p + at) : (int64_t)get_u16(p + at);
    else if (len == 4)
        in->imm = is_signed ? (int32_t)get_u32(p + at) : (int64_t)get_u32(p + at);
    else
        in->imm = (int64_t)get_u64(p + at);
    at += len;
    if (rule == IMM_ENTER || rule == IMM_BB)
        in->imm2 = p[at++];
    else if (rule == IMM_ADDR)
        in->mem = in->moffs = true;
    return at;
}

/* Bytes accessed at the memory operand, by rule. */
static inline unsigned memory_size(const struct insn *in, enum mem_rule rule)
{
    if (fixed_sizes[rule])
        return fixed_sizes[rule];
    switch (rule) {
    case MEM_OP: return in->opsize;
    case MEM_2OP: return in->opsize * 2u;
    case MEM_FAR: return in->opsize + 2u;
    case MEM_FENV: return in->opsize == 2 ? 14 : 28;
    case MEM_FSAVE: return in->opsize == 2 ? 94 : 108;
    default: return insn_vector_size(in, rule);
    }
}

/* The mask bit of a general register; byte registers 4..7 without REX are ah, ch, dh, bh. */
static inline unsigned gpr_bit(const struct insn *in, unsigned number, bool byte)
{
    if (byte && !in->rex && number < 8)
        number &= 3;
    return 1u << (number & 15);
}

/* What the instruction does to general registers and to memory. */
static inline void fill_operands(struct insn *in, const uint8_t *p, uint64_t word)
{
    const struct implied *use = &implied[INSN_FIELD(word, FORM_IMPLIED)];
    unsigned read = use->read, write = use->write;
    bool byte = in->opsize == 1;

    in->stack = word & FORM_STACK;
    in->hidden_mem = word & FORM_HIDDEN;
    if (in->mem) {
        in->mem_read = word & FORM_MEM_R;
        in->mem_write = word & FORM_MEM_W;
        in->mem_size = memory_size(in, INSN_FIELD(word, FORM_MEM));
        if (in->encoding == INSN_EVEX)
            insn_evex_finish_memory(in, p, word);
    } else if (word & (FORM_RM_R | FORM_RM_W)) {
        unsigned bit = gpr_bit(in, in->rm, byte || (word & FORM_RM8));
        read |= word & FORM_RM_R ? bit : 0;
        write |= word & FORM_RM_W ? bit : 0;
    }
    if (word & (FORM_REG_R | FORM_REG_W)) {
        unsigned bit = gpr_bit(in, in->reg, byte);
        read |= word & FORM_REG_R ? bit : 0;
        write |= word & FORM_REG_W ? bit : 0;
    }
    if (word & (FORM_LOW_R | FORM_LOW_W)) {
        in->reg = (in->opcode & 7) | (in->rex & REX_B) << 3;
        unsigned bit = gpr_bit(in, in->reg, byte);
        read |= word & FORM_LOW_R ? bit : 0;
        write |= word & FORM_LOW_W ? bit : 0;
    }
    if (word & (FORM_VVVV_R | FORM_VVVV_W)) {
        read |= word & FORM_VVVV_R ? 1u << in->vvvv : 0;
        write |= word & FORM_VVVV_W ? 1u << in->vvvv : 0;
    }
    if (in->cls >= CLS_MOVS && in->cls <= CLS_OUTS && in->prefixes & (INSN_REP | INSN_REPNE)) {
        read |= C | write; /* a count of 0 leaves everything */
        write |= C;
    }
    if (in->opsize == 1 || in->opsize == 2)
        read |= write; /* the rest of the register is kept */
    in->reg_read = read;
    in->reg_write = write;
}

/* insn.reg as the number of a segment, control or debug register. */
static bool number_is_legal(struct insn *in)
{
    switch (in->cls) {
    case CLS_PUSH_SEG:
    case CLS_POP_SEG: in->reg = in->opcode >> 3 & 7; return true;
    case CLS_MOV_FROM_CR:
    case CLS_MOV_TO_CR: return in->reg == 0 || (in->reg >= 2 && in->reg <= 4) || in->reg == 8;
    case CLS_MOV_FROM_DR:
    case CLS_MOV_TO_DR: return in->reg < 8;
    default: /* segment registers have three bits, REX.R does nothing */
        in->reg &= 7;
        return in->reg < SEG_COUNT && !(in->cls == CLS_MOV_TO_SEG && in->reg == SEG_CS);
    }
}

/* Whether a defined opcode is legal with these prefixes and this ModRM. */
static inline bool is_legal(struct insn *in, const uint8_t *p, uint64_t word)
{
    if (word & (in->mem ? FORM_NOMEM : FORM_NOREG))
        return false;
    if (in->prefixes & INSN_LOCK && !(in->mem && word & FORM_LOCK))
        return false;
    if (word & FORM_NUMBER && !number_is_legal(in))
        return false;
    return in->encoding == INSN_LEGACY || insn_vector_is_legal(in, p, word);
}

/* In halves: without vector registers gcc clears the whole with a slow "rep stos". */
static inline void make_blank(struct insn *in)
{
    const size_t half = sizeof(*in) / 2;
    __builtin_memset(in, 0, half);
    __builtin_memset((uint8_t *)in + half, 0, sizeof(*in) - half);
    in->seg = SEG_NONE;
    in->base = in->index = GPR_NONE;
    in->scale = 1;
    in->addrsize = 8;
}

/* Decodes from a window of at least WINDOW readable bytes. Returns how many the instruction takes,
 * which may be more than there were. */
static inline unsigned decode(struct insn *in, const uint8_t *p)
{
    uint64_t word;
    make_blank(in);
    unsigned at = take_opcode(in, p, &word);
    word = resolve_group(word, p[at]);
    if (word & FORM_MODRM)
        at = take_modrm(in, p, at, word);
    in->cls = INSN_FIELD(word, FORM_CLASS) ? INSN_FIELD(word, FORM_CLASS) - 1 : CLS_UD;
    in->opsize = operand_sizes[INSN_FIELD(word, FORM_OPSIZE)]
                              [(in->prefixes & INSN_OPSIZE) >> 3 | (in->rex & REX_W) >> 2];
    at = take_immediate(in, p, at, word);
    if (is_legal(in, p, word))
        fill_operands(in, p, word);
    else
        in->cls = CLS_UD;
    return at;
}

/* A window with the first `avail` bytes, or 16 of them: no instruction needs more. */
static inline void fill_window(uint64_t *window, const uint8_t *bytes, size_t avail)
{
    if (avail < 8) {
        for (size_t i = 0; i < avail; i++)
            window[0] |= (uint64_t)bytes[i] << 8 * i;
        return;
    }
    window[0] = get_u64(bytes);
    if (avail > 8) { /* the second word ends where the bytes do */
        size_t n = avail < 16 ? avail - 8 : 8;
        window[1] = get_u64(bytes + n) >> 8 * (8 - n);
    }
}

enum insn_status insn_decode(struct insn *out, const uint8_t *bytes, size_t avail)
{
    uint64_t window[WINDOW / 8] = {0};
    if (avail < WINDOW) {
        fill_window(window, bytes, avail);
        bytes = (const uint8_t *)window;
    }
    unsigned len = decode(out, bytes);
    if (len > avail || len > INSN_MAX_LEN)
        return avail < INSN_MAX_LEN ? INSN_SHORT : INSN_TOO_LONG;
    out->len = len;
    return INSN_OK;
}

bool insn_ends_block(const struct insn *in)
{
    return (in->cls >= CLS_JCC && in->cls <= CLS_SYSEXIT) || in->cls == CLS_UD ||
           in->cls == CLS_HLT;
}
