/* The smallest machine: all of its 4 MB hold what is written there. */
/* OPTIONS: -m 4M */
#include "lib/paging.h"

void guest_main(void)
{
    uint64_t first = pages_alloc(1, KB4);
    CASE("every page to the end of RAM");
    for (uint64_t pa = first; pa < 4 * MB2 / 2; pa += KB4)
        *(uint64_t *)va_of(pa) = pa ^ 0x5555;
    for (uint64_t pa = first; pa < 4 * MB2 / 2; pa += KB4)
        CHECK_EQ(*(uint64_t *)va_of(pa), pa ^ 0x5555);
    CASE("beyond it there is nothing");
    CHECK_EQ(peek64((uint64_t)va_of(4 * MB2 / 2)), ~0ull);
}
