/* The way into C for every vector and for SYSCALL, and the way to user mode and back. The frame is
 * struct regs of trap.h. */

    .macro save_all
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    .endm

    .macro restore_all
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    .endm

    .text
trap_common:
    save_all
    cld
    mov %rsp, %rdi
    mov %rsp, %rbx
    and $-16, %rsp
    call trap_entry
    mov %rbx, %rsp
    restore_all
    add $16, %rsp
    .globl trap_iret
trap_iret:
    iretq

    .set vector, 0
    .balign 16
    .globl trap_stubs
trap_stubs:
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
    .else
    push $0
    .endif
    push $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

    /* SYSCALL: the same frame, made by hand, on a stack of its own. */
    .globl syscall_entry, syscall32_entry
syscall_entry:
    mov %rsp, syscall_rsp
    mov $syscall_stack_top, %rsp
    push $0x2b
    push syscall_rsp
    push %r11
    push $0x33
    push %rcx
    push $0
    push $0x100
    jmp trap_common
syscall32_entry:
    mov %rsp, syscall_rsp
    mov $syscall_stack_top, %rsp
    push $0x2b
    push syscall_rsp
    push %r11
    push $0x23
    push %rcx
    push $0
    push $0x101
    jmp trap_common

    /* void user_enter(struct regs *): IRET to it. Comes back when trap_entry edits its frame to
     * return to user_back. */
    .globl user_enter, user_enter_sysret, user_back, user_saved_rsp
user_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, user_saved_rsp
    mov %rdi, %rsp
    restore_all
    add $16, %rsp
    iretq
user_enter_sysret: /* RCX and R11 of the frame must be RIP and RFLAGS */
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, user_saved_rsp
    mov %rdi, %rsp
    restore_all
    mov 40(%rsp), %rsp
    sysretq
user_back:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .bss
    .balign 16
user_saved_rsp: .skip 8
syscall_rsp: .skip 8
    .skip 8192
syscall_stack_top:

    .section .note.GNU-stack, "", @progbits
