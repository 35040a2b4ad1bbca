/* Random sequences, the same ones each time unless SEED= and COUNT= choose others (a failure prints both), MS= bounds the time. */
#include "insn/case.h"

int main(int argc, char **argv)
{
    run_init(argc, argv);
    uint64_t seed = run_env("SEED", 0x77000000);
    return run_random(seed, run_env("COUNT", 16000), run_env("MS", 3600000), KICK_NONE);
}
