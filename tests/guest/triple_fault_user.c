/* User code faults while the kernel has no usable IDT. */
/* EXPECT: 123 */
/* SAYS: triple fault */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_ud2, "ud2");

void guest_main(void)
{
    struct table_pointer nowhere = {0xfff, SPARE_HIGH};
    asm volatile("lidt %0" : : "m"(nowhere));
    user_run(user_ud2);
    CHECK(false);
}
