/* A kernel that runs random bytes: four instructions at a time, single-stepped, every exception
 * caught, the registers pointing at RAM, at nothing and at random places. The machine may end by
 * something the bytes do; it may not hang or break. */
/* EXPECT: any */
#include "lib/hostile.h"
#include "lib/paging.h"

#ifndef SKIP
#define SKIP 15u /* another value makes another test of it */
#endif

static volatile unsigned steps;

static void on_step(struct regs *r)
{
    if (++steps < 4)
        return;
    trap = *r;
    r->rip = probe.resume;
    r->rsp = probe.rsp;
    r->cs = KERNEL_CS;
    r->ss = KERNEL_DS;
    r->rflags = RFLAGS_FIXED;
}

/* HLT would wait for good; port writes may end the machine, which would end the test. */
static bool allowed(uint8_t byte)
{
    return byte != 0xf4 && !(byte >= 0xe4 && byte <= 0xe7) && !(byte >= 0xec && byte <= 0xef) &&
           !(byte >= 0x6c && byte <= 0x6f);
}

void guest_main(void)
{
    for (unsigned i = 0; i / 1000 < SKIP; i++)
        hostile_random();
    uint64_t frame = page_alloc(), data = page_alloc();
    map(SPARE_HIGH, frame, PTE_KERNEL);
    map(SPARE_HIGH + KB4, data, PTE_KERNEL);
    for (unsigned v = 0; v < 256; v++)
        set_gate(v, GATE_INTERRUPT, 0, v == VEC_DF ? 1 : 3);
    on_vector(VEC_DB, on_step);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    uint64_t cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t *code = va_of(frame + (round % 64) * 60);
        for (unsigned i = 0; i < 60; i++) {
            do
                code[i] = (uint8_t)hostile_random();
            while (!allowed(code[i]));
        }
        if (round & 1)
            code[0] = 0x0f;
        else if (round & 2)
            code[0] = (uint8_t)(0x40 | (code[0] & 15));
        steps = 0;
        uint64_t at = SPARE_HIGH + (round % 64) * 60,
                 rdi = round & 8 ? SPARE_HIGH + KB4 + 0x800 : hostile_random();
        asm volatile(TRY_BEGIN "mov %0, %%r15; mov %1, %%rdi; mov %%rdi, %%rsi; mov %%rdi, %%rax; "
                               "mov %%rdi, %%rbx; mov %%rdi, %%rbp; mov $3, %%ecx\n\t"
                               "xor %%edx, %%edx; mov %%rdi, %%r8; mov %%rdi, %%r9; pushq $0x102; "
                               "popfq; jmp *%%r15" TRY_END
                     :
                     : "r"(at), "m"(rdi)
                     : "memory", "cc", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10",
                       "r11", "r12", "r13", "r14", "r15");
        asm volatile("cld; mov %0, %%dr7" : : "r"(0x400ull));
        if (read_cr0() != cr0)
            write_cr0(cr0);
        if (read_cr4() != cr4)
            write_cr4(cr4);
        if (read_cr3() != cr3)
            write_cr3(cr3);
    }
    print("survived\n");
}
