/* The same in a kernel that runs identity-mapped below 128 MB. */
#include "user_exceptions.c"
GUEST_LOW;
