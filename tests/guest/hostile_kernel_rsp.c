/* A kernel with RSP nowhere and no double-fault stack: only this machine ends, with one line. */
/* EXPECT: 123 */
#include "lib/hostile.h"
#include "lib/paging.h"

void guest_main(void)
{
    set_gate(VEC_DF, GATE_INTERRUPT, 0, 0);
    asm volatile("mov %0, %%rsp; call 1f; 1:" : : "r"(0xffffa00000000000));
    guest_exit(9);
}
