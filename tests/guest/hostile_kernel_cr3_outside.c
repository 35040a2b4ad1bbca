/* A kernel that loads CR3 with an address outside RAM: only this machine ends, with one line. */
/* EXPECT: 123 */
#include "lib/hostile.h"
#include "lib/paging.h"

void guest_main(void)
{
    write_cr3(0x3ffffff000);
    guest_exit(9);
}
