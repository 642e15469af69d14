// SPDX-License-Identifier: MIT
// The last step of a multiplication: from the wide sum to an element of C. Shared by all tiers, so that there
// is one definition of each rounding.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/kernels/job.hpp"
#include "matrix/float16.hpp"

namespace rknnsim {

// Counts in `clipped` what 16 bits do not hold.
inline int16_t clip_to_int16(int32_t sum, uint64_t* clipped) {
    *clipped += sum < INT16_MIN || sum > INT16_MAX ? 1 : 0;
    return static_cast<int16_t>(std::clamp<int32_t>(sum, INT16_MIN, INT16_MAX));
}

// Type 3: the chip multiplies by the scale, rounds and clips.
inline int8_t requantise(int32_t sum, double scale, Rounding rounding) {
    const double scaled = sum * scale;
    double rounded = 0;
    switch (rounding) {
        case Rounding::kHalfEven:
            rounded = std::nearbyint(scaled);  // the default rounding mode
            break;
        case Rounding::kHalfAway:
            rounded = std::round(scaled);
            break;
        case Rounding::kDown:
            rounded = std::floor(scaled);
            break;
    }
    return static_cast<int8_t>(std::clamp(rounded, -128.0, 127.0));
}

// fp64 to fp32, once rounded; one bit pattern for every NaN.
inline float round_to_float(double sum) {
    return std::isnan(sum) ? std::bit_cast<float>(0x7FC00000U) : static_cast<float>(sum);
}

// fp64 to fp16, once rounded. Going through fp32 would round twice, so the step to fp32 rounds to odd: a
// value that is not exact gets an odd last bit, which no later rounding can mistake for a tie.
inline uint16_t round_to_float16(double sum) {
    if (std::isnan(sum)) return 0x7E00;
    auto narrow = static_cast<float>(sum);
    if (std::isinf(narrow) || static_cast<double>(narrow) == sum) return rknpu2::float_to_float16(narrow);
    auto bits = std::bit_cast<uint32_t>(narrow);
    if (std::abs(static_cast<double>(narrow)) > std::abs(sum)) --bits;  // now truncated towards zero
    return rknpu2::float_to_float16(std::bit_cast<float>(bits | 1U));
}

}  // namespace rknnsim
