/* When a changed page-table entry must be seen, and when the old translation may still be used. SDM
 * 3 §4.10 "Caching Translation Information": §4.10.4.1 "Operations that Invalidate TLBs and
 * Paging-Structure Caches", §4.10.4.3 "Optional Invalidation". */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_load, "mov (%rdi), %rax; syscall");
USER_CODE(user_store, "mov %rsi, (%rdi); syscall");
USER_CODE(user_load_other, "mov (%rdi), %rbx; mov (%rsi), %rax; syscall");

static uint64_t a, b; /* two frames that hold 0xa and 0xb */

static uint64_t load_user(uint64_t va)
{
    user_call(user_load, va, 0, 0);
    EXPECT_SYSCALL(user_load_end);
    return user.rax;
}

typedef uint64_t (*loader)(uint64_t va);

/* The ways to flush one page or more. */
static void by_invlpg(uint64_t va)
{
    invlpg(va);
}
static void by_invlpg_odd(uint64_t va)
{
    invlpg(va + 0xabc);
}
static void by_cr3(uint64_t va)
{
    (void)va;
    write_cr3(read_cr3());
}
static void by_pge(uint64_t va)
{
    (void)va;
    write_cr4(read_cr4() ^ CR4_PGE);
    write_cr4(read_cr4() ^ CR4_PGE);
}
static void by_other_root(uint64_t va)
{
    uint64_t cr3 = read_cr3();
    (void)va;
    write_cr3(root_clone());
    write_cr3(cr3);
}
static void invpcid(uint64_t type, uint64_t pcid, uint64_t va)
{
    struct {
        uint64_t pcid, va;
    } d = {pcid, va};
    asm volatile("invpcid %0, %1" : : "m"(d), "r"(type) : "memory");
}
static void by_invpcid_page(uint64_t va)
{
    invpcid(0, 0, va);
}
static void by_invpcid_one(uint64_t va)
{
    (void)va;
    invpcid(1, 0, 0);
}
static void by_invpcid_all(uint64_t va)
{
    (void)va;
    invpcid(2, 0, 0);
}
static void by_invpcid_local(uint64_t va)
{
    (void)va;
    invpcid(3, 0, 0);
}

static void (*const flushes[])(uint64_t) = {by_invlpg,      by_invlpg_odd,  by_cr3,
                                            by_pge,         by_other_root,  by_invpcid_page,
                                            by_invpcid_one, by_invpcid_all, by_invpcid_local};

static void remap(uint64_t va, loader load)
{
    for (unsigned i = 0; i < ARRAY_LEN(flushes); i++) {
        map(va, a, PTE_USER);
        CHECK_EQ(load(va), 0xa);
        *pte(va, 1) = b | PTE_USER;
        uint64_t stale = load(va);
        CHECK(stale == 0xa || stale == 0xb);
        flushes[i](va);
        CHECK_EQ(load(va), 0xb);
        *pte(va, 1) = a | PTE_USER;
        flushes[i](va);
        CHECK_EQ(load(va), 0xa);
    }
}

static void appear(uint64_t va, loader load)
{
    for (unsigned i = 0; i < 3; i++) {
        unmap(va);
        TRY_IN("cmpb $0, (%0)", "r"(va));
        EXPECT_PF(0, va);
        user_call(user_load, va, 0, 0);
        EXPECT_USER_PF(PF_U, va, user_load);
        *pte(va, 1) = (i & 1 ? a : b) | PTE_USER; /* no flush is needed */
        CHECK_EQ(load(va), i & 1 ? 0xa : 0xb);
    }
}

static void upgrade(uint64_t va, bool is_user)
{
    map(va, a, PTE_P | PTE_U);
    if (is_user) {
        user_call(user_store, va, 0xa, 0);
        EXPECT_USER_PF(PF_P | PF_W | PF_U, va, user_store);
        *pte(va, 1) |=
            PTE_W; /* a stale entry may still fault once, and that fault invalidates it */
        user_call(user_store, va, 0xa, 0);
        if (trap.vector == VEC_PF)
            user_resume();
        EXPECT_SYSCALL(user_store_end);
    } else {
        TRY_IN("movq $0xa, (%0)", "r"(va));
        EXPECT_PF(PF_P | PF_W, va);
        *pte(va, 1) |= PTE_W;
        TRY_IN("movq $0xa, (%0)", "r"(va));
        EXPECT_NOTHING();
    }
    CHECK_EQ(*pte(va, 1) & (PTE_A | PTE_D), PTE_A | PTE_D);
}

static void downgrade(uint64_t va)
{
    map(va, a, PTE_USER);
    user_call(user_store, va, 0xa, 0);
    EXPECT_SYSCALL(user_store_end);
    TRY_IN("movq $0xa, (%0)", "r"(va));
    EXPECT_NOTHING();
    *pte(va, 1) &= ~PTE_W;
    invlpg(va);
    user_call(user_store, va, 0xa, 0);
    EXPECT_USER_PF(PF_P | PF_W | PF_U, va, user_store);
    TRY_IN("movq $0xa, (%0)", "r"(va));
    EXPECT_PF(PF_P | PF_W, va);
    *pte(va, 1) &= ~PTE_P;
    invlpg(va);
    user_call(user_load, va, 0xa, 0);
    EXPECT_USER_PF(PF_U, va, user_load);
    TRY_IN("cmpb $0, (%0)", "r"(va));
    EXPECT_PF(0, va);
}

static void accessed_dirty(uint64_t va, bool is_user)
{
    map(va, a, PTE_USER);
    CHECK_EQ(*pte(va, 1) & (PTE_A | PTE_D), 0);
    if (is_user)
        load_user(va);
    else
        peek64(va);
    CHECK_EQ(*pte(va, 1) & (PTE_A | PTE_D), PTE_A);
    if (is_user)
        user_call(user_store, va, 0xa, 0);
    else
        poke64(va, 0xa);
    CHECK_EQ(*pte(va, 1) & (PTE_A | PTE_D), PTE_A | PTE_D);
    *pte(va, 1) &= ~PTE_D;
    invlpg(va);
    if (is_user)
        load_user(va);
    else
        peek64(va);
    CHECK_EQ(*pte(va, 1) & (PTE_A | PTE_D), PTE_A);
    if (is_user)
        user_call(user_store, va, 0xa, 0);
    else
        poke64(va, 0xa);
    CHECK_EQ(*pte(va, 1) & (PTE_A | PTE_D), PTE_A | PTE_D);
    *pte(va, 1) &= ~(PTE_A | PTE_D);
    write_cr3(read_cr3());
    if (is_user)
        load_user(va);
    else
        peek64(va);
    CHECK_EQ(*pte(va, 1) & (PTE_A | PTE_D), PTE_A);
    CHECK_EQ(*pte(va, 2) & PTE_A, PTE_A);
    CHECK_EQ(*pte(va, 4) & PTE_A, PTE_A);
}

/* Changing a table above the leaf, then INVLPG or CR3. */
static void upper_tables(uint64_t va, loader load)
{
    uint64_t table = page_alloc();
    ((uint64_t *)va_of(table))[bits(va, 12, 9)] = b | PTE_USER;
    for (unsigned i = 0; i < 4; i++) {
        map(va, a, PTE_USER);
        CHECK_EQ(load(va), 0xa);
        volatile uint64_t *pde = pte(va, 2);
        uint64_t old = *pde;
        *pde = table | PTE_USER;
        if (i & 1)
            invlpg(va);
        else
            write_cr3(read_cr3());
        CHECK_EQ(load(va), 0xb);
        *pde = old;
        flushes[i](va);
        CHECK_EQ(load(va), 0xa);
    }
}

/* Many pages, every other changed, one flush. */
static void many(uint64_t va, loader load)
{
    for (unsigned i = 0; i < 64; i++)
        *pte(va + i * KB4, 1) = (i & 1 ? a : b) | PTE_USER;
    write_cr3(read_cr3());
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(load(va + i * KB4), i & 1 ? 0xa : 0xb);
    for (unsigned i = 0; i < 64; i += 3)
        *pte(va + i * KB4, 1) = (i & 1 ? b : a) | PTE_USER;
    write_cr3(read_cr3());
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(load(va + i * KB4), ((i & 1) ^ (i % 3 == 0)) ? 0xa : 0xb);
    for (unsigned i = 0; i < 64; i++)
        unmap(va + i * KB4);
}

static void region(const char *name, uint64_t va, loader load, bool is_user)
{
    CASE(name);
    remap(va, load);
    CASE("not-present to present");
    appear(va, load);
    CASE("more rights without a flush");
    upgrade(va, is_user);
    CASE("accessed and dirty");
    accessed_dirty(va, is_user);
    CASE("upper tables");
    upper_tables(va, load);
    CASE("many pages");
    many(va, load);
}

void guest_main(void)
{
    a = page_alloc();
    b = page_alloc();
    *(uint64_t *)va_of(a) = 0xa;
    *(uint64_t *)va_of(b) = 0xb;
    write_cr0(read_cr0() | CR0_WP);
    write_cr4(read_cr4() | CR4_PGE);
    region("kernel half", SPARE_HIGH + 0x5000, peek64, false);
    region("kernel's view of the user half, below 8 TB", SPARE_LOW + 0x5000, peek64, false);
    region("kernel's view of the user half, above 8 TB", SPARE_FAR + 0x5000, peek64, false);
    region("user code, below 8 TB", SPARE_LOW + 0x105000, load_user, true);
    region("user code, above 8 TB", SPARE_FAR + 0x105000, load_user, true);
    CASE("fewer rights");
    downgrade(SPARE_LOW);
    downgrade(SPARE_FAR);
    CASE("two mappings of one frame");
    map(SPARE_LOW, a, PTE_USER);
    map(SPARE_FAR, a, PTE_USER);
    map(SPARE_HIGH, a, PTE_KERNEL);
    poke64(SPARE_HIGH, 0x77);
    CHECK_EQ(load_user(SPARE_LOW), 0x77);
    poke64(SPARE_FAR, 0x78);
    CHECK_EQ(load_user(SPARE_LOW), 0x78);
    user_call(user_store, SPARE_FAR, 0x79, 0);
    CHECK_EQ(peek64(SPARE_HIGH), 0x79);
}
