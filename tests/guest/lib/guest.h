/* What every test guest starts with: one processor in 64-bit mode, CPL 0, interrupts off, own GDT,
 * IDT and page tables; then guest_main() of the guest's file. A guest is a list of cases:
 * CASE("what"), something that happens, and what must be true afterwards.
 *
 * The guest ends through port 0xf4 with 0, or with the number of the first failed case; each failed
 * check is a line on port 0xe9. Port numbers: dev/debugport.h. How a guest is run and what its file
 * may say about that: tests/guest/run.
 */
#ifndef GUEST_H
#define GUEST_H

#include "base/types.h"
#include "x86/arch.h"

#define MSR_X2APIC_EOI 0x80bu

/* Put GUEST_LOW; at file scope: the kernel then runs identity-mapped at its physical address. */
#define GUEST_LOW asm(".globl guest_low\n.set guest_low, 1")

void guest_main(void);

/* ---- reporting ---- */

void print(const char *text);
void print_hex(uint64_t value);
void print_dec(uint64_t value);

/** Begin the next case. */
void case_begin(const char *what);
#define CASE(what) case_begin(what)

/** A check of the current case has failed: say so, with two values if `want` differs from `got`. */
void check_failed(const char *file, int line, const char *what, uint64_t got, uint64_t want);
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            check_failed(__FILE__, __LINE__, #cond, 0, 0);                                         \
    } while (0)
#define CHECK_EQ(got, want)                                                                        \
    do {                                                                                           \
        uint64_t got_ = (uint64_t)(got), want_ = (uint64_t)(want);                                 \
        if (got_ != want_)                                                                         \
            check_failed(__FILE__, __LINE__, #got, got_, want_);                                   \
    } while (0)

/** End the guest now with this exit status. */
__attribute__((noreturn)) void guest_exit(unsigned status);
/** End with the status the cases so far have earned; the same as returning from guest_main. */
__attribute__((noreturn)) void guest_finish(void);

/* ---- the processor ---- */

static inline void outb(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline void outl(uint16_t port, uint32_t value)
{
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
    uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return lo | (uint64_t)hi << 32;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    asm volatile("wrmsr"
                 :
                 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                 : "memory");
}

static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    asm volatile("cpuid"
                 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
                 : "a"(leaf), "c"(subleaf));
}

static inline uint64_t rdtsc(void)
{
    uint32_t lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return lo | (uint64_t)hi << 32;
}

#define READ_WRITE_CR(n)                                                                           \
    static inline uint64_t read_cr##n(void)                                                        \
    {                                                                                              \
        uint64_t value;                                                                            \
        asm volatile("mov %%cr" #n ", %0" : "=r"(value) : : "memory");                             \
        return value;                                                                              \
    }                                                                                              \
    static inline void write_cr##n(uint64_t value)                                                 \
    {                                                                                              \
        asm volatile("mov %0, %%cr" #n : : "r"(value) : "memory");                                 \
    }
READ_WRITE_CR(0)
READ_WRITE_CR(2)
READ_WRITE_CR(3)
READ_WRITE_CR(4)
READ_WRITE_CR(8)

static inline uint64_t read_flags(void)
{
    uint64_t flags;
    asm volatile("pushfq; popq %0" : "=r"(flags) : : "memory");
    return flags;
}

static inline void write_flags(uint64_t flags)
{
    asm volatile("pushq %0; popfq" : : "r"(flags) : "memory", "cc");
}
static inline void cli(void)
{
    asm volatile("cli" : : : "memory");
}
static inline void sti(void)
{
    asm volatile("sti" : : : "memory");
}
static inline void sti_nop(void)
{
    asm volatile("sti; nop" : : : "memory");
}
static inline void invlpg(uint64_t gva)
{
    asm volatile("invlpg (%0)" : : "r"(gva) : "memory");
}

static inline uint64_t peek64(uint64_t gva)
{
    return *(volatile uint64_t *)gva;
}
static inline void poke64(uint64_t gva, uint64_t value)
{
    *(volatile uint64_t *)gva = value;
}

/* ---- plain memory ---- */

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#endif
