// SPDX-License-Identifier: MIT
// Some rows of a weight, one K segment of them, on their way into a block.
#pragma once

#include <cstddef>

#include "kernels/rotate.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {

// Where they are, and what their scales and zero points become.
struct SegmentRows {
    const KSegment& segment;
    float* values;         // [row][stride]: the segment's part of the first one
    size_t stride;         // of values
    float* rotated;        // [row][K_padded], when the plan rotates
    float* scales;         // [row]
    float* offsets;        // [row], when the plan rotates
    const float* factors;  // [k], or nullptr
};

inline void rotate(const SegmentRows& rows, size_t first, size_t count) {
    const KSegment& segment = rows.segment;
    float* const rotated = rows.rotated + first * segment.K_padded;
    rotate_rows({.x = rows.values + first * rows.stride,
                 .row_stride = rows.stride,
                 .M = count,
                 .K = segment.k_count,
                 .K_padded = segment.K_padded,
                 .out = rotated,
                 .factors = rows.factors});
    mix_blocks(rotated, count, segment.K_padded);
}

}  // namespace rknpu2
