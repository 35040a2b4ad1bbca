/* Text of a decoded instruction and bytes of a sample. See insn_samples.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "insn_samples.h"

/* clang-format off */
static const char *const class_names[CLS_COUNT] = {
#define NAME(upper, lower) [CLS_##upper] = #lower
    NAME(PLAIN, plain), NAME(NOP, nop), NAME(UD, ud), NAME(FPU, fpu), NAME(JCC, jcc),
    NAME(LOOP, loop), NAME(JMP_REL, jmp_rel), NAME(JMP_IND, jmp_ind), NAME(JMP_FAR, jmp_far),
    NAME(CALL_REL, call_rel), NAME(CALL_IND, call_ind), NAME(CALL_FAR, call_far),
    NAME(RET, ret), NAME(RETF, retf), NAME(IRET, iret), NAME(INT3, int3), NAME(INT1, int1),
    NAME(INTN, intn), NAME(SYSCALL, syscall), NAME(SYSRET, sysret), NAME(SYSENTER, sysenter),
    NAME(SYSEXIT, sysexit), NAME(MOVS, movs), NAME(CMPS, cmps), NAME(STOS, stos),
    NAME(LODS, lods), NAME(SCAS, scas), NAME(INS, ins), NAME(OUTS, outs), NAME(IN, in),
    NAME(OUT, out), NAME(CLI, cli), NAME(STI, sti), NAME(PUSHF, pushf), NAME(POPF, popf),
    NAME(HLT, hlt), NAME(STAC, stac), NAME(CLAC, clac), NAME(MOV_FROM_CR, mov_from_cr),
    NAME(MOV_TO_CR, mov_to_cr), NAME(MOV_FROM_DR, mov_from_dr), NAME(MOV_TO_DR, mov_to_dr),
    NAME(CLTS, clts), NAME(LMSW, lmsw), NAME(SMSW, smsw), NAME(LGDT, lgdt), NAME(LIDT, lidt),
    NAME(SGDT, sgdt), NAME(SIDT, sidt), NAME(LLDT, lldt), NAME(LTR, ltr), NAME(SLDT, sldt),
    NAME(STR, str), NAME(LAR, lar), NAME(LSL, lsl), NAME(VERR, verr), NAME(VERW, verw),
    NAME(MOV_FROM_SEG, mov_from_seg), NAME(MOV_TO_SEG, mov_to_seg), NAME(PUSH_SEG, push_seg),
    NAME(POP_SEG, pop_seg), NAME(LOAD_FAR_PTR, load_far_ptr), NAME(SWAPGS, swapgs),
    NAME(RDFSBASE, rdfsbase), NAME(RDGSBASE, rdgsbase), NAME(WRFSBASE, wrfsbase),
    NAME(WRGSBASE, wrgsbase), NAME(INVLPG, invlpg), NAME(INVPCID, invpcid), NAME(INVD, invd),
    NAME(WBINVD, wbinvd), NAME(CPUID, cpuid), NAME(RDTSC, rdtsc), NAME(RDTSCP, rdtscp),
    NAME(RDPMC, rdpmc), NAME(RDPID, rdpid), NAME(RDMSR, rdmsr), NAME(WRMSR, wrmsr),
    NAME(XGETBV, xgetbv), NAME(XSETBV, xsetbv), NAME(XSAVE, xsave), NAME(XRSTOR, xrstor),
    NAME(MONITOR, monitor), NAME(MWAIT, mwait), NAME(RDPKRU, rdpkru), NAME(WRPKRU, wrpkru),
    NAME(SERIALIZE, serialize), NAME(VMCALL, vmcall), NAME(VMX, vmx), NAME(CLFLUSH, clflush),
#undef NAME
};
/* clang-format on */

static const char *const gpr_names[] = {"ax", "cx",  "dx",  "bx",  "sp",  "bp",  "si",  "di", "r8",
                                        "r9", "r10", "r11", "r12", "r13", "r14", "r15", "ip"};
static const char *const seg_names[] = {"es", "cs", "ss", "ds", "fs", "gs"};

struct line {
    char *text;
    size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void put(struct line *line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (line->used < line->size) {
        int n = vsnprintf(line->text + line->used, line->size - line->used, fmt, args);
        line->used += n > 0 ? (size_t)n : 0;
    }
    va_end(args);
}

static void put_registers(struct line *line, const char *what, unsigned mask)
{
    const char *before = what;
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        if (!(mask >> i & 1))
            continue;
        put(line, "%s%s", before, gpr_names[i]);
        before = ",";
    }
}

static void put_memory(struct line *line, const struct insn *in)
{
    put(line, " mem ");
    if (in->seg != SEG_NONE)
        put(line, "%s:", seg_names[in->seg]);
    if (in->moffs)
        put(line, "%#" PRIx64, (uint64_t)in->imm);
    if (in->base != GPR_NONE)
        put(line, "%s", gpr_names[in->base]);
    if (in->vsib)
        put(line, "+v%u*%u", in->index, in->scale);
    else if (in->index != GPR_NONE)
        put(line, "+%s*%u", gpr_names[in->index], in->scale);
    if (in->disp_len)
        put(line, "%s%#x/%u", in->disp < 0 ? "-" : "+",
            in->disp < 0 ? 0u - (unsigned)in->disp : (unsigned)in->disp, in->disp_len);
    put(line, " %s%s", in->mem_read ? "r" : "", in->mem_write ? "w" : "");
    if (!in->mem_read && !in->mem_write)
        put(line, "-");
    else if (in->mem_size)
        put(line, "%u", in->mem_size);
    else
        put(line, "?");
}

/* Whether insn.reg is the number of a segment, control or debug register. */
static bool has_number(const struct insn *in)
{
    return (in->cls >= CLS_MOV_FROM_CR && in->cls <= CLS_MOV_TO_DR) ||
           (in->cls >= CLS_MOV_FROM_SEG && in->cls <= CLS_POP_SEG);
}

void insn_text(const struct insn *in, char *text, size_t size)
{
    struct line line = {.text = text, .size = size};
    put(&line, "%s", class_names[in->cls]);
    if (in->opsize)
        put(&line, "/%u", in->opsize);
    put_registers(&line, " read ", in->reg_read);
    put_registers(&line, " write ", in->reg_write);
    if (in->mem)
        put_memory(&line, in);
    if (in->imm_len && !in->moffs)
        put(&line, " imm %u %s%#" PRIx64, in->imm_len, in->imm < 0 ? "-" : "",
            in->imm < 0 ? 0 - (uint64_t)in->imm : (uint64_t)in->imm);
    if (in->imm2)
        put(&line, ",%#x", in->imm2);
    if (has_number(in))
        put(&line, " reg %u", in->reg);
    put(&line, "%s%s", in->stack ? " stack" : "", in->hidden_mem ? " hidden" : "");
    if (in->encoding == INSN_LEGACY)
        put(&line, "%s%s%s", in->prefixes & INSN_LOCK ? " lock" : "",
            in->prefixes & INSN_REP ? " rep" : "", in->prefixes & INSN_REPNE ? " repne" : "");
    put(&line, "%s", in->addrsize == 4 ? " a32" : "");
}

size_t insn_sample_bytes(const struct insn_sample *sample, uint8_t *bytes)
{
    size_t len = 0;
    const char *at = sample->hex;
    while (*at && len < INSN_MAX_LEN) {
        char *end;
        bytes[len++] = (uint8_t)strtoul(at, &end, 16);
        at = end;
    }
    return len;
}
