/* The sequences of fixed.c, plainly and with kicks everywhere. */
#include "insn/case.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    struct tally t = {0};
    run_init(argc, argv);
    struct batch *b = run_batch_alloc();
    for (unsigned done = 0; b && done < 2 * fixed_case_count;) {
        b->count = 0;
        enum kick kick = done < fixed_case_count ? KICK_NONE : KICK_EVERYWHERE;
        unsigned end = kick ? 2 * fixed_case_count : fixed_case_count;
        while (b->count < BATCH_MAX && done < end) {
            b->c[b->count++] = fixed_cases[done++ % fixed_case_count];
        }
        run_batch(b, kick);
        run_judge(b, kick, &t);
    }
    run_tally(&t);
    return t.failed || t.run != 2 * fixed_case_count;
}
