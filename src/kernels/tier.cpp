// SPDX-License-Identifier: MIT
#include "kernels/tier.hpp"

namespace rknpu2 {

std::span<const KernelTier> available_tiers() {
    static constexpr KernelTier kTiers[] = {KernelTier::kReference, KernelTier::kGeneric, KernelTier::kAvx2};
#if defined(__x86_64__)
    static const bool avx2 = __builtin_cpu_supports("avx2") != 0;
#else
    constexpr bool avx2 = false;
#endif
    return std::span(kTiers).first(avx2 ? 3 : 2);
}

KernelTier default_tier() {
    return available_tiers().back();
}

}  // namespace rknpu2
