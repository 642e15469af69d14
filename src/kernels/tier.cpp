// SPDX-License-Identifier: MIT
#include "kernels/tier.hpp"

#include <array>

namespace rknpu2 {
namespace {

constexpr std::array kTiers = {KernelTier::kReference, KernelTier::kGeneric, KernelTier::kAvx2};

bool has_avx2() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") != 0;
#else
    return false;
#endif
}

}  // namespace

std::span<const KernelTier> available_tiers() {
    static const bool avx2 = has_avx2();
    return std::span(kTiers).first(avx2 ? kTiers.size() : kTiers.size() - 1);
}

KernelTier default_tier() {
    return available_tiers().back();
}

}  // namespace rknpu2
