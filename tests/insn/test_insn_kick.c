/* The same with kicks: raining on the engine at any time, then before each host instruction of
 * translated code. They must change nothing. */
#include "insn/case.h"

int main(int argc, char **argv)
{
    run_init(argc, argv);
    uint64_t seed = run_env("SEED", 0x2a000000), count = run_env("COUNT", 1500),
             ms = run_env("MS", count ? 3600000 : 9000);
    /* kicks from another process come when they come: RAIN=1, by hand */
    int failed = run_env("RAIN", 0) ? run_random(seed, count, ms / 3, KICK_RAIN) : 0;
    return failed | run_random(seed + 1000000, count, ms - ms / 3, KICK_EVERYWHERE);
}
