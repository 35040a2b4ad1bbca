/* The same in a kernel that runs identity-mapped below 128 MB. */
#include "ist.c"
GUEST_LOW;
