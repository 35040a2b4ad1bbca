/* The VEX and XOP opcode maps. SDM 2 chapters 3-6 (each instruction's VEX forms); APM 3, 4, 6 for
 * FMA4, TBM and XOP.
 */
#include "x86/insn_maps.h"

/* clang-format off */

#define VEC LD(VL)
#define VEC3 (VEC | NDS)
#define STV ST(VL)
#define SS (LD(4) | NDS | LIG)
#define SD (LD(8) | NDS | LIG)

#define PS_PD(word) NP_66(word)
#define PS_PD_SS_SD(word) {word, word, SS, SD}

/* Opmask registers */
#define K_REGS (REGS | FORM_KREG)
#define K3 (K_REGS | FORM_KVVVV | NDS | L256)
#define K2 (K_REGS | L128)

/* BMI */
#define BMI (OP | SY | MO | E_R | L128)
#define BMI_GVE (BMI | G_W | V_R | NDS)

/* AMX: tiles are numbered like opmasks */
#define TILE (REGS | FORM_KREG | FORM_KVVVV | NDS | FORM_DISTINCT | W0 | L128)
#define TILE_MEM (FP | FORM_KREG | FORM_NOREG | FORM_MODRM | FORM_SIB | W0 | L128)

/* Conditional moves between memory and vector, gathers: how much is touched depends on a mask */
#define MASKED_LD (FP | M_R | NDS)
#define MASKED_ST (FP | M_W | NDS)
#define GATHER (FP | M_R | NDS | FORM_SIB | FORM_VSIB | FORM_DISTINCT)

/* Fused multiply-add: 132, 213 and 231 forms stand 0x10 apart */
#define FMA_P VEC3
#define FMA_S (LD(W) | NDS | LIG)
#define FMA(op)                                                                                    \
    [op ... (op) + 2] = ONLY_66(FMA_P), [(op) + 3] = ONLY_66(FMA_S),                               \
             [(op) + 4] = ONLY_66(FMA_P), [(op) + 5] = ONLY_66(FMA_S),                             \
             [(op) + 6] = ONLY_66(FMA_P), [(op) + 7] = ONLY_66(FMA_S),                             \
             [(op) + 8] = ONLY_66(FMA_P), [(op) + 9] = ONLY_66(FMA_S)

/* FMA4: a fourth register in the immediate */
#define FMA4(op)                                                                                   \
    [op ... (op) + 1] = ONLY_66(VEC3 | IB), [(op) + 2] = ONLY_66(SS | IB),                         \
             [(op) + 3] = ONLY_66(SD | IB)

/* pmovsx and pmovzx: bw bd bq wd wq dq */
#define EXTEND(op)                                                                                 \
    [op] = ONLY_66(LD(VL2)), [(op) + 1] = ONLY_66(LD(VL4)), [(op) + 2] = ONLY_66(LD(VL8)),         \
    [(op) + 3] = ONLY_66(LD(VL2)), [(op) + 4] = ONLY_66(LD(VL4)), [(op) + 5] = ONLY_66(LD(VL2))

const uint64_t insn_map_vex[3][256][4] = {
    {
        /* 0f */
        [0x10] = {VEC, VEC, GROUP(VEX_10_F3), GROUP(VEX_10_F2)},
        [0x11] = {STV, STV, GROUP(VEX_11_F3), GROUP(VEX_11_F2)},
        [0x12] = {LD(8) | NDS | L128, LD_MEM(8) | NDS | L128, VEC, LD(DUP)},
        [0x13] = PS_PD(ST_MEM(8) | L128),
        [0x14 ... 0x15] = PS_PD(VEC3),
        [0x16] = {LD(8) | NDS | L128, LD_MEM(8) | NDS | L128, VEC},
        [0x17] = PS_PD(ST_MEM(8) | L128),
        [0x28] = PS_PD(VEC),
        [0x29] = PS_PD(STV),
        [0x2a] = {0, 0, FP | SY | MO | E_R | NDS | LIG, FP | SY | MO | E_R | NDS | LIG},
        [0x2b] = PS_PD(ST_MEM(VL)),
        [0x2c ... 0x2d] = {0, 0, LD(4) | SY | G_W | LIG, LD(8) | SY | G_W | LIG},
        [0x2e ... 0x2f] = {LD(4) | LIG, LD(8) | LIG},
        [0x41 ... 0x42] = PS_PD(K3),
        [0x44] = PS_PD(K2), /* knot */
        [0x45 ... 0x47] = PS_PD(K3),
        [0x4a] = PS_PD(K3),
        [0x4b] = {K3, K3 | W0}, /* kunpck */
        [0x50] = PS_PD(REGS | SY | G_W),
        [0x51] = PS_PD_SS_SD(VEC),
        [0x52 ... 0x53] = {VEC, 0, SS},
        [0x54 ... 0x57] = PS_PD(VEC3),
        [0x58 ... 0x59] = PS_PD_SS_SD(VEC3),
        [0x5a] = {LD(VL2), VEC, SS, SD},
        [0x5b] = {VEC, VEC, VEC},
        [0x5c ... 0x5f] = PS_PD_SS_SD(VEC3),
        [0x60 ... 0x6d] = ONLY_66(VEC3),
        [0x6e] = ONLY_66(FP | SY | MO | E_R | L128),
        [0x6f] = {0, VEC, VEC},
        [0x70] = {0, VEC | IB, VEC | IB, VEC | IB},
        [0x71 ... 0x72] = ONLY_66(GROUP(VEX_12)),
        [0x73] = ONLY_66(GROUP(VEX_14)),
        [0x74 ... 0x76] = ONLY_66(VEC3),
        [0x77] = {FP}, /* vzeroupper vzeroall */
        [0x7c ... 0x7d] = {0, VEC3, 0, VEC3},
        [0x7e] = {0, FP | SY | MO | E_W | L128, LD(8) | L128},
        [0x7f] = {0, STV, STV},
        [0x90] = {FP | X_R | MEM(K16) | FORM_KREG | L128, FP | X_R | MEM(K8) | FORM_KREG | L128},
        [0x91] = {FP | M_W | MEM(K16) | FORM_KREG | L128, FP | M_W | MEM(K8) | FORM_KREG | L128},
        [0x92] = {K2 | R_R | SIZE(4) | W0, K2 | R_R | SIZE(4) | W0, 0, K2 | R_R | SY},
        [0x93] = {REGS | G_W | SIZE(4) | W0 | L128, REGS | G_W | SIZE(4) | W0 | L128, 0,
                  REGS | G_W | SY | L128},
        [0x98 ... 0x99] = PS_PD(K2),
        [0xae] = {GROUP(VEX_15)},
        [0xc2] = {VEC3 | IB, VEC3 | IB, SS | IB, SD | IB},
        [0xc4] = ONLY_66(FP | SIZE(4) | MEM(2) | E_R | NDS | L128 | IB),
        [0xc5] = ONLY_66(REGS | SY | G_W | L128 | IB),
        [0xc6] = PS_PD(VEC3 | IB),
        [0xd0] = {0, VEC3, 0, VEC3},
        [0xd1 ... 0xd3] = ONLY_66(LD(16) | NDS),
        [0xd4 ... 0xd5] = ONLY_66(VEC3),
        [0xd6] = ONLY_66(ST(8) | L128),
        [0xd7] = ONLY_66(REGS | SY | G_W),
        [0xd8 ... 0xe0] = ONLY_66(VEC3),
        [0xe1 ... 0xe2] = ONLY_66(LD(16) | NDS),
        [0xe3 ... 0xe5] = ONLY_66(VEC3),
        [0xe6] = {0, VEC, LD(VL2), VEC},
        [0xe7] = ONLY_66(ST_MEM(VL)),
        [0xe8 ... 0xef] = ONLY_66(VEC3),
        [0xf0] = {0, 0, 0, LD_MEM(VL)},
        [0xf1 ... 0xf3] = ONLY_66(LD(16) | NDS),
        [0xf4 ... 0xf6] = ONLY_66(VEC3),
        [0xf7] = ONLY_66(REGS | USES(DI_R) | FORM_HIDDEN | L128), /* vmaskmovdqu */
        [0xf8 ... 0xfe] = ONLY_66(VEC3),
    },
    {
        /* 0f 38 */
        [0x00 ... 0x0b] = ONLY_66(VEC3),
        [0x0c ... 0x0d] = ONLY_66(VEC3 | W0),
        [0x0e ... 0x0f] = ONLY_66(VEC | W0),
        [0x13] = ONLY_66(LD(VL2) | W0),
        [0x16] = ONLY_66(VEC3 | W0 | L256),
        [0x17] = ONLY_66(VEC),
        [0x18] = ONLY_66(LD(4) | W0),
        [0x19] = ONLY_66(LD(8) | W0 | L256),
        [0x1a] = ONLY_66(LD_MEM(16) | W0 | L256),
        [0x1c ... 0x1e] = ONLY_66(VEC),
        EXTEND(0x20),
        [0x28 ... 0x29] = ONLY_66(VEC3),
        [0x2a] = ONLY_66(LD_MEM(VL)),
        [0x2b] = ONLY_66(VEC3),
        [0x2c ... 0x2d] = ONLY_66(MASKED_LD | W0),
        [0x2e ... 0x2f] = ONLY_66(MASKED_ST | W0),
        EXTEND(0x30),
        [0x36] = ONLY_66(VEC3 | W0 | L256),
        [0x37 ... 0x40] = ONLY_66(VEC3),
        [0x41] = ONLY_66(VEC | L128),
        [0x45] = ONLY_66(VEC3),
        [0x46] = ONLY_66(VEC3 | W0),
        [0x47] = ONLY_66(VEC3),
        [0x49] = {GROUP(VEX_49), GROUP(VEX_49_66), 0, GROUP(VEX_49_F2)},
        [0x4b] = {0, TILE_MEM | FORM_MEM_R, TILE_MEM | FORM_MEM_W, TILE_MEM | FORM_MEM_R},
        [0x50 ... 0x51] = {VEC3 | W0, VEC3 | W0, VEC3 | W0, VEC3 | W0}, /* AVX-VNNI, -INT8 */
        [0x52 ... 0x53] = ONLY_66(VEC3 | W0),
        [0x58] = ONLY_66(LD(4) | W0),
        [0x59] = ONLY_66(LD(8) | W0),
        [0x5a] = ONLY_66(LD_MEM(16) | W0 | L256),
        [0x5c] = {0, 0, TILE, TILE},       /* AMX-BF16, -FP16 */
        [0x5e] = {TILE, TILE, TILE, TILE}, /* AMX-INT8 */
        [0x6c] = {TILE, TILE},             /* AMX-COMPLEX */
        [0x72] = ONLY_F3(VEC | W0),        /* AVX-NE-CONVERT; 0xb0, 0xb1, too */
        [0x78] = ONLY_66(LD(1) | W0),
        [0x79] = ONLY_66(LD(2) | W0),
        [0x8c] = ONLY_66(MASKED_LD),
        [0x8e] = ONLY_66(MASKED_ST),
        [0x90 ... 0x93] = ONLY_66(GATHER),
        FMA(0x96),
        FMA(0xa6),
        [0xb0] = {LD_MEM(VL) | W0, LD_MEM(VL) | W0, LD_MEM(VL) | W0, LD_MEM(VL) | W0},
        [0xb1] = {0, LD_MEM(2) | W0, LD_MEM(2) | W0},
        [0xb4 ... 0xb5] = ONLY_66(VEC3 | W1), /* AVX-IFMA */
        FMA(0xb6),
        [0xcb] = {0, 0, 0, REGS | NDS | W0 | L256}, /* SHA512 */
        [0xcc ... 0xcd] = {0, 0, 0, REGS | W0 | L256},
        [0xcf] = ONLY_66(VEC3 | W0),
        [0xd2 ... 0xd3] = {VEC3 | W0, VEC3 | W0, VEC3 | W0}, /* AVX-VNNI-INT16 */
        /* SM3, SM4 */
        [0xda] = {VEC3 | W0 | L128, VEC3 | W0 | L128, VEC3 | W0, VEC3 | W0},
        [0xdb] = ONLY_66(VEC | L128),
        [0xdc ... 0xdf] = ONLY_66(VEC3),
        [0xe0 ... 0xef] = ONLY_66(OP | SY | MO | M_RW | G_RW | V_R | NDS | L128), /* cmpccxadd */
        [0xf2] = {BMI_GVE},                                                      /* andn */
        [0xf3] = {GROUP(VEX_17)},
        [0xf5] = {BMI_GVE, 0, BMI_GVE, BMI_GVE}, /* bzhi pext pdep */
        [0xf6] = {0, 0, 0, BMI | G_W | V_W | NDS | USES(D_R)}, /* mulx */
        [0xf7] = {BMI_GVE, BMI_GVE, BMI_GVE, BMI_GVE}, /* bextr shlx sarx shrx */
    },
    {
        /* 0f 3a, all with an immediate */
        [0x00 ... 0x01] = ONLY_66(VEC | IB | W1 | L256),
        [0x02] = ONLY_66(VEC3 | IB | W0),
        [0x04 ... 0x05] = ONLY_66(VEC | IB | W0),
        [0x06] = ONLY_66(VEC3 | IB | W0 | L256),
        [0x08 ... 0x09] = ONLY_66(VEC | IB),
        [0x0a] = ONLY_66(SS | IB),
        [0x0b] = ONLY_66(SD | IB),
        [0x0c ... 0x0f] = ONLY_66(VEC3 | IB),
        [0x14] = ONLY_66(FP | SY | MEM(1) | E_W | IB | L128),
        [0x15] = ONLY_66(FP | SY | MEM(2) | E_W | IB | L128),
        [0x16] = ONLY_66(FP | SY | MO | E_W | IB | L128),
        [0x17] = ONLY_66(FP | SY | MEM(4) | E_W | IB | L128),
        [0x18] = ONLY_66(LD(16) | NDS | IB | W0 | L256),
        [0x19] = ONLY_66(ST(16) | IB | W0 | L256),
        [0x1d] = ONLY_66(ST(VL2) | IB | W0),
        [0x20] = ONLY_66(FP | SIZE(4) | MEM(1) | E_R | NDS | IB | L128),
        [0x21] = ONLY_66(LD(4) | NDS | IB | L128),
        [0x22] = ONLY_66(FP | SY | MO | E_R | NDS | IB | L128),
        [0x30 ... 0x33] = ONLY_66(K2 | IB), /* kshift */
        [0x38] = ONLY_66(LD(16) | NDS | IB | W0 | L256),
        [0x39] = ONLY_66(ST(16) | IB | W0 | L256),
        [0x40] = ONLY_66(VEC3 | IB),
        [0x41] = ONLY_66(VEC3 | IB | L128),
        [0x42] = ONLY_66(VEC3 | IB),
        [0x44] = ONLY_66(VEC3 | IB),
        [0x46] = ONLY_66(VEC3 | IB | W0 | L256),
        [0x48 ... 0x49] = ONLY_66(VEC3 | IB), /* vpermil2 (XOP) */
        [0x4a ... 0x4c] = ONLY_66(VEC3 | IB | W0),
        [0x5c ... 0x5f] = ONLY_66(VEC3 | IB), /* FMA4 */
        [0x60] = ONLY_66(VEC | SY | IB | USES(AD_R) | L128),
        [0x61] = ONLY_66(VEC | SY | IB | USES(AD_R_C_W) | L128),
        [0x62] = ONLY_66(VEC | IB | L128),
        [0x63] = ONLY_66(VEC | IB | USES(C_W) | L128),
        FMA4(0x68),
        FMA4(0x6c),
        FMA4(0x78),
        FMA4(0x7c),
        [0xce ... 0xcf] = ONLY_66(VEC3 | IB | W1),
        [0xde] = ONLY_66(VEC3 | IB | W0 | L128), /* vsm3rnds2 */
        [0xdf] = ONLY_66(VEC | IB | L128),
        [0xf0] = {0, 0, 0, BMI | G_W | IB}, /* rorx */
    },
};

#define XMM (LD(16) | W0 | L128)
#define XMM3 (LD(16) | NDS | L128)

const uint64_t insn_map_xop[3][256] = {
    {
        /* map 8, all with an immediate */
        [0x85 ... 0x87] = XMM3 | W0 | IB,
        [0x8e ... 0x8f] = XMM3 | W0 | IB,
        [0x95 ... 0x97] = XMM3 | W0 | IB,
        [0x9e ... 0x9f] = XMM3 | W0 | IB,
        [0xa2] = VEC3 | IB, /* vpcmov */
        [0xa3] = XMM3 | IB, /* vpperm */
        [0xa6] = XMM3 | W0 | IB,
        [0xb6] = XMM3 | W0 | IB,
        [0xc0 ... 0xc3] = XMM | IB,      /* vprot */
        [0xcc ... 0xcf] = XMM3 | W0 | IB, /* vpcom */
        [0xec ... 0xef] = XMM3 | W0 | IB,
    },
    {
        /* map 9 */
        [0x01] = GROUP(XOP_01),
        [0x02] = GROUP(XOP_02),
        [0x80 ... 0x81] = VEC | W0,      /* vfrcz */
        [0x82] = LD(4) | W0 | L128,
        [0x83] = LD(8) | W0 | L128,
        [0x90 ... 0x9b] = XMM3, /* vprot vpshl vpsha; W swaps the sources */
        [0xc1 ... 0xc3] = XMM,  /* vphadd, vphsub */
        [0xc6 ... 0xc7] = XMM,
        [0xcb] = XMM,
        [0xd1 ... 0xd3] = XMM,
        [0xd6 ... 0xd7] = XMM,
        [0xdb] = XMM,
        [0xe1 ... 0xe3] = XMM,
    },
    {
        /* map 10 */
        [0x10] = BMI | G_W | IMM(D), /* bextr */
    },
};
