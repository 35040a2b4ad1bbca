/* Crossing between our C code and translated guest code.
 *
 * bt_enter is an ordinary C function to its caller. It parks the callee-saved registers on the host stack, loads the guest's
 * registers from struct bt_cpu and jumps to enter_cpc. Translated code leaves by storing exit_arg and jumping to bt_exit, which is
 * where bt_enter returns. The stretch between bt_enter_begin and bt_enter_end only reads bt_cpu, so a kick that finds us there breaks it
 * off; one that came before has left its mark, which is looked for first. So no kick is lost, however long the guest then stays.
 */
#include "bt/bt.h"

#define F(off) (BT_CPU_ADDR + (off))
#define G(n) (BT_CPU_ADDR + BT_GPR + 8 * (n))
#define S(n) (BT_CPU_ADDR + BT_SPILL + 8 * (n))

    .intel_syntax noprefix
    .text
    .globl bt_enter
    .type bt_enter, @function
bt_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [F(BT_HOST_RSP)], rsp
    .globl bt_enter_begin
bt_enter_begin:
    cmp byte ptr [F(BT_PENDING)], 0 /* want.kick */
    jne 3f
4:
    cmp dword ptr [F(BT_FPU_IDLE)], 0
    jne 1f
    mov rcx, [F(BT_XSAVE_PTR)]
    mov eax, -1
    mov edx, -1
    xrstor64 [rcx]
1:
    mov rax, [F(BT_GUEST_FS)]
    wrfsbase rax
    push qword ptr [F(BT_FLAGS)]
    popfq
    mov rax, [G(0)]
    mov rcx, [G(1)]
    mov rdx, [G(2)]
    mov rbx, [G(3)]
    mov rsp, [G(4)]
    mov rbp, [G(5)]
    mov rsi, [G(6)]
    mov rdi, [G(7)]
    mov r8, [G(8)]
    mov r9, [G(9)]
    mov r10, [G(10)]
    mov r11, [G(11)]
    mov r12, [G(12)]
    mov r13, [G(13)]
    mov r14, [G(14)]
    mov r15, [G(15)]
    jmp qword ptr [F(BT_ENTER_CPC)]
    .globl bt_enter_end
bt_enter_end:

3:
    cmp qword ptr [F(BT_ENTER_CPC)], BT_SCRATCH_ADDR
    je 4b
    /* The registers may not be the guest's yet. */
    .globl bt_enter_kicked
bt_enter_kicked:
    mov rax, [F(BT_ENTER_CPC)]
    mov [F(BT_FAULT_CPC)], rax
    mov dword ptr [F(BT_EXIT_ARG)], BT_EXIT_KICK
    jmp 5f

    /* An indirect branch whose table entry did not match: the target is in RCX, RAX and RCX are in their spill slots. */
    .globl bt_exit_indirect
bt_exit_indirect:
    mov [F(BT_ENTER_CPC)], rcx
    mov rcx, [S(1)]
    mov rax, [S(0)]
    mov dword ptr [F(BT_EXIT_ARG)], BT_EXIT_INDIRECT
    /* fall through */
    .globl bt_exit
bt_exit:
    mov [G(4)], rsp
    mov rsp, [F(BT_HOST_RSP)]
    mov [G(0)], rax
    pushfq
    pop rax
    mov [F(BT_FLAGS)], rax
    mov [G(1)], rcx
    mov [G(2)], rdx
    mov [G(3)], rbx
    mov [G(5)], rbp
    mov [G(6)], rsi
    mov [G(7)], rdi
    mov [G(8)], r8
    mov [G(9)], r9
    mov [G(10)], r10
    mov [G(11)], r11
    mov [G(12)], r12
    mov [G(13)], r13
    mov [G(14)], r14
    mov [G(15)], r15
    .globl bt_exit_signal
bt_exit_signal:
    cld
    cmp dword ptr [F(BT_FPU_IDLE)], 0
    jne 2f
    mov rcx, [F(BT_XSAVE_PTR)]
    mov eax, -1
    mov edx, -1
    xsave64 [rcx]
5:
    fninit
    push 0x1f80
    ldmxcsr [rsp]
    pop rax
2:
    mov rax, [F(BT_HOST_FS)]
    wrfsbase rax
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    .size bt_enter, . - bt_enter
    .section .note.GNU-stack, "", @progbits
