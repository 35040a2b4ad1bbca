/* The ACPI reset register: with --no-reboot ring3 ends. dev/power.h. */
/* EXPECT: 0 */
#include "lib/guest.h"

void guest_main(void)
{
    outb(0x602, 1);
    guest_exit(9);
}
