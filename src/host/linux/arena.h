/* The memory that the processes of one machine share.
 *
 * A memfd mapped at ARENA_ADDR in the monitor and, since they are forked from it, in every vCPU
 * task: struct vm and what it points to, the tasks' kick words, the console's ring. Guest RAM is
 * another memfd, seen whole at RAM_ADDR. Neither has a name in any file system: when the last
 * process goes, they are gone.
 *
 * Each field says who writes it; a vCPU task may have been taken over by its guest (DESIGN §4.8),
 * so the monitor checks what it reads from here.
 */
#ifndef HOST_LINUX_ARENA_H
#define HOST_LINUX_ARENA_H

#include "vm/trace.h"

#define ARENA_ADDR 0x1000000000ull
#define ARENA_SIZE 0x4000000ull /* reserved; only touched pages cost memory */
#define RAM_ADDR 0x2000000000ull
#define RAM_MAX 0x4000000000ull /* 256 GB */

#define CONSOLE_RING_SIZE 65536u /* a power of two */
#define STAT_TEXT_MAX 16384u
#define PANIC_MAX 256u

/** What others may do to one vCPU task. */
struct task_shared {
    int kick;    /* futex word: 1 from a kick until its clear; written by all */
    int waiting; /* 1 while in host_wait; written by the task. Pairs with kick: each side writes its
                  * own word and then reads the other's, sequentially consistent */
    int tid;     /* 0 before the task runs; written by it once */
    int ready;   /* 1 when it is set up and runs its vCPU; written by it once (release) */

    /* The task's own: its timer. */
    void *timer;       /* timer_t */
    uint64_t when_ns;  /* the kick asked for; 0 = none */
    uint64_t armed_ns; /* what the host timer is set to; may be earlier than when_ns; 0 = not set */
};

/** Console output on its way from vCPU tasks to the monitor. */
struct console_ring {
    /* Bytes ever put in; written by the producer (release, pairs with the monitor's acquire). */
    uint32_t in;
    /* Bytes ever taken out; written by the monitor; futex word of a blocked producer. */
    uint32_t out;
    int notified; /* the monitor was told since it last looked */
    int blocked;  /* a producer waits for room */
    uint8_t bytes[CONSOLE_RING_SIZE];
};

struct arena {
    struct vm vm;
    struct task_shared task[VM_MAX_CPUS];
    struct console_ring console;

    /* Set by the monitor before any task exists. */
    int console_event; /* eventfd: console output, or the machine has ended */
    int log_level;     /* messages above it are dropped */
    uint32_t counters_asked; /* how often the monitor asked for stat_text (release) ... */
    uint32_t counters_given; /* ... and what that was when the task wrote it last (release); console_event tells of it */
    bool want_stat;
    bool terminal_raw; /* a line on the terminal must end in CR LF; also changed while running */

    /* Written by a task, when it ends and stat_text when asked for. */
    char panic[PANIC_MAX];         /* why, if by host_panic */
    char stat_text[STAT_TEXT_MAX]; /* the event counters, a line each */

    struct trace trace; /* the event stream's buffer, when one was asked for */

    uint64_t used; /* arena_alloc's mark; set-up only */
};

#define ARENA ((struct arena *)ARENA_ADDR)

/** Map a fresh arena and RAM of ram_size bytes (a multiple of the page, up to RAM_MAX) and fill in
 *  ARENA->vm.ram. 0 or -errno; then nothing is mapped. Once at a time. */
int arena_create(uint64_t ram_size) MUST_CHECK;
void arena_destroy(void);
/** RAM, as this process knows it from before any guest ran. */
const struct ram *arena_ram(void);
/** Zeroed memory in the arena, 64-byte aligned, for as long as it lasts; NULL when it is full.
 * Monitor, before the tasks start. */
void *arena_alloc(size_t size) MUST_CHECK;

#endif
