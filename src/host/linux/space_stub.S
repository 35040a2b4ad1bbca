/* The stub: the only code of ours inside a space. One page, the same bytes wherever it is put
 * (RIP-relative throughout).
 *
 * Guest user code can jump to any byte here with any registers and flags, and can write sh and the
 * signal stack. What is relied upon all the same (DESIGN §4.4):
 *  - A system call is made only at the labels stub_ip_*: the filter (space_seccomp.c) knows their
 *    addresses and checks every argument that matters; any other call in [stub_low, stub_high)
 *    kills, and outside it is an event.
 *  - Between gate and gate_clean registers hold the token. That code is one straight line without a
 *    stack that reads only ctl, so whoever gets the token carries out the task's operations and
 *    nothing else. A signal there ends the process (nested): the frame would hold the token.
 *  - From gate_clean to the task's next command no stack and no writable memory decides where it
 *    goes: once the task has seen the gate's authenticated answer, the thread is in this loop until
 *    told otherwise.
 */
#include "host/linux/space_shared.h"

#define SYS_lseek 8
#define SYS_mmap 9
#define SYS_sched_yield 24
#define SYS_clone 56
#define SYS_getppid 110
#define SYS_prctl 157
#define SYS_futex 202
#define SYS_exit_group 231
#define SYS32_set_thread_area 243
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define SEEK_SET 0
#define SEEK_CUR 1
#define SIGSEGV 11
#define SIGKILL 9
#define KICK 10                         /* SIGUSR1 */
#define PR_SET_PDEATHSIG 1

#define CTL(field) ctl + CTL_##field(%rip)
#define SH(field) sh + SH_##field(%rip)
#define ZP(field) zygote_page + ZP_##field(%rip)

        .section .rodata.space_stub, "a"
        .balign 4096
        .globl stub_start, stub_end, stub_zygote, stub_serve, stub_script, stub_birth, stub_probe
        .globl stub_low, stub_high, stub_handler, stub_gate
        .globl stub_ip_yield, stub_ip_wait, stub_ip_wake, stub_ip_wake_again, stub_ip_exit
        .globl stub_ip_get, stub_ip_op, stub_ip_tls, stub_ip_done
stub_start:
        .set ctl, stub_start + SPACE_CTL
        .set ops, stub_start + SPACE_OPS
        .set sh, stub_start + SPACE_SH
        .set zygote_page, stub_start + SPACE_ZYGOTE

/* ---- the zygote, and a child's first steps. Later, calls from here are events ---- */

/* The zygote's life: carry out the script in its page, which goes on at stub_serve: fork a child
 * for every request. From there on nothing that the task can write decides where it goes. r13d is
 * the task's process id; r14 and r15 are the secret with which its filter lets it fork. No child
 * has it. */
stub_zygote:
        lea     ZP(SCRIPT), %r12
        jmp     stub_script
stub_serve:
        mov     ZP(DONE), %edx
        cmp     ZP(REQUEST), %edx
        jne     2f
        lea     ZP(REQUEST), %rdi
        mov     $FUTEX_WAIT, %esi
        xor     %r10d, %r10d
        mov     $SYS_futex, %eax
        syscall
        jmp     stub_serve
2:      mov     $SPACE_CHILD_FLAGS, %edi
        xor     %esi, %esi
        mov     %r14, %rdx
        mov     %r15, %r10
        xor     %r8d, %r8d
        mov     $SYS_clone, %eax
        syscall
        test    %eax, %eax
        jz      child
        mov     %eax, ZP(PID)
        incl    ZP(DONE)
        lea     ZP(DONE), %rdi
        mov     $FUTEX_WAKE, %esi
        mov     $1, %edx
        mov     $SYS_futex, %eax
        syscall
        jmp     stub_serve

/* A child, before the task has any say: it forgets the secret, and dies with the task, whatever that
 * wants.
 * Then it maps its ctl, where its own script stands, which ends in an event, its birth. A child
 * with another home moves there by the script: into this same code at its new place. */
child:
        xor     %edx, %edx
        xor     %r10d, %r10d
        xor     %r14d, %r14d
        xor     %r15d, %r15d
        mov     $PR_SET_PDEATHSIG, %edi
        mov     $SIGKILL, %esi
        mov     $SYS_prctl, %eax
        syscall
        test    %eax, %eax
        jnz     quit
        mov     $SYS_getppid, %eax      /* it may have died before that */
        syscall
        cmp     %r13d, %eax
        jne     quit
        lea     ctl(%rip), %rdi
        mov     $SPACE_CTL_SIZE, %esi
        mov     $1, %edx                /* PROT_READ */
        mov     $0x11, %r10d            /* MAP_SHARED | MAP_FIXED */
        mov     ZP(SLOTS_FD), %r8d
        mov     ZP(SLOT_OFF), %r9
        mov     $SYS_mmap, %eax
        syscall
        cmp     $-4095, %rax
        jae     quit
        lea     ops(%rip), %r12
stub_script:
        mov     SCRIPT_NR(%r12), %rax
        test    %rax, %rax
        js      3f
        mov     SCRIPT_ARGS(%r12), %rdi
        mov     SCRIPT_ARGS+8(%r12), %rsi
        mov     SCRIPT_ARGS+16(%r12), %rdx
        mov     SCRIPT_ARGS+24(%r12), %r10
        mov     SCRIPT_ARGS+32(%r12), %r8
        mov     SCRIPT_ARGS+40(%r12), %r9
        syscall
        mov     SCRIPT_WANT(%r12), %rcx
        add     $SCRIPT_SIZE, %r12
        cmp     $SCRIPT_ANY, %rcx
        je      stub_script
        cmp     $SCRIPT_OK, %rcx
        je      1f
        cmp     %rcx, %rax
        jne     quit
        jmp     stub_script
1:      cmp     $-4095, %rax
        jb      stub_script
quit:   mov     $SYS_exit_group, %eax
        mov     $1, %edi
        syscall
        ud2
3:      mov     SCRIPT_ARGS(%r12), %rax
        mov     SCRIPT_ARGS+8(%r12), %r12
        jmp     *%rax
stub_birth:
        int3
        ud2

/* Guest code by which the task learns whether this host's kernel has 32-bit system calls. */
stub_probe:
        int     $0x80
        ud2

/* ---- the stub proper ---- */

        .balign 64
stub_low:

/* Every signal ends here: rdi signal, rdx ucontext, rsp the frame. */
stub_handler:
        mov     FRAME_RIP(%rsp), %rax
        lea     stub_low(%rip), %rcx
        sub     %rcx, %rax
        cmp     $(stub_high - stub_low), %rax
        jb      nested
        rdfsbase %rax
        rdgsbase %rcx
        mov     %rax, SH(FS_BASE)
        mov     %rcx, SH(GS_BASE)
        mov     %ds, SH(DS)
        mov     %es, SH(ES)
        mov     %fs, SH(FS)
        mov     %gs, SH(GS)
        mov     %edi, SH(SIGNO)
        mov     %rsp, SH(FRAME)
        mov     CTL(SEQ), %r12d
        movl    $0, SH(CPUID)
        cmpl    $0, CTL(LOOK)
        jne     look
looked: xor     %eax, %eax
        cmp     $KICK, %edi
        sete    %al
publish:
        add     %eax, SH(KICKS)
        incl    SH(EVENTS)

/* Tell the task that there is news, then wait for a command other than number r12d. No stack! */
news:
        lock incl SH(BELL)
        cmpl    $0, CTL(TASK_SLEEPS)
        je      wait
        lea     SH(BELL), %rdi
        mov     $FUTEX_WAKE, %esi
        mov     $1, %edx
        mov     $SYS_futex, %eax
        syscall
stub_ip_wake:
wait:
        mov     CTL(SPIN), %ebp
        inc     %ebp
1:      cmp     CTL(SEQ), %r12d
        jne     command
        pause
        dec     %ebp
        jnz     1b
        mov     CTL(YIELDS), %ebp
2:      test    %ebp, %ebp
        jz      3f
        mov     $SYS_sched_yield, %eax
        syscall
stub_ip_yield:
        cmp     CTL(SEQ), %r12d
        jne     command
        dec     %ebp
        jmp     2b
3:      mov     $1, %eax
        xchg    %eax, SH(SLEEPS)
4:      cmp     CTL(SEQ), %r12d
        jne     5f
        lea     CTL(SEQ), %rdi
        mov     $FUTEX_WAIT, %esi
        mov     %r12d, %edx
        xor     %r10d, %r10d
        mov     $SYS_futex, %eax
        syscall
stub_ip_wait:
        jmp     4b
5:      movl    $0, SH(SLEEPS)
command:
        cmpl    $SPACE_CMD_RUN, CTL(CMD)
        je      leave

/* ---- the gate ---- */
stub_gate:
gate:
        mov     CTL(GATE_FD), %edi
        xor     %esi, %esi
        mov     $SEEK_CUR, %edx
        mov     $SYS_lseek, %eax
        syscall
stub_ip_get:
        mov     %rax, %r14
        mov     %rax, %r13
        shr     $32, %r14
        shl     $32, %r14               /* r14: the token's high half, in place */
        shl     $32, %r13               /* r13: its low half, in a high half */
        mov     CTL(SEQ), %r12d
        mov     CTL(COUNT), %r15d
        lea     ops(%rip), %rbp
        xor     %ebx, %ebx
1:      test    %r15d, %r15d
        jz      3f
        mov     OP_NR(%rbp), %eax
        cmp     $SPACE_OP_TLS, %eax
        je      2f
        mov     OP_ADDR(%rbp), %rdi
        mov     OP_LEN(%rbp), %rsi
        mov     OP_OFF(%rbp), %r9
        mov     OP_PROT(%rbp), %edx
        mov     OP_FLAGS(%rbp), %r10d
        mov     CTL(RAM_FD), %r8d
        or      %r13, %r10
        or      %r14, %r8
        syscall
stub_ip_op:
        jmp     4f
2:      mov     OP_ADDR(%rbp), %ebx     /* on the desk, which is below 4 GB */
        mov     %r13, %rcx
        shr     $32, %rcx
        mov     %r14, %rdx
        shr     $32, %rdx
        int     $0x80
stub_ip_tls:
        movslq  %eax, %rax
4:      xor     %ebx, %ebx
        cmp     $-4095, %rax
        cmovae  %eax, %ebx
        jae     3f
        add     $OP_SIZE, %rbp
        dec     %r15d
        jmp     1b
3:      mov     CTL(COUNT), %esi        /* answer: how many were done, and the token's high half */
        sub     %r15d, %esi
        or      %r14, %rsi
        mov     %r13, %rdx              /* SEEK_SET is 0 */
        mov     CTL(GATE_FD), %edi
        mov     $SYS_lseek, %eax
        syscall
stub_ip_done:
        xor     %eax, %eax
        xor     %ecx, %ecx
        xor     %edx, %edx
        xor     %esi, %esi
        xor     %r8d, %r8d
        xor     %r10d, %r10d
        xor     %r13d, %r13d
        xor     %r14d, %r14d
gate_clean:
        mov     %ebx, SH(ERROR)
        mov     %r12d, SH(DONE)
        test    %r15d, %r15d
        jnz     news
        cmpl    $SPACE_CMD_GATE_RUN, CTL(CMD)
        jne     news

/* ---- the way out. The task says by which frame: one used again must not bring its own ---- */
leave:
        mov     CTL(FRAME), %rsp
        movzwl  SH(DS), %eax
        mov     %ds, %ecx
        cmp     %ecx, %eax
        je      1f
        mov     %eax, %ds
1:      movzwl  SH(ES), %eax
        mov     %es, %ecx
        cmp     %ecx, %eax
        je      1f
        mov     %eax, %es
1:      movzwl  SH(FS), %eax
        mov     %fs, %ecx
        cmp     %ecx, %eax
        je      1f
        mov     %eax, %fs
1:      movzwl  SH(GS), %eax
        mov     %gs, %ecx
        cmp     %ecx, %eax
        je      1f
        mov     %eax, %gs
1:      mov     SH(FS_BASE), %rax
        mov     SH(GS_BASE), %rcx
        wrfsbase %rax
        wrgsbase %rcx

/* Go where the frame at rsp says. NT, which iretq does not bear, can be set here: the kernel clears
 * only DF, TF and RF for a handler, and a thread that came through the gate has the flags of
 * whoever sent it there. */
.macro go_by_frame
        pushq   $2
        popfq
        mov     FRAME_FPSTATE(%rsp), %rsi
        mov     FPSTATE_SW_XFEATURES(%rsi), %eax
        mov     FPSTATE_SW_XFEATURES+4(%rsi), %edx
        xrstor64 (%rsi)
        mov     %rsp, %rdx
        movzwl  FRAME_SS(%rdx), %eax
        push    %rax
        pushq   FRAME_RSP(%rdx)
        pushq   FRAME_RFLAGS(%rdx)
        movzwl  FRAME_CS(%rdx), %eax
        push    %rax
        pushq   FRAME_RIP(%rdx)
        mov     FRAME_R8(%rdx), %r8
        mov     FRAME_R9(%rdx), %r9
        mov     FRAME_R10(%rdx), %r10
        mov     FRAME_R11(%rdx), %r11
        mov     FRAME_R12(%rdx), %r12
        mov     FRAME_R13(%rdx), %r13
        mov     FRAME_R14(%rdx), %r14
        mov     FRAME_R15(%rdx), %r15
        mov     FRAME_RDI(%rdx), %rdi
        mov     FRAME_RSI(%rdx), %rsi
        mov     FRAME_RBP(%rdx), %rbp
        mov     FRAME_RBX(%rdx), %rbx
        mov     FRAME_RAX(%rdx), %rax
        mov     FRAME_RCX(%rdx), %rcx
        mov     FRAME_RDX(%rdx), %rdx
        iretq
.endm
        go_by_frame
leave_end:

/* Whether a #GP(0) came from CPUID. Its first byte was fetched, so it can be read; so was the
 * second if the first is 0x0f. */
look:
        cmp     $SIGSEGV, %edi
        jne     looked
        cmpq    $13, FRAME_TRAPNO(%rsp)
        jne     looked
        cmpq    $0, FRAME_ERR(%rsp)
        jne     looked
        mov     FRAME_RIP(%rsp), %rax
        mov     %rax, %rcx
        shr     $47, %rcx
        jnz     looked
        cmpb    $0x0f, (%rax)
        jne     looked
        cmpb    $0xa2, 1(%rax)
        jne     looked
        testl   $0x100, FRAME_RFLAGS(%rsp) /* TF: the single-step trap after it is the task's to give */
        jnz     2f

/* The task has told the answers it gave before: give such a one without it. */
        mov     FRAME_RAX(%rsp), %eax
        mov     FRAME_RCX(%rsp), %ecx
        lea     CTL(CPUID), %rsi
        mov     CTL(CPUIDS), %r8d
1:      test    %r8d, %r8d
        jz      2f
        cmp     %eax, (%rsi)
        jne     3f
        cmp     %ecx, CPUID_SUBLEAF(%rsi)
        je      4f
3:      add     $CPUID_SIZE, %rsi
        dec     %r8d
        jmp     1b
2:      movl    $1, SH(CPUID)
        jmp     looked
4:      mov     CPUID_EAX(%rsi), %eax
        mov     CPUID_EBX(%rsi), %ebx
        mov     CPUID_ECX(%rsi), %ecx
        mov     CPUID_EDX(%rsi), %edx
        mov     %rax, FRAME_RAX(%rsp)
        mov     %rbx, FRAME_RBX(%rsp)
        mov     %rcx, FRAME_RCX(%rsp)
        mov     %rdx, FRAME_RDX(%rsp)
        addq    $2, FRAME_RIP(%rsp)
        btrq    $16, FRAME_RFLAGS(%rsp)  /* RF, which the fault has set */
        go_by_frame

/* A signal while in the stub, at stub_low + rax. Only a kick may come, and not where registers hold
 * the token; else the stub was misused. */
nested:
        cmp     $KICK, %edi
        jne     die
        mov     %rax, %rcx
        sub     $(gate - stub_low), %rcx
        cmp     $(gate_clean - gate), %rcx
        jb      die
        mov     %rax, %rcx
        sub     $(leave - stub_low), %rcx
        cmp     $(leave_end - leave), %rcx
        jb      stay
        sub     $(again - stub_low), %rax
        cmp     $(again_end - again), %rax
        jb      1f
        mov     %rsp, SH(NESTED)

/* It came too late or too early: acknowledge it, and go on where it hit. The task may then send
 * another, even before this one's frame is gone: that does the same over again, with the first
 * one's frame, so that at most two frames are above the event's. */
again:
1:      mov     SH(NESTED), %rsp
        incl    SH(KICKS)
        lock incl SH(BELL)
        cmpl    $SPACE_SLEEPS_FOR_ACK, CTL(TASK_SLEEPS)
        jne     1f
        lea     SH(BELL), %rdi
        mov     $FUTEX_WAKE, %esi
        mov     $1, %edx
        mov     $SYS_futex, %eax
        syscall
stub_ip_wake_again:
1:      go_by_frame
again_end:

/* It came on the way out: nothing is lost yet, report it. */
stay:
        mov     CTL(FRAME), %rsp
        mov     %rsp, SH(FRAME)
        movl    $KICK, SH(SIGNO)
        mov     CTL(SEQ), %r12d
        mov     $1, %eax
        jmp     publish

die:
        mov     $SYS_exit_group, %eax
        mov     $1, %edi
        syscall
stub_ip_exit:
        ud2
stub_high:
        .balign 4096
stub_end:
        .section .note.GNU-stack, "", @progbits
