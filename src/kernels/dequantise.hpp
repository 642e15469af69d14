// SPDX-License-Identifier: MIT
// Results: the NPU's native C cube becomes float rows, with the scales of rows and channels applied.
//
// C native is [N_padded/4, M_total, 4] for int32 and fp32 (matrix/layout.hpp). Its column groups come first, so
// a row of the output is scattered over it. Both sides are walked in blocks that keep whole cache lines in use.
//
// Roundings, in this order, each to nearest even:
//   value = (float(acc) * row_scale) * channel_scale      (float(acc) rounds once |acc| > 2^24)
//   kStore: out = value       kAdd: out = out + value
// A scale of NaN makes its row or column NaN. Where acc * row_scale leaves the range of float (row_scale
// beyond 1e29) the result is infinite.
#pragma once

#include <cstddef>

#include "kernels/tier.hpp"

namespace rknpu2 {

enum class Accumulate { kStore, kAdd };

// Rows of a cube, int32 or float, and the float rows that they become. All counts are elements or rows, not
// bytes. Nothing else is read or written, so threads may share a cube and an output by ranges of rows.
template <typename Element>
struct CubeToRows {
    const Element* native;  // the whole cube
    size_t M_total;         // rows of the cube
    size_t m0;              // the first row
    size_t M;
    size_t N;
    const float* row_scales;      // M values
    const float* channel_scales;  // N values
    float* out;                   // the row that m0 becomes
    size_t out_stride;            // at least N
    Accumulate mode;

    // Rows m .. m + count - 1 of these.
    CubeToRows part(size_t m, size_t count) const {
        CubeToRows rows = *this;
        rows.m0 += m;
        rows.M = count;
        rows.row_scales += m;
        rows.out += m * out_stride;
        return rows;
    }
};

template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows, KernelTier tier = default_tier());

}  // namespace rknpu2
