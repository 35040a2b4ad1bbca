/* A kernel that writes over the code cache with jumps to themselves. */
/* EXPECT: any */
#include "lib/alias.h"

void guest_main(void)
{
    alias_write(0x20000000, 0x20080000, 64, 0xf4f4f4f4f4f4f4f4);
}
