// SPDX-License-Identifier: MIT
// Rows and channels of numbers that are very large or very small: what scale.hpp's rules are too narrow for.
//
// Every finite float is allowed as an activation or a weight, but not everything on the way to the product is
// a float: rotation multiplies a row by up to 512, which one of 1e36 does not survive; a scale below the
// normal floats counts as 0; and (acc * row_scale) * channel_scale can leave the floats although the result
// is one of them. Such a row or channel is *far*: it is divided by a power of two (its unit) before it is
// rotated and rounded, and its true scale, for which a float may have no exponent, is kept as minus its
// square root. All other scales are positive, 0 or NaN, so the sign tells. Results of far rows and channels
// are scaled one by one, in float64; all others as ever, bit for bit.
//
// No tiers: this is for a few rows in a million. The bits are the same on every machine.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/dequantise.hpp"
#include "kernels/scale.hpp"

namespace rknpu2 {

// Magnitudes that need no such care, whatever they are multiplied by. 2^64 is 1.8e19.
inline constexpr float kLeastNear = 0x1p-64F;
inline constexpr float kMostNear = 0x1p64F;

// False for 0 and NaN, too.
inline bool is_near(float magnitude) {
    return magnitude >= kLeastNear && magnitude <= kMostNear;
}

// scale > 0. Rounds it to 23 bits; those of units are exact.
inline float far_scale(double scale) {
    return -static_cast<float>(std::sqrt(scale));
}

inline bool is_far(float scale) {
    return scale < 0.0F;
}

// What a scale stands for, far or not.
inline double scale_value(float scale) {
    const double value = scale;
    return is_far(scale) ? value * value : value;
}

// The scale of a whole tensor in int8 (the `naive` precision): far, or int8_scale().
inline float int8_tensor_scale(float absmax) {
    const bool far = absmax > 0.0F && !is_near(absmax);
    return far ? far_scale(static_cast<double>(absmax) / static_cast<double>(kInt8Max)) : int8_scale(absmax);
}

// The power of four at or below a finite magnitude > 0: divided by it, a row has its largest in [1, 4).
inline double unit_of(double magnitude) {
    return std::ldexp(1.0, std::ilogb(magnitude) & ~1);
}

// out[k] = x[k] / unit; exact but for what vanishes beside the largest. May be done in place.
inline void divide_by_unit(const float* x, size_t K, double unit, float* out) {
    for (size_t k = 0; k < K; ++k)
        out[k] = static_cast<float>(static_cast<double>(x[k]) / unit);
}

// Divides a row that is far by its unit, which is returned. 1 for any other row: one of zeros, and one that
// is not finite, stay as they are.
double bring_near(float* row, size_t K);

// One result, rounded once.
inline float far_result(double acc, float row_scale, float channel_scale) {
    return static_cast<float>(acc * scale_value(row_scale) * scale_value(channel_scale));
}

// As dequantise_rows_int32() and scale_rows_fp32() for row m of the cube, whose scale is far.
void dequantise_far_row(const int32_t* native, size_t M_total, size_t m, size_t N, float row_scale,
                        const float* channel_scales, float* out, Accumulate mode);
void dequantise_far_row(const float* native, size_t M_total, size_t m, size_t N, float row_scale,
                        const float* channel_scales, float* out, Accumulate mode);

}  // namespace rknpu2
