// SPDX-License-Identifier: MIT
// Rotation along K: it spreads the outliers of a row over their neighbours before the row is rounded to int8.
//
// A language model's activations have a few channels a hundred times larger than the rest; one scale for the
// row then leaves the others a few steps of int8. After rotation the elements of a block are alike, which is
// worth a factor of seven in the divergence of the output's distribution (docs/quality.md).
//
// Each block of consecutive elements is multiplied by a Hadamard matrix H of +1 and -1. H is symmetric and
// H * H = block * I. So when activations and weights are both rotated, their product is `block` times the
// plain one, whatever the values; nothing is lost, and nothing is normalised here.
//
// The block is the largest power of two up to 512 that divides K_padded: 32 at least, since rows are padded
// with zeros to a multiple of 32. What then remains, an odd number of blocks or blocks of 512, mix.hpp makes
// alike where that is cheap.
//
// The butterflies go from distance 1 upwards, each (a, b) -> (a + b, a - b), each sum rounded to float: part
// of the definition. NaN and infinity make their block NaN or infinite, so row_absmax() of the rotated row
// still tells a row that is not finite. Finite values beyond FLT_MAX / 512 may become infinite.
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

// Float rows, and the rotated rows that they become. All counts are elements or rows, not bytes.
struct RowsToRotate {
    const float* x;     // the first row
    size_t row_stride;  // from one row to the next, at least K
    size_t M;
    size_t K;
    size_t K_padded;                 // at least K, a multiple of 32
    float* out;                      // [M, K_padded], written whole; does not overlap x
    const float* factors = nullptr;  // [K] what elements are multiplied by first, rounded to float; or none
    float* absmax = nullptr;         // [M] row_absmax() of each row of `out`, written; or none
};

void rotate_rows(const RowsToRotate& rows, KernelTier tier = default_tier());

}  // namespace rknpu2
