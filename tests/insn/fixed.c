/* Sequences that once went wrong, as the random test printed them. */
#include "insn/case.h"

const struct insn_case fixed_cases[] = {
    {.name = "ud2", .len = 2, .bytes = {0x0f, 0x0b}, .gpr = {[RSP] = 0x60001000}},
};
const unsigned fixed_case_count = ARRAY_LEN(fixed_cases);
