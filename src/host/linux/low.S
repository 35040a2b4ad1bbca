/* Addresses below 2 GB that the rewriting engine needs at fixed places (bt.h), claimed in the program's own image: the kernel puts the heap
 * at a random address behind it, which must not be theirs. Tools/build.mk places the section at BT_CPU_ADDR.
 */
#include "bt/bt.h"
    .section .bt_low, "aw", @nobits
    .globl bt_low_reserved
bt_low_reserved:
    .skip BT_CODE_ADDR + BT_CODE_SIZE + 0x1000 - BT_CPU_ADDR
    .section .note.GNU-stack, "", @progbits
