/* See insn_zydis.h. What Zydis reports is turned into the terms of struct insn, then compared field
 * by field. Where the two differ legitimately, the difference stands here, with its reason.
 */
#include "insn_zydis.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What struct insn should say of operands, derived from Zydis. */
struct expected {
    bool mem, mem_read, mem_write, hidden_mem;
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
    ZydisDecoderInit(&z->decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecoderEnableMode(&z->decoder, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_TRUE);
    /* features no guest is offered: their opcodes are then hints */
    ZydisDecoderEnableMode(&z->decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(&z->decoder, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    insn_zydis_init_classes(z);
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
    case ZYDIS_ISA_SET_PADLOCK_ACE: /* VIA */
    case ZYDIS_ISA_SET_PADLOCK_PHE:
    case ZYDIS_ISA_SET_PADLOCK_PMM:
    case ZYDIS_ISA_SET_PADLOCK_RNG:
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
    case ZYDIS_ISA_SET_AVX512_4VNNIW_512: return true;
    default: break;
    }
    /* RAO-INT and others, by name: Zydis 4.1 has them, 4.0 does not */
    static const char *const newer[] = {"aadd", "aand", "aor", "axor", "pbndkb", "pcommit",
                                        "wrmsrns", "rdmsrlist", "wrmsrlist"};
    for (size_t i = 0; i < ARRAY_LEN(newer); i++)
        if (strcmp(ZydisMnemonicGetString(zi->mnemonic), newer[i]) == 0)
            return true;
    return zi->mnemonic == ZYDIS_MNEMONIC_RSM; /* #UD outside SMM: SDM 2 "RSM" */
}

/* Instructions the decoder knows and Zydis 4.0 does not: SDM 2 and the Instruction Set Extensions
 * Programming Reference. All VEX but the first. */
static bool is_newer_than_zydis(const struct insn *in)
{
    if (in->encoding == INSN_LEGACY) /* 3DNow! suffixes: the decoder leaves them to the CPU */
        return in->map == 1 && in->opcode == 0x0f;
    if (in->encoding != INSN_VEX)
        return false;
    if (in->map == 3)
        return in->opcode == 0xde; /* SM3 */
    if (in->map != 2)
        return false;
    switch (in->opcode) {
    case 0x50: /* AVX-VNNI-INT8 */
    case 0x51: return !(in->prefixes & INSN_OPSIZE);
    case 0x5c: /* AMX-FP16 */ return in->prefixes & INSN_REPNE;
    case 0x6c: /* AMX-COMPLEX */
    case 0x72: /* AVX-NE-CONVERT */
    case 0xb0:
    case 0xb1:
    case 0xb4: /* AVX-IFMA */
    case 0xb5:
    case 0xcb: /* SHA512 */
    case 0xcc:
    case 0xcd:
    case 0xd2: /* AVX-VNNI-INT16 */
    case 0xd3:
    case 0xda: /* SM3, SM4 */ return true;
    default: return in->opcode >= 0xe0 && in->opcode <= 0xef; /* CMPCCXADD */
    }
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
    case ZYDIS_MNEMONIC_CLDEMOTE: return true;
    default:
        return zi->meta.category == ZYDIS_CATEGORY_PREFETCH ||
               zi->meta.category == ZYDIS_CATEGORY_PREFETCHWT1;
    }
}

/* Whether a mask or XCR0 decides how much of the memory operand is accessed. */
static bool size_depends(const ZydisDecodedInstruction *zi)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ: return true;
    default: break;
    }
    switch (zi->meta.category) {
    case ZYDIS_CATEGORY_AVX2GATHER:
    case ZYDIS_CATEGORY_GATHER:
    case ZYDIS_CATEGORY_SCATTER:
    case ZYDIS_CATEGORY_XSAVEOPT: return true;
    case ZYDIS_CATEGORY_XSAVE: /* not fxsave, though Zydis puts it here */
        return !strstr(ZydisMnemonicGetString(zi->mnemonic), "fx");
    default: return zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && zi->raw.evex.aaa;
    }
}

static unsigned memory_size(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
    if (op->mem.type == ZYDIS_MEMOP_TYPE_AGEN || has_no_access(zi) || size_depends(zi))
        return 0;
    /* without a mask they access the whole vector; Zydis gives the element */
    if (zi->meta.category == ZYDIS_CATEGORY_COMPRESS || zi->meta.category == ZYDIS_CATEGORY_EXPAND)
        return zi->avx.vector_length / 8;
    return op->size / 8;
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

static void expect_memory(struct expected *e, const ZydisDecodedInstruction *zi,
                          const ZydisDecodedOperand *op)
{
    bool access = op->mem.type != ZYDIS_MEMOP_TYPE_AGEN && !has_no_access(zi);
    e->mem = true;
    e->base = gpr_number(op->mem.base);
    e->index = op->mem.type == ZYDIS_MEMOP_TYPE_VSIB ? (unsigned)ZydisRegisterGetId(op->mem.index)
                                                     : gpr_number(op->mem.index);
    e->scale = op->mem.scale ? op->mem.scale : 1;
    e->disp = op->mem.disp.value;
    /* mod 0, SIB base 101 is disp32 without base whatever REX.B says (SDM 2 table 2-3, and so does
     * the CPU); Zydis 4.0 with a 67 prefix takes REX.B for r13d */
    if (op->mem.base == ZYDIS_REGISTER_R13D && zi->raw.modrm.mod == 0) {
        e->base = GPR_NONE;
        e->disp = zi->raw.disp.value;
    }
    e->mem_size = memory_size(zi, op);
    e->mem_read = access && op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    e->mem_write = access && op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

/* Memory that the encoding does not name: strings, the stack, xlat and the like. */
static void expect_hidden_memory(struct expected *e, const ZydisDecodedInstruction *zi,
                                 const ZydisDecodedOperand *op)
{
    unsigned mask = gpr_mask(op->mem.base) & ~(1u << RSP);
    e->reg_read |= mask;
    /* Zydis lists the pointers of some string instructions as registers, of others not */
    if (zi->meta.category == ZYDIS_CATEGORY_STRINGOP ||
        zi->meta.category == ZYDIS_CATEGORY_IOSTRINGOP)
        e->reg_write |= mask;
    else if (mask && mask != 1u << RBP) /* leave */
        e->hidden_mem = true;
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

/* Where Zydis says less, or other, than the manuals. */
static void correct(struct expected *e, const ZydisDecodedInstruction *zi)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_NOP: /* operands of a hint are not used: SDM 2 "NOP" */
        e->reg_read = e->reg_write = 0;
        break;
    /* source 0 leaves the destination as it is: APM 3 "BSF", SDM 2 "BSF". A CPU without BMI or ABM
     * decodes tzcnt and lzcnt as these: SDM 2 "TZCNT" */
    case ZYDIS_MNEMONIC_BSF:
    case ZYDIS_MNEMONIC_BSR:
    case ZYDIS_MNEMONIC_TZCNT:
    case ZYDIS_MNEMONIC_LZCNT: e->reg_read |= e->reg_write; break;
    case ZYDIS_MNEMONIC_MWAITX: /* EBX is the timer: APM 3 "MWAITX" */
        e->reg_read |= 1u << RBX;
        break;
    case ZYDIS_MNEMONIC_INT3: /* a frame is pushed: SDM 3 "Interrupt and Exception Handling" */
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1: e->stack = true; break;
    case ZYDIS_MNEMONIC_SYSENTER: /* they load RSP, they do not push or pop: SDM 2 "SYSENTER" */
    case ZYDIS_MNEMONIC_SYSEXIT:
        e->stack = false;
        e->reg_write |= 1u << RSP;
        break;
    case ZYDIS_MNEMONIC_UMONITOR:  /* the register is an address: SDM 2 "UMONITOR" */
    case ZYDIS_MNEMONIC_MOVDIR64B: /* one operand is ModRM's, the other a register: "MOVDIR64B" */
    case ZYDIS_MNEMONIC_CLZERO: /* rAX is an address: APM 3 "CLZERO" */ e->hidden_mem = true; break;
    default: break;
    }
}

static void expect(struct expected *e, const ZydisDecodedInstruction *zi,
                   const ZydisDecodedOperand *ops)
{
    *e = (struct expected){.base = GPR_NONE, .index = GPR_NONE, .scale = 1};
    for (unsigned i = 0; i < zi->operand_count; i++) {
        const ZydisDecodedOperand *op = &ops[i];
        if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
            expect_register(e, op);
        else if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        else if (op->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT && !e->mem)
            expect_memory(e, zi, op);
        else
            expect_hidden_memory(e, zi, op);
    }
    correct(e, zi);
}

static void compare_immediate(struct report *r, const struct insn *in,
                              const ZydisDecodedInstruction *zi)
{
    unsigned len = zi->raw.imm[0].size / 8, len2 = zi->raw.imm[1].size / 8;
    uint64_t mask = len < 8 ? (1ull << len * 8) - 1 : ~0ull;
    if (in->imm_len != len || (len && in->imm_off != zi->raw.imm[0].offset))
        differ(r, "imm_len %u at %u for %u at %u; ", in->imm_len, in->imm_off, len,
               zi->raw.imm[0].offset);
    else if (len && ((uint64_t)in->imm ^ zi->raw.imm[0].value.u) & mask)
        differ(r, "imm %" PRIx64 " for %" PRIx64 "; ", in->imm, zi->raw.imm[0].value.u);
    if (len2 > 1 || (len2 && in->imm2 != (uint8_t)zi->raw.imm[1].value.u))
        differ(r, "imm2 %x for %" PRIx64 "; ", in->imm2, zi->raw.imm[1].value.u);
}

static void compare_layout(struct report *r, const struct insn *in,
                           const ZydisDecodedInstruction *zi)
{
    bool modrm = zi->attributes & ZYDIS_ATTRIB_HAS_MODRM;
    bool sib = zi->attributes & ZYDIS_ATTRIB_HAS_SIB;
    unsigned disp = zi->raw.disp.size / 8;
    if (in->len != zi->length)
        differ(r, "len %u for %u; ", in->len, zi->length);
    if (in->has_modrm != modrm || (modrm && in->modrm_off != zi->raw.modrm.offset))
        differ(r, "modrm %u at %u for %u at %u; ", in->has_modrm, in->modrm_off, modrm,
               zi->raw.modrm.offset);
    if (in->has_sib != sib)
        differ(r, "sib %u for %u; ", in->has_sib, sib);
    if (in->moffs) { /* the address is a displacement in Zydis, an immediate here */
        if (in->imm_len != disp || in->imm_off != zi->raw.disp.offset)
            differ(r, "moffs %u at %u; ", in->imm_len, in->imm_off);
        return;
    }
    if (in->disp_len != disp || (disp && in->disp_off != zi->raw.disp.offset))
        differ(r, "disp_len %u at %u for %u at %u; ", in->disp_len, in->disp_off, disp,
               zi->raw.disp.offset);
    if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_3DNOW) /* its opcode stands as an immediate */
        compare_immediate(r, in, zi);
}

static void compare_prefixes(struct report *r, const struct insn *in,
                             const ZydisDecodedInstruction *zi)
{
    bool fs = zi->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS;
    bool gs = zi->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS;
    bool lock = zi->attributes & ZYDIS_ATTRIB_HAS_LOCK;
    if (fs && in->seg != SEG_FS)
        differ(r, "seg %u for fs; ", in->seg);
    if (gs && in->seg != SEG_GS)
        differ(r, "seg %u for gs; ", in->seg);
    if (lock != !!(in->prefixes & INSN_LOCK))
        differ(r, "lock %u; ", lock);
    if (in->addrsize != zi->address_width / 8 && in->cls != CLS_VMX) /* SGX: always 8 */
        differ(r, "addrsize %u for %u; ", in->addrsize, zi->address_width / 8);
}

/* Operand sizes that are not the effective operand size Zydis gives. */
static bool has_own_opsize(const ZydisDecodedInstruction *zi)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_LAHF: /* of a byte */
    case ZYDIS_MNEMONIC_SAHF:
    case ZYDIS_MNEMONIC_XLAT:
    case ZYDIS_MNEMONIC_FNSTSW: /* of 2 bytes */
    case ZYDIS_MNEMONIC_LLDT:
    case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_PINSRB: /* of 4 */
    case ZYDIS_MNEMONIC_PINSRW:
    case ZYDIS_MNEMONIC_TPAUSE:
    case ZYDIS_MNEMONIC_UMWAIT:
    case ZYDIS_MNEMONIC_INSD: /* of 4, W does nothing */
    case ZYDIS_MNEMONIC_OUTSD:
    case ZYDIS_MNEMONIC_RDPID: /* of 8 */
    case ZYDIS_MNEMONIC_UMONITOR:
    case ZYDIS_MNEMONIC_MOVDIR64B:
    case ZYDIS_MNEMONIC_CRC32: /* 66 is not their operand size */
    case ZYDIS_MNEMONIC_PTWRITE:
    case ZYDIS_MNEMONIC_RDFSBASE:
    case ZYDIS_MNEMONIC_RDGSBASE:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_NOP: return true;
    case ZYDIS_MNEMONIC_MOV: /* to a segment register: of 2 bytes */ return zi->opcode == 0x8e;
    default: return zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    }
}

static void compare_operands(struct report *r, const struct insn *in, const struct expected *e)
{
    if (in->reg_read != e->reg_read)
        differ(r, "reg_read %04x for %04x; ", in->reg_read, e->reg_read);
    if (in->reg_write != e->reg_write)
        differ(r, "reg_write %04x for %04x; ", in->reg_write, e->reg_write);
    if (in->stack != e->stack)
        differ(r, "stack %u for %u; ", in->stack, e->stack);
    if (in->hidden_mem != e->hidden_mem)
        differ(r, "hidden_mem %u for %u; ", in->hidden_mem, e->hidden_mem);
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

static void compare(struct report *r, const struct insn *in, const struct insn_zydis *z,
                    const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    enum insn_class cls = insn_zydis_class(z, zi, ops);
    struct expected e;
    if (in->cls == CLS_UD && is_not_offered(zi))
        return;
    if (in->cls != cls)
        differ(r, "class %u for %u; ", in->cls, cls);
    compare_layout(r, in, zi);
    compare_prefixes(r, in, zi);
    if (in->cls != CLS_VMX && in->cls != CLS_UD) { /* operands of what only raises #UD: not given */
        expect(&e, zi, ops);
        compare_operands(r, in, &e);
        if (in->opsize && in->opsize != zi->operand_width / 8 && !has_own_opsize(zi))
            differ(r, "opsize %u for %u; ", in->opsize, zi->operand_width / 8);
    }
    if (r->differs)
        differ(r, "%s", ZydisMnemonicGetString(zi->mnemonic));
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
    if (ZYAN_SUCCESS(zs)) {
        *len = zi.length;
        if (status == INSN_OK)
            compare(&r, &in, z, &zi, ops);
        else
            differ(&r, "status %d; %s", status, ZydisMnemonicGetString(zi.mnemonic));
    } else if (status == INSN_OK && in.cls != CLS_UD && !is_newer_than_zydis(&in)) {
        differ(&r, "class %u opcode %02x map %u encoding %u; undefined in Zydis (%x)", in.cls,
               in.opcode, in.map, in.encoding, zs & 0xff);
    }
    return !r.differs;
}
