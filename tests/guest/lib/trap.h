/* Exceptions, interrupts and SYSCALL in a test guest: how to provoke one and look at exactly what
 * the processor saved.
 *
 *   TRY("div %cl");             run it; if it raises something, `trap` holds the frame and the code
 * goes on after it EXPECT_FAULT(VEC_DE, 0);    a fault: that vector and error code, RIP at the
 * instruction, RF set, our CS and SS
 *
 * on_vector() installs a handler for interrupts and for exceptions one wants to return from.
 * Without a handler, an event from user code ends user_run() (user.h), one inside TRY ends the TRY,
 * any other ends the guest.
 */
#ifndef GUEST_TRAP_H
#define GUEST_TRAP_H

#include "lib/guest.h"

#define KERNEL_CS 0x10u
#define KERNEL_DS 0x18u
#define USER_CS32 0x23u
#define USER_DS 0x2bu
#define USER_CS 0x33u
#define TSS_SEL 0x40u
#define FREE_SEL 0x80u /* GDT entries from here on are the guest's to fill */
#define GDT_ENTRIES 64u

#define VEC_SYSCALL 0x100u   /* in regs.vector: SYSCALL from 64-bit code */
#define VEC_SYSCALL32 0x101u /* SYSCALL from compatibility code */
#define NO_TRAP 0xffffu

struct regs {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error; /* error: 0 where the vector has none */
    uint64_t rip, cs, rflags, rsp, ss;
};

/** What the last TRY raised; vector NO_TRAP if nothing. trap_cr2: CR2 at that time. trap_frame:
 * where the processor pushed it. */
extern struct regs trap;
extern uint64_t trap_cr2, trap_frame;
/** Where TRY resumes and started. Set by TRY. */
extern struct probe {
    uint64_t resume, rsp, start, end, rbp;
} probe;

#define TRY_BEGIN                                                                                  \
    "movq $7771f, probe\n\tmovq %%rsp, probe + 8\n\tmovq $7770f, probe + 16\n\tmovq $7771f, "      \
    "probe + 24\n\t"                                                                               \
    "movq %%rbp, probe + 32\n\tmovq $0xffff, trap + 15 * 8\n7770:\t"
#define TRY_END "\n7771:\tmovq probe + 32, %%rbp\n\tmovq $0, probe"
#define TRY_UNPAREN(...) __VA_ARGS__
/** Run `code` (percent signs doubled); it may use any register, and RSP
 *  if it puts it back or faults. _IN: with input operands,
 *  which it leaves alone; _OUT: with (outputs), inputs. */
#define TRY(code)                                                                                  \
    asm volatile(TRY_BEGIN code TRY_END                                                            \
                 :                                                                                 \
                 :                                                                                 \
                 : "memory", "cc", "rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9", "r10",    \
                   "r11", "r12", "r13", "r14", "r15")
#define TRY_IN(code, ...) asm volatile(TRY_BEGIN code TRY_END : : __VA_ARGS__ : "memory", "cc")
#define TRY_OUT(code, outs, ...)                                                                   \
    asm volatile(TRY_BEGIN code TRY_END : TRY_UNPAREN outs:__VA_ARGS__ : "memory", "cc")

void expect_event(const char *file, int line, unsigned vector, uint64_t error, uint64_t rip,
                  bool fault);
void expect_pf(const char *file, int line, uint64_t error, uint64_t cr2, uint64_t rip);
/** The last TRY raised this fault at its first instruction. */
#define EXPECT_FAULT(vector, error)                                                                \
    expect_event(__FILE__, __LINE__, vector, error, probe.start, true)
/** ... at instruction `rip`. */
#define EXPECT_FAULT_AT(vector, error, rip)                                                        \
    expect_event(__FILE__, __LINE__, vector, error, (uint64_t)(rip), true)
/** ... this trap, reported at its end (RF as it was: clear). */
#define EXPECT_TRAP(vector) expect_event(__FILE__, __LINE__, vector, 0, probe.end, false)
#define EXPECT_PF(error, cr2) expect_pf(__FILE__, __LINE__, error, cr2, probe.start)
#define EXPECT_NOTHING() CHECK_EQ(trap.vector, NO_TRAP)

typedef void (*trap_handler)(struct regs *);
/** Call `fn` for the vector, with interrupts as the gate leaves them; it may edit the frame. NULL:
 * none. */
void on_vector(unsigned vector, trap_handler fn);

/* ---- descriptor tables ---- */

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, iomap;
} __attribute__((packed));

extern uint64_t gdt[GDT_ENTRIES];
extern uint64_t idt[256][2];
extern struct tss tss;
extern char stack_top[];
extern char ist_stack[8][4096]; /* [n] is what tss.ist[n-1] points to the end of */
extern const char trap_iret[];

#define GATE_INTERRUPT 0xeu
#define GATE_TRAP 0xfu
/** IDT gate: the vector's usual stub, with this type, DPL and IST. */
void set_gate(unsigned vector, unsigned type, unsigned dpl, unsigned ist);
/** IDT gate with everything free. */
void set_gate_raw(unsigned vector, uint16_t sel, uint64_t target, unsigned access, unsigned ist);
void set_gdt(uint16_t sel, uint64_t descriptor);

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* Descriptors, SDM 3 "Segment Descriptors" §3.4.5: type and access byte in bits 40-47, flags in
 * 52-55. */
#define DESC_FLAT 0x008f00000000ffffull
#define DESC_ACCESS(a) ((uint64_t)(a) << 40)
#define DESC_L (1ull << 53)
#define DESC_D (1ull << 54)

#endif
