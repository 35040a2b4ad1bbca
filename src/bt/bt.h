/* The rewriting engine's own state for one vCPU, and its fixed places in the vCPU task's address space.
 *
 * Translated code addresses this struct by absolute 32-bit displacements, so it lives at BT_CPU_ADDR below
 * 2 GB, private to the vCPU task. Architectural state that translated code holds in registers or in the fields
 * below while it runs is moved to and from struct vcpu by bt_pull and bt_push (dispatch.c).
 *
 * Guest kernel address kva is reached at host address kva + BT_R (DESIGN §4.1): by the GS base for memory operands;
 * RSP itself holds the guest's RSP + BT_R while translated code runs ("host form").
 */
#ifndef BT_BT_H
#define BT_BT_H

#define BT_CPU_ADDR 0x10000000
#define BT_RETTAB_ADDR 0x10100000
#define BT_CODE_ADDR 0x20000000
#define BT_CODE_SIZE 0x03000000
#define BT_SCRATCH_ADDR (BT_CODE_ADDR + BT_CODE_SIZE)


/* Offsets for entry.S, checked against the struct in dispatch.c. */
#define BT_GPR 0
#define BT_SPILL 128
#define BT_HOST_RSP 256
#define BT_FLAGS 264
#define BT_HOST_FS 272
#define BT_GUEST_FS 280
#define BT_ENTER_CPC 288
#define BT_EXIT_ARG 296
#define BT_VIF 300
#define BT_PENDING 304
#define BT_VSYS 308
#define BT_FPU_IDLE 312
#define BT_SEL 316
#define BT_XSAVE_PTR 328
#define BT_FAULT_CPC 352

/* exit_arg: kind in the top nibble, an index below. */
#define BT_EXIT_LINK 0x00000000
#define BT_EXIT_CALLOUT 0x10000000
#define BT_EXIT_INDIRECT 0x20000000
#define BT_EXIT_FAULT 0x30000000
#define BT_EXIT_KICK 0x40000000
#define BT_EXIT_DONE 0x50000000
#define BT_EXIT_KIND 0xf0000000
#define BT_EXIT_INDEX 0x0fffffff

#ifndef __ASSEMBLER__

#include "base/types.h"
#include "vcpu/vcpu.h"
#include "x86/insn.h"

#define BT_R 0x0000780000000000ull
#define BT_WINDOW_START 0x0000008000000000ull
#define BT_WINDOW_END 0x00007ffffffff000ull
#define BT_RETTAB_COUNT 65536

/** A fault or trap that the host reported at a code-cache position. */
struct bt_fault {
    uint32_t trapno;   /* x86 vector */
    uint32_t error;    /* error code as the CPU pushed it */
    uint64_t hva;      /* CR2, for page faults */
    uint64_t cpc;      /* host RIP */
};

struct cache;
struct window;
struct uspaces;

#define BT_SOFT_TLB 256

/** Software TLB for single accesses from C: guest page to host view of RAM. */
struct bt_soft_entry {
    uint64_t tag;      /* gva page | 1 valid | 2 writable */
    uint8_t *page;
};

/** Event counters, DESIGN §9. */
struct bt_stats {
    uint64_t blocks, insns, exits_link, exits_indirect, exits_fault, exits_kick, callouts, flushes_full;
    uint64_t window_fills, window_pages, code_writes, code_write_emulated, blocks_killed;
    uint64_t user_entries, syscalls, user_faults, user_fault_injected, kernel_fault_injected, user_exceptions;
    uint64_t interrupts, soft_access, soft_string, soft_retranslate, mmio, pio, spaces_created, spaces_evicted, spaces_rehomed;
    uint64_t tlb_flush_all, tlb_flush_pcid, tlb_switch, invlpg, verify_changed, parks;
    uint64_t callout_kind[CLS_COUNT];
};

struct bt_cpu {
    /* Addressed by translated code and entry.S: keep in step with the BT_ offsets. */
    uint64_t gpr[GPR_COUNT];    /* registers as translated code left them; RSP in host form */
    uint64_t spill[GPR_COUNT];  /* where an expansion keeps a guest register while it uses it as scratch */
    uint64_t host_rsp;
    uint64_t flags;             /* native RFLAGS: arithmetic, DF and ID are the guest's */
    uint64_t host_fs, guest_fs; /* FS base of our C code; guest GS base + R (poison if that is not canonical) */
    uint64_t enter_cpc;
    uint32_t exit_arg;
    uint32_t vif;               /* the guest's RFLAGS.IF: 0 or 0x200 */
    union {
        uint32_t pending;       /* non-zero: an sti must come to the dispatcher. Two bytes, so that setting one is never lost: */
        struct {
            uint8_t kick;       /* leave translated code at the next chance; set by the signal handler */
            uint8_t irq;        /* an interrupt waits for RFLAGS.IF */
        } want;
    };
    uint32_t vsys;              /* the guest's other system flags: IOPL NT AC ... */
    uint32_t fpu_idle;          /* 0: the FPU registers hold the guest's state while translated code runs */
    uint16_t sel[6];            /* copies of the selectors, for mov from Sreg */
    uint8_t *xsave;             /* &v->xsave */

    struct bt_fault fault;
    struct vcpu *v;
    struct cache *cache;
    struct window *window;
    struct uspaces *spaces;
    uint64_t xsave_mask;        /* components saved and restored when live: host XCR0 without AMX */
    uint64_t prefault;          /* user page whose #PF was injected last, 0 none */
    unsigned prefault_access;
    uint64_t cpuid_depends_on;  /* guest state that the spaces' own CPUID answers were made from */
    struct bt_soft_entry soft[BT_SOFT_TLB];
    struct bt_stats stats;
    uint8_t bounce[16384] __attribute__((aligned(64)));
};

#define BT_CPU ((struct bt_cpu *)BT_CPU_ADDR)

static inline uint32_t bt_field(const void *field)
{
    return (uint32_t)(uintptr_t)field;
}

/** Host view address of a guest-virtual address in the window; may be outside it. */
static inline uint64_t bt_hva(uint64_t gva)
{
    return gva + BT_R;
}

/** Whether [gva, gva+len) can be mapped in the window at all. */
static inline bool bt_in_window(uint64_t gva, uint64_t len)
{
    uint64_t h = gva + BT_R;
    return h >= BT_WINDOW_START && h < BT_WINDOW_END && len <= BT_WINDOW_END - h;
}

/* ---- entry.S ---- */

/** Load the guest's registers from b, jump to b->enter_cpc, return when translated code leaves; b->exit_arg tells why.
 *  A kick that has come since b->pending was cleared is a BT_EXIT_KICK at enter_cpc; scratch code runs to its end all the same. */
void bt_enter(struct bt_cpu *b);
extern const char bt_enter_begin[], bt_enter_end[]; /* only reads bt_cpu: can be broken off */
extern const char bt_enter_kicked[];  /* the signal handler breaks it off so: kicked before the instruction at enter_cpc */
extern const char bt_exit[];          /* translated code jumps here with exit_arg set */
extern const char bt_exit_indirect[]; /* ...here with the guest target in RCX, RAX and RCX spilled */
extern const char bt_exit_signal[];   /* the signal handler resumes here after filling b */

/* ---- dispatch.c ---- */

/** Move the register state held by translated code into v (precise state), and back. */
void bt_pull(struct bt_cpu *b);
void bt_push(struct bt_cpu *b);
/** Recompute what depends on v's segments after they changed: guest_fs, sel[]. */
void bt_reload_segments(struct bt_cpu *b);

/* ---- callout.c ---- */

struct callout;
/** What to do after a callout. */
enum bt_next {
    BT_RESUME,       /* go on in the block, after the instruction */
    BT_DISPATCH,     /* v is complete and current: look up v->rip */
    BT_RETRY,        /* the same, but the instruction at v->rip was begun and not carried out */
    BT_STOP,         /* leave the engine: machine ended or shutdown */
};
enum bt_next bt_callout(struct bt_cpu *b, struct callout *c);
/** Deliver ex at the current v state. */
enum bt_next bt_inject(struct bt_cpu *b, const struct vcpu_exception *ex);

/* ---- tlb.c ---- */
void bt_tlb_effect(struct bt_cpu *b, enum vcpu_tlb_effect effect, uint64_t old_cr3);
void bt_tlb_invlpg(struct bt_cpu *b, uint64_t gva);
/** INVPCID, SDM 2: type 0 one address, 1 one PCID, 2 all with global, 3 all but global. */
void bt_tlb_invpcid(struct bt_cpu *b, unsigned type, unsigned pcid, uint64_t gva);
void bt_tlb_flush_all(struct bt_cpu *b);
void bt_soft_flush(struct bt_cpu *b);

/* ---- softmem.c ---- */

/** Host view of guest-virtual gva for an access of len bytes that stays in one page of RAM; sets A/D, kills translated code on a write.
 *  NULL with *ex the fault, or NULL with ex->vector 0xff when it is not RAM (*gpa_out then says where). */
uint8_t *bt_soft_xlate(struct bt_cpu *b, uint64_t gva, unsigned len, unsigned access, gpa_t *gpa_out, struct vcpu_exception *ex);
/** Effective guest-virtual address of in's memory operand from v's registers, of a bit string's the byte group touched. next_gpc: of the
 *  following instruction. */
uint64_t bt_effective_address(const struct vcpu *v, const struct insn *in, uint64_t next_gpc);
/** Byte distance from the memory operand to what a bit-string instruction (bt m, r) touches; 0 for all others. */
int64_t bt_bit_offset(const struct vcpu *v, const struct insn *in);
/** Whether the instruction raises #GP(0) for an operand at ea because of its alignment. */
bool bt_misaligned(const struct insn *in, uint64_t ea);
/** Whether the operand at ea is canonical and as aligned as the instruction demands; else *ex is #GP(0), which goes before any #PF. */
bool bt_operand_allowed(const struct insn *in, uint64_t ea, struct vcpu_exception *ex);
/** Whether #GP(0) at v->rip, raised for a non-canonical address, is really #SS(0): VEC_SS for an operand addressed through RSP or RBP or
 *  implied by the stack, else VEC_GP. SDM 3 §6.15 "Interrupt 12: Stack Fault Exception". */
uint8_t bt_general_vector(struct bt_cpu *b);
/** Run the instruction at v->rip, with a memory operand whose address cannot be used directly (user half, device, page crossing), v
 *  precise. True: done, v advanced past it. False: *ex to inject. */
bool bt_soft_execute(struct bt_cpu *b, struct vcpu_exception *ex);
/** Same for the XSAVE, XRSTOR, FXSAVE family, through a bounce buffer. */
bool bt_soft_xsave(struct bt_cpu *b, struct vcpu_exception *ex);
/** Same for string instructions: `in` is the one at v->rip. True with v->rip left as it is: a kick or trap before the last element. */
bool bt_soft_string(struct bt_cpu *b, const struct insn *in, struct vcpu_exception *ex);

/* ---- emulate.c ---- */

/** Read and decode the instruction at guest pc gpc; bytes behind it on another page are not read. False: *ex is the fault of reading
 *  it, or #GP(0) for one that is too long. */
bool bt_fetch(struct bt_cpu *b, uint64_t gpc, struct insn *in, uint8_t bytes[INSN_MAX_LEN], struct vcpu_exception *ex) MUST_CHECK;

/* ---- stack.c ---- */

/** Whether bt_stack_execute knows the instruction: push pop call ret pushf leave enter in all near forms, and xlat. */
bool bt_stack_handles(const struct insn *in);
/** Carry it out, v precise. True: done, v advanced (or branched). False: *ex to inject, nothing changed. */
bool bt_stack_execute(struct bt_cpu *b, const struct insn *in, struct vcpu_exception *ex);
/** Where the implied operand lies: below RSP for what pushes, at RSP for what pops, at RBP for leave, at RBX + AL for xlat. */
uint64_t bt_stack_operand(const struct vcpu *v, const struct insn *in);

/* ---- user.c ---- */

/** v is at CPL 3: run guest user code in its space until the guest kernel or the machine is wanted. */
enum bt_next bt_run_user(struct bt_cpu *b);

/* ---- fpu.c ---- */
void bt_fpu_acquire(struct bt_cpu *b); /* guest FPU state into the registers, before SIMD in a block */
void bt_fpu_fetch(struct bt_cpu *b);   /* guest FPU state into v->xsave, wherever it is */
void bt_fpu_give(struct bt_cpu *b);    /* guest FPU state into the current space, before it runs */

#endif
#endif
