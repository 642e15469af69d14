// SPDX-License-Identifier: MIT
// Which implementation of a kernel runs.
//
// Every kernel exists as `kReference`: loops so plain that they prove themselves, going through the index
// functions of matrix/layout.hpp; and as `kGeneric`: portable C++ shaped so that the compiler vectorises it.
// `kAvx2` is for x86-64 CPUs that have AVX2: the loops that matter most, with vectors of eight floats (the
// others are the generic ones). All tiers give the same bits (one NaN is as good as another), so choosing one
// is a matter of speed only, and the tests compare every available tier with the reference. A `kNeon` tier is
// added here, and in the switch of each operation, when a measurement on the chip shows that it pays.
#pragma once

#include <span>

namespace rknpu2 {

enum class KernelTier { kReference, kGeneric, kAvx2 };

// Those that this CPU runs: the reference first, the fastest last.
std::span<const KernelTier> available_tiers();

// The fastest of them.
KernelTier default_tier();

constexpr const char* kernel_tier_name(KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            return "reference";
        case KernelTier::kGeneric:
            return "generic";
        case KernelTier::kAvx2:
            return "avx2";
    }
    return "?";
}

}  // namespace rknpu2
