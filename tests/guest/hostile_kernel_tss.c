/* A kernel whose TSS has garbage for stacks: only this machine ends, with one line. */
/* EXPECT: 123 */
#include "lib/hostile.h"
#include "lib/paging.h"

void guest_main(void)
{
    for (unsigned i = 0; i < 7; i++)
        tss.ist[i] = hostile_random();
    tss.rsp[0] = 0x1234567890abcdef;
    asm volatile("mov %0, %%rsp; push %%rax" : : "r"(0x7ff0000000000000));
    guest_exit(9);
}
