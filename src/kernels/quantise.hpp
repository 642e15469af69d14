// SPDX-License-Identifier: MIT
// Activations: float rows become the native A cube of the NPU, int8 or fp16, with one scale for each row.
//
// The cube is [K_padded / a, M_total, a] with a = 16 int8 or 8 halves (matrix/layout.hpp). Each run of 16
// bytes belongs to one row, so several threads may fill disjoint row ranges of one cube at once. A call
// writes rows m0 .. m0+M-1 and nothing else, including the zeros from K to K_padded. Rows that no call fills
// are padding and are cleared with zero_rows().
//
// value = round(clamp(x * storing_factor(scale))): the product is rounded to float, clamped to +-127 or
// +-65504, and rounded to the nearest integer or half, ties to even. scale.hpp says how a scale is chosen and
// what NaN, infinity, zero and tiny rows become.
//
// Cost: two passes over each row (absmax, then store), the second from cache. No allocation, no locking.
// Preconditions, unchecked: K <= K_padded, K_padded a multiple of 32, m0 + M <= M_total, row_stride >= K (in
// elements), buffers do not overlap. Rounding mode: the default, to nearest.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tier.hpp"

namespace rknpu2 {

// Rows that are stored together: four rows of an atom column are one cache line of the cube. Callers that
// prepare rows do so with as many at a time, at multiples of it, and find them in the cache. Eight would be as
// fast only while no other program wants that cache.
inline constexpr size_t kRowGroup = 4;

// Rows of floats, and the rows of a cube that they become. All counts are elements or rows, not bytes.
template <typename Element>
struct RowsToCube {
    const float* x;     // the first row
    size_t row_stride;  // from one row to the next, at least K
    size_t M;
    size_t K;
    size_t K_padded;  // of the cube, a multiple of 32
    size_t M_total;   // rows of the cube
    size_t m0;        // the cube's row that the first row becomes
    Element* native;  // the whole cube [K_padded / a, M_total, a]

    // Rows m .. m + count - 1 of these.
    RowsToCube part(size_t m, size_t count) const {
        return {x + m * row_stride, row_stride, count, K, K_padded, M_total, m0 + m, native};
    }
};

// The largest magnitude among K values: 0 for K = 0, NaN when any value is NaN or infinite.
float row_absmax(const float* x, size_t K);

// scales: M values, written.
// sums: M values or nullptr. sums[m] += scales[m] * (sum of the row's int8): what the row adds up to as the
// NPU sees it, for the zero points of weights. The sum is exact; one product and one sum are rounded.
// absmax: row_absmax() of each row, if the caller knows them (rotate_rows() finds them); nullptr: a first pass
// finds them.
void quantise_rows_int8(const RowsToCube<int8_t>& rows, float* scales, KernelTier tier = default_tier(),
                        float* sums = nullptr, const float* absmax = nullptr);

// Takes a scale that the caller has chosen (one for the whole tensor: the `naive` precision). Values beyond
// 127 * scale saturate. scales[m] = scale, or NaN for a row that is not finite.
void quantise_rows_int8_scaled(const RowsToCube<int8_t>& rows, float scale, float* scales,
                               KernelTier tier = default_tier());

// A second plane: what rounding to int8 took from each row, in steps kResidualSteps times finer, as rows of a
// cube like any others. scales: what quantise_rows_int8 gave for these rows; residual_scales: M values,
// written. Both planes together, each with its scale, have 15.9 bits of the row's largest value instead of 8.
// sums: as for quantise_rows_int8, with residual_scales.
//   value = round((y - round(clamp(y))) * 254) with y = x * storing_factor(scale), each step rounded to float
inline constexpr float kResidualSteps = 254.0F;
void quantise_residuals_int8(const RowsToCube<int8_t>& rows, const float* scales, float* residual_scales,
                             KernelTier tier = default_tier(), float* sums = nullptr);

// The cube holds IEEE halves. scales: M values, written.
void convert_rows_fp16(const RowsToCube<uint16_t>& rows, float* scales);

// Clears rows m_begin .. m_end-1 of a cube of int8_t or uint16_t.
template <typename Element>
void zero_rows(size_t m_begin, size_t m_end, size_t K_padded, size_t M_total, Element* native);

}  // namespace rknpu2
