// SPDX-License-Identifier: MIT
#include "core/kernels/tier.hpp"

#include <cstring>

#if defined(RKNNSIM_AVX2)
#include "core/kernels/inner_avx2.hpp"
#endif

namespace rknnsim {

#if defined(RKNNSIM_AVX2)
namespace {

const KernelTier kAvx2Tier = {
    "avx2", [](const Job& job, Scratch& scratch) { return load_a_blocked(kAvx2Floats, job, scratch); },
    [](const Job& job, Scratch& scratch) { return multiply_blocked(kAvx2Ints, kAvx2Floats, job, scratch); }};

}  // namespace

const KernelTier* avx2_tier() {
    // Every CPU with AVX2 has F16C; clang knows no name for it.
    const bool here = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return here ? &kAvx2Tier : nullptr;
}
#else
const KernelTier* avx2_tier() {
    return nullptr;
}
#endif

const KernelTier* find_tier(const char* name) {
    if (std::strcmp(name, "auto") == 0) return avx2_tier() != nullptr ? avx2_tier() : &kGenericTier;
    if (std::strcmp(name, "reference") == 0) return &kReferenceTier;
    if (std::strcmp(name, "generic") == 0) return &kGenericTier;
    if (std::strcmp(name, "avx2") == 0) return avx2_tier();
    return nullptr;
}

}  // namespace rknnsim
