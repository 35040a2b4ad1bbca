/* Encoding instructions for the generator: from operands to bytes. SDM 2 "Instruction Format"
 * ch. 2. */
#ifndef INSN_ASM_H
#define INSN_ASM_H

#include "insn/case.h"

/** The r/m operand. */
struct rm {
    bool mem;
    uint8_t reg;         /* !mem: register number */
    uint8_t base, index; /* enum gpr; base may be GPR_RIP, both GPR_NONE */
    uint8_t scale;       /* 1 2 4 8 */
    uint8_t seg;         /* override prefix byte, 0 none */
    bool addr32;         /* prefix 67 */
    bool wide_disp;      /* 4 bytes of displacement even where 1 would do */
    int32_t disp;
    uint64_t target; /* base GPR_RIP: the guest address meant */
};

/** One legacy-encoded instruction. */
struct op {
    uint8_t opcode;
    uint8_t map;                    /* 0: one byte, 1: 0f, 2: 0f 38, 3: 0f 3a */
    bool opsize16, lock, rexw, rex; /* rex: a REX prefix in any case (spl, sil...) */
    uint8_t rep;                    /* f2 or f3, 0 none */
    bool modrm;
    uint8_t reg; /* ModRM.reg; without ModRM: in the opcode's low bits */
    struct rm rm;
    uint8_t imm_len;
    uint64_t imm;
};

static inline struct rm rm_reg(unsigned r)
{
    return (struct rm){.reg = (uint8_t)r, .base = GPR_NONE, .index = GPR_NONE};
}

static inline struct rm rm_base(unsigned base, int32_t disp)
{
    return (struct rm){
        .mem = true, .base = (uint8_t)base, .index = GPR_NONE, .scale = 1, .disp = disp};
}

/** ModRM, SIB and displacement of `rm` with register field `reg`; returns their length. *fix_at:
 * where a RIP displacement lies, or 0. */
unsigned asm_modrm(uint8_t *out, unsigned reg, const struct rm *rm, unsigned *fix_at);

/** Append an instruction to the case. False: it is full. */
bool asm_op(struct insn_case *c, const struct op *op);
/** Append bytes as they are. */
bool asm_raw(struct insn_case *c, const uint8_t *bytes, unsigned len);
/** Append a branch: `opcode` (with 0f: map 1) and a displacement of 1 or 4 bytes to instruction
 * `target`. */
bool asm_branch(struct insn_case *c, unsigned map, unsigned opcode, unsigned disp_len,
                unsigned target);
/** Append mov r64, address of instruction `target`. */
bool asm_mov_address(struct insn_case *c, unsigned r, unsigned target);

#endif
