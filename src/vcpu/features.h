/* Asking the guest's own CPUID table which features it was offered, and the numbers of those that
 * control registers and MSRs depend on. SDM 2 "CPUID", APM 3 appendix E.
 */
#ifndef VCPU_FEATURES_H
#define VCPU_FEATURES_H

#include "vcpu/vcpu.h"

enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

#define CPUID_INTEL_EBX 0x756e6547u /* "Genu" */
#define CPUID_AMD_EBX 0x68747541u   /* "Auth" */
#define CPUID_HYGON_EBX 0x6f677948u /* "Hygo" */

/** One feature bit: leaf (subleaf 0), register, bit number. */
struct feature {
    uint32_t leaf;
    uint8_t reg, bit;
};

#define FEATURE_MCE ((struct feature){1, CPUID_EDX, 7})
#define FEATURE_SEP ((struct feature){1, CPUID_EDX, 11})
#define FEATURE_VME ((struct feature){1, CPUID_EDX, 1})
#define FEATURE_PCID ((struct feature){1, CPUID_ECX, 17})
#define FEATURE_XSAVE ((struct feature){1, CPUID_ECX, 26})
#define FEATURE_FSGSBASE ((struct feature){7, CPUID_EBX, 0})
#define FEATURE_SMEP ((struct feature){7, CPUID_EBX, 7})
#define FEATURE_SMAP ((struct feature){7, CPUID_EBX, 20})
#define FEATURE_UMIP ((struct feature){7, CPUID_ECX, 2})
#define FEATURE_PKU ((struct feature){7, CPUID_ECX, 3})
#define FEATURE_RDPID ((struct feature){7, CPUID_ECX, 22})
#define FEATURE_SPEC_CTRL ((struct feature){7, CPUID_EDX, 26})
#define FEATURE_ARCH_CAPABILITIES ((struct feature){7, CPUID_EDX, 29})
#define FEATURE_NX ((struct feature){0x80000001, CPUID_EDX, 20})
#define FEATURE_RDTSCP ((struct feature){0x80000001, CPUID_EDX, 27})
#define FEATURE_AUTOIBRS ((struct feature){0x80000021, CPUID_EAX, 8})

/** The table's entry for a leaf, or NULL. */
const struct cpuid_leaf *cpuid_find(const struct vcpu *v, uint32_t leaf, uint32_t subleaf);
bool cpuid_has(const struct vcpu *v, struct feature f);
/** State components XCR0 may hold (leaf 0xD); 1 without XSAVE. */
uint64_t cpuid_xcr0_supported(const struct vcpu *v);
/** The guest is an AMD processor, or Hygon's. */
bool cpuid_is_amd(const struct vcpu *v);

#endif
