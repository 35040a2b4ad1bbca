/* The chipset's reset register. dev/power.h. */
/* EXPECT: 0 */
#include "lib/guest.h"

void guest_main(void)
{
    outb(0xcf9, 6);
    guest_exit(9);
}
