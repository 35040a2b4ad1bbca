/* A kernel that writes over the code cache. */
/* EXPECT: any */
#include "lib/alias.h"

void guest_main(void)
{
    alias_write(0x20000000, 0x20080000, 8, 0xcccccccccccccccc);
}
