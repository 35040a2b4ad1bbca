/* The EVEX opcode maps: AVX-512 and AVX512-FP16 (maps 5 and 6). SDM 2 chapters 3-6.
 *
 * Left out, hence undefined: what only Xeon Phi has (ER, PF, 4FMAPS, 4VNNIW).
 */
#include "x86/insn_tables.h"

#define FP CLASS(FPU)
#define Y SIZE(Y)
#define MO MEM(OP)
#define IB IMM(B)

/* Two operands, loading or storing memory of a size; with NDS, three. */
#define LD(size) (FP | X_R | MEM(size))
#define ST(size) (FP | X_W | MEM(size))
#define LD_MEM(size) (FP | M_R | MEM(size))
#define ST_MEM(size) (FP | M_W | MEM(size))
#define REGS (FP | FORM_MODRM | FORM_NOMEM)
#define NDS FORM_NDS
#define NOMASK MASK(NONE)
#define LIG L(IGNORED)
#define L128 L(128)
#define L512 L(512)
#define L256_512 L(256_512)

#define VEC LD(VL)
#define VEC3 (VEC | NDS)
#define FULL LD(FULL) /* with broadcast */
#define FULL3 (FULL | NDS)
#define SS (LD(4) | NDS | LIG | W0)
#define SD (LD(8) | NDS | LIG | W1)
#define S_W (LD(W) | NDS | LIG) /* ss and sd by W */

/* FP16 */
#define PH (LD(FULLH) | W0)
#define PH3 (PH | NDS)
#define SH (LD(2) | NDS | LIG | W0)

/* Results in an opmask register are merged only */
#define TO_K (FORM_SHORTREG | FORM_KREG | MASK(MERGE))
#define TO_GPR (Y | G_W | FORM_SHORTREG | LIG | NOMASK)
#define FROM_GPR (FP | Y | MO | E_R | NDS | LIG | NOMASK)
#define MOVD_LD(size) (FP | (size) | E_R | L128 | NOMASK)
#define MOVD_ST(size) (FP | (size) | E_W | L128 | NOMASK)

#define GATHER (FP | M_R | MEM(SOMEW) | FORM_SIB | FORM_VSIB | FORM_DISTINCT | MASK(REQUIRED))
#define SCATTER (FP | M_W | MEM(SOMEW) | FORM_SIB | FORM_VSIB | MASK(REQUIRED))

/* Columns: none, 66, F3, F2 */
#define PS_PD(word) {(word) | W0, (word) | W1}
#define PS_PD_SS_SD(word, round)                                                                   \
    {(word) | W0 | (round), (word) | W1 | (round), SS | (round), SD | (round)}
#define ONLY_66(word) {0, word}

#define FMA(op, packed, scalar)                                                                    \
    [op ... (op) + 2] = ONLY_66(packed), [(op) + 3] = ONLY_66(scalar),                             \
             [(op) + 4] = ONLY_66(packed), [(op) + 5] = ONLY_66(scalar),                           \
             [(op) + 6] = ONLY_66(packed), [(op) + 7] = ONLY_66(scalar),                           \
             [(op) + 8] = ONLY_66(packed), [(op) + 9] = ONLY_66(scalar)

const uint64_t insn_map_evex[6][256][4] = {
    {
        /* 0f */
        [0x10] = {VEC | W0, VEC | W1, GROUP(EVEX_10_F3), GROUP(EVEX_10_F2)},
        [0x11] = {ST(VL) | W0, ST(VL) | W1, GROUP(EVEX_11_F3), GROUP(EVEX_11_F2)},
        [0x12] = {LD(8) | NDS | W0 | L128 | NOMASK, LD_MEM(8) | NDS | W1 | L128 | NOMASK, VEC | W0,
                  LD(DUP) | W1},
        [0x13] = PS_PD(ST_MEM(8) | L128 | NOMASK),
        [0x14 ... 0x15] = PS_PD(FULL3),
        [0x16] = {LD(8) | NDS | W0 | L128 | NOMASK, LD_MEM(8) | NDS | W1 | L128 | NOMASK, VEC | W0},
        [0x17] = PS_PD(ST_MEM(8) | L128 | NOMASK),
        [0x28] = PS_PD(VEC),
        [0x29] = PS_PD(ST(VL)),
        [0x2a] = {0, 0, FROM_GPR | ER, FROM_GPR | ER},
        [0x2b] = PS_PD(ST_MEM(VL) | NOMASK),
        [0x2c] = {0, 0, LD(4) | TO_GPR | SAE, LD(8) | TO_GPR | SAE},
        [0x2d] = {0, 0, LD(4) | TO_GPR | ER, LD(8) | TO_GPR | ER},
        [0x2e ... 0x2f] = {LD(4) | LIG | W0 | NOMASK | SAE, LD(8) | LIG | W1 | NOMASK | SAE},
        [0x51] = PS_PD_SS_SD(FULL, ER),
        [0x54 ... 0x57] = PS_PD(FULL3),
        [0x58 ... 0x59] = PS_PD_SS_SD(FULL3, ER),
        [0x5a] = {LD(HALF) | W0 | SAE, FULL | W1 | ER, SS | SAE, SD | ER},
        [0x5b] = {FULL | ER, FULL | W0 | ER, FULL | W0 | SAE},
        [0x5c] = PS_PD_SS_SD(FULL3, ER),
        [0x5d] = PS_PD_SS_SD(FULL3, SAE),
        [0x5e] = PS_PD_SS_SD(FULL3, ER),
        [0x5f] = PS_PD_SS_SD(FULL3, SAE),
        [0x60 ... 0x61] = ONLY_66(VEC3),
        [0x62] = ONLY_66(FULL3 | W0),
        [0x63] = ONLY_66(VEC3),
        [0x64 ... 0x65] = ONLY_66(VEC3 | TO_K),
        [0x66] = ONLY_66(FULL3 | W0 | TO_K),
        [0x67 ... 0x69] = ONLY_66(VEC3),
        [0x6a ... 0x6b] = ONLY_66(FULL3 | W0),
        [0x6c ... 0x6d] = ONLY_66(FULL3 | W1),
        [0x6e] = ONLY_66(MOVD_LD(Y | MO)),
        [0x6f] = {0, VEC, VEC, VEC},
        [0x70] = {0, FULL | W0 | IB, VEC | IB, VEC | IB},
        [0x71] = ONLY_66(GROUP(EVEX_12)),
        [0x72] = ONLY_66(GROUP(EVEX_13)),
        [0x73] = ONLY_66(GROUP(EVEX_14)),
        [0x74 ... 0x75] = ONLY_66(VEC3 | TO_K),
        [0x76] = ONLY_66(FULL3 | W0 | TO_K),
        [0x78] = {FULL | SAE, LD(HALFW) | SAE, LD(4) | TO_GPR | SAE, LD(8) | TO_GPR | SAE},
        [0x79] = {FULL | ER, LD(HALFW) | ER, LD(4) | TO_GPR | ER, LD(8) | TO_GPR | ER},
        [0x7a] = {0, LD(HALFW) | SAE, LD(HALFW) | ER, FULL | ER},
        [0x7b] = {0, LD(HALFW) | ER, FROM_GPR | ER, FROM_GPR | ER},
        [0x7e] = {0, MOVD_ST(Y | MO), LD(8) | W1 | L128 | NOMASK},
        [0x7f] = {0, ST(VL), ST(VL), ST(VL)},
        [0xc2] = {FULL3 | W0 | TO_K | SAE | IB, FULL3 | W1 | TO_K | SAE | IB,
                  SS | TO_K | SAE | IB, SD | TO_K | SAE | IB},
        [0xc4] = ONLY_66(MOVD_LD(SIZE(4) | MEM(2)) | NDS | IB),
        [0xc5] = ONLY_66(REGS | Y | G_W | FORM_SHORTREG | L128 | NOMASK | IB),
        [0xc6] = PS_PD(FULL3 | IB),
        [0xd1] = ONLY_66(LD(16) | NDS),
        [0xd2] = ONLY_66(LD(16) | NDS | W0),
        [0xd3] = ONLY_66(LD(16) | NDS | W1),
        [0xd4] = ONLY_66(FULL3 | W1),
        [0xd5] = ONLY_66(VEC3),
        [0xd6] = ONLY_66(ST(8) | W1 | L128 | NOMASK),
        [0xd8 ... 0xda] = ONLY_66(VEC3),
        [0xdb] = ONLY_66(FULL3),
        [0xdc ... 0xde] = ONLY_66(VEC3),
        [0xdf] = ONLY_66(FULL3),
        [0xe0] = ONLY_66(VEC3),
        [0xe1 ... 0xe2] = ONLY_66(LD(16) | NDS),
        [0xe3 ... 0xe5] = ONLY_66(VEC3),
        [0xe6] = {0, FULL | W1 | SAE, LD(HALFW) | ER, FULL | W1 | ER},
        [0xe7] = ONLY_66(ST_MEM(VL) | W0 | NOMASK),
        [0xe8 ... 0xea] = ONLY_66(VEC3),
        [0xeb] = ONLY_66(FULL3),
        [0xec ... 0xee] = ONLY_66(VEC3),
        [0xef] = ONLY_66(FULL3),
        [0xf1] = ONLY_66(LD(16) | NDS),
        [0xf2] = ONLY_66(LD(16) | NDS | W0),
        [0xf3] = ONLY_66(LD(16) | NDS | W1),
        [0xf4] = ONLY_66(FULL3 | W1),
        [0xf5] = ONLY_66(VEC3),
        [0xf6] = ONLY_66(VEC3 | NOMASK),
        [0xf8 ... 0xf9] = ONLY_66(VEC3),
        [0xfa] = ONLY_66(FULL3 | W0),
        [0xfb] = ONLY_66(FULL3 | W1),
        [0xfc ... 0xfd] = ONLY_66(VEC3),
        [0xfe] = ONLY_66(FULL3 | W0),
    },
    {
        /* 0f 38 */
        [0x00] = ONLY_66(VEC3),
        [0x04] = ONLY_66(VEC3),
        [0x0b] = ONLY_66(VEC3),
        [0x0c] = ONLY_66(FULL3 | W0),
        [0x0d] = ONLY_66(FULL3 | W1),
        [0x10] = {0, VEC3 | W1, ST(VL2) | W0},
        [0x11] = {0, VEC3 | W1, ST(VL4) | W0},
        [0x12] = {0, VEC3 | W1, ST(VL8) | W0},
        [0x13] = {0, LD(VL2) | W0 | SAE, ST(VL2) | W0},
        [0x14] = {0, FULL3, ST(VL4) | W0},
        [0x15] = {0, FULL3, ST(VL2) | W0},
        [0x16] = ONLY_66(FULL3 | L256_512),
        [0x18] = ONLY_66(LD(4) | W0),
        [0x19] = ONLY_66(LD(8) | L256_512),
        [0x1a] = ONLY_66(LD_MEM(16) | L256_512),
        [0x1b] = ONLY_66(LD_MEM(32) | L512),
        [0x1c ... 0x1d] = ONLY_66(VEC),
        [0x1e] = ONLY_66(FULL | W0),
        [0x1f] = ONLY_66(FULL | W1),
        [0x20] = {0, LD(VL2), ST(VL2) | W0},
        [0x21] = {0, LD(VL4), ST(VL4) | W0},
        [0x22] = {0, LD(VL8), ST(VL8) | W0},
        [0x23] = {0, LD(VL2), ST(VL2) | W0},
        [0x24] = {0, LD(VL4), ST(VL4) | W0},
        [0x25] = {0, LD(VL2) | W0, ST(VL2) | W0},
        [0x26] = {0, VEC3 | TO_K, VEC3 | TO_K},
        [0x27] = {0, FULL3 | TO_K, FULL3 | TO_K},
        [0x28] = {0, FULL3 | W1, REGS | FORM_KRM | NOMASK},
        [0x29] = {0, FULL3 | W1 | TO_K, REGS | FORM_SHORTREG | FORM_KREG | NOMASK},
        [0x2a] = {0, LD_MEM(VL) | W0 | NOMASK, REGS | W1 | FORM_KRM | NOMASK},
        [0x2b] = ONLY_66(FULL3 | W0),
        [0x2c] = ONLY_66(FULL3 | ER),
        [0x2d] = ONLY_66(S_W | ER),
        [0x30] = {0, LD(VL2), ST(VL2) | W0},
        [0x31] = {0, LD(VL4), ST(VL4) | W0},
        [0x32] = {0, LD(VL8), ST(VL8) | W0},
        [0x33] = {0, LD(VL2), ST(VL2) | W0},
        [0x34] = {0, LD(VL4), ST(VL4) | W0},
        [0x35] = {0, LD(VL2) | W0, ST(VL2) | W0},
        [0x36] = ONLY_66(FULL3 | L256_512),
        [0x37] = ONLY_66(FULL3 | W1 | TO_K),
        [0x38] = {0, VEC3, REGS | FORM_KRM | NOMASK},
        [0x39] = {0, FULL3, REGS | FORM_SHORTREG | FORM_KREG | NOMASK},
        [0x3a] = {0, VEC3, REGS | W0 | FORM_KRM | NOMASK},
        [0x3b] = ONLY_66(FULL3),
        [0x3c] = ONLY_66(VEC3),
        [0x3d] = ONLY_66(FULL3),
        [0x3e] = ONLY_66(VEC3),
        [0x3f ... 0x40] = ONLY_66(FULL3),
        [0x42] = ONLY_66(FULL | SAE),
        [0x43] = ONLY_66(S_W | SAE),
        [0x44] = ONLY_66(FULL),
        [0x45 ... 0x47] = ONLY_66(FULL3),
        [0x4c] = ONLY_66(FULL),
        [0x4d] = ONLY_66(S_W),
        [0x4e] = ONLY_66(FULL),
        [0x4f] = ONLY_66(S_W),
        [0x50 ... 0x51] = ONLY_66(FULL3 | W0),
        [0x52] = {0, FULL3 | W0, FULL3 | W0},
        [0x53] = ONLY_66(FULL3 | W0),
        [0x54] = ONLY_66(VEC),
        [0x55] = ONLY_66(FULL),
        [0x58] = ONLY_66(LD(4) | W0),
        [0x59] = ONLY_66(LD(8)),
        [0x5a] = ONLY_66(LD_MEM(16) | L256_512),
        [0x5b] = ONLY_66(LD_MEM(32) | L512),
        [0x62] = ONLY_66(LD(SOMEH)),
        [0x63] = ONLY_66(ST(SOMEH)),
        [0x64 ... 0x65] = ONLY_66(FULL3),
        [0x66] = ONLY_66(VEC3),
        [0x68] = {0, 0, 0, FULL3 | FORM_SHORTREG | FORM_KREG | NOMASK},
        [0x70] = ONLY_66(VEC3 | W1),
        [0x71] = ONLY_66(FULL3),
        [0x72] = {0, VEC3 | W1, FULL | W0, FULL3 | W0},
        [0x73] = ONLY_66(FULL3),
        [0x75] = ONLY_66(VEC3),
        [0x76 ... 0x77] = ONLY_66(FULL3),
        [0x78] = ONLY_66(LD(1) | W0),
        [0x79] = ONLY_66(LD(2) | W0),
        [0x7a ... 0x7b] = ONLY_66(FP | R_R | SIZE(4) | W0),
        [0x7c] = ONLY_66(FP | R_R | Y),
        [0x7d] = ONLY_66(VEC3),
        [0x7e ... 0x7f] = ONLY_66(FULL3),
        [0x83] = ONLY_66(FULL3 | W1),
        [0x88 ... 0x89] = ONLY_66(LD(SOMEW)),
        [0x8a ... 0x8b] = ONLY_66(ST(SOMEW)),
        [0x8d] = ONLY_66(VEC3),
        [0x8f] = ONLY_66(VEC3 | W0 | TO_K),
        [0x90 ... 0x93] = ONLY_66(GATHER),
        FMA(0x96, FULL3 | ER, S_W | ER),
        [0xa0 ... 0xa3] = ONLY_66(SCATTER),
        FMA(0xa6, FULL3 | ER, S_W | ER),
        [0xb4 ... 0xb5] = ONLY_66(FULL3 | W1),
        FMA(0xb6, FULL3 | ER, S_W | ER),
        [0xc4] = ONLY_66(FULL),
        [0xcf] = ONLY_66(VEC3 | W0),
        [0xdc ... 0xdf] = ONLY_66(VEC3 | NOMASK),
    },
    {
        /* 0f 3a, all with an immediate */
        [0x00 ... 0x01] = ONLY_66(FULL | W1 | L256_512 | IB),
        [0x03] = ONLY_66(FULL3 | IB),
        [0x04] = ONLY_66(FULL | W0 | IB),
        [0x05] = ONLY_66(FULL | W1 | IB),
        [0x08] = {PH | SAE | IB, FULL | W0 | SAE | IB},
        [0x09] = ONLY_66(FULL | W1 | SAE | IB),
        [0x0a] = {SH | SAE | IB, SS | SAE | IB},
        [0x0b] = ONLY_66(SD | SAE | IB),
        [0x0f] = ONLY_66(VEC3 | IB),
        [0x14] = ONLY_66(MOVD_ST(Y | MEM(1)) | IB),
        [0x15] = ONLY_66(MOVD_ST(Y | MEM(2)) | IB),
        [0x16] = ONLY_66(MOVD_ST(Y | MO) | IB),
        [0x17] = ONLY_66(MOVD_ST(Y | MEM(4)) | IB),
        [0x18] = ONLY_66(LD(16) | NDS | L256_512 | IB),
        [0x19] = ONLY_66(ST(16) | L256_512 | IB),
        [0x1a] = ONLY_66(LD(32) | NDS | L512 | IB),
        [0x1b] = ONLY_66(ST(32) | L512 | IB),
        [0x1d] = ONLY_66(ST(VL2) | W0 | SAE | IB),
        [0x1e ... 0x1f] = ONLY_66(FULL3 | TO_K | IB),
        [0x20] = ONLY_66(MOVD_LD(SIZE(4) | MEM(1)) | NDS | IB),
        [0x21] = ONLY_66(LD(4) | NDS | W0 | L128 | NOMASK | IB),
        [0x22] = ONLY_66(MOVD_LD(Y | MO) | NDS | IB),
        [0x23] = ONLY_66(FULL3 | L256_512 | IB),
        [0x25] = ONLY_66(FULL3 | IB),
        [0x26] = {PH | SAE | IB, FULL | SAE | IB},
        [0x27] = {SH | SAE | IB, S_W | SAE | IB},
        [0x38] = ONLY_66(LD(16) | NDS | L256_512 | IB),
        [0x39] = ONLY_66(ST(16) | L256_512 | IB),
        [0x3a] = ONLY_66(LD(32) | NDS | L512 | IB),
        [0x3b] = ONLY_66(ST(32) | L512 | IB),
        [0x3e ... 0x3f] = ONLY_66(VEC3 | TO_K | IB),
        [0x42] = ONLY_66(VEC3 | W0 | IB),
        [0x43] = ONLY_66(FULL3 | L256_512 | IB),
        [0x44] = ONLY_66(VEC3 | NOMASK | IB),
        [0x50] = ONLY_66(FULL3 | SAE | IB),
        [0x51] = ONLY_66(S_W | SAE | IB),
        [0x54] = ONLY_66(FULL3 | SAE | IB),
        [0x55] = ONLY_66(S_W | SAE | IB),
        [0x56] = {PH | SAE | IB, FULL | SAE | IB},
        [0x57] = {SH | SAE | IB, S_W | SAE | IB},
        [0x66] = {PH | TO_K | IB, FULL | TO_K | IB},
        [0x67] = {LD(2) | LIG | W0 | TO_K | IB, LD(W) | LIG | TO_K | IB},
        [0x70] = ONLY_66(VEC3 | W1 | IB),
        [0x71] = ONLY_66(FULL3 | IB),
        [0x72] = ONLY_66(VEC3 | W1 | IB),
        [0x73] = ONLY_66(FULL3 | IB),
        [0xc2] = {PH3 | TO_K | SAE | IB, 0, SH | TO_K | SAE | IB},
        [0xce ... 0xcf] = ONLY_66(FULL3 | W1 | IB),
    },
    {{0}}, /* map 4: APX, not offered to guests */
    {
        /* map 5 */
        [0x10] = {0, 0, GROUP(EVEX5_10)},
        [0x11] = {0, 0, GROUP(EVEX5_11)},
        [0x1d] = {SS | ER, FULL | W0 | ER},
        [0x2a] = {0, 0, FROM_GPR | ER},
        [0x2c] = {0, 0, LD(2) | TO_GPR | SAE},
        [0x2d] = {0, 0, LD(2) | TO_GPR | ER},
        [0x2e ... 0x2f] = {LD(2) | LIG | W0 | NOMASK | SAE},
        [0x51] = {PH | ER, 0, SH | ER},
        [0x58 ... 0x59] = {PH3 | ER, 0, SH | ER},
        [0x5a] = {LD(QUARTERH) | W0 | SAE, FULL | W1 | ER, SH | SAE, SD | ER},
        [0x5b] = {FULL | ER, LD(HALFH) | W0 | ER, LD(HALFH) | W0 | SAE},
        [0x5c] = {PH3 | ER, 0, SH | ER},
        [0x5d] = {PH3 | SAE, 0, SH | SAE},
        [0x5e] = {PH3 | ER, 0, SH | ER},
        [0x5f] = {PH3 | SAE, 0, SH | SAE},
        [0x6e] = ONLY_66(MOVD_LD(SIZE(4) | MEM(2))),
        [0x78] = {LD(HALFH) | W0 | SAE, LD(QUARTERH) | W0 | SAE, LD(2) | TO_GPR | SAE},
        [0x79] = {LD(HALFH) | W0 | ER, LD(QUARTERH) | W0 | ER, LD(2) | TO_GPR | ER},
        [0x7a] = {0, LD(QUARTERH) | W0 | SAE, 0, FULL | ER},
        [0x7b] = {0, LD(QUARTERH) | W0 | ER, FROM_GPR | ER},
        [0x7c] = {PH | SAE, PH | SAE},
        [0x7d] = {PH | ER, PH | ER, PH | ER, PH | ER},
        [0x7e] = ONLY_66(MOVD_ST(SIZE(4) | MEM(2))),
    },
    {
        /* map 6 */
        [0x13] = {SH | SAE, LD(HALFH) | W0 | SAE},
        [0x2c] = ONLY_66(PH3 | ER),
        [0x2d] = ONLY_66(SH | ER),
        [0x42] = ONLY_66(PH | SAE),
        [0x43] = ONLY_66(SH | SAE),
        [0x4c] = ONLY_66(PH),
        [0x4d] = ONLY_66(SH),
        [0x4e] = ONLY_66(PH),
        [0x4f] = ONLY_66(SH),
        /* complex numbers, of two halves */
        [0x56] = {0, 0, FULL3 | W0 | ER | FORM_DISTINCT, FULL3 | W0 | ER | FORM_DISTINCT},
        [0x57] = {0, 0, SS | ER | FORM_DISTINCT, SS | ER | FORM_DISTINCT},
        FMA(0x96, PH3 | ER, SH | ER),
        FMA(0xa6, PH3 | ER, SH | ER),
        FMA(0xb6, PH3 | ER, SH | ER),
        [0xd6] = {0, 0, FULL3 | W0 | ER | FORM_DISTINCT, FULL3 | W0 | ER | FORM_DISTINCT},
        [0xd7] = {0, 0, SS | ER | FORM_DISTINCT, SS | ER | FORM_DISTINCT},
    },
};
