/* Each exception the kernel can raise in itself: vector, error code, what is pushed, CR2. SDM 3
 * §6.15 "Exception and Interrupt Reference", §6.14.2 "64-Bit Mode Stack Frame". */
#include "lib/paging.h"
#include "lib/trap.h"

static void pushed_frame(void)
{
    uint64_t rsp;
    CASE("the frame: RSP aligned to 16, old RSP, SS, CS, RFLAGS");
    TRY_OUT("mov %%rsp, %0; stc; std; ud2", ("=&r"(rsp)));
    asm volatile("cld");
    EXPECT_FAULT_AT(VEC_UD, 0, probe.end - 2);
    CHECK_EQ(trap.rsp, rsp);
    CHECK_EQ(trap.ss, KERNEL_DS);
    CHECK_EQ(trap.cs, KERNEL_CS);
    CHECK_EQ(trap.rflags & (RFLAGS_CF | RFLAGS_DF | RFLAGS_IF | RFLAGS_FIXED),
             RFLAGS_CF | RFLAGS_DF | RFLAGS_FIXED);
    CHECK_EQ((trap_frame + sizeof(struct regs)) & 15, 0);
    CHECK((rsp & ~15ull) - trap_frame == sizeof(struct regs));

    CASE("registers are saved as they were at the fault");
    TRY("mov $0x1122334455667788, %%rax; mov $-1, %%r15; ud2");
    CHECK_EQ(trap.rax, 0x1122334455667788);
    CHECK_EQ(trap.r15, ~0ull);
}

static void without_code(void)
{
    CASE("#DE: division by zero");
    TRY_IN("divl %%ecx", "a"(1), "d"(0), "c"(0));
    EXPECT_FAULT(VEC_DE, 0);
    CASE("#DE: quotient too large");
    TRY_IN("divq %%rcx", "a"(0), "d"(5), "c"(5));
    EXPECT_FAULT(VEC_DE, 0);
    CASE("#DE: most negative number by -1");
    TRY_IN("idivl %%ecx", "a"(0x80000000), "d"(0xffffffff), "c"(0xffffffff));
    EXPECT_FAULT(VEC_DE, 0);
    CASE("#BP: int3 is a trap");
    TRY("int3");
    EXPECT_TRAP(VEC_BP);
    CASE("#BP by INT 3");
    TRY(".byte 0xcd, 3");
    EXPECT_TRAP(VEC_BP);
    CASE("#OF by INT 4");
    TRY("int $4");
    EXPECT_TRAP(VEC_OF);
    CASE("INT n: any vector, no error code");
    TRY("int $0xe9");
    EXPECT_TRAP(0xe9);
    CASE("#UD: ud2, ud1");
    TRY("ud2");
    EXPECT_FAULT(VEC_UD, 0);
    TRY("ud1 %%eax, %%eax");
    EXPECT_FAULT(VEC_UD, 0);
    CASE("#UD: not valid in 64-bit mode");
    TRY(".byte 0x06"); /* push es */
    EXPECT_FAULT(VEC_UD, 0);
    TRY(".byte 0x37"); /* aaa */
    EXPECT_FAULT(VEC_UD, 0);
    TRY(".byte 0xce"); /* into */
    EXPECT_FAULT(VEC_UD, 0);
    TRY(".byte 0xea, 0, 0, 0, 0, 0x10, 0"); /* jmp far immediate */
    EXPECT_FAULT(VEC_UD, 0);
    CASE("#UD: lock before an instruction that does not take it");
    TRY(".byte 0xf0, 0x90"); /* lock nop */
    EXPECT_FAULT(VEC_UD, 0);
    TRY(".byte 0xf0, 0x01, 0xc0"); /* lock add %eax, %eax */
    EXPECT_FAULT(VEC_UD, 0);
    CASE("#UD: mov to CS, mov to a segment register that does not exist");
    TRY_IN(".byte 0x8e, 0xc8", "a"(0x10));
    EXPECT_FAULT(VEC_UD, 0);
    TRY_IN(".byte 0x8e, 0xf0", "a"(0x10));
    EXPECT_FAULT(VEC_UD, 0);
    CASE("#UD: control registers that do not exist");
    TRY_IN(".byte 0x0f, 0x22, 0xc8", "a"(0)); /* mov cr1 */
    EXPECT_FAULT(VEC_UD, 0);
    TRY_IN(".byte 0x0f, 0x20, 0xe8", "a"(0)); /* mov rax, cr5 */
    EXPECT_FAULT(VEC_UD, 0);
}

static void debug_traps(void)
{
    CASE("#DB: int1 is a trap, without DR6 bits");
    asm volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
    TRY(".byte 0xf1");
    EXPECT_TRAP(VEC_DB);
    uint64_t dr6;
    asm volatile("mov %%dr6, %0" : "=r"(dr6));
    CHECK_EQ(dr6, 0xffff0ff0);

    CASE("#DB: TF traps after the instruction that follows the popf");
    TRY("pushfq; orl $0x100, (%%rsp); popfq; nop; nop; nop");
    CHECK_EQ(trap.vector, VEC_DB);
    CHECK_EQ(trap.rip, probe.end - 2);
    CHECK(trap.rflags & RFLAGS_TF);
    asm volatile("mov %%dr6, %0" : "=r"(dr6));
    CHECK_EQ(dr6, 0xffff4ff0);
    CHECK(!(read_flags() & RFLAGS_TF));
}

static void gp(void)
{
    CASE("#GP(0): non-canonical address");
    TRY_IN("cmpq %%rax, (%0)", "r"(0x800000000000));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("movq %%rax, (%0)", "r"(0xffff7fffffffffff));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("lock incq (%0)", "r"(0x1000000000000000));
    EXPECT_FAULT(VEC_GP, 0);
    CASE("#SS(0): non-canonical stack address");
    set_gate(VEC_SS, GATE_INTERRUPT, 0, 2);
    TRY("mov $0x800000000008, %%rcx; mov %%rsp, %%rbx; mov %%rcx, %%rsp; push %%rax; mov %%rbx, "
        "%%rsp");
    CHECK_EQ(trap.vector, VEC_SS);
    CHECK_EQ(trap.error, 0);
    CHECK_EQ(trap.rsp, 0x800000000008);
    TRY_IN("movq %%rbp, %%r12; movq %0, %%rbp; movq (%%rbp), %%rax", "r"(0x800000000008));
    CHECK_EQ(trap.vector, VEC_SS);
    CHECK_EQ(trap.error, 0);
    set_gate(VEC_SS, GATE_INTERRUPT, 0, 0);
    CASE("#GP(0): unaligned SSE operand");
    TRY_IN("movaps (%0), %%xmm0", "r"(trap_frame | 8));
    EXPECT_FAULT(VEC_GP, 0);
    CASE("#GP: INT n without a gate, selector error code with the IDT bit");
    idt[0x90][0] = idt[0x90][1] = 0;
    TRY("int $0x90");
    EXPECT_FAULT(VEC_GP, 0x90 * 8 + 2);
    CASE("#GP(0): jump to a non-canonical address");
    TRY_IN("jmp *%0", "a"(0x0000900000000000));
    CHECK_EQ(trap.vector, VEC_GP);
    CHECK_EQ(trap.error, 0);
    CASE("#GP(0): an instruction of more than 15 bytes");
    TRY(".fill 15, 1, 0x66; nop");
    EXPECT_FAULT(VEC_GP, 0);
}

static void np(void)
{
    CASE("#NP: the gate is not present");
    set_gate_raw(0x91, KERNEL_CS, 0, 0x0e, 0);
    TRY("int $0x91");
    EXPECT_FAULT(VEC_NP, 0x91 * 8 + 2);
    CASE("#NP: the handler's code segment is not present");
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0x1b) | DESC_L);
    set_gate_raw(0x92, FREE_SEL, 0x1000, 0x8e, 0);
    TRY("int $0x92");
    EXPECT_FAULT(VEC_NP, FREE_SEL);
    CASE("#GP: the handler's selector is data, null, beyond the GDT");
    set_gate_raw(0x93, KERNEL_DS, 0x1000, 0x8e, 0);
    TRY("int $0x93");
    EXPECT_FAULT(VEC_GP, KERNEL_DS);
    set_gate_raw(0x93, 0, 0x1000, 0x8e, 0);
    TRY("int $0x93");
    EXPECT_FAULT(VEC_GP, 0);
    set_gate_raw(0x93, 0x7f0, 0x1000, 0x8e, 0);
    TRY("int $0x93");
    EXPECT_FAULT(VEC_GP, 0x7f0);
    CASE("#GP: gate of a wrong type");
    set_gate_raw(0x94, KERNEL_CS, 0x1000, 0x8c, 0);
    TRY("int $0x94");
    EXPECT_FAULT(VEC_GP, 0x94 * 8 + 2);
    CASE("#GP: handler not 64-bit code");
    set_gdt(FREE_SEL, DESC_FLAT | DESC_ACCESS(0x9b) | DESC_D);
    set_gate_raw(0x95, FREE_SEL, 0x1000, 0x8e, 0);
    TRY("int $0x95");
    EXPECT_FAULT(VEC_GP, FREE_SEL);
    CASE("#GP: vector beyond the IDT's limit");
    struct table_pointer short_idt = {0x20 * 16 - 1, (uint64_t)idt},
                         full = {sizeof(idt) - 1, (uint64_t)idt};
    asm volatile("lidt %0" : : "m"(short_idt));
    TRY("int $0x20");
    asm volatile("lidt %0" : : "m"(full));
    EXPECT_FAULT(VEC_GP, 0x20 * 8 + 2);
}

void guest_main(void)
{
    wrmsr(MSR_EFER, rdmsr(MSR_EFER));
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    pushed_frame();
    without_code();
    debug_traps();
    gp();
    np();
}
