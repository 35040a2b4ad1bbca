/* The same in a kernel that runs identity-mapped below 128 MB. */
#include "segments.c"
GUEST_LOW;
