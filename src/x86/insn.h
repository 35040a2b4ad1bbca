/* One x86-64 instruction, decoded.
 *
 * insn_decode() turns bytes into structure: lengths, operand registers, the memory operand, and
 * the class that tells the translator what to do. It holds no state, allocates nothing and reads
 * exactly the bytes it was given. It decodes 64-bit mode only (64-bit kernel code).
 * Source of the rules: SDM 2 "Instruction Format" ch. 2, opcode maps in appendix A.
 */
#ifndef X86_INSN_H
#define X86_INSN_H

#include "base/types.h"

#define INSN_MAX_LEN 15

/** General registers by their encoding number. */
enum gpr {
    RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15,
    GPR_COUNT,
    GPR_RIP = 16,  /* only as insn.base: RIP-relative */
    GPR_NONE = 17, /* no base, no index */
};

/** Segment registers by their encoding number (ModRM.reg of mov Sreg). */
enum seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT, SEG_NONE = 7 };

enum insn_encoding { INSN_LEGACY, INSN_VEX, INSN_EVEX, INSN_XOP };

/* insn.prefixes */
#define INSN_LOCK 0x01     /* f0 */
#define INSN_REPNE 0x02    /* f2 (the last of f2/f3 given wins) */
#define INSN_REP 0x04      /* f3 */
#define INSN_OPSIZE 0x08   /* 66 */
#define INSN_ADDRSIZE 0x10 /* 67 */

/** What an instruction is to a VMM. Everything that is not sensitive, not a control transfer and
 *  touches no FPU/SIMD state is CLS_PLAIN. Instructions of features that no guest is offered (TSX,
 *  CET, UINTR, Key Locker, ENQCMD, RDPRU, LWP, AVX-512 of Xeon Phi) are CLS_UD, as on a CPU that
 *  lacks them. */
enum insn_class {
    CLS_PLAIN,
    CLS_NOP,      /* nop, hints (0f 19..1f, 0f 18 /4../7, register forms of 0f 0d), endbr64;
                   * pause and prefetches are PLAIN. They use no operand, but keep `mem`. */
    CLS_UD,       /* ud0 ud1 ud2, undefined or invalid-in-64-bit-mode encodings; len is still right
                   * for ud0/1/2, and nothing is read or written */
    CLS_FPU,      /* x87, MMX, SSE, AVX, AVX-512, AMX data instructions, ldmxcsr, emms ...: touch
                   * FPU state */
    /* control transfers */
    CLS_JCC,      /* imm = displacement, cond = opcode & 15 */
    CLS_LOOP,     /* loopne e0, loope e1, loop e2, jrcxz/jecxz e3; imm = displacement */
    CLS_JMP_REL, CLS_JMP_IND, CLS_JMP_FAR,   /* FAR: ff /5 */
    CLS_CALL_REL, CLS_CALL_IND, CLS_CALL_FAR, /* FAR: ff /3 */
    CLS_RET,      /* c3, c2 (imm = bytes to drop) */
    CLS_RETF, CLS_IRET,
    CLS_INT3, CLS_INT1, CLS_INTN, /* INTN: imm = vector */
    CLS_SYSCALL, CLS_SYSRET, CLS_SYSENTER, CLS_SYSEXIT, /* the latter two write RSP, not `stack` */
    /* strings: movs cmps stos lods scas; opsize = element size. They have no `mem`. */
    CLS_MOVS, CLS_CMPS, CLS_STOS, CLS_LODS, CLS_SCAS,
    CLS_INS, CLS_OUTS,
    /* I/O */
    CLS_IN, CLS_OUT, /* opsize = 1, 2, 4; port = imm if imm_len else DX */
    /* flags and interrupts */
    CLS_CLI, CLS_STI, CLS_PUSHF, CLS_POPF, CLS_HLT, CLS_STAC, CLS_CLAC,
    /* system state */
    CLS_MOV_FROM_CR, CLS_MOV_TO_CR, /* reg = CR number, rm = GPR */
    CLS_MOV_FROM_DR, CLS_MOV_TO_DR,
    CLS_CLTS, CLS_LMSW, CLS_SMSW,
    CLS_LGDT, CLS_LIDT, CLS_SGDT, CLS_SIDT, CLS_LLDT, CLS_LTR, CLS_SLDT, CLS_STR,
    CLS_LAR, CLS_LSL, CLS_VERR, CLS_VERW,
    CLS_MOV_FROM_SEG, CLS_MOV_TO_SEG, /* reg = segment number */
    CLS_PUSH_SEG, CLS_POP_SEG,        /* fs, gs; reg = segment number */
    CLS_LOAD_FAR_PTR,                 /* lss lfs lgs; reg = destination GPR */
    CLS_SWAPGS, CLS_RDFSBASE, CLS_RDGSBASE, CLS_WRFSBASE, CLS_WRGSBASE, /* rm = GPR */
    CLS_INVLPG, CLS_INVPCID, CLS_INVD, CLS_WBINVD, /* wbnoinvd is WBINVD */
    CLS_CPUID, CLS_RDTSC, CLS_RDTSCP, CLS_RDPMC, CLS_RDPID,
    CLS_RDMSR, CLS_WRMSR,
    CLS_XGETBV, CLS_XSETBV,
    CLS_XSAVE,    /* xsave xsaveopt xsavec xsaves fxsave (all widths) */
    CLS_XRSTOR,   /* xrstor xrstors fxrstor */
    CLS_MONITOR, CLS_MWAIT, /* also umonitor/umwait/tpause? those are PLAIN */
    CLS_RDPKRU, CLS_WRPKRU,
    CLS_SERIALIZE,
    CLS_VMCALL,   /* vmcall and vmmcall */
    CLS_VMX,      /* every other VMX, SVM, SMX, SGX, SEV or TDX instruction: #UD in a guest without
                   * them; the registers they use are not described */
    CLS_CLFLUSH,  /* clflush clflushopt clwb cldemote: memory operand, no data */
    CLS_COUNT
};

struct insn {
    uint8_t len;            /* 1..15 */
    uint8_t cls;            /* enum insn_class */
    uint8_t encoding;       /* enum insn_encoding */
    uint8_t map;            /* 0 one-byte, 1 0F, 2 0F38, 3 0F3A; VEX/EVEX/XOP: the map field */
    uint8_t opcode;         /* last opcode byte */
    uint8_t prefixes;       /* INSN_* seen (VEX/EVEX: those implied by pp, too) */
    uint8_t seg;            /* last segment override, or SEG_NONE. es, cs, ss and ds do nothing in
                             * 64-bit mode and so do not replace an fs or gs (measured). */
    uint8_t rex;            /* REX byte (0x40..0x4f) or 0; VEX/EVEX/XOP: 0x40|WRXB, un-inverted */
    uint8_t vvvv;           /* VEX/EVEX/XOP second source register number (un-inverted, with V'),
                             * else 0 */
    uint8_t vector_len;     /* VEX.L / EVEX.L'L */

    bool has_modrm, has_sib;
    uint8_t modrm, sib;
    uint8_t mod;            /* ModRM.mod */
    uint8_t reg;            /* ModRM.reg with REX.R (and EVEX.R'); for opcode-embedded registers:
                             * that one. Byte registers 4..7 without rex are ah ch dh bh. */
    uint8_t rm;             /* ModRM.rm with REX.B (EVEX.X for a vector), meaningful when !mem */

    bool mem;               /* has a ModRM (or moffs) memory operand that is an address: also lea,
                             * nop, invlpg */
    bool moffs;             /* a0..a3: the address is imm, imm_len 8 (4 with 67) */
    uint8_t base, index;    /* enum gpr; GPR_NONE, base may be GPR_RIP. pop [rsp+x] addresses with
                             * RSP already raised (SDM 2 "POP"). */
    uint8_t scale;          /* 1 2 4 8; 1 without an index */
    bool vsib;              /* index is the number of a vector register (gather, scatter) */
    uint8_t disp_len;       /* 0 1 4 */
    int32_t disp;           /* sign-extended; EVEX disp8 already multiplied by N */

    uint8_t imm_len;        /* 0 1 2 4 8; enter: 2 with imm2 the second, 1 byte (so extrq: 1, 1) */
    int64_t imm;            /* sign-extended; zero-extended for ret, enter, int, in, out, moffs */
    uint8_t imm2;

    uint8_t opsize;         /* operand size of the integer operation: 1 2 4 8; 0 if meaningless.
                             * For vector instructions the size of their general register. Near
                             * branches: 8; 66 does nothing (Intel; AMD would cut RIP to 16 bits) */
    uint8_t addrsize;       /* 4 or 8 */

    bool mem_read, mem_write; /* what the instruction does to its memory operand; both false: lea,
                               * nop, invlpg, prefetch */
    uint16_t mem_size;      /* bytes accessed at the operand; 0 where it depends (xsave, gather,
                             * masked) or none. 2 for sldt, str, smsw and mov from a segment,
                             * whatever opsize says of their register form. bt bts btr btc with a register bit number: the
                             * number also moves the operand, by (bit >> 3) & -mem_size bytes. */

    /* General registers read and written as operands, explicit and implicit (mul: rax rdx; cpuid:
     * ...), as masks 1 << enum gpr. Not included: the memory operand's base and index (those are
     * `base`, `index`), and RSP where it is only the implied stack pointer of push, pop, call, ret,
     * leave, enter, pushf, popf, int, iret. String instructions include rsi/rdi/rcx/rax as used.
     * Byte registers ah..bh count as rax..rbx. cmov and conditionally written registers count as
     * written and as read. A 32-bit or narrower write also counts only as written unless the
     * operation merges (8- and 16-bit writes count as read, too). */
    uint16_t reg_read, reg_write;

    /* A PLAIN or FPU instruction that also touches memory through a register (which is in
     * reg_read), outside `mem`: xlat, maskmovq, maskmovdqu, movdir64b (destination), clzero,
     * umonitor (address only). */
    bool hidden_mem;

    /* Stack use: the implied RSP is changed by the instruction (push pop call ret leave enter pushf
     * popf int iret ...). */
    bool stack;

    uint8_t opcode_off;     /* offset of the first byte after the legacy prefixes: REX, VEX/EVEX/XOP
                             * or the opcode */
    uint8_t modrm_off;      /* offset of ModRM, valid when has_modrm */
    uint8_t disp_off;       /* valid when disp_len */
    uint8_t imm_off;        /* valid when imm_len */
};

enum insn_status {
    INSN_OK,
    INSN_SHORT,   /* the bytes end before the instruction does (avail < 15) */
    INSN_TOO_LONG /* more than 15 bytes: #GP on hardware */
};

/** Decode the instruction at bytes[0, avail). On INSN_OK *out is complete; an encoding that raises
 *  #UD decodes as INSN_OK with CLS_UD (len then covers what was consumed). On INSN_SHORT and
 *  INSN_TOO_LONG *out is undefined. Never reads outside bytes[0, avail). */
enum insn_status insn_decode(struct insn *out, const uint8_t *bytes, size_t avail) MUST_CHECK;

/** Whether the instruction may end a straight-line run: any control transfer, CLS_UD, CLS_HLT. */
bool insn_ends_block(const struct insn *in);

#endif
