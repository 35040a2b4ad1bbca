/* A kernel whose IDT is garbage: only this machine ends, with one line. */
/* EXPECT: 123 */
#include "lib/hostile.h"
#include "lib/paging.h"

void guest_main(void)
{
    for (unsigned i = 0; i < 512; i++)
        ((uint64_t *)idt)[i] = hostile_random();
    asm volatile("ud2");
    guest_exit(9);
}
