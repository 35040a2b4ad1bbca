/* A kernel that writes over the engine's state, sparsely. */
/* EXPECT: any */
#include "lib/alias.h"

void guest_main(void)
{
    alias_write(0x10000000, 0x10100000, 0x100, 0x4141414141414141);
}
