// SPDX-License-Identifier: MIT
// Rotation along K: what spreads the outliers of a row over its neighbours before it is rounded to int8.
//
// Every block of `block` consecutive elements is multiplied by a Hadamard matrix H of +1 and -1. H is
// symmetric and H * H = block * I, so when activations and weights are both rotated their product is `block`
// times the plain one, whatever the values; no information is lost and nothing is normalised here. A language
// model's activations have a few channels a hundred times larger than the rest; one scale for the row then
// leaves the others a few steps of int8. After rotation a block's elements are alike. docs/quality.md has
// what it is worth: a factor of seven in the divergence of the output's distribution.
//
// The block is the largest power of two up to 512 that divides K_padded (32 at least: rows are padded with
// zeros to a multiple of 32 anyway, and the padding takes part in the last block, so nothing grows). What
// then remains, an odd number of blocks or blocks of 512, mix.hpp makes alike where that is cheap.
//
// The butterflies go from distance 1 upwards, each (a, b) -> (a + b, a - b) with every sum rounded to
// float: part of the definition, the same in all tiers. NaN and infinity make their block NaN or infinite, so
// row_absmax() of the rotated row still tells a row that is not finite. Finite values beyond FLT_MAX / 512
// may become infinite.
//
// Cost: log2(block) additions an element, from cache. Rows that follow each other in memory are fetched
// ahead, also beyond the call's last one. No allocation, no locking.
#pragma once

#include <cstddef>

#include "kernels/tier.hpp"

namespace rknpu2 {

inline constexpr size_t kLargestRotation = 512;

// The block for rows of K_padded elements, a multiple of 32.
constexpr size_t rotation_block(size_t K_padded) {
    size_t block = kLargestRotation;
    while (K_padded % block != 0)
        block /= 2;
    return block;
}

// x: M rows of K elements, row_stride apart; out: M rows of K_padded elements, K_padded apart, written whole.
// K <= K_padded; the buffers do not overlap. factors: K numbers that the elements of each row are multiplied
// by first (each product rounded to float), or nullptr. absmax: M numbers, written: row_absmax() of each row
// of `out`, which is found on the way; or nullptr.
void rotate_rows(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded, const float* factors,
                 float* out, KernelTier tier = default_tier(), float* absmax = nullptr);

}  // namespace rknpu2
