// SPDX-License-Identifier: MIT
// Which implementation of a kernel runs.
//
// The loops that matter most have two. `kGeneric`: portable C++ shaped so that the compiler vectorises it. `kAvx2`,
// for x86-64 CPUs that have AVX2, F16C and FMA: vectors of eight floats. Both, and all that have one, give the bits of the
// reference (one NaN is as good as another), which tests alone have (tests/kernels/reference_kernels.cpp): loops so
// plain that they prove themselves. A `kNeon` tier is added here and in of_tier() when a measurement on the chip shows
// that it pays.
#pragma once

#include <span>

namespace rknpu2 {

enum class KernelTier { kGeneric, kAvx2 };

// Those that this CPU runs, the fastest last.
std::span<const KernelTier> available_tiers();

KernelTier default_tier();

}  // namespace rknpu2
