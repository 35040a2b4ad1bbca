/* Sequences that once went wrong, reduced from what the random test printed. Each says what the
 * engine did to it. */
#include "insn/layout.h"

#define DATA 0x50000000ull
#define USER_LOW 0x51000000ull
#define USER 0x2e5510000000ull
#define USER_SUP 0x2e5520000000ull
#define STACK 0x60001000ull
#define KERNEL 0xffff88b35a200000ull
#define KSTACK 0xffffc9a35c611000ull
#define LAST 0x7fffffffffffull /* the last canonical byte of the lower half */

#define UD2 0x0f, 0x0b
/** The bytes of a case; the last instruction is UD2. */
#define CODE(...) .len = sizeof((const uint8_t[]){__VA_ARGS__, UD2}), .bytes = {__VA_ARGS__, UD2}

const struct insn_case fixed_cases[] = {
    /* ---- kicks ---- */
    {.name = "loop counted twice when kicked behind it",
     .gpr = {[RSP] = STACK},
     CODE(0xb9, 3, 0, 0, 0, 0xe2, 0xfe)},
    {.name = "call and ret, kicked",
     .gpr = {[RSP] = STACK},
     CODE(0xe8, 5, 0, 0, 0, 0xe9, 1, 0, 0, 0, 0xc3),
     .start = 0x100},

    /* ---- single-stepping ---- */
    {.name = "#DB before an instruction that was only retranslated",
     .gpr = {[RSP] = STACK, [R12] = USER},
     CODE(0x68, 0x86, 0x0b, 0x20, 0, 0x9d, 0x41, 0x31, 0x04, 0x24),
     .start = 0x200},
    {.name = "#DB after each element",
     .gpr = {[RSP] = STACK, [RDI] = DATA, [RCX] = 3},
     CODE(0x68, 0x02, 0x0b, 0x20, 0, 0x9d, 0xf3, 0xaa)},

    /* ---- RSP as an operand ---- */
    {.name = "lea sp",
     .gpr = {[RSP] = 0x5fffffe0, [R8] = USER + 0xfe5},
     CODE(0x66, 0x41, 0x8d, 0x60, 8)},
    {.name = "lea esp, [rip] not cut to 32 bits",
     .code = CODE_MID,
     .start = 0x1ff4,
     .gpr = {[RSP] = STACK},
     CODE(0x8d, 0x25, 0xf2, 0xe2, 0xff, 0x0f)},
    {.name = "movsx sp, ah took another register",
     .gpr = {[RAX] = 0x8000, [RSP] = USER_SUP},
     CODE(0x66, 0x0f, 0xbe, 0xe4)},
    {.name = "xchg esp, eax with a REX that has no effect",
     .gpr = {[RAX] = 0x1d8, [RSP] = STACK + 0x600000000},
     CODE(0x4c, 0x36, 0x94)},
    {.name = "flags of and rsp read in the next page",
     .start = 0xffb,
     .gpr = {[RCX] = 1, [RDI] = 2, [RSP] = 0x20},
     CODE(0x48, 0x83, 0xe4, 0xc0, 0x48, 0x0f, 0x47, 0xcf)},
    {.name = "16-bit leave", .gpr = {[RSP] = STACK, [RBP] = STACK + 0x11}, CODE(0x66, 0xc9)},
    {.name = "enter with levels",
     .gpr = {[RSP] = STACK, [RBP] = STACK + 0x40},
     CODE(0xc8, 0x18, 0, 3)},

    /* ---- stacks beyond the window ---- */
    {.name = "push beyond the window", .gpr = {[RSI] = 7, [RSP] = USER_SUP + 0x800}, CODE(0x56)},
    {.name = "call beyond the window", .gpr = {[RSP] = USER + 0x880}, CODE(0xe8, 0, 0, 0, 0)},
    {.name = "pushf beyond the window", .gpr = {[RSP] = USER + 0x4010}, CODE(0x9c)},
    {.name = "pop beyond the window", .gpr = {[RSP] = USER + 0x10}, CODE(0x58)},
    {.name = "push onto a user page", .gpr = {[RSP] = USER_LOW + 0x10}, CODE(0x50)},
    {.name = "push of memory, stack beyond the window",
     .gpr = {[RSP] = USER_SUP + 0x600},
     CODE(0xff, 0x34, 0x25, 0x80, 0x0f, 0, 0x60)},
    {.name = "enter across the end of the lower half",
     .gpr = {[RSP] = LAST + 5},
     CODE(0xc8, 0x38, 0, 0)},

    /* ---- which fault ---- */
    {.name = "operand across the end of the lower half",
     .gpr = {[R8] = LAST},
     CODE(0x49, 0xff, 0x08)},
    {.name = "the same on the stack", .gpr = {[RSP] = LAST}, CODE(0x48, 0x83, 0x0c, 0x24, 0x57)},
    {.name = "the same for a jump", .gpr = {[R8] = LAST}, CODE(0x41, 0xff, 0x20)},
    {.name = "the same for a string",
     .gpr = {[RSI] = LAST, [RDI] = DATA, [RCX] = 2},
     CODE(0xf3, 0xa5)},
    {.name = "#SS despite an SS prefix",
     .gpr = {[RBP] = 0x1234567890123456},
     CODE(0x36, 0x48, 0x8b, 0x4d, 0x8c)},
    {.name = "#SS of a bit far away",
     .gpr = {[RBP] = USER, [R9] = 0xad0e6f541f6888},
     CODE(0x4c, 0x0f, 0xab, 0x4d, 0)},
    {.name = "misaligned goes before missing",
     .gpr = {[RBX] = USER + 0x2fe2},
     CODE(0x0f, 0x53, 0x0b)},
    {.name = "misaligned goes before not canonical",
     .gpr = {[RSP] = 0x1234567890123456},
     CODE(0x0f, 0x59, 0x14, 0x24)},
    {.name = "pop to memory: the stack's fault first",
     .gpr = {[RSP] = 0x5fffffd0},
     CODE(0x8f, 0x04, 0x25, 0x73, 0x01, 0, 0x55)},
    {.name = "movs: the source's fault first",
     .gpr = {[RSI] = USER + 0x500e, [RDI] = 0x800000000002},
     CODE(0xa4)},
    {.name = "call: the operand's fault before the stack's",
     .gpr = {[RSP] = 0x1234567890123456, [R9] = USER + 0x3000},
     CODE(0x41, 0xff, 0x11)},
    {.name = "fault address with a GS base beyond the window",
     .gpr = {[RDX] = 0x2e5510001000},
     .gs = USER_SUP,
     CODE(0x65, 0x48, 0xd1, 0x22)},
    {.name = "flags after a fault in repeated cmps",
     .code = CODE_KERNEL,
     .rflags = RFLAGS_CF | RFLAGS_OF,
     .gpr = {[RSI] = KERNEL + 0x10, [RDI] = USER + 0x2ff0, [RCX] = 100, [RSP] = KSTACK},
     CODE(0xf2, 0xa7)},

    /* ---- operands through the software TLB ---- */
    {.name = "32-bit address to user memory",
     .gpr = {[R12] = USER_LOW + 0x500},
     CODE(0x67, 0x41, 0x89, 0x04, 0x24)},
    {.name = "32-bit address of a bit far away",
     .gpr = {[RAX] = USER + 0x1fd2, [RSP] = 0x660001000},
     CODE(0x67, 0x48, 0x0f, 0xab, 0x04, 0x24)},
    {.name = "mov al, fs:[moffs] with REX.R",
     .fs = DATA,
     .gpr = {[RAX] = 0xff, [R8] = 0xff},
     CODE(0x64, 0x67, 0x45, 0xa0, 0x6d, 0x0a, 0, 0)},
    {.name = "cmpxchg8b leaves no register free",
     .gpr = {[RDI] = USER + 0x40, [RSI] = 0x80},
     CODE(0x0f, 0xc7, 0x8c, 0x37, 0, 0, 0, 0)},
    {.name = "xlat in user memory", .gpr = {[RBX] = USER + 0x100, [RAX] = 0x65}, CODE(0xd7)},
    {.name = "fs: xlat", .fs = DATA, .gpr = {[RBX] = 0x100, [RAX] = 0x65}, CODE(0x64, 0xd7)},
    {.name = "gs: xlat", .gs = DATA, .gpr = {[RBX] = 0x100, [RAX] = 0x65}, CODE(0x65, 0xd7)},
    {.name = "gs: xlat with a GS base beyond the window",
     .gs = USER,
     .gpr = {[RBX] = 0x100, [RAX] = 0x65},
     CODE(0x65, 0xd7)},

    {.name = "longer than 15 bytes after rewriting",
     .gpr = {[RSP] = STACK},
     CODE(0x66, 0x66, 0xf2, 0x48, 0x69, 0x15, 0xc8, 0, 0, 6, 0x48, 0x69, 0x92, 0xf8)},
    {.name = "clflush of a page that is not there",
     .gpr = {[R9] = USER + 0x3010},
     CODE(0x41, 0x0f, 0xae, 0x38)},

    /* ---- code that is written ---- */
    {.name = "store through the software TLB into its own block",
     .code = CODE_MID,
     .start = 0x1fe3,
     .gpr = {[RSP] = 0x4a001fe8, [R11] = 0x8000000000000000},
     CODE(0x67, 0x4c, 0x89, 0x1c, 0x24)},
    {.name = "push onto its own page",
     .start = 0x100,
     .gpr = {[RSP] = 0x4a000110, [RAX] = 0x0b0f},
     CODE(0x50, 0x90, 0x90)},
};
const unsigned fixed_case_count = ARRAY_LEN(fixed_cases);
