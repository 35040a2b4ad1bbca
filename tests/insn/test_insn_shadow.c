/* An interrupt at each host instruction of translated code around an STI: it comes before the STI's
 * next instruction never. What waits with STI and HLT would sleep over it else. */
#include "insn/layout.h"

#include <stdio.h>

#define CODE(...) .len = sizeof((const uint8_t[]){__VA_ARGS__}), .bytes = {__VA_ARGS__}
#define CLI 0xfa
#define STI 0xfb
#define NOP5 0x90, 0x90, 0x90, 0x90, 0x90
#define INC_ECX 0xff, 0xc1
#define UD2 0x0f, 0x0b
#define STACK 0x60001000ull
#define USER 0x2e5510000000ull

static const struct insn_case shadow_cases[] = {
    {.name = "a register instruction", .sti = 1, CODE(CLI, STI, INC_ECX, INC_ECX, UD2)},
    {.name = "one that becomes several",
     .sti = 1,
     .gpr = {[RSP] = STACK, [RCX] = STACK},
     CODE(CLI, STI, 0x48, 0x89, 0x21, INC_ECX, UD2)}, /* mov [rcx], rsp */
    {.name = "one to user memory",
     .sti = 1,
     .gpr = {[RCX] = USER},
     CODE(CLI, STI, 0x89, 0x01, INC_ECX, UD2)}, /* mov [rcx], eax */
    {.name = "one that is carried out in C",
     .sti = 1,
     .gpr = {[RSP] = STACK, [RBP] = STACK},
     CODE(CLI, STI, 0x66, 0xc9, INC_ECX, UD2)}, /* 16-bit leave */
    {.name = "a jump", .sti = 1, CODE(CLI, STI, 0xeb, 0, INC_ECX, UD2)},
    {.name = "a call",
     .sti = 1,
     .gpr = {[RSP] = STACK},
     CODE(CLI, STI, 0xe8, 0, 0, 0, 0, INC_ECX, UD2)},
    {.name = "the next page", .start = 0xffe, .sti = 1, CODE(CLI, STI, INC_ECX, INC_ECX, UD2)},
    {.name = "the next block",
     .sti = 63,
     CODE(CLI, NOP5, NOP5, NOP5, NOP5, NOP5, NOP5, NOP5, NOP5, NOP5, NOP5, NOP5, NOP5, 0x90, 0x90,
          STI, INC_ECX, INC_ECX, UD2)},
    {.name = "another STI", .sti = 1, CODE(CLI, STI, STI, INC_ECX, UD2)},
};

int main(int argc, char **argv)
{
    unsigned failed = 0;
    run_init(argc, argv);
    struct batch *b = run_batch_alloc();
    if (!b) {
        return 1;
    }
    while (b->count < ARRAY_LEN(shadow_cases)) {
        b->c[b->count] = shadow_cases[b->count];
        b->count++;
    }
    run_batch(b, KICK_INTERRUPT);
    for (unsigned i = 0; i < b->count; i++) {
        const struct result *e = &b->engine[i];
        if (e->status != RESULT_TRAP || e->why[0]) {
            printf("FAILED: STI and %s: %s\n", b->c[i].name, e->why);
            failed++;
        }
    }
    return failed != 0;
}
