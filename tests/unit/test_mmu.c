/* src/mmu: the page walk and guest-virtual accesses, held against SDM 3 "Paging" ch. 4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "fake_guest.h"

#define PAGE 0x40000000ull      /* a 4 KB page of its own tables: gva */
#define PAGE_GPA 0x500000ull    /* and where it lies */
#define MB2 (2ull << 20)
#define GB1 (1ull << 30)

static struct vcpu *v;
static struct mmu_xlat x;
static struct vcpu_exception ex;

static int setup(void **state)
{
    (void)state;
    v = fake_guest_create();
    fake_guest_map(v, PAGE, PAGE_GPA, PAGE_SIZE, PTE_W | PTE_U);
    memset(&x, 0, sizeof(x));
    memset(&ex, 0, sizeof(ex));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_guest_destroy(v);
    return 0;
}

static void expect_pf(uint64_t gva, unsigned access, uint32_t error)
{
    assert_false(mmu_walk(v, gva, access, &x, &ex));
    assert_int_equal(ex.vector, VEC_PF);
    assert_true(ex.has_error);
    assert_int_equal(ex.error, error);
    assert_int_equal(ex.cr2, gva);
}

/* ---- translation ---- */

static void test_page_sizes(void **state)
{
    (void)state;
    assert_true(mmu_walk(v, PAGE + 0x123, MMU_READ, &x, &ex));
    assert_int_equal(x.gpa.v, PAGE_GPA + 0x123);
    assert_int_equal(x.page_size, PAGE_SIZE);
    assert_ptr_equal(fake_guest_ram(v, x.pte_gpa.v), fake_guest_entry(v, PAGE, 0));
    assert_int_equal(x.pte, *fake_guest_entry(v, PAGE, 0));

    uint64_t large = 0x80000000ull + 3 * MB2;
    fake_guest_map(v, large, 2 * MB2, MB2, PTE_W | PTE_G | 1ull << 12 /* PAT */);
    assert_true(mmu_walk(v, large + 0x12345, MMU_READ, &x, &ex));
    assert_int_equal(x.gpa.v, 2 * MB2 + 0x12345);
    assert_int_equal(x.page_size, MB2);
    assert_ptr_equal(fake_guest_ram(v, x.pte_gpa.v), fake_guest_entry(v, large, 1));
    assert_true(x.global);
    assert_false(x.user);
    assert_true(x.writable);
    assert_true(x.exec);
    v->cr4 &= ~CR4_PGE;
    assert_true(mmu_walk(v, large, MMU_READ, &x, &ex));
    assert_false(x.global);

    fake_guest_map(v, 0xffffffffc0000000ull, 0, GB1, PTE_NX);
    assert_true(mmu_walk(v, 0xffffffffc0000000ull + 0xabcdef, MMU_READ, &x, &ex));
    assert_int_equal(x.gpa.v, 0xabcdef);
    assert_int_equal(x.page_size, GB1);
    assert_false(x.exec);
    assert_false(x.writable);
}

static void test_canonical(void **state)
{
    static const uint64_t bad[] = {0x0000800000000000, 0xffff7fffffffffff, 0x8000000000000000,
                                   0x0100000040000000};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(mmu_walk(v, bad[i], MMU_READ, &x, &ex));
        assert_int_equal(ex.vector, VEC_GP);
        assert_int_equal(ex.error, 0);
        assert_true(ex.has_error);
    }
    /* The last bytes of the lower half: the part beyond is not canonical. */
    uint8_t buf[8];
    fake_guest_map(v, 0x00007ffffffff000, PAGE_GPA, PAGE_SIZE, PTE_W);
    assert_true(mmu_read(v, 0x00007ffffffffff8, buf, 8, MMU_READ, &ex));
    assert_false(mmu_read(v, 0x00007ffffffffff9, buf, 8, MMU_READ, &ex));
    assert_int_equal(ex.vector, VEC_GP);
}

static void test_paging_off(void **state)
{
    (void)state;
    v->cr0 &= ~CR0_PG;
    v->cr3 = ~0ull;
    assert_true(mmu_walk(v, 0x12345678, MMU_WRITE | MMU_USER, &x, &ex));
    assert_int_equal(x.gpa.v, 0x12345678);
    assert_true(x.user && x.writable && x.exec && x.dirty);
}

/* ---- rights, exhaustively ---- */

struct rights_case {
    bool p, u, w, nx;             /* the leaf */
    bool user, write, fetch;      /* the access */
    bool wp, smep, smap, nxe, ac, implicit;
};

/* SDM 3 §4.6.1, sentence by sentence. */
static bool permitted(const struct rights_case *c)
{
    bool user_page = c->u;
    if (!c->user) {
        if (c->fetch) {
            if (user_page && c->smep)
                return false;
            return !(c->nxe && c->nx);
        }
        if (user_page && c->smap && (!c->ac || c->implicit))
            return false;
        if (c->write)
            return c->w || !c->wp;
        return true;
    }
    if (!user_page)
        return false;
    if (c->fetch)
        return !(c->nxe && c->nx);
    return !c->write || c->w;
}

static uint32_t expected_error(const struct rights_case *c, bool *fault)
{
    uint32_t error = (c->write ? 2 : 0) | (c->user ? 4 : 0);
    if (c->fetch && (c->nxe || c->smep))
        error |= 16;
    *fault = true;
    if (!c->p)
        return error;
    if (c->nx && !c->nxe)
        return error | 1 | 8;
    *fault = !permitted(c);
    return error | 1;
}

static void check_rights(const struct rights_case *c)
{
    uint64_t leaf = PAGE_GPA | (c->p ? PTE_P : 0) | (c->u ? PTE_U : 0) | (c->w ? PTE_W : 0) |
                    (c->nx ? PTE_NX : 0);
    unsigned access = (c->user ? MMU_USER : 0) | (c->write ? MMU_WRITE : 0) |
                      (c->fetch ? MMU_EXEC : 0) | (c->implicit ? MMU_IMPLICIT : 0);
    bool fault;
    uint32_t error = expected_error(c, &fault);

    *fake_guest_entry(v, PAGE, 0) = leaf;
    v->cr0 = c->wp ? v->cr0 | CR0_WP : v->cr0 & ~CR0_WP;
    v->cr4 = (v->cr4 & ~(CR4_SMEP | CR4_SMAP)) | (c->smep ? CR4_SMEP : 0) |
             (c->smap ? CR4_SMAP : 0);
    v->efer = c->nxe ? v->efer | EFER_NX : v->efer & ~EFER_NX;
    v->rflags = RFLAGS_FIXED | (c->ac ? RFLAGS_AC : 0);
    if (fault) {
        expect_pf(PAGE, access, error);
        assert_int_equal(*fake_guest_entry(v, PAGE, 0), leaf); /* no A, no D */
    } else {
        assert_true(mmu_walk(v, PAGE, access, &x, &ex));
        assert_int_equal(*fake_guest_entry(v, PAGE, 0),
                         leaf | PTE_A | (c->write ? PTE_D : 0));
        assert_int_equal(x.dirty, c->write);
    }
}

static void test_rights(void **state)
{
    unsigned checked = 0;
    (void)state;
    for (unsigned m = 0; m < 1u << 13; m++) {
        const struct rights_case c = {
            .p = bit(m, 0), .u = bit(m, 1), .w = bit(m, 2), .nx = bit(m, 3),
            .user = bit(m, 4), .write = bit(m, 5), .fetch = bit(m, 6),
            .wp = bit(m, 7), .smep = bit(m, 8), .smap = bit(m, 9), .nxe = bit(m, 10),
            .ac = bit(m, 11), .implicit = bit(m, 12)};
        if ((c.write && c.fetch) || (c.user && c.implicit))
            continue;
        check_rights(&c);
        checked++;
    }
    assert_int_equal(checked, 8192 * 3 / 4 * 3 / 4);
}

static void test_rights_accumulate(void **state)
{
    (void)state;
    for (unsigned level = 0; level < 4; level++) {
        uint64_t *entry = fake_guest_entry(v, PAGE, level);
        uint64_t whole = *entry;
        *entry = whole & ~PTE_W;
        assert_true(mmu_walk(v, PAGE, MMU_USER, &x, &ex));
        assert_false(x.writable);
        expect_pf(PAGE, MMU_WRITE | MMU_USER, PF_P | PF_W | PF_U);
        expect_pf(PAGE, MMU_WRITE, PF_P | PF_W);
        *entry = whole & ~PTE_U;
        expect_pf(PAGE, MMU_USER, PF_P | PF_U);
        assert_true(mmu_walk(v, PAGE, MMU_READ, &x, &ex));
        assert_false(x.user);
        *entry = whole | PTE_NX;
        expect_pf(PAGE, MMU_EXEC, PF_P | PF_I);
        assert_true(mmu_walk(v, PAGE, MMU_READ, &x, &ex));
        assert_false(x.exec);
        *entry = whole;
    }
}

static void test_not_present(void **state)
{
    (void)state;
    for (unsigned level = 0; level < 4; level++) {
        uint64_t *entry = fake_guest_entry(v, PAGE, level);
        uint64_t whole = *entry;
        *entry = ~PTE_P; /* everything else is ignored */
        expect_pf(PAGE, MMU_READ, 0);
        expect_pf(PAGE + 5, MMU_WRITE | MMU_USER, PF_W | PF_U);
        expect_pf(PAGE, MMU_EXEC, PF_I);
        *entry = whole;
    }
    /* A missing lower level wins over missing rights above it. */
    *fake_guest_entry(v, PAGE, 3) &= ~PTE_U;
    *fake_guest_entry(v, PAGE, 0) &= ~PTE_P;
    expect_pf(PAGE, MMU_USER, PF_U);
}

/* ---- reserved bits ---- */

static void expect_reserved(uint64_t *entry, uint64_t bits_set, bool reserved)
{
    uint64_t whole = *entry;
    *entry |= bits_set;
    if (reserved)
        expect_pf(PAGE, MMU_WRITE, PF_P | PF_W | PF_RSVD);
    else
        assert_true(mmu_walk(v, PAGE, MMU_READ | MMU_NO_AD, &x, &ex));
    *entry = whole;
}

static void test_reserved(void **state)
{
    (void)state;
    v->maxphyaddr = 40;
    for (unsigned level = 0; level < 4; level++) {
        uint64_t *entry = fake_guest_entry(v, PAGE, level);
        for (unsigned b = 40; b < 52; b++)
            expect_reserved(entry, 1ull << b, true);
        for (unsigned b = 52; b < 63; b++)
            expect_reserved(entry, 1ull << b, false);
        expect_reserved(entry, 7ull << 9, false);
        v->efer &= ~EFER_NX;
        expect_reserved(entry, PTE_NX, true);
        v->efer |= EFER_NX;
        expect_reserved(entry, PTE_NX, false);
    }
    expect_reserved(fake_guest_entry(v, PAGE, 3), PTE_PS, true);

    /* 2 MB: bits 20:13, not 12 (PAT). 1 GB: bits 29:13. */
    *fake_guest_entry(v, PAGE, 1) = PTE_P | PTE_W | PTE_PS;
    for (unsigned b = 12; b < 21; b++)
        expect_reserved(fake_guest_entry(v, PAGE, 1), 1ull << b, b != 12);
    *fake_guest_entry(v, PAGE, 2) = PTE_P | PTE_W | PTE_PS;
    for (unsigned b = 12; b < 30; b++)
        expect_reserved(fake_guest_entry(v, PAGE, 2), 1ull << b, b != 12);

    v->maxphyaddr = 0; /* unknown: 46 */
    expect_reserved(fake_guest_entry(v, PAGE, 2), 1ull << 45, false);
    expect_reserved(fake_guest_entry(v, PAGE, 2), 1ull << 46, true);
}

static void test_table_outside_ram(void **state)
{
    (void)state;
    for (unsigned level = 1; level < 4; level++) {
        uint64_t *entry = fake_guest_entry(v, PAGE, level);
        uint64_t whole = *entry;
        for (unsigned width = 46; width <= 52; width += 6) {
            v->maxphyaddr = (uint8_t)width;
            *entry = FAKE_RAM_SIZE | (whole & 0xfff);
            expect_pf(PAGE, MMU_READ, PF_P | PF_RSVD);
            *entry = RAM_HOLE_START | (whole & 0xfff);
            expect_pf(PAGE, MMU_USER, PF_P | PF_RSVD | PF_U);
        }
        *entry = whole;
    }
    v->cr3 = FAKE_RAM_SIZE;
    expect_pf(PAGE, MMU_READ, PF_P | PF_RSVD);
    /* A leaf outside RAM is fine: that is a device. */
    v->cr3 = GUEST_PML4;
    *fake_guest_entry(v, PAGE, 0) = RAM_HOLE_START | PTE_P;
    assert_true(mmu_walk(v, PAGE, MMU_READ, &x, &ex));
    assert_int_equal(x.gpa.v, RAM_HOLE_START);
}

/* ---- accessed and dirty ---- */

static void test_accessed_dirty(void **state)
{
    (void)state;
    fake_guest_clear_ad(v, PAGE);
    assert_true(mmu_walk(v, PAGE, MMU_WRITE | MMU_NO_AD, &x, &ex));
    for (unsigned level = 0; level < 4; level++)
        assert_false(*fake_guest_entry(v, PAGE, level) & (PTE_A | PTE_D));
    assert_true(mmu_walk(v, PAGE, MMU_READ, &x, &ex));
    for (unsigned level = 0; level < 4; level++)
        assert_int_equal(*fake_guest_entry(v, PAGE, level) & (PTE_A | PTE_D), PTE_A);
    assert_int_equal(x.pte & (PTE_A | PTE_D), PTE_A);
    assert_false(x.dirty);
    assert_true(mmu_walk(v, PAGE, MMU_WRITE, &x, &ex));
    for (unsigned level = 1; level < 4; level++)
        assert_int_equal(*fake_guest_entry(v, PAGE, level) & (PTE_A | PTE_D), PTE_A);
    assert_int_equal(*fake_guest_entry(v, PAGE, 0) & (PTE_A | PTE_D), PTE_A | PTE_D);
    assert_true(x.dirty);
    assert_int_equal(x.pte & PTE_D, PTE_D);

    /* D alone, then A alone, missing. */
    *fake_guest_entry(v, PAGE, 0) &= ~PTE_A;
    assert_true(mmu_walk(v, PAGE, MMU_READ, &x, &ex));
    assert_true(*fake_guest_entry(v, PAGE, 0) & PTE_A);
    *fake_guest_entry(v, PAGE, 2) &= ~PTE_A;
    assert_true(mmu_walk(v, PAGE, MMU_READ, &x, &ex));
    assert_true(*fake_guest_entry(v, PAGE, 2) & PTE_A);

    /* Large page: the leaf is the directory entry. */
    *fake_guest_entry(v, PAGE, 1) = PTE_P | PTE_W | PTE_PS;
    assert_true(mmu_walk(v, PAGE, MMU_WRITE, &x, &ex));
    assert_int_equal(*fake_guest_entry(v, PAGE, 1), PTE_P | PTE_W | PTE_PS | PTE_A | PTE_D);
}

#define RACES 1000000u

static bool race_over; /* atomic: set by the thread, read by the test */

/* Another "vCPU" adds to a software-available field of the leaf by compare-and-exchange and clears
 * A. */
static void *count_in_entry(void *arg)
{
    uint64_t *entry = arg;
    for (unsigned i = 0; i < RACES; i++) {
        uint64_t old = __atomic_load_n(entry, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(entry, &old, (old + (1ull << 52)) & ~(PTE_A | PTE_D),
                                            false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
    }
    __atomic_store_n(&race_over, true, __ATOMIC_RELEASE);
    return NULL;
}

static void test_accessed_race(void **state)
{
    (void)state;
    uint64_t *entry = fake_guest_entry(v, PAGE, 0);
    pthread_t thread;
    *entry &= (1ull << 52) - 1;
    v->efer |= EFER_NX; /* the counter may reach bit 63 */
    race_over = false;
    assert_int_equal(pthread_create(&thread, NULL, count_in_entry, entry), 0);
    while (!__atomic_load_n(&race_over, __ATOMIC_ACQUIRE)) {
        assert_true(mmu_walk(v, PAGE, MMU_WRITE, &x, &ex));
        assert_true(x.dirty && (x.pte & PTE_A)); /* what was lost to the race was done again */
    }
    pthread_join(thread, NULL);
    /* No increment was overwritten. */
    assert_int_equal(*entry >> 52, RACES & 0xfff);
}

/* ---- copies ---- */

static void test_copy(void **state)
{
    uint8_t in[64], out[64];
    (void)state;
    for (unsigned i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 7 + 1);
    /* Two pages that are not neighbours in RAM, crossed at every offset. */
    fake_guest_map(v, PAGE + PAGE_SIZE, PAGE_GPA - 3 * PAGE_SIZE, PAGE_SIZE, PTE_W);
    for (unsigned len = 1; len <= sizeof(in); len++) {
        uint64_t gva = PAGE + PAGE_SIZE - len / 2;
        unsigned first = len / 2;
        memset(fake_guest_ram(v, PAGE_GPA), 0, PAGE_SIZE);
        fake_ram_writes = 0;
        assert_true(mmu_write(v, gva, in, len, 0, &ex));
        assert_int_equal(fake_ram_writes, first ? 2 : 1);
        assert_int_equal(fake_ram_write_gpa, PAGE_GPA - 3 * PAGE_SIZE);
        assert_int_equal(fake_ram_write_len, len - first);
        assert_memory_equal(fake_guest_ram(v, PAGE_GPA + PAGE_SIZE - first), in, first);
        memset(out, 0, sizeof(out));
        assert_true(mmu_read(v, gva, out, len, 0, &ex));
        assert_memory_equal(out, in, len);
    }
    assert_true(mmu_write(v, 0x123, in, 0, 0, &ex));
    assert_true(*fake_guest_entry(v, PAGE, 0) & PTE_D);
}

static void test_copy_faults(void **state)
{
    uint8_t data[16] = {1, 2, 3}, out[16];
    (void)state;
    /* The second page is missing: nothing is written to the first. */
    fake_ram_writes = 0;
    assert_false(mmu_write(v, PAGE + PAGE_SIZE - 8, data, 16, MMU_USER, &ex));
    assert_int_equal(ex.vector, VEC_PF);
    assert_int_equal(ex.cr2, PAGE + PAGE_SIZE);
    assert_int_equal(ex.error, PF_W | PF_U);
    assert_int_equal(fake_guest_get64(v, PAGE_GPA + PAGE_SIZE - 8), 0);
    assert_int_equal(fake_ram_writes, 0);
    assert_false(mmu_read(v, PAGE + PAGE_SIZE - 8, out, 16, 0, &ex));
    assert_int_equal(ex.error, 0);

    /* A device: reads as ones, swallows writes. */
    fake_guest_map(v, PAGE + PAGE_SIZE, RAM_HOLE_START, PAGE_SIZE, PTE_W);
    assert_true(mmu_write(v, PAGE + PAGE_SIZE - 8, data, 16, 0, &ex));
    assert_true(mmu_read(v, PAGE + PAGE_SIZE - 8, out, 16, 0, &ex));
    assert_memory_equal(out, data, 8);
    for (unsigned i = 8; i < 16; i++)
        assert_int_equal(out[i], 0xff);
    assert_int_equal(fake_ram_writes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_page_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_canonical, setup, teardown),
        cmocka_unit_test_setup_teardown(test_paging_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rights_accumulate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_present, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserved, setup, teardown),
        cmocka_unit_test_setup_teardown(test_table_outside_ram, setup, teardown),
        cmocka_unit_test_setup_teardown(test_accessed_dirty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_accessed_race, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy_faults, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
