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
// with zeros to a multiple of 32. What then remains, an odd number of blocks or blocks of 512, mix_blocks()
// makes alike where that is cheap.
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

// Mixing across blocks: the part of a rotation that a Hadamard matrix leaves out when K is not a power of two.
//
// rotate_rows() spreads an outlier over its block; blocks stay apart, and a row's scale is that of its loudest
// block. mix_blocks() makes the blocks alike: for every i the vector of the blocks' i-th elements is multiplied by
// the reflection I - (2/p) J, J all ones, for p = 3, 5 or 7 blocks; other odd numbers take one reflection for each
// prime factor, as 3 and 3 for the nine blocks of K = 576. A reflection is orthonormal and its own inverse, so when
// both operands are mixed, their product stays, but for rounding. It is as even as a cosine transform of p elements
// (largest entry 1/3 or 2/3, 3/5, 5/7) for two operations an element.
//
// For p: t = (x[0] + .. + x[p-1], ascending) * (2/p), x[b] - t, each operation rounded to float, in all tiers. The
// factors are applied in ascending order of p, the first to blocks that are neighbours. NaN and infinity spread over
// their row, and not to others.

// The least of 3, 5 and 7 that divides the number of a row's blocks; 1 if none does. Larger primes are left out: a
// reflection of eleven leaves nine elevenths of a block where it was.
constexpr size_t mix_factor(size_t blocks) {
    for (const size_t p : {3U, 5U, 7U})
        if (blocks % p == 0) return p;
    return 1;
}

// rows: M rows of K_padded elements, one after the other, rotated; changed in place. absmax: M numbers, what
// rotate_rows() gave for them, and row_absmax() of each row afterwards; or nullptr.
void mix_blocks(float* rows, size_t M, size_t K_padded, float* absmax = nullptr);

}  // namespace rknpu2
