// SPDX-License-Identifier: MIT
// Compiled as the rest of the plug-in is: what the compiler may use, the CPU must have.
#include <sys/auxv.h>

#include "ggml/host/entry.hpp"

namespace rknpu2 {
namespace {

constexpr unsigned long needed_hwcaps() {
    unsigned long bits = 0;
#if defined(__ARM_FEATURE_ATOMICS)
    bits |= HWCAP_ATOMICS;
#endif
#if defined(__ARM_FEATURE_QRDMX)
    bits |= HWCAP_ASIMDRDM;
#endif
#if defined(__ARM_FEATURE_CRC32)
    bits |= HWCAP_CRC32;
#endif
#if defined(__ARM_FEATURE_FP16_SCALAR_ARITHMETIC)
    bits |= HWCAP_FPHP;
#endif
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
    bits |= HWCAP_ASIMDHP;
#endif
#if defined(__ARM_FEATURE_DOTPROD)
    bits |= HWCAP_ASIMDDP;
#endif
#if defined(__ARM_FEATURE_SVE)
    bits |= HWCAP_SVE;
#endif
    return bits;
}

}  // namespace

constinit const unsigned long kNeededHwcaps = needed_hwcaps();

}  // namespace rknpu2
