// SPDX-License-Identifier: MIT
// How a scale is chosen and what odd values mean: the rules that quantise.hpp and pack.hpp share.
//
// A row x (an activation row, or the K weights of one output channel) is stored as x / scale; the result of
// the multiplication is multiplied by the scale of its row and of its channel. The rules, for both types:
//
//   * A row with a NaN or an infinity has the scale NaN and is stored as zeros: its whole result row (or
//     column) becomes NaN when it is dequantised, and no other row notices.
//   * Storing goes through the reciprocal, x * (1 / scale), never a division: part of the definition.
//
//   int8:  scale = absmax / 127, rounded to float. A row whose scale would not be a *normal* float (absmax
//          below 127 * 2^-126, about 1.5e-36; an all-zero row) counts as zero: scale 0, values 0. So the
//          reciprocal of a scale is always finite, and zero rows need no special case later: 0 * acc = 0.
//   fp16:  scale = 1 wherever halves can hold the row, which is everywhere in practice. Else a power of two,
//          so that scaling adds no rounding: when absmax > 65504, the smallest that brings it to 65504 or
//          less; when 0 < absmax < 2^-14 (all the row would be subnormal halves) the one that brings it into
//          [1, 2), but never below 2^-126. An all-zero row has scale 1.
//
// Rows whose numbers are too large or too small for these rules are brought to ordinary size first: far.hpp.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "matrix/float16.hpp"

namespace rknpu2 {

inline constexpr float kInt8Max = 127.0F;  // int8 values are symmetric: -128 is never produced

inline constexpr float kFloat16MinNormal = 0x1p-14F;  // the smallest half that is not subnormal

// `absmax` is what row_absmax() returned: not negative, or NaN.
inline float int8_scale(float absmax) {
    const float scale = absmax / kInt8Max;
    return scale < std::numeric_limits<float>::min() ? 0.0F : scale;
}

inline float fp16_scale(float absmax) {
    if (std::isnan(absmax)) return absmax;
    if (absmax == 0.0F || (absmax >= kFloat16MinNormal && absmax <= kFloat16Max)) return 1.0F;
    const uint32_t bits = std::bit_cast<uint32_t>(absmax);
    const uint32_t exponent = bits >> 23;
    if (absmax < kFloat16MinNormal) return std::bit_cast<float>((exponent == 0 ? 1U : exponent) << 23);
    // 65504 is 0x7FE000 / 2^23 above 2^15.
    return std::bit_cast<float>((exponent - 15 + ((bits & 0x7FFFFFU) > 0x7FE000U ? 1U : 0U)) << 23);
}

// The factor that stores a row: 1 / scale, or 0 for a row that is stored as zeros (scale 0, NaN, or anything
// else that has no finite reciprocal of use).
inline float storing_factor(float scale) {
    return scale >= std::numeric_limits<float>::min() && scale <= std::numeric_limits<float>::max()
               ? 1.0F / scale
               : 0.0F;
}

}  // namespace rknpu2
