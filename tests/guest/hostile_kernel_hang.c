/* A kernel that spins with interrupts off can be ended only from outside: this one ends after a
 * while through its own port, having shown that a loop with interrupts off, a loop of callouts and
 * a long repeat do not stop the rest of the machine (the console). */
#include "lib/guest.h"

void guest_main(void)
{
    CASE("loops with interrupts off");
    uint64_t end = rdtsc() + 200000000;
    while (rdtsc() < end)
        ;
    print("still here\n");
    for (unsigned i = 0; i < 20000; i++)
        write_cr2(i);
    CHECK_EQ(read_cr2(), 19999);
}
