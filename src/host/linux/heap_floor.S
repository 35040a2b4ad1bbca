/* One page that is never used, linked just below 2 GB (tools/build.mk).
 *
 * The kernel starts the heap at a random place within 1 GB above a program's last page. Without this page, that
 * is where the rewriting engine has its fixed places, and one start in some twenty would find them taken.
 */
        .section .heap_floor, "aw", @nobits
        .balign 4096
        .skip   4096

        .section .note.GNU-stack, "", @progbits
