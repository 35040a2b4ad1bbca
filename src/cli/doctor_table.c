/* The instructions `ring3 doctor` runs, and what ring3 does about each.
 *
 * Each is a few bytes of machine code, called with registers from its row (doctor_insn.c,
 * probe_call): RDI points at 4 KB of zeroed scratch memory, RSI at a page below 4 GB that holds
 * `jmp *%rsi`. A row says what to run and why it matters; what happens is found out by running it
 * and stands nowhere here.
 *
 * Which instructions are sensitive: Popek & Goldberg 1974 gives the condition; the privileged and
 * the descriptor-table instructions are those of SDM 3 "System Architecture Overview" §2.8 and of
 * APM 2 "System-Management Instructions" §6.
 */
#include "cli/doctor.h"

#include "base/types.h"

/* One instruction sequence as a hidden symbol. */
#define CODE(label, text)                                                                         \
    extern const char label[] __attribute__((visibility("hidden")));                              \
    __asm__(".pushsection .text\n.hidden " #label "\n.globl " #label "\n" #label ":\n" text       \
            "\nret\n.popsection\n")

/* Descriptor tables, selectors */
CODE(code_sgdt, "sgdt (%rdi)");
CODE(code_sidt, "sidt (%rdi)");
CODE(code_sldt, "sldt %rax");
CODE(code_str, "str %rax");
CODE(code_smsw, "smsw %rax");
CODE(code_lgdt, "lgdt (%rdi)");
CODE(code_lidt, "lidt (%rdi)");
CODE(code_lldt, "lldt %ax");
CODE(code_ltr, "ltr %ax");
CODE(code_lar, "lar %ecx, %eax");
CODE(code_lsl, "lsl %ecx, %eax");
CODE(code_verr, "verr %cx");
CODE(code_verw, "verw %cx");
CODE(code_read_cs, "mov %cs, %eax");
CODE(code_read_ss, "mov %ss, %eax");
CODE(code_push_fs, "push %fs\npop %rax");
CODE(code_load_ds, "mov %eax, %ds");
CODE(code_load_ss, "mov %eax, %ss");
CODE(code_pop_gs, "push %gs\npop %gs");

/* Flags, interrupts, ports */
CODE(code_pushf, "pushf\npop %rax");
CODE(code_popf, "pushf\npop %rax\nand $~0x200, %rax\nor $0x3000, %rax\n"
                "push %rax\npopf\npushf\npop %rax");
CODE(code_cli, "cli");
CODE(code_sti, "sti");
CODE(code_hlt, "hlt");
CODE(code_in, "in %dx, %al");
CODE(code_out, "out %al, %dx");
CODE(code_insb, "insb");
CODE(code_outsb, "mov %rdi, %rsi\noutsb");

/* Control, debug and model-specific registers. The values written would do no harm. */
CODE(code_read_cr0, "mov %cr0, %rax");
CODE(code_read_cr2, "mov %cr2, %rax");
CODE(code_read_cr3, "mov %cr3, %rax");
CODE(code_read_cr4, "mov %cr4, %rax");
CODE(code_read_cr8, "mov %cr8, %rax");
CODE(code_write_cr0, "mov %rax, %cr0");
CODE(code_write_cr2, "mov %rax, %cr2");
CODE(code_write_cr3, "mov %rax, %cr3");
CODE(code_write_cr4, "mov %rax, %cr4");
CODE(code_write_cr8, "mov %rax, %cr8");
CODE(code_lmsw, "lmsw %ax");
CODE(code_clts, "clts");
CODE(code_read_dr, "mov %dr7, %rax");
CODE(code_write_dr, "mov %rax, %dr7");
CODE(code_rdmsr, "rdmsr");
CODE(code_wrmsr, "wrmsr");
CODE(code_wrmsrns, ".byte 0x0f, 0x01, 0xc6");
CODE(code_rdpmc, "rdpmc");
CODE(code_rdpru, ".byte 0x0f, 0x01, 0xfd");
CODE(code_xgetbv, "xgetbv");
CODE(code_xsetbv, "xsetbv");

/* Clock and identity */
CODE(code_rdtsc, "rdtsc");
CODE(code_rdtscp, "rdtscp");
CODE(code_rdpid, ".byte 0xf3, 0x0f, 0xc7, 0xf8");
CODE(code_cpuid, "cpuid");

/* Caches, TLB */
CODE(code_invd, "invd");
CODE(code_wbinvd, "wbinvd");
CODE(code_wbnoinvd, ".byte 0xf3, 0x0f, 0x09");
CODE(code_invlpg, "invlpg (%rdi)");
CODE(code_invpcid, "invpcid (%rdi), %rax");
CODE(code_invlpgb, ".byte 0x0f, 0x01, 0xfe");
CODE(code_clflush, "clflush (%rdi)");

/* Gates, returns, far jumps. `int n` through a gate of the kernel alone is #GP(8n + 2). */
CODE(code_syscall, "syscall");
CODE(code_sysenter, "mov %esi, %ebp\nsysenter");
CODE(code_int80, "int $0x80");
CODE(code_int20, "int $0x20");
CODE(code_int2, "int $2");
CODE(code_int3, "int3");
CODE(code_int1, ".byte 0xf1");
CODE(code_int4, "int $4");
CODE(code_ud2, "ud2");
CODE(code_sysretq, "lea 1f(%rip), %rcx\nsysretq\n1:");
CODE(code_sysexit, ".byte 0x0f, 0x35");
CODE(code_swapgs, "swapgs");
CODE(code_iretq, "mov %rsp, %rcx\nmov %ss, %edx\npush %rdx\npush %rcx\npushf\n"
                 "andq $~0x200, (%rsp)\norq $0x3000, (%rsp)\nmov %cs, %edx\npush %rdx\n"
                 "lea 1f(%rip), %rdx\npush %rdx\niretq\n1: pushf\npop %rax");
CODE(code_iretq_kernel, "mov %rsp, %rcx\npush $0x18\npush %rcx\npushf\npush $0x10\n"
                        "lea 1f(%rip), %rdx\npush %rdx\niretq\n1:");
CODE(code_lret, "mov %cs, %edx\npush %rdx\nlea 1f(%rip), %rax\npush %rax\nlretq\n"
                "1: mov %cs, %eax");
CODE(code_lret_kernel, "push $0x10\nlea 1f(%rip), %rax\npush %rax\nlretq\n1:");
CODE(code_ljmp, "mov %esi, (%rdi)\nmov %cs, 4(%rdi)\nlea 1f(%rip), %rsi\nljmpl *(%rdi)\n"
                "1: mov %cs, %eax");
CODE(code_lcall, "mov %esi, (%rdi)\nmov %cs, 4(%rdi)\nlea 1f(%rip), %rsi\nlcalll *(%rdi)\n"
                 "1: add $8, %rsp\nmov %cs, %eax");

/* Extended state, user-mode system registers */
CODE(code_xsaves, "xsaves (%rdi)");
CODE(code_xrstors, "xrstors (%rdi)");
CODE(code_stac, "stac");
CODE(code_clac, "clac");
CODE(code_rdfsbase, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0");
CODE(code_wrfsbase, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0\n.byte 0xf3, 0x48, 0x0f, 0xae, 0xd0");
CODE(code_rdgsbase, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc8");
CODE(code_wrgsbase, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc8\n.byte 0xf3, 0x48, 0x0f, 0xae, 0xd8");
CODE(code_rdpkru, ".byte 0x0f, 0x01, 0xee");
CODE(code_wrpkru, ".byte 0x0f, 0x01, 0xee\n.byte 0x0f, 0x01, 0xef");

/* Waiting, hardware virtualization, enclaves, the rest */
CODE(code_monitor, "mov %rdi, %rax\nmonitor");
CODE(code_mwait, "mwait");
CODE(code_tpause, ".byte 0x66, 0x0f, 0xae, 0xf1");
CODE(code_vmcall, ".byte 0x0f, 0x01, 0xc1");
CODE(code_vmmcall, ".byte 0x0f, 0x01, 0xd9");
CODE(code_vmxon, "vmxon (%rdi)");
CODE(code_vmread, "vmread %rax, %rcx");
CODE(code_vmrun, ".byte 0x0f, 0x01, 0xd8");
CODE(code_stgi, ".byte 0x0f, 0x01, 0xdc");
CODE(code_serialize, ".byte 0x0f, 0x01, 0xe8");
CODE(code_encls, ".byte 0x0f, 0x01, 0xcf");
CODE(code_getsec, ".byte 0x0f, 0x37");
CODE(code_rsm, ".byte 0x0f, 0xaa");

#define READS SENSE_READS
#define CHANGES SENSE_CHANGES
#define FEATURE(l, s, r, b) .feature = {.leaf = (l), .subleaf = (s), .reg = (r), .bit = (b)}

/* Phrases used by many rows. */
#define PRIVILEGED "callout; user: #GP to the guest"
#define UNDEFINED "callout; user: #UD to the guest"
#define AS_HERE "callout; user: as measured (limit)"
#define NOT_OFFERED "not offered to guests: #UD"

static const struct probe table[] = {
    {.group = "Descriptor tables and selectors",
     .name = "sgdt", .code = code_sgdt, .sense = READS, .show = SHOW_TABLE, .ring3 = AS_HERE},
    {.name = "sidt", .code = code_sidt, .sense = READS, .show = SHOW_TABLE, .ring3 = AS_HERE},
    {.name = "sldt", .code = code_sldt, .sense = READS, .show = SHOW_SEL, .ring3 = AS_HERE},
    {.name = "str", .code = code_str, .sense = READS, .show = SHOW_SEL, .ring3 = AS_HERE},
    {.name = "smsw", .code = code_smsw, .sense = READS, .show = SHOW_RAX, .ring3 = AS_HERE},
    {.name = "lgdt", .code = code_lgdt, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "lidt", .code = code_lidt, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "lldt", .code = code_lldt, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "ltr", .code = code_ltr, .sense = CHANGES, .rax = 0x40, .ring3 = PRIVILEGED},
    {.name = "lar 0x33", .code = code_lar, .sense = READS, .show = SHOW_ZF_RAX, .rcx = 0x33,
     .ring3 = AS_HERE},
    {.name = "lsl 0x7b", .code = code_lsl, .sense = READS, .show = SHOW_ZF_RAX, .rcx = 0x7b,
     .ring3 = "callout; user: host's CPU number (limit)"},
    {.name = "verr 0x2b", .code = code_verr, .sense = READS, .show = SHOW_ZF, .rcx = 0x2b,
     .ring3 = AS_HERE},
    {.name = "verw 0x2b", .code = code_verw, .sense = READS, .show = SHOW_ZF, .rcx = 0x2b,
     .ring3 = AS_HERE},
    {.name = "mov r, cs", .code = code_read_cs, .sense = READS, .show = SHOW_SEL,
     .ring3 = "inline: the guest's CS; user: same as host's"},
    {.name = "mov r, ss", .code = code_read_ss, .sense = READS, .show = SHOW_SEL,
     .ring3 = "inline: the guest's SS; user: same as host's"},
    {.name = "push fs", .code = code_push_fs, .sense = READS, .show = SHOW_SEL,
     .ring3 = "callout; user: native"},
    {.name = "mov ds, null", .code = code_load_ds, .sense = CHANGES,
     .ring3 = "callout; user: native"},
    {.name = "mov ds, 0x2b", .code = code_load_ds, .sense = CHANGES, .rax = 0x2b,
     .ring3 = "callout; user: native (host's descriptor)"},
    {.name = "mov ds, 0x18", .code = code_load_ds, .sense = CHANGES, .rax = 0x18,
     .ring3 = "callout: guest's GDT; user: #GP to the guest"},
    {.name = "mov ds, TSS", .code = code_load_ds, .sense = CHANGES, .rax = 0x40,
     .ring3 = PRIVILEGED},
    {.name = "mov ss, null", .code = code_load_ss, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "pop gs", .code = code_pop_gs, .sense = CHANGES, .ring3 = "callout; user: native"},

    {.group = "Flags, interrupts, ports",
     .name = "pushf", .code = code_pushf, .sense = READS, .show = SHOW_FLAGS,
     .ring3 = "inline, virtual IF; user: native"},
    {.name = "popf", .code = code_popf, .sense = CHANGES, .show = SHOW_IF_KEPT,
     .ring3 = "inline, virtual IF; user: native"},
    {.name = "cli", .code = code_cli, .sense = CHANGES,
     .ring3 = "inline, virtual IF; user: #GP to the guest"},
    {.name = "sti", .code = code_sti, .sense = CHANGES,
     .ring3 = "inline, virtual IF; user: #GP to the guest"},
    {.name = "hlt", .code = code_hlt, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "in", .code = code_in, .sense = READS, .rdx = 0x80, .ring3 = PRIVILEGED},
    {.name = "out", .code = code_out, .sense = CHANGES, .rdx = 0x80, .ring3 = PRIVILEGED},
    {.name = "ins", .code = code_insb, .sense = READS, .rdx = 0x80, .ring3 = PRIVILEGED},
    {.name = "outs", .code = code_outsb, .sense = CHANGES, .rdx = 0x80, .ring3 = PRIVILEGED},

    {.group = "Control, debug and model-specific registers",
     .name = "mov r, cr0", .code = code_read_cr0, .sense = READS, .show = SHOW_RAX,
     .ring3 = PRIVILEGED},
    {.name = "mov r, cr2", .code = code_read_cr2, .sense = READS, .show = SHOW_RAX,
     .ring3 = PRIVILEGED},
    {.name = "mov r, cr3", .code = code_read_cr3, .sense = READS, .show = SHOW_RAX,
     .ring3 = PRIVILEGED},
    {.name = "mov r, cr4", .code = code_read_cr4, .sense = READS, .show = SHOW_RAX,
     .ring3 = PRIVILEGED},
    {.name = "mov r, cr8", .code = code_read_cr8, .sense = READS, .show = SHOW_RAX,
     .ring3 = PRIVILEGED},
    {.name = "mov cr0, r", .code = code_write_cr0, .sense = CHANGES, .rax = 0x80050033,
     .ring3 = PRIVILEGED},
    {.name = "mov cr2, r", .code = code_write_cr2, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "mov cr3, r", .code = code_write_cr3, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "mov cr4, r", .code = code_write_cr4, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "mov cr8, r", .code = code_write_cr8, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "lmsw", .code = code_lmsw, .sense = CHANGES, .rax = 0x33, .ring3 = PRIVILEGED},
    {.name = "clts", .code = code_clts, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "mov r, dr7", .code = code_read_dr, .sense = READS, .show = SHOW_RAX,
     .ring3 = PRIVILEGED},
    {.name = "mov dr7, r", .code = code_write_dr, .sense = CHANGES, .rax = 0x400,
     .ring3 = PRIVILEGED},
    {.name = "rdmsr", .code = code_rdmsr, .sense = READS, .show = SHOW_EDX_EAX, .rcx = 0x10,
     .ring3 = PRIVILEGED},
    {.name = "wrmsr", .code = code_wrmsr, .sense = CHANGES, .rcx = 0xc0000103, .ring3 = PRIVILEGED},
    {.name = "wrmsrns", .code = code_wrmsrns, .sense = CHANGES, .rcx = 0xc0000103,
     FEATURE(7, 1, 'a', 19), .ring3 = NOT_OFFERED},
    {.name = "rdpmc", .code = code_rdpmc, .sense = READS, .show = SHOW_EDX_EAX,
     .ring3 = "callout; user: as the host allows (limit)"},
    {.name = "rdpru", .code = code_rdpru, .sense = READS, .show = SHOW_EDX_EAX,
     FEATURE(0x80000008, 0, 'b', 4), .ring3 = "not offered; user: host's counters (limit)"},
    {.name = "xgetbv", .code = code_xgetbv, .sense = READS, .show = SHOW_EDX_EAX,
     FEATURE(1, 0, 'c', 27), .ring3 = "callout; user: host's XCR0, the guest's too"},
    {.name = "xsetbv", .code = code_xsetbv, .sense = CHANGES, .rax = 3, FEATURE(1, 0, 'c', 27),
     .ring3 = PRIVILEGED},

    {.group = "Clock and identity",
     .name = "rdtsc", .code = code_rdtsc, .sense = READS, .show = SHOW_EDX_EAX,
     .ring3 = "native: TSC offset 0 (limit)"},
    {.name = "rdtsc, TSD set", .code = code_rdtsc, .sense = SENSE_NONE, .show = SHOW_EDX_EAX,
     .setup = SETUP_TSC_FAULT, .ring3 = "not used: PR_SET_TSC would make it trap"},
    {.name = "rdtscp", .code = code_rdtscp, .sense = READS, .show = SHOW_ECX,
     FEATURE(0x80000001, 0, 'd', 27), .ring3 = "callout; user: host's CPU number (limit)"},
    {.name = "rdpid", .code = code_rdpid, .sense = READS, .show = SHOW_RAX, FEATURE(7, 0, 'c', 22),
     .ring3 = "callout; user: host's CPU number (limit)"},
    {.name = "cpuid", .code = code_cpuid, .sense = READS, .show = SHOW_EAX, .rax = 1,
     .ring3 = "callout; user: faulting, else host's (limit)"},
    {.name = "cpuid, faulting", .code = code_cpuid, .sense = SENSE_NONE, .show = SHOW_EAX,
     .setup = SETUP_CPUID_FAULT, .rax = 1, .ring3 = "used for user code where it can be had"},

    {.group = "Caches and TLB",
     .name = "invd", .code = code_invd, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "wbinvd", .code = code_wbinvd, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "wbnoinvd", .code = code_wbnoinvd, .sense = CHANGES, FEATURE(0x80000008, 0, 'b', 9),
     .ring3 = PRIVILEGED},
    {.name = "invlpg", .code = code_invlpg, .sense = CHANGES,
     .ring3 = "callout: drops mappings; user: #GP to guest"},
    {.name = "invpcid", .code = code_invpcid, .sense = CHANGES, FEATURE(7, 0, 'b', 10),
     .ring3 = "callout: drops mappings; user: #GP to guest"},
    {.name = "invlpgb", .code = code_invlpgb, .sense = CHANGES, FEATURE(0x80000008, 0, 'b', 3),
     .ring3 = NOT_OFFERED},
    {.name = "clflush", .code = code_clflush, .sense = SENSE_NONE, FEATURE(1, 0, 'd', 19),
     .ring3 = "native"},

    {.group = "System calls, gates, returns, far transfers",
     .name = "syscall", .code = code_syscall, .sense = CHANGES, .show = SHOW_RAX,
     .setup = SETUP_SECCOMP, .rax = 110, .ring3 = "user: seccomp traps it, to the guest's LSTAR"},
    {.name = "sysenter", .code = code_sysenter, .sense = CHANGES, .show = SHOW_RAX,
     .setup = SETUP_SECCOMP, .rax = 20, FEATURE(1, 0, 'd', 11),
     .ring3 = "user: seccomp traps it, to the guest's entry"},
    {.name = "int 0x80", .code = code_int80, .sense = CHANGES, .show = SHOW_RAX,
     .setup = SETUP_SECCOMP, .rax = 20, .ring3 = "user: seccomp traps it, to the guest's gate"},
    {.name = "int 0x20", .code = code_int20, .sense = CHANGES,
     .ring3 = "callout; user: the guest's gate or #GP"},
    {.name = "int 2", .code = code_int2, .sense = CHANGES,
     .ring3 = "callout; user: the guest's gate or #GP"},
    {.name = "int 4", .code = code_int4, .sense = CHANGES,
     .ring3 = "callout; user: the guest's gate or #GP"},
    {.name = "int3", .code = code_int3, .sense = CHANGES, .ring3 = "#BP to the guest"},
    {.name = "int1", .code = code_int1, .sense = CHANGES, .ring3 = "#DB to the guest"},
    {.name = "ud2", .code = code_ud2, .sense = SENSE_NONE, .ring3 = "#UD to the guest"},
    {.name = "sysret", .code = code_sysretq, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "sysexit", .code = code_sysexit, .sense = CHANGES, FEATURE(1, 0, 'd', 11),
     .ring3 = PRIVILEGED},
    {.name = "swapgs", .code = code_swapgs, .sense = CHANGES,
     .ring3 = "inline; user: #GP to the guest"},
    {.name = "iretq", .code = code_iretq, .sense = CHANGES, .show = SHOW_IF_KEPT,
     .ring3 = "callout; user: native (same ring)"},
    {.name = "iretq, ring 0", .code = code_iretq_kernel, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "lret far", .code = code_lret, .sense = CHANGES, .show = SHOW_SEL,
     .ring3 = "callout; user: native (host's descriptor)"},
    {.name = "lret, ring 0", .code = code_lret_kernel, .sense = CHANGES, .ring3 = PRIVILEGED},
    {.name = "jmp far", .code = code_ljmp, .sense = CHANGES, .show = SHOW_SEL,
     .ring3 = "callout; user: native (host's descriptor)"},
    {.name = "call far", .code = code_lcall, .sense = CHANGES, .show = SHOW_SEL,
     .ring3 = "callout; user: native (host's descriptor)"},

    {.group = "Extended state and user-mode system registers",
     .name = "xsaves", .code = code_xsaves, .sense = READS, FEATURE(13, 1, 'a', 3),
     .ring3 = PRIVILEGED},
    {.name = "xrstors", .code = code_xrstors, .sense = CHANGES, FEATURE(13, 1, 'a', 3),
     .ring3 = PRIVILEGED},
    {.name = "stac", .code = code_stac, .sense = CHANGES, FEATURE(7, 0, 'b', 20),
     .ring3 = "not offered (SMAP): #UD to the guest"},
    {.name = "clac", .code = code_clac, .sense = CHANGES, FEATURE(7, 0, 'b', 20),
     .ring3 = "not offered (SMAP): #UD to the guest"},
    {.name = "rdfsbase", .code = code_rdfsbase, .show = SHOW_RAX, FEATURE(7, 0, 'b', 0),
     .ring3 = "callout; user: native"},
    {.name = "wrfsbase", .code = code_wrfsbase, FEATURE(7, 0, 'b', 0),
     .ring3 = "callout; user: native"},
    {.name = "rdgsbase", .code = code_rdgsbase, .show = SHOW_RAX, FEATURE(7, 0, 'b', 0),
     .ring3 = "callout; user: native"},
    {.name = "wrgsbase", .code = code_wrgsbase, FEATURE(7, 0, 'b', 0),
     .ring3 = "callout; user: native"},
    {.name = "rdpkru", .code = code_rdpkru, .show = SHOW_EAX, FEATURE(7, 0, 'c', 4),
     .ring3 = NOT_OFFERED},
    {.name = "wrpkru", .code = code_wrpkru, FEATURE(7, 0, 'c', 4), .ring3 = NOT_OFFERED},

    {.group = "Waiting, virtualization, enclaves, the rest",
     .name = "monitor", .code = code_monitor, .sense = CHANGES, FEATURE(1, 0, 'c', 3),
     .ring3 = NOT_OFFERED},
    {.name = "mwait", .code = code_mwait, .sense = CHANGES, FEATURE(1, 0, 'c', 3),
     .ring3 = NOT_OFFERED},
    {.name = "tpause", .code = code_tpause, FEATURE(7, 0, 'c', 5), .ring3 = "native in user code"},
    {.name = "vmcall", .code = code_vmcall, .sense = CHANGES, .show = SHOW_ANSWER,
     .rax = 0x7fffffff, FEATURE(1, 0, 'c', 5), .ring3 = "callout (KVM's paravirtual calls)"},
    {.name = "vmmcall", .code = code_vmmcall, .sense = CHANGES, .show = SHOW_ANSWER,
     .rax = 0x7fffffff, FEATURE(0x80000001, 0, 'c', 2),
     .ring3 = "callout (KVM's paravirtual calls)"},
    {.name = "vmxon", .code = code_vmxon, .sense = CHANGES, FEATURE(1, 0, 'c', 5),
     .ring3 = NOT_OFFERED},
    {.name = "vmread", .code = code_vmread, .sense = READS, FEATURE(1, 0, 'c', 5),
     .ring3 = NOT_OFFERED},
    {.name = "vmrun", .code = code_vmrun, .sense = CHANGES, FEATURE(0x80000001, 0, 'c', 2),
     .ring3 = NOT_OFFERED},
    {.name = "stgi", .code = code_stgi, .sense = CHANGES, FEATURE(0x80000001, 0, 'c', 2),
     .ring3 = NOT_OFFERED},
    {.name = "serialize", .code = code_serialize, FEATURE(7, 0, 'd', 14), .ring3 = "native"},
    {.name = "encls", .code = code_encls, .sense = CHANGES, .rax = 0xff, FEATURE(7, 0, 'b', 2),
     .ring3 = NOT_OFFERED},
    {.name = "getsec", .code = code_getsec, .sense = CHANGES, FEATURE(1, 0, 'c', 6),
     .ring3 = NOT_OFFERED},
    {.name = "rsm", .code = code_rsm, .sense = CHANGES, .ring3 = UNDEFINED},
};

const struct probe *probe_table(size_t *count)
{
    *count = ARRAY_LEN(table);
    return table;
}
