/* See insn_zydis.h. What Zydis reports is turned into the terms of struct insn, then compared field
 * by field. Where the two differ legitimately, the difference is listed here with the reason.
 */
#include "insn_zydis.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What struct insn should say, derived from Zydis. */
struct expected {
    bool mem, mem_read, mem_write;
    unsigned base, index, scale;
    int64_t disp;
    unsigned mem_size;
    unsigned reg_read, reg_write;
    bool stack;
};

struct report {
    char *text;
    size_t size, used;
    bool differs;
};

__attribute__((format(printf, 2, 3))) static void differ(struct report *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    r->differs = true;
    if (r->used < r->size) {
        int n = vsnprintf(r->text + r->used, r->size - r->used, fmt, args);
        r->used += n > 0 ? (size_t)n : 0;
    }
    va_end(args);
}

void insn_zydis_init(struct insn_zydis *z)
{
    memset(z, 0, sizeof(*z));
    ZydisDecoderInit(&z->decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecoderEnableMode(&z->decoder, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_TRUE);
    ZydisDecoderEnableMode(&z->decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(&z->decoder, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
}

/* The number of a general register of any width, or GPR_NONE. */
static unsigned gpr_number(ZydisRegister reg)
{
    ZydisRegister wide = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    if (wide >= ZYDIS_REGISTER_RAX && wide <= ZYDIS_REGISTER_R15)
        return wide - ZYDIS_REGISTER_RAX;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
        return GPR_RIP;
    return GPR_NONE;
}

static unsigned gpr_mask(ZydisRegister reg)
{
    unsigned n = gpr_number(reg);
    return n < GPR_COUNT ? 1u << n : 0;
}

/* Instructions whose operand is an address only. Zydis counts them as readers of something. */
static bool has_no_access(const ZydisDecodedInstruction *zi)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_INVLPG:
    case ZYDIS_MNEMONIC_CLFLUSH:
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
    case ZYDIS_MNEMONIC_CLWB:
    case ZYDIS_MNEMONIC_CLDEMOTE:
        return true;
    default:
        return zi->meta.category == ZYDIS_CATEGORY_PREFETCH ||
               zi->meta.category == ZYDIS_CATEGORY_PREFETCHWT1;
    }
}

/* Whether a mask decides how much of the memory operand is accessed. */
static bool size_depends(const ZydisDecodedInstruction *zi)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
        return true;
    default:
        return zi->meta.category == ZYDIS_CATEGORY_AVX2GATHER ||
               zi->meta.category == ZYDIS_CATEGORY_GATHER ||
               zi->meta.category == ZYDIS_CATEGORY_SCATTER ||
               (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && zi->raw.evex.aaa);
    }
}

/* Without a mask they access the whole vector; Zydis gives the element. */
static bool is_compress_or_expand(const ZydisDecodedInstruction *zi)
{
    return zi->meta.category == ZYDIS_CATEGORY_COMPRESS ||
           zi->meta.category == ZYDIS_CATEGORY_EXPAND;
}

static void expect_hidden_memory(struct expected *e, const ZydisDecodedInstruction *zi,
                                 const ZydisDecodedOperand *op)
{
    unsigned mask = gpr_mask(op->mem.base) & ~(1u << RSP);
    e->reg_read |= mask;
    /* Zydis lists the pointers of some string instructions as registers, of others not */
    if (zi->meta.category == ZYDIS_CATEGORY_STRINGOP ||
        zi->meta.category == ZYDIS_CATEGORY_IOSTRINGOP)
        e->reg_write |= mask;
}

/* Corrections to the register sets, each with its reason. */
static void correct_registers(struct expected *e, const ZydisDecodedInstruction *zi)
{
    unsigned reg = 0;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_NOP: /* operands of a hint are not used */
        e->reg_read = e->reg_write = 0;
        break;
    case ZYDIS_MNEMONIC_BSF: /* source 0 leaves the destination: SDM 2 "BSF", AMD APM 3 "BSF" */
    case ZYDIS_MNEMONIC_BSR:
    case ZYDIS_MNEMONIC_TZCNT: /* ... and a CPU without BMI or ABM decodes these as BSF and BSR */
    case ZYDIS_MNEMONIC_LZCNT:
        e->reg_read |= e->reg_write;
        break;
    case ZYDIS_MNEMONIC_MWAITX: /* EBX is the timer: APM 3 "MWAITX" */
        e->reg_read |= 1u << RBX;
        break;
    case ZYDIS_MNEMONIC_INT3: /* the frame is pushed; Zydis leaves the stack out */
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
        e->stack = true;
        break;
    case ZYDIS_MNEMONIC_SYSENTER: /* they load RSP, they do not push */
    case ZYDIS_MNEMONIC_SYSEXIT:
        e->stack = false;
        e->reg_write |= 1u << RSP;
        break;
    default:
        break;
    }
    (void)reg;
}

/* Features that no guest is offered: the decoder calls their instructions undefined. */
static bool is_not_offered(const ZydisDecodedInstruction *zi)
{
    switch (zi->meta.isa_set) {
    case ZYDIS_ISA_SET_RTM:
    case ZYDIS_ISA_SET_TSX_LDTRK:
    case ZYDIS_ISA_SET_CET:
    case ZYDIS_ISA_SET_UINTR:
    case ZYDIS_ISA_SET_KEYLOCKER:
    case ZYDIS_ISA_SET_KEYLOCKER_WIDE:
    case ZYDIS_ISA_SET_ENQCMD:
    case ZYDIS_ISA_SET_HRESET:
    case ZYDIS_ISA_SET_MCOMMIT:
    case ZYDIS_ISA_SET_RDPRU:
    case ZYDIS_ISA_SET_LWP:
    case ZYDIS_ISA_SET_KNCE: /* Xeon Phi */
    case ZYDIS_ISA_SET_KNCJKBR:
    case ZYDIS_ISA_SET_KNCSTREAM:
    case ZYDIS_ISA_SET_KNCV:
    case ZYDIS_ISA_SET_KNC_MISC:
    case ZYDIS_ISA_SET_KNC_PF_HINT:
    case ZYDIS_ISA_SET_AVX512ER_512:
    case ZYDIS_ISA_SET_AVX512ER_SCALAR:
    case ZYDIS_ISA_SET_AVX512PF_512:
    case ZYDIS_ISA_SET_AVX512_4FMAPS_512:
    case ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR:
    case ZYDIS_ISA_SET_AVX512_4VNNIW_512:
    case ZYDIS_ISA_SET_PADLOCK_ACE:
    case ZYDIS_ISA_SET_PADLOCK_PHE:
    case ZYDIS_ISA_SET_PADLOCK_PMM:
    case ZYDIS_ISA_SET_PADLOCK_RNG:
        return true;
    default:
        return zi->mnemonic == ZYDIS_MNEMONIC_RSM; /* SMM */
    }
}

static void expect_memory(struct expected *e, const ZydisDecodedInstruction *zi,
                          const ZydisDecodedOperand *op)
{
    e->mem = true;
    e->base = gpr_number(op->mem.base);
    e->index = gpr_number(op->mem.index);
    if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
        e->index = (unsigned)ZydisRegisterGetId(op->mem.index);
    e->scale = op->mem.scale ? op->mem.scale : 1;
    e->disp = op->mem.disp.value;
    e->mem_size = op->size / 8;
    if (op->mem.type == ZYDIS_MEMOP_TYPE_AGEN || has_no_access(zi)) {
        e->mem_size = 0;
        return;
    }
    if (size_depends(zi))
        e->mem_size = 0;
    if (is_compress_or_expand(zi) && e->mem_size)
        e->mem_size = zi->avx.vector_length / 8;
    if (zi->meta.category == ZYDIS_CATEGORY_XSAVE || zi->meta.category == ZYDIS_CATEGORY_XSAVEOPT)
        e->mem_size = strstr(ZydisMnemonicGetString(zi->mnemonic), "fx") ? 512 : 0;
    e->mem_read = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    e->mem_write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

static void expect_register(struct expected *e, const ZydisDecodedOperand *op)
{
    unsigned mask = gpr_mask(op->reg.value);
    bool hidden = op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
    if (!mask)
        return;
    if (hidden && mask == 1u << RSP) {
        e->stack = true;
        return;
    }
    if (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
        e->reg_read |= mask;
    if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
        e->reg_write |= mask;
    /* a conditional or narrow write keeps what was there */
    if (op->actions & ZYDIS_OPERAND_ACTION_CONDWRITE ||
        (op->actions & ZYDIS_OPERAND_ACTION_WRITE && op->size <= 16))
        e->reg_read |= mask;
}

static void expect(struct expected *e, const ZydisDecodedInstruction *zi,
                   const ZydisDecodedOperand *ops)
{
    *e = (struct expected){.base = GPR_NONE, .index = GPR_NONE, .scale = 1};
    for (unsigned i = 0; i < zi->operand_count; i++) {
        const ZydisDecodedOperand *op = &ops[i];
        if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
            expect_register(e, op);
        else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY &&
                 op->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT && !e->mem)
            expect_memory(e, zi, op);
        else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
            expect_hidden_memory(e, zi, op);
    }
    correct_registers(e, zi);
}

/* 3DNow! has its opcode where an immediate would be; Zydis calls it the opcode. */
static void compare_layout(struct report *r, const struct insn *in, const ZydisDecodedInstruction *zi)
{
    bool modrm = zi->attributes & ZYDIS_ATTRIB_HAS_MODRM;
    bool sib = zi->attributes & ZYDIS_ATTRIB_HAS_SIB;
    unsigned disp = zi->raw.disp.size / 8, imm = zi->raw.imm[0].size / 8;
    if (in->len != zi->length)
        differ(r, "len %u for %u; ", in->len, zi->length);
    if (in->has_modrm != modrm || (modrm && in->modrm_off != zi->raw.modrm.offset))
        differ(r, "modrm %u at %u for %u at %u; ", in->has_modrm, in->modrm_off, modrm,
               zi->raw.modrm.offset);
    if (in->has_sib != sib)
        differ(r, "sib %u for %u; ", in->has_sib, sib);
    if (in->moffs) {
        if (in->imm_len != disp || in->imm_off != zi->raw.disp.offset)
            differ(r, "moffs %u at %u; ", in->imm_len, in->imm_off);
        return;
    }
    if (in->disp_len != disp || (disp && in->disp_off != zi->raw.disp.offset))
        differ(r, "disp_len %u at %u for %u at %u; ", in->disp_len, in->disp_off, disp,
               zi->raw.disp.offset);
    if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW)
        return;
    if (in->imm_len != imm || (imm && in->imm_off != zi->raw.imm[0].offset))
        differ(r, "imm_len %u at %u for %u at %u; ", in->imm_len, in->imm_off, imm,
               zi->raw.imm[0].offset);
    uint64_t mask = imm < 8 ? (1ull << imm * 8) - 1 : ~0ull;
    if (imm && ((uint64_t)in->imm ^ zi->raw.imm[0].value.u) & mask)
        differ(r, "imm %" PRIx64 " for %" PRIx64 "; ", (uint64_t)in->imm, zi->raw.imm[0].value.u);
    if (zi->raw.imm[1].size && in->imm2 != (uint8_t)zi->raw.imm[1].value.u)
        differ(r, "imm2 %x; ", in->imm2);
}

static void compare_memory(struct report *r, const struct insn *in, const struct expected *e)
{
    if (in->mem != e->mem)
        differ(r, "mem %u for %u; ", in->mem, e->mem);
    if (!in->mem || !e->mem)
        return;
    if (in->base != e->base || in->index != e->index || in->scale != e->scale)
        differ(r, "address %u+%u*%u for %u+%u*%u; ", in->base, in->index, in->scale, e->base,
               e->index, e->scale);
    if (!in->moffs && in->disp != e->disp)
        differ(r, "disp %d for %" PRId64 "; ", in->disp, e->disp);
    if (in->mem_read != e->mem_read || in->mem_write != e->mem_write)
        differ(r, "access r%u w%u for r%u w%u; ", in->mem_read, in->mem_write, e->mem_read,
               e->mem_write);
    if (in->mem_size != e->mem_size)
        differ(r, "mem_size %u for %u; ", in->mem_size, e->mem_size);
}

bool insn_zydis_agree(struct insn_zydis *z, const uint8_t *bytes, size_t avail, unsigned *len,
                      char *why, size_t why_size)
{
    struct report r = {.text = why, .size = why_size};
    struct insn in;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    enum insn_status status = insn_decode(&in, bytes, avail);
    ZyanStatus zs = ZydisDecoderDecodeFull(&z->decoder, bytes, avail, &zi, ops);

    *len = 1;
    if (zs == ZYDIS_STATUS_NO_MORE_DATA || zs == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
        if (status == INSN_OK && in.cls != CLS_UD)
            differ(&r, "decodes, len %u; too long or short in Zydis; ", in.len);
        return !r.differs;
    }
    if (ZYAN_FAILED(zs)) {
        if (status == INSN_OK && in.cls != CLS_UD &&
            !(in.map == 1 && in.opcode == 0x0f)) /* the decoder knows no list of 3DNow! operations */
            differ(&r, "class %u op %02x map %u; undefined in Zydis (%x); ", in.cls, in.opcode, in.map, zs & 0xff);
        return !r.differs;
    }
    *len = zi.length;
    if (status != INSN_OK) {
        differ(&r, "status %d; %s; ", status, ZydisMnemonicGetString(zi.mnemonic));
        return false;
    }
    struct expected e;
    expect(&e, &zi, ops);
    if (in.cls == CLS_UD) {
        if (is_not_offered(&zi))
            return true;
        if (zi.mnemonic != ZYDIS_MNEMONIC_UD0 && zi.mnemonic != ZYDIS_MNEMONIC_UD1 &&
            zi.mnemonic != ZYDIS_MNEMONIC_UD2)
            differ(&r, "undefined; %s", ZydisMnemonicGetString(zi.mnemonic));
        else if (in.len != zi.length)
            differ(&r, "len %u for %u; ", in.len, zi.length);
        return !r.differs;
    }
    compare_layout(&r, &in, &zi);
    compare_memory(&r, &in, &e);
    if (in.cls == CLS_VMX) /* #UD in every guest: the registers they would use are not described */
        return !r.differs;
    if (in.reg_read != e.reg_read)
        differ(&r, "reg_read %04x for %04x; ", in.reg_read, e.reg_read);
    if (in.reg_write != e.reg_write)
        differ(&r, "reg_write %04x for %04x; ", in.reg_write, e.reg_write);
    if (in.stack != e.stack)
        differ(&r, "stack %u for %u; ", in.stack, e.stack);
    if (r.differs)
        differ(&r, "%s", ZydisMnemonicGetString(zi.mnemonic));
    return !r.differs;
}
