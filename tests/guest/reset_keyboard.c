/* The keyboard controller's reset line. dev/power.h. */
/* EXPECT: 0 */
#include "lib/guest.h"

void guest_main(void)
{
    outb(0x64, 0xfe);
    guest_exit(9);
}
