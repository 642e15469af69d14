// SPDX-License-Identifier: MIT
// The tiers' own entry points, and loops that all machines share. The public headers say what the operations do. Only
// files of this folder include this.
//
// RKNPU2_CLONES compiles a function twice on x86-64, for the baseline and for AVX2 (x86-64-v3), and the
// loader picks one. The bits are equal: contraction is off, so nothing becomes a fused multiply-add. The
// selection runs before sanitizers have set up their state, and crashes under ThreadSanitizer: not there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention.hpp"
#include "kernels/dequantise.hpp"
#include "kernels/digits.hpp"
#include "kernels/few_tokens.hpp"
#include "kernels/pack.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define RKNPU2_CLONES __attribute__((target_clones("default", "arch=x86-64-v3")))
#else
#define RKNPU2_CLONES
#endif

namespace rknpu2 {

template <typename Function>
Function* of_tier(KernelTier tier, Function* generic, Function* avx2) {
    return tier == KernelTier::kGeneric ? generic : avx2;
}

// How floats become int8, after they were multiplied by their row's factor.
enum class Rounding {
    kFits,      // to the nearest integer; no value is beyond 127
    kClamped,   // to the nearest integer, at most 127 and at least -127
    kResidual,  // what that leaves of values that fit, in steps kResidualSteps times finer
};

// As RowsToCube<int8_t>, at most kRowGroup rows, in the form that the vector loops walk.
struct Int8Rows {
    const float* x;
    size_t row_stride;
    size_t M;
    size_t K;
    size_t K_padded;
    int8_t* native;            // the first row's first atom
    size_t column_stride;      // from one atom of a row to its next
    float factors[kRowGroup];  // 0: the row is stored as zeros
    int32_t* totals;           // M sums of what was stored, or nullptr
};

}  // namespace rknpu2

namespace rknpu2::generic {

void store_rows_int8(const Int8Rows& rows, Rounding rounding);
// At most kRowGroup rows. scales[m] is read: the caller has chosen it.
void store_rows_fp16(const RowsToCube<uint16_t>& rows, const float* scales);

void rotate_rows(const RowsToRotate& rows);

// p is 3, 5 or 7; step: elements of a block, a multiple of 16.
void reflect_blocks(float* rows, size_t M, size_t K, size_t p, size_t step);

// sums: kPartialSums of them (pack.hpp), added to. factor: storing_factor(scale), not 0.
void add_rounding_errors_int8(const float* row, size_t K, float scale, float factor, const float* values,
                              double* sums);

template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows);

// Row m of all planes; returns the sum of its codes. factor: storing_factor(scale).
int32_t store_row_digits(const RowsToDigits& rows, size_t m, float factor);
// `native` is where the kernel begins.
void pack_row_codes(const int8_t* codes, size_t K, size_t K_padded, uint8_t* native);

// A row with a score that is not finite gets the sum NaN, and nothing else that counts.
void weigh_scores(const ScoresToWeights& rows);
bool pack_keys(const HalvesToBlock& keys);
bool pack_values(const HalvesToBlock& values);

void score_few(const FewScores& scores);
void weigh_few(const FewWeights& weights);
void add_few(const FewValues& values);
void widen_few(const uint16_t* halves, size_t width, float* floats);

}  // namespace rknpu2::generic

#if defined(__x86_64__)
namespace rknpu2::avx2 {

using generic::pack_keys;
using generic::pack_values;

void rotate_rows(const RowsToRotate& rows);
void store_rows_int8(const Int8Rows& rows, Rounding rounding);
template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows);
void weigh_scores(const ScoresToWeights& rows);
void score_few(const FewScores& scores);
void weigh_few(const FewWeights& weights);
void add_few(const FewValues& values);
void widen_few(const uint16_t* halves, size_t width, float* floats);

}  // namespace rknpu2::avx2
#else
namespace rknpu2 {
namespace avx2 = generic;  // never chosen
}
#endif
