/* The same with kicks before each host instruction of translated code in turn; or, with RAIN=1 and
 * by hand, raining on the engine from another process at any time. They must change nothing. */
#include "insn/case.h"

int main(int argc, char **argv)
{
    run_init(argc, argv);
    uint64_t seed = run_env("SEED", 0x2a0f4240), count = run_env("COUNT", 1500),
             ms = run_env("MS", count ? 3600000 : 9000);
    return run_random(seed, count, ms, run_env("RAIN", 0) ? KICK_RAIN : KICK_EVERYWHERE);
}
