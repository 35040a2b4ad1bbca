/* A kernel that writes over the engine's state, with zeros. */
/* EXPECT: any */
#include "lib/alias.h"

void guest_main(void)
{
    alias_write(0x10000000, 0x10004000, 8, 0);
}
