// SPDX-License-Identifier: MIT
// Results: the NPU's native C cube back into float rows, with the scales of rows and channels applied.
//
// C native is [N_padded/4, M_total, 4] for int32 and fp32 (matrix/layout.hpp): column groups first, so rows
// of the output are scattered over it; both sides are walked in blocks that keep whole cache lines in use.
// For M_total = 1 the cube is one plain row.
//
// Roundings, in this order, each to nearest even:
//   value = (float(acc) * row_scale) * channel_scale      (float(acc) rounds once |acc| > 2^24)
//   kStore: out = value       kAdd: out = out + value
// A scale of NaN makes its row or column NaN; where acc * row_scale leaves the range of float (row_scale
// beyond 1e29) the result is infinite.
//
// Only rows m0 .. m0+M-1 of the cube are read and only N columns of M rows of `out` are written (out points
// at the row for m0), so threads may share a cube and an output by ranges of rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tier.hpp"

namespace rknpu2 {

enum class Accumulate { kStore, kAdd };

// row_scales: M values, the first for row m0. channel_scales: N values. out_stride: in elements, >= N.
void dequantise_rows_int32(const int32_t* native, size_t M_total, size_t m0, size_t M, size_t N,
                           const float* row_scales, const float* channel_scales, float* out,
                           size_t out_stride, Accumulate mode, KernelTier tier = default_tier());

// As dequantise_rows_int32(), for fp32 results (the exact precision, where scales are powers of two and
// nearly always 1).
void scale_rows_fp32(const float* native, size_t M_total, size_t m0, size_t M, size_t N,
                     const float* row_scales, const float* channel_scales, float* out, size_t out_stride,
                     Accumulate mode, KernelTier tier = default_tier());

// dst[i] += src[i]: sums the partial cubes of K segments that share their scales, before one dequantisation.
// Exact as long as the sum fits: |sum| <= 127 * 127 * K < 2^31 for K up to 133,144, over sixteen segments of
// 8192. Beyond that it wraps modulo 2^32 (no undefined behaviour).
void add_int32(int32_t* dst, const int32_t* src, size_t count, KernelTier tier = default_tier());

}  // namespace rknpu2
