/* Sequences that once went wrong, reduced from what the random test printed. Each says what the engine did to it. */
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

const struct insn_case fixed_cases[] = {
    /* ---- kicks ---- */
    {.name = "loop counted twice when kicked behind it", .len = 9, .gpr = {[RSP] = STACK},
     .bytes = {0xb9, 3, 0, 0, 0, 0xe2, 0xfe, UD2}},
    {.name = "call and ret, kicked", .len = 12, .gpr = {[RSP] = STACK},
     .bytes = {0xe8, 5, 0, 0, 0, 0xe9, 1, 0, 0, 0, 0xc3, 0x0f}, .start = 0x100},

    /* ---- single-stepping ---- */
    {.name = "#DB before an instruction that was only retranslated", .len = 10, .gpr = {[RSP] = STACK, [R12] = USER},
     .bytes = {0x68, 0x86, 0x0b, 0x20, 0, 0x9d, 0x41, 0x31, 0x04, 0x24}, .start = 0x200},
    {.name = "#DB after each element", .len = 10, .gpr = {[RSP] = STACK, [RDI] = DATA, [RCX] = 3},
     .bytes = {0x68, 0x02, 0x0b, 0x20, 0, 0x9d, 0xf3, 0xaa, UD2}},

    /* ---- RSP as an operand ---- */
    {.name = "lea sp", .len = 7, .gpr = {[RSP] = 0x5fffffe0, [R8] = USER + 0xfe5}, .bytes = {0x66, 0x41, 0x8d, 0x60, 8, UD2}},
    {.name = "lea esp, [rip] not cut to 32 bits", .code = CODE_MID, .start = 0x1ff4, .len = 8, .gpr = {[RSP] = STACK},
     .bytes = {0x8d, 0x25, 0xf2, 0xe2, 0xff, 0x0f, UD2}},
    {.name = "movsx sp, ah took another register", .len = 6, .gpr = {[RAX] = 0x8000, [RSP] = USER_SUP}, .bytes = {0x66, 0x0f, 0xbe, 0xe4, UD2}},
    {.name = "xchg esp, eax with a REX that has no effect", .len = 5, .gpr = {[RAX] = 0x1d8, [RSP] = STACK + 0x600000000},
     .bytes = {0x4c, 0x36, 0x94, UD2}},
    {.name = "flags of and rsp read in the next page", .start = 0xffb, .len = 10, .gpr = {[RCX] = 1, [RDI] = 2, [RSP] = 0x20},
     .bytes = {0x48, 0x83, 0xe4, 0xc0, 0x48, 0x0f, 0x47, 0xcf, UD2}},
    {.name = "16-bit leave", .len = 4, .gpr = {[RSP] = STACK, [RBP] = STACK + 0x11}, .bytes = {0x66, 0xc9, UD2}},
    {.name = "enter with levels", .len = 6, .gpr = {[RSP] = STACK, [RBP] = STACK + 0x40}, .bytes = {0xc8, 0x18, 0, 3, UD2}},

    /* ---- stacks beyond the window ---- */
    {.name = "push beyond the window", .len = 3, .gpr = {[RSI] = 7, [RSP] = USER_SUP + 0x800}, .bytes = {0x56, UD2}},
    {.name = "call beyond the window", .len = 7, .gpr = {[RSP] = USER + 0x880}, .bytes = {0xe8, 0, 0, 0, 0, UD2}},
    {.name = "pushf beyond the window", .len = 3, .gpr = {[RSP] = USER + 0x4010}, .bytes = {0x9c, UD2}},
    {.name = "pop beyond the window", .len = 3, .gpr = {[RSP] = USER + 0x10}, .bytes = {0x58, UD2}},
    {.name = "push onto a user page", .len = 3, .gpr = {[RSP] = USER_LOW + 0x10}, .bytes = {0x50, UD2}},
    {.name = "push of memory, stack beyond the window", .len = 9, .gpr = {[RSP] = USER_SUP + 0x600},
     .bytes = {0xff, 0x34, 0x25, 0x80, 0x0f, 0, 0x60, UD2}},
    {.name = "enter across the end of the lower half", .len = 6, .gpr = {[RSP] = LAST + 5}, .bytes = {0xc8, 0x38, 0, 0, UD2}},

    /* ---- which fault ---- */
    {.name = "operand across the end of the lower half", .len = 5, .gpr = {[R8] = LAST}, .bytes = {0x49, 0xff, 0x08, UD2}},
    {.name = "the same on the stack", .len = 7, .gpr = {[RSP] = LAST}, .bytes = {0x48, 0x83, 0x0c, 0x24, 0x57, UD2}},
    {.name = "the same for a jump", .len = 5, .gpr = {[R8] = LAST}, .bytes = {0x41, 0xff, 0x20, UD2}},
    {.name = "the same for a string", .len = 4, .gpr = {[RSI] = LAST, [RDI] = DATA, [RCX] = 2}, .bytes = {0xf3, 0xa5, UD2}},
    {.name = "#SS despite an SS prefix", .len = 6, .gpr = {[RBP] = 0x1234567890123456}, .bytes = {0x36, 0x48, 0x8b, 0x4d, 0x8c, 0x0f}},
    {.name = "#SS of a bit far away", .len = 7, .gpr = {[RBP] = USER, [R9] = 0xad0e6f541f6888}, .bytes = {0x4c, 0x0f, 0xab, 0x4d, 0, UD2}},
    {.name = "misaligned goes before missing", .len = 6, .gpr = {[RBX] = USER + 0x2fe2}, .bytes = {0x0f, 0x53, 0x0b, 0x0f, 0x0b, 0x0b}},
    {.name = "misaligned goes before not canonical", .len = 6, .gpr = {[RSP] = 0x1234567890123456}, .bytes = {0x0f, 0x59, 0x14, 0x24, UD2}},
    {.name = "pop to memory: the stack's fault first", .len = 8, .gpr = {[RSP] = 0x5fffffd0},
     .bytes = {0x8f, 0x04, 0x25, 0x73, 0x01, 0, 0x55, 0x0f}},
    {.name = "movs: the source's fault first", .len = 3, .gpr = {[RSI] = USER + 0x500e, [RDI] = 0x800000000002}, .bytes = {0xa4, UD2}},
    {.name = "call: the operand's fault before the stack's", .len = 5, .gpr = {[RSP] = 0x1234567890123456, [R9] = USER + 0x3000},
     .bytes = {0x41, 0xff, 0x11, UD2}},
    {.name = "fault address with a GS base beyond the window", .len = 6, .gpr = {[RDX] = 0x2e5510001000}, .gs = USER_SUP,
     .bytes = {0x65, 0x48, 0xd1, 0x22, UD2}},
    {.name = "flags after a fault in repeated cmps", .code = CODE_KERNEL, .rflags = RFLAGS_CF | RFLAGS_OF, .len = 4,
     .gpr = {[RSI] = KERNEL + 0x10, [RDI] = USER + 0x2ff0, [RCX] = 100, [RSP] = KSTACK}, .bytes = {0xf2, 0xa7, UD2}},

    /* ---- operands through the software TLB ---- */
    {.name = "32-bit address to user memory", .len = 7, .gpr = {[R12] = USER_LOW + 0x500}, .bytes = {0x67, 0x41, 0x89, 0x04, 0x24, UD2}},
    {.name = "32-bit address of a bit far away", .len = 8, .gpr = {[RAX] = USER + 0x1fd2, [RSP] = 0x660001000},
     .bytes = {0x67, 0x48, 0x0f, 0xab, 0x04, 0x24, UD2}},
    {.name = "mov al, fs:[moffs] with REX.R", .len = 10, .fs = DATA, .gpr = {[RAX] = 0xff, [R8] = 0xff},
     .bytes = {0x64, 0x67, 0x45, 0xa0, 0x6d, 0x0a, 0, 0, UD2}},
    {.name = "cmpxchg8b leaves no register free", .len = 9, .gpr = {[RDI] = USER + 0x40, [RSI] = 0x80},
     .bytes = {0x0f, 0xc7, 0x8c, 0x37, 0, 0, 0, 0, 0x0f}},
    {.name = "xlat in user memory", .len = 3, .gpr = {[RBX] = USER + 0x100, [RAX] = 0x65}, .bytes = {0xd7, UD2}},
    {.name = "fs: xlat", .len = 4, .fs = DATA, .gpr = {[RBX] = 0x100, [RAX] = 0x65}, .bytes = {0x64, 0xd7, UD2}},
    {.name = "gs: xlat", .len = 4, .gs = DATA, .gpr = {[RBX] = 0x100, [RAX] = 0x65}, .bytes = {0x65, 0xd7, UD2}},
    {.name = "gs: xlat with a GS base beyond the window", .len = 4, .gs = USER, .gpr = {[RBX] = 0x100, [RAX] = 0x65},
     .bytes = {0x65, 0xd7, UD2}},

    {.name = "longer than 15 bytes after rewriting", .len = 16, .gpr = {[RSP] = STACK},
     .bytes = {0x66, 0x66, 0xf2, 0x48, 0x69, 0x15, 0xc8, 0, 0, 6, 0x48, 0x69, 0x92, 0xf8, UD2}},
    {.name = "clflush of a page that is not there", .len = 6, .gpr = {[R9] = USER + 0x3010}, .bytes = {0x41, 0x0f, 0xae, 0x38, UD2}},

    /* ---- code that is written ---- */
    {.name = "store through the software TLB into its own block", .code = CODE_MID, .start = 0x1fe3, .len = 8,
     .gpr = {[RSP] = 0x4a001fe8, [R11] = 0x8000000000000000}, .bytes = {0x67, 0x4c, 0x89, 0x1c, 0x24, UD2, 0x0b}},
    {.name = "push onto its own page", .start = 0x100, .len = 5, .gpr = {[RSP] = 0x4a000110, [RAX] = 0x0b0f}, .bytes = {0x50, 0x90, 0x90, UD2}},
};
const unsigned fixed_case_count = ARRAY_LEN(fixed_cases);
