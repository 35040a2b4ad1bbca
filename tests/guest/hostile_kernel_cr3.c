/* A kernel that loads CR3 with an empty page: only this machine ends, with one line. */
/* EXPECT: 123 */
#include "lib/hostile.h"
#include "lib/paging.h"

void guest_main(void)
{
    write_cr3(page_alloc());
    guest_exit(9);
}
