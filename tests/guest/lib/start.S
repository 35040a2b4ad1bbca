/* From the state boot/linux.h promises to guest_start() in C: own page tables, own GDT, own stack.
 *
 * Address space: the kernel at -2 GB, a direct map of the first GB at 0xffff888000000000, an
 * identity map of the first 128 MB, which paging_start drops unless the guest is a low one. All
 * supervisor, 2 MB pages, not global, A and D clear. */
#define P 1
#define W 2
#define PS 0x80

    .section .boot, "awx"
    .globl boot_entry
boot_entry:
    cli
    mov $boot_pml4, %eax
    mov %rax, %cr3
    lgdt boot_gdt_pointer
    mov boot_stack, %rsp
    mov boot_target, %rax
    jmp *%rax

    .balign 8
boot_stack: .quad stack_top
boot_target: .quad start_high
    .word 0, 0, 0
boot_gdt_pointer: .word 64 * 8 - 1
    .quad gdt

    .balign 4096
    .globl boot_pml4
boot_pml4:
    .quad boot_pdpt_low + P + W
    .fill 272, 8, 0
    .quad boot_pdpt_direct + P + W /* 273: 0xffff888000000000 */
    .fill 237, 8, 0
    .quad boot_pdpt_kernel + P + W /* 511 */
boot_pdpt_low:
    .quad boot_pd_low + P + W
    .fill 511, 8, 0
boot_pdpt_direct:
    .quad boot_pd + P + W
    .fill 511, 8, 0
boot_pdpt_kernel:
    .fill 510, 8, 0
    .quad boot_pd + P + W
    .quad 0
boot_pd:
    .set at, 0
    .rept 512
    .quad at + P + W + PS
    .set at, at + 0x200000
    .endr
boot_pd_low:
    .set at, 0
    .rept 64
    .quad at + P + W + PS
    .set at, at + 0x200000
    .endr
    .fill 448, 8, 0

    .text
start_high:
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov $0x18, %eax
    mov %eax, %ss
    pushq $0x10
    pushq $1f
    lretq
1:  xor %ebp, %ebp
    call guest_start
0:  hlt
    jmp 0b

    .data
    .balign 8
    .globl direct_map
direct_map: .quad direct_map_base
    .globl image_end
image_end: .quad image_end_pa

    .bss
    .balign 16
    .skip 16384
    .globl stack_top
stack_top:

    .section .note.GNU-stack, "", @progbits
