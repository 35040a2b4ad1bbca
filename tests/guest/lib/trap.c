/* Descriptor tables, and what happens at each event. See trap.h. */
#include "lib/trap.h"
#include "lib/paging.h"
#include "lib/user.h"

struct regs trap;
uint64_t trap_cr2, trap_frame;
struct probe probe;

uint64_t gdt[GDT_ENTRIES] __attribute__((aligned(4096))) = {
    [KERNEL_CS / 8] = DESC_FLAT | DESC_ACCESS(0x9b) | DESC_L,
    [KERNEL_DS / 8] = DESC_FLAT | DESC_ACCESS(0x93) | DESC_D,
    [USER_CS32 / 8] = DESC_FLAT | DESC_ACCESS(0xfb) | DESC_D,
    [USER_DS / 8] = DESC_FLAT | DESC_ACCESS(0xf3) | DESC_D,
    [USER_CS / 8] = DESC_FLAT | DESC_ACCESS(0xfb) | DESC_L,
};
uint64_t idt[256][2] __attribute__((aligned(4096)));
struct tss tss;
char ist_stack[8][4096] __attribute__((aligned(4096)));

static trap_handler handlers[256];
extern const char trap_stubs[], user_back[], syscall_entry[], syscall32_entry[];
extern uint64_t user_saved_rsp;

/* ---- expectations ---- */

void expect_event(const char *file, int line, unsigned vector, uint64_t error, uint64_t rip,
                  bool fault)
{
    if (trap.vector != vector) {
        check_failed(file, line, "vector", trap.vector, vector);
        if (trap.vector != NO_TRAP) {
            print("    error ");
            print_hex(trap.error);
            print(" rip ");
            print_hex(trap.rip);
            print(" cr2 ");
            print_hex(trap_cr2);
            print("\n");
        }
        return;
    }
    if (trap.error != error)
        check_failed(file, line, "error code", trap.error, error);
    if (trap.rip != rip)
        check_failed(file, line, "pushed RIP", trap.rip, rip);
    if (!(trap.rflags & RFLAGS_RF) != !fault)
        check_failed(file, line, "pushed RFLAGS (RF)", trap.rflags, trap.rflags ^ RFLAGS_RF);
}

void expect_pf(const char *file, int line, uint64_t error, uint64_t cr2, uint64_t rip)
{
    expect_event(file, line, VEC_PF, error, rip, true);
    if (trap.vector == VEC_PF && trap_cr2 != cr2)
        check_failed(file, line, "CR2", trap_cr2, cr2);
}

/* ---- events ---- */

void on_vector(unsigned vector, trap_handler fn)
{
    handlers[vector] = fn;
}

__attribute__((noreturn)) static void unexpected(const struct regs *r)
{
    print("unexpected vector ");
    print_dec(r->vector);
    print(" error ");
    print_hex(r->error);
    print(" at ");
    print_hex(r->cs);
    print(":");
    print_hex(r->rip);
    print(" rsp ");
    print_hex(r->rsp);
    print(" cr2 ");
    print_hex(read_cr2());
    print("\n");
    check_failed("trap", 0, "unexpected event", 0, 0);
    guest_finish();
}

/* Go on in the kernel at rip, rsp instead. */
static void redirect(struct regs *r, uint64_t rip, uint64_t rsp)
{
    r->rip = rip;
    r->rsp = rsp;
    r->cs = KERNEL_CS;
    r->ss = KERNEL_DS;
    r->rflags = RFLAGS_FIXED;
}

/** Called by trap.S with the frame, which it may change. */
void trap_entry(struct regs *r);
void trap_entry(struct regs *r)
{
    if (r->vector < 256 && handlers[r->vector]) {
        handlers[r->vector](r);
    } else if ((r->cs & 3) == 3) {
        user = *r;
        user_cr2 = read_cr2();
        trap = *r;
        trap_cr2 = user_cr2;
        trap_frame = (uint64_t)r;
        redirect(r, (uint64_t)user_back, user_saved_rsp);
    } else if (probe.resume) {
        trap = *r;
        trap_cr2 = read_cr2();
        trap_frame = (uint64_t)r;
        redirect(r, probe.resume, probe.rsp);
    } else {
        unexpected(r);
    }
}

/* ---- tables ---- */

void set_gate_raw(unsigned vector, uint16_t sel, uint64_t target, unsigned access, unsigned ist)
{
    idt[vector][0] = (target & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 |
                     (uint64_t)access << 40 | (target >> 16 & 0xffff) << 48;
    idt[vector][1] = target >> 32;
}

void set_gate(unsigned vector, unsigned type, unsigned dpl, unsigned ist)
{
    set_gate_raw(vector, KERNEL_CS, (uint64_t)trap_stubs + 16 * vector, 0x80 | dpl << 5 | type,
                 ist);
}

void set_gdt(uint16_t sel, uint64_t descriptor)
{
    *(volatile uint64_t *)&gdt[sel / 8] = descriptor;
}

static void load_tables(void)
{
    struct table_pointer g = {sizeof(gdt) - 1, (uint64_t)gdt}, i = {sizeof(idt) - 1, (uint64_t)idt};
    uint64_t base = (uint64_t)&tss;
    gdt[TSS_SEL / 8] =
        (sizeof(tss) - 1) | (base & 0xffffff) << 16 | DESC_ACCESS(0x89) | (base >> 24 & 0xff) << 56;
    gdt[TSS_SEL / 8 + 1] = base >> 32;
    for (unsigned v = 0; v < 256; v++)
        set_gate(v, GATE_INTERRUPT, 0, 0);
    for (unsigned n = 1; n <= 7; n++)
        tss.ist[n - 1] = (uint64_t)ist_stack[n] + sizeof(ist_stack[n]);
    tss.rsp[0] = (uint64_t)ist_stack[0] + sizeof(ist_stack[0]);
    tss.iomap = sizeof(tss);
    set_gate(VEC_DF, GATE_INTERRUPT, 0, 1);
    asm volatile("lgdt %0; lidt %1; ltr %w2" : : "m"(g), "m"(i), "r"(TSS_SEL) : "memory");
}

/** Called by start.S. */
void guest_start(void);
void guest_start(void)
{
    load_tables();
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE | EFER_NX);
    wrmsr(MSR_STAR, (uint64_t)KERNEL_CS << 32 | (uint64_t)USER_CS32 << 48);
    wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
    wrmsr(MSR_CSTAR, (uint64_t)syscall32_entry);
    wrmsr(MSR_SFMASK, RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC);
    paging_start();
    user_start();
    guest_main();
    guest_finish();
}
