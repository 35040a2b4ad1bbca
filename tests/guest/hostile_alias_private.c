/* A kernel that writes over the engine's tables. */
/* EXPECT: any */
#include "lib/alias.h"

void guest_main(void)
{
    alias_write(0x100000000, 0x104000000, 0x1000, 0x4141414141414141);
}
