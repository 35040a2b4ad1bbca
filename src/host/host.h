/* What the world below offers: the contract between ring3 and its host.
 *
 * Implemented by host/linux (a process) and host/metal (bare hardware). Everything above calls only these. All functions may be
 * called from a vCPU task unless said otherwise; none allocates per call unless said.
 *
 * Three groups: (1) time, kicks, waiting, console; (2) the window: the vCPU task's own address space, in which the bt engine maps the guest's
 * kernel half; (3) spaces: separate, hardware-enforced address spaces in which guest user code runs (DESIGN §4.4).
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include "base/log.h"
#include "base/types.h"
#include "vcpu/vcpu.h"

struct vm;

/* ---- time, kicks, waiting ---- */

/** One finished line to wherever messages go. */
void host_log(enum log_level level, const char *line);
/** End this task after an internal error, with `line` as the reason. */
NORETURN void host_panic(const char *line);

uint64_t host_time_ns(void);  /* monotonic, never 0 */
uint64_t host_wall_ns(void);  /* since 1970-01-01 UTC */
uint64_t host_tsc(void);      /* the TSC guests see: rdtsc, no offset */
void host_random(void *buf, size_t len);

/** Kick the vCPU at host time `when_ns` (0 = cancel). One timer a vCPU; called from its own task. */
void host_timer_set(struct vcpu *v, uint64_t when_ns);
/** Make vCPU `index` leave guest code, or return from host_wait, soon; nothing happens when there is none. From any task and any thread of the
 *  monitor, any number of times. Async-signal-safe. */
void host_kick(unsigned index);
/** Block until a kick arrives, or return at once if one arrived since the last host_kick_clear. */
void host_wait(struct vcpu *v);
/** Whether a kick arrived since the last clear; clear it. Clear first, then look for the work: no kick is lost so. */
bool host_kick_clear(struct vcpu *v);

/** Console output bytes (buffered; flushed by host_console_flush, on newline, or when the buffer fills). */
void host_console_write(struct vm *vm, const void *buf, size_t len);
void host_console_flush(struct vm *vm);

/** Append len bytes to an open file of the monitor's (the event stream). Errors are ignored: the guest goes on. */
void host_trace_write(int fd, const void *buf, size_t len);

/** Somebody wants to see the engine's event counters: write down this vCPU's, where the monitor finds them. */
void host_publish_counters(struct vcpu *v);

/* ---- devices: the vCPU task and the device's thread call each other ---- */

/** Ring a bell of struct virtio_regs (kick, control): its device's thread wakes. -1: nothing. Never blocks. From the vCPU task. */
void host_notify(int bell);
/** Tell the vCPU task that regs->interrupts of the device in that slot has news: sets vm->device_pending, kicks vCPU 0. From a device's thread. */
void host_device_interrupt(unsigned slot);
/** Drop guest RAM bytes [ram_off, +len), page aligned: they read as zero afterwards and cost nothing until touched. 0 or -errno. */
int host_ram_discard(uint64_t ram_off, uint64_t len) MUST_CHECK;

/* ---- the window: this vCPU task's own mm ---- */

#define HOST_R 1u
#define HOST_W 2u
#define HOST_X 4u

/** Map RAM bytes [ram_off, +len) at host address hva, replacing what was there. Page aligned. 0 or -errno. */
int host_window_map(struct vcpu *v, uint64_t hva, uint64_t ram_off, uint64_t len, unsigned prot) MUST_CHECK;
int host_window_protect(struct vcpu *v, uint64_t hva, uint64_t len, unsigned prot) MUST_CHECK;
int host_window_unmap(struct vcpu *v, uint64_t hva, uint64_t len) MUST_CHECK;

/** Fresh zeroed private memory of this vCPU task, len rounded up to pages, at hva (which must be free) or, with hva 0, anywhere below
 *  512 GB. Pages cost nothing until touched. NULL on failure. Never freed. */
void *host_private_map(uint64_t hva, uint64_t len, unsigned prot) MUST_CHECK;
/** Take over this task's faults, traps and kicks for the rewriting engine (bt.h). 0 or -errno. */
int host_bt_setup(struct vcpu *v) MUST_CHECK;
/** Unmap whatever the host itself put in the window, so that no guest address can reach it. Last in set-up. 0 or -errno. */
int host_window_clear(struct vcpu *v) MUST_CHECK;
/** Whether the host's processor and kernel let the rewriting engine run; `why` gets one line, with the remedy if not. */
bool host_bt_probe(char *why, size_t size);
/** CPUID of the host processor. out: eax ebx ecx edx. */
void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/** XCR0 of the host processor. */
uint64_t host_xcr0(void);

/* ---- spaces ---- */

/* A space runs one thread of guest user code. Mapping calls are queued and carried out in one batch by host_space_run,
 * host_space_sync or host_space_park, in the order given. What the guest's user code does inside (it owns every byte and may jump anywhere)
 * can end the space, never reach the host or another space; a space that misbehaves is killed and reported as SPACE_DEAD / -ESRCH. */
struct space;

enum space_event {
    SPACE_SYSCALL,   /* SYSCALL in 64-bit code: rip is past it, rcx = rip, r11 = rflags as on hardware */
    SPACE_INT80,     /* INT 0x80 from 64-bit or compatibility code: rip is past it */
    SPACE_SYSCALL32, /* SYSCALL or SYSENTER in compatibility mode (as far as the host tells them apart) */
    SPACE_PAGE_FAULT,/* error: architectural error code (U set), cr2 */
    SPACE_EXCEPTION, /* vector, error (has_error by vector): #DE #DB #BP #OF #BR #UD #GP #SS #AC #MF #XM; rip as hardware saves it */
    SPACE_CPUID,     /* CPUID trapped (faulting available and switched on): rip at the instruction */
    SPACE_KICKED,    /* nothing happened in the guest: the vCPU was kicked */
    SPACE_DEAD,      /* killed for misbehaving, or by the host; only host_space_destroy is left */
};

struct space_exit {
    enum space_event event;
    uint8_t vector;
    uint32_t error;
    uint64_t cr2;
};

/** The user-mode registers of the stopped thread. Selectors are the guest's and the host's alike: 0x33 64-bit code, 0x23 32-bit code,
 *  0x2b data; a set of other values is refused by host_space_run with -EINVAL. rflags: arithmetic, DF, TF, AC, ID, NT, RF as the guest has them. */
struct space_regs {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip, rflags;
    uint64_t fs_base, gs_base;
    uint16_t cs, ss, ds, es, fs, gs;
};

/** Prepare the machinery (zygote, pool) once per vCPU task, before the jail closes. 0 or -errno; or it does not return, having said by
 * host_panic why user code cannot run on this host. */
int host_space_setup(struct vcpu *v) MUST_CHECK;

/** Guest-virtual addresses [gva, gva + len), all in one 2 MB. */
struct space_range {
    uint64_t gva, len;
};
#define SPACE_OWN_MAX 2
/** A space may need some of the addresses for itself: its home, chosen when it is made. Writes the ranges of home 0, 1, 2... to `own`, in ascending
 *  order, and returns how many they are; -1: there is no such home. Home 0 is the best, where it is free; the later ones may lack TLS descriptors. */
int host_space_home(unsigned home, struct space_range own[SPACE_OWN_MAX]) MUST_CHECK;
/** A fresh, empty space in that home, from the pool or the zygote. 0 or -errno. */
int host_space_create(struct vcpu *v, unsigned home, struct space **out) MUST_CHECK;
/** Kill the space's process and wait until it is gone: afterwards it certainly touches nothing. */
void host_space_destroy(struct space *s);

/** Queue: map RAM [ram_off, +len) at gva; the range replaces what was there. prot: HOST_R always, HOST_W, HOST_X. len a multiple of the page.
 *  A range that touches the space's home is refused with -EADDRINUSE (nothing queued). -ENOSPC never: a full queue is synced. */
int host_space_map(struct space *s, uint64_t gva, uint64_t ram_off, uint64_t len, unsigned prot) MUST_CHECK;
int host_space_protect(struct space *s, uint64_t gva, uint64_t len, unsigned prot) MUST_CHECK;
/** The range may touch the home: that stays. */
int host_space_unmap(struct space *s, uint64_t gva, uint64_t len) MUST_CHECK;
/** Queue: drop every guest page. */
int host_space_empty(struct space *s) MUST_CHECK;
/** Queue: 32-bit TLS descriptor idx (0..2: GDT entries 12..14) as a raw 8-byte descriptor, 0 = clear. -EINVAL: no such descriptor; -ENOTSUP: not here,
 *  or not in this home. */
int host_space_set_tls(struct space *s, unsigned idx, uint64_t descriptor) MUST_CHECK;

/** Carry out the queue now. Returns when completion is certain (authenticated), or the space is dead: 0, or -ESRCH after killing it: then, too,
 *  no old mapping can be used any more. Cheap when the queue is empty and nothing needs proof. */
int host_space_sync(struct space *s) MUST_CHECK;
/** As sync, and afterwards the thread is certainly not running guest code until the next run. 0 or -ESRCH. */
int host_space_park(struct space *s) MUST_CHECK;

/** Carry out the queue, load *regs and the XSAVE image, run guest user code until something happens. On return 0, *regs and *out
 *  are the thread's new state. A kick of the vCPU (host_kick) ends the run with SPACE_KICKED. -EINVAL: a register value the host cannot
 *  load (regs->rip/selectors; inject #GP instead). */
int host_space_run(struct space *s, struct space_regs *regs, struct space_exit *out) MUST_CHECK;

/** The stopped thread's XSAVE image (standard format, host XCR0 layout) for reading or editing in place before the next run; *len is its size. The
 *  space can be hostile: copy before checking; a header written here is validated by the host CPU only (XRSTOR #GP = space dead). */
uint8_t *host_space_xsave(struct space *s, size_t *len);

/** A space may answer CPUID (leaf, subleaf) with `out` by itself from now on, without SPACE_CPUID. Forget: no more of them. */
void host_space_learn_cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf, const uint32_t out[4]);
void host_space_forget_cpuid(struct vcpu *v);

/** Counters of DESIGN §9, for --stat. */
struct host_space_stats {
    uint64_t created, destroyed, runs, batches, ops, spin_handoffs, yield_handoffs, futex_handoffs, kicks;
};
void host_space_stats(const struct vcpu *v, struct host_space_stats *out);

#endif
