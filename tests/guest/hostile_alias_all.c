/* A kernel that writes over everything below 512 GB. */
/* EXPECT: any */
#include "lib/alias.h"

void guest_main(void)
{
    alias_write(0, 0x8000000000, 0x10000000, 0x4141414141414141);
}
