/* A page fault on a stack that does not exist, with a double-fault stack that does not exist
 * either. */
/* EXPECT: 123 */
/* SAYS: triple fault */
#include "lib/paging.h"
#include "lib/trap.h"

void guest_main(void)
{
    tss.ist[0] = SPARE_HIGH2 + 0x100000;
    asm volatile("mov %0, %%rsp; push %%rax" : : "r"(SPARE_HIGH + 0x100000));
    CHECK(false);
}
