/* Operands that cross pages: right values when both pages are there, a fault with CR2 in the
 * missing page and no part written when one is not. Every place and pair of places, plain and
 * locked, small and 64 bytes wide. SDM 3 §8.1.1, §4.7 (CR2). */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_load, "mov (%rdi), %rax; syscall");
USER_CODE(user_store, "mov %rsi, (%rdi); syscall");
USER_CODE(user_sse_store, "movdqu %xmm0, (%rdi); syscall");

static const uint64_t places[] = {SPARE_HIGH, SPARE_LOW, SPARE_FAR};

static void second(uint64_t at, uint64_t keep)
{
    volatile uint64_t *entry = pte(at + KB4, 1);
    *entry = (*entry & PTE_ADDR) | keep;
    invlpg(at + KB4);
}

static void first(uint64_t at, uint64_t keep)
{
    volatile uint64_t *entry = pte(at, 1);
    *entry = (*entry & PTE_ADDR) | keep;
    invlpg(at);
}

#define PATTERN 0x0807060504030201ull

static void plain(uint64_t at, uint64_t rights)
{
    for (unsigned n = 1; n < 8; n++) {
        uint64_t va = at + KB4 - n, value;
        poke64(va, PATTERN);
        CHECK_EQ(peek64(va), PATTERN);
        CHECK_EQ(*(uint8_t *)(at + KB4 - 1), (PATTERN >> (8 * (n - 1))) & 0xff);
        CHECK_EQ(*(uint8_t *)(at + KB4), (PATTERN >> (8 * n)) & 0xff);
        asm volatile("addq $1, (%0)" : : "r"(va) : "memory");
        CHECK_EQ(peek64(va), PATTERN + 1);
        asm volatile("lock addq $1, (%0)" : : "r"(va) : "memory");
        CHECK_EQ(peek64(va), PATTERN + 2);
        asm volatile("lock xaddq %0, (%1)" : "=r"(value) : "r"(va), "0"(5ull) : "memory");
        CHECK_EQ(value, PATTERN + 2);
        CHECK_EQ(peek64(va), PATTERN + 7);
        poke64(va, PATTERN);

        second(at, 0);
        TRY_IN("cmpq $0, (%0)", "r"(va));
        EXPECT_PF(0, at + KB4);
        TRY_IN("movq $-1, (%0)", "r"(va));
        EXPECT_PF(PF_W, at + KB4);
        TRY_IN("addq $1, (%0)", "r"(va));
        CHECK_EQ(trap.vector, VEC_PF);
        CHECK_EQ(trap_cr2, at + KB4);
        TRY_IN("lock addq $1, (%0)", "r"(va));
        CHECK_EQ(trap.vector, VEC_PF);
        CHECK_EQ(trap_cr2, at + KB4);
        second(at, rights & ~PTE_W);
        TRY_IN("movq $-1, (%0)", "r"(va));
        EXPECT_PF(PF_P | PF_W, at + KB4);
        TRY_IN("xchgq %%rax, (%0)", "r"(va), "a"(-1ll));
        EXPECT_PF(PF_P | PF_W, at + KB4);
        second(at, rights);
        CHECK_EQ(peek64(va), PATTERN);
        first(at, 0);
        TRY_IN("movq $-1, (%0)", "r"(va));
        EXPECT_PF(PF_W, va);
        first(at, rights);
        CHECK_EQ(peek64(va), PATTERN);
    }
}

/* A write that faulted somewhere in the second page: in which order long images are written is the
 * processor's affair. */
static void in_second(uint64_t at)
{
    CHECK_EQ(trap.vector, VEC_PF);
    CHECK_EQ(trap.error, PF_W);
    CHECK_EQ(trap.rip, probe.start);
    CHECK_EQ(trap_cr2 & ~(KB4 - 1), at + KB4);
}

static void wide(uint64_t at, uint64_t rights)
{
    static uint8_t zero[16];
    uint64_t va = at + KB4 - 7;
    memset((void *)(at + KB4 - 32), 0x66, 64);
    asm volatile("movdqu %0, %%xmm0; movdqu %%xmm0, (%1); movdqu (%1), %%xmm1"
                 :
                 : "m"(zero), "r"(va)
                 : "memory");
    CHECK_EQ(peek64(va), 0);
    CHECK_EQ(peek64(va + 8), 0);
    CHECK_EQ(*(uint8_t *)(va + 16), 0x66);
    memset((void *)(at + KB4 - 32), 0x66, 64);
    second(at, 0);
    TRY_IN("movdqu %%xmm0, (%0)", "r"(va));
    EXPECT_PF(PF_W, at + KB4);
    TRY_IN("fnsave (%0)", "r"(at + KB4 - 50));
    in_second(at);
    second(at, rights);
    CHECK_EQ(*(uint8_t *)va, 0x66);
    TRY_IN("fxsave (%0)", "r"(at + KB4 - 256));
    EXPECT_NOTHING();
    second(at, 0);
    TRY_IN("fxsave (%0)", "r"(at + KB4 - 256));
    in_second(at);
    second(at, rights);
    TRY_IN("cmpxchg16b (%0)", "r"(at + KB4 - 8));
    EXPECT_FAULT(VEC_GP, 0);
}

static void stack(uint64_t at, uint64_t rights)
{
    uint64_t value;
    CASE("push, pop, call, enter across pages and into a missing page");
    asm volatile("mov %%rsp, %%rbx; mov %1, %%rsp; push %2; pop %0; mov %%rbx, %%rsp"
                 : "=&r"(value)
                 : "r"(at + KB4 + 4), "r"(PATTERN)
                 : "rbx", "memory");
    CHECK_EQ(value, PATTERN);
    CHECK_EQ(peek64(at + KB4 - 4), PATTERN);
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 3);
    first(at, 0);
    TRY_IN("mov %0, %%rsp; push $7", "r"(at + KB4 + 4));
    expect_pf(__FILE__, __LINE__, PF_W, at + KB4 - 4, probe.end - 2);
    CHECK_EQ(trap.rsp, at + KB4 + 4);
    TRY_IN("mov %0, %%rsp; call 1f; 1:", "r"(at + KB4));
    expect_pf(__FILE__, __LINE__, PF_W, at + KB4 - 8, probe.end - 5);
    CHECK_EQ(trap.rsp, at + KB4);
    TRY_IN("mov %0, %%rsp; pop %%rax", "r"(at + KB4 - 8));
    CHECK_EQ(trap.vector, VEC_PF);
    CHECK_EQ(trap_cr2, at + KB4 - 8);
    CHECK_EQ(trap.rsp, at + KB4 - 8);
    TRY_IN("mov %0, %%rsp; ret", "r"(at + KB4 - 8));
    expect_pf(__FILE__, __LINE__, 0, at + KB4 - 8, probe.end - 1);
    CHECK_EQ(trap.rsp, at + KB4 - 8);
    TRY_IN("mov %0, %%rsp; pushfq", "r"(at + KB4 + 2));
    expect_pf(__FILE__, __LINE__, PF_W, at + KB4 - 6, probe.end - 1);
    TRY_IN("mov %0, %%rsp; popfq", "r"(at + KB4 - 2));
    expect_pf(__FILE__, __LINE__, 0, at + KB4 - 2, probe.end - 1);
    first(at, rights);
    set_gate(VEC_PF, GATE_INTERRUPT, 0, 0);
}

static void user_too(uint64_t at)
{
    CASE("user code");
    poke64(at + KB4 - 3, PATTERN);
    user_call(user_load, at + KB4 - 3, 0, 0);
    EXPECT_SYSCALL(user_load_end);
    CHECK_EQ(user.rax, PATTERN);
    second(at, 0);
    user_call(user_load, at + KB4 - 3, 0, 0);
    EXPECT_USER_PF(PF_U, at + KB4, user_load);
    user_call(user_store, at + KB4 - 3, 0, 0);
    EXPECT_USER_PF(PF_U | PF_W, at + KB4, user_store);
    user_call(user_sse_store, at + KB4 - 3, 0, 0);
    EXPECT_USER_PF(PF_U | PF_W, at + KB4, user_sse_store);
    second(at, PTE_USER);
    CHECK_EQ(peek64(at + KB4 - 3), PATTERN);
    user_resume();
    EXPECT_SYSCALL(user_sse_store_end);
}

/* An instruction whose second page is missing: the fetch faults there. */
static void fetch(uint64_t at, uint64_t rights)
{
    CASE("an instruction that crosses into a missing page");
    uint8_t *code = (uint8_t *)(at + KB4 - 2);
    code[0] = 0xb8; /* mov eax, 0x11; ret */
    code[1] = 0x11;
    code[2] = code[3] = code[4] = 0;
    code[5] = 0xc3;
    second(at, 0);
    TRY_IN("call *%0", "r"(code));
    expect_pf(__FILE__, __LINE__, PF_I, at + KB4, (uint64_t)code);
    second(at, rights);
    TRY_IN("call *%0", "r"(code));
    EXPECT_NOTHING();
}

void guest_main(void)
{
    write_cr0(read_cr0() | CR0_WP);
    write_cr4(read_cr4() | CR4_OSFXSR);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t frames = pages_alloc(3, KB4), rights = i ? PTE_USER : PTE_KERNEL;
        map(places[i], frames, rights);
        map(places[i] + KB4, frames + 2 * KB4, rights);
        CASE("integer operands");
        plain(places[i], rights);
        CASE("wide operands");
        wide(places[i], rights);
        stack(places[i], rights);
        fetch(places[i], rights);
        if (i)
            user_too(places[i]);
    }
    CASE("an operand that starts in the user half and ends outside: #GP or #SS");
    map(0x7ffffffff000, page_alloc(), PTE_USER);
    TRY_IN("cmpq $0, (%0)", "r"(0x7ffffffffffc));
    EXPECT_FAULT(VEC_GP, 0);
    TRY_IN("cmpl $0, (%0)", "r"(0x7ffffffffffc));
    EXPECT_NOTHING();
}
