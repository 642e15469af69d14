// SPDX-License-Identifier: MIT
// Which implementation of a kernel runs.
//
// `kReference`: loops so plain that they prove themselves, through the index functions of matrix/layout.hpp.
// `kGeneric`: portable C++ shaped so that the compiler vectorises it. `kAvx2`, for x86-64 CPUs that have AVX2 and F16C:
// the loops that matter most, with vectors of eight floats; the others are the generic ones. All tiers give the
// same bits (one NaN is as good as another), and the tests compare every tier with the reference. A `kNeon` tier
// is added here and in of_tier() when a measurement on the chip shows that it pays.
#pragma once

#include <cstddef>
#include <span>

namespace rknpu2 {

enum class KernelTier { kReference, kGeneric, kAvx2 };

// Those that this CPU runs: the reference first, the fastest last.
std::span<const KernelTier> available_tiers();

KernelTier default_tier();

}  // namespace rknpu2
