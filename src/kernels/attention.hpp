// SPDX-License-Identifier: MIT
// The CPU's part of attention whose two products the NPU does (attention/npu_attention.hpp): keys and values
// into the NPU's native B, and from the scores of a block of positions to the weights of its values.
//
// Positions are taken in blocks of kAttentionBlock at multiples of it, and each block has its own maximum. So
// what a row gets from a block depends on the row and the block alone.
//
//   score    z = native * factor, softcapped, + slope * mask     in units of ln 2, as `factor` and `slope` are
//   maximum  m = the largest z that the row may see, 0 if it is below 2^-80; -inf if it sees none
//   weight   p = 2^(z - m) * 2^14, as a half; 0 where the row may not see, and from 2^-11.5 down: halves become
//            subnormal at 2^-14, and so nothing depends on what the NPU does with those
//   sum      of the weights before they become halves (but 0 where these are), in units of 2^-14
//
// 2^x is a polynomial (kExp2Error); the maximum's own weight is exactly 2^14. Halves are rounded to nearest even.
// The sum is eight partial ones, by position % 8 in ascending order: (0 + 4) + (2 + 6) and (1 + 5) + (3 + 7), added.
//
// What the row may not see is never looked at. If a z that it sees is NaN or +inf, its weights are zeros, its sum is
// NaN, and its maximum NaN or, without a NaN, +inf; no other row notices.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tier.hpp"

namespace rknpu2 {

inline constexpr size_t kAttentionBlock = 1024;  // positions
inline constexpr size_t kValueBlock = 512;       // positions of a cube of weights
inline constexpr size_t kPartsOfBlock = kAttentionBlock / kValueBlock;
// What a mask has, as a half, where a position may not be seen: minus infinity.
inline constexpr uint16_t kHiddenMask = 0xFC00;
inline constexpr float kWeightUnit = 0x1p14F;

// Rows of scores of one block, and what they become. All counts are elements or rows, not bytes. Only rows m0 ..
// m0+M-1 are read and written, so threads may share a cube by ranges of rows. Ranges of multiples of 4 rows that begin
// at such a multiple are fastest: four rows are a cache line of scores and of weights.
struct ScoresToWeights {
    const float* scores;  // the whole cube, native C [N/4, M_total, 4]
    size_t M_total;       // rows of both cubes
    size_t m0;            // first row
    size_t M;
    size_t N;              // positions that there are, 1 .. kAttentionBlock
    const float* factors;  // M values, finite
    float softcap;         // c: z becomes c * tanh(z / c) (kSoftcapError); 0: none. In units of ln 2, too
    // M pointers, that of row m to N halves: -inf where it may not see. A null pointer: it sees all, and nothing is
    // added, which gives the bits that a mask of zeros gives. `masks` may be null for all rows, and `slopes` then.
    const uint16_t* const* masks;
    const float* slopes;  // M values
    // Cubes, native A [kValueBlock/8, M_total, 8]. The second one may be null if N <= kValueBlock.
    uint16_t* weights[2];
    float* maxima;  // M values, written
    float* sums;    // M values, written
    size_t plain =
        0;  // so many positions, from the first on, all rows see, and nothing is added: masks have zeros there

    // Rows m .. m + count - 1 of these.
    ScoresToWeights part(size_t m, size_t count) const;
};

// Zeros are written behind the N positions up to the end of each cube.
void weigh_scores(const ScoresToWeights& rows, KernelTier tier = default_tier());

// What every tier has to equal: plain loops, which also compute the rows that are not finite.
void weigh_scores_reference(const ScoresToWeights& rows);

// 2^x for x <= 0, by the polynomial that weigh_scores() uses; 0 below -126. Its error is relative to the true one.
inline constexpr double kExp2Error = 3.5e-4;
float exp2_of(float x);

// c * tanh(z / c), and its error relative to c.
inline constexpr double kSoftcapError = 2e-7;
float softcapped(float z, float c);

// Rows of halves as a cache has them, and where they go. `seen`: by position from `first` on, 0 for one that no
// row may see: it is stored as zeros whatever it holds.
struct HalvesToBlock {
    const std::byte* rows;  // of position `first`
    size_t row_bytes;       // from one row to the next
    size_t width;           // elements of a row
    size_t width_padded;    // a multiple of 32 for keys, of 16 for values
    size_t first;           // position within the block
    size_t count;
    const uint8_t* seen;         // count values, or null: all are seen
    uint16_t* native;            // the whole block
    size_t depth = kValueBlock;  // of values: positions of the block, kValueBlock or kAttentionBlock
};

// Keys are the columns of the first product: native B with K = width_padded, N = kAttentionBlock. Positions
// first .. first+count-1 are written, with zeros behind the width. Returns false if a seen element is infinite
// or NaN.
bool pack_keys(const HalvesToBlock& keys, KernelTier tier = default_tier());
// Values are the rows of the second one: native B with K = depth, N = width_padded. first + count <= depth.
// Otherwise as pack_keys().
bool pack_values(const HalvesToBlock& values, KernelTier tier = default_tier());

}  // namespace rknpu2
