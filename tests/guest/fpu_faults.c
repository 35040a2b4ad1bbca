/* Exceptions of x87 and SSE, and the control bits that make them: CR0.TS MP EM NE, CR4.OSFXSR
 * OSXMMEXCPT. SDM 3 §2.5 "Control Registers" table 2-2, §6.15 "Interrupt 7", "16", "19". */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_x87, "fninit; fld1; syscall");
USER_CODE(user_sse, "pxor %xmm0, %xmm0; syscall");
USER_CODE(user_mf, "fninit; fldcw (%rdi); fldz; fld1; fdiv %st(1), %st; fwait; syscall");
USER_CODE(user_xm,
          "ldmxcsr (%rdi); pxor %xmm0, %xmm0; movaps %xmm0, %xmm1; divps %xmm1, %xmm0; syscall");

static void ts_and_em(void)
{
    uint64_t cr0 = read_cr0() & ~(CR0_TS | CR0_EM);
    CASE("CR0.TS: #NM for x87 and SSE in the kernel; clts"); /* user code: docs/limits.md */
    write_cr0(cr0 | CR0_TS | CR0_MP);
    TRY("fld1");
    EXPECT_FAULT(VEC_NM, 0);
    TRY("pxor %%xmm0, %%xmm0");
    EXPECT_FAULT(VEC_NM, 0);
    TRY("fwait");
    EXPECT_FAULT(VEC_NM, 0);
    asm volatile("clts");
    CHECK(!(read_cr0() & CR0_TS));
    TRY("fninit; fld1; pxor %%xmm0, %%xmm0");
    EXPECT_NOTHING();
    user_run(user_x87);
    EXPECT_SYSCALL(user_x87_end);
    user_run(user_sse);
    EXPECT_SYSCALL(user_sse_end);
    CASE("CR0.TS without MP: fwait does not care");
    write_cr0((cr0 | CR0_TS) & ~CR0_MP);
    TRY("fwait");
    EXPECT_NOTHING();
    write_cr0(cr0 | CR0_MP);
    CASE("TS set again after the FPU was in use");
    for (unsigned i = 0; i < 3; i++) {
        TRY("fld1; fstp %%st");
        EXPECT_NOTHING();
        write_cr0(cr0 | CR0_TS);
        TRY("fld1");
        EXPECT_FAULT(VEC_NM, 0);
        write_cr0(cr0);
    }
    CASE("CR0.EM: #NM for x87, #UD for SSE");
    write_cr0(cr0 | CR0_EM);
    TRY("fld1");
    EXPECT_FAULT(VEC_NM, 0);
    TRY("pxor %%xmm0, %%xmm0");
    EXPECT_FAULT(VEC_UD, 0);
    write_cr0(cr0 | CR0_MP | CR0_NE);
    CASE("CR4.OSFXSR clear: SSE is #UD");
    write_cr4(read_cr4() & ~CR4_OSFXSR);
    TRY("pxor %%xmm0, %%xmm0");
    EXPECT_FAULT(VEC_UD, 0);
    write_cr4(read_cr4() | CR4_OSFXSR);
}

static void x87_error(void)
{
    uint16_t cw = 0x37f & ~4u; /* division by zero is not masked */
    CASE("#MF: at the next waiting x87 instruction, also after others");
    TRY_IN("fninit; fldcw %0; fldz; fld1; fdiv %%st(1), %%st; fwait", "m"(cw));
    EXPECT_FAULT_AT(VEC_MF, 0, probe.end - 1);
    TRY_IN("fninit; fldcw %0; fldz; fld1; fdiv %%st(1), %%st; nop; fldz", "m"(cw));
    EXPECT_FAULT_AT(VEC_MF, 0, probe.end - 2);
    TRY_IN("fnclex; fwait; fninit", "i"(0));
    EXPECT_NOTHING();
    CASE("#MF from user code");
    *(uint16_t *)va_of(pa_of((void *)USER_PAGE)) = cw;
    user_call(user_mf, USER_PAGE, 0, 0);
    EXPECT_USER_FAULT(VEC_MF, 0, user_mf_end - 3);
}

static void sse_error(void)
{
    uint32_t mxcsr = 0x1f80 & ~0x80u; /* unmask invalid operation */
    CASE("#XM: an unmasked SSE exception");
    TRY_IN("ldmxcsr %0; pxor %%xmm0, %%xmm0; divps %%xmm0, %%xmm0", "m"(mxcsr));
    EXPECT_FAULT_AT(VEC_XM, 0, probe.end - 3);
    CASE("#UD instead with CR4.OSXMMEXCPT clear");
    write_cr4(read_cr4() & ~CR4_OSXMMEXCPT);
    TRY_IN("ldmxcsr %0; pxor %%xmm0, %%xmm0; divps %%xmm0, %%xmm0", "m"(mxcsr));
    EXPECT_FAULT_AT(VEC_UD, 0, probe.end - 3);
    write_cr4(read_cr4() | CR4_OSXMMEXCPT);
    CASE("#XM from user code");
    *(uint32_t *)va_of(pa_of((void *)USER_PAGE)) = mxcsr;
    user_call(user_xm, USER_PAGE, 0, 0);
    EXPECT_USER_FAULT(VEC_XM, 0, user_xm_end - 5);
    CASE("#GP: reserved bits of MXCSR");
    uint32_t bad = 0x1f80 | 1u << 30;
    TRY_IN("ldmxcsr %0", "m"(bad));
    EXPECT_FAULT(VEC_GP, 0);
    mxcsr = 0x1f80;
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
}

void guest_main(void)
{
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    ts_and_em();
    x87_error();
    sse_error();
}
