// Which implementation of a kernel runs.
//
// Every kernel exists as `kReference`: loops so plain that they prove themselves, going through the index
// functions of matrix/layout.hpp; and as `kGeneric`: portable C++ shaped so that the compiler vectorises it.
// All tiers give the same bits (one NaN is as good as another), so choosing one is a matter of speed only,
// and the tests compare every tier of kAllTiers with the reference. A `kNeon` tier is added here, and in the
// switch of each operation, when a measurement on the chip shows that it pays.
#pragma once

namespace rknpu2 {

enum class KernelTier { kReference, kGeneric };

inline constexpr KernelTier kAllTiers[] = {KernelTier::kReference, KernelTier::kGeneric};
inline constexpr KernelTier kDefaultTier = KernelTier::kGeneric;

constexpr const char* kernel_tier_name(KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            return "reference";
        case KernelTier::kGeneric:
            return "generic";
    }
    return "?";
}

}  // namespace rknpu2
