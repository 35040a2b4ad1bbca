/* Spaces on Linux, shared between the space_*.c files: the machinery of one vCPU task and one
 * space.
 *
 * Who may do what: everything here belongs to the vCPU task and is touched by it alone, but for the
 * slots' memory (space_shared.h).
 *
 * The life of a space's thread as the task knows it:
 *   STOPPED  an event was reported. Maybe a lie: the thread may still run guest code
 *   PARKED   the gate's authenticated answer was seen, so the thread waits in the stub: certain
 *   DEAD     killed and reaped: certain
 */
#ifndef HOST_LINUX_SPACE_PRIV_H
#define HOST_LINUX_SPACE_PRIV_H

#include "host/host.h"
#include "host/linux/space_shared.h"

#include <sched.h>
#include <sys/types.h>

enum space_state { SPACE_FREE, SPACE_STOPPED, SPACE_PARKED, SPACE_GONE };

/** Where the handoff to a space takes place. */
enum space_place {
    PLACE_ANY,   /* nothing pinned */
    PLACE_SAME,  /* on the task's CPU: yield, then sleep */
    PLACE_OTHER, /* on another one: spin */
};

struct space {
    struct space_host *host;
    struct space *next;    /* in the pool */
    struct space_ctl *ctl; /* the slot, as the task sees it */
    struct space_op *ops;
    struct space_sh *sh;
    uint8_t *alt;
    uint8_t *desk;
    uint64_t slot_off;
    int gate_fd;

    unsigned home;                         /* of the process, with what follows from it: */
    struct space_range own[SPACE_OWN_MAX]; /* no guest page can be there; own_count */
    unsigned own_count;
    uint64_t base;     /* of the stub */
    uint64_t desk_gva; /* 0: none */

    enum space_state state;
    pid_t pid;
    int pidfd;
    uint64_t token;     /* the gate's; 0: none, or the slot is not in use */
    uint32_t events;    /* sh.events when the last event was taken */
    uint32_t kicks;     /* kicks sent */
    uint32_t op_count;  /* queued */
    bool armed;         /* a gate command was given and its answer not yet checked */
    bool retried;       /* the gate command at hand was given before */
    uint8_t tls_valid;  /* bit i: TLS entry i is loaded, as of the end of the queue */
    uint64_t op_pages;  /* pages the queue maps */
    uint32_t frame_off; /* of the event's frame in alt */
    uint32_t fp_off;    /* of its XSAVE image, of fp_len bytes */
    uint32_t fp_len;
    uint32_t cpuid_seen; /* space_host.cpuid_version when ctl.cpuid was filled */
    bool emptying;       /* in the pool: a gate command that empties it is under way */

    enum space_place place;
    int place_cpu;   /* the task's CPU when place was made so */
    unsigned streak; /* short runs in a row */
};

/** Places in alt that the host's kernel chooses for a first frame, and the image's software-defined
 * bytes. */
struct space_birth {
    uint32_t frame_off, fp_off, fp_len;
    uint8_t fp_sw[48];
};

struct space_host {
    const struct vcpu *vcpu;
    volatile int *kicked;
    uint64_t base; /* of the stub in the zygote: home 0's */
    int ram_fd;
    uint64_t ram_size;
    uint64_t lowest_gva; /* the host maps nothing below */
    uint32_t alt_size;

    uint8_t *slots; /* slot_count slots, then the zygote's page */
    int slots_fd;
    unsigned slot_count;
    struct space *space; /* slot_count */
    struct space_zygote_page *zygote;
    pid_t zygote_pid;
    int zygote_pidfd;
    struct space *pool; /* parked or emptying, no guest pages left */
    unsigned pool_count;
    bool int80_works; /* the host's kernel has 32-bit system calls */
    bool cpuid_faults;
    bool intel;
    struct space_birth birth; /* what the frame of a newborn looks like */

    /* handoff */
    int load_fd;           /* /proc/loadavg, or -1 */
    unsigned cpu_count;    /* this task may use */
    cpu_set_t cpus;        /* which */
    bool crowded;          /* no CPU is idle */
    int pinned;            /* the CPU this task is kept on, or -1 */
    uint64_t pin_start;    /* TSC when it was last let go */
    uint64_t load_checked; /* TSC of the last look */
    uint64_t yield_ban;    /* no yields before this TSC */
    uint64_t tsc_per_us;
    uint32_t pauses_per_us;
    struct host_space_stats stats;

    uint32_t cpuid_version; /* changes with the answers below; never 0 */
    uint32_t cpuids;
    struct space_cpuid cpuid[SPACE_CPUID_MAX];
};

/* The stub's code and places in it: space_stub.S */
extern const uint8_t stub_start[], stub_end[], stub_zygote[], stub_serve[], stub_script[],
    stub_birth[], stub_probe[], stub_low[], stub_high[], stub_handler[], stub_gate[];
extern const uint8_t stub_ip_yield[], stub_ip_wait[], stub_ip_wake[], stub_ip_wake_again[],
    stub_ip_exit[];
extern const uint8_t stub_ip_get[], stub_ip_op[], stub_ip_tls[], stub_ip_done[];

/** Host address in a space of a place in the stub. */
static inline uint64_t stub_at(uint64_t base, const uint8_t *place)
{
    return base + ((uintptr_t)place - (uintptr_t)stub_start);
}

/** A pointer for a space's own use. */
static inline void *space_pointer(uint64_t gva)
{
    return (void *)(uintptr_t)gva;
}

/* ---- space_home.c ---- */

/** Let the process of s, which is to be made, have that home (which exists). */
void space_home_set(struct space *s, unsigned home);
/** Where the stub of a home is. */
uint64_t space_home_base(unsigned home);
/** Whether any of [gva, +len) is in the home of s. */
bool space_home_touched(const struct space *s, uint64_t gva, uint64_t len);
/** The first part of [*from, to) that is not in the home of s to *part, and *from moved to its end.
 * False: there is none. */
bool space_home_skip(const struct space *s, uint64_t *from, uint64_t to, struct space_range *part);

/* ---- space_seccomp.c ---- */

struct sock_filter;
#define SPACE_FILTER_MAX 160

/** What a filter is made of. */
struct space_filter_facts {
    uint64_t base, token;
    uint32_t gate_fd;
};
/** Write the system call filter of one space to prog (SPACE_FILTER_MAX entries); returns its
 * length. */
unsigned space_filter_build(struct sock_filter *prog, const struct space_filter_facts *facts);

struct space_zygote_facts {
    uint64_t base;      /* of its stub */
    uint64_t secret[2]; /* who has it may fork */
    uint32_t ram_fd, slots_fd;
};
/** Likewise the filter of the zygote, which its children inherit. */
unsigned space_filter_build_zygote(struct sock_filter *prog,
                                   const struct space_zygote_facts *facts);

/* ---- space_script.c ---- */

/** The kernel's struct sigaction. */
struct space_sigaction {
    uint64_t handler, flags, restorer, mask;
};
#define SPACE_SIGNALS 7
extern const int space_signals[SPACE_SIGNALS]; /* those that are events, or kicks */
/** What they do where the stub is at base. */
struct space_sigaction space_sigaction(uint64_t base);

/** Write the zygote's script: drop all memory but its two pages, then serve. */
void space_script_zygote(struct space_host *h);
/** Write to its slot what the child that becomes s does before its birth. */
void space_script_child(struct space *s);
/** Wipe that. */
void space_script_wipe(struct space *s);

/* ---- space_zygote.c ---- */

/** Make the slots' memory and gates, and fork the zygote. 0 or -errno; space_zygote_stop undoes
 * half of it, too, and kills all spaces. */
int space_zygote_start(struct space_host *h) MUST_CHECK;
void space_zygote_stop(struct space_host *h);
/** Have the zygote fork the process of s, whose slot is free, with that home, and see it through
 * its birth: it is PARKED then, without guest pages. 0 or -errno (nothing left of it). */
int space_zygote_fork(struct space *s, unsigned home) MUST_CHECK;

/* ---- space_run.c ---- */

/** Kill and reap the process of s; afterwards GONE, and its slot's gate is closed. */
void space_kill(struct space *s);
/** Wait for s's first event. 0 or -ESRCH. */
int space_wait_birth(struct space *s) MUST_CHECK;
/** Start the queue's operations in the gate; the answer is to be waited for. s is not armed. */
void space_gate_start(struct space *s, uint32_t cmd);
/** Wait for the answer to a gate command without a run, dealing with failed operations. 0, or
 * -ESRCH: killed. */
int space_gate_finish(struct space *s) MUST_CHECK;
/* ---- space_place.c ---- */

#define SPACE_SPIN_US 50 /* what waking a sleeper on an idle CPU costs */
#define SPACE_YIELDS 2   /* before sleeping, where the other side is on the same CPU */

/** Bring the zygote, and the children it will have, to this task's CPU, where waking them is cheap:
 * that CPU, or -1. */
int space_place_zygote(struct space_host *h);
/** Calibrate and find out about the host's CPUs. */
void space_handoff_init(struct space_host *h);
/** Choose where s runs next, and how either side waits; before a command to run. */
void space_place(struct space *s);

/* ---- space_event.c ---- */

/** Fill *regs and *out from the reported event. False: nonsense, kill it. */
bool space_event_read(struct space *s, struct space_regs *regs, struct space_exit *out);
/** Check *regs and write them to the stopped thread. 0 or -EINVAL (nothing written). */
int space_regs_write(struct space *s, const struct space_regs *regs) MUST_CHECK;
/** Note the shape of a first frame, from a newborn. False: nonsense. */
bool space_birth_note(struct space *s);
/** Wipe what a parked thread's last user left behind, and give it the frame of a newborn. */
void space_frame_renew(struct space *s);

/* ---- space.c ---- */

/** Put operation op at the end of the queue, whatever it does to the limits. The queue has room. */
void space_queue_put(struct space *s, const struct space_op *op);
/** Queue the operations that drop every guest page and mapping: one more than the home has ranges.
 * The queue has room for them. */
void space_queue_empty(struct space *s);

#endif
