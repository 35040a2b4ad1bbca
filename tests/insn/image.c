/* Initial FPU and vector states, and the comparable form of final ones. SDM 1 "Managing State Using
 * the XSAVE Feature Set" ch. 13. */
#include "host/host.h"
#include "insn/case.h"

#include <string.h>

#define XSTATE_BV 512
#define MXCSR 24
#define COMPONENTS 0xe7ull /* x87, SSE, AVX, AVX-512 */

/* The components behind the legacy area, with their sizes, in the order of the comparable form. */
static const struct {
    uint8_t number;
    uint16_t size;
} extended[] = {{2, 256}, {5, 64}, {6, 512}, {7, 1024}};

/* Found once: CPUID can be made to fault in a vCPU's process. */
static uint32_t offset[8];
static uint64_t present;

void image_init(void)
{
    present = host_xcr0() & COMPONENTS;
    for (unsigned i = 0; i < ARRAY_LEN(extended); i++) {
        uint32_t out[4];
        host_cpuid(0xd, extended[i].number, out);
        offset[extended[i].number] = out[1];
    }
}

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    return *x ^= *x << 17;
}

/* Bytes that are often sensible floating-point numbers or small integers. */
static void fill(uint8_t *at, size_t n, uint64_t *x)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t value = next(x);
        double d = (double)(int64_t)(value >> 44) / 64 - 4000;
        float f[2] = {(float)d, (float)(value & 0xffff) / 3};
        switch (value & 7) {
        case 0:
        case 1: memcpy(&value, &d, 8); break;
        case 2:
        case 3: memcpy(&value, f, 8); break;
        case 4: value &= 0xff00ff00ff00full; break;
        default: break;
        }
        memcpy(at + i, &value, 8);
    }
}

static void fill_x87(uint8_t *fx, uint64_t *x)
{
    uint64_t r = next(x);
    fx[4] = (uint8_t)(r & 1 ? 0 : r >> 8);             /* tags */
    fx[3] = (uint8_t)(fx[4] ? (r >> 16 & 7) << 3 : 0); /* top */
    for (unsigned i = 0; i < 8; i++) {
        uint64_t mantissa = next(x) | 1ull << 63;
        uint16_t exponent = (uint16_t)(0x3fff - 20 + next(x) % 40);
        memcpy(fx + 32 + 16 * i, &mantissa, 8);
        memcpy(fx + 40 + 16 * i, &exponent, 2);
    }
}

void image_make(uint8_t *xsave, size_t size, uint32_t which)
{
    static const uint16_t fcw = 0x37f;
    static const uint32_t mxcsr = 0x1f80;
    uint64_t x = which * 0x9e3779b97f4a7c15ull + 1, bv = present;
    memset(xsave, 0, size);
    memcpy(xsave, &fcw, 2);
    memcpy(xsave + MXCSR, &mxcsr, 4);
    if (which % 4 == 0) {
        return;
    }
    fill_x87(xsave, &x);
    fill(xsave + 160, 256, &x);
    for (unsigned i = 0; i < ARRAY_LEN(extended); i++) {
        if (bv >> extended[i].number & 1) {
            fill(xsave + offset[extended[i].number], extended[i].size, &x);
        }
    }
    memcpy(xsave + XSTATE_BV, &bv, 8);
}

static void flatten_legacy(uint8_t *out, const uint8_t *xsave, uint64_t bv)
{
    static const uint16_t fcw = 0x37f;
    memcpy(out, xsave, 416);
    memset(out + 8, 0, 16); /* last instruction and operand: the engine's are its own */
    memset(out + 28, 0, 4); /* MXCSR_MASK */
    if (!(bv & 1)) {
        memset(out, 0, 8);
        memcpy(out, &fcw, 2);
        memset(out + 32, 0, 128);
    }
    if (!(bv & 2)) {
        memset(out + 160, 0, 256);
    }
    for (unsigned i = 0; i < 8; i++) {
        memset(out + 32 + 16 * i + 10, 0, 6);
    }
}

void image_flatten(uint8_t out[IMAGE_SIZE], const uint8_t *xsave)
{
    uint64_t bv;
    size_t at = 512;
    memcpy(&bv, xsave + XSTATE_BV, 8);
    bv &= present;
    memset(out, 0, IMAGE_SIZE);
    flatten_legacy(out, xsave, bv);
    for (unsigned i = 0; i < ARRAY_LEN(extended); i++) {
        if (bv >> extended[i].number & 1) {
            memcpy(out + at, xsave + offset[extended[i].number], extended[i].size);
        }
        at += extended[i].size;
    }
}
