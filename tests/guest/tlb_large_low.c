/* The same in a kernel that runs identity-mapped below 128 MB. */
#include "tlb_large.c"
GUEST_LOW;
