/* A kernel that unmaps itself: only this machine ends, with one line. */
/* EXPECT: 123 */
#include "lib/hostile.h"
#include "lib/paging.h"

void guest_main(void)
{
    *pte(0xffffffff80000000, 4) = 0;
    write_cr3(read_cr3());
    guest_exit(9);
}
