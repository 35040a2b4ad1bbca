/* What `ring3 run` says before and after the machine runs. */
#include "cli/cli.h"
#include "cli/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print_size(FILE *f, uint64_t bytes)
{
    if (bytes >= 1u << 20) {
        fprintf(f, "%.1f MB", (double)bytes / (1u << 20));
    } else {
        fprintf(f, "%.1f KB", (double)bytes / (1u << 10));
    }
}

static void print_each(FILE *f, const char *what, const char *const *args, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        fprintf(f, "%-11s %s\n", what, args[i]);
    }
}

/* What was plugged in, as it was written, and the machine's share of the host. */
static void print_devices(FILE *f, const struct run_options *o)
{
    print_each(f, "disk", o->disk, o->disk_count);
    print_each(f, "network", o->net, o->net_count);
    if (o->port_count && !o->net_count) {
        fprintf(f, "network     user, for the ports\n");
    }
    print_each(f, "port", o->port, o->port_count);
    print_each(f, "share", o->share, o->share_count);
    fprintf(f, "weight      %u\n", o->weight);
    if (o->cap) {
        fprintf(f, "cap         %u%% of a processor\n", o->cap);
    }
}

void run_describe(FILE *f, const struct run_options *o, const struct run_plan *plan,
                  const char *why, const struct machine_facts *facts)
{
    const struct kernel_image *k = &facts->kernel;
    fprintf(f, "engine      %s\n", why);
    fprintf(f, "processors  %u, time stamp counter at %u.%03u MHz\n", o->cpus,
            facts->tsc_khz / 1000, facts->tsc_khz % 1000);
    fprintf(f, "memory      ");
    print_size(f, o->ram_size);
    fprintf(f, "\nkernel      %s (", plan->kernel);
    print_size(f, facts->kernel_file_len);
    if (k->kind == KERNEL_BZIMAGE) {
        fprintf(f, ", bzImage, %s)\n            Linux %s\n", k->compression, k->version);
    } else {
        fprintf(f, ", ELF)\n");
    }
    fprintf(f, "            at %#llx..%#llx, entered at %#llx\n", (unsigned long long)k->start.v,
            (unsigned long long)k->end.v, (unsigned long long)k->entry.v);
    if (facts->initrd_len) {
        fprintf(f, "initrd      %s (", plan->initrd);
        print_size(f, facts->initrd_len);
        fprintf(f, ")\n");
    } else {
        fprintf(f, "initrd      none\n");
    }
    fprintf(f, "append      %s\n", plan->cmdline);
    print_devices(f, o);
    if (o->command) {
        fprintf(f, "command    ");
        for (char **arg = o->command; *arg; arg++) {
            fprintf(f, " %s", *arg);
        }
        fprintf(f, "\n");
    }
}

static void print_registers(const struct vcpu *v)
{
    static const char *const names[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                 "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                 "r12", "r13", "r14", "r15"};
    static const char *const segments[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        fprintf(stderr, "%-3s %016llx%s", names[i], (unsigned long long)v->gpr[i],
                i % 4 == 3 ? "\n" : "  ");
    }
    fprintf(stderr, "rip %016llx  flg %016llx  cpl %u%s\n", (unsigned long long)v->rip,
            (unsigned long long)v->rflags, vcpu_cpl(v), v->halted ? "  halted" : "");
    fprintf(stderr, "cr0 %016llx  cr2 %016llx  cr3 %016llx  cr4 %016llx\n",
            (unsigned long long)v->cr0, (unsigned long long)v->cr2, (unsigned long long)v->cr3,
            (unsigned long long)v->cr4);
    for (unsigned i = 0; i < SEG_COUNT && i < ARRAY_LEN(segments); i++) {
        fprintf(stderr, "%s %04x%s", segments[i], v->seg[i].sel, i + 1 < SEG_COUNT ? "  " : "\n");
    }
    fprintf(stderr, "fsb %016llx  gsb %016llx  kgs %016llx  efer %04llx\n",
            (unsigned long long)v->seg[SEG_FS].base, (unsigned long long)v->seg[SEG_GS].base,
            (unsigned long long)v->kernel_gs_base, (unsigned long long)v->efer);
    fprintf(stderr, "gdt %016llx/%04x  idt %016llx/%04x  tr %04x  ldt %04x\n",
            (unsigned long long)v->gdtr.base, v->gdtr.limit, (unsigned long long)v->idtr.base,
            v->idtr.limit, v->tr.sel, v->ldtr.sel);
}

int run_die_of(int sig)
{
    sigset_t set;
    signal(sig, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, sig);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(sig);
    return 128 + sig;
}

static void say(const char *what, const char *reason)
{
    fprintf(stderr, "ring3 run: %s%s%s\n", what, *reason ? ": " : "", reason);
}

/* The guest ended the machine by itself: good, unless a command was to end first. */
static int guest_left(const struct run_options *o, const char *how, const char *reason)
{
    char what[80];
    if (!o->command) {
        return 0;
    }
    snprintf(what, sizeof(what), "the guest %s before the command ended", how);
    say(what, reason);
    return CLI_GUEST_FAILED;
}

int run_conclude(const struct run_options *o, const struct monitor *m,
                 const struct monitor_result *r)
{
    if (o->stat) {
        fputs(monitor_stat(m), stderr);
    }
    switch (r->end) {
    case MONITOR_POWEROFF: return guest_left(o, "powered off", r->reason);
    case MONITOR_STATUS: return r->code;
    case MONITOR_REBOOT: return guest_left(o, "rebooted", r->reason);
    case MONITOR_TRIPLE_FAULT:
        say("the guest's processor shut down (triple fault)", r->reason);
        print_registers(monitor_vcpu(m, 0));
        return CLI_TRIPLE_FAULT;
    case MONITOR_GUEST_FAILED: say("the guest cannot go on", r->reason); return CLI_GUEST_FAILED;
    case MONITOR_QUIT: return CLI_QUIT;
    case MONITOR_KILLED: say("the guest was ended", r->reason); return CLI_KILLED;
    case MONITOR_SIGNAL: return run_die_of(r->code);
    case MONITOR_OUTPUT:
        if (r->code == EPIPE) {
            return run_die_of(SIGPIPE);
        }
        say("cannot write the guest's output", strerror(r->code));
        return CLI_BROKEN;
    case MONITOR_BROKEN: break;
    }
    say("failed", r->reason);
    return CLI_BROKEN;
}
