/* Which accesses a page-table entry allows and what #PF says of those it does not: every P, W, U,
 * XD against read, write, fetch, from the kernel and from user code, with CR0.WP and CR4.SMEP. SDM
 * 3 §4.6 "Access Rights", §4.7 "Page-Fault Exceptions", §4.8 "Accessed and Dirty Flags". */
#include "lib/paging.h"
#include "lib/user.h"

USER_CODE(user_read, "movb (%rdi), %al; syscall");
USER_CODE(user_write, "movb %sil, (%rdi); syscall");
USER_CODE(user_jump, "jmp *%rdi");

enum access { READ, WRITE, FETCH };
static uint64_t frame;

/* The page fault that this access to a page with these rights must raise, or 0. */
static uint64_t expected(uint64_t flags, enum access access, bool from_user)
{
    uint64_t error =
        (access == WRITE ? PF_W : 0) | (access == FETCH ? PF_I : 0) | (from_user ? PF_U : 0) | PF_P;
    if (!(flags & PTE_P))
        return (error & ~(uint64_t)PF_P) | 0x8000; /* may be 0: marked */
    bool bad = access == FETCH && (flags & PTE_NX);
    if (from_user)
        bad |= !(flags & PTE_U) || (access == WRITE && !(flags & PTE_W));
    else
        bad |= (access == WRITE && !(flags & PTE_W) && (read_cr0() & CR0_WP)) ||
               (access == FETCH && (flags & PTE_U) && (read_cr4() & CR4_SMEP));
    return bad ? error | 0x8000 : 0;
}

static void access_kernel(uint64_t va, enum access access)
{
    if (access == READ)
        TRY_IN("cmpb $0, (%0)", "r"(va));
    else if (access == WRITE)
        TRY_IN("movb $0xc3, (%0)", "r"(va));
    else
        TRY_IN("call *%0", "r"(va));
}

static void check_one(uint64_t va, uint64_t flags, enum access access, bool from_user)
{
    uint64_t offset = from_user ? 16 : 0, want = expected(flags, access, from_user);
    map(va, frame, flags);
    const char *code = access == READ ? user_read : access == WRITE ? user_write : user_jump;
    if (from_user)
        user_call(code, va + offset, 0x0f, 0);
    else
        access_kernel(va, access);
    uint64_t entry = *pte(va, 1);
    bool right = trap.vector == (want ? VEC_PF : from_user ? VEC_SYSCALL : NO_TRAP);
    if (!right) {
        print(from_user ? "user " : "kernel ");
        print(access == READ ? "read" : access == WRITE ? "write" : "fetch");
        print(", entry flags ");
        print_hex(flags);
        print(read_cr0() & CR0_WP ? ", WP" : "");
        print(read_cr4() & CR4_SMEP ? ", SMEP\n" : "\n");
    }
    if (!want) {
        uint64_t used = PTE_A | (access == WRITE ? PTE_D : 0);
        CHECK_EQ(trap.vector, from_user ? VEC_SYSCALL : NO_TRAP);
        CHECK_EQ(entry, frame | flags | used);
    } else {
        uint64_t rip = access == FETCH ? va + offset : from_user ? (uint64_t)code : probe.start;
        expect_pf(__FILE__, __LINE__, want & 0x7fff, va + offset, rip);
        CHECK_EQ(entry & PTE_D, 0);
    }
}

static void all_rights(uint64_t va, bool user_too)
{
    for (unsigned i = 0; i < 16; i++) {
        uint64_t flags =
            (i & 1 ? PTE_P : 0) | (i & 2 ? PTE_W : 0) | (i & 4 ? PTE_U : 0) | (i & 8 ? PTE_NX : 0);
        for (enum access a = READ; a <= FETCH; a++) {
            check_one(va, flags, a, false);
            if (user_too || !(flags & PTE_U) ||
                !(flags & PTE_P)) /* docs/limits.md: no user pages in the kernel half */
                check_one(va, flags, a, true);
        }
    }
}

static void every_mode(uint64_t va, bool user_too)
{
    write_cr0(read_cr0() | CR0_WP);
    all_rights(va, user_too);
    write_cr0(read_cr0() & ~CR0_WP);
    all_rights(va, user_too);
    write_cr0(read_cr0() | CR0_WP);
    write_cr4(read_cr4() | CR4_SMEP);
    all_rights(va, user_too);
    write_cr4(read_cr4() & ~CR4_SMEP);
}

/* Rights are those of all levels together. */
static void upper_levels(uint64_t va)
{
    map(va, frame, PTE_USER);
    for (unsigned level = 2; level <= 4; level++) {
        volatile uint64_t *entry = pte(va, level);
        uint64_t old = *entry;
        *entry = old & ~PTE_W;
        invlpg(va);
        access_kernel(va, WRITE);
        EXPECT_PF(PF_P | PF_W, va);
        user_call(user_write, va, 1, 0);
        EXPECT_USER_PF(PF_P | PF_W | PF_U, va, user_write);
        *entry = old & ~PTE_U;
        invlpg(va);
        user_call(user_read, va, 0, 0);
        EXPECT_USER_PF(PF_P | PF_U, va, user_read);
        *entry = old | PTE_NX;
        invlpg(va);
        access_kernel(va, FETCH);
        expect_pf(__FILE__, __LINE__, PF_P | PF_I, va, va);
        user_call(user_jump, va + 16, 0, 0);
        EXPECT_USER_PF(PF_P | PF_I | PF_U, va + 16, va + 16);
        *entry = old & ~PTE_P;
        invlpg(va);
        access_kernel(va, WRITE);
        EXPECT_PF(PF_W, va);
        user_call(user_read, va, 0, 0);
        EXPECT_USER_PF(PF_U, va, user_read);
        *entry = old;
        invlpg(va);
        access_kernel(va, WRITE);
        EXPECT_NOTHING();
    }
}

static void reserved_bits(uint64_t va)
{
    uint32_t r[4];
    cpuid(0x80000008, 0, r);
    unsigned width = r[0] & 0xff;
    map(va, frame, PTE_USER);
    volatile uint64_t *entry = pte(va, 1);
    uint64_t old = *entry;
    for (unsigned b = width; b < 52; b += 51 - width ? 51 - width : 1) {
        *entry = old | 1ull << b;
        invlpg(va);
        access_kernel(va, READ);
        EXPECT_PF(PF_P | PF_RSVD, va);
        user_call(user_write, va, 0, 0);
        EXPECT_USER_PF(PF_P | PF_RSVD | PF_W | PF_U, va, user_write);
    }
    *entry = old;
    for (unsigned level = 2; level <= 4; level++) {
        volatile uint64_t *upper = pte(va, level);
        uint64_t was = *upper;
        *upper = was | (level == 4 ? PTE_PS : PTE_PS | 1ull << 14);
        invlpg(va);
        access_kernel(va, WRITE);
        EXPECT_PF(PF_P | PF_RSVD | PF_W, va);
        *upper = was;
        invlpg(va);
    }
}

static void nx_off(uint64_t va)
{
    map(va, frame, PTE_USER | PTE_NX);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NX);
    access_kernel(va, READ);
    EXPECT_PF(PF_P | PF_RSVD, va);
    user_call(user_read, va, 0, 0);
    EXPECT_USER_PF(PF_P | PF_RSVD | PF_U, va, user_read);
    unmap(va);
    user_call(user_jump, va, 0, 0); /* without XD and SMEP a fetch is not told from a read */
    EXPECT_USER_PF(PF_U, va, va);
    access_kernel(va, FETCH);
    expect_pf(__FILE__, __LINE__, 0, va, va);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NX);
}

void guest_main(void)
{
    frame = page_alloc();
    uint8_t *bytes = va_of(frame);
    bytes[0] = 0xc3;                    /* ret */
    bytes[16] = 0x0f, bytes[17] = 0x05; /* syscall */
    CASE("kernel half");
    every_mode(SPARE_HIGH, false);
    CASE("user half, below 8 TB");
    every_mode(SPARE_LOW, true);
    CASE("user half, above 8 TB");
    every_mode(SPARE_FAR, true);
    CASE("rights of upper levels");
    upper_levels(SPARE_LOW);
    upper_levels(SPARE_FAR);
    CASE("reserved bits");
    reserved_bits(SPARE_HIGH);
    reserved_bits(SPARE_LOW);
    reserved_bits(SPARE_FAR);
    CASE("EFER.NXE clear: XD is reserved, I is never reported");
    nx_off(SPARE_LOW);
    nx_off(SPARE_FAR);
}
