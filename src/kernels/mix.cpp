// SPDX-License-Identifier: MIT
#include "kernels/mix.hpp"

#include <array>

#include "kernels/lanes/generic.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"

namespace rknpu2 {
namespace {

constexpr std::array<size_t, 3> kPrimes = {3, 5, 7};

// The p blocks of `step` elements from `first` on and their successors: every element of each p-th block.
void reflect_blocks_reference(float* rows, size_t M, size_t K, size_t p, size_t step) {
    for (size_t m = 0; m < M; ++m) {
        float* const row = rows + m * K;
        for (size_t k = 0; k < K; ++k) {
            if (k / step % p != 0) continue;
            float sum = row[k];
            for (size_t b = 1; b < p; ++b)
                sum += row[k + b * step];
            sum *= 2.0F / static_cast<float>(p);
            for (size_t b = 0; b < p; ++b)
                row[k + b * step] -= sum;
        }
    }
}

}  // namespace

MixFactors mix_factors(size_t K_padded) {
    MixFactors found;
    size_t blocks = K_padded / rotation_block(K_padded);
    for (const size_t p : kPrimes) {
        for (; blocks % p == 0 && found.count < found.factors.size(); blocks /= p)
            found.factors[found.count++] = p;
    }
    return found;
}

void mix_blocks(float* rows, size_t M, size_t K_padded, KernelTier tier, float* absmax) {
    const MixFactors factors = mix_factors(K_padded);
    size_t step = rotation_block(K_padded);
    for (size_t i = 0; i < factors.count; ++i) {
        const size_t p = factors.factors[i];
        of_tier(tier, reflect_blocks_reference, generic::reflect_blocks, avx2::reflect_blocks)(
            rows, M, K_padded, p, step);
        step *= p;
    }
    for (size_t m = 0; absmax != nullptr && factors.mixes() && m < M; ++m)
        absmax[m] = row_absmax(rows + m * K_padded, K_padded, tier);
}

}  // namespace rknpu2
