/* Which enum insn_class an instruction has, worked out from what Zydis says of it: independent of
 * the opcode maps that the decoder takes its classes from.
 */
#include "insn_zydis.h"

#include <string.h>

#define UNLISTED 0xff

/* Sensitive instructions: the mnemonic alone decides. */
/* clang-format off */
static const struct {
    uint16_t mnemonic;
    uint8_t cls;
} listed[] = {
#define IS(name, cls) {ZYDIS_MNEMONIC_##name, CLS_##cls}
    IS(CLI, CLI), IS(STI, STI), IS(HLT, HLT), IS(STAC, STAC), IS(CLAC, CLAC),
    IS(PUSHF, PUSHF), IS(PUSHFQ, PUSHF), IS(POPF, POPF), IS(POPFQ, POPF),
    IS(CLTS, CLTS), IS(LMSW, LMSW), IS(SMSW, SMSW),
    IS(LGDT, LGDT), IS(LIDT, LIDT), IS(SGDT, SGDT), IS(SIDT, SIDT),
    IS(LLDT, LLDT), IS(LTR, LTR), IS(SLDT, SLDT), IS(STR, STR),
    IS(LAR, LAR), IS(LSL, LSL), IS(VERR, VERR), IS(VERW, VERW),
    IS(LSS, LOAD_FAR_PTR), IS(LFS, LOAD_FAR_PTR), IS(LGS, LOAD_FAR_PTR),
    IS(SWAPGS, SWAPGS), IS(RDFSBASE, RDFSBASE), IS(RDGSBASE, RDGSBASE),
    IS(WRFSBASE, WRFSBASE), IS(WRGSBASE, WRGSBASE),
    IS(INVLPG, INVLPG), IS(INVPCID, INVPCID), IS(INVD, INVD),
    IS(WBINVD, WBINVD),
    IS(CPUID, CPUID), IS(RDTSC, RDTSC), IS(RDTSCP, RDTSCP), IS(RDPMC, RDPMC), IS(RDPID, RDPID),
    IS(RDMSR, RDMSR), IS(WRMSR, WRMSR), IS(XGETBV, XGETBV), IS(XSETBV, XSETBV),
    IS(XSAVE, XSAVE), IS(XSAVE64, XSAVE), IS(XSAVEOPT, XSAVE), IS(XSAVEOPT64, XSAVE),
    IS(XSAVEC, XSAVE), IS(XSAVEC64, XSAVE), IS(XSAVES, XSAVE), IS(XSAVES64, XSAVE),
    IS(FXSAVE, XSAVE), IS(FXSAVE64, XSAVE),
    IS(XRSTOR, XRSTOR), IS(XRSTOR64, XRSTOR), IS(XRSTORS, XRSTOR), IS(XRSTORS64, XRSTOR),
    IS(FXRSTOR, XRSTOR), IS(FXRSTOR64, XRSTOR),
    IS(MONITOR, MONITOR), IS(MONITORX, MONITOR), IS(MWAIT, MWAIT), IS(MWAITX, MWAIT),
    IS(RDPKRU, RDPKRU), IS(WRPKRU, WRPKRU), IS(SERIALIZE, SERIALIZE),
    IS(VMCALL, VMCALL), IS(VMMCALL, VMCALL),
    /* VMX, SVM, SMX, SGX, SEV-SNP, TDX */
    IS(VMLAUNCH, VMX), IS(VMRESUME, VMX), IS(VMXOFF, VMX), IS(VMXON, VMX), IS(VMFUNC, VMX),
    IS(VMPTRLD, VMX), IS(VMPTRST, VMX), IS(VMCLEAR, VMX), IS(VMREAD, VMX), IS(VMWRITE, VMX),
    IS(INVEPT, VMX), IS(INVVPID, VMX), IS(VMRUN, VMX), IS(VMLOAD, VMX), IS(VMSAVE, VMX),
    IS(STGI, VMX), IS(CLGI, VMX), IS(SKINIT, VMX), IS(INVLPGA, VMX),
    IS(GETSEC, VMX), IS(ENCLS, VMX), IS(ENCLU, VMX), IS(ENCLV, VMX), IS(PCONFIG, VMX),
    IS(PVALIDATE, VMX), IS(PSMASH, VMX), IS(RMPADJUST, VMX), IS(RMPUPDATE, VMX),
    IS(INVLPGB, VMX), IS(TLBSYNC, VMX),
    IS(TDCALL, VMX), IS(SEAMCALL, VMX), IS(SEAMRET, VMX), IS(SEAMOPS, VMX),
    IS(CLFLUSH, CLFLUSH), IS(CLFLUSHOPT, CLFLUSH), IS(CLWB, CLFLUSH), IS(CLDEMOTE, CLFLUSH),
    IS(UD0, UD), IS(UD1, UD), IS(UD2, UD),
    /* control */
    IS(INT3, INT3), IS(INT1, INT1), IS(INT, INTN),
    IS(IRET, IRET), IS(IRETD, IRET), IS(IRETQ, IRET),
    IS(SYSCALL, SYSCALL), IS(SYSRET, SYSRET), IS(SYSENTER, SYSENTER), IS(SYSEXIT, SYSEXIT),
    IS(LOOP, LOOP), IS(LOOPE, LOOP), IS(LOOPNE, LOOP),
    IS(JCXZ, LOOP), IS(JECXZ, LOOP), IS(JRCXZ, LOOP),
    /* no register shows that these touch FPU state */
    IS(EMMS, FPU), IS(FEMMS, FPU), IS(VZEROUPPER, FPU), IS(VZEROALL, FPU), IS(FWAIT, FPU),
    IS(LDMXCSR, FPU), IS(STMXCSR, FPU), IS(VLDMXCSR, FPU), IS(VSTMXCSR, FPU),
    IS(LDTILECFG, FPU), IS(STTILECFG, FPU), IS(TILERELEASE, FPU),
    IS(NOP, NOP), IS(ENDBR32, NOP), IS(ENDBR64, NOP),
#undef IS
};
/* clang-format on */

void insn_zydis_init_classes(struct insn_zydis *z)
{
    memset(z->class_of, UNLISTED, sizeof(z->class_of));
    for (size_t i = 0; i < ARRAY_LEN(listed); i++)
        z->class_of[listed[i].mnemonic] = listed[i].cls;
}

static enum insn_class branch_class(const ZydisDecodedInstruction *zi)
{
    bool far = zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    bool relative = zi->raw.imm[0].is_relative;
    switch (zi->meta.category) {
    case ZYDIS_CATEGORY_COND_BR: return CLS_JCC;
    case ZYDIS_CATEGORY_UNCOND_BR: return far ? CLS_JMP_FAR : relative ? CLS_JMP_REL : CLS_JMP_IND;
    case ZYDIS_CATEGORY_CALL: return far ? CLS_CALL_FAR : relative ? CLS_CALL_REL : CLS_CALL_IND;
    default: return far ? CLS_RETF : CLS_RET;
    }
}

/* The mnemonics of strings are those of some SSE instructions, too; the opcode tells. */
static enum insn_class string_class(const ZydisDecodedInstruction *zi)
{
    switch (zi->opcode & 0xfe) {
    case 0x6c: return CLS_INS;
    case 0x6e: return CLS_OUTS;
    case 0xa4: return CLS_MOVS;
    case 0xa6: return CLS_CMPS;
    case 0xaa: return CLS_STOS;
    case 0xac: return CLS_LODS;
    default: return CLS_SCAS;
    }
}

/* mov, push and pop are sensitive by their operand. */
static enum insn_class operand_class(const ZydisDecodedInstruction *zi,
                                     const ZydisDecodedOperand *op, bool is_first)
{
    switch (ZydisRegisterGetClass(op->reg.value)) {
    case ZYDIS_REGCLASS_SEGMENT:
        if (zi->mnemonic == ZYDIS_MNEMONIC_PUSH)
            return CLS_PUSH_SEG;
        if (zi->mnemonic == ZYDIS_MNEMONIC_POP)
            return CLS_POP_SEG;
        return is_first ? CLS_MOV_TO_SEG : CLS_MOV_FROM_SEG;
    case ZYDIS_REGCLASS_CONTROL: return is_first ? CLS_MOV_TO_CR : CLS_MOV_FROM_CR;
    case ZYDIS_REGCLASS_DEBUG: return is_first ? CLS_MOV_TO_DR : CLS_MOV_FROM_DR;
    case ZYDIS_REGCLASS_X87:
    case ZYDIS_REGCLASS_MMX:
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM:
    case ZYDIS_REGCLASS_ZMM:
    case ZYDIS_REGCLASS_TMM:
    case ZYDIS_REGCLASS_MASK: return CLS_FPU;
    default: return CLS_PLAIN;
    }
}

static bool has_rep(const ZydisDecodedInstruction *zi)
{
    for (unsigned i = 0; i < zi->raw.prefix_count; i++)
        if (zi->raw.prefixes[i].value == 0xf2 || zi->raw.prefixes[i].value == 0xf3)
            return true;
    return false;
}

enum insn_class insn_zydis_class(const struct insn_zydis *z, const ZydisDecodedInstruction *zi,
                                 const ZydisDecodedOperand *ops)
{
    if (zi->mnemonic == ZYDIS_MNEMONIC_VMMCALL && has_rep(zi))
        return CLS_VMX; /* vmgexit: APM 3. Zydis 4.0 does not tell */
    if (z->class_of[zi->mnemonic] != UNLISTED)
        return z->class_of[zi->mnemonic];
    switch (zi->meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET: return branch_class(zi);
    case ZYDIS_CATEGORY_STRINGOP:
    case ZYDIS_CATEGORY_IOSTRINGOP: return string_class(zi);
    case ZYDIS_CATEGORY_IO: return zi->mnemonic == ZYDIS_MNEMONIC_IN ? CLS_IN : CLS_OUT;
    case ZYDIS_CATEGORY_X87_ALU: return CLS_FPU;
    case ZYDIS_CATEGORY_CONVERT: /* from memory to a general register: no vector register shows */
        return zi->meta.isa_ext == ZYDIS_ISA_EXT_BASE || zi->meta.isa_ext == ZYDIS_ISA_EXT_LONGMODE
                   ? CLS_PLAIN
                   : CLS_FPU;
    default: break;
    }
    /* Hints: Zydis 4.0 gives them no name of their own, either. */
    if (strncmp(ZydisMnemonicGetString(zi->mnemonic), "prefetchit", 10) == 0)
        return CLS_NOP;
    for (unsigned i = 0; i < zi->operand_count; i++) {
        enum insn_class cls = CLS_PLAIN;
        if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
            cls = operand_class(zi, &ops[i], i == 0);
        if (cls != CLS_PLAIN)
            return cls;
    }
    return CLS_PLAIN;
}
