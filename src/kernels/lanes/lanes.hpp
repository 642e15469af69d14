// SPDX-License-Identifier: MIT
// One float to one stored element, without branches and without calls, so that loops over it vectorise: what
// the generic tiers of quantise and pack share.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/quantise.hpp"

namespace rknpu2::generic {

// By value: std::min's references keep g++ from seeing a vector minimum.
constexpr int32_t lesser(int32_t a, int32_t b) {
    return a < b ? a : b;
}
constexpr int32_t greater(int32_t a, int32_t b) {
    return a > b ? a : b;
}

// Adding 1.5 * 2^23 to a value in [-127, 127] leaves no bits for a fraction: the sum is rounded to nearest
// even, and its low byte is the integer in two's complement. (lrintf would be a call for each element.) The
// clamp is on the bit pattern of the sum, which as an integer is ordered as the sum is, infinities and NaN at
// the ends: integer minima vectorise, while g++ takes float ones apart into narrow selects.
inline constexpr float kMagic = 12582912.0F;

// The bits of kMagic + the integer.
inline int32_t int8_bits(float steps) {
    constexpr int32_t kLowest = std::bit_cast<int32_t>(kMagic - 127.0F);
    constexpr int32_t kHighest = std::bit_cast<int32_t>(kMagic + 127.0F);
    return lesser(greater(std::bit_cast<int32_t>(steps + kMagic), kLowest), kHighest);
}

inline int8_t int8_lane(float x, float factor) {
    return static_cast<int8_t>(int8_bits(x * factor));
}

// matrix/float16.hpp's float_to_float16 for magnitudes clamped to 65504, without branches and selects. Let
// 2^e be the power of two at or below |x|, but at least 2^-14, where subnormal halves begin. In |x| +
// 2^(e+13) the last bit of the float is worth 2^(e-10), which is the last bit of the half: the adder rounds
// to nearest even, and the bits that it adds to those of 2^(e+13) are the mantissa with its leading one.
// Adding that to the exponent field, less one, gives the half; a carry out of the mantissa, or a missing
// leading one, comes out right.
//
// The half is built in the upper 16 bits and shifted down last: a truncation that g++ cannot push upwards
// into the arithmetic, where it would have to narrow every operand instead of one.
inline uint16_t half_lane(float x, float factor) {
    constexpr uint32_t kThirteenUp = 13U << 23;
    const auto bits = std::bit_cast<uint32_t>(x * factor);
    const int32_t magnitude = lesser(static_cast<int32_t>(bits & 0x7FFFFFFFU), 0x477FE000);
    const auto power = static_cast<uint32_t>(greater(magnitude & 0x7F800000, 0x38800000));
    const float sum = std::bit_cast<float>(magnitude) + std::bit_cast<float>(power + kThirteenUp);
    const uint32_t mantissa = std::bit_cast<uint32_t>(sum) - (power + kThirteenUp);
    const uint32_t half = (power << 3) - (113U << 26) + (mantissa << 16);
    return static_cast<uint16_t>((half | (bits & 0x80000000U)) >> 16);
}

// The element types as policies. `convert` is one long plain loop into contiguous memory: that is what g++
// turns into full vectors. (A loop over a single 16-byte atom is unrolled before it can be vectorised, and
// comes out ten times slower.) The callers convert into a small buffer and copy atoms from there.
template <typename Stored, Stored (*kLane)(float x, float factor)>
struct StoredLanes {
    using Element = Stored;
    [[gnu::always_inline]] static inline void convert(const float* __restrict x, float factor, size_t count,
                                                      Stored* __restrict out) {
        for (size_t k = 0; k < count; ++k)
            out[k] = kLane(x[k], factor);
    }
};
using Int8Lanes = StoredLanes<int8_t, int8_lane>;
using HalfLanes = StoredLanes<uint16_t, half_lane>;

// Elements converted at once: a few KiB of buffer for all rows of a group.
inline constexpr size_t kRun = 512;

// Elements k .. k+count-1 of a row that has `valid` ones, zeros after them; a factor of 0 makes all zero.
template <typename Lanes>
[[gnu::always_inline]] inline void convert_run(const float* row, float factor, size_t valid, size_t k,
                                               size_t count, typename Lanes::Element* out) {
    const size_t real = factor == 0.0F || k >= valid ? 0 : (valid - k < count ? valid - k : count);
    Lanes::convert(row + k, factor, real, out);
    for (size_t i = real; i < count; ++i)
        out[i] = 0;
}

}  // namespace rknpu2::generic
