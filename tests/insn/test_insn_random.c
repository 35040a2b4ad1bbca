/* Random sequences, the same ones each time unless SEED= and COUNT= choose others (a failure prints both), MS= bounds the time. */
#include "insn/case.h"

int main(int argc, char **argv)
{
    run_init(argc, argv);
    uint64_t seed = run_env("SEED", 0x5eed0000);
    return run_random(seed, run_env("COUNT", 0),
                      run_env("MS", run_env("COUNT", 0) ? 3600000 : 8000), KICK_NONE);
}
