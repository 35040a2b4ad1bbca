/* A kernel that writes over the table of branch targets. */
/* EXPECT: any */
#include "lib/alias.h"

void guest_main(void)
{
    alias_write(0x10100000, 0x10180000, 8, 0x4141414141414141);
}
