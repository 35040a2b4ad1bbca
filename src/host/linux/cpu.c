/* The host's processor as CPUID tells it. No state; any task. */
#include "host/host.h"

#include <cpuid.h>
#include <immintrin.h>

#define CPUID1_ECX_OSXSAVE 27
#define XCR0_X87_SSE 3

void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
}

__attribute__((target("xsave"))) uint64_t host_xcr0(void)
{
    uint32_t id[4];
    host_cpuid(1, 0, id);
    return bit(id[2], CPUID1_ECX_OSXSAVE) ? _xgetbv(0) : XCR0_X87_SSE;
}
