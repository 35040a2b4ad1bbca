/* A kernel that writes over the program itself. */
/* EXPECT: any */
#include "lib/alias.h"

void guest_main(void)
{
    alias_write(0x400000, 0x600000, 64, 0x4141414141414141);
}
