/* A fault whose handler and double-fault handler cannot be reached: the processor shuts down. SDM 3
 * §6.15 "Interrupt 8". */
/* EXPECT: 123 */
/* SAYS: triple fault */
#include "lib/trap.h"

void guest_main(void)
{
    struct table_pointer none = {0, 0};
    asm volatile("lidt %0; ud2" : : "m"(none));
    CHECK(false);
}
