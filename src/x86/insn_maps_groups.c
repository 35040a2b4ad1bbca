/* Opcode groups: cells selected by ModRM. SDM 2 appendix A, tables A-6 (groups), A-7 ff. (x87);
 * APM 3 appendix A for AMD's.
 */
#include "x86/insn_maps.h"

/* clang-format off */

/* Groups 1 (add or adc sbb and sub xor cmp) and 2 (rol ror rcl rcr shl shr sal sar). */
#define GROUP_1(size, imm)                                                                         \
    {SELECT_REG,                                                                                   \
     {[0 ... 6] = OP | (size) | MO | E_RW | (imm) | FORM_LOCK,                                     \
      [7] = OP | (size) | MO | E_R | (imm)}}
#define GROUP_2(size, count)                                                                       \
    {SELECT_REG, {[0 ... 7] = OP | (size) | MO | E_RW | (count)}}

#define NOT_NEG (OP | MO | E_RW | FORM_LOCK)
#define INC_DEC (OP | MO | E_RW | FORM_LOCK)

#define NO_OPERANDS(name) (CLASS(name) | FORM_MODRM)
#define VMX NO_OPERANDS(VMX)
#define LDT_TR(name) (CLASS(name) | SIZE(2) | MO | E_R)

#define XSAVE(name) (CLASS(name) | SY | USES(AD_R) | FORM_NOREG)
#define FENCE (OP | FORM_MODRM)
#define FLUSH (CLASS(CLFLUSH) | FORM_MODRM)
#define PREFETCH (OP | FORM_MODRM)

#define XMM_SHIFT (REGS | IB)

#define F (FP | FORM_MODRM) /* x87 between its registers */
#define F_ENV (LD(FENV) | SV)
#define F_STORE_ENV (ST(FENV) | SV)

#define DESCRIPTOR_TABLE(name, access) (CLASS(name) | SIZE(8) | MEM(10) | access)
#define SMSW (CLASS(SMSW) | SV | MEM(2) | E_W)
#define LMSW (CLASS(LMSW) | SIZE(2) | MO | E_R)
#define GROUP_7_MEMORY                                                                             \
    DESCRIPTOR_TABLE(SGDT, M_W), DESCRIPTOR_TABLE(SIDT, M_W), DESCRIPTOR_TABLE(LGDT, M_R),         \
        DESCRIPTOR_TABLE(LIDT, M_R), SMSW, 0, LMSW, CLASS(INVLPG) | FORM_MODRM

#define SWAPGS NO_OPERANDS(SWAPGS)
#define RDTSCP (NO_OPERANDS(RDTSCP) | USES(ACD_W))
#define CLZERO (OP | FORM_MODRM | USES(A_R) | FORM_HIDDEN)

#define CMPXCHG8B (OP | SY | MEM(2OP) | M_RW | USES(CMPXCHG8B) | FORM_LOCK)
#define XSAVES_ETC [3] = XSAVE(XRSTOR) | X_R, [4 ... 5] = XSAVE(XSAVE) | X_W
#define RANDOM (OP | SV | R_W)

#define LOAD_SCALAR(size) (LD(size) | LIG)
#define STORE_SCALAR(size) (ST(size) | LIG)
#define MOVE_SCALAR (REGS | NDS | LIG) /* between registers, the rest from a third */
#define VEX_SHIFT (REGS | NDS | IB)
#define BMI_VE (OP | SY | MO | E_R | V_W | NDS | L128)
#define TILE_CONFIG (FP | MEM(64) | W0 | L128)

#define SHIFT(size) (LD(size) | NDS | IB)

const struct insn_group insn_groups[GROUP_COUNT] = {
    [GROUP_1_EB_IB] = GROUP_1(S1, IB),
    [GROUP_1_EV_IZ] = GROUP_1(SV, IMM(Z)),
    [GROUP_1_EV_IB] = GROUP_1(SV, IB),
    [GROUP_1A] = {SELECT_REG, {OP | SIZE(STACK) | MO | E_W | FORM_STACK}}, /* pop */
    [GROUP_2_EB_IB] = GROUP_2(S1, IB),
    [GROUP_2_EV_IB] = GROUP_2(SV, IB),
    [GROUP_2_EB_1] = GROUP_2(S1, 0),
    [GROUP_2_EV_1] = GROUP_2(SV, 0),
    [GROUP_2_EB_CL] = GROUP_2(S1, USES(C_R)),
    [GROUP_2_EV_CL] = GROUP_2(SV, USES(C_R)),

    [GROUP_3_EB] = {SELECT_REG,
                    {[0 ... 1] = OP | S1 | MO | E_R | IB, /* test */
                     [2 ... 3] = NOT_NEG | S1,
                     [4 ... 7] = OP | S1 | MO | E_R | USES(A_RW)}}, /* mul imul div idiv */
    [GROUP_3_EV] = {SELECT_REG,
                    {[0 ... 1] = OP | SV | MO | E_R | IMM(Z),
                     [2 ... 3] = NOT_NEG | SV,
                     [4 ... 5] = OP | SV | MO | E_R | USES(A_R_AD_W),
                     [6 ... 7] = OP | SV | MO | E_R | USES(AD_R_AD_W)}},
    [GROUP_4] = {SELECT_REG, {[0 ... 1] = INC_DEC | S1}},
    [GROUP_5] = {SELECT_REG,
                 {[0 ... 1] = INC_DEC | SV,
                  [2] = CLASS(CALL_IND) | SIZE(8) | MO | E_R | FORM_STACK,
                  [3] = CLASS(CALL_FAR) | SV | MEM(FAR) | M_R | FORM_STACK,
                  [4] = CLASS(JMP_IND) | SIZE(8) | MO | E_R,
                  [5] = CLASS(JMP_FAR) | SV | MEM(FAR) | M_R,
                  [6] = OP | SIZE(STACK) | MO | E_R | FORM_STACK}}, /* push */

    [GROUP_6] = {SELECT_REG,
                 {CLASS(SLDT) | SV | MEM(2) | E_W, CLASS(STR) | SV | MEM(2) | E_W, LDT_TR(LLDT),
                  LDT_TR(LTR), LDT_TR(VERR), LDT_TR(VERW)}},

    [GROUP_7] = {SELECT_MODREG,
                 {GROUP_7_MEMORY, GROUP(7_C0), GROUP(7_C8), GROUP(7_D0), GROUP(7_D8), SMSW,
                  GROUP(7_E8), LMSW, GROUP(7_F8)}},
    [GROUP_7_66] = {SELECT_MODREG,
                    {GROUP_7_MEMORY, 0, GROUP(7_66_C8), 0, GROUP(7_D8), SMSW, 0, LMSW,
                     GROUP(7_66_F8)}},
    /* f3 /5 and f3, f2 e8..ef: CET, UINTR and TSX, which no guest is offered */
    [GROUP_7_FX] = {SELECT_MODREG,
                    {GROUP_7_MEMORY, 0, 0, 0, GROUP(7_FX_D8), SMSW, 0, LMSW, GROUP(7_FX_F8)}},
    /* enclv vmcall vmlaunch vmresume vmxoff pconfig */
    [GROUP_7_C0] = {SELECT_RM, {VMX, NO_OPERANDS(VMCALL), VMX, VMX, VMX, VMX}},
    [GROUP_7_C8] = {SELECT_RM,
                    {NO_OPERANDS(MONITOR) | USES(ACD_R), NO_OPERANDS(MWAIT) | USES(AC_R),
                     NO_OPERANDS(CLAC), NO_OPERANDS(STAC), 0, 0, 0, VMX}}, /* encls */
    [GROUP_7_66_C8] = {SELECT_RM, {[4 ... 7] = VMX}}, /* tdcall seamret seamops seamcall */
    /* xgetbv xsetbv - - vmfunc xend xtest enclu; TSX is not offered to guests */
    [GROUP_7_D0] = {SELECT_RM,
                    {NO_OPERANDS(XGETBV) | USES(C_R_AD_W), NO_OPERANDS(XSETBV) | USES(ACD_R), 0, 0,
                     VMX, UNDEF, UNDEF, VMX}},
    /* vmrun vmmcall vmload vmsave stgi clgi skinit invlpga */
    [GROUP_7_D8] = {SELECT_RM, {VMX, NO_OPERANDS(VMCALL), VMX, VMX, VMX, VMX, VMX, VMX}},
    [GROUP_7_FX_D8] = {SELECT_RM, {[0 ... 7] = VMX}}, /* d9: vmgexit */
    [GROUP_7_E8] = {SELECT_RM,
                    {NO_OPERANDS(SERIALIZE), 0, 0, 0, 0, 0, NO_OPERANDS(RDPKRU) | USES(C_R_AD_W),
                     NO_OPERANDS(WRPKRU) | USES(ACD_R)}},
    /* swapgs rdtscp monitorx mwaitx clzero rdpru invlpgb tlbsync; rdpru is not offered to guests */
    [GROUP_7_F8] = {SELECT_RM,
                    {SWAPGS, RDTSCP, NO_OPERANDS(MONITOR) | USES(ACD_R),
                     NO_OPERANDS(MWAIT) | USES(ABC_R), CLZERO, UNDEF, VMX, VMX}},
    /* swapgs and rdtscp take any prefix; f3: rmpadjust psmash, f2: rmpupdate pvalidate */
    [GROUP_7_66_F8] = {SELECT_RM, {SWAPGS, RDTSCP, [4] = CLZERO}},
    [GROUP_7_FX_F8] = {SELECT_RM, {SWAPGS, RDTSCP, [4] = CLZERO, [6 ... 7] = VMX}},

    [GROUP_8] = {SELECT_REG, /* - - - - bt bts btr btc */
                 {[4] = OP | SV | MO | E_R | IB,
                  [5 ... 7] = OP | SV | MO | E_RW | IB | FORM_LOCK}},

    [GROUP_9] = {SELECT_MODREG, /* cmpxchg8b xrstors xsavec xsaves vmptrld vmptrst rdrand rdseed */
                 {[1] = CMPXCHG8B, XSAVES_ETC, [6] = CLASS(VMX) | M_R | MEM(8),
                  [7] = CLASS(VMX) | M_W | MEM(8), [14 ... 15] = RANDOM}},
    [GROUP_9_66] = {SELECT_MODREG,
                    {[1] = CMPXCHG8B, [6] = CLASS(VMX) | M_R | MEM(8), [14 ... 15] = RANDOM}},
    [GROUP_9_F3] = {SELECT_MODREG, /* vmxon, senduipi (not offered to guests), rdpid */
                    {[1] = CMPXCHG8B, [6] = CLASS(VMX) | M_R | MEM(8),
                     [15] = CLASS(RDPID) | SIZE(8) | R_W}},
    [GROUP_9_F2] = {SELECT_MODREG, {[1] = CMPXCHG8B}},

    /* mov; c6 f8 and c7 f8 are xabort and xbegin: TSX is not offered to guests */
    [GROUP_11_EB] = {SELECT_MODREG,
                     {[0] = OP | S1 | MO | E_W | IB, [8] = OP | S1 | MO | E_W | IB,
                      [15] = GROUP(11_C6F8)}},
    [GROUP_11_EV] = {SELECT_MODREG,
                     {[0] = OP | SV | MO | E_W | IMM(Z), [8] = OP | SV | MO | E_W | IMM(Z),
                      [15] = GROUP(11_C7F8)}},
    [GROUP_11_C6F8] = {SELECT_RM, {UNDEF | IB}},
    [GROUP_11_C7F8] = {SELECT_RM, {UNDEF | SV | IMM(Z)}},
    [GROUP_12] = {SELECT_REG, {[2] = XMM_SHIFT, [4] = XMM_SHIFT, [6] = XMM_SHIFT}},
    [GROUP_13] = {SELECT_REG, {[2] = XMM_SHIFT, [4] = XMM_SHIFT, [6] = XMM_SHIFT}},
    [GROUP_14] = {SELECT_REG, {[2] = XMM_SHIFT, [6] = XMM_SHIFT}},
    [GROUP_14_66] = {SELECT_REG, {[2 ... 3] = XMM_SHIFT, [6 ... 7] = XMM_SHIFT}},

    /* fxsave fxrstor ldmxcsr stmxcsr xsave xrstor xsaveopt clflush; lfence mfence sfence */
    [GROUP_15] = {SELECT_MODREG,
                  {CLASS(XSAVE) | SY | M_W | MEM(512), CLASS(XRSTOR) | SY | M_R | MEM(512),
                   LD_MEM(4), ST_MEM(4), XSAVE(XSAVE) | X_RW, XSAVE(XRSTOR) | X_R,
                   XSAVE(XSAVE) | X_RW, FLUSH, [13 ... 15] = FENCE}},
    [GROUP_15_66] = {SELECT_MODREG, /* clwb clflushopt tpause */
                     {[6 ... 7] = FLUSH, [14] = OP | SIZE(4) | R_R | USES(AD_R)}},
    [GROUP_15_F3] = {SELECT_MODREG, /* ptwrite; rdfsbase rdgsbase wrfsbase wrgsbase; umonitor */
                     {[4] = OP | SY | MO | E_R, [8] = CLASS(RDFSBASE) | SY | R_W,
                      [9] = CLASS(RDGSBASE) | SY | R_W, [10] = CLASS(WRFSBASE) | SY | R_R,
                      [11] = CLASS(WRGSBASE) | SY | R_R, [12] = OP | SY | MO | E_R,
                      [14] = OP | SIZE(8) | R_R | FORM_HIDDEN}},
    [GROUP_15_F2] = {SELECT_MODREG, {[14] = OP | SIZE(4) | R_R | USES(AD_R)}}, /* umwait */

    [GROUP_16] = {SELECT_MODREG, {[0 ... 3] = PREFETCH, [4 ... 15] = HINT}},
    [GROUP_P] = {SELECT_MOD, {PREFETCH, HINT}}, /* prefetch prefetchw prefetchwt1 */
    [GROUP_1C] = {SELECT_MODREG, {FLUSH, [1 ... 15] = HINT}}, /* cldemote */
    [GROUP_78_66] = {SELECT_MODREG, {[8] = REGS | IMM(BB)}}, /* extrq */

    [GROUP_X87_D8] = {SELECT_MODREG, {[0 ... 7] = LD(4), [8 ... 15] = F}},
    [GROUP_X87_D9] = {SELECT_MODREG,
                      {LD(4), 0, ST(4), ST(4), F_ENV, LD(2), F_STORE_ENV, ST(2), F, F,
                       GROUP(X87_D9D0), F, GROUP(X87_D9E0), GROUP(X87_D9E8), F, F}},
    [GROUP_X87_DA] = {SELECT_MODREG,
                      {[0 ... 7] = LD(4), [8 ... 11] = F, [13] = GROUP(X87_DAE8)}},
    [GROUP_X87_DB] = {SELECT_MODREG,
                      {LD(4), ST(4), ST(4), ST(4), 0, LD(10), 0, ST(10),
                       [8 ... 11] = F, [12] = GROUP(X87_DBE0), [13 ... 14] = F}},
    [GROUP_X87_DC] = {SELECT_MODREG, {[0 ... 7] = LD(8), [8 ... 15] = F}},
    [GROUP_X87_DD] = {SELECT_MODREG,
                      {LD(8), ST(8), ST(8), ST(8), LD(FSAVE) | SV, 0, ST(FSAVE) | SV,
                       ST(2), [8 ... 13] = F}},
    [GROUP_X87_DE] = {SELECT_MODREG,
                      {[0 ... 7] = LD(2), [8 ... 10] = F, GROUP(X87_DED8), [12 ... 15] = F}},
    [GROUP_X87_DF] = {SELECT_MODREG,
                      {LD(2), ST(2), ST(2), ST(2), LD(10), LD(8), ST(10), ST(8),
                       [8 ... 11] = F, [12] = GROUP(X87_DFE0), [13 ... 14] = F}},
    [GROUP_X87_D9D0] = {SELECT_RM, {F}},                       /* fnop */
    [GROUP_X87_D9E0] = {SELECT_RM, {F, F, 0, 0, F, F, 0, 0}},  /* fchs fabs ftst fxam */
    [GROUP_X87_D9E8] = {SELECT_RM, {F, F, F, F, F, F, F, 0}},  /* fld1 ... fldz */
    [GROUP_X87_DAE8] = {SELECT_RM, {[1] = F}},                 /* fucompp */
    [GROUP_X87_DBE0] = {SELECT_RM, {F, F, F, F, F, 0, 0, 0}},  /* feni fdisi fnclex fninit fsetpm */
    [GROUP_X87_DED8] = {SELECT_RM, {[1] = F}},                 /* fcompp */
    [GROUP_X87_DFE0] = {SELECT_RM, {F | SIZE(2) | USES(A_W)}}, /* fnstsw ax */

/* VEX and XOP */
    [GROUP_VEX_10_F3] = {SELECT_MOD, {LOAD_SCALAR(4), MOVE_SCALAR}},
    [GROUP_VEX_10_F2] = {SELECT_MOD, {LOAD_SCALAR(8), MOVE_SCALAR}},
    [GROUP_VEX_11_F3] = {SELECT_MOD, {STORE_SCALAR(4), MOVE_SCALAR}},
    [GROUP_VEX_11_F2] = {SELECT_MOD, {STORE_SCALAR(8), MOVE_SCALAR}},
    [GROUP_VEX_12] = {SELECT_REG, {[2] = VEX_SHIFT, [4] = VEX_SHIFT, [6] = VEX_SHIFT}},
    [GROUP_VEX_14] = {SELECT_REG, {[2 ... 3] = VEX_SHIFT, [6 ... 7] = VEX_SHIFT}},
    [GROUP_VEX_15] = {SELECT_REG, {[2] = LD_MEM(4) | L128, [3] = ST_MEM(4) | L128}},
    [GROUP_VEX_17] = {SELECT_REG, {[1 ... 3] = BMI_VE}}, /* blsr blsmsk blsi */
    /* ldtilecfg tilerelease; sttilecfg; tilezero */
    [GROUP_VEX_49] = {SELECT_MODREG, {[0] = TILE_CONFIG | M_R, [8] = GROUP(VEX_49_C0)}},
    [GROUP_VEX_49_C0] = {SELECT_RM, {F | W0 | L128}},
    [GROUP_VEX_49_66] = {SELECT_MODREG, {[0] = TILE_CONFIG | M_W}},
    [GROUP_VEX_49_F2] = {SELECT_MODREG, {[8 ... 15] = GROUP(VEX_49_F2C0)}},
    [GROUP_VEX_49_F2C0] = {SELECT_RM, {F | FORM_KREG | W0 | L128}},
    [GROUP_XOP_01] = {SELECT_REG, {[1 ... 7] = BMI_VE}},        /* blcfill blsfill blcs tzmsk ... */
    [GROUP_XOP_02] = {SELECT_REG, {[1] = BMI_VE, [6] = BMI_VE}}, /* blcmsk blci */

/* EVEX */
    [GROUP_EVEX_10_F3] = {SELECT_MOD, {LOAD_SCALAR(4) | W0, MOVE_SCALAR | W0}},
    [GROUP_EVEX_10_F2] = {SELECT_MOD, {LOAD_SCALAR(8) | W1, MOVE_SCALAR | W1}},
    [GROUP_EVEX_11_F3] = {SELECT_MOD, {STORE_SCALAR(4) | W0, MOVE_SCALAR | W0}},
    [GROUP_EVEX_11_F2] = {SELECT_MOD, {STORE_SCALAR(8) | W1, MOVE_SCALAR | W1}},
    [GROUP_EVEX5_10] = {SELECT_MOD, {LOAD_SCALAR(2) | W0, MOVE_SCALAR | W0}},
    [GROUP_EVEX5_11] = {SELECT_MOD, {STORE_SCALAR(2) | W0, MOVE_SCALAR | W0}},
    [GROUP_EVEX_12] = {SELECT_REG, {[2] = SHIFT(VL), [4] = SHIFT(VL), [6] = SHIFT(VL)}},
    [GROUP_EVEX_13] = {SELECT_REG, /* vpror vprol vpsrld - vpsrad/q - vpslld */
                       {SHIFT(FULL), SHIFT(FULL), SHIFT(FULL) | W0, 0, SHIFT(FULL), 0,
                        SHIFT(FULL) | W0}},
    [GROUP_EVEX_14] = {SELECT_REG,
                       {[2] = SHIFT(FULL) | W1, [3] = SHIFT(VL) | MASK(NONE),
                        [6] = SHIFT(FULL) | W1, [7] = SHIFT(VL) | MASK(NONE)}},
};
