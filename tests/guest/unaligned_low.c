/* The same in a kernel that runs identity-mapped below 128 MB. */
#include "unaligned.c"
GUEST_LOW;
