/* Random sequences. SEED= and COUNT= choose them (a failure prints both), MS= bounds the time. */
#include "insn/case.h"

int main(int argc, char **argv)
{
    run_init(argc, argv);
    uint64_t seed = run_env("SEED", run_ms() << 16);
    return run_random(seed, run_env("COUNT", 0),
                      run_env("MS", run_env("COUNT", 0) ? 3600000 : 8000), KICK_NONE);
}
