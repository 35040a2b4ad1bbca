/* A kernel that writes over everything below 4 GB. */
/* EXPECT: any */
#include "lib/alias.h"

void guest_main(void)
{
    alias_write(0, 0x100000000, 0x40000, 0x4141414141414141);
}
