/* The instruction decoder: samples with what they should decode to, cut-off and padded input, and a
 * comparison with Zydis.
 *
 * Samples are compared as text (insn_text): class/opsize, registers read and written, the memory
 * operand with what is done to it, the immediate, and what else is set.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "insn_samples.h"
#include "insn_zydis.h"

/* Bytes that end where a page without access begins. */
struct guarded {
    uint8_t *page, *end;
};

static struct guarded guarded_create(void)
{
    struct guarded g;
    g.page = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.page != MAP_FAILED);
    g.end = g.page + PAGE_SIZE;
    assert_int_equal(mprotect(g.end, PAGE_SIZE, PROT_NONE), 0);
    return g;
}

static void guarded_destroy(struct guarded *g)
{
    munmap(g->page, 2 * PAGE_SIZE);
}

static const uint8_t *guarded_put(const struct guarded *g, const uint8_t *bytes, size_t len)
{
    return memcpy(g->end - len, bytes, len);
}

static void test_samples(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (size_t i = 0; i < insn_sample_count; i++) {
        const struct insn_sample *sample = &insn_samples[i];
        uint8_t bytes[32] = {0};
        size_t len = insn_sample_bytes(sample, bytes);
        struct insn in;
        char text[200] = "no instruction";
        if (insn_decode(&in, bytes, sizeof(bytes)) == INSN_OK)
            insn_text(&in, text, sizeof(text));
        if (strcmp(text, sample->text) == 0 && in.len == len)
            continue;
        failed++;
        print_error("%s: %s, len %u\n    expected %s, len %zu\n", sample->hex, text, in.len,
                    sample->text, len);
    }
    assert_int_equal(failed, 0);
}

static void test_samples_have_every_class(void **state)
{
    (void)state;
    unsigned seen[CLS_COUNT] = {0};
    for (size_t i = 0; i < insn_sample_count; i++) {
        uint8_t bytes[32] = {0};
        struct insn in;
        insn_sample_bytes(&insn_samples[i], bytes);
        if (insn_decode(&in, bytes, sizeof(bytes)) == INSN_OK)
            seen[in.cls]++;
    }
    for (unsigned cls = 0; cls < CLS_COUNT; cls++)
        if (!seen[cls])
            fail_msg("no sample of class %u", cls);
}

/* Cut anywhere, an instruction is short; whole, it decodes as it does with more behind it, and not
 * a byte beyond is read. */
static void test_truncation(void **state)
{
    (void)state;
    struct guarded g = guarded_create();
    for (size_t i = 0; i < insn_sample_count; i++) {
        uint8_t bytes[32] = {0};
        struct insn whole, in;
        insn_sample_bytes(&insn_samples[i], bytes);
        assert_int_equal(insn_decode(&whole, bytes, sizeof(bytes)), INSN_OK);
        for (size_t len = 0; len < whole.len; len++)
            assert_int_equal(insn_decode(&in, guarded_put(&g, bytes, len), len), INSN_SHORT);
        assert_int_equal(insn_decode(&in, guarded_put(&g, bytes, whole.len), whole.len), INSN_OK);
        assert_memory_equal(&in, &whole, sizeof(in));
    }
    guarded_destroy(&g);
}

/* Prefixes make an instruction longer up to 15 bytes. */
static void test_too_long(void **state)
{
    (void)state;
    struct guarded g = guarded_create();
    static const uint8_t add[] = {0x81, 0x84, 0x88, 1, 2, 3, 4, 5, 6, 7, 8}; /* 11 bytes */
    for (size_t prefixes = 0; prefixes <= 20; prefixes++) {
        uint8_t bytes[32];
        struct insn in;
        size_t len = prefixes + sizeof(add);
        memset(bytes, 0x2e, prefixes);
        memcpy(bytes + prefixes, add, sizeof(add));
        enum insn_status status = insn_decode(&in, guarded_put(&g, bytes, len), len);
        assert_int_equal(status, len <= INSN_MAX_LEN ? INSN_OK : INSN_TOO_LONG);
        if (len <= INSN_MAX_LEN)
            assert_int_equal(in.len, len);
        status = insn_decode(&in, guarded_put(&g, bytes, 14), 14);
        assert_int_equal(status, len <= 14 ? INSN_OK : INSN_SHORT);
    }
    guarded_destroy(&g);
}

/* xorshift64*: fixed, so that a failure can be repeated. */
static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 0x2545f4914f6cdd1dull;
}

#define RANDOM_SEED 0x72696e6733ull
#define RANDOM_ROUNDS 2500000

/* Writes to bytes what is likely to hit an instruction: prefixes of each encoding, then chance. */
static void make_prefixes(uint8_t *bytes, uint64_t r)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x65,
                                       0x40, 0x41, 0x44, 0x48, 0x49, 0x4c, 0x4f, 0x42};
    static const char *const escapes[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a"};
    switch (r & 7) {
    case 0: /* nothing: any bytes */ break;
    case 1: /* VEX */
        bytes[0] = 0xc4;
        bytes[1] = (bytes[1] & 0xe0) | (1 + (r >> 8) % 3);
        break;
    case 2: /* EVEX */
        bytes[0] = 0x62;
        bytes[1] = (bytes[1] & 0xf0) | (1 + (r >> 8) % 6);
        bytes[2] |= r & 0x1000 ? 0x04 : 0x7c;
        bytes[3] |= r & 0x2000 ? 0 : 0x08;
        break;
    case 3: /* XOP */
        bytes[0] = 0x8f;
        bytes[1] = (bytes[1] & 0xe0) | (8 + (r >> 8) % 3);
        bytes[2] &= ~3;
        break;
    default: { /* up to three prefixes, an escape */
        size_t at = 0;
        for (unsigned n = r >> 8 & 3; n; n--)
            bytes[at++] = prefixes[r >> (12 + 4 * n) & 15];
        const char *escape = escapes[r >> 30 & 3];
        memcpy(bytes + at, escape, strlen(escape));
    }
    }
}

static void make_mutation(uint8_t *bytes, uint64_t r)
{
    uint8_t sample[32] = {0};
    size_t len = insn_sample_bytes(&insn_samples[(r >> 8) % insn_sample_count], sample);
    memcpy(bytes, sample, len);
    bytes[(r >> 32) % len] ^= 1u << (r >> 40 & 7);
    if (r >> 48 & 1)
        bytes[(r >> 49) % len] ^= 1u << (r >> 56 & 7);
}

static void test_random_against_zydis(void **state)
{
    (void)state;
    struct insn_zydis z;
    uint64_t seed = RANDOM_SEED;
    unsigned failed = 0, decoded = 0;
    insn_zydis_init(&z);
    print_message("seed %#llx, %u rounds\n", RANDOM_SEED, RANDOM_ROUNDS);
    for (unsigned round = 0; round < RANDOM_ROUNDS && failed < 20; round++) {
        uint64_t bytes[3];
        char why[300];
        unsigned len;
        for (unsigned i = 0; i < ARRAY_LEN(bytes); i++)
            bytes[i] = next_random(&seed);
        if (round & 1)
            make_mutation((uint8_t *)bytes, next_random(&seed));
        else
            make_prefixes((uint8_t *)bytes, next_random(&seed));
        bool agree = insn_zydis_agree(&z, (uint8_t *)bytes, sizeof(bytes), &len, why, sizeof(why));
        decoded += len > 1;
        if (agree)
            continue;
        failed++;
        for (unsigned i = 0; i < INSN_MAX_LEN; i++)
            print_error("%02x", ((uint8_t *)bytes)[i]);
        print_error("  %s\n", why);
    }
    assert_int_equal(failed, 0);
    assert_true(decoded > RANDOM_ROUNDS / 4); /* the comparison was of instructions, not of noise */
}

/* Every opcode of every legacy map with every ModRM: nothing is left to chance. */
static void test_legacy_maps_against_zydis(void **state)
{
    (void)state;
    static const char *const starts[] = {
        "",     "\x0f",     "\x0f\x38",     "\x0f\x3a",     "\x66\x0f", "\x66\x0f\x38",
        "\x66", "\xf3\x0f", "\xf3\x0f\x38", "\x66\x0f\x3a", "\xf2\x0f", "\xf2\x0f\x38",
        "\xf3", "\xf0",     "\xf0\x0f",     "\x48",         "\x4d\x0f", "\x66\x41\x0f\x38",
    };
    struct insn_zydis z;
    unsigned failed = 0;
    insn_zydis_init(&z);
    for (unsigned i = 0; i < ARRAY_LEN(starts) * 65536 && failed < 20; i++) {
        static const uint8_t tail[16] = {0x24, 0x11, 0x22, 0x93, 0x44, 0x55, 0x66, 0x77, 0x81};
        const char *start = starts[i >> 16];
        size_t at = strlen(start);
        uint8_t bytes[32];
        char why[300];
        unsigned len;
        memcpy(bytes, start, at);
        bytes[at] = i >> 8 & 0xff;
        bytes[at + 1] = i & 0xff;
        memcpy(bytes + at + 2, tail, sizeof(tail));
        if (insn_zydis_agree(&z, bytes, at + 2 + sizeof(tail), &len, why, sizeof(why)))
            continue;
        failed++;
        for (unsigned k = 0; k < INSN_MAX_LEN; k++)
            print_error("%02x", bytes[k]);
        print_error("  %s\n", why);
    }
    assert_int_equal(failed, 0);
}

static void test_ends_block(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool ends;
    } cases[] = {
        {"\xc3", true},  {"\xe8", true},      {"\x74", true},      {"\xff\xe0", true},
        {"\xf4", true},  {"\x0f\x0b", true},  {"\xcc", true},      {"\x0f\x05", true},
        {"\xcf", true},  {"\xe2", true},      {"\x06", true},      {"\x90", false},
        {"\xfa", false}, {"\x0f\xa2", false}, {"\xa4", false},     {"\xee", false},
        {"\x50", false}, {"\x9c", false},     {"\xff\xc0", false}, {"\x0f\x01\xc1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t bytes[32] = {0};
        struct insn in;
        memcpy(bytes, cases[i].bytes, strlen(cases[i].bytes));
        assert_int_equal(insn_decode(&in, bytes, sizeof(bytes)), INSN_OK);
        assert_int_equal(insn_ends_block(&in), cases[i].ends);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_samples_have_every_class),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_ends_block),
        cmocka_unit_test(test_legacy_maps_against_zydis),
        cmocka_unit_test(test_random_against_zydis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
