// SPDX-License-Identifier: MIT
#include "kernels/tier.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace rknpu2 {

std::span<const KernelTier> available_tiers() {
    static constexpr KernelTier kTiers[] = {KernelTier::kGeneric, KernelTier::kAvx2};
#if defined(__x86_64__)
    static const bool avx2 = [] {
        unsigned a = 0, b = 0, c = 0, d = 0;
        return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
               __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
    }();
#else
    constexpr bool avx2 = false;
#endif
    return std::span(kTiers).first(avx2 ? 2 : 1);
}

KernelTier default_tier() {
    return available_tiers().back();
}

}  // namespace rknpu2
