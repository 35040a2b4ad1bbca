/* Opcode maps: how an opcode is described to the decoder. Private to insn*.c.
 *
 * Every cell of an opcode map is one 64-bit word, a union of the tokens below. The tokens are
 * independent of each other: class, operand size, size of the memory operand, immediate, what is
 * done to each operand, and, for VEX and EVEX, which prefix fields are legal. A cell that is not
 * listed is 0: an undefined opcode. A map row has one column per mandatory prefix, in the order
 * of VEX.pp: none, 66, F3, F2.
 *
 * A cell may instead name a group (GROUP) whose cells are selected by bits of ModRM. insn_maps.h
 * has the shorthand in which the maps are written.
 */
#ifndef X86_INSN_TABLES_H
#define X86_INSN_TABLES_H

#include "x86/insn.h"

/* REX, and insn.rex of every encoding */
#define REX_W 0x08
#define REX_R 0x04
#define REX_X 0x02
#define REX_B 0x01

#define INSN_FIELD(word, name) ((unsigned)((word) >> name##_AT) & ((1u << name##_BITS) - 1))

/* Class, plus one so that 0 is undefined. The value after the last class marks a group. */
#define FORM_CLASS_AT 0
#define FORM_CLASS_BITS 7
#define CLASS(name) ((uint64_t)CLS_##name + 1)
#define FORM_GROUP (CLS_COUNT + 1)

/* Operand size of the integer operation: insn.opsize. */
#define FORM_OPSIZE_AT 7
#define FORM_OPSIZE_BITS 4
enum opsize_rule {
    OPSIZE_NONE,
    OPSIZE_1,
    OPSIZE_2,
    OPSIZE_4,
    OPSIZE_8,
    OPSIZE_V,     /* 4, with 66 2, with W 8 */
    OPSIZE_Y,     /* 4, with W 8; 66 is part of the opcode */
    OPSIZE_Z,     /* 4, with 66 2; W does nothing */
    OPSIZE_STACK, /* 8, with 66 2 */
    OPSIZE_RULES,
};
#define SIZE(rule) ((uint64_t)OPSIZE_##rule << FORM_OPSIZE_AT)

/* Size of the memory operand: insn.mem_size. For EVEX this also fixes N of disp8*N, and the rules
 * marked "b" allow embedded broadcast, of an element of the size given. */
#define FORM_MEM_AT 11
#define FORM_MEM_BITS 6
enum mem_rule {
    MEM_NONE, /* no access, or a size that is not fixed by the instruction */
    MEM_OP,   /* operand size */
    MEM_2OP,  /* twice that: cmpxchg8b/16b */
    MEM_FAR,  /* operand size and a selector */
    MEM_1,
    MEM_2,
    MEM_4,
    MEM_8,
    MEM_10,
    MEM_16,
    MEM_32,
    MEM_64,
    MEM_512,   /* fxsave */
    MEM_FENV,  /* x87 environment: 28, of 16 bits 14 */
    MEM_FSAVE, /* x87 environment and stack: 108, of 16 bits 94 */
    MEM_VL,    /* the vector length; VL2 half of it, VL4 a quarter, VL8 an eighth */
    MEM_VL2,
    MEM_VL4,
    MEM_VL8,
    MEM_DUP, /* movddup: 8, 32, 64 */
    MEM_W,   /* one element: 4, with W 8 */
    MEM_K8,  /* 1, with W 4: kmovb kmovd */
    MEM_K16, /* 2, with W 8: kmovw kmovq */
    MEM_2W,  /* two and four of them */
    MEM_4W,
    MEM_FULL,     /* b: vector length, element 4, with W 8 */
    MEM_FULLH,    /* b: vector length, element 2 */
    MEM_HALF,     /* b: half the vector length, element 4 */
    MEM_HALFH,    /* b: half the vector length, element 2 */
    MEM_QUARTERH, /* b: a quarter of the vector length, element 2 */
    MEM_HALFW,    /* b: half the vector length of element 4; with W whole, of element 8 */
    MEM_SOMEH,    /* as many elements as a mask says, elements of 1, with W 2 */
    MEM_SOMEW,    /* ... of 4, with W 8 */
    MEM_RULES,
};
#define MEM(rule) ((uint64_t)MEM_##rule << FORM_MEM_AT)

/* Immediate. */
#define FORM_IMM_AT 17
#define FORM_IMM_BITS 4
enum imm_rule {
    IMM_NONE,
    /* sign-extended */
    IMM_B,  /* 1 byte */
    IMM_BB, /* 1, then 1: extrq, insertq */
    IMM_D,  /* 4 */
    IMM_Z,  /* 4, or 2 if the operand size is 2 */
    IMM_V,  /* as many as the operand has: mov r, imm */
    /* zero-extended */
    IMM_UB,    /* 1: vectors and ports */
    IMM_UW,    /* 2: ret */
    IMM_ENTER, /* 2, then 1 */
    IMM_ADDR,  /* as many as the address has: moffs */
};
#define IMM(rule) ((uint64_t)IMM_##rule << FORM_IMM_AT)

/* General registers read and written without being named by the encoding. */
#define FORM_IMPLIED_AT 21
#define FORM_IMPLIED_BITS 6
enum implied_rule {
    IMPLIED_NONE,
    /* read or written alike: name_R reads, name_W writes, name_RW both */
    IMPLIED_A_R,
    IMPLIED_A_W,
    IMPLIED_A_RW, /* rax */
    IMPLIED_C_R,
    IMPLIED_C_W,
    IMPLIED_C_RW,  /* rcx */
    IMPLIED_D_R,   /* rdx */
    IMPLIED_DI_R,  /* rdi */
    IMPLIED_BP_RW, /* rbp */
    IMPLIED_SP_W,  /* rsp */
    IMPLIED_AC_R,
    IMPLIED_AD_R,
    IMPLIED_AD_W,
    IMPLIED_ACD_R,
    IMPLIED_ACD_W,
    IMPLIED_ABC_R,
    IMPLIED_C_R_AD_W, /* what is read, then what is written */
    IMPLIED_A_R_AD_W,
    IMPLIED_AD_R_AD_W,
    IMPLIED_A_R_D_W,
    IMPLIED_D_R_A_W,
    IMPLIED_AB_R_A_W,
    IMPLIED_AD_R_C_W,
    IMPLIED_CMPXCHG8B,
    IMPLIED_CPUID,
    IMPLIED_SYSCALL,
    IMPLIED_SYSRET,
    IMPLIED_SYSEXIT,
    IMPLIED_MOVS, /* strings, without the rcx of a repeat */
    IMPLIED_STOS,
    IMPLIED_LODS,
    IMPLIED_SCAS,
    IMPLIED_INS,
    IMPLIED_OUTS,
    IMPLIED_RULES,
};
#define USES(rule) ((uint64_t)IMPLIED_##rule << FORM_IMPLIED_AT)

/* Operands: what is done to them. */
#define FORM_MODRM (1ull << 27)
#define FORM_MEM_R (1ull << 28)
#define FORM_MEM_W (1ull << 29)
#define FORM_RM_R (1ull << 30) /* ModRM.rm is a general register, when it is a register */
#define FORM_RM_W (1ull << 31)
#define FORM_REG_R (1ull << 32)
#define FORM_REG_W (1ull << 33)
#define FORM_VVVV_R (1ull << 34)
#define FORM_VVVV_W (1ull << 35)
#define FORM_LOW_R (1ull << 36) /* opcode bits 0..2 are a general register */
#define FORM_LOW_W (1ull << 37)

#define FORM_NOREG (1ull << 38)  /* ModRM.rm must be memory */
#define FORM_NOMEM (1ull << 39)  /* ModRM.rm must be a register */
#define FORM_ANYMOD (1ull << 40) /* ModRM.rm is a register whatever mod says */
#define FORM_LOCK (1ull << 41)   /* the memory form takes a LOCK prefix */
#define FORM_STACK (1ull << 42)  /* insn.stack */
#define FORM_RM8 (1ull << 43)    /* a register ModRM.rm is a byte register whatever opsize is */
#define FORM_HIDDEN (1ull << 44) /* insn.hidden_mem */
#define FORM_NUMBER (1ull << 45) /* insn.reg is a segment, control or debug register number */

/* Legal values of VEX, EVEX and XOP prefix fields. */
#define FORM_VEXW_AT 46
#define FORM_VEXW_BITS 2
#define W0 (1ull << 46)
#define W1 (2ull << 46)

#define FORM_VEXL_AT 48
#define FORM_VEXL_BITS 3
enum length_rule {
    LENGTH_ANY, /* VEX 128, 256; EVEX 128, 256, 512 */
    LENGTH_IGNORED,
    LENGTH_128,
    LENGTH_256,
    LENGTH_512,
    LENGTH_256_512,
};
#define L(rule) ((uint64_t)LENGTH_##rule << FORM_VEXL_AT)

#define FORM_NDS (1ull << 51) /* vvvv is an operand; else it must be 1111 */

#define FORM_MASK_AT 52
#define FORM_MASK_BITS 2
enum mask_rule {
    MASK_FULL,     /* opmask and zeroing */
    MASK_MERGE,    /* opmask, no zeroing */
    MASK_NONE,     /* no opmask */
    MASK_REQUIRED, /* opmask k1..k7, no zeroing */
};
#define MASK(rule) ((uint64_t)MASK_##rule << FORM_MASK_AT)

#define FORM_ROUND_AT 54
#define FORM_ROUND_BITS 2
enum round_rule {
    ROUND_NONE, /* EVEX.b is illegal in the register form */
    ROUND_SAE,  /* ... suppresses exceptions */
    ROUND_ER,   /* ... and gives the rounding mode in L'L */
};
#define SAE ((uint64_t)ROUND_SAE << FORM_ROUND_AT)
#define ER ((uint64_t)ROUND_ER << FORM_ROUND_AT)

#define FORM_SHORTREG (1ull << 56) /* EVEX: ModRM.reg is not a vector register: R' must be clear   \
                                    */
#define FORM_KREG (1ull << 57)     /* ModRM.reg is an opmask or tile register: R must be clear */
#define FORM_KRM (1ull << 58)      /* ModRM.rm is an opmask register, or a general one */
#define FORM_KVVVV (1ull << 59)    /* vvvv is an opmask or tile register */
#define FORM_SIB (1ull << 60)      /* the memory operand must have a SIB byte */
#define FORM_VSIB (1ull << 61)     /* ... and its index is a vector register */
#define FORM_DISTINCT (1ull << 62) /* the register operands must be different ones */

/* Bytes that are not simply an opcode: bit 63 set, the rest of the word is the kind. */
#define FORM_NOT_OPCODE (1ull << 63)
enum byte_kind {
    BYTE_SEG,
    BYTE_PREFIX, /* lock, repne, rep, opsize, addrsize */
    BYTE_REX,
    BYTE_ESCAPE, /* 0f */
    BYTE_VEX2,
    BYTE_VEX3,
    BYTE_EVEX,
    BYTE_XOP_OR_POP, /* 8f */
    BYTE_NOP,        /* 90 */
};
#define NOT_OPCODE(kind) (FORM_NOT_OPCODE | BYTE_##kind)

/* Groups. */
enum group_select {
    SELECT_REG,    /* cells 0..7 by ModRM.reg */
    SELECT_MODREG, /* 0..7 memory forms by ModRM.reg, 8..15 register forms */
    SELECT_RM,     /* 0..7 by ModRM.rm */
    SELECT_MOD,    /* 0 memory, 1 register */
};
struct insn_group {
    uint8_t select; /* enum group_select */
    uint64_t cells[16];
};
#define GROUP_INDEX_AT 7
#define GROUP_INDEX_BITS 8
#define GROUP(name) ((uint64_t)FORM_GROUP | (uint64_t)GROUP_##name << GROUP_INDEX_AT)

/* clang-format off */
enum insn_group_name {
    GROUP_1_EB_IB, GROUP_1_EV_IZ, GROUP_1_EV_IB, GROUP_1A,
    GROUP_2_EB_IB, GROUP_2_EV_IB, GROUP_2_EB_1, GROUP_2_EV_1, GROUP_2_EB_CL, GROUP_2_EV_CL,
    GROUP_3_EB, GROUP_3_EV, GROUP_4, GROUP_5, GROUP_6,
    GROUP_7, GROUP_7_66, GROUP_7_FX,
    GROUP_7_C0, GROUP_7_C8, GROUP_7_66_C8, GROUP_7_D0, GROUP_7_D8, GROUP_7_FX_D8,
    GROUP_7_E8, GROUP_7_F8, GROUP_7_66_F8, GROUP_7_FX_F8,
    GROUP_8, GROUP_9, GROUP_9_66, GROUP_9_F3, GROUP_9_F2,
    GROUP_11_EB, GROUP_11_EV, GROUP_11_C6F8, GROUP_11_C7F8,
    GROUP_12, GROUP_13, GROUP_14, GROUP_14_66,
    GROUP_15, GROUP_15_66, GROUP_15_F3, GROUP_15_F2, GROUP_16, GROUP_P, GROUP_1C, GROUP_78_66,
    GROUP_X87_D8, GROUP_X87_D9, GROUP_X87_DA, GROUP_X87_DB,
    GROUP_X87_DC, GROUP_X87_DD, GROUP_X87_DE, GROUP_X87_DF,
    GROUP_X87_D9D0, GROUP_X87_D9E0, GROUP_X87_D9E8, GROUP_X87_DAE8, GROUP_X87_DBE0,
    GROUP_X87_DED8, GROUP_X87_DFE0,
    GROUP_VEX_10_F3, GROUP_VEX_10_F2, GROUP_VEX_11_F3, GROUP_VEX_11_F2,
    GROUP_VEX_12, GROUP_VEX_14, GROUP_VEX_15, GROUP_VEX_17,
    GROUP_VEX_49, GROUP_VEX_49_C0, GROUP_VEX_49_66, GROUP_VEX_49_F2, GROUP_VEX_49_F2C0,
    GROUP_XOP_01, GROUP_XOP_02,
    GROUP_EVEX_10_F3, GROUP_EVEX_10_F2, GROUP_EVEX_11_F3, GROUP_EVEX_11_F2,
    GROUP_EVEX_12, GROUP_EVEX_13, GROUP_EVEX_14, GROUP_EVEX5_10, GROUP_EVEX5_11,
    GROUP_COUNT,
};
/* clang-format on */

_Static_assert(FORM_GROUP < 1 << FORM_CLASS_BITS, "class field");
_Static_assert(OPSIZE_RULES <= 1 << FORM_OPSIZE_BITS, "operand size field");
_Static_assert(MEM_RULES <= 1 << FORM_MEM_BITS, "memory size field");
_Static_assert(IMPLIED_RULES <= 1 << FORM_IMPLIED_BITS, "implied register field");
_Static_assert(GROUP_COUNT <= 1 << GROUP_INDEX_BITS, "group index");

/* insn_vector.c: what VEX, EVEX and XOP add. */

/** Takes a VEX, EVEX or XOP prefix at p[at] and the opcode behind it, or, where 8f is no prefix,
 * the pop. Returns the offset behind the opcode. *word must be 0 on entry and stays so if the
 * prefix is malformed or the opcode undefined. */
unsigned insn_take_vector_prefix(struct insn *in, const uint8_t *p, unsigned at, uint64_t *word);

/** Whether the prefix fields are legal for this form, in a vector encoding. Also completes the
 *  register numbers. `p` is where the instruction starts. */
bool insn_vector_is_legal(struct insn *in, const uint8_t *p, uint64_t word);

/** insn.mem_size of the rules that depend on the vector length or W. */
unsigned insn_vector_size(const struct insn *in, enum mem_rule rule);

/** Applies EVEX broadcast, disp8*N and opmask to insn.disp and insn.mem_size. */
void insn_evex_finish_memory(struct insn *in, const uint8_t *p, uint64_t word);

/* The maps. */
extern const uint64_t insn_map_one_byte[256];
extern const uint64_t insn_map_0f[256][4], insn_map_0f38[256][4], insn_map_0f3a[256][4];
extern const uint64_t insn_map_vex[3][256][4];  /* maps 1..3 */
extern const uint64_t insn_map_evex[6][256][4]; /* maps 1..6, 4 empty */
extern const uint64_t insn_map_xop[3][256];     /* maps 8..10, no mandatory prefix */
extern const struct insn_group insn_groups[GROUP_COUNT];

#endif
