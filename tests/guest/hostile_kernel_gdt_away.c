/* A kernel whose GDT is nowhere: only this machine ends, with one line. */
/* EXPECT: 123 */
#include "lib/hostile.h"
#include "lib/paging.h"

void guest_main(void)
{
    struct table_pointer nowhere = {0xffff, 0xffffe00000000000};
    asm volatile("lgdt %0; ud2" : : "m"(nowhere));
    guest_exit(9);
}
