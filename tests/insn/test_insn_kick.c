/* The same with kicks: raining on the engine at any time, then before each host instruction of
 * translated code. They must change nothing. */
#include "insn/case.h"

int main(int argc, char **argv)
{
    run_init(argc, argv);
    uint64_t seed = run_env("SEED", 0x5eed0000), count = run_env("COUNT", 0),
             ms = run_env("MS", count ? 3600000 : 9000);
    int failed = run_env("EVERYWHERE", 0) ? 0 : run_random(seed, count, ms / 3, KICK_RAIN);
    return failed | run_random(seed + 1000000, count, ms - ms / 3, KICK_EVERYWHERE);
}
