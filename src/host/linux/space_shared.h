/* What a space and its vCPU task share: the layout of the stub's pages, for C and for the stub's
 * assembly.
 *
 * A space holds, in SPACE_RESERVED bytes from its base (space_home.c):
 *   code  R X  the stub: handler, gate, and the zygote's code; the same page in all spaces
 *   ctl   R    commands and mapping operations; the vCPU task writes them
 *   sh    R W  what the stub tells the task; any of it may be a lie: guest user code can write it
 *   alt   R W  the alternate signal stack, as sh: the frame lives here
 * and elsewhere, below 4 GB, unless its home has none:
 *   desk  R    TLS descriptors, for a system call with a 32-bit pointer; the vCPU task writes them
 * Each space has a slot of SLOT_SIZE bytes in one memory object with ctl, sh, alt and desk.
 */
#ifndef HOST_LINUX_SPACE_SHARED_H
#define HOST_LINUX_SPACE_SHARED_H

#define SPACE_RESERVED 0x40000

/* Offsets from the base. */
#define SPACE_CODE_SIZE 0x1000
#define SPACE_CTL 0x1000
#define SPACE_CTL_SIZE 0x9000
#define SPACE_OPS 0x2000
#define SPACE_SH 0xc000
#define SPACE_SH_SIZE 0x1000
#define SPACE_ALT 0xd000
#define SPACE_ALT_SIZE 0x20000
#define SPACE_ZYGOTE 0x38000 /* the zygote's own page; its children drop it */

/* Offsets in a slot. */
#define SLOT_CTL 0
#define SLOT_SH SPACE_CTL_SIZE
#define SLOT_ALT (SLOT_SH + SPACE_SH_SIZE)
#define SLOT_DESK (SLOT_ALT + SPACE_ALT_SIZE)
#define SPACE_DESK_SIZE 0x1000
#define SLOT_SIZE (SLOT_DESK + SPACE_DESK_SIZE)

/* struct space_ctl */
#define CTL_SEQ 0
#define CTL_CMD 4
#define CTL_COUNT 8
#define CTL_GATE_FD 12
#define CTL_RAM_FD 16
#define CTL_SPIN 20
#define CTL_YIELDS 24
#define CTL_TASK_SLEEPS 28
#define CTL_FRAME 32
#define CTL_LOOK 40
#define CTL_CPUIDS 44
#define CTL_CPUID 64

/* struct space_cpuid */
#define CPUID_SUBLEAF 4
#define CPUID_EAX 8
#define CPUID_EBX 12
#define CPUID_ECX 16
#define CPUID_EDX 20
#define CPUID_SIZE 24
#define SPACE_CPUID_MAX 160

/* ctl.task_sleeps, 0: it does not. Who waits for an event is not woken by an acknowledgement: it
 * would only kick again. */
#define SPACE_SLEEPS 1
#define SPACE_SLEEPS_FOR_ACK 2

#define SPACE_CMD_RUN 1      /* leave the handler */
#define SPACE_CMD_GATE 2     /* carry out the operations, then wait inside */
#define SPACE_CMD_GATE_RUN 3 /* carry out the operations; if all went well, leave the handler */

/* struct space_op; number SPACE_OP_TLS: addr is that of a struct user_desc on the desk */
#define OP_ADDR 0
#define OP_LEN 8
#define OP_OFF 16
#define OP_NR 24
#define OP_PROT 28
#define OP_FLAGS 32
#define OP_SIZE 40
#define SPACE_OP_TLS 243 /* i386 set_thread_area: no 64-bit call of interest has this number */
#define SPACE_OPS_MAX 800

/* struct space_sh */
#define SH_BELL 0
#define SH_EVENTS 4
#define SH_DONE 8
#define SH_ERROR 12
#define SH_KICKS 16
#define SH_SLEEPS 20
#define SH_SIGNO 24
#define SH_CPUID 28
#define SH_FRAME 32
#define SH_FS_BASE 40
#define SH_GS_BASE 48
#define SH_DS 56
#define SH_ES 58
#define SH_FS 60
#define SH_GS 62
#define SH_NESTED 64

/* struct space_zygote_page */
#define ZP_REQUEST 0
#define ZP_DONE 4
#define ZP_PID 8
#define ZP_SLOTS_FD 12
#define ZP_SLOT_OFF 16
#define ZP_SCRIPT 64

/* A script: entries of 64 bytes, system calls carried out in order, up to an entry NR_GO, whose
 * arguments are where the code goes on and the next script's address. */
#define SCRIPT_NR 0
#define SCRIPT_ARGS 8
#define SCRIPT_WANT 56 /* SCRIPT_ANY: any result; SCRIPT_OK: no error; else exactly this one */
#define SCRIPT_SIZE 64
#define SCRIPT_NR_GO -1
#define SCRIPT_OK -1
#define SCRIPT_ANY -2

/* How the zygote forks: CLONE_PARENT | CLONE_FILES. The children are the task's, and share the
 * zygote's files. */
#define SPACE_CHILD_FLAGS (0x8000 | 0x400)

/* The kernel's signal frame (struct rt_sigframe), from the stack pointer at handler entry; x86-64
 * ABI */
#define FRAME_R8 48
#define FRAME_R9 56
#define FRAME_R10 64
#define FRAME_R11 72
#define FRAME_R12 80
#define FRAME_R13 88
#define FRAME_R14 96
#define FRAME_R15 104
#define FRAME_RDI 112
#define FRAME_RSI 120
#define FRAME_RBP 128
#define FRAME_RBX 136
#define FRAME_RDX 144
#define FRAME_RAX 152
#define FRAME_RCX 160
#define FRAME_RSP 168
#define FRAME_RIP 176
#define FRAME_RFLAGS 184
#define FRAME_CS 192
#define FRAME_SS 198
#define FRAME_ERR 200
#define FRAME_TRAPNO 208
#define FRAME_FPSTATE 232
#define FPSTATE_SW_XFEATURES                                                                       \
    472 /* struct _fpx_sw_bytes.xfeatures in the legacy area's spare bytes */

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

/** Commands and operations; read-only inside the space, so what stands here is the task's word. */
struct space_ctl {
    uint32_t seq;   /* number of the current command: a change starts it */
    uint32_t cmd;   /* SPACE_CMD_* */
    uint32_t count; /* operations of a gate command */
    uint32_t gate_fd;
    uint32_t ram_fd;
    uint32_t spin;        /* how often the stub looks for a command before it yields, */
    uint32_t yields;      /* how often it yields before it sleeps */
    uint32_t task_sleeps; /* SPACE_SLEEPS*: the task sleeps on sh.bell, wake it */
    uint64_t frame;       /* address of the frame to leave by */
    uint32_t look;        /* CPUID faults: look whether a #GP is one */
    uint32_t cpuids;      /* answers below that the stub may give by itself */
    uint64_t unused[2];
    struct space_cpuid {
        uint32_t leaf, subleaf, eax, ebx, ecx, edx;
    } cpuid[SPACE_CPUID_MAX];
};

/** One operation of the gate. */
struct space_op {
    uint64_t addr, len, off;
    uint32_t nr, prot, flags, unused;
};

/** What the stub says. Hints only: guest user code can write here at any time. */
struct space_sh {
    uint32_t bell;   /* changes with every news */
    uint32_t events; /* events so far */
    uint32_t done;   /* seq of the last gate command that was ended */
    int32_t error;   /* its failed operation's negative errno, or 0 */
    uint32_t kicks;  /* kicks received so far */
    uint32_t sleeps; /* the stub sleeps on ctl.seq: wake it */
    uint32_t signo;  /* the event: signal, and its frame's address */
    uint32_t cpuid;  /* a #GP is a CPUID instruction's */
    uint64_t frame;
    uint64_t fs_base, gs_base;
    uint16_t ds, es, fs, gs;
    uint64_t nested; /* the stub's own: the frame of a kick that hit it */
};

struct space_zygote_page {
    uint32_t request; /* a change asks for a child, */
    uint32_t done;    /* which exists when this is the same */
    int32_t pid;      /* or negative errno */
    uint32_t slots_fd;
    uint64_t slot_off; /* its slot */
};

struct space_script {
    int64_t nr;
    uint64_t arg[6];
    int64_t want;
};

/** The kernel's signal frame, as in the macros above. */
struct space_frame {
    uint64_t pretcode, uc_flags, uc_link, ss_sp, ss_flags, ss_size;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip,
        rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8], sigmask;
    int32_t si_signo, si_errno, si_code, si_pad;
    uint64_t call_addr; /* the SIGSYS view of the rest */
    int32_t call_nr;
    uint32_t call_arch;
    uint8_t si_rest[96];
};

_Static_assert(offsetof(struct space_ctl, frame) == CTL_FRAME, "layout");
_Static_assert(offsetof(struct space_ctl, cpuid) == CTL_CPUID && sizeof(struct space_cpuid) == CPUID_SIZE &&
                   sizeof(struct space_ctl) <= SPACE_OPS - SPACE_CTL,
               "layout");
_Static_assert(offsetof(struct space_op, flags) == OP_FLAGS && sizeof(struct space_op) == OP_SIZE,
               "layout");
_Static_assert(offsetof(struct space_sh, frame) == SH_FRAME &&
                   offsetof(struct space_sh, nested) == SH_NESTED,
               "layout");
_Static_assert(offsetof(struct space_zygote_page, slot_off) == ZP_SLOT_OFF, "layout");
_Static_assert(offsetof(struct space_script, want) == SCRIPT_WANT &&
                   sizeof(struct space_script) == SCRIPT_SIZE,
               "");
_Static_assert(offsetof(struct space_frame, r8) == FRAME_R8 &&
                   offsetof(struct space_frame, rip) == FRAME_RIP,
               "");
_Static_assert(offsetof(struct space_frame, ss) == FRAME_SS &&
                   offsetof(struct space_frame, si_signo) == 312,
               "");
_Static_assert(offsetof(struct space_frame, fpstate) == FRAME_FPSTATE &&
                   sizeof(struct space_frame) == 440,
               "");
_Static_assert(SPACE_OPS_MAX *OP_SIZE <= SPACE_CTL + SPACE_CTL_SIZE - SPACE_OPS, "operations fit");
#endif

#endif
