/* The same in a kernel that runs identity-mapped below 128 MB. */
#include "fpu_state.c"
GUEST_LOW;
