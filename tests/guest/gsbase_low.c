/* The same in a kernel that runs identity-mapped below 128 MB. */
#include "gsbase.c"
GUEST_LOW;
