/* `ring3 doctor`: what this processor and this host do, found out by trying.
 *
 * doctor.c          the verb: options, the report for people, the choice of engine, exit status
 * doctor_insn.c     runs one instruction in a child process and classifies what happened
 * doctor_table.c    the instructions, as machine code to run
 * doctor_words.c    results in words
 * doctor_host.c     the features of the host kernel and processor ring3 uses
 * doctor_machine.c  runs a small machine on an engine
 * doctor_json.c     the same report for programs
 *
 * Everything runs in one thread; no state outlives doctor_main.
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- instructions ---- */

/** Registers and memory an instruction gets and leaves. The offsets are known to probe_call. */
struct probe_io {
    uint64_t rax, rbx, rcx, rdx; /* at 0, 8, 16, 24 */
    uint64_t rsi;                /* at 32; on entry a page below 4 GB with far-jump landing code */
    uint64_t rdi;                /* at 40; on entry mem */
    uint64_t flags;              /* at 48; RFLAGS after the instruction */
    uint8_t mem[4096] __attribute__((aligned(64)));
};

/** Why an instruction matters to a monitor: "sensitive" has two kinds, Popek & Goldberg 1974 §3. */
enum probe_sense {
    SENSE_NONE,    /* innocuous: listed because kernels use it */
    SENSE_READS,   /* behaviour sensitive: its result depends on the real machine's state or mode */
    SENSE_CHANGES, /* control sensitive: changes that state, the mode, or resources */
};

/** What must be arranged in the child before the instruction runs. */
enum probe_setup { SETUP_NONE, SETUP_SECCOMP, SETUP_CPUID_FAULT, SETUP_TSC_FAULT };

/** How to read the outcome of an instruction that completed. */
enum probe_show {
    SHOW_NONE,
    SHOW_TABLE,   /* mem: limit, base of a descriptor table */
    SHOW_SEL,     /* rax: a selector or another 16-bit value */
    SHOW_RAX,     /* rax, 64 bits */
    SHOW_EAX,     /* eax */
    SHOW_EDX_EAX, /* edx:eax */
    SHOW_ECX,     /* ecx */
    SHOW_ZF,      /* the zero flag: whether the selector was accessible */
    SHOW_ZF_RAX,  /* the zero flag, and rax if it is set */
    SHOW_FLAGS,   /* rax: RFLAGS read */
    SHOW_IF_KEPT, /* rax: RFLAGS read after an attempt to clear IF and raise IOPL to 3 */
    SHOW_ANSWER,  /* rax: what the hypervisor beneath answered */
};

/** A CPUID bit that announces an instruction. leaf 0 = always there. */
struct probe_feature {
    uint32_t leaf, subleaf;
    char reg; /* 'a' 'b' 'c' 'd' */
    uint8_t bit;
};

struct probe {
    const char *group; /* heading; NULL = as the one before */
    const char *name;
    const char *code; /* machine code, called by probe_call, ending in RET */
    enum probe_sense sense;
    enum probe_show show;
    enum probe_setup setup;
    struct probe_feature feature;
    uint64_t rax, rcx, rdx;
    const char *ring3; /* what ring3 does about it */
};

enum probe_outcome {
    PROBE_TRAPS,      /* the process got a signal at the instruction: a monitor sees it */
    PROBE_ABSENT,     /* #UD, and CPUID does not announce it */
    PROBE_HOST_ENTRY, /* enters the host kernel as a system call */
    PROBE_EMULATED,   /* the processor traps, but the host kernel makes up an answer (UMIP) */
    PROBE_HOST_VALUE, /* completes and gives the real machine's value */
    PROBE_LOST,       /* completes, and what it asked for did not happen */
    PROBE_CHANGES,    /* completes, on the host's state instead of the guest's */
    PROBE_HYPERVISOR, /* completes, answered by the hypervisor beneath this host */
    PROBE_NATIVE,     /* completes and is innocuous */
    PROBE_UNTRIED,    /* the setup is not possible here */
    PROBE_DIED,       /* the child hung or died otherwise */
    PROBE_OUTCOMES,
};

struct probe_result {
    enum probe_outcome outcome;
    int signo;          /* 0 when it completed */
    unsigned vector;    /* exception number the host kernel reports with such a signal */
    uint64_t error;     /* and its error code */
    uint64_t ns;        /* time of one execution, when it completed */
    uint64_t call_ns;   /* of the cheapest system call beside it; 0 = not needed */
    struct probe_io io; /* registers and memory after it, when it completed */
};

/** The instructions, *count of them. */
const struct probe *probe_table(size_t *count);

/** Run `in` in a fresh child, bounded by an alarm, and classify what happened. 0, or -errno when no
 * child could be made. */
int probe_measure(const struct probe *in, struct probe_result *out);

/** The name for programs, "traps" and so on. */
const char *probe_outcome_name(enum probe_outcome o);
/** One short phrase about the result, without and with a value. Always terminated. */
void probe_describe(const struct probe_result *r, char *buf, size_t size);
void probe_value(const struct probe *in, const struct probe_result *r, char *buf, size_t size);

/** Whether, in Popek & Goldberg's sense, the instruction is sensitive and present here. */
bool probe_counts(const struct probe *in, const struct probe_result *r);
/** Of those: whether a process is told when it is executed. */
bool probe_reaches_monitor(const struct probe_result *r);

/** Install, in this process and for good, a filter that turns i386 system calls and getppid into
 * SIGSYS. 0 or -errno. */
int doctor_seccomp_trap(void);
/** Run `test` in a child bounded by an alarm; its result (0..255), or -1 when the child died or
 * could not be made. */
int doctor_in_child(int (*test)(void));
/** Whether CPUID announces `f`. */
bool doctor_cpuid_bit(struct probe_feature f);

/* ---- host ---- */

enum check_status { CHECK_OK, CHECK_INFO, CHECK_WARN, CHECK_MISSING, CHECK_STATUSES };

struct check {
    char id[20]; /* for programs */
    enum check_status status;
    char value[200];
    char remedy[200]; /* a command, or a sentence when there is none; empty when nothing is to do */
};

const char *check_status_name(enum check_status s);

/* ---- engines ---- */

/** What became of the machine that was to be run on an engine. */
enum machine_trial {
    MACHINE_UNTRIED, /* the engine's probe had said no, or see `untried` */
    MACHINE_RAN,     /* kernel code, user code, and the end that was expected */
    MACHINE_FAILED,
};

struct engine_report {
    const char *name;
    bool usable;
    char why[512];    /* the engine's probe's words, or why the machine failed */
    char remedy[200]; /* as a check's */
    enum machine_trial machine;
    unsigned machine_ms; /* from its start until it was gone, unless untried */
    char untried[100]; /* why no machine could be tried though the engine seems usable; or empty */
};

struct engine;

/** Run a small machine to its end, through all that `ring3 run` goes through, on an engine whose
 * probe said yes (in *e). Sets e->machine and what belongs to it; and when the machine fails
 * e->usable and e->why: what `ring3 run` would have said. Takes some seconds at most; the machine
 * has no name, and no process of it is left afterwards or when this process dies. */
void doctor_try_machine(const struct engine *engine, struct engine_report *e);

/** All that was found; the text and the JSON report are made from it. */
struct doctor_report {
    const struct probe *probes;
    struct probe_result *results;
    size_t probe_count;
    struct check checks[48];
    size_t check_count;
    struct engine_report engines[2];
    size_t engine_count;
    int chosen; /* index into engines, or -1 */
    char chosen_why[512];
};

/** The result for the instruction called `name`, which must be in the table. */
const struct probe_result *doctor_result(const struct doctor_report *r, const char *name);

/** Try and read the host's features into r->checks. The instructions must have been measured. */
void doctor_host_checks(struct doctor_report *r);

/** What a count of the results says; the names of those that do not trap are found with
 * probe_counts and probe_reaches_monitor. */
struct probe_summary {
    size_t measured, absent, sensitive, trap, emulated, silent;
};
struct probe_summary doctor_summary(const struct doctor_report *r);

void doctor_print_json(const struct doctor_report *r, FILE *f);

/** The verb. argv[0] is "doctor". 0: some engine can run here, 1: none can, 2: usage. */
int doctor_main(int argc, char **argv);

#endif
