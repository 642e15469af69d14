// SPDX-License-Identifier: MIT
// Mixing across blocks: the part of a rotation that a Hadamard matrix leaves out when K is not a power of two.
//
// rotate_rows() (rotate.hpp) spreads an outlier over its block; blocks stay apart, and a row's scale is that
// of its loudest block. mix_blocks() makes the blocks alike: for every i the vector of the blocks' i-th
// elements is multiplied by the reflection I - (2/p) J, J all ones, for p = 3, 5 or 7 blocks; other odd numbers
// take one reflection for each prime factor, as 3 and 3 for the nine blocks of K = 576. A reflection is
// orthonormal and its own inverse, so when both operands are mixed, their product stays, but for rounding. It
// is as even as a cosine transform of p elements (largest entry 1/3 or 2/3, 3/5, 5/7) for two operations an
// element.
//
// For p: t = (x[0] + .. + x[p-1], ascending) * (2/p), x[b] - t, each operation rounded to float, in all tiers.
// The factors are applied in ascending order of p, the first to blocks that are neighbours. NaN and infinity
// spread over their row, and not to others. No allocation, no locking.
#pragma once

#include <array>
#include <cstddef>

#include "kernels/tier.hpp"

namespace rknpu2 {

// Factors of the number of a row's blocks. Larger primes are left out: a reflection of eleven leaves nine
// elevenths of a block where it was.
struct MixFactors {
    size_t count = 0;
    std::array<size_t, 5> factors = {};  // of 8192 elements at most: 3 * 3 * 3 * 3 * 3 * 32 = 7776

    bool mixes() const { return count != 0; }
};

MixFactors mix_factors(size_t K_padded);

// rows: M rows of K_padded elements, one after the other, rotated; changed in place. absmax: M numbers, what
// rotate_rows() gave for them, and row_absmax() of each row afterwards; or nullptr.
void mix_blocks(float* rows, size_t M, size_t K_padded, KernelTier tier = default_tier(),
                float* absmax = nullptr);

}  // namespace rknpu2
