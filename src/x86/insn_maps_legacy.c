/* The legacy opcode maps: one byte, 0f, 0f 38, 0f 3a. SDM 2 appendix A, tables. */
#include "x86/insn_maps.h"

/* clang-format off */

/* The six forms of a two-operand operation: Eb,Gb Ev,Gv Gb,Eb Gv,Ev AL,Ib rAX,Iz. */
#define ARITHMETIC(op)                                                                             \
    [op] = OP | S1 | MO | E_RW | G_R | FORM_LOCK,                                                  \
    [(op) + 1] = OP | SV | MO | E_RW | G_R | FORM_LOCK,                                            \
    [(op) + 2] = OP | S1 | MO | E_R | G_RW, [(op) + 3] = OP | SV | MO | E_R | G_RW,                \
    [(op) + 4] = OP | S1 | USES(A_RW) | IB, [(op) + 5] = OP | SV | USES(A_RW) | IMM(Z)

#define JUMP_IF (CLASS(JCC) | SIZE(8))

const uint64_t insn_map_one_byte[256] = {
    ARITHMETIC(0x00), ARITHMETIC(0x08), ARITHMETIC(0x10), ARITHMETIC(0x18), /* add or adc sbb */
    ARITHMETIC(0x20), ARITHMETIC(0x28), ARITHMETIC(0x30),                   /* and sub xor */
    [0x38] = OP | S1 | MO | E_R | G_R, /* cmp */
    [0x39] = OP | SV | MO | E_R | G_R,
    [0x3a] = OP | S1 | MO | E_R | G_R,
    [0x3b] = OP | SV | MO | E_R | G_R,
    [0x3c] = OP | S1 | USES(A_R) | IB,
    [0x3d] = OP | SV | USES(A_R) | IMM(Z),

    [0x0f] = NOT_OPCODE(ESCAPE),
    [0x26] = NOT_OPCODE(SEG), [0x2e] = NOT_OPCODE(SEG), [0x36] = NOT_OPCODE(SEG),
    [0x3e] = NOT_OPCODE(SEG), [0x64 ... 0x65] = NOT_OPCODE(SEG),
    [0x40 ... 0x4f] = NOT_OPCODE(REX),
    [0x66 ... 0x67] = NOT_OPCODE(PREFIX),
    [0xf0] = NOT_OPCODE(PREFIX), [0xf2 ... 0xf3] = NOT_OPCODE(PREFIX),
    [0x62] = NOT_OPCODE(EVEX), [0xc4] = NOT_OPCODE(VEX3), [0xc5] = NOT_OPCODE(VEX2),
    [0x8f] = NOT_OPCODE(XOP_OR_POP), [0x90] = NOT_OPCODE(NOP),

    [0x50 ... 0x57] = OP | SIZE(STACK) | O_R | FORM_STACK, /* push */
    [0x58 ... 0x5f] = OP | SIZE(STACK) | O_W | FORM_STACK, /* pop */
    [0x63] = OP | SV | MEM(4) | E_R | G_W,                  /* movsxd */
    [0x68] = OP | SIZE(STACK) | IMM(Z) | FORM_STACK,       /* push */
    [0x69] = OP | SV | MO | E_R | G_W | IMM(Z),             /* imul */
    [0x6a] = OP | SIZE(STACK) | IB | FORM_STACK,
    [0x6b] = OP | SV | MO | E_R | G_W | IB,
    [0x6c] = CLASS(INS) | S1 | USES(INS),
    [0x6d] = CLASS(INS) | SIZE(Z) | USES(INS),
    [0x6e] = CLASS(OUTS) | S1 | USES(OUTS),
    [0x6f] = CLASS(OUTS) | SIZE(Z) | USES(OUTS),
    [0x70 ... 0x7f] = JUMP_IF | IB,

    [0x80] = GROUP(1_EB_IB), [0x81] = GROUP(1_EV_IZ), [0x83] = GROUP(1_EV_IB),
    [0x84] = OP | S1 | MO | E_R | G_R, /* test */
    [0x85] = OP | SV | MO | E_R | G_R,
    [0x86] = OP | S1 | MO | E_RW | G_RW | FORM_LOCK, /* xchg */
    [0x87] = OP | SV | MO | E_RW | G_RW | FORM_LOCK,
    [0x88] = OP | S1 | MO | E_W | G_R, /* mov */
    [0x89] = OP | SV | MO | E_W | G_R,
    [0x8a] = OP | S1 | MO | E_R | G_W,
    [0x8b] = OP | SV | MO | E_R | G_W,
    [0x8c] = CLASS(MOV_FROM_SEG) | SV | MEM(2) | E_W | FORM_NUMBER,
    [0x8d] = OP | SV | FORM_MODRM | G_W | FORM_NOREG, /* lea */
    [0x8e] = CLASS(MOV_TO_SEG) | SIZE(2) | MO | E_R | FORM_NUMBER,

    [0x91 ... 0x97] = OP | SV | O_RW | USES(A_RW), /* xchg */
    [0x98] = OP | SV | USES(A_RW),                 /* cbw cwde cdqe */
    [0x99] = OP | SV | USES(A_R_D_W),              /* cwd cdq cqo */
    [0x9b] = FP,                                  /* fwait */
    [0x9c] = CLASS(PUSHF) | SIZE(STACK) | FORM_STACK,
    [0x9d] = CLASS(POPF) | SIZE(STACK) | FORM_STACK,
    [0x9e] = OP | S1 | USES(A_R), /* sahf */
    [0x9f] = OP | S1 | USES(A_W), /* lahf */

    [0xa0] = OP | S1 | MO | FORM_MEM_R | USES(A_W) | IMM(ADDR), /* mov, moffs */
    [0xa1] = OP | SV | MO | FORM_MEM_R | USES(A_W) | IMM(ADDR),
    [0xa2] = OP | S1 | MO | FORM_MEM_W | USES(A_R) | IMM(ADDR),
    [0xa3] = OP | SV | MO | FORM_MEM_W | USES(A_R) | IMM(ADDR),
    [0xa4] = CLASS(MOVS) | S1 | USES(MOVS),
    [0xa5] = CLASS(MOVS) | SV | USES(MOVS),
    [0xa6] = CLASS(CMPS) | S1 | USES(MOVS),
    [0xa7] = CLASS(CMPS) | SV | USES(MOVS),
    [0xa8] = OP | S1 | USES(A_R) | IB, /* test */
    [0xa9] = OP | SV | USES(A_R) | IMM(Z),
    [0xaa] = CLASS(STOS) | S1 | USES(STOS),
    [0xab] = CLASS(STOS) | SV | USES(STOS),
    [0xac] = CLASS(LODS) | S1 | USES(LODS),
    [0xad] = CLASS(LODS) | SV | USES(LODS),
    [0xae] = CLASS(SCAS) | S1 | USES(SCAS),
    [0xaf] = CLASS(SCAS) | SV | USES(SCAS),
    [0xb0 ... 0xb7] = OP | S1 | O_W | IB, /* mov */
    [0xb8 ... 0xbf] = OP | SV | O_W | IMM(V),

    [0xc0] = GROUP(2_EB_IB), [0xc1] = GROUP(2_EV_IB),
    [0xc2] = CLASS(RET) | SIZE(8) | IMM(UW) | FORM_STACK,
    [0xc3] = CLASS(RET) | SIZE(8) | FORM_STACK,
    [0xc6] = GROUP(11_EB), [0xc7] = GROUP(11_EV),
    [0xc8] = OP | SIZE(STACK) | USES(BP_RW) | IMM(ENTER) | FORM_STACK,
    [0xc9] = OP | SIZE(STACK) | USES(BP_RW) | FORM_STACK, /* leave */
    [0xca] = CLASS(RETF) | SV | IMM(UW) | FORM_STACK,
    [0xcb] = CLASS(RETF) | SV | FORM_STACK,
    [0xcc] = CLASS(INT3) | FORM_STACK,
    [0xcd] = CLASS(INTN) | IMM(UB) | FORM_STACK,
    [0xcf] = CLASS(IRET) | SV | FORM_STACK,

    [0xd0] = GROUP(2_EB_1), [0xd1] = GROUP(2_EV_1), [0xd2] = GROUP(2_EB_CL),
    [0xd3] = GROUP(2_EV_CL),
    [0xd7] = OP | S1 | USES(AB_R_A_W) | FORM_HIDDEN, /* xlat */
    [0xd8] = GROUP(X87_D8), [0xd9] = GROUP(X87_D9), [0xda] = GROUP(X87_DA),
    [0xdb] = GROUP(X87_DB), [0xdc] = GROUP(X87_DC), [0xdd] = GROUP(X87_DD),
    [0xde] = GROUP(X87_DE), [0xdf] = GROUP(X87_DF),

    [0xe0 ... 0xe2] = CLASS(LOOP) | SIZE(8) | USES(C_RW) | IB,
    [0xe3] = CLASS(LOOP) | SIZE(8) | USES(C_R) | IB, /* jrcxz */
    [0xe4] = CLASS(IN) | S1 | USES(A_W) | IMM(UB),
    [0xe5] = CLASS(IN) | SIZE(Z) | USES(A_W) | IMM(UB),
    [0xe6] = CLASS(OUT) | S1 | USES(A_R) | IMM(UB),
    [0xe7] = CLASS(OUT) | SIZE(Z) | USES(A_R) | IMM(UB),
    [0xe8] = CLASS(CALL_REL) | SIZE(8) | IMM(D) | FORM_STACK,
    [0xe9] = CLASS(JMP_REL) | SIZE(8) | IMM(D),
    [0xeb] = CLASS(JMP_REL) | SIZE(8) | IB,
    [0xec] = CLASS(IN) | S1 | USES(D_R_A_W),
    [0xed] = CLASS(IN) | SIZE(Z) | USES(D_R_A_W),
    [0xee] = CLASS(OUT) | S1 | USES(AD_R),
    [0xef] = CLASS(OUT) | SIZE(Z) | USES(AD_R),

    [0xf1] = CLASS(INT1) | FORM_STACK,
    [0xf4] = CLASS(HLT),
    [0xf5] = OP, /* cmc */
    [0xf6] = GROUP(3_EB), [0xf7] = GROUP(3_EV),
    [0xf8 ... 0xf9] = OP, /* clc stc */
    [0xfa] = CLASS(CLI), [0xfb] = CLASS(STI),
    [0xfc ... 0xfd] = OP, /* cld std */
    [0xfe] = GROUP(4), [0xff] = GROUP(5),
};

/* Rows of the 0f maps, by mandatory prefix: none, 66, F3, F2. MMX operands are X, too. */
#define PS_PD {LD(16), LD(16)}
#define PS_PD_SS_SD {LD(16), LD(16), LD(4), LD(8)}
#define PS_SS {LD(16), 0, LD(4)}
#define MMX_SSE {LD(8), LD(16)}

const uint64_t insn_map_0f[256][4] = {
    [0x00] = ANY(GROUP(6)),
    [0x01] = {GROUP(7), GROUP(7_66), GROUP(7_FX), GROUP(7_FX)},
    [0x02] = ANY(CLASS(LAR) | SV | MEM(2) | E_R | G_RW),
    [0x03] = ANY(CLASS(LSL) | SV | MEM(2) | E_R | G_RW),
    [0x05] = ANY(CLASS(SYSCALL) | USES(SYSCALL)),
    [0x06] = ANY(CLASS(CLTS)),
    [0x07] = ANY(CLASS(SYSRET) | SY | USES(SYSRET)),
    [0x08] = ANY(CLASS(INVD)),
    [0x09] = ANY(CLASS(WBINVD)),
    [0x0b] = ANY(UNDEF), /* ud2 */
    [0x0d] = ANY(GROUP(P)),
    [0x0e] = ANY(FP), /* femms */
    [0x0f] = ANY(LD(8) | IMM(UB)), /* 3DNow!: the operation stands where an immediate does */

    [0x10] = PS_PD_SS_SD,
    [0x11] = {ST(16), ST(16), ST(4), ST(8)},
    [0x12] = {LD(8), LD_MEM(8), LD(16), LD(8)},
    [0x13] = {ST_MEM(8), ST_MEM(8)},
    [0x14 ... 0x15] = PS_PD,
    [0x16] = {LD(8), LD_MEM(8), LD(16)},
    [0x17] = {ST_MEM(8), ST_MEM(8)},
    [0x18] = ANY(GROUP(16)),
    [0x19 ... 0x1b] = ANY(HINT),
    [0x1c] = {GROUP(1C), HINT, HINT, HINT},
    [0x1d ... 0x1f] = ANY(HINT),

    [0x20] = ANY(CLASS(MOV_FROM_CR) | SIZE(8) | R_W | FORM_ANYMOD | FORM_NUMBER),
    [0x21] = ANY(CLASS(MOV_FROM_DR) | SIZE(8) | R_W | FORM_ANYMOD | FORM_NUMBER),
    [0x22] = ANY(CLASS(MOV_TO_CR) | SIZE(8) | R_R | FORM_ANYMOD | FORM_NUMBER),
    [0x23] = ANY(CLASS(MOV_TO_DR) | SIZE(8) | R_R | FORM_ANYMOD | FORM_NUMBER),
    [0x28] = PS_PD,
    [0x29] = {ST(16), ST(16)},
    [0x2a] = {LD(8), LD(8), FP | SY | MO | E_R, FP | SY | MO | E_R},
    [0x2b] = {ST_MEM(16), ST_MEM(16), ST_MEM(4), ST_MEM(8)},
    [0x2c ... 0x2d] = {LD(8), LD(16), LD(4) | SY | G_W, LD(8) | SY | G_W},
    [0x2e ... 0x2f] = {LD(4), LD(8)},

    [0x30] = ANY(CLASS(WRMSR) | USES(ACD_R)),
    [0x31] = ANY(CLASS(RDTSC) | USES(AD_W)),
    [0x32] = ANY(CLASS(RDMSR) | USES(C_R_AD_W)),
    [0x33] = ANY(CLASS(RDPMC) | USES(C_R_AD_W)),
    [0x34] = ANY(CLASS(SYSENTER) | USES(SP_W)),
    [0x35] = ANY(CLASS(SYSEXIT) | SY | USES(SYSEXIT)),
    [0x37] = {CLASS(VMX)}, /* getsec */

    [0x40 ... 0x4f] = ANY(OP | SV | MO | E_R | G_RW), /* cmov */
    [0x50] = NP_66(REGS | SY | G_W),
    [0x51] = PS_PD_SS_SD,
    [0x52 ... 0x53] = PS_SS,
    [0x54 ... 0x57] = PS_PD,
    [0x58 ... 0x59] = PS_PD_SS_SD,
    [0x5a] = {LD(8), LD(16), LD(4), LD(8)},
    [0x5b] = {LD(16), LD(16), LD(16)},
    [0x5c ... 0x5f] = PS_PD_SS_SD,

    [0x60 ... 0x62] = {LD(4), LD(16)},
    [0x63 ... 0x6b] = MMX_SSE,
    [0x6c ... 0x6d] = ONLY_66(LD(16)),
    [0x6e] = NP_66(FP | SY | MO | E_R),
    [0x6f] = {LD(8), LD(16), LD(16)},
    [0x70] = {LD(8) | IB, LD(16) | IB, LD(16) | IB, LD(16) | IB},
    [0x71] = NP_66(GROUP(12)),
    [0x72] = NP_66(GROUP(13)),
    [0x73] = {GROUP(14), GROUP(14_66)},
    [0x74 ... 0x76] = MMX_SSE,
    [0x77] = {FP}, /* emms */
    [0x78] = {CLASS(VMX) | SIZE(8) | MO | E_W | G_R, GROUP(78_66), 0, REGS | IMM(BB)},
    [0x79] = {CLASS(VMX) | SIZE(8) | MO | E_R | G_R, REGS, 0, REGS},
    [0x7c ... 0x7d] = {0, LD(16), 0, LD(16)},
    [0x7e] = {FP | SY | MO | E_W, FP | SY | MO | E_W, LD(8)},
    [0x7f] = {ST(8), ST(16), ST(16)},

    [0x80 ... 0x8f] = ANY(JUMP_IF | IMM(D)),
    [0x90 ... 0x9f] = ANY(OP | S1 | MO | E_W), /* setcc */
    [0xa0] = ANY(CLASS(PUSH_SEG) | SIZE(STACK) | FORM_STACK | FORM_NUMBER),
    [0xa1] = ANY(CLASS(POP_SEG) | SIZE(STACK) | FORM_STACK | FORM_NUMBER),
    [0xa2] = ANY(CLASS(CPUID) | USES(CPUID)),
    [0xa3] = ANY(OP | SV | MO | E_R | G_R), /* bt */
    [0xa4] = ANY(OP | SV | MO | E_RW | G_R | IB), /* shld */
    [0xa5] = ANY(OP | SV | MO | E_RW | G_R | USES(C_R)),
    [0xa8] = ANY(CLASS(PUSH_SEG) | SIZE(STACK) | FORM_STACK | FORM_NUMBER),
    [0xa9] = ANY(CLASS(POP_SEG) | SIZE(STACK) | FORM_STACK | FORM_NUMBER),
    [0xaa] = ANY(UNDEF), /* rsm outside SMM */
    [0xab] = ANY(OP | SV | MO | E_RW | G_R | FORM_LOCK), /* bts */
    [0xac] = ANY(OP | SV | MO | E_RW | G_R | IB), /* shrd */
    [0xad] = ANY(OP | SV | MO | E_RW | G_R | USES(C_R)),
    [0xae] = {GROUP(15), GROUP(15_66), GROUP(15_F3), GROUP(15_F2)},
    [0xaf] = ANY(OP | SV | MO | E_R | G_RW), /* imul */

    [0xb0] = ANY(OP | S1 | MO | E_RW | G_R | USES(A_RW) | FORM_LOCK), /* cmpxchg */
    [0xb1] = ANY(OP | SV | MO | E_RW | G_R | USES(A_RW) | FORM_LOCK),
    [0xb2] = ANY(CLASS(LOAD_FAR_PTR) | SV | MEM(FAR) | M_R | G_W), /* lss */
    [0xb3] = ANY(OP | SV | MO | E_RW | G_R | FORM_LOCK), /* btr */
    [0xb4 ... 0xb5] = ANY(CLASS(LOAD_FAR_PTR) | SV | MEM(FAR) | M_R | G_W), /* lfs lgs */
    [0xb6] = ANY(OP | SV | MEM(1) | E_R | G_W | FORM_RM8), /* movzx */
    [0xb7] = ANY(OP | SV | MEM(2) | E_R | G_W),
    [0xb8] = ONLY_F3(OP | SV | MO | E_R | G_W), /* popcnt */
    [0xb9] = ANY(UNDEF | FORM_MODRM), /* ud1 */
    [0xba] = ANY(GROUP(8)),
    [0xbb] = ANY(OP | SV | MO | E_RW | G_R | FORM_LOCK), /* btc */
    /* bsf and bsr leave the destination as it is if the source is 0; tzcnt and lzcnt write it, but
     * are bsf and bsr on a CPU without them */
    [0xbc ... 0xbd] = ANY(OP | SV | MO | E_R | G_RW),
    [0xbe] = ANY(OP | SV | MEM(1) | E_R | G_W | FORM_RM8), /* movsx */
    [0xbf] = ANY(OP | SV | MEM(2) | E_R | G_W),

    [0xc0] = ANY(OP | S1 | MO | E_RW | G_RW | FORM_LOCK), /* xadd */
    [0xc1] = ANY(OP | SV | MO | E_RW | G_RW | FORM_LOCK),
    [0xc2] = {LD(16) | IB, LD(16) | IB, LD(4) | IB, LD(8) | IB},
    [0xc3] = {OP | SY | MO | M_W | G_R}, /* movnti */
    [0xc4] = NP_66(FP | SIZE(4) | MEM(2) | E_R | IB),
    [0xc5] = NP_66(REGS | SY | G_W | IB),
    [0xc6] = NP_66(LD(16) | IB),
    [0xc7] = {GROUP(9), GROUP(9_66), GROUP(9_F3), GROUP(9_F2)},
    [0xc8 ... 0xcf] = ANY(OP | SV | O_RW), /* bswap */

    [0xd0] = {0, LD(16), 0, LD(16)},
    [0xd1 ... 0xd5] = MMX_SSE,
    [0xd6] = {0, ST(8), REGS, REGS},
    [0xd7] = NP_66(REGS | SY | G_W),
    [0xd8 ... 0xe5] = MMX_SSE,
    [0xe6] = {0, LD(16), LD(8), LD(16)},
    [0xe7] = {ST_MEM(8), ST_MEM(16)},
    [0xe8 ... 0xef] = MMX_SSE,
    [0xf0] = {0, 0, 0, LD_MEM(16)},
    [0xf1 ... 0xf6] = MMX_SSE,
    [0xf7] = NP_66(REGS | USES(DI_R) | FORM_HIDDEN), /* maskmovq maskmovdqu */
    [0xf8 ... 0xfe] = MMX_SSE,
    [0xff] = ANY(UNDEF | FORM_MODRM), /* ud0 */
};

const uint64_t insn_map_0f38[256][4] = {
    [0x00 ... 0x0b] = MMX_SSE,
    [0x10] = ONLY_66(LD(16)),
    [0x14 ... 0x15] = ONLY_66(LD(16)),
    [0x17] = ONLY_66(LD(16)),
    [0x1c ... 0x1e] = MMX_SSE,
    [0x20] = ONLY_66(LD(8)), /* pmovsx */
    [0x21] = ONLY_66(LD(4)),
    [0x22] = ONLY_66(LD(2)),
    [0x23] = ONLY_66(LD(8)),
    [0x24] = ONLY_66(LD(4)),
    [0x25] = ONLY_66(LD(8)),
    [0x28 ... 0x29] = ONLY_66(LD(16)),
    [0x2a] = ONLY_66(LD_MEM(16)),
    [0x2b] = ONLY_66(LD(16)),
    [0x30] = ONLY_66(LD(8)), /* pmovzx */
    [0x31] = ONLY_66(LD(4)),
    [0x32] = ONLY_66(LD(2)),
    [0x33] = ONLY_66(LD(8)),
    [0x34] = ONLY_66(LD(4)),
    [0x35] = ONLY_66(LD(8)),
    [0x37 ... 0x41] = ONLY_66(LD(16)),
    [0x80 ... 0x81] = ONLY_66(CLASS(VMX) | SIZE(8) | MEM(16) | M_R | G_R), /* invept invvpid */
    [0x82] = ONLY_66(CLASS(INVPCID) | SIZE(8) | MEM(16) | M_R | G_R),
    [0xc8 ... 0xcd] = {LD(16)}, /* sha */
    [0xcf] = ONLY_66(LD(16)),
    [0xdb ... 0xdf] = ONLY_66(LD(16)), /* aes */
    [0xf0] = {OP | SV | MO | M_R | G_W, OP | SV | MO | M_R | G_W, 0, /* movbe */
              OP | SY | MEM(1) | E_R | G_RW | FORM_RM8},            /* crc32 */
    [0xf1] = {OP | SV | MO | M_W | G_R, OP | SV | MO | M_W | G_R, 0, OP | SV | MO | E_R | G_RW},
    [0xf5] = ONLY_66(UNDEF | FORM_MODRM),                                       /* wruss */
    [0xf6] = {UNDEF | FORM_MODRM, OP | SY | MO | E_R | G_RW, /* wrss adcx */
              OP | SY | MO | E_R | G_RW},                    /* adox */
    [0xf8] = ONLY_66(OP | SIZE(8) | MEM(64) | M_R | G_R | FORM_HIDDEN),         /* movdir64b */
    [0xf9] = {OP | SY | MO | M_W | G_R},                                         /* movdiri */
};

const uint64_t insn_map_0f3a[256][4] = {
    [0x08 ... 0x09] = ONLY_66(LD(16) | IB),
    [0x0a] = ONLY_66(LD(4) | IB),
    [0x0b] = ONLY_66(LD(8) | IB),
    [0x0c ... 0x0e] = ONLY_66(LD(16) | IB),
    [0x0f] = {LD(8) | IB, LD(16) | IB},
    [0x14] = ONLY_66(FP | SY | MEM(1) | E_W | IB), /* pextr */
    [0x15] = ONLY_66(FP | SY | MEM(2) | E_W | IB),
    [0x16] = ONLY_66(FP | SY | MO | E_W | IB),
    [0x17] = ONLY_66(FP | SY | MEM(4) | E_W | IB),
    [0x20] = ONLY_66(FP | SIZE(4) | MEM(1) | E_R | IB), /* pinsr */
    [0x21] = ONLY_66(LD(4) | IB),
    [0x22] = ONLY_66(FP | SY | MO | E_R | IB),
    [0x40 ... 0x42] = ONLY_66(LD(16) | IB),
    [0x44] = ONLY_66(LD(16) | IB),
    [0x60] = ONLY_66(LD(16) | IB | SY | USES(AD_R)), /* pcmpestrm */
    [0x61] = ONLY_66(LD(16) | IB | SY | USES(AD_R_C_W)),
    [0x62] = ONLY_66(LD(16) | IB),
    [0x63] = ONLY_66(LD(16) | IB | USES(C_W)),
    [0xcc] = {LD(16) | IB}, /* sha1rnds4 */
    [0xce ... 0xcf] = ONLY_66(LD(16) | IB),
    [0xdf] = ONLY_66(LD(16) | IB), /* aeskeygenassist */
};
