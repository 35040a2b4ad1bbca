/* A kernel whose GDT is garbage: only this machine ends, with one line. */
/* EXPECT: 123 */
#include "lib/hostile.h"
#include "lib/paging.h"

void guest_main(void)
{
    for (unsigned i = 1; i < GDT_ENTRIES; i++)
        gdt[i] = hostile_random();
    asm volatile("ud2");
    guest_exit(9);
}
