/* Power-off through the ACPI sleep control register ends ring3 with 0. dev/power.h. */
/* EXPECT: 0 */
#include "lib/guest.h"

void guest_main(void)
{
    outb(0x600, 0x34);
    guest_exit(9);
}
