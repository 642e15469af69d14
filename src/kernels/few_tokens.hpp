// SPDX-License-Identifier: MIT
// Attention for a few query rows by the CPU, in floats: scores, weights, weighted values (attention/few_tokens.hpp).
//
// Rows of queries share what is read of a cache. All operations take positions by pointers to their rows: a position
// that no row may see is given a row of zeros, and so is not looked at. Every result is that of the row and the
// positions alone: how many rows or positions are computed together changes no bit.
//
//   score   eight sums, by k % 8, of fused multiply-adds with k ascending from 0; s[i] = sum[i] + sum[i + 4];
//           (s[0] + s[1]) + (s[2] + s[3])
//   z       score * factor, softcapped; then fused + slope * mask. In units of ln 2, as `factor` and `slope` are
//   maximum the largest z that the row may see, + 0; -inf if it sees none, or nothing above -inf
//   weight  fine_exp2(z - maximum), a float; 0 where the row may not see
//   sum     eight partial ones of weights, by position % 8 in ascending order: (0 + 4) + (2 + 6) and
//           (1 + 5) + (3 + 7), added. NaN if a z that the row sees is NaN or +inf: its maximum and its weights are then
//           anything, and no other row notices
//   values  fused multiply-adds of weight and value, positions ascending. A weight of 0 is multiplied, too
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tier.hpp"

namespace rknpu2 {

inline constexpr size_t kFewBlock = 128;  // positions that have a maximum in common
inline constexpr size_t kFewPiece = 32;   // positions at a time: their floats stay in the nearest cache
inline constexpr size_t kFewStep = 8;     // counts of positions and widths are multiples of it

// Positions of a cache of a KV head, one pointer for each.
struct FewPositions {
    const std::byte* const* rows;
    size_t count;  // a multiple of kFewStep
    size_t width;  // elements of a row, a multiple of kFewStep
    bool halves;   // or floats
};

// Rows of queries by positions.
struct FewScores {
    const float* queries;
    size_t query_stride;  // from one row to the next, in elements
    size_t rows;
    FewPositions keys;
    float* scores;  // [rows], written
    size_t score_stride;
};
void score_few(const FewScores& scores, KernelTier tier = default_tier());

// Scores of a block become weights, in place.
struct FewWeights {
    float* scores;
    size_t stride;  // from one row to the next
    size_t rows;
    size_t count;  // positions, a multiple of kFewStep, the first at such a multiple
    float factor;
    float softcap;  // c: z becomes c * tanh(z / c); 0: none
    // `rows` pointers, each to `count` halves: -inf where the row may not see. A null pointer: it sees all, and nothing
    // is added, which gives the bits that a mask of zeros gives.
    const uint16_t* const* masks;
    const float* slopes;  // [rows]
    float* maxima;        // [rows], written
    float* sums;          // [rows], written
};
void weigh_few(const FewWeights& weights, KernelTier tier = default_tier());

// Adds the values, weighted, to what is in `sums`.
struct FewValues {
    const float* weights;
    size_t weight_stride;
    size_t rows;
    FewPositions values;
    float* sums;  // [rows][values.width]
    size_t sum_stride;
};
void add_few(const FewValues& values, KernelTier tier = default_tier());

// `width` halves, and zeros up to the next multiple of kFewStep.
void widen_few(const uint16_t* halves, size_t width, float* floats, KernelTier tier = default_tier());

// 2^x for x <= 0, to a float's precision: a polynomial of fused multiply-adds. 0 from -126.5 down; exact for integers.
float fine_exp2(float x);

}  // namespace rknpu2
