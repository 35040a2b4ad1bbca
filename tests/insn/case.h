/* Instruction tests: one short sequence of instructions, run twice, natively and as guest kernel
 * code through the rewriting engine, from the same registers and memory; everything a program can
 * see afterwards must be equal.
 *
 * - gen*.c     makes a case from a seed
 * - asm.c      encodes instructions
 * - fixed.c    sequences that once went wrong
 * - layout.c   the memory both sides see, and the guest's tables
 * - image.c    FPU and vector state
 * - native.c   runs cases on the processor, in a child process
 * - engine.c   runs cases in the engine, in another; step.c kicks it at exact places
 * - compare.c  says what differs
 * - run.c      batches, child processes, minimising, printing
 *
 * Most addresses are the same on both sides (the guest has supervisor pages in the lower half), so
 * that registers may hold anything and be used anyhow. "High" cases have the guest at kernel
 * addresses; the native side is then at guest address + CASE_R, and its values are mapped back.
 */
#ifndef INSN_CASE_H
#define INSN_CASE_H

#include "base/types.h"
#include "x86/arch.h"
#include "x86/insn.h"

#define CASE_R 0x0000780000000000ull /* bt.h's R: canonical here for every kernel address used */
#define CASE_INSNS 16
#define CASE_CODE_MAX 280
#define CASE_POKES 4
#define BATCH_MAX 64

/** Part of an instruction that depends on where the sequence lies. */
enum ins_fix {
    INS_NO_FIX,
    INS_BRANCH,  /* displacement (1 or 4 bytes) to the start of instruction `target` */
    INS_RIP,     /* displacement (4 bytes) to guest address `address` */
    INS_ADDRESS, /* 8 bytes: the address of instruction `target`, plus `address` */
};

struct ins {
    uint8_t byte[INSN_MAX_LEN];
    uint8_t len;
    uint8_t fix, fix_off, fix_size;
    uint8_t target;
    uint64_t address;
};

/** 8 bytes of memory set before the run; with `target` >= 0 to the address of that instruction. */
struct poke {
    uint64_t gva, value;
    int target;
};

struct insn_case {
    uint64_t seed;    /* 0: a fixed case */
    const char *name; /* of a fixed case */
    uint8_t code;     /* enum code_base */
    uint16_t start;   /* offset of the sequence in its two code pages */
    uint8_t count;
    struct ins ins[CASE_INSNS];
    uint8_t poke_count;
    struct poke poke[CASE_POKES];
    uint64_t gpr[GPR_COUNT];
    uint64_t rflags; /* arithmetic, DF, ID */
    uint64_t gs, fs; /* bases */
    uint8_t sti;     /* KICK_INTERRUPT: offset of the STI behind which no interrupt may come */
    uint32_t fpu;    /* which of the initial FPU states */

    /* case_assemble makes these, for one slot. A fixed case gives bytes and length itself. */
    uint8_t bytes[CASE_CODE_MAX];
    uint16_t len;
    uint64_t gpc;
};

enum result_status {
    RESULT_NONE, /* not run */
    RESULT_TRAP, /* the sequence ended in an exception: all of them do, the last instruction is UD2
                  */
    RESULT_TIMEOUT,
    RESULT_VM_FAILED, /* `why` */
    RESULT_DIED,      /* the child process did; `why` */
};

#define IMAGE_SIZE                                                                                 \
    2368 /* FXSAVE area, upper halves of YMM, mask registers, upper halves of ZMM, ZMM16-31 */
#define MEMORY_PAGES 44

struct result {
    uint32_t status;
    uint32_t vector, error;
    uint64_t cr2, rip, rflags;
    uint64_t gpr[GPR_COUNT];
    uint8_t image[IMAGE_SIZE];
    uint8_t at[16];              /* native: the bytes at rip, as they were in the end */
    uint64_t page[MEMORY_PAGES]; /* 0: unchanged, else a hash of the contents */
    bool code_changed;           /* engine: the case has written its own code */
    char why[160];
};

/** Addresses a native child has for itself: a sequence that gets there cannot be compared. */
struct forbidden {
    uint64_t from, to;
};
#define FORBIDDEN_MAX 64

/** What disturbs the engine while it runs a case. */
enum kick {
    KICK_NONE,
    KICK_RAIN,       /* signals from another process, at any time */
    KICK_EVERYWHERE, /* run again and again, kicked before each host instruction of translated code
                        in turn */
    KICK_INTERRUPT,  /* the same with an interrupt; what counts is where it is delivered */
};

/** What parent and children share. */
struct batch {
    enum kick kick;
    unsigned count;
    unsigned next; /* the case being run; written by the child */
    struct insn_case c[BATCH_MAX];
    struct result native[BATCH_MAX], engine[BATCH_MAX];
    unsigned forbidden_count;
    struct forbidden forbidden[FORBIDDEN_MAX];
};

/* ---- gen.c ---- */

/** Make a case from a seed. */
void case_generate(struct insn_case *c, uint64_t seed);
/** Lay its instructions out in slot `slot`. */
void case_assemble(struct insn_case *c, unsigned slot);

/* ---- image.c ---- */

/** Before anything else. */
void image_init(void);
/** A standard-format XSAVE image for initial state `which`; size bytes are cleared first. */
void image_make(uint8_t *xsave, size_t size, uint32_t which);
/** What of an XSAVE image is compared, in a form of its own. */
void image_flatten(uint8_t out[IMAGE_SIZE], const uint8_t *xsave);

/* ---- native.c, engine.c: in a child process, from case b->next on; they do not return ---- */

NORETURN void native_child(struct batch *b);
NORETURN void engine_child(struct batch *b);
/** In the parent, before any engine child: the machine. 0 or -errno. */
int engine_create(void);

/* ---- compare.c ---- */

enum verdict { SAME, DIFFERENT, SKIPPED_NATIVE, SKIPPED_UNSUPPORTED, SKIPPED_FORBIDDEN };
/** Compare case i's results; `why` gets the differences, one a line. */
enum verdict case_compare(const struct batch *b, unsigned i, char *why, size_t size);
/** Whether case i wrote to the native child's own memory: what the child did after it says nothing.
 */
bool case_spoils(const struct batch *b, unsigned i);

/* ---- fixed.c ---- */

extern const struct insn_case fixed_cases[];
extern const unsigned fixed_case_count;

/* ---- run.c ---- */

struct tally {
    unsigned run, failed, unsupported, native_skipped, forbidden, traps[32];
};

/** Set up; call first. Exits with a message if the host cannot run this. */
void run_init(int argc, char **argv);
/** Run b's cases on both sides. */
void run_batch(struct batch *b, enum kick kick);
/** Compare what run_batch did; each failing case is minimised and printed. */
void run_judge(struct batch *b, enum kick kick, struct tally *t);
/** Memory for a batch, shared with the children. */
struct batch *run_batch_alloc(void);
/** A number from the environment, or dflt. */
uint64_t run_env(const char *name, uint64_t dflt);
uint64_t run_ms(void);
/** Cases from `seed` on until `count` (0: no limit) or `ms` are used up, or some have failed.
 * Returns the exit status. */
int run_random(uint64_t seed, uint64_t count, uint64_t ms, enum kick kick);
void run_tally(const struct tally *t);

#endif
