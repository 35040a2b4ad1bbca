/* The words in which the opcode maps are written: shorthand for insn_tables.h. Included by
 * insn_maps*.c only.
 *
 * Names follow SDM 2 appendix A: E is ModRM.rm as general register or memory, X as vector register
 * or memory, M as memory only, R as general register only, G is ModRM.reg as a general register, V
 * is VEX.vvvv as one, O is the register in the opcode's low bits. _R reads it, _W writes it.
 */
#ifndef X86_INSN_MAPS_H
#define X86_INSN_MAPS_H

#include "x86/insn_tables.h"

#define E_R (FORM_MODRM | FORM_MEM_R | FORM_RM_R)
#define E_W (FORM_MODRM | FORM_MEM_W | FORM_RM_W)
#define E_RW (E_R | E_W)
#define X_R (FORM_MODRM | FORM_MEM_R)
#define X_W (FORM_MODRM | FORM_MEM_W)
#define X_RW (X_R | X_W)
#define M_R (X_R | FORM_NOREG)
#define M_W (X_W | FORM_NOREG)
#define M_RW (X_RW | FORM_NOREG)
#define R_R (FORM_MODRM | FORM_RM_R | FORM_NOMEM)
#define R_W (FORM_MODRM | FORM_RM_W | FORM_NOMEM)
#define G_R FORM_REG_R
#define G_W FORM_REG_W
#define G_RW (G_R | G_W)
#define V_R FORM_VVVV_R
#define V_W FORM_VVVV_W
#define O_R FORM_LOW_R
#define O_W FORM_LOW_W
#define O_RW (O_R | O_W)

#define OP CLASS(PLAIN)
#define FP CLASS(FPU)
#define UNDEF CLASS(UD)
#define S1 SIZE(1)
#define SV SIZE(V)
#define SY SIZE(Y)
#define MO MEM(OP)
#define IB IMM(B)

/* Vector instructions of two operands, the second loading or the first storing memory of a size;
 * LD_MEM and ST_MEM have no register form, REGS no memory form. With NDS, one operand more. */
#define LD(size) (FP | X_R | MEM(size))
#define ST(size) (FP | X_W | MEM(size))
#define LD_MEM(size) (FP | M_R | MEM(size))
#define ST_MEM(size) (FP | M_W | MEM(size))
#define REGS (FP | FORM_MODRM | FORM_NOMEM)
#define NDS FORM_NDS

#define LIG L(IGNORED)
#define L128 L(128)
#define L256 L(256)
#define L512 L(512)
#define L256_512 L(256_512)

#define HINT (CLASS(NOP) | SV | FORM_MODRM)

/* Rows. Columns are none, 66, F3, F2. */
#define ANY(word)                                                                                  \
    {                                                                                              \
        word, word, word, word                                                                     \
    }
#define NP_66(word)                                                                                \
    {                                                                                              \
        word, word                                                                                 \
    }
#define ONLY_66(word)                                                                              \
    {                                                                                              \
        0, word                                                                                    \
    }
#define ONLY_F3(word)                                                                              \
    {                                                                                              \
        0, 0, word                                                                                 \
    }
#define ONLY_F2(word)                                                                              \
    {                                                                                              \
        0, 0, 0, word                                                                              \
    }

#endif
