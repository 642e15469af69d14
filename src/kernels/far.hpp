// SPDX-License-Identifier: MIT
// Rows and channels of numbers that are too large or too small for the rules of scale.hpp.
//
// Every finite float may be an activation or a weight, but not everything on the way to the product is a
// float. Rotation multiplies a row by up to 512, which one of 1e36 does not survive; a scale below the normal
// floats counts as 0; (acc * row_scale) * channel_scale can leave the floats although the result is one. Such
// a row or channel is *far*: it is divided by a power of two (its unit) before it is rotated and rounded. Its
// true scale may have no float, so minus its square root is kept; all other scales are positive, 0 or NaN.
// Results of far rows and channels are scaled one by one, in float64.
//
// No tiers: this is for a few rows in a million. The bits are the same on every machine.
#pragma once

#include <cmath>
#include <cstddef>

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

// Divides a far row by its unit, and returns the unit. Leaves any other row, also one of zeros or one that is
// not finite, and returns 1.
double bring_near(float* row, size_t K);

// One result, rounded once.
inline float far_result(double acc, float row_scale, float channel_scale) {
    return static_cast<float>(acc * scale_value(row_scale) * scale_value(channel_scale));
}

// As dequantise_rows(), for the first row alone, whose scale is far.
template <typename Element>
void dequantise_far_row(const CubeToRows<Element>& row);

}  // namespace rknpu2
