/* The same with other bytes. */
#define SKIP 22u
#include "hostile_kernel_random.c"
